/*
 * poll(2), like that of the files of sysfs: always readable, POLLPRI when the text has changed
 * since it was read.
 */
#pragma once

#include "inode.h"

struct fuse_pollhandle;

/* What is up now; the handle is ours from here on. */
unsigned polls_ask(struct fs *fs, struct handle *h, struct fuse_pollhandle *ph);
/* A sync's texts may have changed. Any thread; does not block. */
void polls_changed(struct fs *fs, node_id sync);
void polls_forget(struct fs *fs, struct handle *h);
