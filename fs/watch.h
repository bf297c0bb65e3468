/*
 * Watchers: inotify tells only of what goes through the kernel, never of what a FUSE daemon
 * changes by itself. So the times of the changed texts are set through the mount, which means
 * nothing but makes whoever watches them get IN_ATTRIB. A child does it that has nothing of
 * ours open: a thread of a daemon that is killed could not end while it waits for the daemon's
 * answer, nor would the kernel take the mount down before it has ended.
 */
#pragma once

#include "inode.h"

struct watch;

/* point: the absolute path of the mount; copied. */
struct watch *watch_create(struct fs *fs, const char *point);
int watch_start(struct watch *w); /* -errno */
/* A sync's texts may have changed. Any thread; does not block. */
void watch_note(struct watch *w, node_id sync);
/* No more is touched after this; the thread ends once the mount is gone at the latest. */
void watch_stop(struct watch *w);
void watch_join(struct watch *w);
/* Is this the process that touches for us? Of a mount that is served. */
bool watch_touches(const struct watch *w, pid_t pid);
struct watch *watch_free(struct watch *w); /* NULL-safe, returns NULL */
