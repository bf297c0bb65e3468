/* The table of inodes and what stat(2) says of them: see inode.h. */
#include "inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "forget.h"

/* Apart from the stored tree's numbers. */
static const uint64_t PLACE_INO = UINT64_C(1) << 63, VIEW_INO = UINT64_C(1) << 62;
enum { PLAIN_TEXT_MAX = 256 * 1048576, TABLE_MIN = 4096 };

/* ---- identity ---- */

static uint64_t
mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 29;
}

/* Names hold no NUL, so that each gives other words. */
static uint64_t
mix_name(uint64_t h, const char *name)
{
    size_t n = strlen(name);
    for (; n > 0; name += n < 8 ? n : 8, n -= n < 8 ? n : 8) {
        uint64_t word = 0;
        memcpy(&word, name, n < 8 ? n : 8);
        h = mix(h, word);
    }
    return h;
}

/* Made of names, not addresses: the numbers must be the same after a restart. */
uint64_t
inode_number(const struct place *at)
{
    uint64_t h = mix(mix(1, at->sync), at->name ? 0 : at->number);
    h = mix(h,
            at->item->which | (uint64_t)at->item->view << 16 | (uint64_t)at->item->kind << 32);
    h = mix_name(h, at->item->name);
    return (at->name ? mix_name(h, at->name) : h) | PLACE_INO;
}

uint64_t
inode_node_number(node_id id, bool view)
{
    return view ? id | VIEW_INO : id;
}

static bool
same_place(const struct place *a, const struct place *b)
{
    return a->item == b->item && a->sync == b->sync && a->number == b->number &&
           !a->name == !b->name && (!a->name || strcmp(a->name, b->name) == 0);
}

static struct inode **
bucket(struct fs *fs, uint64_t ino)
{
    return &fs->table[mix(0, ino) >> 32 & (fs->table_size - 1)];
}

static void
init_inode(struct inode *i)
{
    pthread_mutex_init(&i->lock, NULL);
    i->text = (struct buf)BUF_INIT(PLAIN_TEXT_MAX);
}

static const struct dir empty;
static const struct item nothing = {"", ITEM_DIR, .dir = &empty};

int
inode_table_init(struct fs *fs)
{
    fs->table = calloc(TABLE_MIN, sizeof *fs->table);
    if (!fs->table)
        return -ENOMEM;
    fs->table_size = TABLE_MIN;
    pthread_mutex_init(&fs->table_lock, NULL);
    pthread_mutex_init(&fs->names, NULL);
    pthread_mutex_init(&fs->polls_lock, NULL);
    init_inode(&fs->root);
    fs->root.place.item = &nodes_root;
    fs->root.ino = 1;
    init_inode(&fs->nobody);
    fs->nobody.place.item = &nothing;
    fs->nobody.ino = inode_number(&fs->nobody.place);
    /* Kept: it knows what rm -r has hidden. */
    struct inode *config = inode_of_node(fs, NODE_CONFIG, true);
    for (size_t i = 0; config && i < nodes_config.n; i++)
        if (nodes_config.items[i].flags & ITEM_UNSEEN)
            config->hidden |= 1u << i;
    return config ? 0 : -ENOMEM;
}

/* As many chains as inodes, so that a million that the kernel has at hand are found as fast as
 * a few. Without memory they grow longer. */
static void
resize_table(struct fs *fs, size_t size)
{
    struct inode **table = calloc(size, sizeof *table), **old = fs->table;
    if (!table)
        return;
    size_t n = fs->table_size;
    fs->table = table;
    fs->table_size = size;
    for (size_t b = 0; b < n; b++) {
        while (old[b]) {
            struct inode *i = old[b], **to = bucket(fs, i->ino);
            old[b] = i->next;
            i->next = *to;
            *to = i;
        }
    }
    free(old);
}

static void
insert_locked(struct fs *fs, struct inode *i)
{
    if (fs->table_used++ >= fs->table_size)
        resize_table(fs, fs->table_size * 2);
    struct inode **to = bucket(fs, i->ino);
    i->next = *to;
    *to = i;
}

static void
remove_locked(struct fs *fs, struct inode *i)
{
    struct inode **at = bucket(fs, i->ino);
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    fs->table_used--;
    if (fs->table_size > TABLE_MIN && fs->table_used < fs->table_size / 8)
        resize_table(fs, fs->table_size / 2);
}

/* An unlinked node goes with the last of its inodes. */
static void
forget_node(struct fs *fs, const struct inode *i)
{
    struct inode *other = inode_find_node(fs, i->node, !i->view);
    if (other)
        inode_forget(fs, other, 1);
    else
        tree_forget(fs->engine, i->node);
}

static void
free_inode(struct fs *fs, struct inode *i)
{
    if (i->node && i->unlinked)
        forget_node(fs, i);
    buf_done(&i->text);
    free((char *)i->place.name);
    pthread_mutex_destroy(&i->lock);
    free(i);
}

void
inode_table_done(struct fs *fs)
{
    for (size_t b = 0; b < fs->table_size; b++) {
        while (fs->table[b]) {
            struct inode *i = fs->table[b];
            fs->table[b] = i->next;
            free_inode(fs, i);
        }
    }
    free(TAKE(fs->table));
    fs->table_size = 0;
    buf_done(&fs->root.text);
}

static struct inode *
find_locked(struct fs *fs, uint64_t ino, node_id node, const struct place *at)
{
    for (struct inode *i = *bucket(fs, ino); i; i = i->next) {
        if (i->ino != ino || !i->hashed)
            continue;
        if (node ? i->node == node : !i->node && same_place(&i->place, at)) {
            i->lookups++;
            return i;
        }
    }
    return NULL;
}

/* Finds or makes; a place that is not `shared` is always made. */
static struct inode *
get(struct fs *fs, uint64_t ino, node_id node, const struct place *at, bool shared)
{
    pthread_mutex_lock(&fs->table_lock);
    struct inode *i = shared ? find_locked(fs, ino, node, at) : NULL;
    char *name = NULL;
    if (!i && !(at && at->name && !(name = strdup(at->name))) &&
        (i = calloc(1, sizeof *i)) != NULL) {
        init_inode(i);
        i->ino = ino;
        i->node = node;
        i->view = node && ino != node;
        i->lookups = 1;
        i->hashed = shared;
        if (at) {
            i->place = *at;
            i->place.name = TAKE(name);
        }
        insert_locked(fs, i);
    }
    pthread_mutex_unlock(&fs->table_lock);
    free(name);
    return i;
}

struct inode *
inode_of_node(struct fs *fs, node_id id, bool view)
{
    return get(fs, inode_node_number(id, view), id, NULL, true);
}

struct inode *
inode_of_place(struct fs *fs, const struct place *at)
{
    return get(fs, inode_number(at), 0, at, at->item->kind != ITEM_TRIGGER);
}

struct inode *
inode_find_node(struct fs *fs, node_id id, bool view)
{
    pthread_mutex_lock(&fs->table_lock);
    struct inode *i = find_locked(fs, inode_node_number(id, view), id, NULL);
    pthread_mutex_unlock(&fs->table_lock);
    return i;
}

bool
inode_is_known(struct fs *fs, const struct place *at)
{
    pthread_mutex_lock(&fs->table_lock);
    struct inode *i = find_locked(fs, inode_number(at), 0, at);
    if (i)
        i->lookups--;
    pthread_mutex_unlock(&fs->table_lock);
    return i != NULL;
}

void
inode_forget(struct fs *fs, struct inode *i, uint64_t lookups)
{
    if (i == &fs->root || i == &fs->nobody)
        return;
    pthread_mutex_lock(&fs->table_lock);
    i->lookups -= lookups < i->lookups ? lookups : i->lookups;
    bool gone = i->lookups == 0;
    if (gone) {
        remove_locked(fs, i);
        forget_gone(i);
    }
    pthread_mutex_unlock(&fs->table_lock);
    if (gone)
        free_inode(fs, i);
}

/* ---- directories ---- */

static enum dir_kind
ask_kind(struct fs *fs, node_id id)
{
    struct node n;
    if (tree_get(fs->engine, id, &n) < 0 || n.kind != NODE_DIR)
        return DIR_PLAIN;
    if (n.parent == NODE_SYNCS && doc_kind(fs->engine, id, "config.json") == TEXT_CONFIG)
        return DIR_SYNC;
    if (n.parent == NODE_DRIVERS &&
        doc_kind(fs->engine, id, "connector.json") == TEXT_CONNECTOR)
        return DIR_DRIVER;
    return DIR_PLAIN;
}

const struct dir *
inode_beside(struct fs *fs, struct inode *dir)
{
    if (dir->node == NODE_CONFIG)
        return &nodes_config;
    if (dir->node == NODE_DRIVERS)
        return &nodes_drivers;
    pthread_mutex_lock(&dir->lock);
    if (dir->dir_kind == DIR_UNASKED)
        dir->dir_kind = ask_kind(fs, dir->node);
    enum dir_kind kind = dir->dir_kind;
    pthread_mutex_unlock(&dir->lock);
    return kind == DIR_SYNC ? &nodes_sync : kind == DIR_DRIVER ? &nodes_driver : NULL;
}

const struct dir *
inode_dir(struct fs *fs, struct inode *i)
{
    if (!i->node)
        return i->place.item->dir;
    return i->view && i->node != NODE_CONFIG ? NULL : inode_beside(fs, i);
}

/* Those built in belong to nobody's directory. */
struct place
inode_place(const struct inode *dir)
{
    if (!dir->node)
        return dir->place;
    return (struct place){.sync = dir->node == NODE_DRIVERS ? 0 : dir->node};
}

/* ---- stat ---- */

static void
set_size(struct stat *st, uint64_t size)
{
    st->st_size = (off_t)size;
    st->st_blocks = (blkcnt_t)((size + 511) / 512);
}

void
inode_stat_node(const struct node *n, struct stat *st)
{
    static const mode_t types[] = {
        [NODE_DIR] = S_IFDIR, [NODE_FILE] = S_IFREG, [NODE_LINK] = S_IFLNK};
    *st = (struct stat){
        .st_ino = n->id,
        .st_mode = types[n->kind] | (n->kind == NODE_LINK ? 0777 : n->mode),
        .st_nlink = 1,
        .st_uid = n->uid,
        .st_gid = n->gid,
        .st_blksize = 4096,
        .st_atim = n->atime,
        .st_mtim = n->mtime,
        .st_ctim = n->ctime,
    };
    set_size(st, n->kind == NODE_DIR ? 0 : n->size);
}

static int
stat_text(struct fs *fs, const struct place *at, struct stat *st)
{
    AUTO_BUF struct buf text = BUF_INIT(NODES_TEXT_MAX);
    struct timespec changed = st->st_mtim;
    int r;
    if (at->item->kind == ITEM_ROWS) {
        struct chg *rows = NULL;
        r = nodes_rows(fs->engine, at, &rows);
        if (r < 0)
            return r;
        set_size(st, rows ? chg_view_size(rows, at->item->view) : 0);
        if (rows)
            chg_unref(rows);
        at->item->show(fs->engine, at, &text, &changed);
    } else {
        r = nodes_text(fs->engine, at, &text, &changed);
        if (r < 0)
            return r;
        set_size(st, text.n);
    }
    st->st_mtim = st->st_ctim = st->st_atim = changed;
    return 0;
}

/* What the engine shows belongs to whom the sync's directory belongs, and is for those to read,
 * or to remove from its directories, who may do so with the directory itself. */
int
inode_stat_place(struct fs *fs, const struct place *at, struct stat *st)
{
    if (at->item->kind == ITEM_STORED) {
        struct node n;
        int r = tree_get(fs->engine, at->item->node, &n);
        if (r == 0)
            inode_stat_node(&n, st);
        return r;
    }
    struct node owner = {.mode = 0755,
                         .uid = fs->uid,
                         .gid = fs->gid,
                         .mtime = fs->started,
                         .ctime = fs->started};
    if (at->sync) {
        int r = tree_get(fs->engine, at->sync, &owner);
        if (r < 0)
            return r;
    }
    *st = (struct stat){
        .st_ino = inode_number(at),
        .st_nlink = 1,
        .st_uid = owner.uid,
        .st_gid = owner.gid,
        .st_blksize = 4096,
        .st_atim = owner.mtime,
        .st_mtim = owner.mtime,
        .st_ctim = owner.ctime,
    };
    switch (at->item->kind) {
    case ITEM_DIR:
        st->st_mode = S_IFDIR | (owner.mode & (at->sync ? 0777 : 0555));
        return 0;
    case ITEM_LINK:
        st->st_mode = S_IFLNK | 0777;
        break;
    case ITEM_TRIGGER: {
        int r = trigger_attributes(fs->engine, at->sync, &owner);
        if (r < 0)
            return r;
        st->st_mode = S_IFREG | owner.mode;
        st->st_uid = owner.uid;
        st->st_gid = owner.gid;
        break;
    }
    default:
        st->st_mode = S_IFREG | (owner.mode & (at->item->store ? 0666 : 0444));
        if (at->item->flags & ITEM_CLOSED)
            st->st_mode &= ~(mode_t)07;
    }
    return stat_text(fs, at, st);
}

int
inode_stat(struct fs *fs, struct inode *i, struct stat *st)
{
    if (!i->node) {
        int r = inode_stat_place(fs, &i->place, st);
        st->st_ino = i->ino;
        if (i == &fs->root)
            st->st_mode |= 0200;
        return r;
    }
    struct node n;
    int r = tree_get(fs->engine, i->node, &n);
    if (r < 0)
        return r;
    inode_stat_node(&n, st);
    st->st_ino = i->ino;
    pthread_mutex_lock(&i->lock);
    if (i->dirty) {
        set_size(st, i->text.n);
        st->st_mtim = st->st_ctim = i->written;
    }
    if (i->unlinked)
        st->st_nlink = 0;
    pthread_mutex_unlock(&i->lock);
    return 0;
}

int
inode_load(struct fs *fs, struct inode *i)
{
    if (i->loaded)
        return 0;
    buf_clear(&i->text);
    int r = tree_read(fs->engine, i->node, &i->text);
    if (r == 0 && i->text.failed)
        r = -ENOMEM;
    i->loaded = r == 0;
    return r;
}
