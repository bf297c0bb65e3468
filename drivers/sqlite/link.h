/*
 * One SQLite connection and what source and destination both need of it: errors as ours,
 * waiting for locks that can be cancelled, names quoted, values in and out.
 */
#pragma once

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/value.h"

struct sqlite_options {
    const char *path;
    int64_t busy_timeout; /* ms */
    bool foreign_keys;
};

struct link {
    sqlite3 *db;
    int64_t busy_timeout; /* ms */
    int64_t waiting_since;
    atomic_bool cancelled;
    const atomic_bool *opening; /* as cancelled, while there is no handle to cancel; or NULL */
};

/* Opens `uri`; the link must not move afterwards. The owner sets `opening` before, and to NULL
 * once there is a handle. */
int link_open(struct link *l, const char *uri, int flags, const struct sqlite_options *options,
              struct error *err);
void link_close(struct link *l);
/* Any thread. */
void link_cancel(struct link *l);

/* Turns the result code of the last call into *err; returns -errno. */
int link_fail(struct link *l, int code, struct error *err);
/* "SQLITE_CONSTRAINT_NOTNULL"; "SQLITE_ERROR" for a code without a name of its own. Static. */
const char *link_code_name(int extended);

int link_exec(struct link *l, const char *sql, struct error *err);
/* The text in buf as a statement, or as statements to carry out; both clear the buffer. */
int link_prepare_buf(struct link *l, struct buf *sql, sqlite3_stmt **ret, struct error *err);
int link_exec_buf(struct link *l, struct buf *sql, struct error *err);
int link_prepare(struct link *l, const char *sql, sqlite3_stmt **ret, struct error *err);
/* Steps a statement that gives no rows, and resets it. */
int link_run(struct link *l, sqlite3_stmt *stmt, struct error *err);

/* The name as SQL: in double quotes, those within doubled. */
void link_add_name(struct buf *sql, const char *name);
/* "file:…?mode=MODE" for any path that may be reached; in the arena. */
int link_uri(struct arena *arena, const char *path, const char *mode, const char **ret,
             struct error *err);

static inline void
cleanup_stmt(sqlite3_stmt **stmt)
{
    sqlite3_finalize(*stmt);
}
#define AUTO_STMT __attribute__((cleanup(cleanup_stmt)))
