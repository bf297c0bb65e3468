/*
 * Rows that were removed from pending/ or rejected/ by hand, remembered in the catalogue by
 * their number in the change file. They belong to one plan (its id: the same id means the same
 * rows) or to one run's rejected file, and count for nothing once that is gone.
 */
#pragma once

#include "base/cancel.h"
#include "catalog/catalog.h"
#include "engine.h"
#include "run/ledger.h"

/* One bit a row of a change file, and how many are set. */
struct left_out {
    uint8_t *bits;
    uint64_t rows; /* of the file */
    uint64_t n;    /* bits set */
    usec_t at;     /* of the newest */
};

/* What the rows belong to: "plan ID" or "rejected RUN"; false: there is neither. */
bool left_out_file(const struct sync_record *sync, enum rows_of of, struct buf *out);
/* Fills *ret (left_out_done frees). rows: how many the file has. In a transaction of its own:
 * whoever removes a row meanwhile has done so before, or sees that a run has begun. */
int left_out_load(struct catalog *c, const char *uid, const char *file, uint64_t rows,
                  struct left_out *ret, struct error *err);
void left_out_done(struct left_out *l);
bool left_out_has(const struct left_out *l, uint64_t row);
void left_out_set(struct left_out *l, uint64_t row);
/* Within the caller's transaction. */
int left_out_add(struct catalog *c, const char *uid, const char *file, uint64_t row,
                 struct error *err);
/* Forgets what was left out of any plan but this one ("": of all). */
int left_out_keep(struct catalog *c, const char *uid, const char *file, struct error *err);
/* Writes NAME with the rows of `from` that are not left out, numbered anew, and opens it. Of
 * rejected rows what is in doubt (data/note.h) stays, as never tried: nobody knows it any
 * better for their note being removed. */
int left_out_filter(const struct left_out *l, enum rows_of of, struct chg *from, unsigned views,
                    const atomic_bool *cancelled, int dirfd, const char *name, struct chg **ret,
                    struct error *err);
