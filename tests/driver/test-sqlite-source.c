/* SQLite as a source: values exactly, queries that may only read, order where it is free. */
#include "sqlite-file.h"

static void
check_read(const char *table, const char *query, const char *want)
{
    AUTO_FREE char *got = read_table(table, query, NULL);
    tap_check_text(got, want, table ? table : query, __FILE__, __LINE__);
}

static void
test_source_values(void)
{
    fresh("CREATE TABLE v(any, i INTEGER, r REAL, t TEXT, b BLOB);"
          "INSERT INTO v VALUES (1, 9223372036854775807, 0.1, '', x''),"
          " ('x', -9223372036854775808, 1e22, 'a|b', x'00ff'), (2.5, 'no', 3.0, NULL, 'text'),"
          " (9e999, NULL, -0.0, 'ü€', NULL), (-9e999, 0, 0.1 + 0.2, '0.10', x'41');");
    check_read("v", NULL,
               "i:1|i:9223372036854775807|f:0.1|t:|x:\n"
               "t:x|i:-9223372036854775808|f:1e+22|t:a|b|x:");
    AUTO_FREE char *rest = read_table(NULL, "SELECT * FROM v WHERE rowid > 2", NULL);
    CHECK_TEXT(rest, "f:2.5|t:no|f:3|n|t:text\nf:Infinity|n|f:0|t:ü€|n\n"
                     "f:-Infinity|i:0|f:0.30000000000000004|t:0.10|x:A\n");

    fresh("CREATE TABLE d(b BOOLEAN, j JSON, n NUMERIC(10,2), d DATE, tm TIME, ts DATETIME,"
          " tz TIMESTAMP WITH TIME ZONE);"
          "INSERT INTO d VALUES (1, '{\"a\": 1}', '0.10', '2024-02-29', '13:05',"
          " '2024-01-31T13:05:00', '2024-01-01 00:30:00+01:00'),"
          " (2, 'oops', '12345678901234567890123', '2024-02-30', 'noon', 'yesterday', 5),"
          " ('t', NULL, 7, 1700000000, '01:02:03.50', '2024-01-31 13:05:00.250', NULL);");
    check_read("d", NULL,
               "b:t|j:{\"a\": 1}|d:0.1|D:2024-02-29|T:13:05:00|S:2024-01-31 13:05:00|"
               "Z:2023-12-31 23:30:00+00\n"
               "i:2|t:oops|d:1.2345678901234568e+22|t:2024-02-30|t:noon|t:yesterday|i:5\n"
               "t:t|n|d:7|i:1700000000|T:01:02:03.5|S:2024-01-31 13:05:00.25|n\n");
    struct drive_source s = {
        .driver = &driver_sqlite, .connection = OPTIONS(), .model = {.table = "d"}};
    AUTO_FREE char *columns = drive_describe(&s);
    CHECK_TEXT(columns, "b boolean BOOLEAN\nj json JSON\nn decimal NUMERIC(10,2)\nd date DATE\n"
                        "tm time TIME\nts timestamp DATETIME\n"
                        "tz timestamp with time zone TIMESTAMP WITH TIME ZONE\n");
}

static void
test_source_queries(void)
{
    fresh("CREATE TABLE \"odd \"\"t\"(\"a b\" INT, \"select\" TEXT); INSERT INTO \"odd \"\"t\""
          " VALUES (1, 'x'), (2, 'y'); CREATE VIEW w AS SELECT \"a b\" + 1 AS n FROM \"odd "
          "\"\"t\"");
    check_read("odd \"t", NULL, "i:1|t:x\ni:2|t:y\n");
    check_read("w", NULL, "i:2\ni:3\n");
    check_read(NULL, "SELECT 1 AS a, 'x' AS b; -- that is all\n", "i:1|t:x\n");
    check_read("none", NULL, "error: config: no such table: \"none\"");
    check_read(NULL, "SELECT 1; SELECT 2",
               "error: config: the query is more than one statement");
    check_read(NULL, "DELETE FROM \"odd \"\"t\" RETURNING 1",
               "error: config: the query writes; it may only read");
    check_read(NULL, "SELECT 1 AS a, 2 AS a",
               "error: config: the query has two columns named \"a\"; rename one with AS");
    check_read(NULL, "  ", "error: config: the query is empty");
    check_read(NULL, "BEGIN", "error: config: the query gives no columns");
    check_read(NULL, "SELECT ?1", "error: config: the query has parameters");
    check_read(NULL, "SELEC 1", "error: config: near \"SELEC\": syntax error");
    AUTO_FREE char *one = read_table("odd \"t", NULL, "select");
    CHECK_TEXT(one, "t:x\nt:y\n");
    sql("DELETE FROM \"odd \"\"t\"; INSERT INTO \"odd \"\"t\" VALUES (1, 'a'),"
        " (2, CAST(x'ff' AS TEXT))");
    check_read(
        "odd \"t", NULL,
        "i:1|t:a\nerror: data: row 2, column \"select\": a text that is not valid UTF-8");
    sql("UPDATE \"odd \"\"t\" SET \"select\" = 'a' || char(0) || 'b'");
    check_read("odd \"t", NULL,
               "error: data: row 1, column \"select\": a text that is not valid UTF-8");

    unlink(path);
    AUTO_FREE char *missing = read_table("t", NULL, NULL);
    CHECK(strncmp(missing, "error: config: ", 15) == 0 && access(path, F_OK) < 0);
    drive_file(path, "this is no database, whatever its name says it is ............", 60);
    AUTO_FREE char *junk = read_table("t", NULL, NULL);
    CHECK(strstr(junk, "file is not a database") != NULL);
}

static void
check_plan(const char *table, const char *order, const char *want)
{
    struct drive_source s = {.driver = &driver_sqlite,
                             .connection = OPTIONS(),
                             .model = {.table = table},
                             .order = order};
    AUTO_FREE char *got = drive_plan(&s);
    tap_check_text(got, want, table, __FILE__, __LINE__);
}

static void
test_source_order(void)
{
    fresh("CREATE TABLE a(id INTEGER PRIMARY KEY, t TEXT UNIQUE);"
          "INSERT INTO a VALUES (5, 'e'), (2, 'b'), (-3, 'z');"
          "CREATE TABLE b(id INT PRIMARY KEY, t TEXT); INSERT INTO b VALUES (2, 'x'), (1, 'y');"
          "CREATE TABLE c(k TEXT, n INTEGER, v, PRIMARY KEY (k, n)) WITHOUT ROWID;"
          "CREATE TABLE d(k TEXT, n INTEGER, v ANY, PRIMARY KEY (k, n)) STRICT, WITHOUT ROWID;"
          "CREATE TABLE e(k TEXT COLLATE NOCASE PRIMARY KEY) STRICT, WITHOUT ROWID;"
          "CREATE TABLE f(k TEXT PRIMARY KEY DESC) STRICT, WITHOUT ROWID;"
          "CREATE TABLE g(id INTEGER PRIMARY KEY DESC); INSERT INTO g VALUES (1), (2);"
          "INSERT INTO d VALUES ('b', 2, 1), ('b', 1, 2), ('a', 10, 3)");
    check_plan("a", "id", "ordered=1 rows=9 exact=0");
    check_plan("a", "t", "ordered=0 rows=9 exact=0");
    check_plan("b", "id", "ordered=0 rows=2 exact=0");
    check_plan("c", "k,n", "ordered=0 rows=-1 exact=0");
    check_plan("d", "k,n", "ordered=1 rows=-1 exact=0");
    check_plan("d", "k", "ordered=1 rows=-1 exact=0");
    check_plan("d", "n,k", "ordered=0 rows=-1 exact=0");
    check_plan("e", "k", "ordered=0 rows=-1 exact=0");
    check_plan("g", "id", "ordered=0 rows=2 exact=0");
    sql("ANALYZE");
    check_plan("a", "id", "ordered=1 rows=3 exact=0");
    struct drive_source s = {.driver = &driver_sqlite,
                             .connection = OPTIONS(),
                             .model = {.table = "d"},
                             .order = "k,n"};
    AUTO_FREE char *rows = drive_read(&s);
    CHECK_TEXT(rows, "t:a|i:10|i:3\nt:b|i:1|i:2\nt:b|i:2|i:1\n");
    s.model.table = "a";
    s.order = "id";
    AUTO_FREE char *ids = drive_read(&s);
    CHECK_TEXT(ids, "i:-3|t:z\ni:2|t:b\ni:5|t:e\n");
}

int
main(void)
{
    snprintf(path, sizeof path, "%s/odd ?#%%41 name.db", drive_directory());
    test_source_values();
    test_source_queries();
    test_source_order();
    arena_done(&arena);
    return tap_done();
}
