/*
 * Writes to `trigger`: each is one verb, answered when what it started has ended.
 *
 * A blocked write holds no thread: the request is kept and answered from the engine's callback.
 * A signal never cancels a run. The kernel tells of any signal, also of a child that ended, so
 * the caller's pending signals are looked at, again and again since the kernel tells only once;
 * one that must end the call ends the waiting alone. The run stays with the handle, so that a
 * caller that repeats the write (python and dash do by themselves) joins it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "engine.h"

struct triggers;
struct trigger;

/* How fs/fuse.c is told. Never called with a lock held. */
struct trigger_request_ops {
    /* Answers the write: errnum 0 means all of it was taken. */
    void (*answer)(void *request, int errnum, size_t size);
    /* After it `interrupted` is not called any more with what it was watched with. */
    void (*unwatch)(void *request);
    void (*watch)(void *request, void *arg);
};

struct triggers *triggers_create(struct engine *e, const struct trigger_request_ops *ops);
int triggers_start(struct triggers *t);
/* Answers all that wait with ECANCELED and stops the thread. */
void triggers_stop(struct triggers *t);
struct triggers *triggers_free(struct triggers *t);

struct trigger *trigger_open(struct triggers *t, node_id sync); /* NULL: no memory */
void trigger_close(struct trigger *g);                          /* NULL-safe */
/* tid: the thread that writes. The request is answered, now or later. */
void trigger_write(struct trigger *g, struct str text, bool nowait, const struct caller *who,
                   pid_t tid, void *request);
/* The caller of the request watched with `arg` got a signal. Any thread, any lock. */
void trigger_interrupted(void *arg);
