/*
 * Work that may take long looks, once a row, at a flag that any thread may set. Nothing waits
 * for it to be seen, so a relaxed load is enough, which costs nothing.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"

/* 0, or ERR_CANCELLED once the flag is set. NULL: it never is. */
static inline int
cancel_check(const atomic_bool *cancelled, struct error *err)
{
    if (!cancelled || !atomic_load_explicit(cancelled, memory_order_relaxed))
        return 0;
    return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
}
