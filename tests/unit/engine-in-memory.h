/*
 * For tests that drive the whole engine against the drivers in memory: the engine in a state
 * directory of its own, and the few steps of a user.
 */
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "engine.h"
#include "fake_drivers.h"
#include "tap.h"

static char directory[] = "/tmp/retlfs-test-XXXXXX";
static struct engine *engine;
static struct caller me = {.uid = 0, .gid = 0, .pid = 1};
static struct error last_error; /* why the last verb was refused */

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

static inline void
reopen_engine(void)
{
    engine_close(engine);
    open_engine();
}

static int
put(node_id parent, const char *name, const char *text)
{
    struct node node;
    struct complaint complaint = {0};
    if (tree_lookup(engine, parent, name, &node) < 0)
        tree_make(engine, parent, name, NODE_FILE, 0644, NULL, &me, &node);
    int rc = doc_commit(engine, parent, name, node.id, str_of(text), &me, &complaint);
    if (rc < 0)
        printf("# %s refused: %s\n", name, complaint.text);
    return rc;
}

/* The model m's table t to the object of f; identifier as in JSON, or NULL; more: other members
 * of config.json, with a comma before each. */
static inline int
configure(node_id sync, const char *identifier, const char *object, const char *more)
{
    AUTO_BUF struct buf config = BUF_INIT(4096);
    buf_addf(&config,
             "{\"source\": {\"connection\": \"m\", \"table\": \"t\"},"
             " \"destination\": {\"connection\": \"f\", \"object\": \"%s\"}%s%s%s}",
             object, identifier ? ", \"identifier\": " : "", identifier ? identifier : "",
             more);
    return put(sync, "config.json", buf_z(&config));
}

static const char THREE[] = "column,field\nid,id\nname,name\ncity,city\n";

static inline node_id
make_sync(const char *name, const char *identifier, const char *mappings, const char *mode,
          const char *more)
{
    struct node node;
    tree_make(engine, NODE_SYNCS, name, NODE_DIR, 0755, NULL, &me, &node);
    configure(node.id, identifier, "t", more);
    put(node.id, "mappings.csv", mappings);
    put(node.id, "mode", mode);
    return node.id;
}

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t told;
    int result; /* -1: not yet */
};

static void
done(void *arg, int errnum)
{
    struct waiting *w = arg;
    pthread_mutex_lock(&w->lock);
    w->result = errnum;
    pthread_cond_signal(&w->told);
    pthread_mutex_unlock(&w->lock);
}

/* Runs begin by themselves too. */
static bool others_run;

/* The errno of the verb once it has ended. */
static int
trigger(node_id sync, const char *verb)
{
    struct waiting w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, -1};
    struct ticket *ticket = NULL;
    error_clear(&last_error);
    int rc =
        sync_trigger(engine, sync, str_of(verb), false, &me, done, &w, &ticket, &last_error);
    if (rc != -EINPROGRESS)
        return -rc;
    pthread_mutex_lock(&w.lock);
    while (w.result < 0)
        pthread_cond_wait(&w.told, &w.lock);
    pthread_mutex_unlock(&w.lock);
    ticket_drop(ticket);
    /* Who was told may begin again at once: nothing of the run may still hold a table. */
    CHECK(atomic_load(&fake.open) == 0 || atomic_load(&fake.block) || others_run);
    return w.result;
}

static char *
shown(node_id sync, enum sync_text which)
{
    static char text[8192];
    AUTO_BUF struct buf out = BUF_INIT(1 << 20);
    struct timespec changed;
    sync_show(engine, sync, which, &out, &changed);
    snprintf(text, sizeof text, "%s", buf_z(&out));
    return text;
}

static inline bool
shows(node_id sync, enum sync_text which, const char *words)
{
    char *text = shown(sync, which);
    if (strstr(text, words))
        return true;
    printf("# not there: %s\n# in: %s\n", words, text);
    return false;
}

/* Waits for what another thread is about to make of a text. */
static inline bool
comes(node_id sync, enum sync_text which, const char *words)
{
    for (int i = 0; i < 5000 && !strstr(shown(sync, which), words); i++)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    return shows(sync, which, words);
}

/* The run's changes.jsonl (0: the last run). */
static inline char *
sent(node_id sync, uint64_t run)
{
    static char text[65536];
    struct chg *c = NULL;
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf out = BUF_INIT(1 << 20);
    if (run_changes(engine, sync, run ? run : run_last(engine, sync), &c) == 0)
        chg_view_read(c, VIEW_SENT, 0, 1 << 20, &out, &err);
    chg_unref(c);
    snprintf(text, sizeof text, "%s", buf_z(&out));
    return text;
}

static inline size_t
lines(const char *text)
{
    size_t n = 0;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

/* Connections m (the model) and f (the destination). */
static void
begin(void)
{
    if (!mkdtemp(directory)) {
        perror(directory);
        exit(1);
    }
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
