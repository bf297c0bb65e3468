/* The workers: a bounded pool that takes jobs in turn and tells the waiters how they ended. */
#include "base/cleanup.h"
#include "base/log.h"
#include "run/engine_private.h"

void
job_free(struct job *job)
{
    if (!job)
        return;
    run_done(&job->run);
    free(job->asked);
    free(job->command);
    free(job->name);
    free(job);
}

void
work_queue(struct engine *e, struct job *job)
{
    job->sync->job = job;
    *e->queue_end = job;
    e->queue_end = &job->next;
    pthread_cond_signal(&e->work);
}

/* Tells every waiter. The lock is held on entry and on return, not during the calls. */
static void
tell_waiters(struct engine *e, struct job *job, int errnum)
{
    struct ticket *t;
    while ((t = job->tickets)) {
        job->tickets = t->next;
        t->job = NULL;
        t->calling = true;
        t->caller = pthread_self();
        pthread_mutex_unlock(&e->lock);
        t->done(t->arg, errnum);
        pthread_mutex_lock(&e->lock);
        t->calling = false;
        pthread_cond_broadcast(&e->calls);
        if (t->dropped)
            free(t);
    }
}

/* What the sync's `error` says afterwards: the failure, or nothing once it went well. */
static void
note_result(struct engine *e, struct job *job, int errnum, const struct error *err)
{
    if (errnum == 0) {
        registry_set_error(e, job->sync->id, NULL, false);
        return;
    }
    AUTO_BUF struct buf text = BUF_INIT(4096);
    buf_addf(&text, "%s: %s\n", verb_name(job->run.verb), err->text);
    registry_set_error(e, job->sync->id, buf_z(&text), false);
    log_info("sync=%s verb=%s errno=%d %s", job->name, verb_name(job->run.verb), errnum,
             err->text);
}

static void
work_on(struct engine *e, struct job *job)
{
    struct error err = ERROR_INIT;
    int errnum = run_execute(&job->run, &err);
    node_id id = job->sync->id;
    note_result(e, job, errnum, &err);
    const struct definition *def = job->run.def;
    struct keep_runs keep = {0};
    if (def)
        keep = (struct keep_runs){def->keep_runs, def->keep_days};
    collect_garbage(e, job->run.before.uid, keep);

    /* Idle, and shown as idle, before anybody is told: the next command must not be EBUSY. And
     * what came of it is shown before that: nobody sees it idle as it was before. */
    registry_refresh(e, id);
    pthread_mutex_lock(&e->lock);
    job->sync->job = NULL; /* from here on the sync may go */
    job->sync->last_result = errnum;
    pthread_mutex_unlock(&e->lock);
    registry_refresh(e, id);
    pthread_mutex_lock(&e->lock);
    tell_waiters(e, job, errnum);
    pthread_mutex_unlock(&e->lock);
    if (job->poked)
        pthread_join(job->canceller, NULL);
    job_free(job);
}

static void *
cancel(void *arg)
{
    run_cancel(arg);
    return NULL;
}

/* The lock must be held. */
static int
poke(struct job *job, struct error *err)
{
    if (job->poked)
        return 0;
    atomic_store(&job->run.cancelled, true);
    int rc = pthread_create(&job->canceller, NULL, cancel, &job->run);
    job->poked = rc == 0;
    return rc ? error_set_errno(err, ERR_INTERNAL, rc, "cannot start a thread") : 0;
}

/* Whether the job waited its turn; it does no more. */
static bool
take_from_queue(struct engine *e, struct job *job)
{
    struct job **at = &e->queue;
    while (*at && *at != job)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = job->next;
    if (!job->next)
        e->queue_end = at;
    return true;
}

int
work_cancel(struct engine *e, struct job *job, struct error *err)
{
    if (!take_from_queue(e, job))
        return poke(job, err);
    atomic_store(&job->run.cancelled, true); /* then it ends before it touches anything */
    pthread_mutex_unlock(&e->lock);
    work_on(e, job);
    pthread_mutex_lock(&e->lock);
    return 0;
}

static void *
worker(void *arg)
{
    struct engine *e = arg;
    pthread_mutex_lock(&e->lock);
    for (;;) {
        struct job *job = e->queue;
        if (job) {
            e->queue = job->next;
            if (!e->queue)
                e->queue_end = &e->queue;
            pthread_mutex_unlock(&e->lock);
            work_on(e, job);
            pthread_mutex_lock(&e->lock);
        } else if (e->stopping) {
            break;
        } else {
            pthread_cond_wait(&e->work, &e->lock);
        }
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

int
work_start(struct engine *e, struct error *err)
{
    e->workers = calloc(e->settings.runs_at_once, sizeof *e->workers);
    if (!e->workers)
        return error_no_memory(err);
    for (; e->nworkers < e->settings.runs_at_once; e->nworkers++) {
        int rc = pthread_create(&e->workers[e->nworkers], NULL, worker, e);
        if (rc != 0)
            return error_set_errno(err, ERR_INTERNAL, rc, "cannot start a worker thread");
    }
    return 0;
}

void
work_stop(struct engine *e)
{
    struct error ignored = ERROR_INIT; /* it will end, only later */
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    for (struct sync *s = e->syncs; s; s = s->next)
        if (s->job)
            poke(s->job, &ignored);
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; i < e->nworkers; i++)
        pthread_join(e->workers[i], NULL);
    free(e->workers);
    e->workers = NULL;
    e->nworkers = 0;
}
