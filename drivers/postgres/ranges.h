/*
 * One table read by several connections side by side, on one snapshot, and handed over in the
 * order of its key: the key is cut into many small ranges, the connections take them in turn,
 * and what one has read ahead waits, within bounds, until its range is due. The server formats
 * rows on as many cores then; the model is no other.
 */
#pragma once

#include "postgres/connect.h"

struct pg_ranges;

/* How every transaction that reads begins. */
static const char pg_begin_reading[] = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/* The most connections for one model. */
enum { PG_READERS_MAX = 8 };

/* Gets ready to read `table` (a name as regclass takes it) in the order of its column `key`, of
 * an integer type: cuts the ranges, `rows` being what the planner expects, opens the other
 * readers - 1 connections on the snapshot of `link`. *ret is NULL, and 0 returned, where it is
 * not worth it or the server does not do it (few rows, no snapshots to export). */
int pg_ranges_open(struct pg_link *link, const struct pg_options *options, const char *sync,
                   const char *table, const char *key, int64_t rows, struct pg_ranges **ret,
                   struct error *err);
/* `select`: the statement without an order; each tuple is given to `tuple` as by
 * pg_copy_out_binary. */
int pg_ranges_read(struct pg_ranges *r, const char *select, pg_line_fn tuple, void *arg,
                   struct error *err);
/* From any thread, while it is read. */
void pg_ranges_cancel(struct pg_ranges *r);
struct pg_ranges *pg_ranges_close(struct pg_ranges *r); /* NULL-safe, returns NULL */
