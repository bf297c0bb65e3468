/* Block queue: see queue.h. */
#include "run/queue.h"

#include <stdlib.h>

void
queue_init(struct queue *q)
{
    *q = (struct queue){0};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
}

static void
block_free(struct block *b)
{
    if (b)
        buf_done(&b->data);
    free(b);
}

void
queue_done(struct queue *q)
{
    for (; q->n > 0; q->n--) {
        block_free(q->slots[q->first]);
        q->first = (q->first + 1) % QUEUE_DEPTH;
    }
    for (struct block *b = q->free, *next; b; b = next) {
        next = b->next;
        block_free(b);
    }
    q->free = NULL;
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
}

struct block *
queue_blank(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    struct block *b = q->free;
    if (b)
        q->free = b->next;
    pthread_mutex_unlock(&q->lock);
    if (!b)
        b = calloc(1, sizeof *b);
    return b;
}

bool
queue_put(struct queue *q, struct block *b)
{
    pthread_mutex_lock(&q->lock);
    while (q->n == QUEUE_DEPTH && !q->consumer_closed)
        pthread_cond_wait(&q->changed, &q->lock);
    bool open = !q->consumer_closed && !q->producer_closed;
    if (open) {
        q->slots[(q->first + q->n++) % QUEUE_DEPTH] = b;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    if (!open)
        block_free(b);
    return open;
}

/* The lock is held. */
static struct block *
take(struct queue *q)
{
    if (q->n == 0 || q->consumer_closed)
        return NULL;
    struct block *b = q->slots[q->first];
    q->first = (q->first + 1) % QUEUE_DEPTH;
    q->n--;
    pthread_cond_broadcast(&q->changed);
    return b;
}

struct block *
queue_get(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (q->n == 0 && !q->producer_closed && !q->consumer_closed)
        pthread_cond_wait(&q->changed, &q->lock);
    struct block *b = take(q);
    pthread_mutex_unlock(&q->lock);
    return b;
}

struct block *
queue_try(struct queue *q, bool *ended)
{
    pthread_mutex_lock(&q->lock);
    struct block *b = take(q);
    *ended = !b && (q->producer_closed || q->consumer_closed);
    pthread_mutex_unlock(&q->lock);
    return b;
}

void
queue_recycle(struct queue *q, struct block *b)
{
    if (b->data.cap > 4 * QUEUE_BLOCK_BYTES) { /* held one huge row: give the memory back */
        block_free(b);
        return;
    }
    buf_clear(&b->data);
    b->rows = 0;
    pthread_mutex_lock(&q->lock);
    b->next = q->free;
    q->free = b;
    pthread_mutex_unlock(&q->lock);
}

static void
close_side(struct queue *q, bool *side)
{
    pthread_mutex_lock(&q->lock);
    *side = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void
queue_close_producer(struct queue *q)
{
    close_side(q, &q->producer_closed);
}

void
queue_close_consumer(struct queue *q)
{
    close_side(q, &q->consumer_closed);
}
