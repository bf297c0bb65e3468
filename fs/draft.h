/*
 * One edit of a checked file: what a single open handle has written, seen by nobody else until
 * it is whole and good and becomes the file's content at once.
 *
 * The surprising thing is where errors must go. Shells do not look at what close(2) says, so
 * the earliest write that settles the matter has to fail; yet close comes early and often (a
 * shell's dup2 closes before the first byte, children close what they inherited), so it must
 * not be taken for the end.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/buf.h"
#include "engine.h"

struct draft {
    enum text_kind kind; /* of the name when it was opened */
    struct buf text;
    bool whole;     /* began empty: holds nothing of the text that was accepted before */
    bool append;    /* O_APPEND: every write goes to the end of this draft */
    bool in_order;  /* all writes came one after the other: what is there is a beginning */
    bool dirty;     /* changed since the last commit */
    bool refused;   /* the last write was refused */
    bool broken;    /* a piece in the middle was refused: what follows has a hole before it */
    bool written;   /* something was ever written or cut */
    bool mtime_set; /* utimes came before the commit: it holds for the committed text */
    struct timespec mtime;
    uint64_t base; /* version of the accepted text that it was copied from */
    struct caller opener;
    size_t checked;  /* length at the last check by a write */
    uint64_t effort; /* bytes checked by writes in all */
};

/* Where it would be committed now. */
struct draft_place {
    struct engine *engine;
    node_id parent, id;
    const char *name;    /* NULL: unlinked or replaced */
    enum text_kind kind; /* of the name now */
    uint64_t version;    /* of the accepted text */
    struct caller who;
};

/* accepted: the text to start from; p = NULL: start empty. */
int draft_open(struct draft *d, enum text_kind kind, struct str accepted, uint64_t version,
               bool append, const struct caller *opener);
void draft_done(struct draft *d);
/* All of them return 0 or -errno. *committed: the text of the draft is in force now. */
int draft_write(struct draft *d, const struct draft_place *at, uint64_t offset,
                struct str bytes, bool *committed);
int draft_truncate(struct draft *d, const struct draft_place *at, uint64_t size);
/* A close of one of the handle's descriptors by at->who. */
int draft_flush(struct draft *d, const struct draft_place *at, bool *committed);
/* fsync, and the last close: check all and commit if anything changed. */
int draft_commit(struct draft *d, const struct draft_place *at, bool *committed);
