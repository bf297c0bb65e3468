/*
 * Brings rows into key order with bounded memory: rows are kept in memory up to the budget;
 * beyond it they go to partition files by key range (splitters from a hint, else from the first
 * rows), each partition later sorted in memory, split again if it is too large for that.
 * Rows with equal keys keep the order in which they were added.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/error.h"

struct sorter;

/* Temporary files are made unlinked in dirfd. hint: ascending keys that are likely splitters
 * (copied), or NULL. budget: bytes of memory, about. */
int sorter_create(int dirfd, const struct str *hint, size_t nhint, size_t budget,
                  struct sorter **ret, struct error *err);
/* key and data are copied. */
int sorter_add(struct sorter *s, struct str key, struct str data, struct error *err);
/* No more rows; sorts. */
int sorter_finish(struct sorter *s, struct error *err);
/* 1: a row, borrowed until the next call; 0: the end; negative: error. */
int sorter_next(struct sorter *s, struct str *key, struct str *data, struct error *err);
/* What takes long without a row from outside (dividing again what is too large) looks at it. */
void sorter_cancel_by(struct sorter *s, const atomic_bool *cancelled);
struct sorter *sorter_free(struct sorter *s); /* NULL-safe, returns NULL */
