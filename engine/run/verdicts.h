/*
 * What a destination said of the rows it did not take, by their number in the run's changes.
 * Most rows are delivered, so that those are the ones of which nothing is kept.
 */
#pragma once

#include "data/note.h"
#include "data/sorter.h"
#include "driver.h"

/* The code of a row that was not sent at all, since the run stopped. */
#define VERDICT_NOT_SENT "not_sent"

struct verdicts;

/* dirfd: for the sorter's files. NULL when memory is out. */
struct verdicts *verdicts_create(int dirfd);
/* Keeps the verdict unless the row was delivered, or has none yet. A dest_verdict_fn: what
 * fails is told by verdicts_kept. */
void verdicts_keep(void *verdicts, uint64_t seq, const struct outcome *outcome);
/* The same, with where the evidence stands. */
void verdicts_keep_with(struct verdicts *v, uint64_t seq, const struct outcome *outcome,
                        const struct proof *proof);
int verdicts_kept(const struct verdicts *v, struct error *err);
uint64_t verdicts_count(const struct verdicts *v);
/* Once all are kept: one after the other, in the order of seq. 1: one, borrowed until the next
 * call; 0: no more. note: see data/note.h. */
int verdicts_next(struct verdicts *v, const atomic_bool *cancelled, uint64_t *seq,
                  struct str *note, struct error *err);
struct verdicts *verdicts_free(struct verdicts *v); /* NULL-safe, returns NULL */
