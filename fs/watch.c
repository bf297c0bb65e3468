/* Waking those who watch: see watch.h. */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "nodes.h"

enum { PAUSE_MS = 100 }; /* between two touches of the same file */

struct watch {
    struct fs *fs;
    char *point;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;  /* on the monotonic clock */
    VEC(node_id) changed;
    bool started, stop;
    pthread_t thread;
    int toucher; /* socket to the child; -1: none */
    pid_t child;
};

struct watch *
watch_create(struct fs *fs, const char *point)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->fs = fs;
    w->toucher = -1;
    w->point = strdup(point);
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    return w->point ? w : watch_free(w);
}

struct watch *
watch_free(struct watch *w)
{
    if (!w)
        return NULL;
    VEC_DONE(&w->changed);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w->point);
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

/* ---- the child: touches what it is told, a path a packet, and says so ---- */

/* Only calls that are safe in the child of a process with threads. */
static void
touch_for_others(int parent)
{
    char path[PATH_MAX];
    prctl(PR_SET_NAME, "retlfs-watch"); /* as ps(1) and killall(1) see it */
    if (parent > 0)
        close_range(0, (unsigned)parent - 1, 0);
    close_range((unsigned)parent + 1, ~0U, 0);
    for (ssize_t n; (n = recv(parent, path, sizeof path - 1, 0)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        path[n] = '\0'; /* a failure is a watcher not woken, no more */
        (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
        if (send(parent, "", 1, MSG_NOSIGNAL) < 0)
            break;
    }
    _exit(0);
}

static int
start_child(struct watch *w)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        touch_for_others(ends[1]);
    int r = pid < 0 ? -errno : 0;
    close(ends[1]);
    if (r < 0) {
        close(ends[0]);
        return r;
    }
    w->toucher = ends[0];
    w->child = pid;
    return 0;
}

static void
end_child(struct watch *w)
{
    if (w->toucher < 0)
        return;
    close(w->toucher);
    w->toucher = -1;
    while (waitpid(w->child, NULL, 0) < 0 && errno == EINTR) {
    }
}

static void
touch(struct watch *w, struct str path)
{
    char done;
    if (path.n < PATH_MAX && send(w->toucher, path.p, path.n, MSG_NOSIGNAL) >= 0)
        while (recv(w->toucher, &done, 1, 0) < 0 && errno == EINTR) {
        }
}

bool
watch_touches(const struct watch *w, pid_t pid)
{
    return pid == w->child;
}

/* ---- what is to be touched ---- */

/* Only what the kernel has at hand can be watched: an idle tree is left alone, and umount(8)
 * does not find it busy by our own doing. */
static void
touch_all(struct watch *w, const struct dir *dir, node_id sync, const char *prefix)
{
    for (size_t i = 0; i < dir->n; i++) {
        const struct place at = {.item = &dir->items[i], .sync = sync};
        if (!(at.item->flags & ITEM_POLL) || !inode_is_known(w->fs, &at))
            continue;
        AUTO_BUF struct buf path = BUF_INIT(BUF_NO_MAX);
        buf_addf(&path, "%s/%s%s", w->point, prefix, at.item->name);
        if (!path.failed)
            touch(w, buf_str(&path));
    }
}

static void
touch_sync(struct watch *w, node_id sync)
{
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    AUTO_BUF struct buf prefix = BUF_INIT(BUF_NO_MAX);
    if (tree_name(w->fs->engine, sync, &name) < 0)
        return;
    buf_addf(&prefix, "syncs/%s/", buf_z(&name));
    if (!name.failed && !prefix.failed)
        touch_all(w, &nodes_sync, sync, buf_z(&prefix));
}

/* The lock is held on entry and on return. */
static void
pause_locked(struct watch *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PAUSE_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!w->stop && pthread_cond_timedwait(&w->wake, &w->lock, &until) == 0) {
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
        touch_all(w, nodes_root.dir, 0, "");
        pthread_mutex_lock(&w->lock);
        pause_locked(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int
watch_start(struct watch *w)
{
    int r = start_child(w);
    if (r < 0)
        return r;
    r = pthread_create(&w->thread, NULL, run, w);
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
    end_child(w);
}
