/* The command line: also as mount(8), mount.fuse3(8) and fstab write it. */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"

struct options {
    const char *source;     /* borrowed from argv; "retlfs" when there is none */
    const char *mountpoint; /* borrowed from argv */
    char *state_dir;        /* owned; NULL: the default */
    unsigned runs_at_once;
    /* What definitions may reach beside the network (base/reach.h). */
    VEC(char *) allow_paths; /* owned */
    VEC(char *) allow_env;   /* owned; names of variables */
    bool allow_command;
    bool shared; /* allow_other: only what is allowed */
    bool foreground, debug, help, version;
    struct buf mount; /* options for the mount itself, separated by commas */
};

int options_parse(struct options *o, int argc, char **argv, struct error *err);
void options_done(struct options *o);
