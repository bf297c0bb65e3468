/* Making the kernel forget: see forget.h. */
#include "forget.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "errand.h"
#include "inode.h"

enum { ROWS_MAX = 16384, ROWS_LEFT = 12288 };

struct forget {
    struct fs *fs;
    pthread_cond_t wake;   /* with fs->table_lock, which guards what follows and the list */
    struct row_links rows; /* a ring: next is the oldest */
    size_t n;
    struct place sent_to; /* one that stands where the child was sent; its name is not kept */
    bool arrived;         /* it lists */
    bool started, stop;
    pthread_t thread;
};

struct forget *
forget_create(struct fs *fs)
{
    struct forget *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->fs = fs;
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

void
forget_note(struct forget *f, struct inode *i)
{
    const struct place *at = &i->place;
    unsigned flags = at->item ? at->item->flags : 0;
    if (!(flags & ITEM_MANY) && !(at->name && (flags & ITEM_PASSING)))
        return;
    pthread_mutex_lock(&f->fs->table_lock);
    if (!i->row.of) {
        i->row = (struct row_links){f, &f->rows, f->rows.before};
        i->row.before->next = f->rows.before = &i->row;
        if (++f->n > ROWS_MAX)
            pthread_cond_signal(&f->wake);
    }
    pthread_mutex_unlock(&f->fs->table_lock);
}

/* ---- the oldest go ---- */

static bool
same_directory(const struct place *a, const struct place *b)
{
    return a->sync == b->sync &&
           (a->name ? a->item == b->item : !b->name && a->number == b->number);
}

/* The oldest, when it is to go and stands where the child was sent. */
static struct inode *
oldest_locked(struct forget *f)
{
    struct inode *i = f->n > ROWS_LEFT && !f->stop ? inode_of(f->rows.next) : NULL;
    return i && same_directory(&i->place, &f->sent_to) ? i : NULL;
}

void
forget_list(struct forget *f, bool (*add)(void *arg, const char *name), void *arg)
{
    pthread_mutex_lock(&f->fs->table_lock);
    f->arrived = true;
    for (struct inode *i; (i = oldest_locked(f)) != NULL; forget_gone(i)) {
        const struct place *at = &i->place;
        if (!add(arg, at->name ? at->name : at->item->name))
            break;
    }
    pthread_mutex_unlock(&f->fs->table_lock);
}

static void
send_child(struct forget *f, const struct place *at)
{
    AUTO_BUF struct buf dir = BUF_INIT(BUF_NO_MAX);
    buf_adds(&dir, "syncs/");
    if (tree_name(f->fs->engine, at->sync, &dir) == 0 && nodes_directory(at, &dir) &&
        !dir.failed)
        errands_list(f->fs->errands, buf_str(&dir));
}

/* Where the child does not arrive (the sync was renamed or is gone meanwhile) the kernel keeps
 * the names until memory is short, and we no longer look after them. */
static void *
run(void *arg)
{
    struct forget *f = arg;
    pthread_mutex_lock(&f->fs->table_lock);
    while (!f->stop) {
        while (f->n <= ROWS_MAX && !f->stop) /* many at once */
            pthread_cond_wait(&f->wake, &f->fs->table_lock);
        while (f->n > ROWS_LEFT && !f->stop) {
            struct place at = inode_of(f->rows.next)->place;
            at.name = at.name ? "" : NULL;
            f->sent_to = at;
            f->arrived = false;
            pthread_mutex_unlock(&f->fs->table_lock);
            send_child(f, &at);
            pthread_mutex_lock(&f->fs->table_lock);
            for (struct inode *i; !f->arrived && (i = oldest_locked(f)) != NULL;)
                forget_gone(i);
        }
    }
    pthread_mutex_unlock(&f->fs->table_lock);
    return NULL;
}

int
forget_start(struct forget *f)
{
    int r = pthread_create(&f->thread, NULL, run, f);
    f->started = r == 0;
    return -r;
}

void
forget_stop(struct forget *f)
{
    pthread_mutex_lock(&f->fs->table_lock);
    f->stop = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->fs->table_lock);
}

struct forget *
forget_free(struct forget *f)
{
    if (!f)
        return NULL;
    if (f->started)
        pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->wake);
    free(f);
    return NULL;
}
