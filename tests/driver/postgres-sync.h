/* Driving the PostgreSQL destination as the engine does: a sync's rows in, what it told out. */
#pragma once

#include <pthread.h>
#include <unistd.h>

#include "postgres-server.h"

struct sync {
    const char *object, *fields; /* "id:integer,name:text" */
    size_t nkey;                 /* the first fields */
    enum mode mode;
    bool create, full, survey, dry;
    const char *rows;    /* "u i:1|t:a\nd i:2\n": operation and values */
    const char *removes; /* the same, written after the survey */
    const char *token;
    void *connection;             /* NULL: the usual one */
    const struct column *columns; /* instead of fields */
    size_t ncolumns;
};

static struct buf told; /* what the driver said, in lines */

static inline size_t
parse_fields(const char *text, struct column *fields)
{
    size_t n = 0;
    while (text && *text) {
        const char *colon = strchr(text, ':'), *end = strchrnul(text, ',');
        fields[n++] = (struct column){
            .name = arena_strndup(&arena, text, (size_t)(colon - text)),
            .type = (enum value_type)value_type_parse(
                (struct str){colon + 1, (size_t)(end - colon - 1)}),
        };
        text = *end ? end + 1 : end;
    }
    return n;
}

static inline void
tell(uint64_t seq, const struct outcome *o)
{
    buf_addf(&told, "%llu %s %s\n", (unsigned long long)seq, o->code, o->why);
}

static inline void
verdict(void *arg, uint64_t seq, const struct outcome *outcome)
{
    tell(seq, outcome);
}

static inline int
foreign(void *arg, const struct value *key, struct str record, struct error *err)
{
    buf_adds(&told, "foreign");
    const char *p = record.p;
    for (struct value v; record_next(&p, record.p + record.n, &v);) {
        buf_addc(&told, ' ');
        drive_value(&told, &v);
    }
    buf_addc(&told, '\n');
    return 0;
}

static inline enum operation
op_of(char letter)
{
    switch (letter) {
    case 'i':
        return OP_INSERT;
    case 'm':
        return OP_UPDATE;
    case 'd':
        return OP_DELETE;
    case 'p':
        return OP_PRESENT;
    default:
        return OP_UPSERT;
    }
}

/* Writes the rows three a batch; seq goes on from *seq. */
static inline int
write_rows(void *handle, const struct sync *s, const char *rows, uint64_t *seq,
           struct error *err)
{
    enum { BATCH = 3, FIELDS = 32 };
    struct change changes[BATCH];
    struct outcome out[BATCH];
    int rc = 0;
    while (!rc && rows && *rows) {
        struct batch batch = {.changes = changes};
        for (; batch.n < BATCH && *rows; batch.n++) {
            const char *end = strchrnul(rows, '\n');
            struct value *values = arena_alloc(&arena, FIELDS * sizeof *values);
            char *line = arena_strndup(&arena, rows + 2, (size_t)(end - rows - 2));
            drive_parse(line, values, FIELDS, &arena);
            changes[batch.n] = (struct change){.op = op_of(*rows), .seq = (*seq)++};
            bool bare = *rows == 'd' || *rows == 'p';
            changes[batch.n].after = bare ? NULL : values;
            changes[batch.n].key = values;
            rows = *end ? end + 1 : end;
        }
        memset(out, 0, sizeof out);
        rc = driver_postgres.dest_write(handle, &batch, out, err);
        for (size_t i = 0; !rc && i < batch.n; i++)
            if (out[i].kind == ROW_REJECTED)
                tell(changes[i].seq, &out[i]);
            else if (out[i].kind != ROW_STAGED)
                buf_addf(&told, "outcome %d\n", out[i].kind);
    }
    return rc;
}

static inline int
attempt(void *handle, const struct sync *s, bool careful, struct error *err)
{
    struct session session = {.token = s->token ? s->token : "token",
                              .full = s->full,
                              .dry = s->dry,
                              .survey = s->survey,
                              .careful = careful};
    uint64_t seq = 0;
    int rc = driver_postgres.dest_begin(handle, &session, err);
    if (!rc)
        rc = write_rows(handle, s, s->rows, &seq, err);
    if (!rc && s->survey)
        rc = driver_postgres.dest_survey(handle, foreign, NULL, err);
    if (!rc)
        rc = write_rows(handle, s, s->removes, &seq, err);
    if (!rc && !s->dry)
        rc = driver_postgres.dest_apply(handle, verdict, NULL, err);
    if (!rc && !s->dry)
        rc = driver_postgres.dest_commit(handle, err);
    if (rc || s->dry)
        driver_postgres.dest_abort(handle);
    return rc;
}

static inline int
open_dest(const struct sync *s, void **handle, struct error *err)
{
    struct column *fields = arena_alloc(&arena, 2000 * sizeof *fields);
    size_t *key = arena_alloc(&arena, 32 * sizeof *key);
    for (size_t i = 0; i < s->nkey; i++)
        key[i] = i;
    struct target target = {
        .sync = "test",
        .sync_uid = "uid-1",
        .object = s->object,
        .mode = s->mode,
        .create = s->create,
        .fields = s->columns ? s->columns : fields,
        .nfields = s->columns ? s->ncolumns : parse_fields(s->fields, fields),
        .key = key,
        .nkey = s->nkey,
    };
    return driver_postgres.dest_open(s->connection ? s->connection : connection, &target,
                                     handle, err);
}

/* A whole session, replayed as the engine would; what was told, or the error. */
static inline const char *
run(struct sync s)
{
    struct error err = ERROR_INIT;
    void *handle = NULL;
    buf_clear(&told);
    int rc = open_dest(&s, &handle, &err);
    if (!rc)
        rc = attempt(handle, &s, false, &err);
    if (rc == -EAGAIN && err.kind == ERR_REPLAY) {
        buf_clear(&told);
        buf_adds(&told, "replay\n");
        error_clear(&err);
        rc = attempt(handle, &s, true, &err);
    }
    if (rc)
        buf_addf(&told, "error: %s: %s\n", error_kind_name(err.kind), err.text);
    if (rc && rc != -err.errnum)
        printf("Bail out! the return value is not the error's\n");
    driver_postgres.dest_close(handle);
    return arena_strdup(&arena, buf_z(&told));
}

static inline bool
starts(const char *text, const char *with)
{
    bool yes = strncmp(text, with, strlen(with)) == 0;
    if (!yes)
        printf("#   got: %s\n", text);
    return yes;
}

/* t(id, name, n) with rows 1, 2, 3; with and without a unique index. */
static inline void
fresh(bool unique)
{
    sql("DROP TABLE IF EXISTS t");
    sql("CREATE TABLE t (id bigint NOT NULL, name varchar(5), n numeric(6,2) CHECK (n < 100))");
    if (unique)
        sql("ALTER TABLE t ADD PRIMARY KEY (id)");
    sql("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)");
}

#define ALL "SELECT * FROM t ORDER BY id, name, n"
static const struct sync base = {
    .object = "t", .fields = "id:integer,name:text,n:decimal", .nkey = 1};
