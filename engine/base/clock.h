/* Time: UTC, microseconds since 1970, from a clock that tests can replace. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

typedef int64_t usec_t;

/* Wall clock. */
usec_t clock_now(void);
/* Never jumps; only differences mean something. */
usec_t clock_monotonic(void);
/* A condition that is waited for by it: false once `until` has come. */
void clock_cond_init(pthread_cond_t *cond);
bool clock_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, usec_t until);
/* For tests: a function that stands in for the wall clock; NULL goes back to the real one. */
void clock_replace(usec_t (*now)(void));
/* "2026-11-21T04:33:52Z"; 0 gives "never". */
void clock_format(usec_t t, struct buf *out);
