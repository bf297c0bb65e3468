/*
 * Which runs are kept, by number and by age, through the whole engine against drivers in memory
 * and a clock that the test turns.
 */
#include "run/run.h"
#include "turned-clock.h"

static const usec_t HOUR = INT64_C(3600) * 1000000, DAY = INT64_C(86400) * 1000000;

static node_id
make_kept(const char *name, const char *keep)
{
    fake_clear();
    fake_add("1", "Ada", "London");
    return make_sync(name, "\"id\"", THREE, "upsert", keep);
}

/* "3 4 5" */
static bool
has_runs(node_id sync, const char *want)
{
    uint64_t number = 0;
    AUTO_BUF struct buf got = BUF_INIT(4096);
    while (run_next(engine, sync, number, &number) == 1)
        buf_addf(&got, "%s%llu", got.n ? " " : "", (unsigned long long)number);
    if (strcmp(buf_z(&got), want) == 0)
        return true;
    printf("# runs %s, wanted %s\n", buf_z(&got), want);
    return false;
}

static void
run_daily(node_id sync, int times)
{
    for (int i = 0; i < times; i++) {
        if (i > 0)
            pass(DAY);
        CHECK(trigger(sync, "run") == 0);
    }
}

static void
test_by_age(void)
{
    node_id s = make_kept("age", ", \"keep_days\": 3");
    run_daily(s, 5); /* those of 4, 3, 2, 1 days ago and of now */
    CHECK(has_runs(s, "2 3 4 5"));
    pass(DAY - HOUR);
    CHECK(has_runs(s, "3 4 5"));
    pass(HOUR); /* three days old to the moment */
    CHECK(has_runs(s, "3 4 5"));
    pass(HOUR);
    CHECK(has_runs(s, "4 5"));
    pass(100 * DAY); /* the newest is kept, however old */
    CHECK(has_runs(s, "5") && run_last(engine, s) == 5);
    AUTO_BUF struct buf text = BUF_INIT(1 << 16);
    struct timespec changed;
    struct chg *changes = NULL;
    CHECK(run_show(engine, s, 5, RUN_LOG, &text, &changed) == 0 && text.n > 0);
    CHECK(run_show(engine, s, 4, RUN_SUMMARY, &text, &changed) == -ENOENT);
    CHECK(run_changes(engine, s, 4, &changes) == -ENOENT && !changes);
    CHECK(trigger(s, "run") == 0 && has_runs(s, "6"));
}

static void
test_both_limits(void)
{
    node_id s = make_kept("both", ", \"keep_days\": 10, \"keep_runs\": 2");
    run_daily(s, 4);
    CHECK(has_runs(s, "3 4"));
    pass(10 * DAY - HOUR);
    CHECK(has_runs(s, "4"));
    node_id none = make_kept("none", "");
    run_daily(none, 2);
    pass(10000 * DAY);
    CHECK(has_runs(none, "1 2"));
    CHECK(configure(none, "\"id\"", "t", ", \"keep_days\": 1") == 0);
    pass(2 * HOUR);
    CHECK(has_runs(none, "2"));
    CHECK(configure(none, "\"id\"", "t", ", \"keep_days\": 0") == -EINVAL);
    CHECK(configure(none, "\"id\"", "t", ", \"keep_days\": 36501") == -EINVAL);
    CHECK(configure(none, "\"id\"", "t", ", \"keep_days\": \"7\"") == -EINVAL);
    CHECK(configure(none, "\"id\"", "t", ", \"keep_days\": 36500") == 0);
}

/* What later runs need stays: the delivered state, and the rows that were refused. */
static void
test_needed(void)
{
    node_id s = make_kept("needed", ", \"keep_days\": 2");
    fake_add("2", "Bob", "Paris");
    fake.reject_id = "2";
    CHECK(trigger(s, "run") == EIO);
    fake.unreachable = true;
    for (int i = 0; i < 3; i++) {
        pass(DAY);
        CHECK(trigger(s, "full") == EIO);
    }
    fake.unreachable = false;
    pass(DAY);
    CHECK(has_runs(s, "3 4"));
    struct chg *rejected = NULL;
    CHECK(sync_rejected(engine, s, &rejected) == 0);
    CHECK(rejected && chg_get_totals(rejected).entries == 1);
    chg_unref(rejected);
    engine_close(engine);
    open_engine();
    fake.reject_id = NULL;
    fake.upserts = fake.inserts = 0;
    CHECK(trigger(s, "run") == 0);
    CHECK(fake.upserts + fake.inserts == 1 && fake_find("2") && fake_find("1"));
}

/* A run that is going on is not disturbed. */
static void
test_while_running(void)
{
    node_id s = make_kept("running", ", \"keep_days\": 2");
    run_daily(s, 3);
    fake_add("2", "Bob", "Paris");
    atomic_store(&fake.block, true);
    CHECK(trigger(s, "start") == 0);
    for (int i = 0; i < 60000 && run_last(engine, s) < 4 && atomic_load(&fake.open) == 0; i++)
        poll(NULL, 0, 1);
    pass(30 * DAY);
    uint64_t number;
    CHECK(run_next(engine, s, 0, &number) == 1 && number > 2);
    atomic_store(&fake.block, false);
    CHECK(trigger(s, "wait") == 0 && run_last(engine, s) == 4);
    CHECK(has_runs(s, "4") && fake_find("2"));
    fake.upserts = 0;
    CHECK(trigger(s, "run") == 0 && fake.upserts == 0);
}

/* A clock that once was wrong does not take young runs along. */
static void
test_clock_set_back(void)
{
    node_id s = make_kept("clock", ", \"keep_days\": 2");
    CHECK(trigger(s, "run") == 0);
    atomic_fetch_sub(&now, 1000 * DAY);
    CHECK(trigger(s, "run") == 0);
    atomic_fetch_add(&now, 1000 * DAY);
    pass(DAY);
    CHECK(trigger(s, "run") == 0);
    CHECK(has_runs(s, "1 2 3"));
    pass(DAY + HOUR);
    CHECK(has_runs(s, "3"));
}

/* Whose file it is stands in its name. */
static void
test_numbers(void)
{
    static const char *const none[] = {"run-.log", "run-+1.log", "run- 1.log",
                                       "plan-1",   "run-",       "run-18446744073709551616"};
    uint64_t number = 0;
    const char *rest = "";
    CHECK(run_file_number("run-12.changes", "run-", &number, &rest) && number == 12);
    CHECK_TEXT(rest, ".changes");
    CHECK(run_file_number("state-18446744073709551615", "state-", &number, NULL));
    CHECK(number == UINT64_MAX);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK(!run_file_number(none[i], "run-", &number, &rest));
}

int
main(void)
{
    test_numbers();
    atomic_store(&now, 20000 * DAY);
    clock_replace(fake_now);
    begin();
    test_by_age();
    test_both_limits();
    test_needed();
    test_while_running();
    test_clock_set_back();
    return end();
}
