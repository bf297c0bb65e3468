/*
 * The catalogue: everything durable but the delivered state's big files, in one SQLite database
 * (catalogue.db) that one daemon at a time holds. The users' tree, what is accepted of it,
 * syncs, runs, logs.
 *
 * Every function may be called from any thread. Writers take turns; readers never wait for a
 * writer's fsync (they read the last commit), but the thread inside catalog_begin sees what it
 * wrote. Functions without a struct error return -errno and tell settings.trouble why when the
 * fault is the machine's; those that change something are durable when they return.
 */
#pragma once

#include "base/arena.h"
#include "base/clock.h"
#include "catalog/names.h"
#include "catalog/sql.h"
#include "engine.h"

struct catalog;

struct catalog_settings {
    uid_t uid; /* owner of the top directories, when they are made */
    gid_t gid;
    uint64_t bytes_max; /* of all user files; 0: 1 GiB */
    /* All MAY be NULL; changed and busy are called with no lock held.
     * changed: after a commit, by its thread: a sync was made, removed or renamed; a checked
     * file of it (or of NODE_CONNECTIONS, or in a driver: NODE_DRIVERS) was accepted, refused,
     * removed or noted about.
     * busy: does that sync run? Then it is neither removed nor renamed.
     * trouble: disk full, damage, no memory: for the log. */
    void (*changed)(void *arg, node_id dir);
    bool (*busy)(void *arg, node_id sync);
    void (*trouble)(void *arg, const struct error *err);
    void *arg;
};

enum {
    CATALOG_FORMAT = 5,
    CATALOG_FILE_MAX = 16 * 1024 * 1024, /* a plain file */
    CATALOG_LINK_MAX = 4095,
    CATALOG_SYNC_NODES = 1000, /* below one sync */
    CATALOG_SYNCS = 10000,
    CATALOG_CONNECTIONS = 10000, /* nodes in connections/ */
    CATALOG_DRIVERS = 10000,     /* nodes in drivers/ */
    CATALOG_NODES = 1000000,
    CATALOG_DEPTH = 64, /* of directories */
    CATALOG_LOG_LINES = 10000,
    CATALOG_ERROR_LOG = 1000,
    CATALOG_HISTORY = 100,                    /* texts kept of a file, */
    CATALOG_HISTORY_BYTES = 64 * 1024 * 1024, /* and bytes of them */
    CATALOG_REMOVED_DAYS = 30,
};

/* Takes the directory's lock and opens or makes the database. Errors: EBUSY in use by another
 * daemon, EPROTONOSUPPORT written by a newer one, EIO damaged, EACCES/EROFS not writable. */
int catalog_open(int state_dirfd, const struct catalog_settings *settings, struct catalog **ret,
                 struct error *err);
struct catalog *catalog_close(struct catalog *c); /* NULL-safe, returns NULL */
/* Closes the connections; the next call opens them again. SQLite must not be carried over a
 * fork: call it before, with no transaction open. The lock stays. */
void catalog_suspend(struct catalog *c);

/* ---- transactions and SQL, for the tables of others ---- */

/* Begins a transaction, waiting for other writers; begun again by the same thread it nests. */
int catalog_begin(struct catalog *c, struct error *err);
/* Ends it in any case: when it returns non-zero nothing of it was kept. */
int catalog_commit(struct catalog *c, struct error *err);
void catalog_rollback(struct catalog *c);
/* The connection to write with, between begin and commit only. */
struct sql *catalog_sql(struct catalog *c);
/* The connection to read with, until catalog_read_end: be quick, call no catalog function. */
int catalog_read(struct catalog *c, struct sql **ret, struct error *err);
void catalog_read_end(struct catalog *c, struct sql *q);
/* Both around one query, read with sql_next(&r.rows, err):
 *     AUTO_CATALOG_ROWS struct catalog_rows r = {0};
 *     int rc = catalog_select(c, &r, err, "SELECT …", "i", id);
 */
struct catalog_rows {
    struct catalog *catalog;
    struct sql *q;
    struct sql_rows rows;
};
int catalog_select(struct catalog *c, struct catalog_rows *r, struct error *err,
                   const char *text, const char *types, ...);
void catalog_rows_done(struct catalog_rows *r);
#define AUTO_CATALOG_ROWS __attribute__((cleanup(catalog_rows_done)))

/* ---- syncs and definitions ---- */

/* The 32 hex digits that name a sync over renames. -ENOENT: not a sync. */
int catalog_sync_uid(struct catalog *c, node_id dir, struct buf *out);
/* The uid of a sync that was removed more than CATALOG_REMOVED_DAYS ago, for whoever keeps
 * files of it; -ENOENT: none. Its rows stay until catalog_drop_sync, so that no crash leaves
 * files behind that nothing names. */
int catalog_expired_sync(struct catalog *c, struct buf *out);
/* Forgets a removed sync: runs, log, history. One that stands in syncs/ is left alone. */
int catalog_drop_sync(struct catalog *c, const char *uid);
/* The texts in force (accepted, and standing under their name), copied into arena, and which of
 * config.json, mappings.csv and mode have a .rej. -ENOENT: not a sync; -EUCLEAN: one is
 * damaged, *err says which. */
int catalog_sync_texts(struct catalog *c, node_id dir, struct sync_texts *ret,
                       struct arena *arena, bool rejected[3], struct error *err);
/* The schedule in force (p = NULL: none), copied into arena, and whether it has a .rej.
 * -EUCLEAN as above. */
int catalog_sync_schedule(struct catalog *c, node_id dir, struct str *ret, struct arena *arena,
                          bool *rejected, struct error *err);
/* Of a sync's `trigger`, as in engine.h; -ENOENT: not a sync. */
int catalog_trigger_attributes(struct catalog *c, node_id dir, struct node *ret);
int catalog_set_trigger_attributes(struct catalog *c, node_id dir, unsigned what,
                                   const struct node *to);
/* The accepted text of connections/NAME.json. -ENOENT; -EUCLEAN as above. */
int catalog_connection_text(struct catalog *c, const char *name, struct buf *out,
                            struct error *err);
/* Each directory in drivers/ that can be a user's driver, by name; fn non-zero stops. */
int catalog_drivers(struct catalog *c, int (*fn)(void *arg, const char *name, node_id dir),
                    void *arg);
/* What checks may know; for TEXT_MODE cdoc_check adds the destination. */
struct world catalog_world(struct catalog *c);

/* ---- what people read ---- */

/* One line for the sync's `log`, without time and newline; control characters become '?'. */
int catalog_log(struct catalog *c, const char *uid, const char *line);
/* The log as it is shown: "2026-01-31T12:00:00Z line\n"… *changed: the last line's time, 0 when
 * there is none. */
int catalog_log_text(struct catalog *c, const char *uid, struct buf *out, usec_t *changed);
/* The newest complaint about a file of the sync that still stands. -ENOENT: none. */
int catalog_error_text(struct catalog *c, node_id dir, struct buf *out, usec_t *at);
/* Why each refused text in the directory was refused, by name; `prefix` goes before each. */
int catalog_refused_texts(struct catalog *c, node_id dir, const char *prefix, struct buf *out);
/* Appends to error_log. */
int catalog_error_log(struct catalog *c, const char *place, const char *text);
/* error_log as it is shown: "TIME PLACE\n" and the indented text, oldest first. */
int catalog_error_log_text(struct catalog *c, struct buf *out, usec_t *changed);
int catalog_error_log_clear(struct catalog *c);

/* history/ of a sync, as in engine.h. */
int catalog_history_next(struct catalog *c, const char *uid, const char *name, uint64_t after,
                         struct history_text *ret);
int catalog_history_text(struct catalog *c, const char *uid, const char *name, uint64_t number,
                         struct buf *out, usec_t *at);

/* ---- the stored tree: as in engine.h ---- */

int ctree_get(struct catalog *c, node_id id, struct node *ret);
int ctree_lookup(struct catalog *c, node_id parent, const char *name, struct node *ret);
/* fn is called with no lock held and may call anything. */
int ctree_list(struct catalog *c, node_id parent, const char *after,
               int (*fn)(void *arg, const char *name, const struct node *n), void *arg);
int ctree_name(struct catalog *c, node_id id, struct buf *out);
int ctree_make(struct catalog *c, node_id parent, const char *name, enum node_kind kind,
               mode_t mode, const char *link, const struct caller *who, struct node *ret);
int ctree_read(struct catalog *c, node_id id, struct buf *out);
/* -EPERM for a checked file that stands under its name (cdoc_commit), -EACCES for a .rej. */
int ctree_write(struct catalog *c, node_id id, struct str text);
int ctree_set(struct catalog *c, node_id id, unsigned what, const struct node *to,
              struct node *ret);
int ctree_unlink(struct catalog *c, node_id parent, const char *name, bool with_refused,
                 const struct caller *who);
int ctree_rmdir(struct catalog *c, node_id parent, const char *name, const struct caller *who);
int ctree_rename(struct catalog *c, node_id parent, const char *name, node_id new_parent,
                 const char *new_name, bool noreplace, const struct caller *who,
                 struct complaint *complaint);
void ctree_forget(struct catalog *c, node_id id);

/* ---- checked files: as in engine.h; who MAY be NULL (nobody's last close) ---- */

enum text_kind cdoc_kind(struct catalog *c, node_id parent, const char *name);
enum text_verdict cdoc_check(struct catalog *c, node_id parent, const char *name,
                             struct str text, bool final, struct complaint *complaint);
int cdoc_commit(struct catalog *c, node_id parent, const char *name, node_id id,
                struct str text, const struct caller *who, struct complaint *complaint);
int cdoc_refuse(struct catalog *c, node_id parent, const char *name, struct str text,
                const struct caller *who, const struct complaint *complaint);
int cdoc_note(struct catalog *c, node_id parent, const struct complaint *complaint);
int cdoc_abandon(struct catalog *c, node_id parent, const char *name, node_id id);
