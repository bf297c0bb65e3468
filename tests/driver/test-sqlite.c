/*
 * SQLite as a destination: every mode with and without a unique index, bad rows in the middle,
 * surveys, markers, locks.
 */
#include <signal.h>
#include <sys/wait.h>

#include "sqlite-file.h"

struct dest {
    const char *object, *fields; /* "id:integer,name:text"; keys first */
    size_t nkey;
    enum mode mode;
    bool create, survey, dry;
    void *connection; /* NULL: the defaults */
};

static size_t
parse_fields(const char *text, struct column *fields)
{
    size_t n = 0;
    while (*text) {
        const char *colon = strchr(text, ':'), *end = strchrnul(text, ',');
        int type = value_type_parse((struct str){colon + 1, (size_t)(end - colon - 1)});
        fields[n++] = (struct column){
            .name = arena_strndup(&arena, text, (size_t)(colon - text)),
            .type = type < 0 ? V_NULL : (enum value_type)type,
        };
        text = *end ? end + 1 : end;
    }
    return n;
}

static struct buf told; /* "seq code why\n" */

static void
verdict(void *arg, uint64_t seq, const struct outcome *outcome)
{
    buf_addf(&told, "%llu %s %s\n", (unsigned long long)seq, outcome->code, outcome->why);
}

static int
foreign(void *arg, const struct value *key, struct str record, struct error *err)
{
    const struct dest *d = arg;
    buf_adds(&told, "foreign ");
    for (size_t i = 0; i < d->nkey; i++) {
        buf_adds(&told, i ? "|" : "");
        drive_value(&told, &key[i]);
    }
    buf_adds(&told, " =");
    const char *p = record.p;
    for (struct value v; record_next(&p, record.p + record.n, &v);) {
        buf_addc(&told, ' ');
        drive_value(&told, &v);
    }
    buf_addc(&told, '\n');
    return 0;
}

static void *
open_dest(const struct dest *d, struct error *err)
{
    static struct column fields[16];
    static size_t key[16];
    void *h = NULL;
    size_t n = parse_fields(d->fields, fields);
    for (size_t i = 0; i < d->nkey; i++)
        key[i] = i;
    struct target t = {.sync = "s",
                       .sync_uid = "uid-s",
                       .object = d->object,
                       .mode = d->mode,
                       .create = d->create,
                       .fields = fields,
                       .nfields = n,
                       .key = key,
                       .nkey = d->nkey};
    if (driver_sqlite.dest_open(d->connection ? d->connection : OPTIONS(), &t, &h, err))
        return NULL;
    return h;
}

/* Writes one row "+ …", "u …" (update), "^ …" (upsert), "- key", "= key". */
static int
write_row(void *h, const struct dest *d, const char *row, uint64_t seq, struct error *err)
{
    struct value values[16] = {0};
    static const char signs[] = {[OP_INSERT] = '+',
                                 [OP_UPSERT] = '^',
                                 [OP_UPDATE] = 'u',
                                 [OP_DELETE] = '-',
                                 [OP_PRESENT] = '='};
    drive_parse(row + 2, values, 16, &arena);
    const char *sign = memchr(signs, *row, sizeof signs);
    struct change c = {.op = (enum operation)(sign - signs), .seq = seq, .key = values};
    if (c.op < OP_DELETE)
        c.after = values;
    struct batch b = {.changes = &c, .n = 1};
    struct outcome out = {0};
    int rc = driver_sqlite.dest_write(h, &b, &out, err);
    if (!rc && out.kind == ROW_REJECTED)
        verdict(NULL, seq, &out);
    else if (!rc && out.kind != ROW_STAGED)
        buf_adds(&told, "not staged\n");
    return rc;
}

/* A whole session of newline-separated rows. What was told, "error: …" when it failed. */
static char *
session(const struct dest *d, const char *token, const char *rows)
{
    struct error err = ERROR_INIT;
    struct session s = {.token = token, .full = d->survey, .dry = d->dry, .survey = d->survey};
    told = (struct buf)BUF_INIT(BUF_NO_MAX);
    void *h = open_dest(d, &err);
    int rc = h ? driver_sqlite.dest_begin(h, &s, &err) : -err.errnum;
    uint64_t seq = 0;
    while (!rc && *rows) {
        const char *end = strchrnul(rows, '\n');
        if (*rows == '?')
            rc = driver_sqlite.dest_survey(h, foreign, (void *)d, &err);
        else
            rc =
                write_row(h, d, arena_strndup(&arena, rows, (size_t)(end - rows)), seq++, &err);
        rows = *end ? end + 1 : end;
    }
    if (!rc && !d->dry)
        rc = driver_sqlite.dest_apply(h, verdict, NULL, &err);
    if (!rc && !d->dry)
        rc = driver_sqlite.dest_commit(h, &err);
    else if (h)
        driver_sqlite.dest_abort(h);
    if (h)
        driver_sqlite.dest_close(h);
    if (rc)
        buf_addf(&told, "error: %s: %s", error_kind_name(err.kind), err.text);
    buf_adds(&told, "");
    return buf_take(&told);
}

static void
check_session(const struct dest *d, const char *rows, const char *want, const char *query,
              const char *state)
{
    AUTO_FREE char *got = session(d, "token", rows);
    tap_check_text(got, want, rows, __FILE__, __LINE__);
    if (query) {
        AUTO_FREE char *now = look(query);
        tap_check_text(now, state, query, __FILE__, __LINE__);
    }
}

#define ALL "SELECT quote(id), quote(name) FROM t ORDER BY id, name"

/* Every mode, whether the key has a unique index, a plain one, or none. */
static void
test_modes(void)
{
    static const char *const tables[] = {
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, extra DEFAULT 'e');",
        "CREATE TABLE t(id INT, name TEXT, extra DEFAULT 'e'); CREATE UNIQUE INDEX i ON t(id);",
        "CREATE TABLE t(id INT, name TEXT, extra DEFAULT 'e'); CREATE INDEX i ON t(id);",
        "CREATE TABLE t(id INT, name TEXT, extra DEFAULT 'e');",
        "CREATE TABLE t(id INT, name TEXT, extra DEFAULT 'e', PRIMARY KEY(id)) WITHOUT ROWID;",
        ("CREATE TABLE t(id INT, name TEXT, extra DEFAULT 'e');"
         "CREATE UNIQUE INDEX i ON t(id) WHERE id > 0;"),
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        struct dest d = {.object = "t", .fields = "id:integer,name:text", .nkey = 1};
        fresh(tables[i]);
        sql("INSERT INTO t VALUES (1, 'one', 'x'), (2, 'two', 'x')");
        d.mode = MODE_UPSERT;
        check_session(&d, "^ i:2|t:TWO\n^ i:3|t:three\n^ i:4|n", "", ALL,
                      "1,'one'\n2,'TWO'\n3,'three'\n4,NULL\n");
        AUTO_FREE char *extra =
            look("SELECT group_concat(extra) FROM (SELECT * FROM t ORDER BY id)");
        CHECK_TEXT(extra, "x,x,e,e\n");
        d.mode = MODE_UPDATE;
        check_session(&d, "u i:1|t:eins\nu i:9|t:nine\nu i:4|t:vier",
                      "1 no_match no such record at the destination\n", ALL,
                      "1,'eins'\n2,'TWO'\n3,'three'\n4,'vier'\n");
        d.mode = MODE_INSERT;
        check_session(&d, "+ i:5|t:five\n+ i:6|t:six", "", ALL,
                      "1,'eins'\n2,'TWO'\n3,'three'\n4,'vier'\n5,'five'\n6,'six'\n");
        d.mode = MODE_MIRROR;
        check_session(&d, "^ i:1|t:1\n- i:2\n- i:77\n- i:5", "", ALL,
                      "1,'1'\n3,'three'\n4,'vier'\n6,'six'\n");
        d.survey = true;
        check_session(&d, "^ i:1|t:1\n= i:4\n^ i:8|t:8\n?\n- i:3",
                      "foreign i:3 = i:3 t:three\nforeign i:6 = i:6 t:six\n", ALL,
                      "1,'1'\n4,'vier'\n6,'six'\n8,'8'\n");
        d.dry = true;
        check_session(&d, "^ i:100|t:1\n= i:4\n?",
                      "foreign i:1 = i:1 t:1\nforeign i:6 = i:6 t:six\nforeign i:8 = i:8 t:8\n",
                      ALL, "1,'1'\n4,'vier'\n6,'six'\n8,'8'\n");
    }
    struct dest keys = {.object = "t", .fields = "id:integer", .nkey = 1, .mode = MODE_UPSERT};
    fresh("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)");
    check_session(&keys, "^ i:1\n^ i:2", "", "SELECT * FROM t", "1,(null)\n2,(null)\n");
    check_session(&keys, "^ i:2\n^ i:3", "", "SELECT id FROM t", "1\n2\n3\n");
    struct dest two = {
        .object = "T", .fields = "b:text,A:integer,v:text", .nkey = 2, .mode = MODE_UPSERT};
    fresh("CREATE TABLE t(a INT, b TEXT, v TEXT, UNIQUE(a, b))");
    check_session(&two, "^ t:x|i:1|t:p\n^ t:y|i:1|t:q", "", NULL, NULL);
    check_session(&two, "^ t:x|i:1|t:P\n- t:y|i:1", "", "SELECT a, b, v FROM t", "1,x,P\n");
}

static void
test_bad_rows(void)
{
    static const char schema[] =
        "CREATE TABLE t(id INT %s, name TEXT NOT NULL CHECK (name <> 'bad'),"
        " mail TEXT UNIQUE ON CONFLICT REPLACE);"
        "CREATE TRIGGER g BEFORE INSERT ON t WHEN new.name = 'raise' BEGIN"
        " SELECT RAISE(FAIL, 'not with me'); END;"
        "CREATE TRIGGER h BEFORE INSERT ON t WHEN new.name = 'ignore' BEGIN"
        " SELECT RAISE(IGNORE); END;";
    for (int unique = 0; unique < 2; unique++) {
        for (int insert = 0; insert < 2; insert++) {
            struct dest d = {.object = "t",
                             .fields = "id:integer,name:text,mail:text",
                             .nkey = 1,
                             .mode = insert ? MODE_INSERT : MODE_UPSERT};
            fresh(arena_printf(&arena, schema, unique ? "UNIQUE" : ""));
            AUTO_BUF struct buf rows = BUF_INIT(BUF_NO_MAX);
            for (int i = 0; i < 200; i++) {
                const char *name = i == 20    ? "t:bad"
                                   : i == 21  ? "n"
                                   : i == 90  ? "t:raise"
                                   : i == 150 ? "t:ignore"
                                              : "t:good";
                buf_addf(&rows, "%c i:%d|%s|t:m%d\n", insert ? '+' : '^', i, name,
                         i == 199 ? 3 : i);
            }
            check_session(&d, buf_z(&rows),
                          "20 SQLITE_CONSTRAINT_CHECK CHECK constraint failed: name <> 'bad'\n"
                          "21 SQLITE_CONSTRAINT_NOTNULL NOT NULL constraint failed: t.name\n"
                          "90 SQLITE_CONSTRAINT_TRIGGER not with me\n"
                          "150 ignored a trigger ignored the row\n"
                          "199 SQLITE_CONSTRAINT_UNIQUE UNIQUE constraint failed: t.mail\n",
                          "SELECT count(*), sum(id), min(name), max(name) FROM t",
                          "195,19420,good,good\n");
        }
    }
    struct dest d = {
        .object = "t", .fields = "id:integer,name:text", .nkey = 1, .mode = MODE_UPDATE};
    fresh("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT CHECK (name <> 'bad'));"
          "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');"
          "CREATE TRIGGER x BEFORE DELETE ON t WHEN old.id = 2 BEGIN SELECT RAISE(ABORT, "
          "'stays');"
          " END; CREATE TABLE o(x); CREATE TRIGGER y AFTER UPDATE ON t WHEN new.name = 'err'"
          " BEGIN INSERT INTO o VALUES (json('{')); END");
    check_session(&d, "u i:1|t:A\nu i:2|t:bad\nu i:3|t:err\nu i:4|t:x",
                  "3 no_match no such record at the destination\n"
                  "1 SQLITE_CONSTRAINT_CHECK CHECK constraint failed: name <> 'bad'\n"
                  "2 SQLITE_ERROR malformed JSON\n",
                  ALL, "1,'A'\n2,'b'\n3,'c'\n");
    d.mode = MODE_MIRROR;
    check_session(&d, "- i:1\n- i:2\n- i:3", "1 SQLITE_CONSTRAINT_TRIGGER stays\n", ALL,
                  "2,'b'\n");
    check_session(&d, "^ t:abc|t:x\n^ i:5|t:y", "0 SQLITE_MISMATCH datatype mismatch\n", ALL,
                  "2,'b'\n5,'y'\n");
    sql("CREATE TRIGGER z BEFORE INSERT ON t WHEN new.id = 7 BEGIN"
        " SELECT RAISE(ROLLBACK, 'all of it'); END");
    check_session(&d, "^ i:6|t:x\n^ i:7|t:y",
                  "error: remote: the whole transaction was rolled back: all of it", ALL,
                  "2,'b'\n5,'y'\n");
    fresh("CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1);"
          "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT REFERENCES p)");
    check_session(&d, "^ i:1|t:1\n^ i:2|t:2", "", ALL, "1,'1'\n2,'2'\n");
    d.connection = OPTIONS("foreign_keys", "true");
    check_session(&d, "^ i:3|t:1\n^ i:4|t:4",
                  "1 SQLITE_CONSTRAINT_FOREIGNKEY FOREIGN KEY constraint failed\n", ALL,
                  "1,'1'\n2,'2'\n3,'1'\n");
}

static void
test_create_and_types(void)
{
    static const char fields[] =
        "i:integer,b:boolean,d:decimal,f:float,t:text,x:bytes,dd:date,S:timestamp,j:json,a:any";
    static const char row[] = "i:9223372036854775807|b:t|d:0.10|f:0.30000000000000004|t:007|"
                              "x:ab|D:2024-01-31|S:2024-01-31 13:05:00|j:123|t:1";
    struct dest d = {.object = "new \"t\"",
                     .fields = fields,
                     .nkey = 1,
                     .mode = MODE_UPSERT,
                     .create = true};
    unlink(path);
    d.dry = true;
    AUTO_FREE char *dry = session(&d, "x", arena_printf(&arena, "^ %s", row));
    CHECK_TEXT(dry, "");
    CHECK(access(path, F_OK) < 0);
    d.dry = false;
    check_session(
        &d,
        arena_printf(&arena,
                     "^ %s\n^ i:-5|b:f|d:12345678901234567890.5|f:Infinity|"
                     "t:|x:|n|n|j:{}|i:1",
                     row),
        "", "SELECT sql FROM sqlite_master WHERE name LIKE 'new%'",
        "CREATE TABLE \"new \"\"t\"\"\" (\"i\" INTEGER NOT NULL, \"b\" BOOLEAN, \"d\" TEXT,"
        " \"f\" REAL, \"t\" TEXT, \"x\" BLOB, \"dd\" TEXT, \"S\" TEXT, \"j\" TEXT, \"a\" ,"
        " PRIMARY KEY (\"i\"))\n");
}

/* What was written comes back the same. */
static void
test_round_trip(void)
{
    AUTO_FREE char *back = read_table("new \"t\"", NULL, NULL);
    CHECK_TEXT(back, "i:-5|b:f|t:12345678901234567890.5|f:Infinity|t:|x:|n|n|t:{}|i:1\n"
                     "i:9223372036854775807|b:t|t:0.10|f:0.30000000000000004|t:007|x:ab|"
                     "t:2024-01-31|t:2024-01-31 13:05:00|t:123|t:1\n");
    struct dest d = {.object = "t",
                     .fields = "id:text,name:any",
                     .nkey = 1,
                     .mode = MODE_INSERT,
                     .create = true};
    check_session(&d, "+ t:a|i:1\n+ t:a|x:b\n+ n|f:NaN\n+ t:c|f:0.1",
                  "2 nan SQLite has no NaN\n", "SELECT quote(id), quote(name) FROM t",
                  "'a',1\n'a',X'62'\n'c',0.1\n");
}

/* Text identifiers for an integer column: "1" is 1, and "01" must not overwrite it. */
static void
test_affinity(void)
{
    struct dest d = {
        .object = "t", .fields = "id:text,name:text", .nkey = 1, .mode = MODE_MIRROR};
    static const char *const tables[] = {"CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT);",
                                         "CREATE TABLE t(id INT, name TEXT);"};
    for (int i = 0; i < 2; i++) {
        fresh(tables[i]);
        sql("INSERT INTO t VALUES (1, 'old'), (2, 'x'), (3, 'y')");
        d.survey = false;
        check_session(
            &d, "^ t:1|t:new\n^ t:01|t:other\n- t:02\n- t:2",
            "1 same_key another row of the model has the same key at the destination\n", ALL,
            "1,'new'\n3,'y'\n");
        d.survey = true;
        check_session(&d, "= t:1\n^ t:4|t:z\n?\n- i:3", "foreign i:3 = i:3 t:y\n", ALL,
                      "1,'new'\n4,'z'\n");
        check_session(&d, "= t:1\n^ t:4|t:z\n- t:01", "", ALL, "1,'new'\n4,'z'\n");
    }
    /* Keys compare byte by byte, whatever the collation. */
    d.survey = false;
    fresh("CREATE TABLE t(id TEXT COLLATE NOCASE UNIQUE, name TEXT); INSERT INTO t VALUES "
          "('a', '1')");
    check_session(&d, "^ t:a|t:2\n^ t:A|t:3\n- t:B",
                  "1 SQLITE_CONSTRAINT_UNIQUE UNIQUE constraint failed: t.id\n", ALL,
                  "'a','2'\n");
    /* A boolean identifier and rows without one. */
    fresh("CREATE TABLE t(id BOOLEAN, name TEXT); INSERT INTO t VALUES (0, 'f'), (1, 't'), "
          "(NULL, 'n')");
    d.fields = "id:boolean,name:text";
    d.survey = true;
    check_session(&d, "= b:t\n?\n- b:f\n- n", "foreign b:f = b:f t:f\nforeign n = n t:n\n", ALL,
                  "1,'t'\n");
}

static void
check_refused(const struct dest *d, const char *want)
{
    AUTO_FREE char *got = session(d, "x", "");
    tap_check_text(got, want, d->fields, __FILE__, __LINE__);
}

static void
test_config_errors(void)
{
    fresh("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT NOT NULL, g AS (id + 1),"
          " d TEXT NOT NULL DEFAULT ''); CREATE VIEW v AS SELECT 1 AS id");
    struct dest d = {.object = "t", .nkey = 1, .mode = MODE_UPSERT};
    d.fields = "id:integer,nane:text";
    check_refused(&d, "error: config: table \"t\" has no column \"nane\"; it has: id, name, d");
    d.fields = "id:integer,name:text,g:integer";
    check_refused(&d, "error: config: column \"g\" is generated and cannot be written");
    d.fields = "id:integer,d:text";
    check_refused(&d,
                  "error: config: column \"name\" is NOT NULL without default, and nothing is "
                  "mapped to it");
    d.fields = "id:integer,name:text,NAME:text";
    check_refused(&d, "error: config: fields \"name\" and \"NAME\" are the same column");
    d.mode = MODE_UPDATE;
    d.fields = "id:integer,d:text";
    check_refused(&d, "");
    d.object = "v";
    check_refused(&d, "error: config: \"v\" is not a table");
    d.object = "made";
    d.create = true;
    d.fields = "id:integer,Id:text";
    check_refused(&d, "error: config: fields \"id\" and \"Id\" are the same column");
    d.create = false;
    d.fields = "id:integer";
    d.object = "none";
    check_refused(&d, "error: config: no such table: \"none\"");
    d.object = "retlfs_runs";
    check_refused(&d, "error: config: table \"retlfs_runs\" is retlfs's own");
    d.object = NULL;
    check_refused(&d, "error: config: the destination needs an object: a table");
    unlink(path);
    d.object = "t";
    AUTO_FREE char *missing = session(&d, "x", "");
    CHECK(strncmp(missing, "error: config: cannot open", 26) == 0 && access(path, F_OK) < 0);
    struct error err = ERROR_INIT;
    CHECK(driver_sqlite.check(OPTIONS("busy_timeout", "-1"), &err) == -EINVAL);
}

static void
check_fate(const struct dest *d, const char *token, enum dest_fate want)
{
    struct error err = ERROR_INIT;
    enum dest_fate fate = FATE_UNKNOWN;
    void *h = open_dest(d, &err);
    CHECK(h && driver_sqlite.dest_resolve(h, token, &fate, &err) == 0);
    tap_check(fate == want, token, __FILE__, __LINE__);
    driver_sqlite.dest_close(h);
}

static void
test_marker(void)
{
    struct dest d = {.object = "t",
                     .fields = "id:integer,name:text",
                     .nkey = 1,
                     .mode = MODE_UPSERT,
                     .create = true};
    /* Without the file nobody can tell, and it is not made for the question. */
    struct error err = ERROR_INIT;
    enum dest_fate fate = FATE_COMMITTED;
    unlink(path);
    void *h = open_dest(&d, &err);
    CHECK(driver_sqlite.dest_resolve(h, "one", &fate, &err) == -ENOENT && fate == FATE_UNKNOWN);
    CHECK(err.kind == ERR_UNREACHABLE && access(path, F_OK) < 0);
    driver_sqlite.dest_close(h);
    error_clear(&err);
    fresh("CREATE TABLE x(y)");
    check_fate(&d, "one", FATE_NOT_COMMITTED);
    AUTO_FREE char *one = session(&d, "one", "^ i:1|t:a");
    CHECK_TEXT(one, "");
    check_fate(&d, "one", FATE_COMMITTED);
    check_fate(&d, "two", FATE_NOT_COMMITTED);
    AUTO_FREE char *two = session(&d, "two", "^ i:2|t:b");
    CHECK_TEXT(two, "");
    check_fate(&d, "one", FATE_NOT_COMMITTED);
    check_fate(&d, "two", FATE_COMMITTED);
    AUTO_FREE char *rows =
        look("SELECT sync, token, committed_at LIKE '20__-__-__T%Z' FROM retlfs_runs");
    CHECK_TEXT(rows, "uid-s,two,1\n");

    /* Applied, but neither committed nor aborted: as a killed process leaves it. */
    struct session s = {.token = "three"};
    h = open_dest(&d, &err);
    CHECK(driver_sqlite.dest_begin(h, &s, &err) == 0);
    CHECK(write_row(h, &d, "^ i:3|t:c", 0, &err) == 0);
    AUTO_FREE char *staged = look(ALL);
    CHECK_TEXT(staged, "1,'a'\n2,'b'\n");
    sql("UPDATE t SET name = 'B' WHERE id = 2"); /* staging locks nobody out */
    CHECK(driver_sqlite.dest_apply(h, verdict, NULL, &err) == 0);
    AUTO_FREE char *unseen = look(ALL);
    CHECK_TEXT(unseen, "1,'a'\n2,'B'\n");
    driver_sqlite.dest_abort(h);
    /* The handle can begin again. */
    s.token = "four";
    CHECK(driver_sqlite.dest_begin(h, &s, &err) == 0);
    CHECK(write_row(h, &d, "^ i:4|t:d", 0, &err) == 0);
    CHECK(driver_sqlite.dest_apply(h, verdict, NULL, &err) == 0);
    driver_sqlite.dest_close(h);
    check_fate(&d, "three", FATE_NOT_COMMITTED);
    check_fate(&d, "four", FATE_NOT_COMMITTED);
    AUTO_FREE char *after = look(ALL);
    CHECK_TEXT(after, "1,'a'\n2,'B'\n");
}

/* Killed before its commit, with pages already written: rolled back by whoever comes next. */
static void
test_killed(void)
{
    struct dest d = {
        .object = "t", .fields = "id:integer,name:text", .nkey = 1, .mode = MODE_UPSERT};
    fresh("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'a')");
    pid_t child = fork();
    if (child == 0) {
        struct error err = ERROR_INIT;
        struct session s = {.token = "killed"};
        void *h = open_dest(&d, &err);
        int rc = driver_sqlite.dest_begin(h, &s, &err);
        char *text = arena_alloc(&arena, 100001);
        memset(text, 'x', 100000);
        for (uint64_t i = 0; !rc && i < 300; i++) {
            rc = write_row(h, &d, arena_printf(&arena, "^ i:%d|t:%s", (int)i, text), i, &err);
        }
        if (!rc)
            rc = driver_sqlite.dest_apply(h, verdict, NULL, &err);
        kill(getpid(), rc ? SIGTERM : SIGKILL);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
          WTERMSIG(status) == SIGKILL);
    CHECK(access(arena_printf(&arena, "%s-journal", path), F_OK) == 0);
    check_fate(&d, "killed", FATE_NOT_COMMITTED);
    AUTO_FREE char *rows = look(ALL);
    CHECK_TEXT(rows, "1,'a'\n");
}

static void
test_locks(void)
{
    struct dest d = {.object = "t",
                     .fields = "id:integer,name:text",
                     .nkey = 1,
                     .mode = MODE_UPSERT,
                     .connection = OPTIONS("busy_timeout", "30")};
    fresh("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'a')");
    sqlite3 *other;
    sqlite3_open(path, &other);
    sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    check_session(&d, "^ i:1|t:b", "error: unreachable: database is locked", NULL, NULL);
    struct error err = ERROR_INIT;
    enum dest_fate fate = FATE_COMMITTED;
    void *h = open_dest(&d, &err);
    CHECK(driver_sqlite.dest_resolve(h, "x", &fate, &err) < 0 && fate == FATE_UNKNOWN &&
          err.kind == ERR_UNREACHABLE);
    driver_sqlite.dest_cancel(h);
    struct session s = {.token = "x"};
    driver_sqlite.dest_begin(h, &s, &err);
    CHECK(driver_sqlite.dest_apply(h, verdict, NULL, &err) < 0 && err.kind == ERR_CANCELLED);
    driver_sqlite.dest_close(h);
    /* A reader keeps the commit out. */
    sqlite3_exec(other, "ROLLBACK; BEGIN; SELECT * FROM t", NULL, NULL, NULL);
    check_session(&d, "^ i:1|t:b", "error: unreachable: database is locked", NULL, NULL);
    sqlite3_exec(other, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(other);
    check_session(&d, "^ i:1|t:b", "", ALL, "1,'b'\n");
    /* Others cannot write between survey and commit: the survey stays true. */
    h = open_dest(&d, &err);
    s = (struct session){.token = "y", .full = true, .survey = true};
    CHECK(driver_sqlite.dest_begin(h, &s, &err) == 0);
    CHECK(write_row(h, &d, "^ i:1|t:c", 0, &err) == 0);
    CHECK(driver_sqlite.dest_survey(h, foreign, &d, &err) == 0);
    sqlite3_open(path, &other);
    CHECK(sqlite3_exec(other, "INSERT INTO t VALUES (9, 'x')", NULL, NULL, NULL) ==
          SQLITE_BUSY);
    CHECK(driver_sqlite.dest_apply(h, verdict, NULL, &err) == 0);
    CHECK(driver_sqlite.dest_commit(h, &err) == 0);
    driver_sqlite.dest_close(h);
    CHECK(sqlite3_exec(other, "INSERT INTO t VALUES (9, 'x')", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(other);
    AUTO_FREE char *after = look(ALL);
    CHECK_TEXT(after, "1,'c'\n9,'x'\n");
}

struct copying {
    void *dest;
    uint64_t seq;
};

static int
copy_row(void *arg, const struct value *values, struct error *err)
{
    struct copying *c = arg;
    struct change change = {.op = OP_UPSERT, .seq = c->seq++, .after = values, .key = values};
    struct batch b = {.changes = &change, .n = 1};
    struct outcome out;
    return driver_sqlite.dest_write(c->dest, &b, &out, err);
}

static int
cancel_reading(void *arg, const struct value *values, struct error *err)
{
    driver_sqlite.source_cancel(*(void **)arg);
    return 0;
}

/* One file is source and destination, its rows staged while they are read. */
static void
test_same_file(void)
{
    fresh("CREATE TABLE a(id INTEGER PRIMARY KEY, name TEXT);"
          "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT);"
          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
          " INSERT INTO a SELECT i, 'row ' || i FROM n");
    struct dest d = {.object = "t",
                     .fields = "id:integer,name:text",
                     .nkey = 1,
                     .mode = MODE_UPSERT,
                     .connection = OPTIONS("busy_timeout", "30")};
    static const char *const columns[] = {"id", "name"};
    struct projection p = {.columns = columns, .n = 2};
    struct model model = {.table = "a"};
    struct error err = ERROR_INIT;
    struct schema schema;
    struct source_plan plan;
    struct session s = {.token = "x"};
    void *source;
    CHECK(driver_sqlite.source_open(OPTIONS(), &model, &source, &err) == 0);
    CHECK(driver_sqlite.source_describe(source, &schema, &err) == 0);
    CHECK(driver_sqlite.source_plan(source, &p, false, &plan, &err) == 0);
    struct copying c = {.dest = open_dest(&d, &err)};
    CHECK(driver_sqlite.dest_begin(c.dest, &s, &err) == 0);
    CHECK(driver_sqlite.source_read(source, copy_row, &c, &err) == 0);
    CHECK(driver_sqlite.dest_apply(c.dest, verdict, NULL, &err) == 0);
    CHECK(driver_sqlite.dest_commit(c.dest, &err) == 0);
    driver_sqlite.dest_close(c.dest);
    driver_sqlite.source_close(source);
    AUTO_FREE char *same =
        look("SELECT (SELECT count(*) FROM t), count(*) FROM a JOIN t USING (id, name)");
    CHECK_TEXT(same, "5000,5000\n");

    CHECK(driver_sqlite.source_open(OPTIONS(), &model, &source, &err) == 0);
    CHECK(driver_sqlite.source_describe(source, &schema, &err) == 0);
    CHECK(driver_sqlite.source_plan(source, &p, false, &plan, &err) == 0);
    CHECK(driver_sqlite.source_read(source, cancel_reading, &source, &err) < 0 &&
          err.kind == ERR_CANCELLED);
    driver_sqlite.source_close(source);
}

static void
test_describe(void)
{
    fresh(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL, b REAL DEFAULT 1, g AS (id))");
    struct dest d = {.object = "T", .fields = "id:integer", .nkey = 1};
    struct error err = ERROR_INIT;
    struct schema s = {0};
    void *h = open_dest(&d, &err);
    bool good = h && driver_sqlite.dest_describe(h, &s, &err) == 0 && s.n == 4 && s.columns;
    CHECK(good);
    if (!good)
        return;
    CHECK(s.columns[0].has_default && s.columns[1].not_null && !s.columns[1].has_default);
    CHECK(s.columns[2].has_default && s.columns[2].type == V_FLOAT && s.columns[3].generated);
    driver_sqlite.dest_close(h);
    d.object = "none";
    h = open_dest(&d, &err);
    CHECK(h && driver_sqlite.dest_describe(h, &s, &err) == 0 && s.n == 0);
    driver_sqlite.dest_close(h);
}

int
main(void)
{
    snprintf(path, sizeof path, "%s/odd ?#%%41 name.db", drive_directory());
    test_modes();
    test_bad_rows();
    test_create_and_types();
    test_round_trip();
    test_affinity();
    test_config_errors();
    test_marker();
    test_killed();
    test_locks();
    test_same_file();
    test_describe();
    arena_done(&arena);
    return tap_done();
}
