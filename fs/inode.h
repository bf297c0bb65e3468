/*
 * What the kernel holds: one `struct inode` for every node id it was given, freed when it
 * forgets the last look-up. An inode is either a node of the stored tree or one of the engine's
 * places. The kernel wants each directory at one path, so those of the stored tree that
 * config/ shows too have a second inode, the view; files have one at both paths. Both kinds are
 * found again by identity, but for `trigger`: a fresh inode a look-up, since a second opener
 * would wait for the kernel's inode lock until the first one's run ends.
 *
 * Locks, in order: names (one change of names at a time), inode->lock, the table's own (inside
 * inode.c). The engine is never called under the table's.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "engine.h"
#include "nodes.h"

struct forget;
struct handle;

/* What a directory of the stored tree means. */
enum dir_kind { DIR_UNASKED = 0, DIR_PLAIN, DIR_SYNC, DIR_DRIVER };

/* Of a row, which is one of many: in the order in which the kernel came to know them. */
struct row_links {
    struct forget *of; /* NULL: not among them */
    struct row_links *next, *before;
};

struct inode {
    struct inode *next; /* in its hash chain */
    uint64_t lookups;
    node_id node; /* of the stored tree; 0: a place of the engine's */
    struct place place;
    uint64_t ino; /* what st_ino shows */
    bool view;    /* a directory as config/ shows it: with the user's files only */
    bool hashed;
    struct row_links row; /* see forget.h */

    pthread_mutex_t lock; /* guards all below */
    /* Files of the stored tree: the content as readers see it, while anybody has it open. */
    struct buf text;
    bool loaded;
    bool dirty; /* plain files: written to, not yet stored */
    struct timespec written;
    unsigned opens, writers;
    uint64_t version;     /* counts accepted texts */
    struct handle *edits; /* open drafts */
    bool fresh;           /* a checked file made by us that never had an accepted text */
    bool doomed;          /* fresh, and its last text was refused: the name goes */
    bool unlinked;
    /* Directories of the stored tree. */
    enum dir_kind dir_kind;
    uint32_t hidden; /* a sync's items that rm -r has removed */
};

struct errands;
struct triggers;
struct watch;

struct fs {
    struct engine *engine;
    uid_t uid; /* owner of what belongs to no sync */
    gid_t gid;
    struct timespec started;
    const char *state_dir; /* for statfs */
    struct inode root;
    struct inode nobody; /* an empty directory that has no name; never forgotten */
    pthread_mutex_t names;
    struct triggers *triggers;
    struct errands *errands;
    struct watch *watch;
    struct forget *forget;
    pthread_mutex_t table_lock;
    struct inode **table; /* chains; as many as a power of two */
    size_t table_size, table_used;
    pthread_mutex_t polls_lock;
    struct handle *polls;   /* handles of pollable files */
    struct handle *handles; /* all, under table_lock */
    struct dirs *listings;  /* all, under table_lock */
};

/* 0 or -ENOMEM. */
int inode_table_init(struct fs *fs);
/* Frees every inode; tells the engine of unlinked ones. Nothing may be open any more. */
void inode_table_done(struct fs *fs);
/* The inode with one more look-up counted; NULL when memory is out. */
struct inode *inode_of_node(struct fs *fs, node_id id, bool view);
struct inode *inode_of_place(struct fs *fs, const struct place *at);
/* The same, if the kernel or a handle has it already. */
struct inode *inode_find_node(struct fs *fs, node_id id, bool view);
/* Whether the kernel or a handle has it. */
bool inode_is_known(struct fs *fs, const struct place *at);
void inode_forget(struct fs *fs, struct inode *i, uint64_t lookups);

/* The st_ino of an item: the same after a restart, apart from the stored tree's. */
uint64_t inode_number(const struct place *at);
/* The st_ino of a node of the stored tree. */
uint64_t inode_node_number(node_id id, bool view);

/* What the engine shows beside the user's files in a stored directory, also where config/ does
 * not show it; NULL: nothing. */
const struct dir *inode_beside(struct fs *fs, struct inode *dir);
/* The fixed names in this directory; NULL when it has none. */
const struct dir *inode_dir(struct fs *fs, struct inode *i);
/* As what its fixed names and children are looked up. */
struct place inode_place(const struct inode *dir);
int inode_stat(struct fs *fs, struct inode *i, struct stat *st);
/* From a node that is at hand already. */
void inode_stat_node(const struct node *n, struct stat *st);
/* Of an item that has no inode (a listing). */
int inode_stat_place(struct fs *fs, const struct place *at, struct stat *st);
/* Loads the content for readers if it is not. Under i->lock. */
int inode_load(struct fs *fs, struct inode *i);
