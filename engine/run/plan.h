/*
 * Plans: a change file that says what a run would do, entry by entry with its reason, foreign
 * rows (at the destination, never delivered by this sync) among them, and an id that names
 * exactly these bytes.
 */
#pragma once

#include "data/chg.h"
#include "data/sorter.h"

enum { PLAN_ID_LENGTH = 12 };

/* Whether an entry of a plan or a run's changes deletes a foreign row. */
bool plan_is_foreign(const struct entry *e);
/* Notes of changes of which an earlier try may have been applied, and nobody knows: one that is
 * still wanted, and the delete of what is wanted no more. */
#define PLAN_UNSURE "tried again: nobody knows whether it was applied before"
#define PLAN_UNSURE_GONE "left the model: nobody knows whether it was delivered before"
bool plan_is_unsure(const struct entry *e);
bool plan_is_unsure_gone(const struct entry *e);
/* Why an entry is there: its note, or what follows from its images. resent: of one that is sent
 * as it was before, see plan_resent. */
struct str plan_reason(const struct entry *e, struct str resent);
void plan_resent(const char *why_full, struct buf *out);

/* Writes NAME: the changes with a note each (new, changed, resent: WHY, left the model), merged
 * with the foreign rows (may be NULL: none; key → packed record; finished sorter, used up).
 * A foreign row whose key stands among the changes is left out: the model or the delivered
 * state knows it. why_full: reason why every row is sent, or NULL. views: VIEW_BITs. id: NULL,
 * or PLAN_ID_LENGTH + 1 bytes, lower-case hex of the content. *foreign_rows: how many went in.
 */
int plan_write(struct chg *changes, struct sorter *foreign, const char *why_full,
               unsigned views, const atomic_bool *cancelled, int dirfd, const char *name,
               struct chg **ret, char *id, uint64_t *foreign_rows, struct error *err);
