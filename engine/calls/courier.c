/* Delivery by calls: see courier.h. */
#include "calls/courier.h"

#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "calls/load.h"

/* So many rows refused by themselves, beside those that were before, and none ever taken: then
 * it is not for the rows' sake. */
enum { HOPELESS_ROWS = 500 };
enum { CALLS_MAX = 64 };                    /* that begin together */
static const usec_t LONGEST_WAIT = 1000000; /* so that a cancel is seen */

struct courier {
    struct courier_settings set;
    struct load_list waiting; /* in the order in which they are to go */
    struct load_list active;
    uint64_t number;         /* of the next batch */
    uint64_t refused, taken; /* rows */
    uint64_t random;
    usec_t failed; /* when a call did last that counted */
    bool stopped;
    struct error why;
    struct error spent; /* why no call should begin any more, if there is one to be made */
};

/* ---- parts of loads ---- */

/* Those rows of the load of which `wanted` says yes, as a load that goes before all others;
 * *ret NULL: there are none. */
static int
part_of(struct courier *c, const struct load *load, load_wanted_fn wanted, struct load **ret,
        struct error *err)
{
    struct load *part = load_part(load, c->number++, wanted);
    if (!part)
        return error_no_memory(err);
    if (part->call.batch.n > 0)
        loads_put_first(&c->waiting, part);
    else
        part = load_free(part);
    *ret = part;
    return 0;
}

static int
requeue(struct courier *c, const struct load *load, load_wanted_fn wanted, usec_t not_before,
        struct error *err)
{
    struct load *part = NULL;
    int rc = part_of(c, load, wanted, &part, err);
    if (rc == 0 && part)
        part->not_before = not_before;
    return rc;
}

static bool
first_half(const struct load *load, size_t i)
{
    return i < load->call.batch.n / 2;
}

static bool
second_half(const struct load *load, size_t i)
{
    return !first_half(load, i);
}

static bool
is_retry(const struct load *load, size_t i)
{
    return load->call.out[i].kind == ROW_RETRY;
}

static bool
is_absent(const struct load *load, size_t i)
{
    return load->call.out[i].kind == ROW_ABSENT;
}

static bool
not_rejected(const struct load *load, size_t i)
{
    return load->call.out[i].kind != ROW_REJECTED;
}

/* ---- verdicts ---- */

/* Counts it, and gives a refusal for which the peer has no code or words some of ours. */
static void
count(struct courier *c, struct outcome *out)
{
    if (out->kind == ROW_REJECTED && !out->code)
        out->code = "refused";
    if (out->kind == ROW_REJECTED && !out->why)
        out->why = "no reason was given";
    c->taken += out->kind == ROW_DONE || out->kind == ROW_UNCHANGED;
    c->refused += out->kind == ROW_REJECTED;
}

/* A refusal says nothing of an earlier try that nobody answered. */
static void
doubt(const struct load *load, struct outcome *out)
{
    if (!load->sent || (out->kind != ROW_REJECTED && out->kind != ROW_RETRY))
        return;
    out->kind = ROW_UNKNOWN;
    out->code = "unknown";
}

static int
tell(struct courier *c, const struct load *load, struct error *err)
{
    const struct call *call = &load->call;
    for (size_t i = 0; i < call->batch.n; i++) {
        count(c, &call->out[i]);
        doubt(load, &call->out[i]);
    }
    return c->set.told(c->set.arg, call->batch.changes, call->out, call->batch.n, err);
}

/* All but those that go on in another load. */
static int
tell_others(struct courier *c, const struct load *load, load_wanted_fn stays, struct error *err)
{
    const struct call *call = &load->call;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < call->batch.n; i++) {
        if (stays(load, i))
            continue;
        count(c, &call->out[i]);
        struct outcome out = call->out[i]; /* whose kind still decides what stays */
        doubt(load, &out);
        rc = c->set.told(c->set.arg, &call->batch.changes[i], &out, 1, err);
    }
    return rc;
}

static int
tell_all(struct courier *c, struct load *load, enum outcome_kind kind, const char *code,
         const char *why, struct error *err)
{
    for (size_t i = 0; i < load->call.batch.n; i++)
        load->call.out[i] = (struct outcome){.kind = kind, .code = code, .why = why};
    return tell(c, load, err);
}

static void
stop(struct courier *c, const struct error *why)
{
    if (c->stopped)
        return;
    c->stopped = true;
    c->why = *why;
}

/* ---- sizes ---- */

static struct call_limits *
limits_of(struct courier *c, const struct change *change)
{
    return &c->set.limits.of[change->op];
}

static size_t
change_bytes(struct courier *c, const struct change *change)
{
    size_t n = limits_of(c, change)->overhead + (change->after ? 0 : change->before.n);
    for (size_t i = 0; change->after && i < c->set.nfields; i++)
        n += change->after[i].n + 2;
    return n;
}

/* What was too large is not made again. By bytes: beside one large row there may be many that
 * are small. */
static void
keep_smaller(struct courier *c, const struct load *load)
{
    const struct batch *b = &load->call.batch;
    struct call_limits *l = limits_of(c, &b->changes[0]);
    size_t bytes = 0;
    for (size_t i = 0; i < b->n; i++)
        bytes += change_bytes(c, &b->changes[i]);
    if (b->n > 1 && bytes / 2 < l->bytes)
        l->bytes = bytes / 2;
}

/* ---- after an answer ---- */

static usec_t
next_random(struct courier *c)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return (usec_t)(c->random >> 1);
}

/* What was under way when another call failed fails for the same reason. */
static usec_t
wait_after(struct courier *c, const struct load *load, usec_t asked)
{
    uint64_t random = (uint64_t)next_random(c);
    if (load->began <= c->failed)
        return backoff_too(&c->set.backoff, asked, random);
    c->failed = clock_monotonic();
    return backoff_next(&c->set.backoff, asked, random);
}

/* Once more, later; unless the budget is spent. */
static int
again_later(struct courier *c, struct load *load, const struct call_answer *a,
            struct error *err)
{
    usec_t wait = wait_after(c, load, a->wait_us);
    if (wait < 0) {
        stop(c, &a->error);
        bool lost = a->fate == CALL_UNKNOWN || load->sent;
        int rc = tell_all(c, load, lost ? ROW_UNKNOWN : ROW_RETRY,
                          lost ? "unknown" : "not_sent", a->error.text, err);
        load_free(load);
        return rc;
    }
    load->not_before = clock_monotonic() + wait;
    loads_put_first(&c->waiting, load);
    return 0;
}

static int
halve(struct courier *c, struct load *load, const struct call_answer *a, const char *code,
      struct error *err)
{
    int rc;
    if (load->call.batch.n == 1) {
        rc = tell_all(c, load, ROW_REJECTED, code, a->error.text, err);
    } else { /* what is put first goes first: so the second half before */
        rc = requeue(c, load, second_half, 0, err);
        if (rc == 0)
            rc = requeue(c, load, first_half, 0, err);
    }
    load_free(load);
    return rc;
}

static int
refused(struct courier *c, struct load *load, const struct call_answer *a, struct error *err)
{
    bool known = false;
    for (size_t i = 0; i < load->call.batch.n; i++)
        known |= load->call.out[i].kind == ROW_REJECTED;
    if (!known)
        return halve(c, load, a, "refused", err);
    int rc = tell_others(c, load, not_rejected, err);
    if (rc == 0)
        rc = requeue(c, load, not_rejected, 0, err);
    load_free(load);
    return rc;
}

/* Rows that a look-up did not find go on in a call that makes them. */
static int
make_absent(struct courier *c, const struct load *load, unsigned tries, struct error *err)
{
    struct load *part = NULL;
    int rc = part_of(c, load, is_absent, &part, err);
    if (rc == 0 && part) {
        part->call.absent = true;
        part->call.tries = tries;
    }
    return rc;
}

/* Nothing was sent yet. */
static int
prepared(struct courier *c, struct load *load, struct error *err)
{
    int rc = load_has(load, is_absent) ? make_absent(c, load, load->call.tries, err) : 0;
    load_drop(load, is_absent);
    if (load->call.batch.n > 0)
        loads_put_first(&c->waiting, load);
    else
        load_free(load);
    return rc;
}

/* The answer was a look-up's. Nothing was delivered by it, so it ends nobody's patience with
 * what fails after it. */
static int
looked_up(struct courier *c, struct load *load, struct error *err)
{
    int rc = tell_others(c, load, is_absent, err);
    if (rc == 0)
        rc = make_absent(c, load, load->call.tries - 1, err);
    load_free(load);
    return rc;
}

static int
answered(struct courier *c, struct load *load, struct error *err)
{
    if (load_has(load, is_absent))
        return looked_up(c, load, err);
    backoff_reset(&c->set.backoff);
    usec_t wait = load_has(load, is_retry)
                      ? backoff_next(&c->set.backoff, 0, (uint64_t)next_random(c))
                      : -1;
    enum { TRIES = 5 }; /* of rows that are to be tried again in a call that went well */
    int rc;
    if (wait < 0 || load->call.tries > TRIES) {
        rc = tell(c, load, err);
    } else {
        rc = tell_others(c, load, is_retry, err);
        if (rc == 0)
            rc = requeue(c, load, is_retry, clock_monotonic() + wait, err);
    }
    load_free(load);
    return rc;
}

static int
denied(struct courier *c, struct load *load, const struct call_answer *a, struct error *err)
{
    if (load->denied++ == 0) {
        loads_put_first(&c->waiting, load);
        return 0;
    }
    stop(c, &a->error);
    loads_put_first(&c->waiting, load);
    return 0;
}

/* Of its next request. */
static struct pace *
pace_of(const struct courier *c, const struct load *load)
{
    enum operation op = load->call.batch.changes[0].op;
    const struct call_paces *paces = &c->set.paces;
    if (load->call.absent && paces->making[op])
        return paces->making[op];
    bool prepares = paces->before[op] && !load->call.driver && !load->call.absent;
    return prepares ? paces->before[op] : paces->of[op];
}

static int
judge_answer(struct courier *c, const struct call_answer *a, struct error *err)
{
    struct load *load = (struct load *)(void *)a->call; /* its first member */
    const struct pace_hint hint = {.wait = a->wait_us,
                                   .counted = a->counted,
                                   .remaining = a->remaining,
                                   .reset = a->reset_us};
    if (load->pace)
        pace_tell(load->pace, clock_monotonic(), &hint);
    if (a->spent)
        error_set(&c->spent, ERR_LIMIT, EDQUOT, "%s", a->spent);
    if (a->fate != CALL_DENIED && a->fate != CALL_PREPARED)
        load->denied = 0;
    load->sent |= a->twice;
    switch (a->fate) {
    case CALL_ANSWERED:
        return answered(c, load, err);
    case CALL_REFUSED:
        return refused(c, load, a, err);
    case CALL_TOO_LARGE:
        keep_smaller(c, load);
        return halve(c, load, a, "too_large", err);
    case CALL_DENIED:
        return denied(c, load, a, err);
    case CALL_HOPELESS:
        stop(c, &a->error);
        loads_put_first(&c->waiting, load);
        return 0;
    case CALL_FAILED:
        return again_later(c, load, a, err);
    case CALL_PREPARED:
        return prepared(c, load, err);
    case CALL_UNKNOWN:
        break;
    }
    load->sent = true;
    load->call.absent = false; /* it may have been made */
    if (limits_of(c, &load->call.batch.changes[0])->repeatable &&
        !atomic_load(c->set.cancelled))
        return again_later(c, load, a, err);
    int rc = tell_all(c, load, ROW_UNKNOWN, "unknown", a->error.text, err);
    load_free(load);
    return rc;
}

static int
take_answer(struct courier *c, struct call_answer *a, struct error *err)
{
    for (struct load **at = &c->active.first; *at; at = &(*at)->following) {
        if (&(*at)->call == a->call) {
            loads_take_out(&c->active, at);
            break;
        }
    }
    a->call->tries += a->fate != CALL_PREPARED;
    if (c->set.answered)
        c->set.answered(c->set.arg, a);
    int rc = judge_answer(c, a, err);
    if (c->set.answered)
        c->set.answered(c->set.arg, NULL);
    return rc;
}

/* ---- going on ---- */

static void
look_whether_to_stop(struct courier *c)
{
    struct error why = ERROR_INIT;
    if (cancel_check(c->set.cancelled, &why) < 0)
        stop(c, &why);
    if (c->set.abandoned && atomic_load(c->set.abandoned)) {
        error_set(&why, ERR_CANCELLED, ECANCELED, "the run ended before it was sent");
        stop(c, &why);
    }
    if (c->spent.kind != ERR_NONE && c->waiting.first)
        stop(c, &c->spent);
    uint64_t hopeless = HOPELESS_ROWS + c->set.refused_before;
    if (c->taken > 0 || c->refused < hopeless || c->stopped)
        return;
    error_set(&why, ERR_DATA, EIO, "each of the first %llu rows was refused: none was taken",
              (unsigned long long)hopeless);
    stop(c, &why);
}

/* What is not under way any more was not sent, or its fate is not known. */
static int
tell_waiting(struct courier *c, struct error *err)
{
    int rc = 0;
    struct load *load;
    while (rc == 0 && (load = c->waiting.first)) {
        usec_t ignored = 0;
        loads_take_ready(&c->waiting, INT64_MAX, &ignored);
        rc = load->sent ? tell_all(c, load, ROW_UNKNOWN, "unknown", c->why.text, err)
                        : tell_all(c, load, ROW_RETRY, "not_sent", c->why.text, err);
        load_free(load);
    }
    return rc;
}

static unsigned
parallel(const struct courier *c)
{
    return c->set.limits.parallel ? c->set.limits.parallel : 1;
}

static int
keep(struct courier *c, struct error *err)
{
    return c->set.keep ? c->set.keep(c->set.arg, err) : 0;
}

/* What a peer asks for is waited for no longer than after a failure of one's own: it may have
 * said so to another run. */
static int
look_at_pace(const struct courier *c, const struct load *load, usec_t now, usec_t *until,
             struct error *err)
{
    struct pace *pace = pace_of(c, load);
    *until = pace ? pace_ask(pace, now) : 0;
    usec_t closed = *until > c->set.backoff.budget ? pace_closed(pace, now) : 0;
    if (closed <= c->set.backoff.budget)
        return 0;
    return error_set(err, ERR_LIMIT, EIO, "the destination wants no calls for another %lld s",
                     (long long)(closed / 1000000));
}

/* Takes what may begin, and says so; *wait: until more may. */
static int
take_calls(struct courier *c, struct load *loads[CALLS_MAX], size_t *n, usec_t *wait,
           struct error *err)
{
    while (c->active.n + *n < parallel(c) && *n < CALLS_MAX && c->waiting.first) {
        usec_t now = clock_monotonic(), until = 0;
        struct load *load = loads_take_ready(&c->waiting, now, wait);
        if (!load)
            return 0;
        int rc = look_at_pace(c, load, now, &until, err);
        if (rc < 0 || until > 0) {
            loads_put_first(&c->waiting, load);
            if (until < *wait)
                *wait = until;
            return rc;
        }
        load->began = now;
        load->pace = pace_of(c, load);
        loads[(*n)++] = load;
        const struct batch *batch = &load->call.batch;
        memset(load->call.out, 0, batch->n * sizeof *load->call.out);
        rc = c->set.sending ? c->set.sending(c->set.arg, batch->changes, batch->n, err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Begins what may begin. */
static int
begin_calls(struct courier *c, usec_t *wait, struct error *err)
{
    struct load *loads[CALLS_MAX];
    size_t n = 0, begun = 0;
    int rc = take_calls(c, loads, &n, wait, err);
    if (rc == 0 && n > 0)
        rc = keep(c, err);
    for (; rc == 0 && begun < n; begun++) {
        rc = c->set.driver->dest_call(c->set.destination, &loads[begun]->call, err);
        if (rc < 0)
            break;
        loads_put_last(&c->active, loads[begun]);
    }
    while (n > begun)
        loads_put_first(&c->waiting, loads[--n]);
    return rc;
}

/* Begins what may, if anything still may; *wait: until more may. */
static void
begin_or_stop(struct courier *c, usec_t *wait)
{
    struct error why = ERROR_INIT;
    look_whether_to_stop(c);
    if (!c->stopped && begin_calls(c, wait, &why) < 0)
        stop(c, &why);
}

/* Begins what may begin, waits for an answer, `longest` at most, and takes it and those that
 * are there with it. */
static int
go_on(struct courier *c, usec_t longest, struct error *err)
{
    usec_t wait = longest;
    begin_or_stop(c, &wait);
    bool over = c->stopped && !c->active.first;
    int rc = over ? tell_waiting(c, err) : keep(c, err);
    while (rc == 0 && !over) {
        struct call_answer answer = {.call = NULL};
        rc = c->set.driver->dest_answer(c->set.destination, wait, &answer, err);
        if (rc != 1)
            break;
        rc = take_answer(c, &answer, err);
        wait = -1;
    }
    return rc == 0 && !courier_active(c) ? keep(c, err) : rc;
}

struct courier *
courier_create(const struct courier_settings *settings)
{
    struct courier *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->set = *settings;
    for (size_t i = 0; i <= OP_DELETE; i++) {
        struct call_limits *l = &c->set.limits.of[i];
        if (l->rows == 0)
            *l = (struct call_limits){.rows = settings->limits.rows,
                                      .bytes = settings->limits.bytes,
                                      .repeatable = settings->limits.repeatable};
        if (l->bytes == 0)
            l->bytes = SIZE_MAX;
    }
    c->random = settings->random | 1;
    loads_init(&c->waiting);
    loads_init(&c->active);
    return c;
}

/* How many changes from `first` on one call may hold. */
static size_t
batch_size(struct courier *c, const struct parcel *p, size_t first)
{
    const struct call_limits *l = limits_of(c, &p->changes[first]);
    size_t n = 0, bytes = 0;
    while (first + n < p->n && n < l->rows) {
        /* One operation a call: an API has a call of its own for each. */
        if (n > 0 && p->changes[first + n].op != p->changes[first].op)
            break;
        bytes += change_bytes(c, &p->changes[first + n]);
        if (n > 0 && bytes > l->bytes)
            break;
        n++;
    }
    return n;
}

int
courier_add(struct courier *c, struct parcel *parcel, struct error *err)
{
    int rc = 0;
    parcel->users = 1;
    for (size_t first = 0, n; rc == 0 && first < parcel->n; first += n) {
        n = batch_size(c, parcel, first);
        struct load *load = load_create(parcel, n, c->number++);
        if (!load) {
            rc = error_no_memory(err);
            break;
        }
        for (size_t i = first; i < first + n; i++)
            load_add(load, &parcel->changes[i], parcel->identities[i]);
        loads_put_last(&c->waiting, load);
        if (c->waiting.n >= parallel(c)) /* what waits begins together */
            begin_or_stop(c, &(usec_t){LONGEST_WAIT});
        while (rc == 0 && c->waiting.n >= parallel(c)) /* or memory would be full of it */
            rc = go_on(c, LONGEST_WAIT, err);
    }
    parcel_leave(parcel);
    return rc;
}

bool
courier_active(const struct courier *c)
{
    return c->active.first || c->waiting.first;
}

int
courier_wait(struct courier *c, struct error *err)
{
    return go_on(c, LONGEST_WAIT, err);
}

int
courier_drain(struct courier *c, struct error *err)
{
    int rc = 0;
    while (rc == 0 && courier_active(c))
        rc = go_on(c, LONGEST_WAIT, err);
    return rc;
}

const struct error *
courier_stopped(const struct courier *c)
{
    return c->stopped ? &c->why : NULL;
}

struct courier *
courier_free(struct courier *c)
{
    if (!c)
        return NULL;
    usec_t ignored = 0;
    for (struct load *load; (load = loads_take_ready(&c->waiting, INT64_MAX, &ignored));)
        load_free(load);
    for (struct load *load; (load = loads_take_ready(&c->active, INT64_MAX, &ignored));)
        load_free(load);
    free(c);
    return NULL;
}
