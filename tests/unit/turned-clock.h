/*
 * The engine in memory with a clock that the test turns.
 */
#pragma once

#include <poll.h>
#include <stdatomic.h>

#include "engine-in-memory.h"
#include "run/scheduler.h"

static atomic_int_fast64_t now;

static usec_t
fake_now(void)
{
    return atomic_load(&now);
}

/* The clock goes on, and what is due then is attended to. */
static usec_t
pass(usec_t time)
{
    atomic_fetch_add(&now, time);
    return scheduler_tick(engine);
}
