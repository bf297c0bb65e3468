/*
 * The pace of calls. A limit belongs to the account behind a connection, not to a run, so all
 * who call through the same connection share one pace, in whatever sync they are. What is known
 * beforehand are windows ("100 calls in any 10 s"); what the peer says in its answers can only
 * make it slower.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "driver.h"

/* Of a window (driver.h) of more calls a share is taken of both, which is never faster. */
enum { PACE_CALLS_MAX = 16384 };

/* What an answer says of the limit; zero says nothing. */
struct pace_hint {
    usec_t wait;        /* call no more for so long (Retry-After) */
    bool counted;       /* the next two are known */
    uint64_t remaining; /* calls still allowed… */
    usec_t reset;       /* …until so long from now */
};

struct pace;

/* The one pace of that name, made if there is none. Windows (at most PACE_WINDOWS_MAX) are
 * copied; those of an existing one are replaced, so that the last definition counts, but calls
 * that began count on. NULL when memory is out. Any thread. */
struct pace *pace_get(const char *name, const struct pace_window *windows, size_t n);
/* Gives it back; it is remembered for as long as it may make somebody wait. NULL-safe, returns
 * NULL. */
struct pace *pace_put(struct pace *p);

/* Of a connection's calls for each operation, of the requests that prepare them and of calls
 * that make what those do not find (NULL: there are none): those of their scopes, or the
 * connection's. */
struct call_paces {
    struct pace *of[OP_DELETE + 1], *before[OP_DELETE + 1], *making[OP_DELETE + 1];
};

/* False when memory is out; what is in *ret is to be given back all the same. */
bool paces_get(const char *connection, const struct limits *limits, struct call_paces *ret);
void paces_put(struct call_paces *p);

/* A call that wants to begin. 0: it may, and is counted; else how long to wait before asking
 * again. `now` is clock_monotonic()'s. Any thread. */
usec_t pace_ask(struct pace *p, usec_t now);
/* For how long the peer asked for no calls at all (pace_hint's wait). Any thread. */
usec_t pace_closed(struct pace *p, usec_t now);
/* What the answer to a call said; more than a day is taken for a day. Any thread. */
void pace_tell(struct pace *p, usec_t now, const struct pace_hint *hint);
