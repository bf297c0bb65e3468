/*
 * Asking the kernel to forget. It keeps the names it has looked up until memory is short, and
 * for each of them we keep an inode: whoever looks at a million pending rows one by one would
 * have us hold them all; so would who reads every run, for years. Beyond some thousands of rows
 * and files of runs the oldest are dropped from its cache, from a thread of its own that holds
 * no lock: the kernel waits for look-ups in the same directory.
 */
#pragma once

#include <stdint.h>

struct forget;
struct fs;
struct inode;
struct fuse_session;

/* NULL when memory is out. */
struct forget *forget_create(struct fs *fs, struct fuse_session *session);
int forget_start(struct forget *f);
/* Before a look-up is answered: the kernel will know the inode by a name in this directory. */
void forget_note(struct forget *f, struct inode *i, uint64_t dir);
/* Under the table's lock: the inode goes. */
void forget_gone(struct inode *i);
/* Nothing is written to the session after it; to be called before that is unmounted, and joined
 * afterwards, when the kernel waits for nobody. */
void forget_stop(struct forget *f);
struct forget *forget_free(struct forget *f); /* joins; NULL-safe, returns NULL */
