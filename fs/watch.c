/* Waking those who watch: see watch.h. */
#include "watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/vec.h"
#include "errand.h"
#include "nodes.h"

enum { PAUSE_US = 100000 }; /* between two touches of the same file */

struct watch {
    struct fs *fs;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;  /* by clock_monotonic */
    VEC(node_id) changed;
    bool started, stop;
    pthread_t thread;
};

struct watch *
watch_create(struct fs *fs)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->fs = fs;
    pthread_mutex_init(&w->lock, NULL);
    clock_cond_init(&w->wake);
    return w;
}

struct watch *
watch_free(struct watch *w)
{
    if (!w)
        return NULL;
    VEC_DONE(&w->changed);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return NULL;
}

void
watch_note(struct watch *w, node_id sync)
{
    pthread_mutex_lock(&w->lock);
    bool known = w->stop;
    VEC_EACH (&w->changed, id)
        known |= *id == sync;
    if (!known && VEC_PUSH(&w->changed, sync))
        pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* ---- what is to be touched ---- */

/* Only what the kernel has at hand can be watched: an idle tree is left alone, and umount(8)
 * does not find it busy by our own doing. */
static void
touch_all(struct watch *w, const struct dir *dir, node_id sync, struct str path)
{
    AUTO_BUF struct buf names = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < dir->n; i++) {
        const struct place at = {.item = &dir->items[i], .sync = sync};
        if (!(at.item->flags & ITEM_POLL) || !inode_is_known(w->fs, &at))
            continue;
        buf_adds(&names, at.item->name);
        buf_addc(&names, '\0');
    }
    if (names.n > 0 && !names.failed)
        errands_touch(w->fs->errands, path, buf_str(&names));
}

static void
touch_sync(struct watch *w, node_id sync)
{
    AUTO_BUF struct buf path = BUF_INIT(BUF_NO_MAX);
    buf_adds(&path, "syncs/");
    if (tree_name(w->fs->engine, sync, &path) == 0 && !path.failed)
        touch_all(w, &nodes_sync, sync, buf_str(&path));
}

/* The lock is held on entry and on return. */
static void
pause_locked(struct watch *w)
{
    usec_t until = clock_monotonic() + PAUSE_US;
    while (!w->stop && clock_cond_wait(&w->wake, &w->lock, until)) {
    }
}

static void *
run(void *arg)
{
    struct watch *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        if (w->changed.n == 0) {
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        __typeof__(w->changed) changed = w->changed;
        memset(&w->changed, 0, sizeof w->changed);
        /* Without the lock, as with no other: what is touched comes back to us as a request. */
        pthread_mutex_unlock(&w->lock);
        VEC_EACH (&changed, id)
            touch_sync(w, *id);
        VEC_DONE(&changed);
        touch_all(w, nodes_root.dir, 0, STR(""));
        pthread_mutex_lock(&w->lock);
        pause_locked(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int
watch_start(struct watch *w)
{
    int r = pthread_create(&w->thread, NULL, run, w);
    w->started = r == 0;
    return -r;
}

void
watch_stop(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void
watch_join(struct watch *w)
{
    if (w->started)
        pthread_join(w->thread, NULL);
    w->started = false;
}
