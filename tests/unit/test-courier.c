/*
 * Delivery by calls, against a peer in memory that answers as it was told: each verdict is told
 * once and is true, whatever happens on the way.
 */
#include "calls/courier.h"
#include "tap.h"

enum { ROWS = 3000, PARALLEL_MAX = 8 };

/* ---- the peer ---- */

struct peer {
    struct call *calls[PARALLEL_MAX];
    size_t n;
    bool guilty[ROWS]; /* no call with it is taken */
    unsigned applied[ROWS];
    bool partial;          /* it takes the good rows of a call and names the others */
    bool names;            /* it takes nothing, and names the first guilty one */
    size_t too_many;       /* rows */
    unsigned chance;       /* of a failure, of 100 */
    enum call_fate always; /* this answer and no other, unless CALL_ANSWERED */
    unsigned denials;      /* so many at first */
    usec_t wait;           /* it asks for at failures */
    bool prepares;         /* each call takes two requests */
    bool makes; /* …the first one tells which rows are there; the others are made */
    bool there[ROWS];
    bool astray;       /* a row was made that is there, or changed that is not */
    const char *spent; /* it says with each answer */
    unsigned calls_made, most_at_once;
    bool cancelled;
    uint64_t random;
};

static unsigned
chance(struct peer *p)
{
    p->random = p->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(p->random >> 33) % 100;
}

static atomic_bool cancelled;
static unsigned noted; /* rows of which something was said that was not kept yet */
static bool late;

static int
peer_call(void *handle, struct call *call, struct error *err)
{
    struct peer *p = handle;
    late |= noted > 0;
    p->calls[p->n++] = call;
    p->calls_made++;
    if (p->n > p->most_at_once)
        p->most_at_once = (unsigned)p->n;
    return 0;
}

static void
apply(struct peer *p, struct call *call)
{
    for (size_t i = 0; i < call->batch.n; i++) {
        uint64_t seq = call->batch.changes[i].seq;
        if (p->guilty[seq]) {
            call->out[i] = (struct outcome){.kind = ROW_REJECTED, .code = "bad"};
            continue;
        }
        p->applied[seq]++;
        call->out[i].kind = ROW_DONE;
        p->astray |= p->makes && p->there[seq] == call->absent;
        p->there[seq] = true;
    }
}

static enum call_fate
take(struct peer *p, struct call *call)
{
    size_t guilty = 0, first = 0;
    for (size_t i = call->batch.n; i-- > 0;)
        if (p->guilty[call->batch.changes[i].seq]) {
            guilty++;
            first = i;
        }
    if (p->too_many && call->batch.n > p->too_many)
        return CALL_TOO_LARGE;
    if (guilty == 0 || p->partial) {
        apply(p, call);
        return CALL_ANSWERED;
    }
    if (p->names)
        call->out[first] = (struct outcome){.kind = ROW_REJECTED, .code = "bad"};
    return CALL_REFUSED;
}

static enum call_fate
fail(struct peer *p, struct call *call)
{
    switch (chance(p) % 3) {
    case 0:
        return CALL_FAILED;
    case 1: /* applied, and nobody hears of it */
        if (take(p, call) == CALL_ANSWERED || !p->partial)
            memset(call->out, 0, call->batch.n * sizeof *call->out);
        return CALL_UNKNOWN;
    default:
        return CALL_UNKNOWN;
    }
}

/* What a look-up tells. */
static enum call_fate
look_up(struct peer *p, struct call *call)
{
    size_t absent = 0;
    for (size_t i = 0; p->makes && i < call->batch.n; i++)
        if (!p->there[call->batch.changes[i].seq]) {
            call->out[i].kind = ROW_ABSENT;
            absent++;
        }
    if (absent < call->batch.n)
        call->driver = p;
    return absent < call->batch.n || chance(p) < 50 ? CALL_PREPARED : CALL_ANSWERED;
}

static int
peer_answer(void *handle, int64_t timeout, struct call_answer *ret, struct error *err)
{
    struct peer *p = handle;
    late |= timeout >= 0 && noted > 0;
    if (p->n == 0 || (timeout <= 0 && chance(p) < 70))
        return 0;
    size_t at = chance(p) % p->n; /* in any order */
    struct call *call = p->calls[at];
    p->calls[at] = p->calls[--p->n];
    *ret = (struct call_answer){.call = call, .spent = p->spent};
    if (p->prepares && !call->driver && !call->absent) {
        ret->fate = look_up(p, call);
        if (p->cancelled)
            atomic_store(&cancelled, true);
        return 1;
    }
    call->driver = NULL;
    if (p->always != CALL_ANSWERED)
        ret->fate = p->always;
    else if (p->denials > 0)
        ret->fate = CALL_DENIED;
    else
        ret->fate = chance(p) < p->chance ? fail(p, call) : take(p, call);
    p->denials -= p->denials > 0;
    if (ret->fate == CALL_FAILED)
        ret->wait_us = p->wait;
    if (ret->fate != CALL_ANSWERED)
        error_set(&ret->error, ERR_REMOTE, EIO, "fate %d", (int)ret->fate);
    return 1;
}

static const struct driver driver = {.dest_call = peer_call, .dest_answer = peer_answer};

/* ---- the rows ---- */

static struct change changes[ROWS];
static unsigned char identities[ROWS][32];
static unsigned parcels_done;

struct verdicts {
    unsigned told[ROWS];
    enum outcome_kind kind[ROWS];
    char code[ROWS][16];
};

static int
take_verdict(void *arg, const struct change *c, const struct outcome *out, size_t n,
             struct error *err)
{
    struct verdicts *v = arg;
    noted += (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        v->told[c[i].seq]++;
        v->kind[c[i].seq] = out[i].kind;
        snprintf(v->code[c[i].seq], sizeof v->code[0], "%s", out[i].code ? out[i].code : "");
    }
    return 0;
}

static int
note_sending(void *arg, const struct change *c, size_t n, struct error *err)
{
    noted += (unsigned)n;
    return 0;
}

static int
keep_notes(void *arg, struct error *err)
{
    noted = 0;
    return 0;
}

static void
parcel_done(void *arg, struct parcel *p)
{
    parcels_done++;
    free(p);
}

static struct courier_settings
settings(struct peer *p, struct verdicts *v)
{
    return (struct courier_settings){
        .driver = &driver,
        .destination = p,
        .limits = {.rows = 100, .bytes = 1 << 20, .parallel = 4, .repeatable = true},
        .backoff = {.base = 10, .cap = 100, .budget = 60000000},
        .random = p->random,
        .cancelled = &cancelled,
        .told = take_verdict,
        .sending = note_sending,
        .keep = keep_notes,
        .arg = v,
    };
}

/* All rows, in parcels; returns whether it went on to the end. */
static bool
deliver(const struct courier_settings *set, struct error *why)
{
    enum { PARCEL = 700 };
    struct error err = ERROR_INIT;
    struct courier *c = courier_create(set);
    unsigned parcels = 0;
    int rc = c ? 0 : -1;
    parcels_done = 0;
    for (size_t first = 0; rc == 0 && first < ROWS; first += PARCEL, parcels++) {
        struct parcel *p = calloc(1, sizeof *p);
        *p = (struct parcel){.changes = changes + first,
                             .identities = (void *)(identities + first),
                             .n = first + PARCEL < ROWS ? PARCEL : ROWS - first,
                             .done = parcel_done};
        rc = courier_add(c, p, &err);
    }
    if (rc == 0)
        rc = courier_drain(c, &err);
    const struct error *stopped = courier_stopped(c);
    bool whole = !stopped;
    if (stopped)
        *why = *stopped;
    courier_free(c);
    CHECK_MSG(rc == 0 && parcels_done == parcels, "every parcel is given up");
    CHECK_MSG(!late && noted == 0, "what was said is kept before anything is waited for");
    return whole;
}

static bool
told_once(const struct verdicts *v)
{
    for (size_t i = 0; i < ROWS; i++)
        if (v->told[i] != 1)
            return false;
    return true;
}

static void
make_guilty(struct peer *p, unsigned percent)
{
    for (size_t i = 0; i < ROWS; i++)
        p->guilty[i] = chance(p) < percent;
}

/* ---- what must be true ---- */

/* Whatever may come twice: good rows are done, guilty ones alone are refused, or in doubt after
 * a try that nobody answered. */
static bool
exact(const struct peer *p, const struct verdicts *v)
{
    for (size_t i = 0; i < ROWS; i++) {
        bool refused = v->kind[i] == ROW_REJECTED || v->kind[i] == ROW_UNKNOWN;
        bool good = p->guilty[i] ? refused && p->applied[i] == 0
                                 : v->kind[i] == ROW_DONE && p->applied[i] >= 1;
        if (!good)
            return false;
    }
    return true;
}

/* Nothing twice, and what is said is true; where nobody knows that is said. */
static bool
once(const struct peer *p, const struct verdicts *v)
{
    for (size_t i = 0; i < ROWS; i++) {
        bool good = p->applied[i] <= 1;
        if (v->kind[i] == ROW_DONE)
            good = good && p->applied[i] == 1;
        else if (v->kind[i] == ROW_UNKNOWN)
            good = good && strcmp(v->code[i], "unknown") == 0;
        else
            good = good && p->applied[i] == 0;
        if (!good)
            return false;
    }
    return true;
}

/* They refuse, fail and want less in every way. */
static struct peer
peer_of_kind(unsigned i)
{
    struct peer p = {.random = i + 1,
                     .always = CALL_ANSWERED,
                     .partial = i % 3 == 0,
                     .names = i % 3 == 1,
                     .too_many = i % 4 == 0 ? 37 : 0,
                     .chance = i % 2 ? 20 : 0,
                     .denials = i % 5 == 0};
    make_guilty(&p, i % 7 ? 4 : 0);
    return p;
}

static void
test_peers(void)
{
    for (unsigned i = 0; i < 48; i++) {
        static struct peer p;
        static struct verdicts v;
        struct error why = ERROR_INIT;
        p = peer_of_kind(i);
        p.prepares = i % 4 > 1;
        v = (struct verdicts){0};
        struct courier_settings set = settings(&p, &v);
        set.limits.repeatable = i % 8 < 5;
        set.limits.rows = i % 6 ? 100 : 1;
        CHECK(deliver(&set, &why));
        CHECK(told_once(&v));
        CHECK(set.limits.repeatable ? exact(&p, &v) : once(&p, &v));
        CHECK(p.most_at_once <= set.limits.parallel);
    }
}

/* What is not there is made, once, whatever fails. */
static void
test_absent(void)
{
    for (unsigned i = 0; i < 32; i++) {
        static struct peer p;
        static struct verdicts v;
        struct error why = ERROR_INIT;
        p = peer_of_kind(i);
        p.prepares = p.makes = true;
        v = (struct verdicts){0};
        for (size_t j = 0; j < ROWS; j++)
            p.there[j] = chance(&p) < (i % 4) * 33;
        struct courier_settings set = settings(&p, &v);
        set.limits.rows = i % 6 ? 100 : 1;
        CHECK(deliver(&set, &why));
        CHECK(told_once(&v) && exact(&p, &v));
        CHECK(!p.astray && p.most_at_once <= set.limits.parallel);
    }
}

/* What is always lost ends the patience, though the look-ups before it are answered. */
static void
test_never_made(void)
{
    static struct peer p;
    static struct verdicts v;
    struct error why = ERROR_INIT;
    p = (struct peer){.random = 5, .always = CALL_UNKNOWN, .prepares = true, .makes = true};
    v = (struct verdicts){0};
    struct courier_settings set = settings(&p, &v);
    set.backoff.budget = 2000;
    CHECK(!deliver(&set, &why) && why.kind == ERR_REMOTE);
    CHECK(told_once(&v));
}

static bool
all_are(const struct verdicts *v, enum outcome_kind kind, const char *code)
{
    for (size_t i = 0; i < ROWS; i++)
        if (v->kind[i] != kind || (code && strcmp(v->code[i], code) != 0))
            return false;
    return true;
}

/* What cannot succeed is not tried for each row. */
static void
test_circuit(void)
{
    static const struct {
        enum call_fate fate;
        enum error_kind kind;
        unsigned calls; /* at most */
    } cases[] = {
        {CALL_DENIED, ERR_REMOTE, 12},
        {CALL_HOPELESS, ERR_REMOTE, 4},
        {CALL_FAILED, ERR_REMOTE, 60},
        {CALL_REFUSED, ERR_DATA, 1700},
    };
    const size_t n = sizeof cases / sizeof *cases;
    for (size_t j = 0; j < 2 * n; j++) {
        static struct peer p;
        static struct verdicts v;
        struct error why = ERROR_INIT;
        size_t i = j % n;
        p = (struct peer){.random = i + 77, .always = cases[i].fate, .prepares = j >= n};
        v = (struct verdicts){0};
        struct courier_settings set = settings(&p, &v);
        set.backoff.budget = 500;
        CHECK(!deliver(&set, &why) && why.kind == cases[i].kind);
        CHECK(told_once(&v));
        CHECK(p.calls_made <= cases[i].calls * (p.prepares ? 2 : 1));
        CHECK(cases[i].fate == CALL_REFUSED || all_are(&v, ROW_RETRY, "not_sent"));
    }
    static struct peer p;
    static struct verdicts v;
    struct error why = ERROR_INIT;
    p = (struct peer){.random = 5, .always = CALL_UNKNOWN};
    v = (struct verdicts){0};
    struct courier_settings set = settings(&p, &v);
    set.limits.repeatable = false;
    CHECK(deliver(&set, &why));
    CHECK(told_once(&v) && all_are(&v, ROW_UNKNOWN, "unknown"));
}

static void
test_cancel(void)
{
    static struct peer p;
    static struct verdicts v;
    struct error why = ERROR_INIT;
    p = (struct peer){.random = 3, .always = CALL_ANSWERED};
    v = (struct verdicts){0};
    struct courier_settings set = settings(&p, &v);
    atomic_store(&cancelled, true);
    CHECK(!deliver(&set, &why) && why.kind == ERR_CANCELLED);
    CHECK(told_once(&v) && all_are(&v, ROW_RETRY, "not_sent") && p.calls_made == 0);
    atomic_store(&cancelled, false);
    /* Between the two requests of a call nothing was sent that could be in doubt. */
    p = (struct peer){
        .random = 4, .always = CALL_ANSWERED, .prepares = true, .cancelled = true};
    v = (struct verdicts){0};
    set.limits.repeatable = false;
    CHECK(!deliver(&set, &why) && why.kind == ERR_CANCELLED);
    CHECK(told_once(&v) && all_are(&v, ROW_RETRY, "not_sent") && p.calls_made > 0);
    atomic_store(&cancelled, false);
}

static int
cannot_take(void *arg, const struct change *c, const struct outcome *out, size_t n,
            struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOSPC, "no space");
}

/* Whoever cannot go on for his own fault leaves calls under way, and nothing of them behind. */
static void
test_own_fault(void)
{
    static struct peer p;
    struct error err = ERROR_INIT;
    p = (struct peer){.random = 11, .always = CALL_ANSWERED};
    struct courier_settings set = settings(&p, NULL);
    set.told = cannot_take;
    struct courier *c = courier_create(&set);
    struct parcel *parcel = calloc(1, sizeof *parcel);
    *parcel = (struct parcel){
        .changes = changes, .identities = (void *)identities, .n = ROWS, .done = parcel_done};
    parcels_done = 0;
    CHECK(courier_add(c, parcel, &err) == -ENOSPC && p.n > 0);
    courier_free(c);
    CHECK_MSG(parcels_done == 1, "the parcel is given up");
}

/* The pace is kept, and what the peer asks for is waited. */
static void
test_pace(void)
{
    static struct peer p;
    static struct verdicts v;
    struct error why = ERROR_INIT;
    const struct pace_window window = {10, 100000};
    p = (struct peer){.random = 9, .always = CALL_ANSWERED};
    v = (struct verdicts){0};
    struct courier_settings set = settings(&p, &v);
    struct pace *pace = pace_get("courier", &window, 1);
    for (size_t i = 0; i <= OP_DELETE; i++)
        set.paces.of[i] = pace;
    usec_t began = clock_monotonic();
    CHECK(deliver(&set, &why) && all_are(&v, ROW_DONE, NULL));
    CHECK_MSG(clock_monotonic() - began >= 200000, "thirty calls, ten in 0.1 s");
    p = (struct peer){.random = 10, .always = CALL_ANSWERED, .prepares = true};
    v = (struct verdicts){0};
    began = clock_monotonic();
    CHECK(deliver(&set, &why) && all_are(&v, ROW_DONE, NULL) && p.calls_made == 60);
    CHECK_MSG(clock_monotonic() - began >= 500000, "both requests of a call count");
    for (size_t i = 0; i <= OP_DELETE; i++) {
        set.paces.of[i] = NULL;
        set.paces.before[i] = pace;
    }
    p = (struct peer){.random = 11, .always = CALL_ANSWERED, .prepares = true};
    v = (struct verdicts){0};
    began = clock_monotonic();
    CHECK(deliver(&set, &why) && all_are(&v, ROW_DONE, NULL) && p.calls_made == 60);
    CHECK_MSG(clock_monotonic() - began >= 200000, "what prepares them has a pace of its own");
    pace_put(pace);
}

/* Once little of the peer's quota is left what is under way ends, and nothing else begins. */
static void
test_spent(void)
{
    static struct peer p;
    static struct verdicts v;
    struct error why = ERROR_INIT;
    p = (struct peer){.random = 9, .always = CALL_ANSWERED, .spent = "no more calls today"};
    v = (struct verdicts){0};
    struct courier_settings set = settings(&p, &v);
    set.limits.parallel = 4;
    CHECK(!deliver(&set, &why) && why.kind == ERR_LIMIT);
    CHECK_TEXT(why.text, "no more calls today");
    CHECK(told_once(&v) && p.calls_made == 4);
    set.limits.rows = ROWS; /* few calls, which all begin before the first is answered */
    p = (struct peer){.random = 9, .always = CALL_ANSWERED, .spent = "no more calls today"};
    v = (struct verdicts){0};
    set.limits.parallel = PARALLEL_MAX;
    CHECK_MSG(deliver(&set, &why), "what is all sent did not stop");
    CHECK(told_once(&v) && all_are(&v, ROW_DONE, NULL));
}

/* A day, say, that the peer asked another run for. */
static void
test_closed(void)
{
    static struct peer p;
    static struct verdicts v;
    struct error why = ERROR_INIT;
    const struct pace_hint hint = {.wait = 86400 * INT64_C(1000000)};
    p = (struct peer){.random = 13, .always = CALL_ANSWERED};
    v = (struct verdicts){0};
    struct courier_settings set = settings(&p, &v);
    struct pace *pace = pace_get("closed", NULL, 0);
    for (size_t i = 0; i <= OP_DELETE; i++)
        set.paces.of[i] = pace;
    pace_tell(pace, clock_monotonic(), &hint);
    CHECK(!deliver(&set, &why) && why.kind == ERR_LIMIT);
    CHECK(strstr(why.text, "wants no calls for another 86") != NULL);
    CHECK(told_once(&v) && all_are(&v, ROW_RETRY, "not_sent") && p.calls_made == 0);
    pace_put(pace);
}

int
main(void)
{
    for (size_t i = 0; i < ROWS; i++)
        changes[i] = (struct change){.op = i < ROWS / 2 ? OP_UPSERT : OP_DELETE, .seq = i};
    test_peers();
    test_absent();
    test_never_made();
    test_circuit();
    test_cancel();
    test_own_fault();
    test_pace();
    test_closed();
    test_spent();
    return tap_done();
}
