/*
 * Carries changes to the destination in a thread of its own: packs them into batches, hands
 * them to the driver, keeps the verdict of every row that was not delivered.
 */
#pragma once

#include "data/chg.h"
#include "driver.h"
#include "run/reader.h"
#include "run/requests.h"
#include "run/verdicts.h"

struct sender_settings {
    const struct driver *driver;
    void *destination; /* opened; the caller closes it after sender_free */
    const char *name;  /* of its connection, for errors */
    const char *uid;   /* the sync's */
    const char *pace;  /* names the account that limits are of */
    enum mode mode;
    bool whole; /* what was delivered before is not trusted to be there still */
    const struct chg_meta *meta;
    uint64_t refused_before; /* rows, by the run before */
    uint64_t due_run;        /* in which the changes became due that do not say it themselves */
    int dirfd;               /* for the verdicts' sorter, and the journal */
    const char *journal;     /* its name, where the destination is one of calls; else NULL */
    const struct redactor *redactor;   /* MAY be NULL */
    struct requests_settings requests; /* of a destination of calls */
    const atomic_bool *cancelled;
    struct progress *progress;
    /* MAY: some of what was added is about to be sent; what is to be known of it afterwards
     * must be written down now. Called by the thread that adds. */
    int (*ahead)(void *arg, struct error *err);
    void *arg;
};

struct sender;

int sender_create(const struct sender_settings *settings, struct sender **ret,
                  struct error *err);
/* Begins a session (again: forgets verdicts so far). */
int sender_begin(struct sender *s, const struct session *session, struct error *err);
/* Queues a change. An error that happened meanwhile in the thread is returned here or by
 * sender_drain; ERR_REPLAY only by sender_drain: until then changes are taken and dropped. */
int sender_add(struct sender *s, const struct entry *e, struct error *err);
/* Waits until everything queued was written. */
int sender_drain(struct sender *s, struct error *err);
/* Rows at the destination that were not offered. */
int sender_survey(struct sender *s, dest_foreign_fn foreign, void *arg, struct error *err);
/* Carries out what was staged; afterwards every verdict is known. */
int sender_apply(struct sender *s, struct error *err);
int sender_commit(struct sender *s, struct error *err);
/* Aborts the session if one is open. */
void sender_abort(struct sender *s);
/* Why a destination of calls was sent no more: the rows that were not are refused, to be tried
 * again. NULL: nothing stopped it. Once drained. */
const struct error *sender_stopped(const struct sender *s);
/* Of the session so far, or of the last one; the sender's. NULL: there was none. */
struct verdicts *sender_verdicts(const struct sender *s);
struct sender *sender_free(struct sender *s); /* aborts what is open; NULL-safe, returns NULL */
