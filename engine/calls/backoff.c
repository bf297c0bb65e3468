/* Waiting after failures: see backoff.h. */
#include "calls/backoff.h"

/* After so many failures before. */
static usec_t
choose(const struct backoff *b, unsigned failures, usec_t asked, uint64_t random)
{
    usec_t most = b->base;
    for (unsigned i = 0; i < failures && most < b->cap; i++)
        most = most > b->cap / 2 ? b->cap : most * 2;
    usec_t wait = most > 0 ? (usec_t)(random % (uint64_t)(most + 1)) : 0;
    return wait < asked ? asked : wait;
}

usec_t
backoff_too(const struct backoff *b, usec_t asked, uint64_t random)
{
    usec_t wait = choose(b, b->failures > 0 ? b->failures - 1 : 0, asked, random);
    return wait > b->budget ? -1 : wait;
}

usec_t
backoff_next(struct backoff *b, usec_t asked, uint64_t random)
{
    usec_t wait = choose(b, b->failures, asked, random);
    if (wait > b->budget - b->waited)
        return -1;
    b->failures++;
    b->waited += wait;
    return wait;
}

void
backoff_reset(struct backoff *b)
{
    b->failures = 0;
    b->waited = 0;
}
