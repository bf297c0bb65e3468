/* The driver to copy works as it is; so should its copies. */
#include <fcntl.h>
#include <stdio.h>

#include "../unit/tap.h"
#include "base/cleanup.h"
#include "base/fileio.h"
#include "drive.h"

extern const struct driver driver_template;

int
main(void)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    const char *path = arena_printf(&arena, "%s/out.csv", drive_directory());
    const struct driver *driver = &driver_template;
    void *connection = drive_options(driver->options, driver->options_size, &arena, "path",
                                     path, "rows", "3", NULL);
    struct drive_source source = {.driver = driver, .connection = connection};
    AUTO_FREE char *rows = drive_read(&source);
    CHECK_TEXT(rows, "i:1|i:1\ni:2|i:4\ni:3|i:9\n");
    source.columns = "square";
    AUTO_FREE char *squares = drive_read(&source);
    CHECK_TEXT(squares, "i:1\ni:4\ni:9\n");
    source.order = "square";
    AUTO_FREE char *plan = drive_plan(&source);
    CHECK_TEXT(plan, "ordered=1 rows=3 exact=1");

    struct error err = ERROR_INIT;
    struct target target = {.mode = MODE_INSERT, .nfields = 2};
    struct session session = {.token = "x"};
    struct value values[2][3] = {{{0}}};
    struct change changes[2] = {{.op = OP_INSERT, .seq = 0, .after = values[0]},
                                {.op = OP_INSERT, .seq = 1, .after = values[1]}};
    drive_parse("i:1|t:a \"b\", c", values[0], 3, &arena);
    drive_parse("n|t:", values[1], 3, &arena);
    struct batch batch = {.changes = changes, .n = 2};
    struct outcome out[2] = {0};
    void *h;
    CHECK(driver->dest_open(connection, &target, &h, &err) == 0);
    CHECK(driver->dest_begin(h, &session, &err) == 0);
    CHECK(driver->dest_write(h, &batch, out, &err) == 0);
    CHECK(out[0].kind == ROW_DONE && out[1].kind == ROW_DONE);
    driver->dest_close(h);
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    CHECK(file_read_whole(AT_FDCWD, path, &text, &err) == 0);
    CHECK_TEXT(buf_z(&text), "1,\"a \"\"b\"\", c\"\n,\"\"\n");

    /* A full disk: nothing is called done. */
    connection =
        drive_options(driver->options, driver->options_size, &arena, "path", "/dev/full", NULL);
    struct outcome lost[2] = {0};
    CHECK(driver->dest_open(connection, &target, &h, &err) == 0);
    CHECK(driver->dest_write(h, &batch, lost, &err) == -ENOSPC && err.kind == ERR_UNKNOWN);
    CHECK(lost[0].kind == ROW_UNKNOWN && lost[1].kind == ROW_UNKNOWN);
    driver->dest_close(h);
    return tap_done();
}
