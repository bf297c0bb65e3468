/*
 * CSV. The first byte chooses the dialect, the second how far before the end of the window's
 * first filling the file begins: there it must be read as it is read at the start of a file.
 */
#include <stdlib.h>
#include <string.h>

#include "../driver/drive.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "lib/csvread.h"

extern const struct driver driver_csv;

enum { WINDOW = 256 * 1024 };

struct result {
    struct buf rows;
    uint64_t nrows;
    int rc;
    uint64_t line; /* of the error */
    const char *words;
    struct error err;
};

/* skip: so many records (and lines) in front are padding. */
static void
read_rows(struct csv_reader *r, struct str bytes, uint64_t skip, struct result *ret)
{
    struct files files;
    MUST(files_open(&files, fuzz_file(bytes), &ret->err) == 0);
    ret->rc = csv_reader_open(r, &files, 0, &ret->err);
    for (uint64_t i = 0; !ret->rc && (ret->rc = csv_reader_next(r, &ret->err)) > 0; i++) {
        ret->rc = 0;
        if (i < skip)
            continue;
        buf_add_int(&ret->rows, (int64_t)(r->line - skip));
        VEC_EACH (&r->cells, c) {
            MUST(utf8_check(c->p, c->n) == c->n);
            buf_addf(&ret->rows, ",%d%u:", c->quoted, c->n);
            buf_add(&ret->rows, c->p, c->n);
        }
        buf_addc(&ret->rows, '\n');
        ret->nrows++;
    }
    fuzz_check_error(ret->rc, &ret->err);
    ret->line = fuzz_error_line(&ret->err, &ret->words);
    csv_reader_done(r);
    files_done(&files);
}

static struct csv_reader
reader(uint8_t dialect)
{
    return (struct csv_reader){.delimiter = ",;\t|"[dialect & 3],
                               .quote = dialect & 4 ? '\'' : '"',
                               .latin1 = dialect & 8,
                               .feed = FEED_INIT,
                               .utf8 = BUF_INIT(BUF_NO_MAX)};
}

/* The same rows again, with the bytes lying across the end of the window's first filling. */
static void
check_window(uint8_t dialect, uint8_t before, struct str bytes, const struct result *plain)
{
    AUTO_BUF struct buf moved = BUF_INIT(BUF_NO_MAX);
    size_t padding = (size_t)WINDOW - before;
    char *to = buf_room(&moved, padding);
    memset(to, 'x', padding - 1);
    to[padding - 1] = '\n';
    moved.n = padding;
    buf_add(&moved, bytes.p, bytes.n);
    struct csv_reader r = reader(dialect);
    struct result again = {.rows = BUF_INIT(BUF_NO_MAX)};
    read_rows(&r, buf_str(&moved), 1, &again);
    MUST(again.rc == plain->rc && again.nrows == plain->nrows);
    MUST(str_equal(buf_str(&again.rows), buf_str(&plain->rows)));
    if (again.rc)
        MUST(again.line == plain->line + 1 && strcmp(again.words, plain->words) == 0);
    buf_done(&again.rows);
}

/* A look into the midst of the file, as far as that may be from a record's beginning, comes to
 * its end. */
static void
check_look(uint8_t dialect, size_t at, struct str bytes)
{
    struct csv_reader r = reader(dialect);
    struct files files;
    struct error err = ERROR_INIT;
    MUST(files_open(&files, fuzz_file(bytes), &err) == 0);
    int rc = csv_reader_open(&r, &files, 0, &err);
    MUST(rc == 0 && feed_offset(&r.feed) == (off_t)r.feed.pos);
    MUST(csv_reader_seek(&r, (off_t)at, &err) == 0 && feed_offset(&r.feed) == (off_t)at);
    csv_reader_skip(&r);
    size_t steps = 0;
    while ((rc = csv_reader_next(&r, &err)) != 0) {
        MUST(rc > 0 || err.kind == ERR_DATA || err.kind == ERR_LIMIT);
        MUST(steps++ <= bytes.n);
        if (rc < 0 && err.kind == ERR_LIMIT)
            break;
        if (rc < 0)
            csv_reader_skip(&r);
    }
    csv_reader_done(&r);
    files_done(&files);
}

/* The whole driver, with and without a header, as text and with types. */
static void
check_driver(uint8_t dialect, struct str bytes)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    AUTO_BUF struct buf rows = BUF_INIT(BUF_NO_MAX);
    const struct csv_reader r = reader(dialect);
    const char delimiter[] = {r.delimiter, '\0'}, quote[] = {r.quote, '\0'};
    void *connection = drive_options(
        driver_csv.options, driver_csv.options_size, &arena, "path", fuzz_file(bytes),
        "delimiter", delimiter, "quote", quote, "encoding", r.latin1 ? "latin-1" : "utf-8",
        "header", dialect & 16 ? "false" : "true", "null", dialect & 32 ? "NULL" : "", NULL);
    struct model model = {.sync = "fuzz"};
    if (dialect & 64)
        model.options = drive_options(
            driver_csv.source_options, driver_csv.source_options_size, &arena, "types",
            "i:integer,d:decimal,f:float,b:boolean,x:bytes,j:json", NULL);
    if (dialect & 128)
        model.options = drive_options(
            driver_csv.source_options, driver_csv.source_options_size, &arena, "types",
            "i:date,d:time,f:timestamp,b:timestamp with time zone,x:text", NULL);
    struct error err = ERROR_INIT;
    fuzz_source(&driver_csv, connection, &model, &rows, &err);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    struct str bytes = {(const char *)data + 2, n - 2};
    struct csv_reader r = reader(data[0]);
    struct result plain = {.rows = BUF_INIT(BUF_NO_MAX)};
    read_rows(&r, bytes, 0, &plain);
    bool mark = bytes.n >= 3 && memcmp(bytes.p, "\xEF\xBB\xBF", 3) == 0;
    if (data[1] >= 128 && !mark)
        check_window(data[0], data[1] - 128, bytes, &plain);
    buf_done(&plain.rows);
    check_look(data[0], data[1] % (bytes.n + 1), bytes);
    check_driver(data[0], bytes);
    return 0;
}
