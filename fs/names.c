/* Look-ups and changes of names: see names.h. */
#include "names.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "file.h"

enum { NAME_BYTES_MAX = 255 };
static const double KEPT = 1.0, NOT_KEPT = 0.0;

node_id
names_stored_dir(const struct inode *dir)
{
    return dir->node;
}

/* Of one of the names beside the user's files; 0: it is none of those that rm -r hides. */
static unsigned
bit_of(struct fs *fs, struct inode *dir, const struct item *item)
{
    const struct dir *d = dir->node ? inode_beside(fs, dir) : NULL;
    bool fixed = d && d != &nodes_drivers && item >= d->items && item < d->items + d->n;
    return fixed ? 1u << (item - d->items) : 0;
}

static bool has_user_files(struct fs *fs, node_id dir);

bool
names_is_hidden(struct fs *fs, struct inode *dir, const struct item *item)
{
    unsigned bit = bit_of(fs, dir, item);
    pthread_mutex_lock(&dir->lock);
    bool hidden = dir->hidden & bit;
    pthread_mutex_unlock(&dir->lock);
    return hidden && !(item->node && has_user_files(fs, item->node));
}

static void
set_hidden(struct fs *fs, struct inode *dir, const struct item *item)
{
    unsigned bit = bit_of(fs, dir, item);
    pthread_mutex_lock(&dir->lock);
    dir->hidden |= bit;
    pthread_mutex_unlock(&dir->lock);
}

/* Changes every inode of a node; false: there is none. */
static bool
with_inodes(struct fs *fs, node_id id, void (*change)(struct inode *i))
{
    bool any = false;
    for (int view = 0; view < 2; view++) {
        struct inode *i = inode_find_node(fs, id, view);
        if (!i)
            continue;
        any = true;
        pthread_mutex_lock(&i->lock);
        change(i);
        pthread_mutex_unlock(&i->lock);
        inode_forget(fs, i, 1);
    }
    return any;
}

static void
show_again(struct inode *i)
{
    i->hidden = 0;
}

/* The directory stays: so does what the engine shows in it, by whichever path it was reached.
 */
static void
show_all(struct fs *fs, node_id dir)
{
    if (dir != NODE_CONFIG)
        with_inodes(fs, dir, show_again);
}

/* The engine's item of that name in this stored directory, whether it is seen here or not. */
static const struct item *
taken(struct fs *fs, struct inode *dir, const char *name)
{
    const struct dir *d = inode_beside(fs, dir);
    const struct item *item = d ? nodes_fixed(d, name) : NULL;
    const struct place at = inode_place(dir);
    uint64_t number;
    bool child = !item && d && d->child && d->find(fs->engine, &at, name, &number) == 0;
    return child ? d->child : item;
}

/* What config/ does not show of a directory, though other paths do. */
static bool
is_unseen(struct fs *fs, struct inode *dir, const char *name)
{
    return dir->view && (file_is_reject(fs, dir->node, name) ||
                         (dir->node != NODE_CONFIG && taken(fs, dir, name)));
}

/* What the engine puts in and takes away by itself must not be remembered by the kernel. */
static bool
is_settled(struct fs *fs, node_id parent, const char *name)
{
    return doc_kind(fs->engine, parent, name) == TEXT_PLAIN &&
           !file_is_reject(fs, parent, name);
}

/* A name is asked for each time it is used, with what stat says; and a "no" is not believed of
 * what the kernel has kept. */
static double
place_stat_timeout(const struct item *item)
{
    return item->flags & ITEM_STEADY ? KEPT : NOT_KEPT;
}

double
names_stat_timeout(struct fs *fs, struct inode *i)
{
    struct node n;
    if (!i->node)
        return place_stat_timeout(i->place.item);
    if (tree_get(fs->engine, i->node, &n) < 0 || n.kind == NODE_DIR)
        return NOT_KEPT;
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    bool kept = tree_name(fs->engine, i->node, &name) == 0 && !name.failed &&
                is_settled(fs, n.parent, buf_z(&name));
    return kept ? KEPT : NOT_KEPT;
}

/* ---- look-up ---- */

/* Names are not for the kernel to remember: what goes by one of two paths is gone at both. */
static int
found_node(struct fs *fs, struct inode *dir, const char *name, const struct node *n,
           struct found *ret)
{
    bool is_dir = n->kind == NODE_DIR;
    bool view = is_dir && (dir->view || n->id == NODE_CONFIG);
    ret->inode = inode_of_node(fs, n->id, view);
    if (!ret->inode)
        return -ENOMEM;
    ret->name_timeout = NOT_KEPT;
    ret->stat_timeout = !is_dir && is_settled(fs, n->parent, name) ? KEPT : NOT_KEPT;
    int r = inode_stat(fs, ret->inode, &ret->st);
    if (r < 0)
        inode_forget(fs, ret->inode, 1);
    return r;
}

static int
found_place(struct fs *fs, struct inode *dir, const struct place *at, struct found *ret)
{
    if (at->item->kind == ITEM_STORED) {
        struct node n;
        int r = tree_get(fs->engine, at->item->node, &n);
        if (r == 0)
            r = found_node(fs, dir, at->item->name, &n, ret);
        ret->name_timeout = KEPT;
        return r;
    }
    int r = inode_stat_place(fs, at, &ret->st);
    if (r < 0)
        return r;
    ret->inode = inode_of_place(fs, at);
    if (!ret->inode)
        return -ENOMEM;
    bool kept = at->item->kind != ITEM_TRIGGER && !(at->item->flags & ITEM_PASSING);
    ret->name_timeout = kept ? KEPT : NOT_KEPT;
    ret->stat_timeout = place_stat_timeout(at->item);
    return 0;
}

/* A file whose writer was told that its text is refused: nobody finds it any more. True when it
 * is gone, also by the hand of a close(2) that came between. */
static bool
abandon_doomed(struct fs *fs, node_id id)
{
    struct inode *i = inode_find_node(fs, id, false);
    if (!i)
        return false;
    pthread_mutex_lock(&i->lock);
    bool doomed = i->doomed, gone = doomed || i->unlinked;
    pthread_mutex_unlock(&i->lock);
    if (doomed)
        file_abandon(fs, i);
    inode_forget(fs, i, 1);
    return gone;
}

static int
lookup_stored(struct fs *fs, node_id dir, const char *name, struct node *ret)
{
    int r = tree_lookup(fs->engine, dir, name, ret);
    if (r == 0 && ret->kind == NODE_FILE && abandon_doomed(fs, ret->id))
        r = tree_lookup(fs->engine, dir, name, ret);
    return r;
}

int
names_lookup(struct fs *fs, struct inode *dir, const char *name, struct found *ret)
{
    if (strlen(name) > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    const struct dir *d = inode_dir(fs, dir);
    if (!dir->node) {
        if (!d)
            return -ENOTDIR;
        struct place at;
        int r = nodes_find(fs->engine, d, &dir->place, name, &at);
        return r < 0 ? r : found_place(fs, dir, &at, ret);
    }
    if (is_unseen(fs, dir, name))
        return -ENOENT;
    struct place at, here = inode_place(dir);
    int found = d ? nodes_find(fs->engine, d, &here, name, &at) : -ENOENT;
    if (found == 0 && names_is_hidden(fs, dir, at.item))
        return -ENOENT;
    if (d && (found == 0 || nodes_fixed(d, name)))
        return found < 0 ? found : found_place(fs, dir, &at, ret);
    struct node n;
    int r = lookup_stored(fs, dir->node, name, &n);
    return r < 0 ? r : found_node(fs, dir, name, &n, ret);
}

/* ---- making ---- */

/* config/syncs and config/connections cannot go, so that they come back is all there is to it.
 */
static int
make_top(struct fs *fs, struct inode *dir, const struct item *item, struct found *ret)
{
    if (!names_is_hidden(fs, dir, item))
        return -EEXIST;
    struct place at = {.item = item};
    unsigned bit = bit_of(fs, dir, item);
    pthread_mutex_lock(&dir->lock);
    dir->hidden &= ~bit;
    pthread_mutex_unlock(&dir->lock);
    return found_place(fs, dir, &at, ret);
}

int
names_make(struct fs *fs, struct inode *dir, const char *name, enum node_kind kind, mode_t mode,
           const char *link, const struct caller *who, struct found *ret)
{
    if (strlen(name) > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    const struct item *item = dir->node ? taken(fs, dir, name) : NULL;
    if (item && item->node && kind == NODE_DIR)
        return make_top(fs, dir, item, ret);
    if (!dir->node || item || file_is_reject(fs, dir->node, name))
        return -EPERM;
    if (kind != NODE_FILE && doc_kind(fs->engine, dir->node, name) != TEXT_PLAIN)
        return -EPERM;
    pthread_mutex_lock(&fs->names);
    struct node n;
    int r = tree_make(fs->engine, dir->node, name, kind, mode & 07777, link, who, &n);
    pthread_mutex_unlock(&fs->names);
    if (r < 0)
        return r;
    show_all(fs, dir->node);
    return found_node(fs, dir, name, &n, ret);
}

/* ---- removing ---- */

struct search {
    struct fs *fs;
    node_id dir;
    bool found;
};

static int
is_users(void *arg, const char *name, const struct node *n)
{
    struct search *s = arg;
    s->found = !file_is_reject(s->fs, s->dir, name);
    return s->found;
}

static bool
has_user_files(struct fs *fs, node_id dir)
{
    struct search s = {.fs = fs, .dir = dir};
    int r = tree_list(fs->engine, dir, NULL, is_users, &s);
    return s.found || r < 0;
}

/* Removal of an engine's name. */
static int
hide(struct fs *fs, struct inode *dir, const struct item *item)
{
    if (item && item->node && has_user_files(fs, item->node))
        return -ENOTEMPTY;
    if (item && item->node) {
        set_hidden(fs, dir, item);
        return 0;
    }
    node_id sync = inode_place(dir).sync;
    if (!sync || has_user_files(fs, sync))
        return -EPERM;
    if (!dir->node || !item)
        return 0; /* within pending/ and the like: the directory goes as a whole */
    set_hidden(fs, dir, item);
    return 0;
}

static void
set_unlinked(struct inode *i)
{
    i->unlinked = true;
}

/* The node has lost its name; it lives on for those who have it open. */
static void
lost_name(struct fs *fs, node_id id)
{
    if (!with_inodes(fs, id, set_unlinked))
        tree_forget(fs->engine, id);
}

int
names_unlink(struct fs *fs, struct inode *dir, const char *name, const struct caller *who)
{
    if (is_unseen(fs, dir, name))
        return -ENOENT;
    const struct item *item = dir->node ? taken(fs, dir, name) : NULL;
    if (!dir->node || item) {
        const struct dir *d = dir->node ? NULL : dir->place.item->dir;
        int r = hide(fs, dir, item);
        return r == -EPERM && d && d->remove ? d->remove(fs->engine, &dir->place, name, who)
                                             : r;
    }
    pthread_mutex_lock(&fs->names);
    struct node n;
    int r = tree_lookup(fs->engine, dir->node, name, &n);
    /* In syncs/ who removes one by one will come to NAME.rej; config/ does not show it. */
    if (r == 0)
        r = tree_unlink(fs->engine, dir->node, name, dir->view, who);
    if (r == 0)
        lost_name(fs, n.id);
    pthread_mutex_unlock(&fs->names);
    return r;
}

int
names_rmdir(struct fs *fs, struct inode *dir, const char *name, const struct caller *who)
{
    if (is_unseen(fs, dir, name))
        return -ENOENT;
    const struct item *item = dir->node ? taken(fs, dir, name) : NULL;
    if (!dir->node || item)
        return hide(fs, dir, item);
    pthread_mutex_lock(&fs->names);
    struct node n;
    int r = tree_lookup(fs->engine, dir->node, name, &n);
    if (r == 0)
        r = tree_rmdir(fs->engine, dir->node, name, who);
    if (r == 0)
        lost_name(fs, n.id);
    else if (r == -EBUSY)
        show_all(fs, n.id);
    pthread_mutex_unlock(&fs->names);
    return r;
}

/* ---- moving ---- */

/* Under another name the file is another kind; a directory may have become a sync. */
static void
set_moved(struct inode *i)
{
    i->dir_kind = DIR_UNASKED;
    i->hidden = 0;
    i->fresh = i->doomed = false;
    i->version++;
}

static int
settle_source(struct fs *fs, node_id id, const struct caller *who)
{
    struct inode *i = inode_find_node(fs, id, false);
    if (!i)
        return 0;
    int r = file_settle(fs, i, who);
    inode_forget(fs, i, 1);
    return r;
}

static int
rename_locked(struct fs *fs, struct inode *dir, const char *name, struct inode *new_dir,
              const char *new_name, bool noreplace, const struct caller *who)
{
    struct node from, to;
    int r = tree_lookup(fs->engine, dir->node, name, &from);
    if (r < 0)
        return r;
    if (from.kind != NODE_FILE && doc_kind(fs->engine, new_dir->node, new_name) != TEXT_PLAIN)
        return -EPERM;
    bool replaces = tree_lookup(fs->engine, new_dir->node, new_name, &to) == 0;
    /* A directory that config/ shows, moved onto itself: by success the kernel would take the
     * one that it knows by the other path for gone. */
    if (replaces && to.id == from.id)
        return from.kind == NODE_DIR ? -EINVAL : 0;
    r = settle_source(fs, from.id, who);
    if (r < 0)
        return r;
    struct complaint c = {0};
    r = tree_rename(fs->engine, dir->node, name, new_dir->node, new_name, noreplace, who, &c);
    if (r < 0)
        return r;
    if (replaces)
        lost_name(fs, to.id);
    with_inodes(fs, from.id, set_moved);
    return 0;
}

int
names_rename(struct fs *fs, struct inode *dir, const char *name, struct inode *new_dir,
             const char *new_name, bool noreplace, const struct caller *who)
{
    if (strlen(new_name) > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    if (is_unseen(fs, dir, name))
        return -ENOENT;
    if (!dir->node || !new_dir->node || taken(fs, dir, name) || taken(fs, new_dir, new_name) ||
        file_is_reject(fs, new_dir->node, new_name))
        return -EPERM;
    pthread_mutex_lock(&fs->names);
    int r = rename_locked(fs, dir, name, new_dir, new_name, noreplace, who);
    pthread_mutex_unlock(&fs->names);
    if (r == 0)
        show_all(fs, new_dir->node);
    return r;
}
