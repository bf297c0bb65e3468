/*
 * Errands: what only somebody who uses the mount can make the kernel do, we do through our own
 * mount, by a child that has nothing of ours open but a socket. A thread of a daemon that is
 * killed could not end while it waits in the kernel for the daemon's own answer, nor would the
 * kernel take the mount down before it has ended.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"

struct errands;

/* point: the absolute path of the mount; copied. To be called while we have opened nothing yet
 * and have one thread: the child keeps a copy of whatever is there. 0 or -errno. */
int errands_start(const char *point, struct errands **ret);

/* Both return when it is done, or has failed, which is nobody's trouble. To be called with no
 * lock held: each comes back to us as requests. dir: of the mount, without a slash before it.
 */

/* Sets the times of the names (each with a NUL after it) to now. */
void errands_touch(struct errands *e, struct str dir, struct str names);
/* Lists it from its beginning again and again, until nothing is there. */
void errands_list(struct errands *e, struct str dir);

/* Is this the process that does it? Of a mount that is served. */
bool errands_runs(const struct errands *e, pid_t pid);
/* To be called when the mount is gone, or never was: waits for the child. NULL-safe, returns
 * NULL. */
struct errands *errands_free(struct errands *e);
