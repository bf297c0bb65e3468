/*
 * Names: which may be looked up, made, removed and moved. The user's are the stored tree's; the
 * engine's (nodes.c) stand among them and cannot be touched, but for one case: once the last of
 * the user's files in a sync has gone, removing the engine's succeeds, so that rm -r works. And
 * rows of pending/ and rejected/ may be removed (rows.c).
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "inode.h"

struct found {
    struct inode *inode; /* one more look-up counted */
    struct stat st;
    double name_timeout, stat_timeout;
};

int names_lookup(struct fs *fs, struct inode *dir, const char *name, struct found *ret);
/* link: the target, for NODE_LINK. */
int names_make(struct fs *fs, struct inode *dir, const char *name, enum node_kind kind,
               mode_t mode, const char *link, const struct caller *who, struct found *ret);
int names_unlink(struct fs *fs, struct inode *dir, const char *name, const struct caller *who);
int names_rmdir(struct fs *fs, struct inode *dir, const char *name, const struct caller *who);
int names_rename(struct fs *fs, struct inode *dir, const char *name, struct inode *new_dir,
                 const char *new_name, bool noreplace, const struct caller *who);
/* How long the kernel may keep what stat(2) says. */
double names_stat_timeout(struct fs *fs, struct inode *i);
/* The stored directory behind an inode; 0: it is the engine's. */
node_id names_stored_dir(const struct inode *dir);
/* Whether this fixed name was removed by rm -r. */
bool names_is_hidden(struct fs *fs, struct inode *dir, const struct item *item);
