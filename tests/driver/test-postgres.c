/*
 * PostgreSQL as a destination: every mode with and without a unique index, bad rows anywhere,
 * surveys, plans, exact values, what is known after a commit, a kill or a lost answer.
 */
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

static size_t
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

static void
tell(uint64_t seq, const struct outcome *o)
{
    buf_addf(&told, "%llu %s %s\n", (unsigned long long)seq, o->code, o->why);
}

static void
verdict(void *arg, uint64_t seq, const struct outcome *outcome)
{
    tell(seq, outcome);
}

static int
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

static enum operation
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
static int
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

static int
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

static int
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
static const char *
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

static bool
starts(const char *text, const char *with)
{
    bool yes = strncmp(text, with, strlen(with)) == 0;
    if (!yes)
        printf("#   got: %s\n", text);
    return yes;
}

/* t(id, name, n) with rows 1, 2, 3; with and without a unique index. */
static void
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

static void
test_modes(bool unique)
{
    struct sync s = base;
    fresh(unique);
    s.rows = "u i:2|t:B|d:2.5\nu i:4|t:d|n\nu i:5|t:|d:5";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask(ALL), "1|a|1.00\n2|B|2.50\n3|c|3.00\n4|d|\n5||5.00\n");
    CHECK_TEXT(ask("SELECT id FROM t WHERE name = '' OR n IS NULL ORDER BY 1"), "4\n5\n");

    fresh(unique);
    s.mode = MODE_UPDATE;
    s.rows = "m i:9|t:x|d:1\nm i:2|t:B|d:2.5\nm i:8|t:y|d:1\nm i:1|t:A|n";
    CHECK_TEXT(run(s), "0 no_match no such record at the destination\n"
                       "2 no_match no such record at the destination\n");
    CHECK_TEXT(ask(ALL), "1|A|\n2|B|2.50\n3|c|3.00\n");

    fresh(unique);
    s.mode = MODE_MIRROR;
    s.rows = "u i:2|t:B|d:2.5\nu i:4|t:d|d:4\nd i:3\nd i:77";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask(ALL), "1|a|1.00\n2|B|2.50\n4|d|4.00\n");

    fresh(unique);
    s.full = s.survey = true;
    s.rows = "u i:2|t:B|d:2.5\nu i:4|t:d|d:4\np i:3";
    s.removes = "d i:1";
    CHECK_TEXT(run(s), "foreign i:1 t:a d:1.00\n");
    CHECK_TEXT(ask(ALL), "2|B|2.50\n3|c|3.00\n4|d|4.00\n");

    fresh(unique);
    s = base;
    s.mode = MODE_INSERT;
    s.rows = "i i:7|t:g|d:7\ni i:8|t:h|d:8";
    CHECK_TEXT(run(s), "");
    s.full = true;
    s.rows = "i i:9|t:g|d:7";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT id FROM t WHERE id > 3 ORDER BY 1"), "7\n8\n9\n");

    fresh(unique);
    s = base;
    s.mode = MODE_FULL;
    s.full = true;
    s.rows = "u i:1|t:a|d:1\nu i:2|t:B|d:2\nu i:6|t:f|d:6";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask(ALL), "1|a|1.00\n2|B|2.00\n3|c|3.00\n6|f|6.00\n");

    fresh(unique);
    s.fields = "id:integer";
    s.rows = "u i:1\nu i:10";
    s.mode = MODE_UPSERT;
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT id FROM t ORDER BY 1"), "1\n2\n3\n10\n");
}

/* ---- bad rows ---- */

static void
test_bad_rows(bool unique, bool empty)
{
    struct sync s = base;
    fresh(unique);
    if (empty)
        sql("TRUNCATE t");
    s.full = empty;
    s.rows = "u i:10|t:a|d:1000\n" /* check */
             "u i:11|t:b|d:1\n"
             "u i:12|t:toolong|d:1\n" /* type modifier */
             "u i:13|t:d|d:1\n"
             "u i:14|t:e|t:x\n" /* no number */
             "u i:15|t:f|d:1\n"
             "u i:99999999999999999999|t:g|d:1";
    const char *got = run(s);
    CHECK(starts(got, "replay\n"));
    CHECK(strstr(got, "\n0 23514 new row for relation \"t\" violates check constraint"));
    CHECK(strstr(got, "\n2 22001 value too long for type character varying(5)\n"));
    CHECK(strstr(got, "\n4 22P02 invalid input syntax for type numeric: \"x\""));
    CHECK(strstr(got, "\n6 22003 value \"99999999999999999999\" is out of range for type"));
    CHECK(!strstr(got, "\n1 ") && !strstr(got, "\n3 ") && !strstr(got, "\n5 "));
    CHECK_TEXT(ask("SELECT id FROM t WHERE id > 3 ORDER BY 1"), "11\n13\n15\n");
}

static void
test_bad_staged(void)
{
    struct sync s = base;
    fresh(true);
    s.rows = "u i:1|t:a|d:1000\nu i:2|t:b|d:20\nu i:3|t:c|d:1000\nu i:4|t:d|d:40\nu "
             "i:5|t:e|d:500";
    const char *got = run(s);
    CHECK(starts(got, "0 23514 new row"));
    CHECK(strstr(got, "\n2 23514 ") && strstr(got, "\n4 23514 "));
    CHECK(!strstr(got, "\n1 ") && !strstr(got, "\n3 "));
    CHECK_MSG(strstr(got, "Failing row contains (1, a, 1000.00)") != NULL, "detail is told");
    CHECK_TEXT(ask(ALL), "1|a|1.00\n2|b|20.00\n3|c|3.00\n4|d|40.00\n");

    s.rows = "u i:1|t:a|d:1000\nu i:2|t:b|d:1000";
    got = run(s);
    CHECK(starts(got, "0 23514 ") && strstr(got, "\n1 23514 "));
    CHECK_TEXT(ask("SELECT token FROM retlfs_runs"), "token\n");

    sql("CREATE TABLE child (id bigint REFERENCES t (id) ON DELETE RESTRICT)");
    sql("INSERT INTO child VALUES (2)");
    s.mode = MODE_MIRROR;
    s.rows = "d i:1\nd i:2\nd i:3";
    CHECK(starts(run(s), "1 23503 update or delete on table \"t\" violates foreign key"));
    CHECK_TEXT(ask("SELECT id FROM t ORDER BY 1"), "2\n4\n");
    sql("DROP TABLE child");

    s = base;
    s.mode = MODE_INSERT;
    s.rows = "i i:2|t:a|d:1\ni i:3|t:b|d:1\ni i:3|t:b|d:1";
    CHECK(strstr(run(s), "23505 duplicate key value violates unique constraint \"t_pkey\" "
                         "(Key (id)=(3) already exists.)"));
    CHECK_TEXT(ask("SELECT id FROM t ORDER BY 1"), "2\n3\n4\n");
}

static void
test_many_bad(void)
{
    AUTO_BUF struct buf rows = BUF_INIT(BUF_NO_MAX);
    struct sync s = base;
    size_t lines = 0;
    fresh(false);
    for (int i = 0; i < 3000; i++)
        buf_addf(&rows, "u i:%d|t:x|d:%d\n", 100 + i, i % 100 == 7 ? 1000 : 1);
    s.rows = buf_z(&rows);
    for (const char *p = run(s); *p; p++)
        lines += *p == '\n';
    CHECK(lines == 30);
    CHECK_TEXT(ask("SELECT count(*) FROM t"), "2973\n");
}

static void
test_texts(void)
{
    struct value values[2][3] = {
        {{"1", 1, V_INT}, {"a\0b", 3, V_TEXT}, {.type = V_NULL}},
        {{"2", 1, V_INT}, {"a\xff", 2, V_TEXT}, {.type = V_NULL}},
    };
    struct change changes[2] = {{.op = OP_UPSERT, .seq = 0, .after = values[0]},
                                {.op = OP_UPSERT, .seq = 1, .after = values[1]}};
    struct batch batch = {.changes = changes, .n = 2};
    struct outcome out[2] = {{0}};
    struct session session = {.token = "x"};
    struct error err = ERROR_INIT;
    void *handle;
    fresh(true);
    CHECK(open_dest(&base, &handle, &err) == 0);
    CHECK(driver_postgres.dest_begin(handle, &session, &err) == 0);
    CHECK(driver_postgres.dest_write(handle, &batch, out, &err) == 0);
    CHECK(out[0].kind == ROW_REJECTED && out[1].kind == ROW_REJECTED);
    CHECK_TEXT(out[0].code, "22021");
    CHECK_TEXT(out[0].why, "field \"name\" holds a zero byte");
    CHECK_TEXT(out[1].why, "field \"name\" holds bytes that are no UTF-8");
    driver_postgres.dest_abort(handle);
    driver_postgres.dest_close(handle);
}

/* ---- tables ---- */

static void
test_create(void)
{
    struct column fields[] = {
        {.name = "Id", .type = V_INT, .native = "integer"},
        {.name = "price", .type = V_DECIMAL, .native = "numeric(10,2)"},
        {.name = "u", .type = V_TEXT, .native = "uuid"},
        {.name = "what", .type = V_TEXT, .native = "no such type at all("},
        {.name = "doc", .type = V_JSON, .native = "jsonb"},
        {.name = "any", .type = V_NULL},
        {.name = "odd", .type = V_DATE, .native = "text"},
        {.name = "tags", .type = V_TEXT, .native = "character varying(3)[]"},
    };
    struct sync s = {.object = "\"New \"\"S\".\"Some T\"",
                     .columns = fields,
                     .ncolumns = sizeof fields / sizeof *fields,
                     .nkey = 1,
                     .create = true,
                     .full = true,
                     .rows = "u i:9007199254740993|d:0.123|t:a0eebc99-9c0b-4ef8-bb6d-"
                             "6bb9bd380a11|t:w|j:{\"a\": 1}|n|D:2024-01-31|t:{abcd,NULL}"};
    struct sync none = s;
    none.create = false;
    CHECK_TEXT(run(none), "error: config: table \"New \"\"S\".\"Some T\" does not exist; make "
                          "it, or set \"create\": true\n");
    none = s;
    none.dry = true;
    none.survey = true;
    CHECK_TEXT(run(none), "");
    CHECK_TEXT(ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'New \"S'"), "0\n");
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT * FROM \"New \"\"S\".\"Some T\""),
               "9007199254740993|0.123|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|w|{\"a\": 1}||2024-"
               "01-31|{abcd,NULL}\n");
    CHECK_TEXT(
        ask("SELECT string_agg(format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM "
            "pg_attribute WHERE attrelid = '\"New \"\"S\".\"Some T\"'::regclass AND attnum > "
            "0"),
        "bigint, numeric, uuid, text, jsonb, text, date, character varying[]\n");
    CHECK_TEXT(ask("SELECT indisprimary FROM pg_index WHERE indrelid = '\"New \"\"S\".\"Some "
                   "T\"'::regclass"),
               "t\n");
    CHECK_TEXT(ask("SELECT sync, token FROM \"New \"\"S\".retlfs_runs"), "uid-1|token\n");

    s = (struct sync){.object = "dups",
                      .fields = "id:integer",
                      .nkey = 1,
                      .mode = MODE_INSERT,
                      .create = true,
                      .full = true,
                      .rows = "i i:1\ni i:1"};
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT count(*) FROM dups"), "2\n");

    s = (struct sync){.object = "badly",
                      .fields = "id:integer,n:decimal",
                      .nkey = 1,
                      .create = true,
                      .full = true,
                      .rows = "u i:1|t:x\nu i:2|d:2"};
    CHECK(starts(run(s), "replay\n0 22P02 invalid input syntax for type numeric: \"x\"\n"));
    CHECK_TEXT(ask("SELECT * FROM badly"), "2|2\n");
}

static void
test_columns(void)
{
    struct sync s = base;
    sql("DROP TABLE IF EXISTS t; CREATE DOMAIN code AS varchar(3) NOT NULL CHECK (value <> "
        "'bad')");
    sql("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT "
        "NULL DEFAULT 'dflt', n int NOT NULL, c code, twice int GENERATED ALWAYS AS (n * 2) "
        "STORED)");
    s.fields = "id:integer,name:text";
    s.rows = "u i:1|t:a";
    CHECK_TEXT(run(s), "error: config: column \"n\" of \"public\".\"t\" is not mapped, refuses "
                       "NULL and has no default\n");
    s.fields = "id:integer,nope:text";
    CHECK_TEXT(run(s), "error: config: table \"public\".\"t\" has no column \"nope\"; it has: "
                       "id, name, n, c, twice\n");
    s.fields = "id:integer,twice:integer";
    CHECK_TEXT(run(s), "error: config: column \"twice\" of \"public\".\"t\" is generated and "
                       "cannot be written\n");
    s.fields = "n:integer,id:integer,c:text";
    CHECK(starts(run(s), "error: config: column \"id\" of \"public\".\"t\" is generated always "
                         "as identity and cannot be updated"));
    s.fields = "id:integer,n:integer,c:text";
    s.rows = "u i:5|i:1|t:abc\nu i:6|i:2|t:bad\nu i:7|n|t:x\nu i:8|i:1|n";
    const char *got = run(s);
    CHECK(strstr(got, "1 23514 value for domain code violates check constraint"));
    CHECK(
        strstr(got, "2 23502 null value in column \"n\" of relation \"t\" violates not-null"));
    CHECK(strstr(got, "3 23502 domain code does not allow null values"));
    CHECK_TEXT(ask("SELECT * FROM t"), "5|dflt|1|abc|2\n");
    s.mode = MODE_MIRROR;
    s.rows = "d i:5";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT count(*) FROM t"), "0\n");
    s.full = true;
    s.rows = "u i:50|i:1|t:abc";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT id FROM t"), "50\n");
}

static void
test_views_and_triggers(void)
{
    struct sync s = base;
    fresh(true);
    sql("CREATE VIEW v AS SELECT id, name FROM t WHERE id < 100 WITH CHECK OPTION");
    sql("CREATE VIEW grouped AS SELECT count(*) AS id FROM t");
    s.fields = "id:integer,name:text";
    s.object = "v";
    s.rows = "u i:1|t:new\nu i:50|t:ins\nu i:500|t:out";
    CHECK(starts(run(s), "2 44000 new row violates check option for view \"v\""));
    CHECK_TEXT(ask("SELECT id, name FROM t ORDER BY 1"), "1|new\n2|b\n3|c\n50|ins\n");
    s.object = "grouped";
    s.fields = "id:integer";
    CHECK(starts(run(s), "error: config: \"public\".\"grouped\" takes no inserts"));
    sql("DROP VIEW v, grouped");
    sql("CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = "
        "'no' THEN RAISE EXCEPTION 'not that one' USING HINT = 'another'; END IF; RETURN NEW; "
        "END $$; CREATE TRIGGER picky BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE "
        "FUNCTION picky()");
    s = base;
    s.rows = "u i:1|t:yes|n\nu i:2|t:no|n\nu i:4|t:yes|n";
    CHECK_TEXT(run(s), "1 P0001 not that one; hint: another\n");
    CHECK_TEXT(ask("SELECT id, name FROM t ORDER BY 1"), "1|yes\n2|b\n3|c\n4|yes\n50|ins\n");

    sql("DROP TABLE t; CREATE TABLE t (id bigint PRIMARY KEY, name text UNIQUE DEFERRABLE "
        "INITIALLY DEFERRED, n int); INSERT INTO t VALUES (1, 'a')");
    s.rows = "u i:2|t:a|n\nu i:3|t:c|n";
    CHECK(starts(run(s), "0 23505 duplicate key"));
    CHECK_TEXT(ask("SELECT id, name FROM t ORDER BY 1"), "1|a\n3|c\n");
}

static void
test_keys(void)
{
    struct sync s = {.object = "pairs", .fields = "a:text,b:integer,c:text", .nkey = 2};
    sql("CREATE TABLE pairs (a text COLLATE \"C\", b int, c text)");
    s.rows = "u t:x|i:1|t:one\nu t:x|i:2|t:two\nu t:|i:1|t:empty";
    CHECK_TEXT(run(s), "");
    s.mode = MODE_MIRROR;
    s.rows = "u t:x|i:1|t:uno\nd t:|i:1";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT * FROM pairs ORDER BY 1, 2"), "x|1|uno\nx|2|two\n");
    s.full = s.survey = true;
    s.rows = "u t:x|i:2|t:two\nu t:bad|t:nan|t:x";
    s.removes = "d t:x|i:1";
    const char *got = run(s);
    CHECK(starts(got, "replay\nforeign t:x i:1 t:uno\n1 22P02 invalid input syntax"));
    CHECK_TEXT(ask("SELECT * FROM pairs"), "x|2|two\n");

    sql("CREATE TABLE docs (j json, c text)");
    s = (struct sync){
        .object = "docs", .fields = "j:json,c:text", .nkey = 1, .rows = "u j:1|n"};
    CHECK(starts(run(s), "error: config: operator does not exist: json = json"));
}

static void
test_dry(void)
{
    struct sync s = base;
    fresh(true);
    sql("DROP TABLE retlfs_runs");
    s.mode = MODE_MIRROR;
    s.full = s.survey = s.dry = true;
    s.rows = "u i:1|t:toolong for it|d:1\nu i:9|t:x|t:y\np i:2";
    CHECK_TEXT(run(s), "foreign i:3 t:c d:3.00\n");
    CHECK_TEXT(ask("SELECT to_regclass('retlfs_runs'), count(*) FROM t"), "|3\n");
}

/* ---- exact values ---- */

struct crossing {
    void *handle;
    size_t n;
    uint64_t seq;
};

static int
pass_on(void *arg, const struct value *values, struct error *err)
{
    struct crossing *c = arg;
    struct change change = {.op = OP_UPSERT, .seq = c->seq++, .after = values};
    struct batch batch = {.changes = &change, .n = 1};
    struct outcome out = {0};
    int rc = driver_postgres.dest_write(c->handle, &batch, &out, err);
    return rc || out.kind == ROW_STAGED ? rc : error_set(err, ERR_DATA, EINVAL, "%s", out.why);
}

static void
cross(bool careful, struct error *err)
{
    struct model model = {.sync = "test", .table = "from_t"};
    struct schema schema;
    struct source_plan plan;
    struct crossing c = {0};
    void *source = NULL;
    const char *columns[64];
    struct session session = {.token = "cross", .full = true, .careful = careful};
    if (driver_postgres.source_open(connection, &model, &source, err) ||
        driver_postgres.source_describe(source, &schema, err))
        return;
    c.n = schema.n;
    for (size_t i = 0; i < schema.n; i++)
        columns[i] = schema.columns[i].name;
    struct projection p = {.columns = columns, .n = schema.n};
    struct sync s = {.object = "to_t",
                     .columns = schema.columns,
                     .ncolumns = schema.n,
                     .nkey = 1,
                     .create = true};
    if (!driver_postgres.source_plan(source, &p, false, &plan, err) &&
        !open_dest(&s, &c.handle, err) &&
        !driver_postgres.dest_begin(c.handle, &session, err) &&
        !driver_postgres.source_read(source, pass_on, &c, err) &&
        !driver_postgres.dest_apply(c.handle, verdict, NULL, err))
        driver_postgres.dest_commit(c.handle, err);
    driver_postgres.dest_close(c.handle);
    driver_postgres.source_close(source);
}

static void
test_exact(void)
{
    static const bool careful[] = {false, true};
    sql("CREATE TYPE colour AS ENUM ('red', 'a\\b''c')");
    sql("CREATE TABLE from_t (id int8 PRIMARY KEY, a bool, b int2, c int8, d numeric, e float4,"
        " f float8, g text, h bytea, i date, j time, k timetz, l timestamp, m timestamptz,"
        " o json, p jsonb, q text[], r colour, s interval, t inet, u uuid, v char(4),"
        " w \"char\", x bit varying, y int4range)");
    sql("INSERT INTO from_t VALUES (9007199254740993, true, -32768, -9223372036854775808,"
        " 0.10, 0.1, 0.30000000000000004, E'tab\\tnl\\ncr\\rbs\\\\ bell\\a del\\x7f \u2603',"
        " decode((SELECT string_agg(lpad(to_hex(n), 2, '0'), '') FROM generate_series(0, 255)"
        " AS n), 'hex'), '0044-03-15 BC', '24:00', '13:00:00.000001+05:30', 'infinity',"
        " '-infinity', E'{\"a\" :\\n [1.0, \"\\\\\\\\t\"]}', '{\"n\": 1e2}', "
        "ARRAY['a,b', NULL, '', E'q\"\\\\'], 'a\\b''c', '1 mon -2 days 03:04:05.6', '::1/64',"
        " gen_random_uuid(), 'x', 'y', B'0101', '[1,5)')");
    sql("INSERT INTO from_t (id, d, e, f, g, h, q, v) VALUES (2, 'NaN', 'Infinity', 'NaN', '',"
        " '', '{}', ''), (3, 123456789012345678901234567890.123456789, '-Infinity',"
        " 1.7976931348623157e308, '\\N', '\\x00', '{{1,2},{3,4}}', NULL), (4, 1e-20, 1e-45,"
        " 5e-324, '\\.', NULL, NULL, '    ')");
    for (size_t i = 0; i < 2; i++) {
        struct error err = ERROR_INIT;
        sql("DROP TABLE IF EXISTS to_t");
        cross(careful[i], &err);
        CHECK_TEXT(err.text, "");
        CHECK_TEXT(ask("SELECT count(*), count(*) FILTER (WHERE from_t::text = to_t::text)"
                       " FROM from_t JOIN to_t USING (id)"),
                   "4|4\n");
    }
}

/* ---- ends of sessions ---- */

static const char *
resolve(const char *token)
{
    struct error err = ERROR_INIT;
    enum dest_fate fate = FATE_UNKNOWN;
    void *handle = NULL;
    int rc = open_dest(&base, &handle, &err);
    if (!rc)
        rc = driver_postgres.dest_resolve(handle, token, &fate, &err);
    driver_postgres.dest_close(handle);
    if (rc)
        return arena_printf(&arena, "%s: %s", error_kind_name(err.kind), err.text);
    return fate == FATE_COMMITTED ? "committed" : fate == FATE_NOT_COMMITTED ? "not" : "?";
}

#define KILL                                                                                   \
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name ="    \
    " 'retlfs/test'"

static void
test_fate(void)
{
    struct sync s = base;
    struct error err = ERROR_INIT;
    struct session session = {.token = "run-2"};
    uint64_t seq = 0;
    void *handle;
    fresh(true);
    sql("DROP TABLE IF EXISTS retlfs_runs");
    CHECK_TEXT(resolve("run-1"), "not");
    s.rows = "u i:1|t:z|n";
    s.token = "run-1";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(resolve("run-1"), "committed");
    CHECK_TEXT(resolve("run-2"), "not");

    CHECK(open_dest(&s, &handle, &err) == 0);
    CHECK(driver_postgres.dest_begin(handle, &session, &err) == 0);
    CHECK(write_rows(handle, &s, "u i:7|t:x|n\nu i:8|t:x|n", &seq, &err) == 0);
    CHECK_MSG(starts(resolve("run-2"), "unreachable: the server still works on"),
              "an open session is waited for");
    ask(KILL);
    CHECK(driver_postgres.dest_apply(handle, verdict, NULL, &err) < 0);
    CHECK(err.kind == ERR_UNREACHABLE);
    driver_postgres.dest_abort(handle);
    driver_postgres.dest_close(handle);
    CHECK_TEXT(resolve("run-2"), "not");
    CHECK_TEXT(ask("SELECT count(*) FROM t"), "3\n");
}

struct job {
    void *handle;
    int rc;
    struct error err;
};

static void *
commit(void *arg)
{
    struct job *job = arg;
    job->rc = driver_postgres.dest_commit(job->handle, &job->err);
    return NULL;
}

static bool
wait_until(const char *question, const char *answer)
{
    usec_t deadline = clock_monotonic() + 10 * 1000000;
    while (strcmp(ask(question), answer) != 0) {
        if (clock_monotonic() > deadline)
            return false;
        usleep(2000);
    }
    return true;
}

#define WAITS_FOR                                                                              \
    "SELECT wait_event FROM pg_stat_activity WHERE application_name = 'retlfs/test'"           \
    " AND state = 'active'"

/* COMMIT waits for a standby that does not exist; the connection breaks meanwhile. */
static void
test_lost_commit(void)
{
    struct job job = {.err = ERROR_INIT};
    struct session session = {.token = "lost"};
    struct sync s = base;
    uint64_t seq = 0;
    pthread_t thread;
    fresh(true);
    sql("CREATE ROLE waits LOGIN SUPERUSER");
    sql("ALTER ROLE waits SET synchronous_commit = on");
    sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    sql("SELECT pg_reload_conf()");
    CHECK(wait_until("SHOW synchronous_standby_names", "nobody\n"));
    s.connection = drive_options(driver_postgres.options, driver_postgres.options_size, &arena,
                                 "dbname", "postgres", "user", "waits", NULL);
    CHECK(open_dest(&s, &job.handle, &job.err) == 0);
    CHECK(driver_postgres.dest_begin(job.handle, &session, &job.err) == 0);
    CHECK(write_rows(job.handle, &base, "u i:9|t:x|n", &seq, &job.err) == 0);
    CHECK(driver_postgres.dest_apply(job.handle, verdict, NULL, &job.err) == 0);
    pthread_create(&thread, NULL, commit, &job);
    CHECK(wait_until(WAITS_FOR, "SyncRep\n"));
    CHECK_MSG(starts(resolve("lost"), "unreachable: "), "while it commits, nobody knows");
    ask("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'waits'");
    pthread_join(thread, NULL);
    CHECK(job.rc < 0 && job.err.kind == ERR_UNKNOWN);
    CHECK_TEXT(resolve("lost"), "committed");
    driver_postgres.dest_abort(job.handle);
    driver_postgres.dest_close(job.handle);
    sql("ALTER SYSTEM RESET synchronous_standby_names");
    sql("SELECT pg_reload_conf()");
}

static void *
apply_all(void *arg)
{
    struct job *job = arg;
    job->rc = driver_postgres.dest_apply(job->handle, verdict, NULL, &job->err);
    return NULL;
}

static void
test_cancel(void)
{
    struct job job = {.err = ERROR_INIT};
    struct session session = {.token = "cancelled"};
    uint64_t seq = 0;
    pthread_t thread;
    fresh(true);
    sql("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM "
        "pg_sleep(100); RETURN NEW; END $$; CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH "
        "ROW EXECUTE FUNCTION slow()");
    CHECK(open_dest(&base, &job.handle, &job.err) == 0);
    CHECK(driver_postgres.dest_begin(job.handle, &session, &job.err) == 0);
    CHECK(write_rows(job.handle, &base, "u i:9|t:x|n", &seq, &job.err) == 0);
    pthread_create(&thread, NULL, apply_all, &job);
    CHECK(wait_until(WAITS_FOR, "PgSleep\n"));
    usec_t start = clock_monotonic();
    driver_postgres.dest_cancel(job.handle);
    pthread_join(thread, NULL);
    CHECK_MSG(clock_monotonic() - start < 1000000, "cancelled within a second");
    CHECK(job.rc == -ECANCELED && job.err.kind == ERR_CANCELLED);
    driver_postgres.dest_abort(job.handle);
    driver_postgres.dest_close(job.handle);
    CHECK_TEXT(resolve("cancelled"), "not");
}

static void
test_locked(void)
{
    struct sync s = base;
    fresh(true);
    sql("TRUNCATE t");
    sql("BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE");
    s.full = true;
    s.rows = "u i:1|t:a|n";
    CHECK_TEXT(run(s), "");
    sql("COMMIT");
    CHECK_TEXT(ask("SELECT count(*) FROM t"), "1\n");
}

static void
test_privileges(void)
{
    struct sync s = base;
    fresh(true);
    sql("DROP TABLE IF EXISTS retlfs_runs; CREATE ROLE writer LOGIN; REVOKE CREATE ON SCHEMA "
        "public FROM public");
    s.connection = drive_options(driver_postgres.options, driver_postgres.options_size, &arena,
                                 "dbname", "postgres", "user", "writer", NULL);
    s.rows = "u i:1|t:a|n";
    CHECK(starts(run(s), "error: config: the table that records finished runs is missing; have "
                         "its owner run: CREATE TABLE IF NOT EXISTS \"public\".retlfs_runs"));
    sql("CREATE TABLE retlfs_runs (sync text PRIMARY KEY, token text NOT NULL, committed_at "
        "timestamptz NOT NULL)");
    CHECK(starts(run(s), "error: config: the role needs SELECT, INSERT and UPDATE on the "));
    sql("GRANT SELECT, INSERT, UPDATE ON retlfs_runs TO writer; GRANT SELECT, INSERT ON t TO "
        "writer");
    CHECK(starts(run(s), "error: config: permission denied for table t"));
    sql("GRANT UPDATE ON t TO writer");
    CHECK_TEXT(run(s), "");
}

static void
test_describe(void)
{
    struct error err = ERROR_INIT;
    struct schema schema;
    void *handle;
    sql("DROP TABLE t; CREATE TABLE t (id serial, a varchar(5) NOT NULL, b int GENERATED "
        "ALWAYS "
        "AS (1) STORED, gone int, i int GENERATED BY DEFAULT AS IDENTITY); ALTER TABLE t DROP "
        "COLUMN gone");
    CHECK(open_dest(&base, &handle, &err) == 0);
    CHECK(driver_postgres.dest_describe(handle, &schema, &err) == 0 && schema.n == 4);
    const struct column *c = schema.columns;
    CHECK(c[0].type == V_INT && c[0].not_null && c[0].has_default && !c[0].generated);
    CHECK(c[1].type == V_TEXT && c[1].not_null && !c[1].has_default);
    CHECK_TEXT(c[1].native, "character varying(5)");
    CHECK(c[2].generated && c[3].has_default);
    driver_postgres.dest_close(handle);
    struct sync s = base;
    s.object = "not_there";
    CHECK(open_dest(&s, &handle, &err) == 0);
    CHECK(driver_postgres.dest_describe(handle, &schema, &err) == 0 && schema.n == 0);
    driver_postgres.dest_close(handle);
}

int
main(void)
{
    open_server();
    test_modes(true);
    test_modes(false);
    test_bad_rows(true, false);
    test_bad_rows(false, false);
    test_bad_rows(true, true);
    test_bad_staged();
    test_many_bad();
    test_texts();
    test_create();
    test_columns();
    test_views_and_triggers();
    test_keys();
    test_dry();
    test_exact();
    test_fate();
    test_lost_commit();
    test_cancel();
    test_locked();
    test_privileges();
    test_describe();
    buf_done(&told);
    close_server();
    return tap_done();
}
