/*
 * Bounded queue of blocks between two threads of a run. The producer waits when it is full, the
 * consumer when it is empty; either side may close it: then puts fail at once, and gets still
 * hand out what was put before unless the consumer closed it.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { QUEUE_DEPTH = 4, QUEUE_BLOCK_BYTES = 256 * 1024 };

/* Rows one after the other, as the two sides agree; recycled through the queue. */
struct block {
    struct buf data;
    size_t rows;
    struct block *next; /* in the free list */
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct block *slots[QUEUE_DEPTH];
    size_t first, n;
    struct block *free;
    bool producer_closed, consumer_closed;
};

void queue_init(struct queue *q);
void queue_done(struct queue *q); /* frees what is still in it; nobody may use it any more */

/* An empty block to fill; NULL when memory is out. */
struct block *queue_blank(struct queue *q);
/* False: the consumer closed; the block was freed. */
bool queue_put(struct queue *q, struct block *b);
/* NULL: nothing more will come. The block goes back by queue_recycle. */
struct block *queue_get(struct queue *q);
/* As queue_get, without waiting; *ended: nothing more will come. */
struct block *queue_try(struct queue *q, bool *ended);
void queue_recycle(struct queue *q, struct block *b);

void queue_close_producer(struct queue *q);
void queue_close_consumer(struct queue *q);
