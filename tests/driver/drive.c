/* Driving a driver: see drive.h. */
#include "drive.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"

static const char letters[] = {
    [V_NULL] = 'n',   [V_BOOL] = 'b',      [V_INT] = 'i',         [V_DECIMAL] = 'd',
    [V_FLOAT] = 'f',  [V_TEXT] = 't',      [V_BYTES] = 'x',       [V_DATE] = 'D',
    [V_TIME] = 'T',   [V_TIMESTAMP] = 'S', [V_TIMESTAMPTZ] = 'Z', [V_JSON] = 'j',
    [V_ABSENT] = 'a',
};

static void
die(const char *what)
{
    printf("Bail out! %s\n", what);
    exit(1);
}

static struct option_types
parse_types(const char *text, struct arena *arena)
{
    struct option_types t = {.columns = arena_alloc(arena, 64 * sizeof *t.columns),
                             .types = arena_alloc(arena, 64 * sizeof *t.types)};
    while (text && *text) {
        const char *colon = strchr(text, ':'), *end = strchrnul(text, ',');
        t.columns[t.n] = arena_strndup(arena, text, (size_t)(colon - text));
        int type = value_type_parse((struct str){colon + 1, (size_t)(end - colon - 1)});
        if (type < 0)
            die("unknown type");
        t.types[t.n++] = (enum value_type)type;
        text = *end ? end + 1 : end;
    }
    return t;
}

static void
set_option(const struct option *o, void *base, const char *text, struct arena *arena)
{
    void *at = (char *)base + o->offset;
    switch (o->type) {
    case OPT_STRING:
    case OPT_ENUM:
    case OPT_SECRET:
    case OPT_JSON:
        *(const char **)at = text;
        break;
    case OPT_FIELDS:
        *(const struct option_fields **)at = NULL;
        break;
    case OPT_BOOL:
        *(bool *)at = text && strcmp(text, "true") == 0;
        break;
    case OPT_INT:
        *(int64_t *)at = text ? strtoll(text, NULL, 10) : 0;
        break;
    case OPT_CHAR:
        *(char *)at = text ? *text : '\0';
        break;
    case OPT_FIXED:
        *(const char **)at = o->default_text;
        break;
    case OPT_TYPES:
        *(struct option_types *)at = parse_types(text, arena);
        break;
    }
}

void *
drive_options(const struct option *table, size_t size, struct arena *arena, ...)
{
    void *base = arena_alloc(arena, size);
    for (const struct option *o = table; o->name; o++)
        set_option(o, base, o->default_text, arena);
    va_list ap;
    va_start(ap, arena);
    for (const char *name; (name = va_arg(ap, const char *));) {
        const char *text = va_arg(ap, const char *);
        const struct option *o = table;
        while (o->name && strcmp(o->name, name) != 0)
            o++;
        if (!o->name)
            die("unknown option");
        set_option(o, base, text, arena);
    }
    va_end(ap);
    return base;
}

void
drive_value(struct buf *out, const struct value *v)
{
    buf_addc(out, letters[v->type]);
    if (v->type == V_NULL || v->type == V_ABSENT)
        return;
    buf_addc(out, ':');
    buf_add(out, v->p, v->n);
}

size_t
drive_parse(const char *row, struct value *values, size_t max, struct arena *arena)
{
    size_t n = 0;
    while (row && *row && n < max) {
        const char *end = strchrnul(row, '|');
        const char *letter = memchr(letters, *row, sizeof letters);
        if (!letter)
            die("unknown letter");
        bool empty = end - row < 2;
        values[n++] = (struct value){
            .p = empty ? "" : arena_strndup(arena, row + 2, (size_t)(end - row - 2)),
            .n = empty ? 0 : (uint32_t)(end - row - 2),
            .type = (uint8_t)(letter - letters),
        };
        row = *end ? end + 1 : end;
    }
    return n;
}

struct reading {
    struct buf out;
    size_t n;
};

static int
take_row(void *arg, const struct value *values, struct error *err)
{
    struct reading *r = arg;
    for (size_t i = 0; i < r->n; i++) {
        if (i)
            buf_addc(&r->out, '|');
        drive_value(&r->out, &values[i]);
    }
    buf_addc(&r->out, '\n');
    return 0;
}

static size_t
split(const char *list, const char **names, size_t max, struct arena *arena)
{
    size_t n = 0;
    while (list && *list && n < max) {
        const char *end = strchrnul(list, ',');
        names[n++] = arena_strndup(arena, list, (size_t)(end - list));
        list = *end ? end + 1 : end;
    }
    return n;
}

enum what { DESCRIBE, PLAN, READ };

static int
run(const struct drive_source *s, enum what what, struct buf *out, struct arena *arena,
    struct error *err)
{
    enum { MAX = 4096 };
    void *handle = NULL;
    struct schema schema;
    int rc = s->driver->source_open(s->connection, &s->model, &handle, err);
    if (rc)
        return rc;
    rc = s->driver->source_describe(handle, &schema, err);
    for (size_t i = 0; !rc && what == DESCRIBE && i < schema.n; i++)
        buf_addf(out, "%s %s %s\n", schema.columns[i].name,
                 value_type_name(schema.columns[i].type),
                 schema.columns[i].native ? schema.columns[i].native : "-");
    if (!rc && what != DESCRIBE) {
        const char **names = arena_alloc(arena, MAX * sizeof *names);
        const char **order = arena_alloc(arena, MAX * sizeof *order);
        size_t *at = arena_alloc(arena, MAX * sizeof *at);
        enum key_class *class = arena_alloc(arena, MAX * sizeof *class);
        size_t n = split(s->columns, names, MAX, arena),
               norder = split(s->order, order, MAX, arena);
        for (size_t i = 0; !s->columns && i < schema.n && i < MAX; i++)
            names[n++] = schema.columns[i].name;
        for (size_t i = 0; i < norder; i++) {
            for (at[i] = 0; at[i] < n && strcmp(names[at[i]], order[i]) != 0;)
                at[i]++;
            class[i] = KEY_TEXT;
            for (size_t k = 0; k < schema.n; k++)
                if (strcmp(schema.columns[k].name, order[i]) == 0)
                    class[i] = key_class_of(schema.columns[k].type);
        }
        struct projection p = {names, n, at, class, norder};
        struct source_plan plan;
        rc = s->driver->source_plan(handle, &p, s->order != NULL, &plan, err);
        if (!rc && what == PLAN)
            buf_addf(out, "ordered=%d rows=%lld exact=%d%s", plan.ordered, (long long)plan.rows,
                     plan.rows_exact, plan.guessed ? " guessed" : "");
        struct reading r = {.out = *out, .n = n};
        if (!rc && what == READ) {
            rc = s->driver->source_read(handle, take_row, &r, err);
            *out = r.out;
        }
    }
    s->driver->source_close(handle);
    return rc;
}

static char *
as_text(const struct drive_source *s, enum what what)
{
    struct buf out = BUF_INIT(BUF_NO_MAX);
    struct error err = ERROR_INIT;
    AUTO_ARENA struct arena arena = ARENA_INIT;
    int rc = run(s, what, &out, &arena, &err);
    if (rc)
        buf_addf(&out, "error: %s: %s", error_kind_name(err.kind), err.text);
    if (rc && rc != -err.errnum)
        die("the return value is not the error's");
    buf_adds(&out, "");
    return buf_take(&out);
}

char *
drive_read(const struct drive_source *s)
{
    return as_text(s, READ);
}

char *
drive_describe(const struct drive_source *s)
{
    return as_text(s, DESCRIBE);
}

char *
drive_plan(const struct drive_source *s)
{
    return as_text(s, PLAN);
}

void
drive_file(const char *path, const void *p, size_t n)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || file_write_all(fd, p, n, &err))
        die(path);
}

static char directory[4096];

static void
remove_directory(void)
{
    struct error err = ERROR_INIT;
    file_remove_tree(AT_FDCWD, directory, &err);
}

const char *
drive_directory(void)
{
    const char *tmp = getenv("TMPDIR");
    if (directory[0])
        return directory;
    snprintf(directory, sizeof directory, "%s/retlfs-driver-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(directory))
        die("mkdtemp");
    atexit(remove_directory);
    return directory;
}
