/*
 * Open files. What a handle is follows from what was opened and how: a text of the engine's as
 * it was at open, rows behind a counted reference, a verb writer, the shared content of a file
 * of the user's, or a private draft of a checked one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "draft.h"
#include "inode.h"

struct trigger;

enum handle_kind {
    HANDLE_TEXT,   /* rendered at open */
    HANDLE_ROWS,   /* read from the change file as asked for */
    HANDLE_VERBS,  /* trigger, open for writing */
    HANDLE_STORE,  /* error_log, open for writing */
    HANDLE_SHARED, /* the inode's own text */
    HANDLE_DRAFT,
};

struct handle {
    enum handle_kind kind;
    struct inode *inode;
    int flags;
    struct buf text;
    struct chg *rows;
    struct trigger *trigger;
    struct draft draft;
    struct handle *next_edit;    /* in inode->edits */
    struct handle *next, **link; /* in fs->handles */
    /* poll(2), under fs->polls_lock */
    struct handle *next_poll;
    void *poll;
    bool polled, changed;
};

/* created: by this open, which thus is the first. */
int file_open(struct fs *fs, struct inode *i, int flags, bool created, const struct caller *who,
              struct handle **ret);
/* The kernel must not cache what is read or written through it. */
bool file_is_direct(const struct handle *h);
int file_read(struct fs *fs, struct handle *h, uint64_t offset, size_t n, struct buf *out);
/* Not for HANDLE_VERBS. */
int file_write(struct fs *fs, struct handle *h, uint64_t offset, struct str bytes,
               const struct caller *who);
int file_flush(struct fs *fs, struct handle *h, const struct caller *who);
int file_sync(struct fs *fs, struct handle *h, const struct caller *who);
void file_release(struct fs *fs, struct handle *h);
/* The mount has gone: whatever is open is closed. Edits that nobody ended become NAME.rej. */
void file_close_all(struct fs *fs);

enum { FILE_SIZE = 1 << 8 }; /* beside TREE_MODE … */
/* h: the handle of ftruncate(2), or NULL. */
int file_set(struct fs *fs, struct inode *i, struct handle *h, unsigned what,
             const struct node *to, const struct caller *who, struct stat *st);
int file_readlink(struct fs *fs, struct inode *i, struct buf *out);
/* Stores what was written to a plain file so far. */
int file_settle(struct fs *fs, struct inode *i, const struct caller *who);
/* A checked name that was made and never got an acceptable text goes, when nobody writes it
 * any more or its writer was told so. */
void file_abandon(struct fs *fs, struct inode *i);
/* "config.json.rej" and the like: the engine's, but removable. */
bool file_is_reject(struct fs *fs, node_id parent, const char *name);
