/*
 * What is known of the rows of a run that sends by calls, while it sends: which were handed to
 * the destination, and what it said of them. It is written before a call begins and as soon as
 * its answer is there, so that whoever comes after a daemon that was killed knows which rows
 * were delivered, which were not sent at all, and of which nobody can tell.
 *
 * An entry that was cut off in the middle, by a power failure, ends the journal: what came
 * after it was never heard of by anybody.
 */
#pragma once

#include "data/note.h"
#include "data/sorter.h"
#include "driver.h"

struct journal;

/* Begins the journal NAME anew. */
int journal_create(int dirfd, const char *name, struct journal **ret, struct error *err);
/* These are about to be sent. */
int journal_sending(struct journal *j, const struct change *changes, size_t n,
                    struct error *err);
/* What became of these. proof: of the first, the others are the rows that follow it. */
int journal_told(struct journal *j, const struct change *changes, const struct outcome *out,
                 size_t n, const struct proof *proof, struct error *err);
/* What was said so far is in the kernel's hands when it returns; before that it may be lost. */
int journal_keep(struct journal *j, struct error *err);
/* All of it on the disk. */
int journal_sync(struct journal *j, struct error *err);
struct journal *journal_free(struct journal *j); /* closes; NULL-safe, returns NULL */

/* The last word on a row: ROW_DONE, ROW_UNCHANGED, ROW_REJECTED or ROW_RETRY as it was told,
 * ROW_UNKNOWN when it was sent and nothing was told. Non-zero stops. */
typedef int (*journal_row_fn)(void *arg, uint64_t seq, const struct outcome *outcome,
                              const struct proof *proof, struct error *err);
/* Reads NAME: each row that was sent, once, in the order of seq. `memory`: bytes it may use to
 * sort. */
int journal_read(int dirfd, const char *name, size_t memory, journal_row_fn row, void *arg,
                 struct error *err);
