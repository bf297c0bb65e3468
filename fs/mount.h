/* A mount: opened, served, closed. fuse.c, which does it, alone knows libfuse. */
#pragma once

#include <stdbool.h>

#include "engine.h"

struct errands;
struct mount;

struct mount_settings {
    const char *source; /* shown as the mounted device */
    const char *mountpoint;
    const char *options; /* "allow_other,ro": left for the kernel and libfuse; may be "" */
    const char *state_dir;
    struct errands *errands; /* of this mount point; outlives the mount */
    bool debug;
};

/* Mounts. Problems are told on stderr by libfuse, or in *err. */
int mount_open(const struct mount_settings *settings, struct mount **ret, struct error *err);
/* Serves until the mount goes or SIGTERM, SIGINT or SIGHUP comes. ready is called once the
 * kernel talks to us. The engine must be open; it is started and, before this returns, closed.
 */
int mount_serve(struct mount *s, struct engine *engine, void (*ready)(void *arg), void *arg,
                struct error *err);
/* Unmounts if need be; NULL-safe, returns NULL. */
struct mount *mount_close(struct mount *s);
/* "3.14.0". */
const char *mount_library_version(void);
