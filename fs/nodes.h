/*
 * The engine's side of the tree: every name that is not the user's stands here, once, in a
 * table. An item says what the name is and which engine call makes its text; adding a file to
 * the mount is adding a line.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/buf.h"
#include "engine.h"

struct dir;
struct item;

/* One of the engine's files or directories: an item, and of which sync, run, driver or row. */
struct place {
    const struct item *item;
    node_id sync;     /* or user's driver; 0: none */
    uint64_t number;  /* of the run, or index of the driver that is built in */
    const char *name; /* of one that is not fixed; borrowed */
};

enum item_kind {
    ITEM_TEXT,    /* a text rendered whole */
    ITEM_ROWS,    /* a view of a change file, which may be large */
    ITEM_TRIGGER, /* takes verbs, shows help */
    ITEM_LINK,    /* the text is its target */
    ITEM_DIR,
    ITEM_STORED, /* a directory of the stored tree */
};

enum item_flags {
    ITEM_POLL = 1,     /* poll(2) tells when it may have changed */
    ITEM_PASSING = 2,  /* comes and goes by the engine's doing: its name is not cached; of a
                          directory: it is there while it has something in it */
    ITEM_ALWAYS = 4,   /* empty rather than absent when there are no rows */
    ITEM_STEADY = 16,  /* what stat(2) says need not be asked again at once: a walk over rows
                          would do so for each, and for their directory */
    ITEM_UNSEEN = 64,  /* of a stored directory: not there until somebody makes it or it holds
                          something */
    ITEM_MANY = 32,    /* there are as many as runs: its name is given up in time (forget.h) */
    ITEM_GROWS = 8,    /* only ever appended to: a reader at its end gets what has come since */
    ITEM_CLOSED = 128, /* no business of others: it quotes what they may not read elsewhere */
};

struct item {
    const char *name;
    enum item_kind kind;
    unsigned flags;
    unsigned which; /* sync_text, run_text, entry_op, …: for show */
    unsigned view;  /* enum chg_view */
    int (*show)(struct engine *e, const struct place *at, struct buf *out,
                struct timespec *changed); /* for rows: only the time is used */
    int (*rows)(struct engine *e, const struct place *at, struct chg **ret);
    int (*store)(struct engine *e, struct str text,
                 const struct caller *who); /* NULL: read-only */
    const struct dir *dir;
    node_id node; /* ITEM_STORED */
};

/* A place in a listing of names that are not fixed. */
struct listing {
    uint64_t number;
    struct rows *rows;
    struct chg_cursor *cursor;
    struct buf last; /* the name before, to number equal ones */
    unsigned same;
    bool ended;
};

struct dir {
    const struct item *items;
    size_t n;
    const struct item *child; /* what the names that are not fixed are; NULL: there are none */
    int (*find)(struct engine *e, const struct place *dir, const char *name, uint64_t *number);
    int (*next)(struct engine *e, const struct place *dir, struct listing *it,
                struct buf *name); /* 1: a name; 0: the end; -errno */
    /* NULL: none of these names can be removed. */
    int (*remove)(struct engine *e, const struct place *dir, const char *name,
                  const struct caller *who);
};

extern const struct item nodes_root; /* the mount point */
extern const struct dir nodes_inserts, nodes_updates, nodes_deletes,
    nodes_rejected;                      /* rows.c */
extern const struct dir nodes_history;   /* history.c */
extern const struct dir nodes_explain;   /* explain.c */
extern const struct dir nodes_sync;      /* what stands in a sync beside the user's files */
extern const struct dir nodes_driver;    /* the same of a user's driver */
extern const struct dir nodes_drivers;   /* and in drivers/: those that are built in */
extern const struct dir nodes_config;    /* and in config/ */
enum { NODES_TEXT_MAX = 256 * 1048576 }; /* of one rendered text */

/* The item of that name among the fixed ones; NULL. */
const struct item *nodes_fixed(const struct dir *dir, const char *name);
/* What `name` in the directory `dir`, at `at`, is. -ENOENT. */
int nodes_find(struct engine *e, const struct dir *dir, const struct place *at,
               const char *name, struct place *ret);
/* Appends the directory, below that of its sync, in which a place stands: "/pending/insert". */
bool nodes_directory(const struct place *at, struct buf *out);
/* 0 or -ENOENT: some files are there only at times. */
int nodes_exists(struct engine *e, const struct place *at);
/* The whole text of all but directories and rows. */
int nodes_text(struct engine *e, const struct place *at, struct buf *out,
               struct timespec *changed);
/* A reference to the rows behind an ITEM_ROWS, *ret = NULL when it is an empty file now. */
int nodes_rows(struct engine *e, const struct place *at, struct chg **ret);
void nodes_listing_done(struct listing *it);
