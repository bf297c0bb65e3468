/*
 * Was a session committed? One row a sync in the table retlfs_runs, beside the target, holds
 * the token of the last session and is written in that session's transaction.
 *
 * An advisory lock that the session holds until its very end makes the question safe to ask: a
 * server that is still committing for a client long gone is waited for.
 */
#pragma once

#include "postgres/connect.h"
#include "postgres/table.h"

/* Makes the table if it is missing and checks that we may write it. */
int pg_marker_prepare(struct pg_link *link, const struct pg_table *table, struct error *err);
/* In the transaction: waits for an earlier session of the sync, a while. */
int pg_marker_lock(struct pg_link *link, const char *sync_uid, struct error *err);
int pg_marker_write(struct pg_link *link, const struct pg_table *table, const char *sync_uid,
                    const char *token, struct error *err);
int pg_marker_resolve(struct pg_link *link, const struct pg_table *table, const char *sync_uid,
                      const char *token, enum dest_fate *ret, struct error *err);
