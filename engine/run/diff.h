/*
 * The diff: the model (mapped, in key order) merged with the delivered state (in key order).
 * One pass, memory for two rows. What is done with a change is the caller's.
 */
#pragma once

#include "data/state.h"
#include "run/reader.h"

struct diff_counts {
    uint64_t rows;       /* of the model */
    uint64_t unchanged;  /* in the model and delivered alike */
    uint64_t held_back;  /* differ, but this mode or verb does not send them */
    uint64_t superseded; /* earlier rows of a duplicate identifier under "duplicates": "last" */
    uint64_t gone;       /* delivered, no longer in the model */
    uint64_t delivered;  /* entries of the state */
    uint64_t retried;    /* changes that the run before could not deliver */
    uint64_t refused;    /* rows refused before sending: NULL or duplicate identifier, … */
};

struct diff_settings {
    enum mode mode;
    bool full;            /* send every row */
    bool duplicates_last; /* the last row of a duplicate identifier wins */
    bool present;         /* emit ENTRY_PRESENT for rows that are not sent but hold their key */
    bool doubts;          /* what `rejected` is unsure of may have been applied */
    bool only_rejected;   /* retry: send only identifiers that `rejected` or `unsent` hold */
    const char *only;     /* the file name of the one row to be sent; NULL: there are more */
    bool once;            /* …which was delivered already is not sent a second time */
    struct chg *rejected; /* the rejected file of the run before; NULL: nothing was rejected */
    struct chg *unsent;   /* what it did not come to; NULL: nothing */
    const struct chg_meta *meta;
    const struct state *state;
    struct reader *reader;
    const atomic_bool *cancelled;

    /* A change, in key order; e->seq is its number. */
    int (*emit)(void *arg, const struct entry *e, struct error *err);
    /* A model row that cannot be sent; equal keys possible. e->note is "code\0words". */
    int (*refuse)(void *arg, const struct entry *e, struct error *err);
    void *arg;
};

/* ERR_ORDER when the source broke the order it promised; ERR_CONFIG when the one row cannot be
 * sent, or is not there. */
int diff_run(const struct diff_settings *settings, struct diff_counts *counts,
             struct error *err);
