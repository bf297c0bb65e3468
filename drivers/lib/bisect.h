/*
 * Finds the rows a set-based statement refuses while their neighbours go through.
 *
 * `apply` carries out the rows lo ≤ position < hi as one unit (a statement inside a savepoint):
 * 0: applied. Negative with err->kind ERR_DATA: some row among them was refused and nothing of
 * this range was applied (the savepoint was rolled back). Negative with another kind: the whole
 * undertaking failed.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

typedef int (*bisect_apply_fn)(void *arg, uint64_t lo, uint64_t hi, struct error *err);
/* Told for each single row that is refused, *err as apply left it. */
typedef void (*bisect_refused_fn)(void *arg, uint64_t position, const struct error *err);

/* 0 when every row was applied or refused. k refused rows cost about 2·k·log2(n) calls. */
int bisect(uint64_t lo, uint64_t hi, bisect_apply_fn apply, bisect_refused_fn refused,
           void *arg, struct error *err);
