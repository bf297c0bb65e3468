/* The pace of calls, in a time of its own, and waiting after failures. */
#include "calls/backoff.h"
#include "calls/pace.h"
#include "tap.h"

#define S ((usec_t)1000000)

/* Calls as fast as it lets one, from `now` on; returns when the last one began. */
static usec_t
call_often(struct pace *p, usec_t now, int calls)
{
    for (int i = 0; i < calls; i++)
        for (usec_t wait; (wait = pace_ask(p, now)) > 0;)
            now += wait;
    return now;
}

/* In no stretch of a window, wherever it begins, do more calls begin than it allows. */
static void
test_windows(void)
{
    enum { CALLS = 500 };
    static usec_t began[CALLS];
    const struct pace_window windows[] = {{10, S}, {40, 10 * S}};
    struct pace *p = pace_get("windows", windows, 2);
    usec_t now = 1000 * S;
    for (int i = 0; i < CALLS; i++) {
        now = call_often(p, now + (i % 7) * 13000, 1);
        began[i] = now;
    }
    bool kept = true;
    for (int i = 0; i < CALLS; i++)
        kept = kept && (i < 10 || began[i] - began[i - 10] >= S) &&
               (i < 40 || began[i] - began[i - 40] >= 10 * S);
    CHECK_MSG(kept, "no stretch holds more calls than its window allows");
    CHECK_MSG(began[CALLS - 1] - began[0] <= 125 * S, "and none is wasted");
    pace_put(p);
}

static void
test_shared(void)
{
    const struct pace_window window = {2, S};
    struct pace *one = pace_get("shared", &window, 1), *two = pace_get("shared", &window, 1);
    struct pace *other = pace_get("other", &window, 1);
    usec_t now = 2000 * S;
    CHECK(pace_ask(one, now) == 0 && pace_ask(two, now) == 0);
    CHECK(pace_ask(one, now) == S && pace_ask(two, now + S / 2) == S / 2);
    CHECK(pace_ask(other, now) == 0);
    pace_put(two);
    pace_put(other);
    pace_put(one);
}

/* Whoever comes back, or comes with another definition, finds the calls that were made. */
static void
test_memory(void)
{
    const struct pace_window window = {2, 3600 * S}, wider = {3, 3600 * S};
    struct pace *p = pace_get("memory", &window, 1);
    usec_t now = clock_monotonic();
    CHECK(pace_ask(p, now) == 0 && pace_ask(p, now) == 0);
    pace_put(p);
    p = pace_get("memory", &window, 1);
    CHECK(pace_ask(p, now + S) == 3599 * S);
    struct pace *again = pace_get("memory", &wider, 1);
    CHECK(again == p);
    CHECK(pace_ask(p, now + S) == 0);
    CHECK(pace_ask(p, now + S) == 3599 * S);
    pace_put(again);
    pace_put(p);
}

/* Of very many calls a share is kept: never faster than was said. */
static void
test_large_window(void)
{
    const struct pace_window day = {250000, 86400 * S};
    struct pace *p = pace_get("day", &day, 1);
    usec_t end = call_often(p, 10 * S, 250001);
    CHECK(end - 10 * S >= 86400 * S * 15 / 16);
    pace_put(p);
}

static void
test_hints(void)
{
    struct pace *p = pace_get("hints", NULL, 0);
    usec_t now = 3000 * S;
    CHECK_MSG(call_often(p, now, 1000) == now, "without a window nobody waits");
    pace_tell(p, now, &(struct pace_hint){.wait = 7 * S});
    pace_tell(p, now, &(struct pace_hint){.wait = 5 * S});
    CHECK(pace_ask(p, now) == 7 * S);
    now += 7 * S;
    pace_tell(p, now, &(struct pace_hint){.counted = true, .remaining = 2, .reset = 4 * S});
    CHECK(pace_ask(p, now) == 0);
    /* An older answer, overtaken by the one above. */
    pace_tell(p, now, &(struct pace_hint){.counted = true, .remaining = 3, .reset = 4 * S});
    CHECK(pace_ask(p, now) == 0);
    CHECK(pace_ask(p, now) == 4 * S);
    CHECK_MSG(call_often(p, now + 4 * S, 50) == now + 4 * S, "after the reset it goes on");
    pace_put(p);
}

/* A scope has windows and closures of its own; what it has none of is the connection's. */
static void
test_scopes(void)
{
    const struct pace_scope own = {"POST /delete", {{1, 10 * S}}, 1};
    struct limits limits = {.windows = {{5, S}}, .nwindows = 1};
    limits.of[OP_DELETE].scope = own;
    limits.of[OP_UPDATE].prepared = limits.of[OP_DELETE].prepared = true;
    limits.of[OP_UPDATE].before = own;
    struct call_paces p;
    CHECK(paces_get("scopes", &limits, &p));
    struct pace *upsert = p.of[OP_UPSERT], *delete = p.of[OP_DELETE];
    usec_t now = 4000 * S;
    CHECK(upsert == p.of[OP_UPDATE] && upsert != delete &&!p.before[OP_UPSERT]);
    CHECK(p.before[OP_UPDATE] == delete &&p.before[OP_DELETE] == upsert);
    CHECK(pace_ask(delete, now) == 0);
    CHECK(pace_ask(delete, now) == 10 * S);
    CHECK_MSG(call_often(upsert, now, 5) == now, "the others do not wait for it");
    CHECK_MSG(pace_closed(delete, now) == 0, "a window is no word of the peer's");
    pace_tell(delete, now, &(struct pace_hint){.wait = 20 * S});
    CHECK(pace_closed(delete, now) == 20 * S && pace_closed(upsert, now) == 0);
    pace_tell(upsert, now, &(struct pace_hint){.counted = true, .reset = INT64_MAX / 2});
    CHECK_MSG(pace_ask(upsert, now) == 86400 * S, "nobody waits longer than a day");
    paces_put(&p);
}

static void
test_backoff(void)
{
    struct backoff b = {.base = S, .cap = 8 * S, .budget = 60 * S};
    usec_t most[] = {S, 2 * S, 4 * S, 8 * S, 8 * S};
    bool within = true;
    for (int i = 0; i < 5; i++) {
        usec_t wait = backoff_next(&b, 0, (uint64_t)most[i]); /* the longest there is */
        within = within && wait == most[i];
    }
    CHECK_MSG(within, "each wait may be twice the one before, up to the cap");
    CHECK_MSG(backoff_next(&b, 0, 0) == 0, "and as short as chance will have it");
    CHECK(backoff_next(&b, 20 * S, 3) == 20 * S);
    CHECK_MSG(backoff_next(&b, 20 * S, 3) == -1, "more than the budget is not waited");
    CHECK(backoff_too(&b, 60 * S, 3) == 60 * S);
    CHECK_MSG(backoff_too(&b, 61 * S, 3) == -1, "nor for another of the same time");
    backoff_reset(&b);
    CHECK(backoff_next(&b, 0, (uint64_t)S) == S);
    struct backoff none = {.base = S, .cap = S};
    CHECK(backoff_next(&none, 0, 5) == -1);
}

int
main(void)
{
    test_windows();
    test_shared();
    test_memory();
    test_large_window();
    test_hints();
    test_scopes();
    test_backoff();
    return tap_done();
}
