/*
 * By what a change is known, however often it is sent: a peer that remembers what it took must
 * take it once, and must take the next change, though it may look the same (A → B → A → B).
 * So a change is what it is and the run in which it became due. That is told by the number of
 * the last run that came to its end: every attempt until the next one does is the same.
 */
#pragma once

#include "data/chg.h"

/* What the entry says itself, or of that run. */
struct due due_of(const struct chg_meta *meta, const struct entry *e, uint64_t run);
/* Whether `now` is what could not be delivered as `before`, in fields of the same meaning. */
bool due_same_change(const struct entry *before, const struct entry *now);
