/*
 * Runs by schedule through the whole engine, against drivers in memory and a clock that the
 * test turns: due, skipped, missed, paused, not ready, many at once.
 */
#include <pthread.h>

#include "base/civil.h"
#include "turned-clock.h"

enum { MANY = 12 };
static const usec_t SECOND = 1000000, MINUTE = 60 * 1000000;

static node_id
make_scheduled(const char *name, const char *schedule)
{
    node_id s = make_sync(name, "\"id\"", THREE, "upsert", "");
    CHECK(put(s, "schedule", schedule) == 0);
    scheduler_tick(engine);
    return s;
}

static void
remove_sync(const char *name, node_id id)
{
    static const char *const files[] = {"config.json", "mappings.csv", "mode", "schedule"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        tree_unlink(engine, id, files[i], false, &me);
    CHECK(tree_rmdir(engine, NODE_SYNCS, name, &me) == 0);
}

static void
test_due_and_skipped(void)
{
    node_id s = make_scheduled("due", "every 15m\n");
    CHECK(shows(s, SYNC_STATUS, "schedule: every 15m\nnext_scheduled: 2026-11-21T04:45:"));
    CHECK(shows(s, SYNC_STATUS_JSON, "\"next_scheduled\": \"2026-11-21T04:45:"));
    CHECK(run_last(engine, s) == 0);
    usec_t next = pass(5 * MINUTE);
    CHECK(run_last(engine, s) == 0 && next >= fake_now() + 6 * MINUTE);
    CHECK(next < fake_now() + 7 * MINUTE);
    pass(next - fake_now() - SECOND / 1000);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 0);
    pass(SECOND / 1000);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1);
    CHECK(scheduler_tick(engine) > fake_now() + 14 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1);
    AUTO_BUF struct buf summary = BUF_INIT(1 << 16);
    struct timespec changed;
    CHECK(run_show(engine, s, 1, RUN_SUMMARY, &summary, &changed) == 0);
    CHECK(strstr(buf_z(&summary), "\"command\": \"schedule\""));
    CHECK(strstr(buf_z(&summary), "\"verb\": \"run\""));

    /* one that takes longer than the interval */
    atomic_store(&fake.block, true);
    pass(15 * MINUTE + 30 * SECOND);
    pass(15 * MINUTE);
    pass(15 * MINUTE);
    atomic_store(&fake.block, false);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 2);
    CHECK(shows(s, SYNC_STATUS, "\nskipped: 2\n"));
    CHECK(shows(s, SYNC_LOG, "skipped: one is going on"));
    pass(15 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 3);
    CHECK(shows(s, SYNC_STATUS, "\nskipped: 2\n")); /* the run's end has not undone it */
    remove_sync("due", s);
}

static void
test_missed(void)
{
    node_id s = make_scheduled("missed", "cron 0 * * * *");
    pass(3 * 60 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1);
    engine_close(engine);
    atomic_fetch_add(&now, 50 * 60 * MINUTE);
    open_engine();
    scheduler_tick(engine);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 2);
    engine_close(engine); /* nothing was missed this time */
    open_engine();
    scheduler_tick(engine);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 2);

    /* another schedule begins when it is written; the same again changes nothing */
    CHECK(put(s, "schedule", "every 1d\n") == 0);
    scheduler_tick(engine);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 2);
    CHECK(shows(s, SYNC_STATUS, "schedule: every 1d\nnext_scheduled: 2026-11-24T00:00:"));
    CHECK(put(s, "schedule", " off\n") == 0);
    pass(48 * 60 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 2);
    CHECK(shows(s, SYNC_STATUS, "schedule: off\ndelivered"));
    CHECK(put(s, "schedule", "every 1d") == 0);
    scheduler_tick(engine);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 2);
    CHECK(put(s, "schedule", "\n") == 0); /* blank is off */
    CHECK(shows(s, SYNC_STATUS, "schedule: off\ndelivered"));
    remove_sync("missed", s);
}

/* Asked for, and the daemon gone before the run had begun. */
static void
test_never_began(void)
{
    atomic_store(&fake.block, true);
    node_id blocked = make_scheduled("first", "off");
    CHECK(trigger(blocked, "start") == 0);
    node_id s = make_scheduled("second", "every 15m");
    pass(17 * MINUTE);
    CHECK(shows(s, SYNC_STATUS, "state: queued"));
    CHECK(run_last(engine, s) == 0);
    engine_close(engine);
    atomic_store(&fake.block, false);
    open_engine();
    scheduler_tick(engine);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1);
    remove_sync("first", blocked);
    remove_sync("second", s);
}

static void
test_pause(void)
{
    node_id s = make_scheduled("pause", "every 15m");
    CHECK(shows(s, SYNC_TRIGGER, "# pause ") && !shows(s, SYNC_TRIGGER, "# resume "));
    CHECK(trigger(s, "pause") == 0 && trigger(s, "pause") == 0);
    CHECK(shows(s, SYNC_STATUS, "next_scheduled: paused\n"));
    CHECK(shows(s, SYNC_STATUS_JSON, "\"next_scheduled\": null,\n  \"paused\": true"));
    CHECK(shows(s, SYNC_TRIGGER, "# resume "));
    pass(40 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 0);
    CHECK(trigger(s, "run") == 0 && run_last(engine, s) == 1); /* by hand it still works */
    engine_close(engine);
    atomic_fetch_add(&now, 60 * MINUTE);
    open_engine();
    scheduler_tick(engine);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1);
    CHECK(shows(s, SYNC_STATUS, "next_scheduled: paused\n"));
    CHECK(trigger(s, "resume") == 0);
    scheduler_tick(engine);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1); /* nothing is made up for */
    pass(17 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 2);
    CHECK(shows(s, SYNC_LOG, "paused by uid=0 pid=1"));
    CHECK(shows(s, SYNC_LOG, "resumed by uid=0 pid=1"));
    CHECK(trigger(s, "pause now") == EINVAL);
    remove_sync("pause", s);
}

static void
test_not_ready(void)
{
    node_id s = make_scheduled("draft", "every 15m");
    CHECK(put(s, "mode", "nonsense") == -EINVAL);
    pass(17 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 0);
    CHECK(shows(s, SYNC_LOG, " not started: mode.rej holds a refused edit"));
    CHECK(put(s, "mode", "upsert\n") == 0);
    scheduler_tick(engine);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 0);
    CHECK(put(s, "schedule", "every 5s") == -EINVAL); /* the good one stays in force */
    CHECK(shows(s, SYNC_STATUS, "reason: schedule.rej holds a refused edit"));
    CHECK(shows(s, SYNC_STATUS, "schedule: every 15m\n"));
    CHECK(put(s, "schedule", "every 15m\n") == 0);
    pass(17 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1);
    remove_sync("draft", s);
}

/* Due at the same minute: spread over 30 seconds. */
static void
test_many(void)
{
    node_id s[MANY];
    for (int i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "many%d", i);
        s[i] = make_scheduled(name, "cron 0 12 * * * UTC");
    }
    usec_t noon = (fake_now() / (1440 * MINUTE) + 1) * (1440 * MINUTE) + 720 * MINUTE;
    usec_t first = pass(noon - fake_now()), last = first;
    int moments = 0;
    for (usec_t next = first; next < noon + 60 * MINUTE; next = scheduler_tick(engine)) {
        moments++;
        last = next;
        atomic_store(&now, next);
    }
    CHECK(first >= noon && last < noon + 30 * SECOND);
    CHECK(moments > MANY / 2);
    for (int i = 0; i < MANY; i++)
        CHECK(trigger(s[i], "wait") == 0 && run_last(engine, s[i]) == 1);
    for (int i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "many%d", i);
        remove_sync(name, s[i]);
    }
}

/* A clock that was years ahead and was set right does not leave the schedule waiting for years.
 */
static void
test_clock_set_back(void)
{
    usec_t before = fake_now();
    atomic_fetch_add(&now, 1000 * 1440 * MINUTE);
    node_id s = make_scheduled("clock", "every 15m");
    pass(17 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1);
    atomic_store(&now, before);
    CHECK(scheduler_tick(engine) <= before + 17 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 1);
    pass(17 * MINUTE);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 2);
    remove_sync("clock", s);
}

int
main(void)
{
    others_run = true;
    atomic_store(&now, (civil_days(2026, 11, 21) * 86400 + 4 * 3600 + 33 * 60 + 52) * SECOND);
    clock_replace(fake_now);
    begin();
    fake_add("a", "Al", "Aa");
    test_due_and_skipped();
    test_missed();
    test_never_began();
    test_pause();
    test_not_ready();
    test_many();
    test_clock_set_back();
    return end();
}
