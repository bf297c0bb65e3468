/* Deferred writes to `trigger`: see trigger.h. */
#include "trigger.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "process.h"

enum { LOOK_AGAIN_US = 200000, VERB_MAX = 4096 };

struct trigger {
    struct triggers *all;
    struct trigger *next; /* in all->open */
    node_id sync;
    /* Under all->lock: */
    struct buf text;       /* the verb that takes time, as it was written */
    struct ticket *ticket; /* of it */
    bool busy;             /* a write is being handed to the engine */
    bool running;          /* begun, its end not told yet */
    bool ended;            /* its end was told, but to no caller yet */
    int result;
    void *request; /* the write that waits; NULL: none does */
    size_t size;
    pid_t tid;
    bool interrupted;
};

struct triggers {
    struct engine *engine;
    const struct trigger_request_ops *ops;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* somebody was interrupted, or stop; by clock_monotonic */
    struct trigger *open;
    pthread_t thread;
    bool started, stop;
};

struct triggers *
triggers_create(struct engine *e, const struct trigger_request_ops *ops)
{
    struct triggers *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->engine = e;
    t->ops = ops;
    pthread_mutex_init(&t->lock, NULL);
    clock_cond_init(&t->wake);
    return t;
}

struct triggers *
triggers_free(struct triggers *t)
{
    if (!t)
        return NULL;
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
    return NULL;
}

/* The waiting request becomes the caller's, to be answered without the lock. */
static void *
take_request(struct trigger *g)
{
    void *request = g->request;
    g->request = NULL;
    g->interrupted = false;
    return request;
}

static void
answer(struct triggers *t, void *request, int errnum, size_t size)
{
    t->ops->unwatch(request);
    t->ops->answer(request, errnum, size);
}

/* ---- the thread that looks after interrupted callers ---- */

static struct trigger *
find_interrupted(struct triggers *t, bool *any)
{
    *any = false;
    for (struct trigger *g = t->open; g; g = g->next) {
        if (!g->request || !g->interrupted)
            continue;
        *any = true;
        if (process_is_signalled(g->tid))
            return g;
    }
    return NULL;
}

static void
sleep_until_woken(struct triggers *t, bool look_again)
{
    if (look_again)
        clock_cond_wait(&t->wake, &t->lock, clock_monotonic() + LOOK_AGAIN_US);
    else
        pthread_cond_wait(&t->wake, &t->lock);
}

static void *
look_after(void *arg)
{
    struct triggers *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        bool any;
        struct trigger *g = find_interrupted(t, &any);
        if (!g) {
            sleep_until_woken(t, any);
            continue;
        }
        void *request = take_request(g);
        size_t size = g->size;
        pthread_mutex_unlock(&t->lock);
        answer(t, request, EINTR, size);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

void
trigger_interrupted(void *arg)
{
    struct trigger *g = arg;
    pthread_mutex_lock(&g->all->lock);
    g->interrupted = true;
    pthread_cond_signal(&g->all->wake);
    pthread_mutex_unlock(&g->all->lock);
}

int
triggers_start(struct triggers *t)
{
    int r = pthread_create(&t->thread, NULL, look_after, t);
    t->started = r == 0;
    return -r;
}

void
triggers_stop(struct triggers *t)
{
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->wake);
    struct trigger *g = t->open;
    while (g) {
        if (!g->request) {
            g = g->next;
            continue;
        }
        void *request = take_request(g);
        size_t size = g->size;
        pthread_mutex_unlock(&t->lock);
        answer(t, request, ECANCELED, size);
        pthread_mutex_lock(&t->lock);
        g = t->open; /* the list may have changed */
    }
    pthread_mutex_unlock(&t->lock);
    if (t->started)
        pthread_join(t->thread, NULL);
    t->started = false;
}

/* ---- handles ---- */

struct trigger *
trigger_open(struct triggers *t, node_id sync)
{
    struct trigger *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->all = t;
    g->sync = sync;
    g->text = (struct buf)BUF_INIT(VERB_MAX + 1);
    pthread_mutex_lock(&t->lock);
    g->next = t->open;
    t->open = g;
    pthread_mutex_unlock(&t->lock);
    return g;
}

void
trigger_close(struct trigger *g)
{
    if (!g)
        return;
    pthread_mutex_lock(&g->all->lock);
    struct trigger **at = &g->all->open;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    pthread_mutex_unlock(&g->all->lock);
    if (g->ticket)
        ticket_drop(g->ticket);
    buf_done(&g->text);
    free(g);
}

/* ---- writes ---- */

/* The engine's word that the verb has ended. It may come before sync_trigger has returned. */
static void
done(void *arg, int errnum)
{
    struct trigger *g = arg;
    struct triggers *t = g->all;
    pthread_mutex_lock(&t->lock);
    g->running = false;
    g->ended = true;
    g->result = errnum;
    void *request = g->busy ? NULL : take_request(g);
    size_t size = g->size;
    if (request)
        g->ended = false;
    pthread_mutex_unlock(&t->lock);
    if (request)
        answer(t, request, errnum, size);
}

/* Under the lock. -1: the request waits; else its answer. */
static int
wait_for(struct trigger *g, void *request, size_t size, pid_t tid)
{
    if (g->all->stop)
        return ECANCELED;
    g->request = request;
    g->size = size;
    g->tid = tid;
    if (g->interrupted)
        pthread_cond_signal(&g->all->wake);
    return -1;
}

/* The write repeats the verb that goes on, or whose end its caller has not heard. */
static bool
repeats(const struct trigger *g, struct str text)
{
    return (g->running || g->ended) && str_equal(buf_str(&g->text), text);
}

static int
join(struct trigger *g, void *request, size_t size, pid_t tid)
{
    if (!g->ended)
        return wait_for(g, request, size, tid);
    g->ended = false;
    return g->result;
}

/* Gives the verb to the engine; the answer, or -1: the request waits. */
static int
begin(struct trigger *g, struct str text, bool nowait, const struct caller *who, pid_t tid,
      void *request)
{
    struct triggers *t = g->all;
    struct ticket *ticket = NULL;
    struct error err = ERROR_INIT;
    pthread_mutex_lock(&t->lock);
    g->running = true;
    g->ended = false;
    buf_clear(&g->text);
    buf_add(&g->text, text.p, text.n);
    pthread_mutex_unlock(&t->lock);
    int r = sync_trigger(t->engine, g->sync, text, nowait, who, done, g, &ticket, &err);
    pthread_mutex_lock(&t->lock);
    g->busy = false;
    int now = -r;
    if (r != -EINPROGRESS) {
        g->running = false;
    } else {
        g->ticket = ticket;
        now = g->ended ? g->result : wait_for(g, request, text.n, tid);
        g->ended = false;
    }
    pthread_mutex_unlock(&t->lock);
    return now;
}

void
trigger_write(struct trigger *g, struct str text, bool nowait, const struct caller *who,
              pid_t tid, void *request)
{
    struct triggers *t = g->all;
    pthread_mutex_lock(&t->lock);
    bool taken = g->busy || g->request; /* by another thread, on this descriptor */
    if (!taken)
        g->interrupted = false;
    pthread_mutex_unlock(&t->lock);
    if (taken || text.n > VERB_MAX) {
        t->ops->answer(request, taken ? EBUSY : EINVAL, text.n);
        return;
    }
    /* Before anybody can see the request: from here on a signal is marked. */
    t->ops->watch(request, g);
    pthread_mutex_lock(&t->lock);
    int errnum = EBUSY;
    struct ticket *old = NULL;
    bool fresh = false;
    if (g->busy || g->request) {
        errnum = EBUSY;
    } else if (repeats(g, text)) {
        errnum = join(g, request, text.n, tid);
    } else {
        old = TAKE(g->ticket);
        fresh = g->busy = true;
    }
    pthread_mutex_unlock(&t->lock);
    if (fresh) {
        if (old)
            ticket_drop(old); /* `done` of the verb before is not called after this */
        errnum = begin(g, text, nowait, who, tid, request);
    }
    if (errnum >= 0)
        answer(t, request, errnum, text.n);
}
