/*
 * PostgreSQL as a destination: what is known after a commit, a kill or a lost answer;
 * cancelling, locks, privileges, descriptions.
 */
#include "postgres-sync.h"

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
    CHECK_MSG(starts(resolve("run-1"), "remote: the table retlfs_runs of schema \"public\""),
              "without the table nobody can tell");
    s.object = "nowhere.t"; /* a schema that a session was to make */
    s.create = true;
    CHECK(open_dest(&s, &handle, &err) == 0);
    enum dest_fate fate = FATE_UNKNOWN;
    CHECK(driver_postgres.dest_resolve(handle, "run-1", &fate, &err) == 0 &&
          fate == FATE_NOT_COMMITTED);
    driver_postgres.dest_close(handle);
    s = base;
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
    sql("REVOKE SELECT ON t FROM writer; GRANT SELECT (id) ON t TO writer");
    s.rows = "u i:1|t:b|n";
    CHECK_TEXT(run(s), "");
    CHECK_TEXT(ask("SELECT name FROM t WHERE id = 1"), "b\n");
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
