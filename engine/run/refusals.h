/*
 * The rows a run could not deliver: those refused before sending (NULL or duplicate identifier,
 * a failing expression) and those the destination refused, brought together in one rejected
 * file in key order, with how often each was tried.
 */
#pragma once

#include "data/chg.h"
#include "data/sorter.h"
#include "run/verdicts.h"

struct refusals; /* those before sending */

int refusals_create(int dirfd, struct refusals **ret, struct error *err);
/* Copies the entry (key, after, note). */
int refusals_add(struct refusals *r, const struct entry *e, struct error *err);
/* The changes end before the model does: of later rows what the run before rejected stays. */
void refusals_cut(struct refusals *r);
uint64_t refusals_count(const struct refusals *r);
struct refusals *refusals_free(struct refusals *r); /* NULL-safe, returns NULL */

struct refused_counts {
    uint64_t rejected;                  /* rows in the file */
    uint64_t inserts, updates, deletes; /* of them, what the destination refused */
    uint64_t never_delivered; /* of those, identifiers that were not delivered before either */
    uint64_t foreign;         /* refused deletes of rows this sync never delivered */
    uint64_t dropped;         /* rejected by the run before, no longer a change now */
};

/* Writes NAME (fsynced) with every refused row and opens it; *ret is NULL when there is none.
 * changes: what was sent (NULL: nothing); verdicts: on it (NULL: all was delivered); previous:
 * the rejected file before this one (NULL: none). All key-ordered. Uses r and the verdicts up.
 */
int refusals_write(struct refusals *r, struct chg *changes, struct verdicts *verdicts,
                   struct chg *previous, const struct chg_meta *meta, int dirfd,
                   const char *name, const atomic_bool *cancelled, struct chg **ret,
                   struct refused_counts *counts, struct error *err);
