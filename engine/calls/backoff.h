/*
 * How long to wait before a call that failed is made again: exponential with full jitter, so
 * that many who failed together do not come back together, and a budget, so that a run does not
 * wait for ever.
 */
#pragma once

#include "base/clock.h"

struct backoff {
    usec_t base;   /* the first wait is anything up to it, the next up to twice it, … */
    usec_t cap;    /* of one wait */
    usec_t budget; /* of all waits without a success in between; 0: none is made */
    /* the rest is backoff_next's */
    unsigned failures;
    usec_t waited;
};

/* After a failure: how long to wait, or -1 when the budget is spent. `random`: any 64 bits.
 * `asked` is what the peer asked for (0: nothing); no wait is shorter, and it counts. */
usec_t backoff_next(struct backoff *b, usec_t asked, uint64_t random);
/* After another failure of the same time, as of calls that were under way together: as long as
 * after the first of them; -1 when that is more than the whole budget. */
usec_t backoff_too(const struct backoff *b, usec_t asked, uint64_t random);
/* After a success. */
void backoff_reset(struct backoff *b);
