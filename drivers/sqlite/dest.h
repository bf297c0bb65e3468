/*
 * SQLite as a destination; the hooks of driver.h, and what its files share.
 *
 * The connection's own database is in memory and empty; the target file is attached to it as
 * "target", so a file that does not exist yet is a session like any other. Rows are staged in a
 * temporary table, which locks nobody out; only dest_survey or dest_apply takes the file's one
 * write lock, and dest_commit gives it back.
 *
 *   dest.c    open, describe, close      stage.c   begin, write
 *   survey.c  foreign rows               apply.c   staged rows to target rows
 *   commit.c  the marker and the end of the transaction
 */
#pragma once

#include "driver.h"
#include "sqlite/link.h"
#include "sqlite/table.h"

struct dest {
    struct link link;
    struct arena arena; /* lives as long as the handle */
    const struct sqlite_options *options;
    struct target target; /* its own copy */
    bool attached;
    struct table table;
    struct schema schema;

    struct arena session_arena;
    struct session session;
    size_t *columns; /* of each field, the target's column; NULL while there is no table */
    bool unique;     /* a unique index covers exactly the key */
    bool merging;    /* different keys of the model may become one at the target */
    bool in_session; /* between begin and commit or abort */
    bool in_target;  /* in a transaction that sees the target */
    bool indexed;    /* the staging table has an index on the key */
    sqlite3_stmt *stage;
    uint64_t staged[OP_PRESENT + 1];
};

/* ---- shared by the files of the destination ---- */

#define DEST_SCHEMA "target"
#define DEST_STAGE "temp.retlfs_stage"
#define DEST_MATCHED "temp.retlfs_matched"
#define DEST_MARKERS "retlfs_runs"

/* Attaches the file; `mode` "rw" or "rwc". */
int dest_attach(struct dest *d, const char *mode, struct error *err);
int dest_load_table(struct dest *d, struct error *err);
/* A transaction that sees the target: it may write, unless the session is dry. */
int dest_enter_target(struct dest *d, struct error *err);
/* An index on the staged keys, once. */
int dest_index_stage(struct dest *d, struct error *err);
/* Ends the transaction and forgets what was staged. */
void dest_forget_session(struct dest *d);
/* The affinity that the field's column has, or will have when it is made. */
enum affinity dest_affinity(const struct dest *d, size_t field);
/* t."k" = s.f0 COLLATE BINARY AND …: `compare` is "=" or "IS". */
void dest_add_key_match(struct buf *sql, const struct dest *d, const char *compare);
/* The target's column for that field, quoted. */
void dest_add_column(struct buf *sql, const struct dest *d, size_t field);

/* ---- the hooks ---- */

int sqlite_dest_open(const void *connection, const struct target *target, void **ret,
                     struct error *err);
int sqlite_dest_describe(void *handle, struct schema *ret, struct error *err);
void sqlite_dest_limits(void *handle, struct limits *ret);
int sqlite_dest_begin(void *handle, const struct session *session, struct error *err);
int sqlite_dest_write(void *handle, const struct batch *batch, struct outcome *out,
                      struct error *err);
int sqlite_dest_survey(void *handle, dest_foreign_fn foreign, void *arg, struct error *err);
int sqlite_dest_apply(void *handle, dest_verdict_fn verdict, void *arg, struct error *err);
int sqlite_dest_commit(void *handle, struct error *err);
void sqlite_dest_abort(void *handle);
int sqlite_dest_resolve(void *handle, const char *token, enum dest_fate *ret,
                        struct error *err);
void sqlite_dest_cancel(void *handle);
void sqlite_dest_close(void *handle);
