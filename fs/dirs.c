/* Listings: see dirs.h. An offset is the number of names before it. */
#include "dirs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "file.h"
#include "names.h"

enum { BATCH = 64, DOTS = 2 };

struct child {
    char *name;
    struct node node;
};

struct dirs {
    struct fs *fs;
    struct inode *dir;
    pthread_mutex_t lock;
    const struct dir *fixed;
    struct place at;
    /* What is at offset `offset`: filled when `held`. */
    uint64_t offset;
    bool held;
    struct listed item;
    struct buf name;
    /* Where the rest goes on. */
    size_t part;
    unsigned dots;
    VEC(struct child) batch;
    size_t batch_next;
    struct buf last; /* stored name given last */
    bool stored_ended;
    size_t fixed_next;
    struct listing listing;
    struct dirs *next, **link; /* in fs->listings */
};

int
dirs_open(struct fs *fs, struct inode *dir, struct dirs **ret)
{
    const struct dir *fixed = inode_dir(fs, dir);
    struct dirs *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->fs = fs;
    d->dir = dir;
    d->fixed = fixed;
    d->at = inode_place(dir);
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_lock(&fs->table_lock);
    d->next = fs->listings;
    d->link = &fs->listings;
    if (d->next)
        d->next->link = &d->next;
    fs->listings = d;
    pthread_mutex_unlock(&fs->table_lock);
    *ret = d;
    return 0;
}

static void
clear_batch(struct dirs *d)
{
    VEC_EACH (&d->batch, c)
        free(c->name);
    d->batch.n = d->batch_next = 0;
}

static void
rewind_all(struct dirs *d)
{
    clear_batch(d);
    nodes_listing_done(&d->listing);
    buf_done(&d->last);
    d->offset = 0;
    d->held = d->stored_ended = false;
    d->part = d->dots = 0;
    d->fixed_next = 0;
}

struct dirs *
dirs_close(struct dirs *d)
{
    if (!d)
        return NULL;
    pthread_mutex_lock(&d->fs->table_lock);
    *d->link = d->next;
    if (d->next)
        d->next->link = d->link;
    pthread_mutex_unlock(&d->fs->table_lock);
    rewind_all(d);
    VEC_DONE(&d->batch);
    buf_done(&d->name);
    pthread_mutex_destroy(&d->lock);
    free(d);
    return NULL;
}

void
dirs_close_all(struct fs *fs)
{
    while (fs->listings)
        dirs_close(fs->listings);
}

/* ---- the parts of a listing, in order; 1: d->item is filled; 0: this part has ended ---- */

static int
next_dot(struct dirs *d)
{
    if (d->dots == DOTS)
        return 0;
    buf_adds(&d->name, d->dots++ == 0 ? "." : "..");
    d->item.st.st_ino = d->dots == 1 ? d->dir->ino : 1;
    d->item.st.st_mode = S_IFDIR;
    return 1;
}

/* A refused text is the engine's, and not for config/. */
static bool
is_left_out(struct dirs *d, const char *name)
{
    return d->dir->view && file_is_reject(d->fs, d->dir->node, name);
}

static int
collect(void *arg, const char *name, const struct node *n)
{
    struct dirs *d = arg;
    if (is_left_out(d, name))
        return 0;
    struct child c = {.name = strdup(name), .node = *n};
    if (!c.name || !VEC_PUSH(&d->batch, c)) {
        free(c.name);
        return -ENOMEM;
    }
    return d->batch.n == BATCH;
}

static int
next_stored(struct dirs *d)
{
    if (!d->dir->node || d->stored_ended)
        return 0;
    if (d->batch_next == d->batch.n) {
        clear_batch(d);
        int r = tree_list(d->fs->engine, d->dir->node, d->last.n ? buf_z(&d->last) : NULL,
                          collect, d);
        if (r < 0)
            return r;
        if (d->batch.n == 0) {
            d->stored_ended = true;
            return 0;
        }
    }
    struct child *c = &d->batch.p[d->batch_next++];
    buf_adds(&d->name, c->name);
    buf_clear(&d->last);
    buf_adds(&d->last, c->name);
    inode_stat_node(&c->node, &d->item.st);
    if (c->node.kind == NODE_DIR)
        d->item.st.st_ino = inode_node_number(c->node.id, d->dir->view);
    d->item.worth_look_up = true;
    return 1;
}

static int
next_fixed(struct dirs *d)
{
    while (d->fixed && d->fixed_next < d->fixed->n) {
        const struct item *item = &d->fixed->items[d->fixed_next++];
        struct place at = {.item = item, .sync = d->at.sync, .number = d->at.number};
        if (names_is_hidden(d->fs, d->dir, item) || nodes_exists(d->fs->engine, &at) < 0)
            continue;
        buf_adds(&d->name, item->name);
        bool view = d->dir->view || item->node == NODE_CONFIG;
        d->item.st.st_ino =
            item->node ? inode_node_number(item->node, view) : inode_number(&at);
        d->item.st.st_mode = item->kind == ITEM_LINK                               ? S_IFLNK
                             : item->kind == ITEM_DIR || item->kind == ITEM_STORED ? S_IFDIR
                                                                                   : S_IFREG;
        /* A pollable file is known only to those who asked for it: see watch.c. */
        d->item.worth_look_up = item->kind != ITEM_TRIGGER && !(item->flags & ITEM_POLL);
        return 1;
    }
    return 0;
}

static int
next_free(struct dirs *d)
{
    if (!d->fixed || !d->fixed->child)
        return 0;
    int r = d->fixed->next(d->fs->engine, &d->at, &d->listing, &d->name);
    if (r <= 0)
        return r;
    struct place at = {.item = d->fixed->child, .sync = d->at.sync, .name = buf_z(&d->name)};
    d->item.st.st_ino = inode_number(&at);
    d->item.st.st_mode = at.item->kind == ITEM_DIR ? S_IFDIR : S_IFREG;
    return 1;
}

static int
step(struct dirs *d)
{
    static int (*const parts[])(struct dirs *) = {next_dot, next_stored, next_fixed, next_free};
    buf_clear(&d->name);
    d->item = (struct listed){0};
    for (; d->part < sizeof parts / sizeof *parts; d->part++) {
        int r = parts[d->part](d);
        if (r < 0)
            return r;
        if (r > 0)
            return d->name.failed ? -ENOMEM : 1;
    }
    return 0;
}

/* 1: the name at this offset is held; 0: the end. */
static int
seek(struct dirs *d, uint64_t offset)
{
    if (offset < d->offset || offset == 0)
        rewind_all(d);
    while (true) {
        if (!d->held) {
            int r = step(d);
            if (r <= 0)
                return r;
            d->held = true;
            d->item.name = buf_z(&d->name);
            d->item.next = d->offset + 1;
        }
        if (d->offset == offset)
            return 1;
        d->held = false;
        d->offset++;
    }
}

int
dirs_list(struct dirs *d, uint64_t offset, bool (*add)(void *arg, const struct listed *),
          void *arg)
{
    pthread_mutex_lock(&d->lock);
    int r = seek(d, offset);
    while (r > 0 && add(arg, &d->item))
        r = seek(d, ++offset);
    pthread_mutex_unlock(&d->lock);
    return r < 0 ? r : 0;
}
