/* What the fuzz targets share: see fuzz.h. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "base/utf8.h"
#include "lib/cast.h"
#include "lib/jsonscan.h"

void
fuzz_fail(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
    abort();
}

const char *
fuzz_file(struct str bytes)
{
    static int fd = -1;
    static char path[64];
    struct error err = ERROR_INIT;
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        MUST(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    MUST(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    MUST(file_write_all(fd, bytes.p, bytes.n, &err) == 0);
    return path;
}

void
fuzz_check_value(const struct value *v)
{
    struct str text = {v->p, v->n};
    int64_t number;
    switch (v->type) {
    case V_NULL:
        MUST(v->n == 0);
        break;
    case V_BOOL:
        MUST(v->n == 1 && (*v->p == 't' || *v->p == 'f'));
        break;
    case V_INT:
        MUST(cast_to_int(text, &number));
        break;
    case V_JSON:
        MUST(json_valid(text));
        break;
    case V_BYTES:
        break;
    default:
        MUST(v->type < V_ABSENT && utf8_check(v->p, v->n) == v->n);
    }
}

struct reading {
    struct buf *out;
    size_t n;
};

static int
take_row(void *arg, const struct value *values, struct error *err)
{
    struct reading *r = arg;
    for (size_t i = 0; i < r->n; i++) {
        fuzz_check_value(&values[i]);
        record_add(r->out, &values[i]);
    }
    buf_addc(r->out, '\n');
    return 0;
}

/* The identifier is the first column. */
static int
read_all(const struct driver *d, void *handle, struct arena *arena, struct buf *out,
         struct error *err)
{
    struct schema schema = {0};
    struct source_plan plan = {0};
    int rc = d->source_describe(handle, &schema, err);
    if (rc)
        return rc;
    const char **names = arena_alloc(arena, (schema.n + 1) * sizeof *names);
    for (size_t i = 0; i < schema.n; i++) {
        MUST(utf8_check(schema.columns[i].name, strlen(schema.columns[i].name)) ==
             strlen(schema.columns[i].name));
        names[i] = schema.columns[i].name;
    }
    const struct projection projection = {.columns = names,
                                          .n = schema.n,
                                          .order = (size_t[]){0},
                                          .order_class = (enum key_class[]){KEY_TEXT},
                                          .norder = schema.n > 0};
    rc = d->source_plan(handle, &projection, true, &plan, err);
    struct reading reading = {out, schema.n};
    return rc ? rc : d->source_read(handle, take_row, &reading, err);
}

int
fuzz_source(const struct driver *d, const void *connection, const struct model *model,
            struct buf *out, struct error *err)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    void *handle = NULL;
    int rc = d->check ? d->check(connection, err) : 0;
    if (!rc)
        rc = d->source_open(connection, model, &handle, err);
    if (!rc) {
        rc = read_all(d, handle, &arena, out, err);
        d->source_close(handle);
    }
    fuzz_check_error(rc, err);
    return rc;
}

uint64_t
fuzz_error_line(const struct error *err, const char **words)
{
    const char *colon = strchr(err->text, ':');
    char *end = NULL;
    uint64_t line = colon ? strtoull(colon + 1, &end, 10) : 0;
    *words = line ? end : err->text;
    return line;
}

void
fuzz_check_error(int rc, const struct error *err)
{
    if (!rc)
        return;
    size_t n = strnlen(err->text, sizeof err->text);
    MUST(rc == -err->errnum && err->kind != ERR_NONE);
    MUST(n > 0 && n < sizeof err->text);
}
