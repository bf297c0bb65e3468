/*
 * What the catalogue remembers of syncs and runs. A run's end and the state that follows from
 * it are one transaction: that is what makes a run happen exactly once in our own books.
 */
#pragma once

#include <jansson.h>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "data/chg.h"
#include "run/diff.h"
#include "run/refusals.h"

enum { UID_LENGTH = 32 };

/* A plan as pending/ shows it; its entries are in plan.chg. */
struct plan_record {
    const char *id;
    usec_t made;
    const char *texts;    /* digest of the three texts it was made from */
    const char *segments; /* the delivered state it was made against, joined by spaces */
    const char *verb;     /* "full" or "retry" when it was made for their rows */
    const char *mode;     /* NULL: not written down */
    const char *why_full; /* NULL: incremental */
    const char *held;     /* the guard's words, or NULL */
    bool fresh;           /* the delivered state did not count: it will be replaced */
    bool rekeyed;         /* plan-rekeyed holds the delivered state under new keys */
    struct diff_counts counts;
    uint64_t inserts, updates, deletes, foreign;
    uint64_t recorded; /* that the sync takes note of, and nothing is sent */
};

enum run_outcome {
    RUN_ACTIVE,
    RUN_SUCCEEDED,
    RUN_PARTIAL, /* some rows were rejected or not sent, or it was cut off; the rest was
                    delivered */
    RUN_FAILED,
    RUN_CANCELLED,
    RUN_HELD,       /* a guard stopped it before anything was sent */
    RUN_UNRESOLVED, /* sent, and whether it was applied is not known yet */
    RUN_OUTCOMES
};
const char *run_outcome_name(enum run_outcome outcome);

/* Sums over all runs of a sync that ended, kept when the runs themselves are forgotten; rows of
 * those that came to their end only. */
struct sync_totals {
    uint64_t runs[RUN_OUTCOMES];
    uint64_t inserts, updates, deletes, foreign; /* offered to the destination */
    uint64_t delivered, rejected, not_sent, dropped, unchanged, held_back, retried, recorded;
};

/* How far a sync's schedule was followed: see scheduler.h. Stored beside the rest of the
 * record, so that a run that ends does not undo what the scheduler wrote meanwhile. */
struct schedule_record {
    const char *text;   /* the schedule this is about; NULL: none yet */
    usec_t since;       /* what was due up to then is settled */
    uint64_t asked_run; /* the number that the run asked for last gets when it begins */
    uint64_t skipped;   /* runs that were due while one was going on */
    bool paused;
};

/* A sync between runs. Everything in its arena. */
struct sync_record {
    struct arena arena;
    char uid[UID_LENGTH + 1];
    const char
        *signature; /* JSON of what the state hangs on; NULL: nothing was delivered yet */
    const char **segments;
    size_t nsegments;
    struct chg_meta *meta; /* the mapping the state was made with; NULL: none */
    const char *due_full;  /* why the next run is full though the state counts; NULL */
    const char *reset;     /* why the next run is full although a state exists; NULL */
    uint64_t last_run;     /* number of the newest run, 0: none */
    uint64_t last_done;    /* the newest that ended without failing */
    usec_t last_ok;
    uint64_t live_rows;    /* records in the delivered state */
    int64_t model_rows;    /* of the model at the last run that read it; -1 unknown */
    uint64_t rejected_run; /* whose rejected file is the current one; 0: none */
    uint64_t rejected_rows;
    uint64_t unsent_run; /* whose file says which rows it did not come to; 0: there are none */
    struct plan_record *plan;        /* NULL: none */
    struct schedule_record schedule; /* written by ledger_store_schedule alone */
    struct sync_totals totals;
};

struct run_record {
    uint64_t number;
    const char *verb;
    const char *mode;
    const char *token;
    enum run_outcome outcome;
    usec_t started, ended;
    const char *why_full; /* NULL: incremental */
    struct diff_counts counts;
    uint64_t inserts, updates, deletes, foreign; /* offered to the destination */
    uint64_t recorded; /* of the model, and not offered: see ENTRY_RECORDED */
    uint64_t delivered, rejected, dropped;
    uint64_t not_sent;     /* since it stopped: error says why */
    bool cut;              /* it ended before the model was read to its end, but had sent */
    uint64_t left_out;     /* of the plan that was approved, by hand */
    const char *error;     /* or NULL */
    const char *plan;      /* id, for approve and held */
    const char *plan_verb; /* what an approved plan stood for: "run", "full" or "retry" */
    struct caller who;
    const char *command; /* of the caller */
};

/* Fills *ret (initialised by the callee; sync_record_done frees). -ENOENT: no such sync;
 * -EUCLEAN: what is written is damaged, *ret says no more than uid and last_run. */
int ledger_load_sync(struct catalog *c, node_id dir, struct sync_record *ret,
                     struct error *err);
int ledger_load_uid(struct catalog *c, const char *uid, struct sync_record *ret,
                    struct error *err);
void sync_record_done(struct sync_record *r);

/* Writes the run as active, with the texts it works from. */
int ledger_begin_run(struct catalog *c, const char *uid, const struct run_record *run,
                     const struct sync_texts *texts, struct error *err);
/* Remembers, before the destination is asked to commit, what will be true afterwards. */
int ledger_prepare_commit(struct catalog *c, const char *uid, const struct run_record *run,
                          const struct sync_record *after, struct error *err);
/* Ends the run and adds it to the sync's totals; after: the sync's new record, or NULL when
 * nothing else of it changes. */
int ledger_end_run(struct catalog *c, const char *uid, const struct run_record *run,
                   const struct sync_record *after, struct error *err);
/* The sync's record alone (reset, plans). */
int ledger_store_sync(struct catalog *c, const struct sync_record *record, struct error *err);
int ledger_store_schedule(struct catalog *c, const char *uid, const struct schedule_record *r,
                          struct error *err);

/* Ends as failed what a daemon that died left active. What was about to commit stays unresolved
 * until its destination was asked. Damage to one sync's records stops no other sync. */
int ledger_recover(struct catalog *c, struct error *err);
/* Ends as failed what this daemon could not: a full disk takes no end of a run either. */
int ledger_close_books(struct catalog *c, const char *uid, struct error *err);
/* Ends an unresolved run once its fate is known. */
int ledger_settle(struct catalog *c, const char *uid, uint64_t number, bool committed,
                  struct error *err);
/* Ends the sync's unresolved run, if there is one, as failed: its outcome matters no more. */
int ledger_drop_unresolved(struct catalog *c, const char *uid, struct error *err);
/* The unresolved run of a sync: number, token, and the signature of what it sent to (MAY be
 * NULL); 0: none. */
int ledger_unresolved(struct catalog *c, const char *uid, uint64_t *number, struct buf *token,
                      struct buf *signature, struct error *err);

/* summary.json of a run, pretty-printed. -ENOENT. */
int ledger_run_summary(struct catalog *c, const char *uid, uint64_t number, struct buf *out,
                       usec_t *changed);
/* Which of the three texts: "config", "mappings", "mode". */
int ledger_run_text(struct catalog *c, const char *uid, uint64_t number, const char *which,
                    struct buf *out);
/* The run of that number (0: the newest), read back into *ret (strings in arena). -ENOENT. */
int ledger_load_run(struct catalog *c, const char *uid, uint64_t number, struct arena *arena,
                    struct run_record *ret);
size_t ledger_list_runs(struct catalog *c, const char *uid, uint64_t after, uint64_t *numbers,
                        size_t max);
/* The number of the oldest run that is not known to have ended before `when`; 0: there is none.
 */
int ledger_first_since(struct catalog *c, const char *uid, usec_t when, uint64_t *number,
                       struct error *err);
/* Forgets runs up to and including `number`. */
int ledger_forget_runs(struct catalog *c, const char *uid, uint64_t number, struct error *err);
