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
uint64_t refusals_count(const struct refusals *r);
struct refusals *refusals_free(struct refusals *r); /* NULL-safe, returns NULL */

struct refused_counts {
    uint64_t listed;                    /* rows in the file, also of runs before */
    uint64_t rejected;                  /* by this run */
    uint64_t unsent;                    /* offered, but the run stopped before */
    uint64_t inserts, updates, deletes; /* offered and not delivered, whatever the reason */
    uint64_t never_delivered; /* of those, identifiers that were not delivered before either */
    uint64_t foreign;         /* of the deletes, rows that this sync never delivered */
    uint64_t dropped;         /* rejected by the run before, no longer a change now */
};

struct refusing {
    struct refusals *early;    /* used up */
    struct chg *changes;       /* what was to be sent; NULL: nothing */
    struct verdicts *verdicts; /* on it, used up; NULL: all was delivered */
    struct chg *previous;      /* the rejected file before this one; NULL: none */
    const struct chg_meta *meta;
    uint64_t due_run; /* in which the changes became due that do not say it themselves */
    int dirfd;
    const char *rejected, *unsent; /* names of the files */
    bool some;  /* the changes are not all that there are (one row was sent, some were left out
                   by hand, the model was not read to its end, or what was refused before sending
                   is not known): of all other rows `previous` holds on */
    bool retry; /* so it does of rows that were taken out of it by hand */
    bool inserts; /* …and of what a mode that changes or deletes may have done: an insert does
                     not touch it, so nobody knows afterwards either */
    const atomic_bool *cancelled;
};

/* Writes the refused rows, and beside them which were not sent at all (identifiers only), each
 * file fsynced, and opens them; *rejected and *unsent are NULL where there are none. A row that
 * was not sent, and that a run before could not deliver either, stays among the refused ones
 * with what was said of it then. All are key-ordered. */
int refusals_write(const struct refusing *set, struct chg **rejected, struct chg **unsent,
                   struct refused_counts *counts, struct error *err);
