/*
 * The destination half of the driver, and what its files share: one session is one transaction
 * on one connection.
 *
 * Rows take one of three ways:
 *   WAY_DIRECT    COPY straight into the table: an empty one that we hold locked, or one that
 * is only inserted into. A bad row ends the session with ERR_REPLAY. WAY_TYPED     COPY into a
 * temporary table of the target's types, then one statement an operation. A bad row is found by
 * halving; one that is not even of its column's type is ERR_REPLAY. WAY_CAREFUL   COPY into a
 * temporary table of texts, which are then cast by halving: every bad row is found.
 */
#pragma once

#include "base/arena.h"
#include "driver.h"
#include "postgres/connect.h"
#include "postgres/list.h"
#include "postgres/table.h"

enum pg_way { WAY_DIRECT, WAY_TYPED, WAY_CAREFUL };

struct pg_dest {
    struct pg_link link;
    struct arena arena;   /* as long as the handle */
    struct target target; /* a copy */
    struct pg_list list;  /* likewise */

    struct pg_table table;
    int *columns;   /* field → index into table.columns */
    bool *is_key;   /* field → part of the identifier? */
    size_t *key_at; /* field → which part */
    bool merging;   /* what the model tells apart may be one identifier here */

    struct session session;
    bool begun;
    enum pg_way way;
    bool staging;       /* the temporary tables are made */
    bool copying;       /* a COPY … FROM STDIN is under way */
    struct buf out;     /* its lines, not yet handed to libpq */
    struct arena words; /* of the outcomes of the last call */
    uint64_t end;       /* one more than the highest seq written */
    uint64_t count[OP_PRESENT + 1];
};

/* stage.c */
int pg_stage_begin(struct pg_dest *d, struct error *err);
/* Encodes and sends; rows that no server can take are rejected here. */
int pg_stage_write(struct pg_dest *d, const struct batch *batch, struct outcome *out,
                   struct error *err);
/* Ends the COPY. -EAGAIN with ERR_REPLAY when a row was refused. */
int pg_stage_finish(struct pg_dest *d, struct error *err);

/* apply.c */
/* Asks the server whether it would carry the statements out (tables, types, privileges). */
int pg_apply_rehearse(struct pg_dest *d, struct error *err);
int pg_apply_survey(struct pg_dest *d, dest_foreign_fn foreign, void *arg, struct error *err);
int pg_apply(struct pg_dest *d, dest_verdict_fn verdict, void *arg, struct error *err);

/* dest.c: the hooks */
int pg_dest_open(const void *connection, const struct target *target, void **ret,
                 struct error *err);
int pg_dest_describe(void *handle, struct schema *ret, struct error *err);
void pg_dest_limits(void *handle, struct limits *ret);
int pg_dest_begin(void *handle, const struct session *session, struct error *err);
int pg_dest_write(void *handle, const struct batch *batch, struct outcome *out,
                  struct error *err);
int pg_dest_survey(void *handle, dest_foreign_fn foreign, void *arg, struct error *err);
int pg_dest_apply(void *handle, dest_verdict_fn verdict, void *arg, struct error *err);
int pg_dest_commit(void *handle, struct error *err);
void pg_dest_abort(void *handle);
int pg_dest_resolve(void *handle, const char *token, enum dest_fate *ret, struct error *err);
void pg_dest_cancel(void *handle);
void pg_dest_close(void *handle);

/* Rolls back and turns *err into ERR_REPLAY, its words kept. */
int pg_dest_replay(struct pg_dest *d, struct error *err);
