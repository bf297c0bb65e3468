/*
 * The engine's inside: the registry of syncs, the workers, the waiters. fs/ sees engine.h only.
 *
 * Locks: `engine.lock` guards everything in these structs that is not said to be otherwise; it
 * is never held while the catalogue, a driver or a callback is called. The catalogue has locks
 * of its own, taken after `engine.building`, which makes views replace each other in the order
 * in which they were made. `engine.schedules`, taken before all of these, is held while what
 * the record says of a schedule is read, changed and written, and while runs that have become
 * too old are removed.
 */
#pragma once

#include <pthread.h>

#include "base/vec.h"
#include "catalog/catalog.h"
#include "engine.h"
#include "run/run.h"

/* Which runs runs/ holds; the newest is always kept. */
struct keep_runs {
    uint64_t newest; /* so many; 0: not known, all */
    uint64_t days;   /* that ended since; 0: whenever they did */
};

/* What can be known of a sync without running it; built whole, then swapped in. */
struct sync_view {
    struct arena arena;
    atomic_uint refs;
    const char *name;
    bool ready;
    const char *reasons;              /* why it is not ready, a line each; "" */
    const char *trouble;              /* why its record cannot be read, or NULL */
    const char *notes;                /* a line each; "" */
    const char *first_fault;          /* the first reason as an error sentence */
    const char *mode;                 /* as written; "" */
    const char *source, *destination; /* "shop", "crm contacts"; "" */
    const struct driver *dest_driver; /* a reference; NULL: unknown */
    enum sync_type type;              /* as far as config.json says it */
    const char *why_full;        /* of the next run, as far as can be told; NULL: incremental */
    const char *schedule;        /* as written; "off" */
    bool schedule_new;           /* the record is of another one */
    usec_t next_due, next_start; /* by the schedule; 0: never */
    struct keep_runs keep;
    struct sync_record record;
    struct run_record last; /* number 0: there is none */
    struct timespec changed;
};

struct ticket {
    struct ticket *next;
    struct engine *engine;
    struct job *job;
    verb_done_fn done;
    void *arg;
    bool calling, dropped;
    pthread_t caller; /* the thread that runs `done` */
};

struct job {
    struct job *next; /* in the queue */
    struct sync *sync;
    struct run run;
    char *asked, *command, *name; /* owned: run borrows them */
    struct ticket *tickets;
    bool poked;          /* the thread below was started */
    pthread_t canceller; /* asks the drivers to stop, for they may wait for a network */
};

struct sync {
    struct sync *next;
    node_id id;
    struct sync_view *view;
    struct job *job; /* queued or running; NULL: idle */
    int last_result; /* errnum of the last job, for `wait` */
    char *error;     /* why the last verb failed or was refused; NULL: it went well */
    usec_t error_at;
    bool refused; /* it was refused before it began: an edit may have mended that */
    bool gone;    /* removed while a job still runs */
};

struct engine {
    struct engine_settings settings;
    int state_fd;
    struct catalog *catalog;
    void (*on_change)(void *arg, node_id sync);
    void *on_change_arg;
    struct timespec changed; /* the root's texts */

    pthread_mutex_t schedules;
    pthread_mutex_t building;  /* held while a view is made and put in place */
    pthread_mutex_t rows_lock; /* rows.c */
    struct rows *rows[ROWS_KINDS];

    pthread_mutex_t lock;
    pthread_cond_t work; /* for workers: a job, or stopping */
    pthread_cond_t due;  /* for the scheduler: look now, or end */
    pthread_t scheduler;
    usec_t look_at;    /* when it will look without being told to */
    usec_t collect_at; /* when it looks for old runs again (under schedules) */
    bool scheduling, look_now, unscheduled;
    atomic_bool first_look; /* since the start */
    pthread_cond_t calls;   /* for ticket_drop: a callback returned */
    struct sync *syncs;     /* by name */
    struct job *queue, **queue_end;
    pthread_t *workers;
    size_t nworkers;
    bool stopping;
};

/* registry.c */
int registry_load(struct engine *e, struct error *err);
void registry_free(struct engine *e);
/* Catalogue's callback: a sync, a connection (NODE_CONNECTIONS) or a user's driver
 * (NODE_DRIVERS) changed. */
void registry_changed(void *arg, node_id dir);
bool registry_busy(void *arg, node_id dir);
/* Rebuilds one sync's view; takes the lock itself. */
void registry_refresh(struct engine *e, node_id id);
/* Remembers why a verb failed or was refused, or (NULL) that it went well; also in error_log.
 */
void registry_set_error(struct engine *e, node_id id, const char *text, bool refused);
/* NULL: no such sync. The lock must be held. */
struct sync *registry_find(struct engine *e, node_id id);
/* A reference to the sync's view, NULL when there is no such sync. Takes the lock itself. */
struct sync_view *registry_view(struct engine *e, node_id id);
struct sync_view *sync_view_unref(struct sync_view *v); /* returns NULL */
/* Every sync's id by name; malloc'd. */
size_t registry_list(struct engine *e, node_id **ret);

/* work.c */
int work_start(struct engine *e, struct error *err);
void work_stop(struct engine *e);
/* Queues a job; takes it over. The lock must be held. */
void work_queue(struct engine *e, struct job *job);
void job_free(struct job *job);
/* Stops a job: one that waits its turn ends at once, in this thread. The lock must be held; it
 * is released meanwhile. */
int work_cancel(struct engine *e, struct job *job, struct error *err);

/* verbs.c: the verbs that would work now, as # comments. */
void verbs_help(const struct sync_view *view, bool running, struct buf *out);
/* Starts a run for the scheduler. -ENOEXEC: not ready; -EBUSY. */
int verbs_start_scheduled(struct engine *e, const struct sync_view *view, node_id id,
                          const struct caller *who, struct error *err);

/* drivers.c: why each refused text of users' drivers was refused. */
void drivers_refused(struct engine *e, struct buf *out);

/* metrics.c: every sync's numbers in the text form of Prometheus. */
void metrics_show(struct engine *e, struct buf *out);

/* files.c: opens a change file of a sync; -ENOENT when it is not there. */
int files_open_rows(struct engine *e, const char *uid, const char *name, struct chg **ret);
/* The changes of a run, ready to tell what became of each. -ENOENT. */
int files_run_changes(struct engine *e, const char *uid, const struct run_record *run,
                      struct chg **ret);

/* rows.c: closes what is kept open. */
void rows_forget(struct engine *e);

/* collect.c: removes an idle sync's files that nothing names any more, and runs that need not
 * be kept. */
void collect_garbage(struct engine *e, const char *uid, struct keep_runs keep);
/* Of every sync, idle or not, runs that have become too old. */
void collect_old_runs(struct engine *e);
