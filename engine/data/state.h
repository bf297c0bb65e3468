/*
 * The delivered state of one sync: for every identifier the record that the destination last
 * acknowledged, as a stack of change files (segments). The newest entry for a key wins; a
 * tombstone hides older ones. A run adds one small segment; when the small ones together reach
 * a quarter of the large one (or there are more than eight), they are merged into one.
 *
 * Which segments make up the state is said by the catalogue, in one transaction with the run's
 * outcome; files that nobody names are garbage and removed at start.
 */
#pragma once

#include "base/cancel.h"
#include "data/chg.h"

struct state {
    struct chg **segments; /* oldest first */
    size_t n;
};

/* Opens the named segments ("a b c", oldest first) in dirfd. */
int state_open(int dirfd, const char *const *names, size_t n, struct state *ret,
               struct error *err);
void state_done(struct state *s);

struct state_cursor;
/* Live entries in key order: one per key, tombstones left out. e->op is ENTRY_INSERT, or
 * ENTRY_RECORDED of what was recorded and never delivered; e->after the delivered record
 * projected onto `want` (fields by name; V_ABSENT where that entry has no such field), or as
 * stored where the fields are the same. want must outlive the cursor. */
int state_cursor_open(const struct state *s, const struct chg_meta *want,
                      struct state_cursor **ret, struct error *err);
int state_next(struct state_cursor *cur, struct entry *e, struct error *err);
int state_seek(struct state_cursor *cur, struct str key, struct error *err);
struct state_cursor *state_cursor_close(struct state_cursor *cur);

/* Whether the segments should be merged now. */
bool state_wants_merge(const struct state *s);

/* Both of these leave no file behind when they fail or are cancelled (base/cancel.h). */

/* Writes one segment with all live entries, in meta's fields, fsynced. *ret_live: how many. */
int state_merge(const struct state *s, const struct chg_meta *meta,
                const atomic_bool *cancelled, int dirfd, const char *name, uint64_t *ret_live,
                struct error *err);
/* Writes the state segment that follows from what a run was to send and what of that was not
 * delivered (all key-ordered; rejected and unsent may be NULL): fsynced. ENTRY_PRESENT entries
 * are left out. */
int state_apply(struct chg *sent, struct chg *rejected, struct chg *unsent,
                const atomic_bool *cancelled, int dirfd, const char *name,
                struct chg_totals *totals, struct error *err);
