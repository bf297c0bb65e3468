/*
 * For tests that drive the whole engine against the drivers in memory: the engine, a clock that
 * the test turns, and the few steps of a user.
 */
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "engine.h"
#include "fake_drivers.h"
#include "run/scheduler.h"
#include "tap.h"

static char directory[] = "/tmp/retlfs-test-XXXXXX";
static struct engine *engine;
static const struct caller me = {.uid = 0, .gid = 0, .pid = 1};
static atomic_int_fast64_t now;

static usec_t
fake_now(void)
{
    return atomic_load(&now);
}

static void
open_engine(void)
{
    struct error err = ERROR_INIT;
    /* one at a time: the drivers in memory share a world */
    const struct engine_settings settings = {.state_dir = directory, .runs_at_once = 1};
    if (engine_open(&settings, &engine, &err) < 0 || engine_start(engine, &err) < 0) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
}

/* The clock goes on, and what is due then is attended to. */
static usec_t
pass(usec_t time)
{
    atomic_fetch_add(&now, time);
    return scheduler_tick(engine);
}

static int
put(node_id parent, const char *name, const char *text)
{
    struct node node;
    struct complaint complaint = {0};
    if (tree_lookup(engine, parent, name, &node) < 0)
        tree_make(engine, parent, name, NODE_FILE, 0644, NULL, &me, &node);
    return doc_commit(engine, parent, name, node.id, str_of(text), &me, &complaint);
}

static void
done(void *arg, int errnum)
{
    atomic_store((atomic_int *)arg, errnum);
}

/* The errno of the verb once it has ended; -1: not within a minute. */
static int
trigger(node_id sync, const char *verb)
{
    atomic_int result = -1;
    struct ticket *ticket = NULL;
    struct error err = ERROR_INIT;
    int rc = sync_trigger(engine, sync, str_of(verb), false, &me, done, &result, &ticket, &err);
    if (rc != -EINPROGRESS)
        return -rc;
    for (int i = 0; i < 60000 && atomic_load(&result) < 0; i++)
        poll(NULL, 0, 1);
    ticket_drop(ticket);
    return atomic_load(&result);
}

/* Connections m (the model) and f (the destination). */
static void
begin(void)
{
    CHECK(mkdtemp(directory));
    clock_replace(fake_now);
    fake_clear();
    open_engine();
    put(NODE_CONNECTIONS, "m.json", "{\"driver\": \"memory\"}");
    put(NODE_CONNECTIONS, "f.json", "{\"driver\": \"fake\"}");
}

static int
end(void)
{
    engine_close(engine);
    struct error err = ERROR_INIT;
    file_remove_tree(AT_FDCWD, directory, &err);
    return tap_done();
}
