/* Which names mean what in the stored tree: the one table that catalogue and mount share. */
#pragma once

#include <stdbool.h>

#include "define/define.h"

enum place {
    PLACE_PLAIN,       /* any directory without meaning */
    PLACE_SYNCS,       /* syncs/ itself */
    PLACE_SYNC,        /* syncs/NAME */
    PLACE_CONNECTIONS, /* connections/ itself */
    PLACE_DRIVERS,     /* drivers/ itself */
    PLACE_DRIVER,      /* drivers/NAME */
};

/* 0, -EINVAL ("", ".", "..", with a slash) or -ENAMETOOLONG (over 255 bytes). */
int name_check(const char *name);
/* A directory of that name in syncs/ is a sync: [A-Za-z0-9_][A-Za-z0-9._@+-]*, at most 128. */
bool name_is_sync(const char *name);
/* Shown by the engine there, so not to be made, renamed or replaced by users. With the refused
 * texts (NAME.rej), which are stored nodes and may be removed. */
bool name_is_engine_file(enum place place, const char *name);
/* "NAME.rej" of a checked file. */
bool name_is_refused_text(enum place place, const char *name);
/* What kind of file a name is there. */
enum text_kind name_kind(enum place place, const char *name);
