/*
 * The catalogue's inside. Locks, in the order in which they may be taken:
 *   write_lock   the writer connection; held from catalog_begin to the end of the transaction
 *   world_lock   the drivers behind connections
 *   read_lock    the reader connection; nothing else is called while it is held
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "catalog/catalog.h"
#include "catalog/intact.h"

enum { ROOT = 1 }; /* parent of the top directories; not in the table */

/* Who was refused, so that an editor that puts the old text back does not wipe the reason. */
struct refusal {
    node_id dir;
    pid_t pid;
    char name[256];
};
enum { REFUSALS = 64 };

struct known_driver {
    char *name;                  /* of a connection, or of a user's driver */
    const struct driver *driver; /* a reference; NULL: none that is in order */
};
struct known_drivers {
    struct known_driver *p;
    size_t n, cap;
};

struct catalog {
    struct catalog_settings settings;
    char *path;
    int lock_fd;
    pid_t lock_pid; /* as written in the lock */

    pthread_mutex_t write_lock;
    _Atomic(const void *) owner; /* the thread that holds it */
    unsigned depth;
    struct sql writer;
    struct { /* directories to tell about after the commit */
        node_id *p;
        size_t n, cap;
    } changed;
    struct refusal refusals[REFUSALS];
    unsigned next_refusal;

    pthread_mutex_t world_lock;
    /* Looked up on demand; behind connections, forgotten when one or a driver changes; and
     * users' own, forgotten when one changes. */
    struct known_drivers behind, users;

    pthread_mutex_t read_lock;
    struct sql reader;
};

/* schema.c: makes or upgrades the tables; refuses what is not ours. In no transaction. */
int schema_prepare(struct catalog *c, struct error *err);

/* catalog.c */

/* Ends what catalog_begin began: commits when rc is not negative. Returns the final result. */
int transaction_end(struct catalog *c, int rc, struct error *err);
/* Tells settings.trouble when *err is the machine's fault; returns rc. */
int tell_trouble(struct catalog *c, int rc, const struct error *err);
/* Evaluates body (an int, negative rolls back) in a transaction. */
#define IN_TRANSACTION(c, err, body)                                                           \
    ({                                                                                         \
        int rc_ = catalog_begin((c), (err));                                                   \
        if (rc_ == 0)                                                                          \
            rc_ = transaction_end((c), (body), (err));                                         \
        tell_trouble((c), rc_, (err));                                                         \
    })
/* Evaluates body with `q`, a connection to read with. */
#define READING(c, q, err, body)                                                               \
    ({                                                                                         \
        struct sql *q = NULL;                                                                  \
        int rc_ = catalog_read((c), &q, (err));                                                \
        if (rc_ == 0) {                                                                        \
            rc_ = (body);                                                                      \
            catalog_read_end((c), q);                                                          \
        }                                                                                      \
        tell_trouble((c), rc_, (err));                                                         \
    })
/* Reads the last commit even inside a transaction of this thread. */
int committed_read(struct catalog *c, struct sql **ret, struct error *err);
/* Remembers to tell that a directory changed. In a transaction. */
int note_changed(struct catalog *c, node_id dir, struct error *err);

/* node.c: nodes as rows, on any connection */

int node_get(struct sql *q, node_id id, struct node *ret, struct error *err);
int node_find(struct sql *q, node_id parent, const char *name, struct node *ret,
              struct error *err);
/* -ENOENT when it is missing or unlinked, -ENOTDIR. */
int node_dir(struct sql *q, node_id id, struct node *ret, struct error *err);
enum { NODE_PAGE = 32 };
struct named_node {
    char name[256];
    struct node node;
};
/* Up to NODE_PAGE children by name after `after`; returns how many. */
int node_page(struct sql *q, node_id parent, const char *after, struct named_node *page,
              struct error *err);
/* 1 when the directory holds nothing but refused texts, else 0. */
int node_is_empty(struct sql *q, node_id dir, struct error *err);
/* Inserts; *n gets id and times. */
int node_insert(struct sql *q, const char *name, struct str data, struct node *n,
                struct error *err);
int node_set_data(struct sql *q, node_id id, struct str data, struct error *err);
/* -EIO when it is damaged. */
int node_data(struct sql *q, node_id id, struct buf *out, struct error *err);
int node_unlink(struct sql *q, node_id id, struct error *err);
int node_touch_dir(struct sql *q, node_id dir, struct error *err);
int node_place(struct sql *q, node_id dir, enum place *ret, struct error *err);
int64_t now_ns(void);

/* Where a directory stands. */
struct position {
    node_id top;  /* its ancestor (or itself) directly in syncs/ or connections/; 0: it is one
                     of these */
    node_id root; /* NODE_SYNCS, NODE_CONNECTIONS, NODE_CONFIG, NODE_DRIVERS or, when unlinked,
                     0 */
    unsigned depth;
    bool below; /* `node` is an ancestor of it, or itself */
};
int node_position(struct sql *q, node_id dir, node_id node, struct position *ret,
                  struct error *err);
/* Would `more` nodes with `levels` levels of directories fit below dir? -EDQUOT,
 * -ENAMETOOLONG. */
int node_room(struct catalog *c, node_id dir, int64_t more, int64_t levels, struct error *err);
int bytes_room(struct catalog *c, struct error *err);

/* syncs.c: the rows behind directories in syncs/ */

int sync_uid(struct sql *q, node_id dir, struct buf *out, struct error *err);
int sync_make(struct catalog *c, node_id dir, const char *name, const struct caller *who,
              struct error *err);
int sync_remove(struct catalog *c, node_id dir, const struct caller *who, struct error *err);
int sync_rename(struct catalog *c, node_id dir, const char *name, const struct caller *who,
                struct error *err);

/* The accepted text that stands under its name now, copied into arena; p stays NULL when there
 * is none. -EUCLEAN: see doc_damaged. */
int text_in_force(struct sql *q, node_id dir, const char *name, struct arena *arena,
                  struct str *ret, struct error *err);
int connection_in_force(struct sql *q, const char *name, struct buf *out, struct error *err);

/* logs.c */

int log_add(struct catalog *c, const char *uid, const char *line, struct error *err);
/* "uid=1000 pid=123 comm=vim WORDS" in the log of the sync at dir, if it is one. */
int log_audit(struct catalog *c, node_id dir, const struct caller *who, struct error *err,
              const char *format, ...) __attribute__((format(printf, 5, 6)));
int error_log_add(struct catalog *c, const char *place, const char *text, struct error *err);

/* tree.c, rename.c: within a transaction */

/* May a user put a node of that kind there? -EPERM, -EINVAL. */
int may_stand(enum place place, const char *name, enum node_kind kind);
/* -EBUSY when that name is a sync that runs, or a driver that is used. With no lock held.
 * `what` would happen to it: "removed". */
int ask_busy(struct catalog *c, node_id parent, const char *name, const char *what);
/* -ENOTEMPTY; else the directory and its refused texts are gone. */
int remove_dir(struct catalog *c, const struct node *n, const struct caller *who,
               struct error *err);
/* Tells about plain names that come and go in a sync, for the notes in its status. */
int note_plain(struct catalog *c, enum place place, node_id dir, const char *name,
               struct error *err);

/* doc.c */

/* -EUCLEAN: what was accepted under that name is not what stands in the catalogue now. */
int doc_damaged(struct sql *q, node_id dir, const char *name, struct error *err);

/* 0; -EINVAL with *complaint: it is to be refused; -ENOMEM: that cannot be told now. */
int doc_judge(struct catalog *c, node_id dir, const char *name, struct str text,
              struct complaint *complaint);

/* doc.c: within a transaction */

/* Puts text in force under (dir, name), carried by node `id`, whose data the caller sets. */
int doc_accept(struct catalog *c, node_id dir, const char *name, node_id id, struct str text,
               const struct caller *who, struct error *err);
int doc_refuse_text(struct catalog *c, node_id dir, const char *name, struct str text,
                    const struct caller *who, const struct complaint *complaint,
                    struct error *err);
/* The node leaves its checked name: what was accepted stays as a tombstone. */
int doc_leave(struct catalog *c, const struct node *n, const char *name,
              const struct caller *who, struct error *err);
/* Under a name that is missing stands again what was accepted there last, if anything was. */
int doc_put_back(struct catalog *c, node_id dir, const char *name, const struct caller *who,
                 struct error *err);
/* NAME.rej goes by the user's hand, and with it the complaint. */
int doc_forget_refusal(struct catalog *c, node_id dir, const char *rej_name, struct error *err);
/* The name is removed; `with_refused` as for tree_unlink. */
int doc_unlink(struct catalog *c, const struct node *n, const char *name, bool with_refused,
               const struct caller *who, struct error *err);
/* Everything about a directory that was of that kind and is no longer. */
int doc_drop_all(struct catalog *c, node_id dir, enum place place, struct error *err);

/* drivers.c */

/* The manifest in force in drivers/NAME, copied into arena; p stays NULL when there is none.
 * -ENOENT: no such directory; -EUCLEAN as above. */
int manifest_in_force(struct sql *q, const char *name, struct arena *arena, struct str *ret,
                      struct error *err);
/* -EBUSY when a connection names that driver: error_log says which. */
int driver_busy(struct catalog *c, const char *name, const char *what);

/* world.c */

/* What is behind connections; and users' drivers. */
void world_forget(struct catalog *c, bool users);
