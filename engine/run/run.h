/*
 * One execution of a verb that reads or sends: from the definition to the ledger's last word.
 * Runs on a worker thread; what others may look at meanwhile is atomic or under `lock`.
 */
#pragma once

#include <pthread.h>

#include "run/ledger.h"
#include "run/reader.h"
#include "run/sender.h"

enum verb {
    VERB_RUN,
    VERB_FULL,
    VERB_RETRY,
    VERB_SEND, /* one row */
    VERB_PLAN,
    VERB_APPROVE,
    VERB_BASELINE,
    VERB_COUNT /* those that make a run or a plan */
};
const char *verb_name(enum verb verb);

enum run_phase {
    PHASE_QUEUED,
    PHASE_CONNECTING,
    PHASE_READING, /* and comparing, and sending what can be sent already */
    PHASE_SENDING,
    PHASE_APPLYING,
    PHASE_COMMITTING,
};
const char *run_phase_name(enum run_phase phase);

struct run {
    /* the request */
    struct catalog *catalog;
    int state_fd; /* the state directory */
    const char *name;
    enum verb verb;
    enum verb
        rows; /* what a plan stands for: VERB_RUN, VERB_FULL or VERB_RETRY; else as verb */
    const char *plan_asked; /* approve PLAN, or NULL */
    const char *row_asked;  /* send ID: the file name of the one row */
    struct caller who;
    const char *command;
    size_t sort_memory;
    node_id dir;

    /* seen by others */
    atomic_int phase;
    struct progress progress;
    atomic_bool cancelled;
    usec_t started;
    pthread_mutex_t lock; /* guards the three below against being closed */
    void *cancel_source;  /* what cancel may poke */
    void *cancel_destination;
    struct run *inner; /* that this one is waiting for: it is cancelled with it */

    /* the run's own */
    struct arena arena;
    struct sync_record before;
    struct sync_texts texts;
    char texts_digest[65];
    struct definition *def;
    struct connection *source_connection, *dest_connection;
    struct redactor *redactor; /* of their secrets; NULL: not yet read */
    void *source, *destination;
    struct mapper *mapper;
    struct chg_meta *meta;
    const char *signature;
    const char *place;    /* that the destination's connection points to; NULL: not known */
    const char *why_full; /* NULL: incremental */
    const char *due_full; /* why the next one is full all the same */
    const char *resent;   /* why a record is sent as it was */
    const char *held;     /* why a guard holds it, or NULL */
    bool fresh;           /* the delivered state does not count */
    bool ordered;         /* the source may be asked for key order, then: it gives it */
    bool guessed;         /* …as far as it has looked */
    int dirfd;            /* this sync's directory */
    struct state state;
    struct chg *previous_rejected, *previous_unsent;
    struct run_record record;
    bool numbered; /* it has a number in the ledger */
    int log_fd;

    bool live;       /* the session is meant: what is offered is to be applied */
    bool spools;     /* nothing is sent before the model's end and the guard's word */
    bool survey;     /* the destination is asked for foreign rows */
    bool surveyed;   /* it was */
    bool renumbered; /* foreign rows joined the changes: all is offered again */
    bool promised;   /* what was sent by calls is to be settled, whatever becomes of the run */
    bool session;    /* the sender has begun one */
    bool careful;    /* it is a replay */
    bool rechecks;   /* a plan asks for what it would be now; what was left out of it stays */
    struct sender *sender;
    struct verdicts *verdicts; /* of a run that is settled afterwards; else the sender's */
    const char *cut_short;     /* why, then; in arena */
    const struct diff_counts *counted; /* what it had counted, then; NULL: nobody knows */
    struct refusals *refusals;
    struct chg_writer *writer;
    struct chg *changes; /* what is, or would be, sent */
    uint64_t new_keys;   /* of it: identifiers that were not delivered before */
    uint64_t doubtful;   /* of its deletes: those of what is not in the delivered state */
    bool rekeyed;        /* the delivered state was written anew under other keys */
    struct sorter *foreign;
    uint64_t foreign_rows;
};

/* Carries the verb out. Returns 0, or a positive errno: EIO (failed, or rows were rejected, or
 * held), ECANCELED, ENOEXEC (not ready), ESTALE (plan); *err says why. */
int run_execute(struct run *run, struct error *err);
void run_init(struct run *run);
void run_done(struct run *run);
/* Any thread: asks it to stop. A driver may ask its peer to stop too, and wait for it. */
void run_cancel(struct run *run);
/* `inner`, initialised, is of the same sync, for the same person, and is cancelled with `run`
 * until run_leave. */
void run_enter(struct run *run, struct run *inner);
void run_leave(struct run *run);
/* Opens the sync's directory: run->dirfd. */
int run_open_directory(struct run *run, struct error *err);
/* Opens what the run before could not deliver: run->previous_rejected and previous_unsent. */
int run_open_previous(struct run *run, struct error *err);
/* Counts what run->changes holds into run->record and run->new_keys. */
int run_count_changes(struct run *run, struct error *err);
/* 0, or ERR_CANCELLED once it was asked to stop. */
int run_go_on(const struct run *run, struct error *err);

/* ---- the steps, one file each ---- */

/* prepare.c: definition, connections, mapper, reasons for a full run. */
int run_prepare_definition(struct run *run, struct error *err);
/* The same from run->texts, already there. */
int run_prepare_texts(struct run *run, struct error *err);
/* Whether the delivered state counts, once run->meta and run->signature are known: run->fresh.
 * 1: not, and the signatures say why; 0. */
int run_decide_fresh(struct run *run, struct error *err);
/* fresh: it does not, and nor does what a run before could not deliver. */
void run_set_fresh(struct run *run, bool fresh);
/* Whether it will be written anew, under the keys of another mapping. */
bool run_rekeys(const struct run *run);
int run_open_source(struct run *run, struct error *err);
int run_open_destination(struct run *run, struct error *err);
void run_close_handles(struct run *run);
/* What status can tell before a run, from the definition and its destination's place: "mapping
 * added: address → address; …", or NULL when the next run is incremental. In arena. */
const char *run_why_full(const struct sync_record *before, const struct definition *def,
                         const char *place, struct arena *arena);
/* JSON of what the delivered state hangs on: destination, its place, object, identifier and its
 * fields. */
const char *run_signature(const struct definition *def, const char *place, struct arena *arena);
/* Whether a row that is sent twice is created twice: a record, a member or an event. */
bool run_creates(const struct definition *def);
/* The place a connection points to, in arena; NULL without *err: its driver does not say. */
const char *run_place(const struct connection *connection, struct arena *arena,
                      struct error *err);

/* Whether two signatures may name the same object: not where names or places tell them apart
 * for sure. A server may have two names. */
bool run_same_object(const char *signature, const char *other);
/* "db1/shop → db2/shop" when they name two places, known and different; else NULL. In arena. */
const char *run_other_place(const char *signature, const char *other, struct arena *arena);

/* compare.c: reads the model and writes the changes, sending them on if run->live. */
int run_compare(struct run *run, struct error *err);
/* Counts one change into run->record and run->new_keys. */
void run_count(struct run *run, const struct entry *e);

/* guard.c: NULL, or why the run must be held (in arena). */
const char *run_guard(const struct definition *def, const struct diff_counts *counts,
                      uint64_t deletes, uint64_t foreign, struct arena *arena);

/* deliver.c: brings run->changes to the destination, short of committing. run->held is set when
 * a guard stopped it: then nothing was sent. */
int run_deliver(struct run *run, struct error *err);
int run_begin_session(struct run *run, struct error *err);

/* finish.c: makes rejected rows and the new state durable, commits, ends the run in the ledger.
 */
int run_finish(struct run *run, struct error *err);
/* Before calls are made, none of which can be taken back: writes down that the run has to be
 * settled, from its journal, whatever becomes of it. Again once the model was read to its end.
 */
int run_promise(struct run *run, struct error *err);
/* Keeps run->changes as the plan that pending/ shows. */
int run_keep_plan(struct run *run, struct error *err);

/* A line in the sync's log and, once the run has a number, in its own. */
void run_log(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
void run_set_phase(struct run *run, enum run_phase phase);

/* file names within a sync's directory: "run-12.changes" */
enum { STATE_NAME_MAX = 64 };
void run_file_name(char out[STATE_NAME_MAX], uint64_t number, const char *what);
/* The reverse: the number behind `prefix` ("run-", "state-") in a file's name, and (rest MAY be
 * NULL) what follows it. False: it is no such name. */
bool run_file_number(const char *name, const char *prefix, uint64_t *number, const char **rest);
