/*
 * Asking the server to stop. libpq's way to ask is to connect anew and to wait until the server
 * hangs up, however long that takes; a server that is stuck never does. So a thread of its own
 * asks, and is waited for only for a moment: long enough to be heard where anybody listens.
 */
#include <stdlib.h>
#include <time.h>

#include "postgres/connect.h"

enum { PATIENCE_MS = 1000 };

struct question {
    PGcancel *canceller;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool asked, left; /* one of the two sides is through with it; the other one frees it */
};

static void
free_question(struct question *q)
{
    PQfreeCancel(q->canceller);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static void *
ask(void *arg)
{
    struct question *q = arg;
    char why[256];
    PQcancel(q->canceller, why, sizeof why); /* best effort: our side has stopped already */
    pthread_mutex_lock(&q->lock);
    q->asked = true;
    bool left = q->left;
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
    if (left)
        free_question(q);
    return NULL;
}

static void
wait_a_moment(struct question *q)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    until.tv_nsec += PATIENCE_MS % 1000 * 1000000;
    pthread_mutex_lock(&q->lock);
    int rc = 0;
    while (!q->asked && rc == 0)
        rc = pthread_cond_clockwait(&q->changed, &q->lock, CLOCK_MONOTONIC, &until);
    bool asked = q->asked;
    q->left = true;
    pthread_mutex_unlock(&q->lock);
    if (asked)
        free_question(q);
}

void
pg_ask_to_stop(PGcancel *canceller)
{
    struct question *q = canceller ? calloc(1, sizeof *q) : NULL;
    if (!q) {
        PQfreeCancel(canceller);
        return;
    }
    q->canceller = canceller;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, ask, q) != 0) {
        free_question(q);
        return;
    }
    pthread_detach(thread);
    wait_a_moment(q);
}
