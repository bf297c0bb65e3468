/*
 * PostgreSQL as a destination: every mode with and without a unique index, bad rows anywhere,
 * surveys, plans, exact values.
 */
#include "postgres-sync.h"

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

/* What stands there to the byte already is not written again, whatever its type; what is only
 * equal is. */
static void
test_untouched(void)
{
    struct sync s = {
        .object = "same", .fields = "id:integer,c:text,d:decimal,j:json", .nkey = 1};
    sql("DROP TABLE IF EXISTS same, written; CREATE TABLE written (id int);"
        " CREATE TABLE same (id bigint PRIMARY KEY, c code, d numeric, j json);"
        " INSERT INTO same VALUES (1, 'a', 1.00, '[1]'), (2, 'b', 1.00, '[1]'),"
        " (3, 'c', 1, '[1]'), (4, 'd', NULL, NULL), (5, 'e', 1, NULL);"
        " CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO written VALUES (NEW.id); RETURN NEW; END $$;"
        " CREATE TRIGGER note AFTER UPDATE ON same FOR EACH ROW EXECUTE FUNCTION note()");
    s.rows = "u i:1|t:a|d:1.00|j:[1]\nu i:2|t:b|d:1.0|j:[1]\nu i:3|t:c|d:1|j:[ 1]\n"
             "u i:4|t:d|n|n\nu i:5|t:e|d:1|j:[]";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT id FROM written ORDER BY 1"), "2\n3\n5\n");
    CHECK_TEXT(ask("SELECT d, j FROM same ORDER BY id"),
               "1.00|[1]\n1.0|[1]\n1|[ 1]\n|\n1|[]\n");
    s.mode = MODE_UPDATE;
    s.rows = "m i:1|t:a|d:1.00|j:[1]\nm i:4|t:d|d:2|n";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT id FROM written ORDER BY 1"), "2\n3\n4\n5\n");
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

/* Text identifiers for an integer column: "1" is 1, and "01" must not overwrite it, nor "02"
 * take away what is 2 now. */
static void
test_merging_keys(void)
{
    struct sync s = {
        .object = "t", .fields = "id:text,name:text", .nkey = 1, .mode = MODE_MIRROR};
    for (int unique = 0; unique < 2; unique++) {
        fresh(unique);
        s.full = s.survey = false;
        s.rows = "u t:1|t:new\nu t:01|t:other\nu t:2|t:two";
        s.removes = "d t:02\nd t:3";
        CHECK_TEXT(run(s), "1 same_key another row of the model has the same identifier at the "
                           "destination\n");
        CHECK_TEXT(ask("SELECT id, name FROM t ORDER BY id"), "1|new\n2|two\n");
        /* into an empty table too */
        sql("TRUNCATE t");
        s.full = true;
        s.removes = NULL;
        CHECK(starts(run(s), "1 same_key "));
        CHECK_TEXT(ask("SELECT id, name FROM t ORDER BY id"), "1|new\n2|two\n");
    }
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
    test_untouched();
    test_views_and_triggers();
    test_keys();
    test_merging_keys();
    test_dry();
    test_exact();
    buf_done(&told);
    close_server();
    return tap_done();
}
