/*
 * Watchers: inotify tells only of what goes through the kernel, never of what a FUSE daemon
 * changes by itself. So the times of the changed texts are set through the mount (errand.h),
 * which means nothing but makes whoever watches them get IN_ATTRIB.
 */
#pragma once

#include "inode.h"

struct watch;

struct watch *watch_create(struct fs *fs);
int watch_start(struct watch *w); /* -errno */
/* A sync's texts may have changed. Any thread; does not block. */
void watch_note(struct watch *w, node_id sync);
/* No more is touched after this; the thread ends once the mount is gone at the latest. */
void watch_stop(struct watch *w);
void watch_join(struct watch *w);
struct watch *watch_free(struct watch *w); /* NULL-safe, returns NULL */
