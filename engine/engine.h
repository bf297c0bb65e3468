/*
 * All that fs/ may ask of the engine. No call here waits for a network, a source, a destination
 * or a run; work is posted and its end is told by a callback from an engine thread.
 *
 * The engine owns the stored tree (the users' directories and files under connections/, syncs/,
 * drivers/ and config/, durable in the catalogue), gives meaning to the checked files in it,
 * and runs syncs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "data/chg.h"
#include "define/define.h"

struct engine;

struct engine_settings {
    const char *state_dir; /* made if missing */
    unsigned runs_at_once; /* runs that may be active together; others wait their turn */
    size_t sort_memory;    /* bytes a run may use to sort; 0: 16 MiB */
    uid_t uid;             /* owner of the top directories */
    gid_t gid;
};

/* Opens or makes the state; takes its lock; finishes or marks what a killed daemon left. Errors
 * say which: locked by another daemon (EBUSY), of a newer version (EPROTONOSUPPORT), damaged,
 * not writable. Starts no thread (so that the caller may still fork): engine_start does. */
int engine_open(const struct engine_settings *settings, struct engine **ret, struct error *err);
int engine_start(struct engine *e, struct error *err);
/* Cancels runs, waits for them, closes. Waiters get their callbacks (ECANCELED). */
void engine_close(struct engine *e);

/* ---- the stored tree (engine/catalog/tree.c) ---- */

typedef uint64_t node_id; /* the inode number: stable, never used twice */

enum node_kind { NODE_DIR, NODE_FILE, NODE_LINK };

enum { /* made with the state */
       NODE_CONNECTIONS = 16,
       NODE_SYNCS = 17,
       NODE_CONFIG = 18,  /* what users keep beside these: README.md, .git */
       NODE_DRIVERS = 19, /* users' own */
       NODE_FIRST_FREE = 1024,
};

struct node {
    node_id id, parent;
    enum node_kind kind;
    mode_t mode; /* permission bits only */
    uid_t uid;
    gid_t gid;
    uint64_t size;
    struct timespec mtime, ctime;
    struct timespec atime; /* as it was set, else mtime: reading leaves no trace */
};

struct caller { /* who did it, for the audit lines in `log` */
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

int tree_get(struct engine *e, node_id id, struct node *ret); /* -ENOENT */
int tree_lookup(struct engine *e, node_id parent, const char *name,
                struct node *ret); /* -ENOENT */
/* Children by name order after `after` (NULL: from the start); fn non-zero stops. */
int tree_list(struct engine *e, node_id parent, const char *after,
              int (*fn)(void *arg, const char *name, const struct node *n), void *arg);
/* The name under which a node stands now. -ENOENT when it is unlinked. */
int tree_name(struct engine *e, node_id id, struct buf *out);
/* Makes a directory, file (empty) or link. A directory in NODE_SYNCS is a sync, one in
 * NODE_DRIVERS a driver. -EEXIST, -EINVAL (bad name), -EDQUOT (limits), -EPERM (not here, or
 * the name of a driver that is built in). */
int tree_make(struct engine *e, node_id parent, const char *name, enum node_kind kind,
              mode_t mode, const char *link, const struct caller *who, struct node *ret);
/* Content of a file or link. */
int tree_read(struct engine *e, node_id id, struct buf *out);
/* Replaces the content of a plain file. Durable when it returns. */
int tree_write(struct engine *e, node_id id, struct str text);
enum { TREE_MODE = 1, TREE_UID = 2, TREE_GID = 4, TREE_MTIME = 8, TREE_ATIME = 16 };
int tree_set(struct engine *e, node_id id, unsigned what, const struct node *to,
             struct node *ret);
/* Removes a name. A checked file's accepted text stays as a tombstone until replaced. The node
 * itself lives on (tree_get, tree_read, tree_write) until tree_forget. `with_refused`: what was
 * refused under the name goes with it, though not by the process that was refused: an editor
 * that failed first removes its attempt and then puts the old file back. */
int tree_unlink(struct engine *e, node_id parent, const char *name, bool with_refused,
                const struct caller *who);
/* Removes a directory without user files. A sync: EBUSY while it runs; its delivered state is
 * kept under its name for 30 days. A driver: EBUSY while a connection names it (error_log says
 * which). */
int tree_rmdir(struct engine *e, node_id parent, const char *name, const struct caller *who);
/* Plain POSIX rename within the stored tree. Onto a checked name the source's text is checked:
 * bad → refused like doc_commit, nothing moves. noreplace: -EEXIST. */
int tree_rename(struct engine *e, node_id parent, const char *name, node_id new_parent,
                const char *new_name, bool noreplace, const struct caller *who,
                struct complaint *complaint); /* -EBADMSG when refused */
/* An unlinked node that nobody holds open any more. */
void tree_forget(struct engine *e, node_id id);
/* Owner, group and permission bits of a sync's `trigger`: its directory's (of the bits those
 * that read and write), but for what was set. */
int trigger_attributes(struct engine *e, node_id sync, struct node *ret);
/* TREE_MODE, TREE_UID, TREE_GID. */
int trigger_set_attributes(struct engine *e, node_id sync, unsigned what,
                           const struct node *to);

/* ---- checked files (engine/catalog/doc.c) ---- */

/* What kind of file a name in a directory is: TEXT_PLAIN for everything uninteresting. */
enum text_kind doc_kind(struct engine *e, node_id parent, const char *name);
/* text_check with this engine's world for that place. */
enum text_verdict doc_check(struct engine *e, node_id parent, const char *name, struct str text,
                            bool final, struct complaint *complaint);
/* Accepts text as the content of the checked file node `id` (named `name` in `parent`): in
 * force and durable when it returns; removes NAME.rej, but for bytes identical to those in
 * force committed by the process that was just refused. -EINVAL with *complaint when the check
 * refuses (then it has done doc_refuse); others, as -ENOMEM: nothing was said of the text. */
int doc_commit(struct engine *e, node_id parent, const char *name, node_id id, struct str text,
               const struct caller *who, struct complaint *complaint);
/* Keeps text as NAME.rej, the complaint in `error` and error_log. Durable when it returns. */
void doc_refuse(struct engine *e, node_id parent, const char *name, struct str text,
                const struct caller *who, const struct complaint *complaint);
/* A note in `error` without a refused text (an empty write, …). */
void doc_note(struct engine *e, node_id parent, const struct complaint *complaint);
/* The file was created but nothing acceptable was ever written: if a tombstone of an accepted
 * text exists it comes back under the name, else the name vanishes. */
void doc_abandon(struct engine *e, node_id parent, const char *name, node_id id);

/* ---- what the engine shows of a sync (engine/run/show.c) ---- */

enum sync_text {
    SYNC_STATUS,
    SYNC_STATUS_JSON,
    SYNC_ERROR,
    SYNC_LOG,
    SYNC_MODES,
    SYNC_TRIGGER, /* the verbs that would work now, as # comments */
    SYNC_PENDING_SUMMARY,
};

/* Renders the file as it is now, with the time of its last change. -ENOENT when it has none now
 * (pending/summary without a plan is still a text). */
int sync_show(struct engine *e, node_id sync, enum sync_text which, struct buf *out,
              struct timespec *changed);

/* Of a user's driver (its directory): -ENOENT when it is gone. */
int driver_show(struct engine *e, node_id dir, enum driver_text which, struct buf *out,
                struct timespec *changed);

enum root_text { ROOT_STATUS, ROOT_ERROR_LOG, ROOT_METRICS };
int engine_show(struct engine *e, enum root_text which, struct buf *out,
                struct timespec *changed);
/* Empties error_log (a write to it). */
void engine_clear_error_log(struct engine *e);

/* ---- /control (engine/run/control.c) ---- */

/* One write: `check` is -EBADMSG while any sync is not ready or an edit stands refused, and
 * puts the reasons into error_log; `reload` judges everything anew. Comments and blanks are 0.
 * *err says why not, and so does error_log. */
int engine_control(struct engine *e, struct str text, const struct caller *who,
                   struct error *err);
/* Its verbs and what `check` would say now, as # comments. */
int engine_control_show(struct engine *e, struct buf *out, struct timespec *changed);

/* Row files: a counted reference to what pending/, rejected/ or runs/N/ hold now; NULL and
 * -ENOENT when there is none. Ask chg_view_size / chg_view_read for the text. */
int sync_pending(struct engine *e, node_id sync, struct chg **ret);
int sync_rejected(struct engine *e, node_id sync, struct chg **ret);
int run_changes(struct engine *e, node_id sync, uint64_t run, struct chg **ret);
int run_rejected(struct engine *e, node_id sync, uint64_t run, struct chg **ret);

enum run_text { RUN_SUMMARY, RUN_LOG, RUN_REQUESTS, RUN_CONFIG, RUN_MAPPINGS, RUN_MODE };
int run_show(struct engine *e, node_id sync, uint64_t run, enum run_text which, struct buf *out,
             struct timespec *changed);
/* Appends the line of a run's requests.jsonl that a rejected row's note points to, without its
 * newline. -ENOENT: the note points to none, or it is gone. */
int run_request(struct engine *e, node_id sync, struct str note, struct buf *out);
/* The first kept run above `after`: 1; 0: there is none; or -errno. */
int run_next(struct engine *e, node_id sync, uint64_t after, uint64_t *number);
/* The newest run's number; 0: none. */
uint64_t run_last(struct engine *e, node_id sync);

/* ---- pending/ and rejected/ row by row (engine/run/rows.c) ---- */

enum rows_of { ROWS_PENDING, ROWS_REJECTED, ROWS_KINDS };

/* A change file and which of its rows were removed by hand. A row's number is its `seq`. */
struct rows;

/* A counted reference. -ENOENT: there are no such rows now. */
int sync_rows(struct engine *e, node_id sync, enum rows_of of, struct rows **ret);
struct rows *rows_unref(struct rows *r);    /* NULL-safe, returns NULL */
struct chg *rows_chg(const struct rows *r); /* borrowed */
struct timespec rows_changed(const struct rows *r);
bool rows_left_out(const struct rows *r, uint64_t row);
/* How many, and when the last one was. */
uint64_t rows_left_out_count(const struct rows *r, struct timespec *newest);
/* Removes the row of that file name (chg_find_filename) among those with these ops: a pending
 * one is left out when the plan is approved, a rejected one is no longer told of. Both are
 * changes again on the next run. Durable when it returns. -ENOENT; -EBUSY while a run is
 * active. */
int sync_rows_remove(struct engine *e, node_id sync, enum rows_of of, unsigned ops,
                     const char *name, const struct caller *who);

/* ---- explain/ (engine/run/explain.c) ---- */

/* Why the row of that file name (chg_find_filename) is or is not in the plan, or without one in
 * what the last run sent. -ENOENT: it cannot be such a name. */
int sync_explain(struct engine *e, node_id sync, const char *name, struct buf *out,
                 struct timespec *changed);

/* ---- history/: every text ever accepted or refused (engine/catalog/history.c) ---- */

struct history_text {
    uint64_t number; /* from 1, by file name */
    bool accepted;
};

/* The first text of the file `name` above `after`: 1; 0: there is none; or -errno. */
int sync_history_next(struct engine *e, node_id sync, const char *name, uint64_t after,
                      struct history_text *ret);
int sync_history_read(struct engine *e, node_id sync, const char *name, uint64_t number,
                      struct buf *out, struct timespec *changed); /* -ENOENT */

/* ---- verbs (engine/run/verbs.c) ---- */

/* A verb that takes time. Told once, with no lock held: 0 or a positive errno (EIO failed,
 * ECANCELED, …). Never called after ticket_drop returned. By an engine thread, but that of a
 * run cancelled while it waits its turn: by the thread that cancels it, within sync_trigger. */
typedef void (*verb_done_fn)(void *arg, int errnum);
struct ticket;

/* One write to `trigger`. Returns 0: done (also for text that holds only # comments or
 * nothing); a positive number never; -errno refused, *err says why (EINVAL unknown verb,
 * ENOEXEC not ready, EBUSY running, ESTALE plan moved): the sentence is in `error` already; or
 * -EINPROGRESS: *ret is a ticket and `done` will be called. nowait: like `start` for `run`. */
int sync_trigger(struct engine *e, node_id sync, struct str text, bool nowait,
                 const struct caller *who, verb_done_fn done, void *arg, struct ticket **ret,
                 struct error *err);
/* Stops waiting; the run goes on. After it returns `done` is not called any more. Also frees a
 * ticket whose `done` was called: drop each ticket exactly once. */
void ticket_drop(struct ticket *t);

/* Called from an engine thread whenever a sync's shown texts may have changed (for poll and
 * watchers); must not block. Set before engine_start. */
void engine_on_change(struct engine *e, void (*fn)(void *arg, node_id sync), void *arg);
