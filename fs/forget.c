/* Asking the kernel to forget: see forget.h. */
#include "forget.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "inode.h"

/* Several threads, since each drop waits for the look-ups under way in the directory: those
 * that wait together are let in one after the other before the next look-ups are. */
enum { ROWS_MAX = 16384, ROWS_LEFT = 12288, THREADS = 8, NAME_BYTES = 256, STOP_WAIT_S = 2 };

struct forget {
    struct fs *fs;
    struct fuse_session *session;
    pthread_cond_t wake;   /* with fs->table_lock, which guards what follows and the list */
    struct row_links rows; /* a ring: next is the oldest */
    size_t n;
    bool stop;
    unsigned writing, started;
    pthread_t threads[THREADS];
};

struct forget *
forget_create(struct fs *fs, struct fuse_session *session)
{
    struct forget *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->fs = fs;
    f->session = session;
    f->rows.next = f->rows.before = &f->rows;
    pthread_cond_init(&f->wake, NULL);
    return f;
}

static struct inode *
inode_of(struct row_links *links)
{
    return (struct inode *)((char *)links - offsetof(struct inode, row));
}

void
forget_gone(struct inode *i)
{
    struct row_links *l = &i->row;
    if (!l->of)
        return;
    l->before->next = l->next;
    l->next->before = l->before;
    l->of->n--;
    *l = (struct row_links){0};
}

/* The one by which the kernel knows it in its directory. */
static const char *
name_of(const struct place *at)
{
    return at->name ? at->name : at->item->name;
}

void
forget_note(struct forget *f, struct inode *i, uint64_t dir)
{
    const struct place *at = &i->place;
    unsigned flags = at->item ? at->item->flags : 0;
    if (!(flags & ITEM_MANY) && !(at->name && (flags & ITEM_PASSING)))
        return;
    pthread_mutex_lock(&f->fs->table_lock);
    if (!i->row.of) {
        i->row = (struct row_links){f, &f->rows, f->rows.before, dir};
        i->row.before->next = f->rows.before = &i->row;
        if (++f->n > ROWS_MAX)
            pthread_cond_broadcast(&f->wake);
    }
    pthread_mutex_unlock(&f->fs->table_lock);
}

/* Of one that is open the kernel drops no more than the name. */
static void
drop_oldest(struct forget *f)
{
    struct inode *i = inode_of(f->rows.next);
    uint64_t dir = i->row.dir;
    char name[NAME_BYTES];
    size_t n = strnlen(name_of(&i->place), sizeof name);
    memcpy(name, name_of(&i->place), n);
    forget_gone(i);
    f->writing++;
    pthread_mutex_unlock(&f->fs->table_lock);
    fuse_lowlevel_notify_inval_entry(f->session, dir, name, n);
    pthread_mutex_lock(&f->fs->table_lock);
    if (--f->writing == 0 && f->stop)
        pthread_cond_broadcast(&f->wake);
}

static void *
run(void *arg)
{
    struct forget *f = arg;
    pthread_mutex_lock(&f->fs->table_lock);
    while (!f->stop) {
        /* Many at once: each has to wait until nobody looks for anything in its directory. */
        while (f->n <= ROWS_MAX && !f->stop)
            pthread_cond_wait(&f->wake, &f->fs->table_lock);
        while (f->n > ROWS_LEFT && !f->stop)
            drop_oldest(f);
    }
    pthread_mutex_unlock(&f->fs->table_lock);
    return NULL;
}

int
forget_start(struct forget *f)
{
    int r = 0;
    while (r == 0 && f->started < THREADS)
        if ((r = pthread_create(&f->threads[f->started], NULL, run, f)) == 0)
            f->started++;
    return -r;
}

/* The descriptor's number may be another file's once it is unmounted, so that what is about to
 * be written must have come to the kernel; there it may have to wait for a look-up that nobody
 * answers any more, which ends with the mount. */
void
forget_stop(struct forget *f)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_WAIT_S;
    pthread_mutex_lock(&f->fs->table_lock);
    f->stop = true;
    pthread_cond_broadcast(&f->wake);
    while (f->writing && pthread_cond_timedwait(&f->wake, &f->fs->table_lock, &until) == 0) {
    }
    pthread_mutex_unlock(&f->fs->table_lock);
}

struct forget *
forget_free(struct forget *f)
{
    if (!f)
        return NULL;
    while (f->started > 0)
        pthread_join(f->threads[--f->started], NULL);
    pthread_cond_destroy(&f->wake);
    free(f);
    return NULL;
}
