/*
 * A driver to copy. It is whole and tested, but no product: as a source it counts, as a
 * destination it appends rows to a file.
 *
 *   1. Copy this directory to drivers/NAME and this file to drivers/NAME/NAME.c.
 *   2. Rename "template" to NAME in it (driver_template too).
 *   3. Add a drivers/NAME/meson.build with `driver_sources = files('NAME.c')`, and the line
 *      'NAME': [the libraries it needs] to driver_needs in drivers/meson.build.
 *   4. Build, and see NAME in `retlfs --help` and /drivers. Only now change it:
 *   5. Say what it can do: .modes and .traits at the end. The engine refuses the rest for you.
 *   6. Replace the options; defaults, checks and options.json follow from the tables.
 *   7. Drop the half you do not need: a driver without dest_open is no destination.
 *   8. Replace the hooks, in the order in which driver.h says they are called. Read the
 * comments there first; what MAY be missing may be missing.
 *   9. Write tests/driver/test-NAME.c; test-template.c shows how.
 *
 * The rule that matters: tell the truth about every row. out[] starts as ROW_UNKNOWN, and that
 * is what a row stays of which nobody can say whether it arrived. Do not retry, sleep, log or
 * count: the engine does.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "base/reach.h"
#include "driver.h"

/* The options of a connection, in the types that driver.h names. Filled by the engine, which
 * owns the texts; they outlive every handle. */
struct template_options {
    const char *path;
    int64_t rows;
};

/* What one option cannot say alone. */
static int
template_check(const void *connection, struct error *err)
{
    const struct template_options *o = connection;
    if (o->rows < 0)
        return error_set(err, ERR_CONFIG, EINVAL, "rows must not be negative");
    return 0;
}

/* Another file is another place: what was appended to this one does not stand there. */
static int
template_place(const void *connection, struct buf *out, struct error *err)
{
    const struct template_options *o = connection;
    buf_adds(out, o->path ? o->path : "");
    return out->failed ? error_no_memory(err) : 0;
}

/* ---- the source: rows 1, 2, 3 … with their squares ---- */

enum { COLUMN_N, COLUMN_SQUARE, COLUMNS };

static struct column columns[COLUMNS] = {
    [COLUMN_N] = {.name = "n", .type = V_INT, .native = "counter", .not_null = true},
    [COLUMN_SQUARE] = {.name = "square", .type = V_INT, .native = "counter", .not_null = true},
};

struct source {
    const struct template_options *options;
    size_t *read; /* the columns asked for */
    size_t nread;
    struct value *values;
    atomic_bool cancelled; /* the one thing another thread touches */
};

static void
template_source_close(void *handle)
{
    struct source *s = handle;
    free(s->read);
    free(s->values);
    free(s);
}

static int
template_source_open(const void *connection, const struct model *model, void **ret,
                     struct error *err)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(err);
    s->options = connection;
    *ret = s;
    return 0;
}

static int
template_source_describe(void *handle, struct schema *ret, struct error *err)
{
    *ret = (struct schema){.columns = columns, .n = COLUMNS};
    return 0;
}

static int
template_source_plan(void *handle, const struct projection *projection, bool want_order,
                     struct source_plan *ret, struct error *err)
{
    struct source *s = handle;
    s->nread = projection->n;
    s->read = calloc(projection->n + 1, sizeof *s->read);
    s->values = calloc(projection->n + 1, sizeof *s->values);
    if (!s->read || !s->values)
        return error_no_memory(err);
    for (size_t i = 0; i < projection->n; i++) {
        while (s->read[i] < COLUMNS &&
               strcmp(columns[s->read[i]].name, projection->columns[i]) != 0)
            s->read[i]++;
        if (s->read[i] == COLUMNS)
            return error_set(err, ERR_CONFIG, EINVAL, "no column \"%s\"",
                             projection->columns[i]);
    }
    /* Promise order only where it is certain and free: the engine sorts well itself. */
    bool counted = projection->norder == 1 && projection->order_class[0] == KEY_INT;
    *ret = (struct source_plan){
        .ordered = want_order && counted,
        .rows = s->options->rows,
        .rows_exact = true,
    };
    return 0;
}

static int
template_source_read(void *handle, source_row_fn row, void *arg, struct error *err)
{
    struct source *s = handle;
    for (int64_t n = 1; n <= s->options->rows; n++) {
        if (atomic_load(&s->cancelled))
            return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
        int64_t square;
        if (__builtin_mul_overflow(n, n, &square))
            return error_set(err, ERR_DATA, ERANGE, "the square of %lld is no 64-bit integer",
                             (long long)n);
        char text[COLUMNS][24];
        snprintf(text[COLUMN_N], sizeof text[0], "%lld", (long long)n);
        snprintf(text[COLUMN_SQUARE], sizeof text[0], "%lld", (long long)square);
        for (size_t i = 0; i < s->nread; i++) {
            const char *p = text[s->read[i]];
            s->values[i] = (struct value){.p = p, .n = (uint32_t)strlen(p), .type = V_INT};
        }
        int rc = row(arg, s->values, err); /* borrowed until it returns */
        if (rc)
            return rc;
    }
    return 0;
}

static void
template_source_cancel(void *handle)
{
    atomic_store(&((struct source *)handle)->cancelled, true);
}

/* ---- the destination: one CSV line a row, at the end of a file ---- */

struct dest {
    int fd;
    size_t nfields;
    struct buf lines; /* of the batch at hand; bounded by dest_limits */
};

static void
template_dest_close(void *handle)
{
    struct dest *d = handle;
    if (d->fd >= 0)
        close(d->fd);
    buf_done(&d->lines);
    free(d);
}

static int
template_dest_open(const void *connection, const struct target *target, void **ret,
                   struct error *err)
{
    const struct template_options *o = connection;
    if (!o->path)
        return error_set(err, ERR_CONFIG, EINVAL, "the connection has no path to write to");
    struct dest *d = calloc(1, sizeof *d);
    if (!d)
        return error_no_memory(err);
    d->lines = (struct buf)BUF_INIT(BUF_NO_MAX);
    d->nfields = target->nfields;
    d->fd = reach_open(o->path, O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (d->fd < 0) {
        int rc = reach_fail(err, d->fd, o->path);
        template_dest_close(d);
        return rc;
    }
    *ret = d;
    return 0;
}

static void
template_dest_limits(void *handle, struct limits *ret)
{
    *ret = (struct limits){.rows = 1000, .bytes = 1 << 20, .parallel = 1};
}

static int
template_dest_begin(void *handle, const struct session *session, struct error *err)
{
    return 0;
}

static void
add_line(struct dest *d, const struct change *change)
{
    for (size_t i = 0; i < d->nfields; i++) {
        if (i)
            buf_addc(&d->lines, ',');
        value_csv(&d->lines, &change->after[i]);
    }
    buf_addc(&d->lines, '\n');
}

static int
template_dest_write(void *handle, const struct batch *batch, struct outcome *out,
                    struct error *err)
{
    struct dest *d = handle;
    buf_clear(&d->lines);
    for (size_t i = 0; i < batch->n; i++)
        add_line(d, &batch->changes[i]);
    if (d->lines.failed)
        return error_no_memory(err); /* nothing was written */
    int rc = file_write_all(d->fd, d->lines.p, d->lines.n, err);
    if (rc == 0 && fdatasync(d->fd) < 0)
        rc = error_set_errno(err, ERR_REMOTE, errno, "cannot write");
    if (rc) {
        /* Some of it may stand there: the rows stay ROW_UNKNOWN. */
        err->kind = ERR_UNKNOWN;
        return rc;
    }
    for (size_t i = 0; i < batch->n; i++)
        out[i] = (struct outcome){.kind = ROW_DONE};
    return 0;
}

/* ---- the driver ---- */

static const struct option options[] = {
    {.name = "path",
     .type = OPT_STRING,
     .flags = OPTION_PATH,
     .offset = offsetof(struct template_options, path),
     .help = "the file to append to"},
    {.name = "rows",
     .type = OPT_INT,
     .offset = offsetof(struct template_options, rows),
     .default_text = "10",
     .help = "how far the source counts"},
    {0},
};

const struct driver driver_template = {
    .name = "template",
    .summary = "a driver to copy",
    .readme =
        "Counts as a source (columns n and square), appends CSV lines as a destination.\n",
    .modes = MODE_BIT(MODE_INSERT),
    .options = options,
    .options_size = sizeof(struct template_options),
    .check = template_check,
    .place = template_place,
    .source_open = template_source_open,
    .source_describe = template_source_describe,
    .source_plan = template_source_plan,
    .source_read = template_source_read,
    .source_close = template_source_close,
    .source_cancel = template_source_cancel,
    .dest_open = template_dest_open,
    .dest_limits = template_dest_limits,
    .dest_begin = template_dest_begin,
    .dest_write = template_dest_write,
    .dest_close = template_dest_close,
};
