/*
 * Carries changes to a destination of calls: makes batches, keeps several under way within the
 * pace of the connection, waits and tries again after failures, drops or halves away the rows
 * for whose sake a call was refused, and stops where going on is of no use. Of every row it
 * was given it says once what became of it.
 *
 * One thread uses it.
 */
#pragma once

#include "calls/backoff.h"
#include "calls/pace.h"
#include "driver.h"

struct courier_settings {
    const struct driver *driver;
    void *destination;       /* open; its session is begun */
    struct limits limits;    /* of a call */
    size_t nfields;          /* of a change */
    struct call_paces paces; /* NULL in it: as fast as it goes */
    struct backoff backoff;
    uint64_t random;         /* seed of the waits */
    uint64_t refused_before; /* rows, by a run before: that they are again is no news */
    const atomic_bool *cancelled;
    const atomic_bool *abandoned; /* MAY: once it is set no call begins; wake it then */
    /* MAY: these rows are about to be sent. Negative: they are not, and the courier stops. */
    int (*sending)(void *arg, const struct change *changes, size_t n, struct error *err);
    /* MAY: an answer has come, of which `told` may speak until it is NULL here. Its error and
     * the texts of its call's outcomes may be changed. */
    void (*answered)(void *arg, struct call_answer *answer);
    /* MAY: what `sending` and `told` said is to be kept now: before a call begins, and before
     * anything is waited for, the next parcel too. Negative as theirs. */
    int (*keep)(void *arg, struct error *err);
    /* What became of these rows; texts borrowed for the call. Never ROW_STAGED or ROW_ABSENT. A
     * row that was not sent, since the courier stopped, is ROW_RETRY with the code "not_sent".
     * Negative ends the courier as courier_add and courier_drain return it. */
    int (*told)(void *arg, const struct change *changes, const struct outcome *out, size_t n,
                struct error *err);
    void *arg;
};

/* Changes and the memory that they point into, given up by the last call that needs it. */
struct parcel {
    const struct change *changes;
    const unsigned char (*identities)[32];
    size_t n;
    void (*done)(void *arg, struct parcel *parcel);
    void *arg;
    unsigned users; /* the courier's */
};

struct courier;

/* NULL when memory is out. */
struct courier *courier_create(const struct courier_settings *settings);
/* Takes the parcel; its done is called exactly once, now or later, whatever is returned. Comes
 * back when little of it is not under way yet. 0, also once it has stopped; negative is our own
 * fault (memory, `told`). */
int courier_add(struct courier *c, struct parcel *parcel, struct error *err);
/* Whether something is under way, and would stand still without courier_wait. */
bool courier_active(const struct courier *c);
/* Goes on until a call has ended, a second is over, or the driver's dest_wake was called. */
int courier_wait(struct courier *c, struct error *err);
/* Waits until every row was told. */
int courier_drain(struct courier *c, struct error *err);
/* Why it stopped (ERR_CANCELLED too); NULL: it did not. */
const struct error *courier_stopped(const struct courier *c);
/* Rows still on their way are told nothing of, and the driver must touch their calls no more.
 * NULL-safe, returns NULL. */
struct courier *courier_free(struct courier *c);
