/* PostgreSQL as a source: exact values, names, queries, order, errors, cancelling. */
#include <pthread.h>
#include <unistd.h>

#include "postgres-server.h"

static struct drive_source
query(const char *text)
{
    return (struct drive_source){.driver = &driver_postgres,
                                 .connection = connection,
                                 .model = {.sync = "test", .query = text}};
}

static struct drive_source
table(const char *name)
{
    return (struct drive_source){.driver = &driver_postgres,
                                 .connection = connection,
                                 .model = {.sync = "test", .table = name}};
}

static char *
keep(char *text)
{
    char *kept = arena_strdup(&arena, text);
    free(text);
    return kept;
}

static const char *
read_query(const char *text)
{
    struct drive_source s = query(text);
    return keep(drive_read(&s));
}

static const char *
read_table(const char *name)
{
    struct drive_source s = table(name);
    return keep(drive_read(&s));
}

static bool
starts(const char *text, const char *with)
{
    bool yes = strncmp(text, with, strlen(with)) == 0;
    if (!yes)
        printf("#   got: %s\n", text);
    return yes;
}

static void
test_types(void)
{
    CHECK_TEXT(read_query("VALUES (true, false, NULL::bool)"), "b:t|b:f|n\n");
    CHECK_TEXT(
        read_query("VALUES ((-32768)::int2, 2147483647, 9007199254740993::int8,"
                   " (-9223372036854775808)::int8, 4294967295::oid)"),
        "i:-32768|i:2147483647|i:9007199254740993|i:-9223372036854775808|i:4294967295\n");
    CHECK_TEXT(read_query("VALUES (0.1, 0.10, 'NaN'::numeric, 12345678901234567890.123456789)"),
               "d:0.1|d:0.10|d:NaN|d:12345678901234567890.123456789\n");
    CHECK_TEXT(read_query("VALUES (0.1::float8, 0.1::float4, 1e300::float8, 'Infinity'::float8,"
                          " 'NaN'::float8, '-Infinity'::float4)"),
               "f:0.1|f:0.1|f:1e+300|f:Infinity|f:NaN|f:-Infinity\n");
    CHECK_TEXT(
        read_query(
            "VALUES ('', NULL::text, E'a\\tb\\nc\\\\d\\re\\bf', 'Żółć ☃ 🙂', '\\N')"),
        "t:|n|t:a\tb\nc\\d\re\bf|t:Żółć ☃ 🙂|t:\\N\n");
    CHECK_TEXT(
        read_query("VALUES (''::bytea, '\\x6100ff5c'::bytea = E'a\\\\000\\\\377\\\\134')"),
        "x:|b:t\n");
    CHECK_TEXT(read_query("VALUES (date '2024-01-31', date 'infinity', date '0044-03-15 BC',"
                          " time '13:05:00.25', timestamp '2024-01-31 13:05:00.25',"
                          " timestamptz '2024-01-31 13:05:00+02', timetz '13:05+02')"),
               "D:2024-01-31|D:infinity|D:0044-03-15 BC|T:13:05:00.25|S:2024-01-31 "
               "13:05:00.25|Z:2024-01-31 11:05:00+00|t:13:05:00+02\n");
    CHECK_TEXT(read_query("VALUES ('{\"b\": 1,  \"a\":0.10}'::json, '{\"b\":1}'::jsonb)"),
               "j:{\"b\": 1,  \"a\":0.10}|j:{\"b\": 1}\n");
    CHECK_TEXT(read_query("VALUES (ARRAY['a,b', NULL, ''], '1 day 02:00'::interval,"
                          " '10.0.0.1/8'::inet, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid,"
                          " 'x'::char(3), 'y'::name, 3.5::money)"),
               "t:{\"a,b\",NULL,\"\"}|t:1 day 02:00:00|t:10.0.0.1/8|"
               "t:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|t:x  |t:y|t:$3.50\n");
}

/* The texts of values are made here; the server's own are what they must be, to the byte. */
static void
same_as_server(const char *output, const char *value)
{
    const char *got =
        read_query(arena_printf(&arena,
                                "SELECT %s AS v, pg_catalog.textin(pg_catalog.%s(%s)) AS t"
                                " FROM generate_series(1, 3000) AS g",
                                value, output, value));
    size_t n = 0;
    for (const char *line = got, *end; (end = strchr(line, '\n')); line = end + 1, n++) {
        const char *bar = memchr(line, '|', (size_t)(end - line));
        size_t half = bar ? (size_t)(bar - line) : 0;
        if (half < 2 || (size_t)(end - bar - 1) != half ||
            memcmp(line + 2, bar + 3, half - 2) != 0) {
            printf("#   %s: %.*s\n", value, (int)(end - line), line);
            break;
        }
    }
    CHECK_MSG(n == 3000, value);
}

static void
test_texts_of_server(void)
{
    static const char *const values[][2] = {
        {"numeric_out",
         "round(hashint8extended(g, 1)::numeric * power(10.0::numeric, g % 41 - 30), g % 29)"},
        {"numeric_out", "(g % 7 - 3) * power(10::numeric, g % 900)"},
        {"numeric_out", "(g % 7 - 3) / power(10::numeric, g % 300)"},
        {"numeric_out", "(g % 3 - 1)::numeric(9, 4)"},
        {"numeric_out", "CASE g % 3 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' ELSE '-Infinity' "
                        "END::numeric"},
        {"int8out", "hashint8extended(g, 1)"},
        {"int4out", "hashint8(g)"},
        {"int2out", "(g * 21 - 32768)::int2"},
        {"oidout", "(4294967295 - g * 700000)::oid"},
        {"uuid_out", "md5(g::text)::uuid"},
        {"boolout", "g % 3 = 0"},
        {"date_out", "date '4713-11-24 BC' + g * 1234"},
        {"date_out", "date '5874897-12-31' - g * 1234"},
        {"time_out", "time '00:00' + g * interval '28.799999 s'"},
        {"time_out", "time '24:00'"},
        {"timestamp_out",
         "timestamp '4713-11-24 BC' + g * interval '1234 days 05:43:21.000001'"},
        {"timestamp_out", "timestamp '294276-12-31' - g * interval '777 days 01:01:01.10203'"},
        {"timestamptz_out", "timestamptz '4713-11-24 BC' + g * interval '1234 days 0.01 s'"},
        {"timestamptz_out",
         "timestamptz '294276-12-31' - g * interval '1 day 23:59:59.999999'"},
        {"float8out", "hashint8extended(g, 1) / power(10::float8, g % 300)"},
        {"float4out", "(hashint8extended(g, 1) / power(10::float8, g % 30))::float4"},
        {"inet_out", "inet '10.0.0.1' + g"},
        {"interval_out", "g * interval '1 mon -3 days 00:00:07.5'"},
        {"jsonb_out", "jsonb_build_object('a', g, 'b', md5(g::text))"},
        {"array_out", "ARRAY[g::text, NULL, 'x,y']"},
        {"bpcharout", "g::text::char(9)"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        same_as_server(values[i][0], values[i][1]);
    /* A name that is made up here must not be taken for the column's. */
    sql("CREATE TABLE textin (id int PRIMARY KEY, textin int4range, v float8, f \"char\");"
        " INSERT INTO textin VALUES (2, '[1,3)', 0.5, 'y'), (1, NULL, NULL, NULL)");
    CHECK_TEXT(read_table("textin"), "i:2|t:[1,3)|f:0.5|t:y\ni:1|n|n|n\n");
}

/* Types of others that have built-in functions, but not a pair that this driver could follow.
 */
static void
test_borrowed_functions(void)
{
    static const char *const types[][5] = {
        {"odd", "int4in", "oidout", "int4send", "int4"},
        {"raw", "byteain", "byteaout", "byteasend", "bytea"},
        {"own", "textin", "textout", "textsend", "text"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *const *t = types[i], *name = t[0];
        static const char function[] =
            "CREATE FUNCTION %s_%s(%s) RETURNS %s LANGUAGE internal IMMUTABLE STRICT AS '%s'";
        sql(arena_printf(&arena, "CREATE TYPE %s", name));
        sql(arena_printf(&arena, function, name, "in", "cstring", name, t[1]));
        sql(arena_printf(&arena, function, name, "out", name, "cstring", t[2]));
        sql(arena_printf(&arena, function, name, "send", name, "bytea", t[3]));
        sql(arena_printf(&arena,
                         "CREATE TYPE %s (INPUT = %s_in, OUTPUT = %s_out, SEND = %s_send,"
                         " LIKE = %s)",
                         name, name, name, name, t[4]));
    }
    sql("CREATE TABLE borrowed (id int PRIMARY KEY, a odd, b raw, c own);"
        " INSERT INTO borrowed VALUES (1, '-1', '\\x00ff', 'x')");
    CHECK_TEXT(read_table("borrowed"), "i:1|t:4294967295|t:\\x00ff|t:x\n");
}

static void
test_all_bytes(void)
{
    const char *got =
        read_query("SELECT decode(string_agg(lpad(to_hex(g), 2, '0'), '' ORDER BY "
                   "g), 'hex') FROM generate_series(1, 255) AS g");
    bool same = strlen(got) == 2 + 255 + 1;
    for (int i = 1; same && i < 256; i++)
        same = (unsigned char)got[i + 1] == i;
    CHECK_MSG(same, "every byte of a bytea arrives");
}

static void
test_describe(void)
{
    sql("CREATE DOMAIN short AS varchar(5) CHECK (value <> 'no')");
    sql("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    sql("CREATE TABLE kinds (a int2, b numeric(10,2), c short, d mood[], e timestamptz(3))");
    struct drive_source s = table("kinds");
    CHECK_TEXT(keep(drive_describe(&s)),
               "a integer smallint\nb decimal numeric(10,2)\nc text character varying(5)\n"
               "d text mood[]\ne timestamp with time zone timestamp(3) with time zone\n");
}

static void
test_names(void)
{
    sql("CREATE SCHEMA \"Odd.\"\"Schema\"");
    sql("CREATE TABLE \"Odd.\"\"Schema\".\"My \"\"best\"\" table\" (\"ID no\" int, \"select\" "
        "text)");
    sql("INSERT INTO \"Odd.\"\"Schema\".\"My \"\"best\"\" table\" VALUES (1, 'x')");
    CHECK_TEXT(read_table("\"Odd.\"\"Schema\".\"My \"\"best\"\" table\""), "i:1|t:x\n");
    sql("CREATE TABLE plain (id int); INSERT INTO plain VALUES (7)");
    CHECK_TEXT(read_table("Public.PLAIN"), "i:7\n");
    sql("CREATE VIEW over_plain AS SELECT id + 1 AS id FROM plain");
    CHECK_TEXT(read_table("over_plain"), "i:8\n");
    CHECK(starts(read_table("missing"), "error: config: table: relation \"missing\" does not"));
    CHECK(starts(read_table("a b"), "error: config: a b is not a table's name"));
    CHECK(starts(read_table("a.b.c"), "error: config: a.b.c is not a table's name"));
    CHECK(starts(read_table("plain; DROP TABLE plain"), "error: config: "));
    CHECK(starts(read_table("\"plain"), "error: config: "));
}

static void
test_queries(void)
{
    CHECK_TEXT(read_query("SELECT 1;"), "i:1\n");
    CHECK_TEXT(read_query("SELECT 1 ; ; \n -- the end;"), "i:1\n");
    CHECK_TEXT(read_query("SELECT 1 /* a /* nested */ ; */;"), "i:1\n");
    CHECK_TEXT(read_query("VALUES (';--', E'\\';', $a$;--$a$) -- end"), "t:;--|t:';|t:;--\n");
    CHECK_TEXT(read_query("VALUES (1), (2)"), "i:1\ni:2\n");
    CHECK_TEXT(read_query("WITH w AS (SELECT 5 AS x) SELECT * FROM w"), "i:5\n");
    CHECK_TEXT(read_query("TABLE plain"), "i:7\n");
    CHECK(starts(read_query("DELETE FROM plain RETURNING *"),
                 "error: config: the query must be one SELECT, VALUES, TABLE or WITH"));
    CHECK(starts(read_query("WITH d AS (DELETE FROM plain RETURNING *) SELECT * FROM d"),
                 "error: config: the query must be one SELECT"));
    CHECK(starts(read_query("SELECT 1; SELECT 2"), "error: config: the query must be one"));
    CHECK(starts(read_query("SELECT 1) AS q; COMMIT; DELETE FROM plain; SELECT (1"),
                 "error: config: the query must be one"));
    CHECK(starts(read_query("SELECT $1::int"), "error: config: "));
    CHECK(starts(read_query("SELECT nope FROM plain"),
                 "error: config: query: column \"nope\" does not exist"));
    CHECK(starts(read_query("SELECT 1 AS a, 2 AS a"),
                 "error: config: the query returns two columns named \"a\""));
    CHECK(starts(read_query(""), "error: config: "));
    sql("CREATE FUNCTION sneaky() RETURNS int LANGUAGE sql AS 'DELETE FROM plain RETURNING 1'");
    CHECK(starts(read_query("SELECT sneaky()"), "error: config: cannot execute DELETE in a "
                                                "read-only transaction"));
    CHECK_TEXT(ask("SELECT count(*) FROM plain"), "1\n");
    CHECK_TEXT(read_query("SELECT FROM generate_series(1, 3)"), "\n\n\n");
}

static void
test_half_way(void)
{
    const char *got = read_query("SELECT 1 / (5 - g) FROM generate_series(1, 9) AS g");
    CHECK_MSG(strstr(got, "error: data: after row 4: division by zero") != NULL,
              "an error half way is an error");
}

static void
test_wide(void)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX), want = BUF_INIT(BUF_NO_MAX);
    buf_adds(&text, "CREATE TABLE wide (");
    for (int i = 0; i < 1600; i++)
        buf_addf(&text, "%sc%d int2 DEFAULT %d", i ? "," : "", i, i);
    buf_addc(&text, ')');
    sql(buf_z(&text));
    sql("INSERT INTO wide DEFAULT VALUES");
    for (int i = 0; i < 1600; i++)
        buf_addf(&want, "%si:%d", i ? "|" : "", i);
    buf_addc(&want, '\n');
    CHECK_MSG(strcmp(read_table("wide"), buf_z(&want)) == 0, "1,600 columns");
}

static const char *
plan(struct drive_source s, const char *order)
{
    s.order = order;
    const char *text = keep(drive_plan(&s));
    return strncmp(text, "ordered=1", 9) == 0   ? "yes"
           : strncmp(text, "ordered=0", 9) == 0 ? "no"
                                                : text;
}

static void
test_order(void)
{
    sql("CREATE TABLE big (id bigint PRIMARY KEY, code text COLLATE \"C\", name text, u uuid,"
        " n numeric, b char(9), other int)");
    sql("INSERT INTO big SELECT g, 'c' || lpad(g::text, 9, '0'), 'n' || lpad(g::text, 9, '0'),"
        " lpad(to_hex(g), 32, '0')::uuid, g, g::text, -g FROM generate_series(1, 50000) AS g");
    sql("CREATE INDEX ON big (code); CREATE INDEX ON big (name); CREATE INDEX ON big (u);"
        "CREATE INDEX ON big (n); CREATE INDEX ON big (b); CREATE INDEX ON big (code, id)");
    sql("VACUUM ANALYZE big");
    CHECK_TEXT(plan(table("big"), "id"), "yes");
    CHECK_TEXT(plan(table("big"), "code"), "yes");
    CHECK_TEXT(plan(table("big"), "code,id"), "yes");
    CHECK_TEXT(plan(table("big"), "u"), "yes");
    CHECK_TEXT(plan(table("big"), "name"), "no");
    CHECK_TEXT(plan(table("big"), "n"), "no");
    CHECK_TEXT(plan(table("big"), "b"), "no");
    CHECK_TEXT(plan(table("big"), "other"), "no");
    CHECK_TEXT(plan(query("SELECT id, name FROM big WHERE other < 0;"), "id"), "yes");
    struct drive_source s = table("big");
    CHECK(starts(keep(drive_plan(&s)), "ordered=0 rows=50000 exact=0"));
    s.columns = "other,id";
    s.order = "id";
    CHECK(starts(keep(drive_read(&s)), "i:-1|i:1\ni:-2|i:2\ni:-3|i:3\n"));

    sql("CREATE DATABASE plain_c TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    PGconn *old = admin;
    admin = PQconnectdb("dbname=plain_c");
    sql("CREATE TABLE t (name text PRIMARY KEY)");
    sql("INSERT INTO t SELECT lpad(g::text, 9, '0') FROM generate_series(1, 50000) AS g");
    sql("VACUUM ANALYZE t");
    s = table("t");
    s.connection = connect_as("dbname", "plain_c");
    CHECK_TEXT(plan(s, "name"), "yes");
    PQfinish(admin);
    admin = old;
}

static void
test_privileges(void)
{
    sql("CREATE ROLE reader LOGIN; CREATE ROLE nobody_here LOGIN");
    sql("REVOKE ALL ON SCHEMA public FROM public; GRANT USAGE ON SCHEMA public TO public");
    sql("GRANT SELECT ON plain TO reader");
    struct drive_source s = table("plain");
    s.connection = connect_as("dsn", "dbname=postgres user=reader");
    CHECK_TEXT(keep(drive_read(&s)), "i:7\n");
    s.connection = connect_as("dsn", "postgresql:///postgres?user=nobody_here");
    CHECK(starts(keep(drive_read(&s)), "error: config: permission denied for table plain"));
}

static void
test_connection_errors(void)
{
    struct drive_source s = table("plain");
    s.connection = connect_as("user", "not a role");
    CHECK(starts(keep(drive_read(&s)),
                 "error: auth: cannot connect: role \"not a role\" does not exist"));
    s.connection = connect_as("dbname", "not a database");
    CHECK(starts(keep(drive_read(&s)),
                 "error: config: cannot connect: database \"not a database\" does not exist"));
    s.connection = connect_as("host", "/nowhere");
    CHECK(starts(keep(drive_read(&s)), "error: unreachable: cannot connect: "));
    s.connection = connect_as("port", "1");
    CHECK(starts(keep(drive_read(&s)), "error: unreachable: cannot connect: "));
}

static const char *
check(const char *key, const char *value)
{
    struct error err = ERROR_INIT;
    int rc = driver_postgres.check(connect_as(key, value), &err);
    return rc ? arena_printf(&arena, "%s: %s", error_kind_name(err.kind), err.text) : "fine";
}

static void
test_check(void)
{
    CHECK_TEXT(check("dsn", "dbname=x user=y"), "fine");
    CHECK_TEXT(check("dsn", "postgresql://u@h:5/db?sslmode=require"), "fine");
    CHECK(
        starts(check("dsn", "password=s3cret"), "config: a password in plain text is refused"));
    CHECK(starts(check("dsn", "postgres://u:s3cret@h/db"),
                 "config: a password in plain text is refused"));
    CHECK(starts(check("dsn", "postgres://u:s3cret@h:x y/db"), "config: "));
    CHECK(!strstr(check("dsn", "postgres://u:s3cret@h/db"), "s3cret"));
    CHECK(!strstr(check("dsn", "postgres://u:s3cret@[h/db"), "s3cret"));
    CHECK(starts(check("port", "70000"), "config: \"port\""));
    CHECK(starts(check("connect_timeout", "0"), "config: \"connect_timeout\""));
}

/* ---- cancelling ---- */

static int
ignore_row(void *arg, const struct value *values, struct error *err)
{
    return 0;
}

struct job {
    void *handle;
    int rc;
    struct error err;
};

static void *
read_all(void *arg)
{
    struct job *job = arg;
    job->rc = driver_postgres.source_read(job->handle, ignore_row, NULL, &job->err);
    return NULL;
}

static void *
prepare(const char *text, struct error *err)
{
    struct model model = {.sync = "cancel-me", .query = text};
    struct schema schema;
    struct source_plan ignored;
    void *handle = NULL;
    const char *columns[] = {"x"};
    struct projection p = {.columns = columns, .n = 1};
    if (driver_postgres.source_open(connection, &model, &handle, err) ||
        driver_postgres.source_describe(handle, &schema, err) ||
        driver_postgres.source_plan(handle, &p, false, &ignored, err))
        printf("Bail out! %s\n", err->text);
    return handle;
}

#define ACTIVE                                                                                 \
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'retlfs/cancel-me'"        \
    " AND state = 'active'"

static void
test_cancel(void)
{
    struct job job = {.err = ERROR_INIT};
    pthread_t thread;
    job.handle = prepare("SELECT pg_sleep(100)::text AS x", &job.err);
    pthread_create(&thread, NULL, read_all, &job);
    CHECK(wait_until(ACTIVE, "1\n"));
    usec_t start = clock_monotonic();
    driver_postgres.source_cancel(job.handle);
    pthread_join(thread, NULL);
    CHECK_MSG(clock_monotonic() - start < 1000000, "cancelled within a second");
    CHECK(job.rc == -ECANCELED && job.err.kind == ERR_CANCELLED);
    driver_postgres.source_close(job.handle);
    CHECK_MSG(wait_until(ACTIVE, "0\n"), "the server stopped too");
}

static void
test_killed(void)
{
    struct job job = {.err = ERROR_INIT};
    pthread_t thread;
    job.handle = prepare("SELECT pg_sleep(100)::text AS x", &job.err);
    pthread_create(&thread, NULL, read_all, &job);
    CHECK(wait_until(ACTIVE, "1\n"));
    ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
        " 'retlfs/cancel-me'");
    pthread_join(thread, NULL);
    CHECK(job.rc < 0 && job.err.kind == ERR_UNREACHABLE);
    printf("# %s\n", job.err.text);
    driver_postgres.source_close(job.handle);
}

static int
stop_at_once(void *arg, const struct value *values, struct error *err)
{
    return error_set(err, ERR_LIMIT, E2BIG, "enough");
}

static void
test_stop(void)
{
    struct error err = ERROR_INIT;
    void *handle = prepare("SELECT x::text FROM generate_series(1, 10000000) AS x", &err);
    CHECK(driver_postgres.source_read(handle, stop_at_once, NULL, &err) == -E2BIG);
    CHECK_TEXT(err.text, "enough");
    driver_postgres.source_close(handle);
}

/* ---- several connections, side by side ---- */

static struct drive_source
side_by_side(const char *name, int readers)
{
    struct drive_source s = table(name);
    AUTO_FREE char *number = NULL;
    if (asprintf(&number, "%d", readers) < 0)
        exit(1);
    s.connection = drive_options(driver_postgres.options, driver_postgres.options_size, &arena,
                                 "dbname", "postgres", "readers", number, NULL);
    s.order = "id";
    return s;
}

static void *
open_side_by_side(const char *name, int readers)
{
    struct drive_source s = side_by_side(name, readers);
    struct model model = {.sync = "cancel-me", .table = name};
    struct schema schema;
    struct source_plan plan = {.ordered = false};
    struct error err = ERROR_INIT;
    void *handle = NULL;
    const char *columns[] = {"id", "v"};
    struct projection p = {.columns = columns,
                           .n = 2,
                           .order = (size_t[]){0},
                           .order_class = (enum key_class[]){KEY_INT},
                           .norder = 1};
    if (driver_postgres.source_open(s.connection, &model, &handle, &err) ||
        driver_postgres.source_describe(handle, &schema, &err) ||
        driver_postgres.source_plan(handle, &p, true, &plan, &err))
        printf("Bail out! %s\n", err.text);
    CHECK(plan.ordered);
    return handle;
}

#define CONNECTED                                                                              \
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'retlfs/cancel-me'"

struct counted {
    uint64_t rows, stop_at;
    const char *do_at; /* SQL */
    const char *said;
};

static int
count_rows(void *arg, const struct value *values, struct error *err)
{
    struct counted *c = arg;
    if (++c->rows == c->stop_at && c->do_at)
        c->said = ask(c->do_at);
    return 0;
}

/* The rows of the tables below, in the order of their key. */
static void
same_rows(const char *name)
{
    struct drive_source one = side_by_side(name, 1);
    AUTO_FREE char *want = drive_read(&one);
    for (int readers = 2; readers <= 5; readers += 3) {
        struct drive_source many = side_by_side(name, readers);
        AUTO_FREE char *got = drive_read(&many);
        printf("# %s by %d\n", name, readers);
        CHECK_MSG(strcmp(want, got) == 0, "the same rows in the same order");
    }
}

static void
test_side_by_side(void)
{
    /* Dense here, sparse there, the ends of the type, and what no range holds. */
    sql("CREATE TABLE skewed (id bigint UNIQUE, v text)");
    sql("INSERT INTO skewed SELECT g, 'v' || g FROM generate_series(-1000, 150000) AS g");
    sql("INSERT INTO skewed SELECT g::bigint * 1000000007, NULL FROM generate_series(1000, "
        "60000) AS "
        "g");
    sql("INSERT INTO skewed VALUES (-9223372036854775808, 'least'), (9223372036854775807, "
        "'most'),"
        " (NULL, 'none'), (NULL, 'no')");
    same_rows("skewed"); /* nothing is known of it yet but its size */
    sql("VACUUM ANALYZE skewed");
    same_rows("skewed");
    sql("CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)");
    sql("CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (100000)");
    sql("CREATE TABLE part2 PARTITION OF parts DEFAULT");
    sql("INSERT INTO parts SELECT g, repeat('x', g % 300) FROM generate_series(1, 250000) AS "
        "g");
    sql("ANALYZE parts");
    same_rows("parts");
    sql("CREATE TABLE lines (id smallint PRIMARY KEY, v text)");
    sql("INSERT INTO lines SELECT g, 'v' FROM generate_series(-30000, 30000) AS g");
    sql("ANALYZE lines");
    same_rows("lines"); /* too few for it */

    void *handle = open_side_by_side("skewed", 3);
    struct counted c = {.stop_at = 5000, .do_at = CONNECTED};
    struct error err = ERROR_INIT;
    /* What comes while it is read does not belong to it. */
    sql("INSERT INTO skewed VALUES (-5000, 'late'), (1000000, 'late')");
    CHECK(driver_postgres.source_read(handle, count_rows, &c, &err) == 0);
    CHECK_TEXT(c.said, "3\n");
    CHECK(c.rows == 151001 + 59001 + 4);
    driver_postgres.source_close(handle);
    CHECK(wait_until(CONNECTED, "0\n"));

    sql("CREATE VIEW looked AS SELECT * FROM skewed");
    handle = open_side_by_side("looked", 3);
    CHECK_TEXT(ask(CONNECTED), "1\n");
    driver_postgres.source_close(handle);
}

static int
cancel_itself(void *arg, const struct value *values, struct error *err)
{
    driver_postgres.source_cancel(arg);
    return 0;
}

static void
test_side_by_side_ends(void)
{
    struct error err = ERROR_INIT;
    void *handle = open_side_by_side("skewed", 4);
    CHECK(driver_postgres.source_read(handle, stop_at_once, NULL, &err) == -E2BIG);
    CHECK_TEXT(err.text, "enough");
    driver_postgres.source_close(handle);
    CHECK(wait_until(CONNECTED, "0\n"));

    handle = open_side_by_side("skewed", 4);
    error_clear(&err);
    CHECK(driver_postgres.source_read(handle, cancel_itself, handle, &err) == -ECANCELED);
    CHECK(err.kind == ERR_CANCELLED);
    driver_postgres.source_close(handle);
    CHECK(wait_until(CONNECTED, "0\n"));

    /* One of the connections is lost: the whole is, and never a smaller model. */
    handle = open_side_by_side("skewed", 4);
    struct counted c = {.stop_at = 2000,
                        .do_at = "SELECT pg_terminate_backend(max(pid)) FROM pg_stat_activity"
                                 " WHERE application_name = 'retlfs/cancel-me'"};
    error_clear(&err);
    CHECK(driver_postgres.source_read(handle, count_rows, &c, &err) < 0);
    CHECK(err.kind == ERR_UNREACHABLE && c.rows < 210000);
    printf("# %s\n", err.text);
    driver_postgres.source_close(handle);
    CHECK(wait_until(CONNECTED, "0\n"));
}

int
main(void)
{
    open_server();
    test_types();
    test_texts_of_server();
    test_borrowed_functions();
    test_all_bytes();
    test_describe();
    test_names();
    test_queries();
    test_half_way();
    test_wide();
    test_order();
    test_privileges();
    test_connection_errors();
    test_check();
    test_cancel();
    test_killed();
    test_stop();
    test_side_by_side();
    test_side_by_side_ends();
    close_server();
    return tap_done();
}
