/*
 * Making the kernel forget. It keeps the names it has looked up until memory is short, and for
 * each of them we keep an inode: whoever looks at a million pending rows one by one would have
 * us hold them all; so would who reads every run, for years. Beyond some thousands of rows and
 * files of runs a child (errand.h) lists their directory and is shown the oldest, as another
 * file: whereupon the kernel drops those it knows by these names, many at once. What is
 * meant for this, fuse_lowlevel_notify_inval_entry, waits for every look-up in the directory,
 * and a daemon that is killed cannot end while it does.
 *
 * What stands in a directory that the daemon's own user may not read stays.
 */
#pragma once

#include <stdbool.h>

struct forget;
struct fs;
struct inode;

/* NULL when memory is out. */
struct forget *forget_create(struct fs *fs);
int forget_start(struct forget *f); /* -errno */
/* Before a look-up is answered: the kernel will know the inode. */
void forget_note(struct forget *f, struct inode *i);
/* Under the table's lock: the inode goes. */
void forget_gone(struct inode *i);
/* Gives the names that the child is to be shown to `add`, until it returns false: it is called
 * under the table's lock. */
void forget_list(struct forget *f, bool (*add)(void *arg, const char *name), void *arg);
/* The child is not sent again; the thread ends once the mount is gone at the latest. */
void forget_stop(struct forget *f);
struct forget *forget_free(struct forget *f); /* joins; NULL-safe, returns NULL */
