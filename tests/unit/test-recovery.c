/*
 * What a daemon makes of records that another one left behind: cut off, or damaged. One sync's
 * damage is that sync's trouble, and is told there.
 */
#include "catalog/sql.h"
#include "engine-in-memory.h"

/* Behind the engine's back. */
static void
open_catalogue(struct sql *q)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf path = BUF_INIT(256);
    buf_addf(&path, "%s/catalogue.db", directory);
    CHECK(sql_open(q, buf_z(&path), &err) == 0);
}

/* Changes what the catalogue holds. */
static void
spoil(const char *statement)
{
    struct sql q;
    struct error err = ERROR_INIT;
    open_catalogue(&q);
    if (!CHECK(sql_script(&q, &err, statement) == 0))
        printf("# %s\n", err.text);
    sql_close(&q);
}

static void
spoil_while_stopped(const char *statement)
{
    engine_close(engine);
    spoil(statement);
    open_engine();
}

/* A sync whose one row was sent. */
static node_id
deliver_one(const char *name)
{
    fake_clear();
    fake_add("a", "Al", "x");
    node_id s = make_sync(name, "\"id\"", THREE, "upsert", "");
    CHECK(trigger(s, "run") == 0);
    return s;
}

static void
test_killed(void)
{
    node_id s = deliver_one("killed");
    spoil_while_stopped("UPDATE run SET phase = 'active',"
                        " sum = checksum(sync, number, 'active', summary)");
    CHECK(
        shows(s, SYNC_STATUS, "state: failed\nreason: interrupted: the daemon was stopped\n"));

    /* its record does not even say what it was */
    spoil_while_stopped("UPDATE run SET phase = 'active', summary = '{\"run\": '");
    CHECK(shows(s, SYNC_STATUS, "state: failed\n"));
    CHECK(shows(s, SYNC_ERROR, "the daemon was stopped; its record was damaged"));
    CHECK(shows(s, SYNC_STATUS, "delivered: 1\n"));
    CHECK(trigger(s, "run") == 0 && lines(sent(s, 0)) == 0);
    CHECK(shows(s, SYNC_STATUS, "state: ready\n"));
}

static void
test_damaged_sync(void)
{
    static const char damage[] = "UPDATE sync SET data = '{\"signature\": '"
                                 " WHERE node = (SELECT id FROM node WHERE name = 'damaged');"
                                 "UPDATE run SET phase = 'active'"
                                 " WHERE sync = (SELECT uid FROM sync WHERE data LIKE '%: ')";
    fake_clear();
    fake_add("a", "Al", "x");
    node_id sound = make_sync("sound", "\"id\"", THREE, "upsert", "");
    node_id s = make_sync("damaged", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(sound, "run") == 0 && trigger(s, "run") == 0);
    spoil_while_stopped(damage);
    CHECK(shows(s, SYNC_STATUS, "reason: error: the ledger's record of sync "));
    CHECK(shows(s, SYNC_ERROR, " is damaged"));
    CHECK(trigger(s, "run") == ENOEXEC);
    CHECK(strstr(last_error.text, "is damaged") != NULL);
    CHECK(shows(sound, SYNC_STATUS, "state: ready\n") && trigger(sound, "run") == 0);
    /* what it said is given up by the one verb that does so anyway */
    CHECK(trigger(s, "reset") == 0);
    CHECK(shows(s, SYNC_STATUS, "next_run: full: reset"));
    CHECK(trigger(s, "run") == 0 && lines(sent(s, 0)) == 1);

    /* the same while the daemon runs: the sync is still there */
    spoil(damage);
    put(s, "mode", "update");
    CHECK(shows(s, SYNC_STATUS, "reason: error: the ledger's record of sync "));
    CHECK(shows(s, SYNC_STATUS, "mode: update\n"));
    CHECK(trigger(s, "reset") == 0 && trigger(s, "run") == 0);
}

/* Records that read well but are not what was written: a bit that turned. */
static void
test_turned_bits(void)
{
    static const char *const turned[] = {
        "UPDATE sync SET data = replace(data, '\"live_rows\":1', '\"live_rows\":3')"
        " WHERE name = 'turned'",
        "UPDATE sync SET data = replace(data, 'state-', 'stave-') WHERE name = 'turned'",
        "UPDATE sync SET last_run = last_run + 64 WHERE name = 'turned'",
        "UPDATE sync SET sum = NULL WHERE name = 'turned'",
    };
    fake_clear();
    fake_add("a", "Al", "x");
    node_id sound = make_sync("beside", "\"id\"", THREE, "mirror", "");
    node_id s = make_sync("turned", "\"id\"", THREE, "mirror", "");
    CHECK(trigger(sound, "run") == 0);
    for (size_t i = 0; i < sizeof turned / sizeof *turned; i++) {
        CHECK(trigger(s, "run") == 0);
        spoil_while_stopped(turned[i]);
        CHECK(trigger(s, "run") == ENOEXEC && fake.ntarget == 1);
        CHECK(shows(s, SYNC_ERROR, "is damaged: \"reset\" gives it up"));
        CHECK(trigger(sound, "run") == 0 && lines(sent(sound, 0)) == 0);
        CHECK(trigger(s, "reset") == 0);
        CHECK(shows(s, SYNC_STATUS, "next_run: full: reset"));
    }
    struct timespec changed;
    AUTO_BUF struct buf fifth = BUF_INIT(1 << 16);
    CHECK(trigger(s, "run") == 0); /* and is counted on from the last */
    CHECK(run_show(engine, s, 5, RUN_SUMMARY, &fifth, &changed) == 0);

    /* found only when the run begins: it leaves nothing half done */
    spoil("UPDATE sync SET data = replace(data, 'mirror', 'mirrop') || ' '"
          " WHERE name = 'turned'");
    CHECK(trigger(s, "run") == EIO);
    CHECK(shows(s, SYNC_ERROR, "is damaged: \"reset\" gives it up"));
    CHECK(trigger(s, "reset") == 0 && trigger(s, "run") == 0);
}

/* What a run was is only told when it is what was written. */
static void
test_turned_runs(void)
{
    struct timespec changed;
    node_id s = deliver_one("runs");
    spoil_while_stopped("UPDATE run SET summary = replace(summary, 'succeeded', 'cancelled'),"
                        " mode = 'update'");
    AUTO_BUF struct buf text = BUF_INIT(1 << 16);
    CHECK(run_show(engine, s, 1, RUN_SUMMARY, &text, &changed) == -EIO);
    CHECK(run_show(engine, s, 1, RUN_MODE, &text, &changed) == -EIO && text.n == 0);
    CHECK(shows(s, SYNC_STATUS, "the ledger's record of the newest run is damaged"));
    CHECK(trigger(s, "run") == 0 && lines(sent(s, 0)) == 0);
    CHECK(run_show(engine, s, 2, RUN_SUMMARY, &text, &changed) == 0);
}

/* Nor are rows left out that nobody removed. */
static void
test_turned_left_out(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    node_id s = make_sync("left_out", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(s, "plan") == 0);
    CHECK(sync_rows_remove(engine, s, ROWS_PENDING, 1u << ENTRY_INSERT, "a", &me) == 0);
    spoil_while_stopped("UPDATE left_out SET row = 1 - row");
    CHECK(trigger(s, "approve") == EIO && fake.ntarget == 0);
    CHECK(shows(s, SYNC_ERROR, "which rows were removed by hand is damaged"));
    CHECK(trigger(s, "plan") == 0 && trigger(s, "approve") == 0 && fake.ntarget == 2);
}

/* The answer to a commit was lost, and with it the destination. */
static void
test_unresolved(void)
{
    static const char words[] = "it is not known yet whether the destination committed";
    fake_clear();
    fake_add("a", "Al", "x");
    node_id s = make_sync("unresolved", "\"id\"", THREE, "upsert", "");
    fake.lose_commit = fake.commit_happened = fake.lose_peer = true;
    CHECK(trigger(s, "start") == 0);
    CHECK(comes(s, SYNC_STATUS, "phase: committing"));
    CHECK(trigger(s, "cancel") == 0); /* stops the asking */
    CHECK(trigger(s, "wait") == EIO);
    reopen_engine();
    CHECK(shows(s, SYNC_STATUS, "state: unresolved\n") && shows(s, SYNC_STATUS, words));
    CHECK(shows(s, SYNC_ERROR, words));
    AUTO_BUF struct buf summary = BUF_INIT(1 << 16);
    struct timespec changed;
    CHECK(run_show(engine, s, 1, RUN_SUMMARY, &summary, &changed) == 0);
    CHECK(strstr(buf_z(&summary), words) &&
          strstr(buf_z(&summary), "\"outcome\": \"unknown\""));

    /* the daemon was killed before it could say why */
    spoil_while_stopped("UPDATE run SET (summary, sum) = (SELECT text,"
                        "  checksum(sync, number, phase, text) FROM (SELECT"
                        "  json_remove(summary, '$.unresolved') AS text))"
                        " WHERE phase = 'committing'");
    CHECK(shows(s, SYNC_ERROR, "the daemon was stopped while the destination committed"));
    CHECK(trigger(s, "run") == EIO);

    /* nor is anybody asked with texts that are not those of the run */
    spoil("UPDATE run SET mode = CAST(mode || ' ' AS BLOB) WHERE phase = 'committing'");
    CHECK(trigger(s, "run") == EIO && shows(s, SYNC_ERROR, "cannot be read (damaged)"));
    spoil("UPDATE run SET mode = CAST(substr(mode, 1, length(mode) - 1) AS BLOB)"
          " WHERE phase = 'committing'");
    fake.lose_commit = fake.lose_peer = fake.unreachable = false;
    CHECK(trigger(s, "run") == 0 && lines(sent(s, 0)) == 0);
    CHECK(shows(s, SYNC_STATUS, "delivered: 1\n"));
    reopen_engine();
    CHECK(shows(s, SYNC_STATUS, "state: ready\n") && !*shown(s, SYNC_ERROR));
    buf_clear(&summary);
    CHECK(run_show(engine, s, 1, RUN_SUMMARY, &summary, &changed) == 0);
    CHECK(strstr(buf_z(&summary), "\"error\": null") != NULL);

    /* a record that cannot be read any more can at least be given up */
    fake.lose_commit = fake.lose_peer = true;
    fake_add("b", "Bo", "x");
    CHECK(trigger(s, "start") == 0);
    CHECK(comes(s, SYNC_STATUS, "phase: committing"));
    CHECK(trigger(s, "cancel") == 0 && trigger(s, "wait") == EIO);
    spoil_while_stopped("UPDATE run SET summary = '{' WHERE phase = 'committing'");
    fake.lose_commit = fake.lose_peer = fake.unreachable = false;
    CHECK(trigger(s, "run") == EIO && shows(s, SYNC_ERROR, "is damaged"));
    CHECK(trigger(s, "reset") == 0 && trigger(s, "run") == 0);
    CHECK(lines(sent(s, 0)) == 2);
}

/* The destination has committed, and then the ledger cannot say so: a full disk, or a kill. */
static void
test_end_not_written(void)
{
    static const char *const connections[] = {"{\"driver\": \"fake\"}",
                                              "{\"driver\": \"calls\"}"};
    for (size_t i = 0; i < 2; i++) {
        fake_clear();
        fake_add("a", "Al", "x");
        put(NODE_CONNECTIONS, "f.json", connections[i]);
        node_id s = make_sync(i ? "calls" : "atomic", NULL, THREE, "insert", "");
        spoil("CREATE TRIGGER full BEFORE UPDATE ON run WHEN new.phase = 'done'"
              " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END");
        CHECK(trigger(s, "run") == EIO && fake.ntarget == 1);
        CHECK(shows(s, SYNC_STATUS, "state: unresolved\n"));
        spoil("DROP TRIGGER full");
        reopen_engine();
        CHECK(trigger(s, "run") == 0 && fake.ntarget == 1 && lines(sent(s, 0)) == 0);
        CHECK(shows(s, SYNC_STATUS, "delivered: 1\n"));
    }
}

static void *
reset(void *arg)
{
    struct waiting unused = {.result = -1};
    struct ticket *ticket = NULL;
    struct error err = ERROR_INIT;
    node_id *s = arg;
    int rc = sync_trigger(engine, *s, STR("reset"), false, &me, done, &unused, &ticket, &err);
    return (void *)(intptr_t)-rc;
}

/* A reset and a run at the same time: one comes first, and what it did holds. */
static void
test_reset_beside_run(void)
{
    node_id s = deliver_one("both");
    struct sql q;
    struct error err = ERROR_INIT;
    open_catalogue(&q);
    /* the disk is slow: whoever writes stands in the middle of it */
    CHECK(sql_script(&q, &err, "BEGIN IMMEDIATE") == 0);
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, reset, &s);
    CHECK(trigger(s, "start") == 0);
    CHECK(sql_script(&q, &err, "COMMIT") == 0);
    sql_close(&q);
    pthread_join(thread, &result);
    CHECK(trigger(s, "wait") == 0);
    bool was_reset = result == NULL;
    CHECK(was_reset || (intptr_t)result == EBUSY);
    CHECK(lines(sent(s, 0)) == was_reset);
}

int
main(void)
{
    begin();
    test_killed();
    test_damaged_sync();
    test_turned_bits();
    test_turned_runs();
    test_turned_left_out();
    test_unresolved();
    test_end_not_written();
    test_reset_beside_run();
    return end();
}
