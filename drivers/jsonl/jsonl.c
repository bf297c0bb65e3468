/*
 * JSON Lines files as a source: one object a line, its top-level keys are the columns.
 *
 * The surprising thing: describing reads the files whole. A key may come up for the first time
 * in the last line, and a column that is mapped but unknown would be lost without a word; so
 * the columns are all keys there are, and the number of rows is known exactly.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "driver.h"
#include "jsonl/keys.h"
#include "lib/cast.h"
#include "lib/files.h"
#include "lib/jsonscan.h"

enum { KEYS_MAX = 10000 };

struct jsonl_options {
    const char *path;
};

struct jsonl_source_options {
    struct option_types types;
};

struct jsonl {
    const struct jsonl_options *options;
    const struct jsonl_source_options *source_options;
    struct files files;
    struct feed feed;
    uint64_t line; /* in the file, from 1 */
    uint64_t row;  /* over all files, from 1 */
    struct str at; /* the line */
    struct arena arena;
    struct arena casts; /* a row's values that had to change their form */
    struct buf scratch; /* a row's strings without their escapes */
    struct keys keys;
    bool described;
    struct schema schema;
    size_t *guess;     /* of the n-th member of an object: its key in the object before */
    ptrdiff_t *wanted; /* of each key: its place in the projection, or -1 */
    struct value *values;
    size_t nvalues;
    uint64_t rows;
    atomic_bool cancelled;
};

/* Called for every member of an object. */
typedef int (*member_fn)(struct jsonl *j, size_t key, const struct json_span *value,
                         struct error *err);

static int
complain(const struct jsonl *j, const char *at, struct error *err, const char *what)
{
    return error_set(err, ERR_DATA, EINVAL, "%s:%llu:%zu: %s", j->feed.file->path,
                     (unsigned long long)j->line, (size_t)(at - j->at.p) + 1, what);
}

static void
jsonl_close(void *handle)
{
    struct jsonl *j = handle;
    feed_done(&j->feed);
    files_done(&j->files);
    arena_done(&j->arena);
    arena_done(&j->casts);
    buf_done(&j->scratch);
    keys_done(&j->keys);
    free(j->guess);
    free(j);
}

static int
jsonl_open(const void *connection, const struct model *model, void **ret, struct error *err)
{
    struct jsonl *j = calloc(1, sizeof *j);
    if (!j)
        return error_no_memory(err);
    j->options = connection;
    j->source_options = model->options;
    j->feed = (struct feed){.fd = -1, .cancelled = &j->cancelled};
    j->scratch = (struct buf)BUF_INIT(BUF_NO_MAX);
    j->guess = calloc(KEYS_MAX, sizeof *j->guess);
    int rc = j->guess ? files_open(&j->files, j->options->path, err) : error_no_memory(err);
    if (rc) {
        jsonl_close(j);
        return rc;
    }
    *ret = j;
    return 0;
}

/* ---- lines ---- */

/* 1: j->at is the next line, without its newline; 0: there is none; -errno. */
static int
next_line(struct jsonl *j, struct error *err)
{
    struct feed *f = &j->feed;
    size_t searched = 0;
    for (;;) {
        size_t left = f->end - f->pos;
        const char *from = f->p + f->pos;
        const char *newline =
            left > searched ? memchr(from + searched, '\n', left - searched) : NULL;
        if (newline || (f->eof && left)) {
            size_t n = newline ? (size_t)(newline - from) : left;
            j->at = (struct str){from, n};
            f->pos += n + (newline != NULL);
            j->line++;
            return 1;
        }
        if (f->eof)
            return 0;
        searched = left;
        int rc = feed_more(f, err);
        if (rc)
            return rc;
    }
}

static int
open_file(struct jsonl *j, size_t i, struct error *err)
{
    int rc = feed_open(&j->feed, &j->files, i, err);
    if (!rc)
        rc = feed_more(&j->feed, err);
    if (!rc && j->feed.end >= 3 && memcmp(j->feed.p, "\xEF\xBB\xBF", 3) == 0)
        j->feed.pos = 3; /* byte order mark */
    j->line = 0;
    return rc;
}

/* ---- objects ---- */

/* The number of a key, new or known. -errno when it cannot be one. */
static ptrdiff_t
key_number(struct jsonl *j, const struct json_span *name, size_t member, struct error *err)
{
    struct str text = {name->p, name->n};
    if (!name->escaped && member < KEYS_MAX && j->guess[member] < j->keys.list.n) {
        const struct key *guess = &j->keys.list.p[j->guess[member]];
        if (str_equal((struct str){guess->name, guess->n}, text))
            return (ptrdiff_t)j->guess[member];
    }
    AUTO_BUF struct buf plain = BUF_INIT(BUF_NO_MAX);
    if (name->escaped) {
        struct json_fault fault;
        if (!json_unescape(name, &plain, &fault))
            return complain(j, fault.at, err, fault.what);
        if (plain.failed)
            return error_no_memory(err);
        text = buf_str(&plain);
    }
    ptrdiff_t key = keys_find(&j->keys, text);
    if (key < 0 && j->described)
        return error_set(err, ERR_DATA, EIO, "\"%s\" changed while it was read",
                         j->feed.file->path);
    if (key < 0 && j->keys.list.n == KEYS_MAX)
        return error_set(err, ERR_LIMIT, E2BIG, "%s:%llu: more than %d different keys",
                         j->feed.file->path, (unsigned long long)j->line, KEYS_MAX);
    if (key < 0)
        key = keys_add(&j->keys, text, &j->arena);
    if (key < 0)
        return error_no_memory(err);
    if (member < KEYS_MAX)
        j->guess[member] = (size_t)key;
    return key;
}

/* Reads "key": value at p; returns what comes after it, or NULL and *err. */
static const char *
read_member(struct jsonl *j, const char *p, size_t member, member_fn fn, struct error *err)
{
    const char *end = j->at.p + j->at.n;
    struct json_fault fault;
    struct json_span name, value;
    if (p == end || *p != '"') {
        complain(j, p, err, "expected a key in quotes");
        return NULL;
    }
    const char *began = p;
    p = json_scan(p, end, &name, &fault);
    if (!p) {
        complain(j, fault.at, err, fault.what);
        return NULL;
    }
    ptrdiff_t key = key_number(j, &name, member, err);
    if (key < 0)
        return NULL;
    if (j->keys.list.p[key].seen == j->row) {
        complain(j, began, err, "the object has this key twice");
        return NULL;
    }
    j->keys.list.p[key].seen = j->row;
    p = json_space(p, end);
    if (p == end || *p != ':') {
        complain(j, p, err, "expected \":\"");
        return NULL;
    }
    p = json_scan(json_space(p + 1, end), end, &value, &fault);
    if (!p) {
        complain(j, fault.at, err, fault.what);
        return NULL;
    }
    return fn(j, (size_t)key, &value, err) ? NULL : p;
}

/* 1: the line held an object; 0: it was blank. */
static int
read_object(struct jsonl *j, member_fn fn, struct error *err)
{
    const char *end = j->at.p + j->at.n, *p = json_space(j->at.p, end);
    if (p == end)
        return 0;
    size_t good = utf8_check(j->at.p, j->at.n);
    if (good < j->at.n)
        return complain(j, j->at.p + good, err, j->at.p[good] ? "not valid UTF-8" : "NUL byte");
    if (*p != '{')
        return complain(j, p, err, "expected an object");
    j->row++;
    p = json_space(p + 1, end);
    bool more = p == end || *p != '}';
    for (size_t member = 0; more; member++) {
        p = read_member(j, p, member, fn, err);
        if (!p)
            return -err->errnum;
        p = json_space(p, end);
        more = p < end && *p == ',';
        if (more)
            p = json_space(p + 1, end);
        else if (p == end || *p != '}')
            return complain(j, p, err, "expected \",\" or \"}\"");
    }
    p = json_space(p + 1, end);
    return p == end ? 1 : complain(j, p, err, "text after the object");
}

/* ---- columns ---- */

static int
ignore_member(struct jsonl *j, size_t key, const struct json_span *value, struct error *err)
{
    if (value->kind != JSON_SPAN_STRING || !value->escaped)
        return 0;
    /* A string that no text can hold shall be found before anything is sent. */
    struct json_fault fault;
    buf_clear(&j->scratch);
    return json_unescape(value, &j->scratch, &fault) ? 0
                                                     : complain(j, fault.at, err, fault.what);
}

static int
make_schema(struct jsonl *j, struct error *err)
{
    const struct jsonl_source_options *o = j->source_options;
    for (size_t i = 0; o && i < o->types.n; i++)
        if (keys_add(&j->keys, str_of(o->types.columns[i]), &j->arena) < 0)
            return error_no_memory(err);
    size_t n = j->keys.list.n;
    j->schema.columns = arena_alloc(&j->arena, (n + 1) * sizeof *j->schema.columns);
    if (!j->schema.columns)
        return error_no_memory(err);
    for (size_t i = 0; i < n; i++)
        j->schema.columns[i].name = j->keys.list.p[i].name;
    for (size_t i = 0; o && i < o->types.n; i++)
        j->schema.columns[keys_find(&j->keys, str_of(o->types.columns[i]))].type =
            o->types.types[i];
    j->schema.n = n;
    return 0;
}

static int
jsonl_describe(void *handle, struct schema *ret, struct error *err)
{
    struct jsonl *j = handle;
    for (size_t i = 0; !j->described && i < j->files.n; i++) {
        int rc = open_file(j, i, err);
        while (!rc && (rc = next_line(j, err)) > 0) {
            rc = read_object(j, ignore_member, err);
            if (rc < 0)
                return rc;
            rc = 0;
        }
        if (rc)
            return rc;
    }
    if (!j->described) {
        int rc = make_schema(j, err);
        if (rc)
            return rc;
        j->rows = j->row;
        j->described = true;
    }
    *ret = j->schema;
    return 0;
}

static int
jsonl_plan(void *handle, const struct projection *projection, bool want_order,
           struct source_plan *ret, struct error *err)
{
    struct jsonl *j = handle;
    struct schema schema;
    int rc = jsonl_describe(j, &schema, err);
    if (rc)
        return rc;
    j->nvalues = projection->n;
    j->values = arena_alloc(&j->arena, (projection->n + 1) * sizeof *j->values);
    j->wanted = arena_alloc(&j->arena, (schema.n + 1) * sizeof *j->wanted);
    if (!j->values || !j->wanted)
        return error_no_memory(err);
    for (size_t i = 0; i < schema.n; i++)
        j->wanted[i] = -1;
    for (size_t i = 0; i < projection->n; i++) {
        ptrdiff_t key = keys_find(&j->keys, str_of(projection->columns[i]));
        if (key < 0)
            return error_set(err, ERR_CONFIG, EINVAL, "no column \"%s\"",
                             projection->columns[i]);
        j->wanted[key] = (ptrdiff_t)i;
    }
    *ret = (struct source_plan){.rows = (int64_t)j->rows, .rows_exact = true};
    return 0;
}

/* ---- rows ---- */

static void
set(struct value *v, enum value_type type, const char *p, size_t n)
{
    *v = (struct value){.p = p, .n = (uint32_t)n, .type = (uint8_t)type};
}

/* A string's text; scratch has room for all of the row, so it never moves. */
static int
text_of(struct jsonl *j, const struct json_span *s, struct str *ret, struct error *err)
{
    *ret = (struct str){s->p, s->n};
    if (!s->escaped)
        return 0;
    if (j->scratch.n == 0 && !buf_room(&j->scratch, j->at.n + 1))
        return error_no_memory(err);
    size_t from = j->scratch.n;
    struct json_fault fault;
    if (!json_unescape(s, &j->scratch, &fault))
        return complain(j, fault.at, err, fault.what);
    *ret = (struct str){j->scratch.p + from, j->scratch.n - from};
    return 0;
}

static void
natural_number(const struct json_span *s, struct value *v)
{
    int64_t i;
    struct str text = {s->p, s->n};
    if (s->kind == JSON_SPAN_INTEGER && str_is(text, "-0"))
        set(v, V_INT, "0", 1);
    else if (s->kind == JSON_SPAN_INTEGER && cast_to_int(text, &i))
        set(v, V_INT, s->p, s->n);
    else
        set(v, V_DECIMAL, s->p, s->n);
}

static int
natural_value(struct jsonl *j, const struct json_span *s, struct value *v, struct error *err)
{
    struct str text;
    int rc = 0;
    switch (s->kind) {
    case JSON_SPAN_NULL:
        set(v, V_NULL, NULL, 0);
        break;
    case JSON_SPAN_FALSE:
        set(v, V_BOOL, "f", 1);
        break;
    case JSON_SPAN_TRUE:
        set(v, V_BOOL, "t", 1);
        break;
    case JSON_SPAN_INTEGER:
    case JSON_SPAN_NUMBER:
        natural_number(s, v);
        break;
    case JSON_SPAN_STRING:
        rc = text_of(j, s, &text, err);
        if (!rc)
            set(v, V_TEXT, text.p, text.n);
        break;
    case JSON_SPAN_OBJECT:
    case JSON_SPAN_ARRAY:
        set(v, V_JSON, s->p, s->n);
        break;
    }
    return rc;
}

/* The value of a key with a declared type. */
static int
typed_value(struct jsonl *j, const struct column *column, const struct json_span *s,
            struct value *v, struct error *err)
{
    bool string = s->kind == JSON_SPAN_STRING;
    if (s->kind == JSON_SPAN_NULL)
        return natural_value(j, s, v, err);
    if (column->type == V_JSON) { /* a string keeps its quotes */
        set(v, V_JSON, s->p - string, s->n + 2 * (size_t)string);
        return 0;
    }
    struct str text;
    int rc = string ? text_of(j, s, &text, err) : 0;
    if (rc)
        return rc;
    if (!string)
        text = (struct str){s->p, s->n};
    rc = cast_text(column->type, text, &j->casts, v);
    if (rc != -EINVAL)
        return rc ? error_no_memory(err) : 0;
    const char *type = value_type_name(column->type);
    return error_set(err, ERR_DATA, EINVAL, "%s:%llu:%zu: column \"%s\": \"%.*s\" is not %s %s",
                     j->feed.file->path, (unsigned long long)j->line,
                     (size_t)(s->p - string - j->at.p) + 1, column->name,
                     (int)utf8_cut(text.p, text.n, 80), text.p,
                     strchr("aeiou", type[0]) ? "an" : "a", type);
}

static int
take_member(struct jsonl *j, size_t key, const struct json_span *value, struct error *err)
{
    if (j->wanted[key] < 0)
        return 0;
    struct value *v = &j->values[j->wanted[key]];
    const struct column *column = &j->schema.columns[key];
    return column->type == V_NULL ? natural_value(j, value, v, err)
                                  : typed_value(j, column, value, v, err);
}

static int
read_file(struct jsonl *j, size_t i, source_row_fn row, void *arg, struct error *err)
{
    int rc = open_file(j, i, err);
    while (!rc && (rc = next_line(j, err)) > 0) {
        for (size_t k = 0; k < j->nvalues; k++)
            set(&j->values[k], V_NULL, NULL, 0);
        buf_clear(&j->scratch);
        if (j->casts.head)
            arena_clear(&j->casts);
        rc = read_object(j, take_member, err);
        if (rc > 0)
            rc = row(arg, j->values, err);
    }
    return rc;
}

static int
jsonl_read(void *handle, source_row_fn row, void *arg, struct error *err)
{
    struct jsonl *j = handle;
    j->row++; /* no row of this pass has the number of the last described one */
    for (size_t i = 0; i < j->files.n; i++) {
        int rc = read_file(j, i, row, arg, err);
        if (rc)
            return rc;
    }
    return files_check(&j->files, err);
}

static void
jsonl_cancel(void *handle)
{
    atomic_store(&((struct jsonl *)handle)->cancelled, true);
}

static const struct option jsonl_option_table[] = {
    {.name = "path",
     .type = OPT_STRING,
     .flags = OPTION_REQUIRED | OPTION_PATH,
     .offset = offsetof(struct jsonl_options, path),
     .help = "the file, or a glob for several"},
    {0},
};

static const struct option jsonl_source_option_table[] = {
    {.name = "types",
     .type = OPT_TYPES,
     .offset = offsetof(struct jsonl_source_options, types),
     .help = "types of keys that JSON cannot say, as dates; such a key need not be there"},
    {0},
};

static const char jsonl_readme[] =
    "JSON Lines files as a source: one object a line.\n"
    "\n"
    "A connection is a path or a glob. All files it matches are one model, read in the order\n"
    "of their names. Neither \"table\" nor \"query\" is given.\n"
    "\n"
    "    connections/events.json   {\"driver\": \"jsonl\", \"path\": \"/srv/events/*.jsonl\"}\n"
    "    config.json               \"source\": {\"connection\": \"events\",\n"
    "                                         \"types\": {\"at\": \"timestamp\"}}\n"
    "\n"
    "Columns: every top-level key that any line has. The files are read once to find them, "
    "and\n"
    "once for the rows. A line without a key has NULL there. Blank lines are skipped.\n"
    "\n"
    "Values: whole numbers of 64 bits are integers; other numbers are decimals with every "
    "digit\n"
    "as it is written; strings are text; true and false are booleans; objects and arrays are\n"
    "JSON, as they are written. \"types\" makes more of them: a string or number of such a key "
    "is\n"
    "read as boolean, integer, decimal, float, text, bytes (\\x6162), date, time, timestamp,\n"
    "\"timestamp with time zone\" or json, and what does not fit is an error.\n"
    "\n"
    "Errors name file, line and column, and end the run: a line that is no object, malformed\n"
    "JSON, invalid UTF-8, a key twice in an object, \\u0000 or half a surrogate pair in a "
    "string.\n"
    "\n"
    "One state of the files: a file that changes between the start and the end of a reading\n"
    "(size, modification time, inode) is an error. Replace files by renaming.\n"
    "\n"
    "Limits: 10,000 different keys, 1,024 levels, 512 MiB a line. Rows come in the files' "
    "order,\n"
    "so identifiers are sorted by the engine.\n";

const struct driver driver_jsonl = {
    .name = "jsonl",
    .summary = "JSON Lines files (source)",
    .readme = jsonl_readme,
    .options = jsonl_option_table,
    .options_size = sizeof(struct jsonl_options),
    .source_options = jsonl_source_option_table,
    .source_options_size = sizeof(struct jsonl_source_options),
    .source_open = jsonl_open,
    .source_describe = jsonl_describe,
    .source_plan = jsonl_plan,
    .source_read = jsonl_read,
    .source_close = jsonl_close,
    .source_cancel = jsonl_cancel,
};
