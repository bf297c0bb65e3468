/*
 * Rows on disk, divided by key range: what the sorter does with rows that do not fit in memory.
 *
 * All partitions share one unlinked file of equal slots. A partition is a chain of slots: each
 * says which comes next, so memory holds only where a chain starts. A slot that was read for
 * good is given back to the disk at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/value.h"

struct part {
    struct part *next;
    uint64_t rows, bytes;
    uint64_t first_slot, write_slot;
    size_t fill; /* bytes in the write buffer */
    bool equal;  /* all rows have the same key: in order as they are */
};

struct parts;

/* A row's bytes, in memory and on disk: two lengths, key, data. */
enum { ROW_HEAD = 8 };

static inline size_t
row_size(struct str key, struct str data)
{
    return ROW_HEAD + key.n + data.n;
}

static inline const char *
row_read(const char *p, struct str *key, struct str *data)
{
    uint32_t n[2];
    memcpy(n, p, ROW_HEAD);
    *key = (struct str){p + ROW_HEAD, n[0]};
    *data = (struct str){p + ROW_HEAD + n[0], n[1]};
    return p + ROW_HEAD + n[0] + n[1];
}

/* The region is borrowed: between parts_begin and parts_flush it is the write buffers, but not
 * while spilling. */
int parts_create(int dirfd, char *region, size_t cap, struct parts **ret, struct error *err);
struct parts *parts_free(struct parts *p); /* NULL-safe, returns NULL */

/* Starts a new set of partitions, before all others: at first one, for all keys. spilling: rows
 * will be added in key order, and the region is not touched until parts_end_spill. */
int parts_begin(struct parts *p, bool spilling, struct error *err);
/* Cuts the last partition of the set at key; alone: and again right after it. Keys that do not
 * ascend are passed over, and those for which there is no room. */
int parts_cut(struct parts *p, struct str key, bool alone, struct error *err);
int parts_add(struct parts *p, struct str key, struct str data, struct error *err);
int parts_end_spill(struct parts *p, struct error *err);
int parts_flush(struct parts *p, struct error *err);

/* The partition with the smallest keys; NULL: none left. Owned by p. */
struct part *parts_first(const struct parts *p);
/* Takes the first out of the list: now the caller's, to be freed with free(). */
struct part *parts_take(struct parts *p);
/* Reads all of it into `to` (part->bytes). */
int parts_load(struct parts *p, const struct part *part, char *to, struct error *err);
/* Reading row by row. keep: it will be read again. */
void parts_rewind(struct parts *p, const struct part *part, bool keep);
/* 1: a row, borrowed until the next call; 0: the end. */
int parts_next(struct parts *p, struct str *key, struct str *data, struct error *err);
