/*
 * Drivers that live in memory (a source "memory", destinations "fake" and, which applies each
 * batch at once, "calls"), so that a test can make the source and the destination do
 * what real ones do only on their worst day: fail half way, break their promise of order, ask
 * for a replay, lose the answer to a commit.
 */
#pragma once

#include <stdatomic.h>

#include "driver.h"

enum { FAKE_ROWS = 2048, FAKE_COLUMNS = 3, FAKE_TEXT = 160 };

/* The model: columns id (text), name (text), city (text). An empty id is NULL. */
struct fake_row {
    char cells[FAKE_COLUMNS][FAKE_TEXT];
};

struct fake_world {
    struct fake_row model[FAKE_ROWS];
    size_t nmodel;
    bool ordered;      /* the source promises key order (and gives rows as they stand) */
    bool guessed;      /* … and may be wrong in it */
    size_t fail_at;    /* the read fails before this row, from 1; 0: never */
    atomic_bool block; /* the read waits until cancelled or unblocked */
    bool bytes;        /* the model's city is of type bytes, no longer text */
    atomic_int open;   /* handles that are open, of both drivers */

    struct fake_row target[FAKE_ROWS]; /* what the destination holds, by field order */
    size_t ntarget;
    char token[128];       /* of the last committed session */
    const char *reject_id; /* rows of this id are refused */
    size_t reject_nth;     /* so is the n-th row of a session, from 1; 0: none */
    bool says_twice;       /* a refusal is told twice */
    bool replay_once;      /* the first dest_apply that is not careful asks for a replay */
    bool lose_commit;      /* dest_commit answers ERR_UNKNOWN … */
    bool commit_happened;  /* … having committed, or not */
    bool lose_peer;        /* … and from then on it is unreachable */
    bool unreachable;      /* dest_open fails */
    atomic_bool hold;      /* "calls" waits in the midst of a batch */
    unsigned inserts, upserts, updates, deletes, begun, commits;
};

extern struct fake_world fake;

/* Forgets everything. */
void fake_clear(void);
void fake_add(const char *id, const char *name, const char *city);
/* The target's row of that id, NULL when there is none. */
const struct fake_row *fake_find(const char *id);
