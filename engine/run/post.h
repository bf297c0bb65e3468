/*
 * The sender's way to a destination of calls: blocks of changes become parcels for a courier,
 * which is driven from the sender's thread.
 */
#pragma once

#include "driver.h"
#include "run/queue.h"
#include "run/sender.h"

struct post_settings {
    const struct sender_settings *sender; /* borrowed */
    struct limits limits;
    /* Unpacks one change at *p into values[0..], as the sender's own way does. */
    bool (*unpack)(const void *arg, const char **p, const char *end, struct value *values,
                   struct change *c, struct due *due);
    const void *arg;
    size_t values_a_change;
    struct verdicts *verdicts;
    struct queue *queue;     /* where blocks come from, and go back to */
    struct journal *journal; /* NULL: none is kept */
};

struct post;

/* 0 or -ENOMEM. */
int post_create(const struct post_settings *settings, struct post **ret, struct error *err);
/* Takes blocks from the queue until it is closed and every row has its verdict. Negative: our
 * own fault. */
int post_run(struct post *p, struct error *err);
/* Any thread, after a block was put: post_run looks for it. */
void post_wake(struct post *p);
/* Any thread: nothing more is to be sent; post_run returns when the calls under way have ended.
 */
void post_abandon(struct post *p);
/* Why it sent no more; NULL: it sent all. */
const struct error *post_stopped(const struct post *p);
struct post *post_free(struct post *p); /* NULL-safe, returns NULL */
