/*
 * Listings. The user's names come first (so that rm -r removes them first, see names.h), then
 * the engine's. Nothing is listed ahead into memory: the stored tree is read name by name in
 * small batches, rejected rows with a cursor, so a directory of a million rows costs nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "inode.h"

struct listed {
    const char *name;   /* borrowed */
    struct stat st;     /* st_ino and the type, at least */
    bool worth_look_up; /* attributes may be given along (READDIRPLUS) */
    uint64_t next;      /* offset of the name after it */
};

struct dirs;

int dirs_open(struct fs *fs, struct inode *dir, struct dirs **ret);
/* Gives the names from this offset on (0: the first) to `add`, until it returns false or the
 * end is reached. What was not taken is given again when asked for. `add` must not come back
 * to this listing. */
int dirs_list(struct dirs *d, uint64_t offset, bool (*add)(void *arg, const struct listed *),
              void *arg);
struct dirs *dirs_close(struct dirs *d); /* NULL-safe, returns NULL */
/* At the end of the mount, of those still open: a lazy unmount takes the rest of the requests.
 */
void dirs_close_all(struct fs *fs);
