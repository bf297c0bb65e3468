/*
 * CSV files as a source. One connection is one path or glob; its files together are the model,
 * so there is neither table nor query. All cells are text until "types" says otherwise.
 *
 * The surprising thing: an empty cell without quotes is NULL and "" is an empty text, as in
 * PostgreSQL's CSV. A file cannot say it in another way.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "driver.h"
#include "lib/cast.h"
#include "lib/csvread.h"

struct csv_options {
    const char *path;
    char delimiter;
    bool header;
    char quote;
    const char *encoding;
    const char *null;
};

struct csv_source_options {
    struct option_types types;
};

struct csv {
    const struct csv_options *options;
    const struct csv_source_options *source_options;
    struct files files;
    struct csv_reader reader;
    struct arena arena; /* schema and plan */
    struct arena row;   /* values that had to change their form */
    struct schema schema;
    size_t nread;             /* columns of the projection */
    size_t *read;             /* of those, the index into the schema */
    size_t *cells;            /* of those, the cell in the file at hand */
    struct value *values;     /* of those, the value */
    uint64_t sample, sampled; /* records, bytes: of the first files' beginnings */
    atomic_bool cancelled;
};

static int
csv_check(const void *connection, struct error *err)
{
    const struct csv_options *o = connection;
    const char bad[] = {o->delimiter, o->quote};
    for (size_t i = 0; i < sizeof bad; i++)
        if (bad[i] == '\0' || bad[i] == '\n' || bad[i] == '\r')
            return error_set(err, ERR_CONFIG, EINVAL,
                             "delimiter and quote must be characters within a line");
    if (o->delimiter == o->quote)
        return error_set(err, ERR_CONFIG, EINVAL, "delimiter and quote must differ");
    return 0;
}

static void
csv_close(void *handle)
{
    struct csv *c = handle;
    csv_reader_done(&c->reader);
    files_done(&c->files);
    arena_done(&c->arena);
    arena_done(&c->row);
    free(c);
}

static int
csv_open(const void *connection, const struct model *model, void **ret, struct error *err)
{
    int rc = csv_check(connection, err);
    if (rc)
        return rc;
    struct csv *c = calloc(1, sizeof *c);
    if (!c)
        return error_no_memory(err);
    c->options = connection;
    c->source_options = model->options;
    c->reader = (struct csv_reader){
        .delimiter = c->options->delimiter,
        .quote = c->options->quote,
        .latin1 = strcmp(c->options->encoding, "latin-1") == 0,
        .feed = {.fd = -1, .cancelled = &c->cancelled},
        .utf8 = BUF_INIT(BUF_NO_MAX),
    };
    rc = files_open(&c->files, c->options->path, err);
    if (rc) {
        csv_close(c);
        return rc;
    }
    *ret = c;
    return 0;
}

/* ---- columns ---- */

static size_t
find_column(const struct csv *c, const char *name, size_t n)
{
    for (size_t i = 0; i < c->schema.n; i++)
        if (strlen(c->schema.columns[i].name) == n &&
            memcmp(c->schema.columns[i].name, name, n) == 0)
            return i;
    return SIZE_MAX;
}

static enum value_type
declared_type(const struct csv *c, const char *name)
{
    const struct csv_source_options *o = c->source_options;
    for (size_t i = 0; o && i < o->types.n; i++)
        if (strcmp(o->types.columns[i], name) == 0)
            return o->types.types[i];
    return V_TEXT;
}

static int
check_types(const struct csv *c, struct error *err)
{
    const struct csv_source_options *o = c->source_options;
    for (size_t i = 0; o && i < o->types.n; i++)
        if (find_column(c, o->types.columns[i], strlen(o->types.columns[i])) == SIZE_MAX)
            return error_set(err, ERR_CONFIG, EINVAL,
                             "types names column \"%s\", which \"%s\" does not have",
                             o->types.columns[i], c->files.files[0].path);
    return 0;
}

/* Takes the record at hand as names, or counts its cells when there is no header. */
static int
first_columns(struct csv *c, struct error *err)
{
    struct csv_reader *r = &c->reader;
    const char *path = r->feed.file->path;
    c->schema.columns = arena_alloc(&c->arena, r->cells.n * sizeof *c->schema.columns);
    if (!c->schema.columns)
        return error_no_memory(err);
    for (size_t i = 0; i < r->cells.n; i++) {
        const struct csv_cell *cell = &r->cells.p[i];
        if (c->options->header && cell->n == 0)
            return error_set(err, ERR_DATA, EINVAL, "%s:1: column %zu has no name", path,
                             i + 1);
        if (c->options->header && find_column(c, cell->p, cell->n) != SIZE_MAX)
            return error_set(err, ERR_DATA, EINVAL, "%s:1: column \"%.*s\" stands there twice",
                             path, (int)utf8_cut(cell->p, cell->n, 200), cell->p);
        const char *name = c->options->header ? arena_strndup(&c->arena, cell->p, cell->n)
                                              : arena_printf(&c->arena, "c%zu", i + 1);
        if (!name)
            return error_no_memory(err);
        c->schema.columns[c->schema.n++] =
            (struct column){.name = name, .type = declared_type(c, name)};
    }
    return 0;
}

/* The record at hand must have the columns of the first file, in any order; fills `cells`
 * (schema.n of them: where each column is) unless NULL. */
static int
match_columns(struct csv *c, size_t *cells, struct error *err)
{
    struct csv_reader *r = &c->reader;
    const char *path = r->feed.file->path, *first = c->files.files[0].path;
    if (r->cells.n != c->schema.n)
        return error_set(err, ERR_DATA, EINVAL, "%s:1: %zu columns, but \"%s\" has %zu", path,
                         r->cells.n, first, c->schema.n);
    for (size_t i = 0; cells && i < c->schema.n; i++)
        cells[i] = c->options->header ? SIZE_MAX : i;
    for (size_t i = 0; c->options->header && i < r->cells.n; i++) {
        const struct csv_cell *cell = &r->cells.p[i];
        size_t at = find_column(c, cell->p, cell->n);
        if (at == SIZE_MAX)
            return error_set(err, ERR_DATA, EINVAL,
                             "%s:1: column \"%.*s\" is not in the header of \"%s\"", path,
                             (int)utf8_cut(cell->p, cell->n, 200), cell->p, first);
        if (cells && cells[at] != SIZE_MAX)
            return error_set(err, ERR_DATA, EINVAL, "%s:1: column \"%s\" stands there twice",
                             path, c->schema.columns[at].name);
        if (cells)
            cells[at] = i;
    }
    return 0;
}

/* Reads the first record of file i. 1: there is one; 0: the file is empty. */
static int
read_first(struct csv *c, size_t i, struct error *err)
{
    int rc = csv_reader_open(&c->reader, &c->files, i, err);
    if (!rc)
        rc = csv_reader_next(&c->reader, err);
    if (rc == 0 && c->options->header)
        return error_set(err, ERR_DATA, EINVAL, "%s: empty, without even a header",
                         c->reader.feed.file->path);
    return rc;
}

/* Remembers how long the first records are, for the estimate of their number. */
static int
sample(struct csv *c, struct error *err)
{
    enum { RECORDS = 1000 };
    struct csv_reader *r = &c->reader;
    size_t bytes = 0;
    while (c->sample < RECORDS) {
        size_t from = r->feed.pos, window = r->feed.end;
        int rc = csv_reader_next(r, err);
        if (rc < 0)
            error_clear(err); /* source_read will tell, if it gets there */
        if (rc <= 0 || r->feed.end != window)
            break;
        bytes += r->feed.pos - from;
        c->sample++;
    }
    c->sampled = bytes;
    return 0;
}

static int
csv_describe(void *handle, struct schema *ret, struct error *err)
{
    struct csv *c = handle;
    if (!c->schema.columns) {
        for (size_t i = 0; i < c->files.n; i++) {
            int rc = read_first(c, i, err);
            if (rc < 0)
                return rc;
            if (rc == 0)
                continue;
            bool first = !c->schema.columns;
            rc = first ? first_columns(c, err) : 0;
            size_t *cells = rc ? NULL : arena_alloc(&c->row, c->schema.n * sizeof *cells);
            if (!rc)
                rc = cells ? match_columns(c, cells, err) : error_no_memory(err);
            arena_clear(&c->row);
            if (!rc && first)
                rc = sample(c, err);
            if (rc)
                return rc;
        }
        if (!c->schema.columns)
            return error_set(err, ERR_DATA, EINVAL,
                             "\"%s\" is empty: nothing tells its columns", c->options->path);
        int rc = check_types(c, err);
        if (rc)
            return rc;
    }
    *ret = c->schema;
    return 0;
}

/* ---- rows ---- */

static int
bad_cell(const struct csv *c, const struct column *column, const struct csv_cell *cell,
         struct error *err)
{
    const char *type = value_type_name(column->type);
    return error_set(err, ERR_DATA, EINVAL, "%s:%llu: column \"%s\": \"%.*s\" is not %s %s",
                     c->reader.feed.file->path, (unsigned long long)c->reader.line,
                     column->name, (int)utf8_cut(cell->p, cell->n, 80), cell->p,
                     strchr("aeiou", type[0]) ? "an" : "a", type);
}

static bool
is_null(const struct csv *c, const struct csv_cell *cell)
{
    if (cell->quoted)
        return false;
    const char *null = c->options->null;
    return null ? str_is((struct str){cell->p, cell->n}, null) : cell->n == 0;
}

static int
fill_values(struct csv *c, struct error *err)
{
    const struct csv_reader *r = &c->reader;
    if (c->row.head)
        arena_clear(&c->row);
    for (size_t i = 0; i < c->nread; i++) {
        const struct csv_cell *cell = &r->cells.p[c->cells[c->read[i]]];
        const struct column *column = &c->schema.columns[c->read[i]];
        struct value *v = &c->values[i];
        if (is_null(c, cell)) {
            *v = (struct value){.type = V_NULL};
        } else if (column->type == V_TEXT) {
            *v = (struct value){.p = cell->p, .n = cell->n, .type = V_TEXT};
        } else {
            int rc = cast_text(column->type, (struct str){cell->p, cell->n}, &c->row, v);
            if (rc)
                return rc == -ENOMEM ? error_no_memory(err) : bad_cell(c, column, cell, err);
        }
    }
    return 0;
}

/* 0: a row; 1: nothing to tell. */
static int
check_record(const struct csv *c, struct error *err)
{
    const struct csv_reader *r = &c->reader;
    if (r->cells.n == c->schema.n)
        return 0;
    if (csv_reader_blank(r))
        return 1;
    return error_set(err, ERR_DATA, EINVAL, "%s:%llu: %zu cells where there are %zu columns",
                     r->feed.file->path, (unsigned long long)r->line, r->cells.n, c->schema.n);
}

/* ---- the order ---- */

enum {
    LOOKS = 32,
    LOOK_BYTES = 64 * 1024,
    LOOK_WORTH = 4 << 20, /* what is smaller is sorted as soon as looked at */
};

/* Walks through records while they are within what is looked at. False: their keys descend. */
static bool
ascends(struct csv *c, const struct projection *p, struct buf *before, struct buf *key)
{
    struct error err = ERROR_INIT; /* of what is wrong reading will tell */
    int rc;
    while (c->reader.feed.pos < LOOK_BYTES && (rc = csv_reader_next(&c->reader, &err)) != 0) {
        if (rc < 0 && err.kind != ERR_DATA)
            return err.kind == ERR_LIMIT;
        if (rc < 0)
            csv_reader_skip(&c->reader);
        if (rc < 0 || check_record(c, &err) || fill_values(c, &err))
            continue;
        buf_clear(key);
        for (size_t i = 0; i < p->norder; i++)
            key_add(key, p->order_class[i], &c->values[p->order[i]]);
        if (key->failed || key_compare(buf_str(key), buf_str(before)) < 0)
            return false;
        struct buf swap = *before;
        *before = *key;
        *key = swap;
    }
    return true;
}

/* Looks at places spread over file i, its beginning and its end among them. */
static bool
file_ascends(struct csv *c, size_t i, const struct projection *p, struct buf *before,
             struct buf *key)
{
    struct error ignored = ERROR_INIT;
    off_t last = c->files.files[i].size - LOOK_BYTES;
    off_t looks = last > 0 ? 2 + LOOKS / (off_t)c->files.n : 1;
    if (read_first(c, i, &ignored) <= 0 || match_columns(c, c->cells, &ignored) ||
        !ascends(c, p, before, key))
        return false;
    for (off_t look = 1; look < looks; look++) {
        off_t at = last / (looks - 1) * look, seen = feed_offset(&c->reader.feed) - 1;
        if (csv_reader_seek(&c->reader, at > seen ? at : seen, &ignored))
            return false;
        csv_reader_skip(&c->reader);
        if (!ascends(c, p, before, key))
            return false;
    }
    return true;
}

/*
 * Do the rows seem to come in the order of the identifier? Files often are written so, and then
 * they can be compared while they are read, without being sorted. What is appended to such a
 * file would stand at its end.
 */
static bool
seems_ordered(struct csv *c, const struct projection *p)
{
    AUTO_BUF struct buf before = BUF_INIT(BUF_NO_MAX), key = BUF_INIT(BUF_NO_MAX);
    if (p->norder == 0 || c->files.bytes < LOOK_WORTH)
        return false;
    size_t i = 0;
    while (i < c->files.n && file_ascends(c, i, p, &before, &key))
        i++;
    return i == c->files.n;
}

static int
csv_plan(void *handle, const struct projection *projection, bool want_order,
         struct source_plan *ret, struct error *err)
{
    struct csv *c = handle;
    struct schema ignored;
    int rc = csv_describe(c, &ignored, err);
    if (rc)
        return rc;
    c->nread = projection->n;
    c->read = arena_alloc(&c->arena, c->nread * sizeof *c->read);
    c->values = arena_alloc(&c->arena, c->nread * sizeof *c->values);
    c->cells = arena_alloc(&c->arena, c->schema.n * sizeof *c->cells);
    if (!c->read || !c->values || !c->cells)
        return error_no_memory(err);
    for (size_t i = 0; i < c->nread; i++) {
        const char *name = projection->columns[i];
        c->read[i] = find_column(c, name, strlen(name));
        if (c->read[i] == SIZE_MAX)
            return error_set(err, ERR_CONFIG, EINVAL, "no column \"%s\"", name);
    }
    int64_t rows =
        c->sample ? (int64_t)((double)c->files.bytes / (double)c->sampled * (double)c->sample)
                  : -1;
    bool ordered = want_order && seems_ordered(c, projection);
    *ret = (struct source_plan){.ordered = ordered, .guessed = ordered, .rows = rows};
    return 0;
}

/* ---- reading ---- */

static int
read_file(struct csv *c, size_t i, source_row_fn row, void *arg, struct error *err)
{
    int rc = read_first(c, i, err);
    if (rc <= 0)
        return rc;
    rc = match_columns(c, c->cells, err);
    if (rc)
        return rc;
    if (c->options->header)
        rc = csv_reader_next(&c->reader, err);
    else
        rc = 1;
    for (; rc > 0; rc = csv_reader_next(&c->reader, err)) {
        rc = check_record(c, err);
        if (rc == 1)
            continue;
        if (!rc)
            rc = fill_values(c, err);
        if (!rc)
            rc = row(arg, c->values, err);
        if (rc)
            return rc;
    }
    return rc;
}

static int
csv_read(void *handle, source_row_fn row, void *arg, struct error *err)
{
    struct csv *c = handle;
    for (size_t i = 0; i < c->files.n; i++) {
        int rc = read_file(c, i, row, arg, err);
        if (rc)
            return rc;
    }
    return files_check(&c->files, err);
}

static void
csv_cancel(void *handle)
{
    atomic_store(&((struct csv *)handle)->cancelled, true);
}

static const struct option csv_option_table[] = {
    {.name = "path",
     .type = OPT_STRING,
     .flags = OPTION_REQUIRED | OPTION_PATH,
     .offset = offsetof(struct csv_options, path),
     .help = "the file, or a glob for several that have the same columns"},
    {.name = "delimiter",
     .type = OPT_CHAR,
     .offset = offsetof(struct csv_options, delimiter),
     .default_text = ",",
     .help = "what stands between two cells"},
    {.name = "header",
     .type = OPT_BOOL,
     .offset = offsetof(struct csv_options, header),
     .default_text = "true",
     .help = "the first record names the columns; else they are c1, c2, c3"},
    {.name = "quote",
     .type = OPT_CHAR,
     .offset = offsetof(struct csv_options, quote),
     .default_text = "\"",
     .help = "what stands around a quoted cell, and twice for itself within one"},
    {.name = "encoding",
     .type = OPT_ENUM,
     .offset = offsetof(struct csv_options, encoding),
     .default_text = "utf-8",
     .choices = "utf-8|latin-1",
     .help = "how the files are written"},
    {.name = "null",
     .type = OPT_STRING,
     .offset = offsetof(struct csv_options, null),
     .help = "an unquoted cell with this text is NULL; unset: an unquoted empty cell is"},
    {0},
};

static const struct option csv_source_option_table[] = {
    {.name = "types",
     .type = OPT_TYPES,
     .offset = offsetof(struct csv_source_options, types),
     .help = "types of columns that are more than text"},
    {0},
};

static const char csv_readme[] =
    "CSV files as a source.\n"
    "\n"
    "A connection is a path or a glob. All files it matches are one model, read in the order\n"
    "of their names; they must have the same columns, in any order. Neither \"table\" nor\n"
    "\"query\" is given.\n"
    "\n"
    "    connections/people.json   {\"driver\": \"csv\", \"path\": \"/srv/people-*.csv\"}\n"
    "    config.json               \"source\": {\"connection\": \"people\",\n"
    "                                         \"types\": {\"id\": \"integer\", \"born\": "
    "\"date\"}}\n"
    "\n"
    "Format: RFC 4180. Cells may be quoted and hold newlines; lines end in LF or CRLF; the "
    "last\n"
    "line may lack its end; a byte order mark is skipped; empty lines are skipped when there "
    "is\n"
    "more than one column. A quote inside an unquoted cell, text after a closing quote, a\n"
    "carriage return alone, a NUL byte, invalid UTF-8, a row with too few or too many cells "
    "and\n"
    "a column name that is empty or stands twice are errors which name file and line. An "
    "error\n"
    "ends the run; nothing of a broken file is taken for the whole.\n"
    "\n"
    "NULL: an empty cell without quotes is NULL, \"\" is an empty text. With \"null\": "
    "\"\\\\N\" an\n"
    "unquoted \\N is NULL and an empty cell is an empty text.\n"
    "\n"
    "Types: every column is text unless \"types\" says otherwise: boolean (true false t f yes "
    "no\n"
    "1 0), integer (64 bits), decimal (every digit kept), float, bytes (\\x6162), date\n"
    "(2024-01-31), time, timestamp, \"timestamp with time zone\" (made UTC), json. A cell "
    "that\n"
    "does not fit is an error with its line.\n"
    "\n"
    "One state of the files: a file that changes between the start and the end of a reading\n"
    "(size, modification time, inode) is an error. Replace files by renaming, and all at once\n"
    "where a model has several.\n"
    "\n"
    "Order: where the rows of large files seem to come in the order of the identifier, they\n"
    "are compared while they are read; else, or when they turn out not to, the engine sorts.\n"
    "\n"
    "Limits: 65,536 columns, 512 MiB a row.\n";

const struct driver driver_csv = {
    .name = "csv",
    .summary = "CSV files (source)",
    .readme = csv_readme,
    .options = csv_option_table,
    .options_size = sizeof(struct csv_options),
    .source_options = csv_source_option_table,
    .source_options_size = sizeof(struct csv_source_options),
    .check = csv_check,
    .source_open = csv_open,
    .source_describe = csv_describe,
    .source_plan = csv_plan,
    .source_read = csv_read,
    .source_close = csv_close,
    .source_cancel = csv_cancel,
};
