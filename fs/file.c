/* Open files: see file.h. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "errand.h"
#include "trigger.h"

enum { NAME_MAX_BYTES = 4096, PLAIN_FILE_MAX = 16 * 1048576 };

bool
file_is_reject(struct fs *fs, node_id parent, const char *name)
{
    size_t n = strlen(name);
    if (n <= 4 || n > 255 || strcmp(name + n - 4, ".rej") != 0)
        return false;
    char stem[256];
    memcpy(stem, name, n - 4);
    stem[n - 4] = '\0';
    return doc_kind(fs->engine, parent, stem) != TEXT_PLAIN;
}

/* Where a stored node stands now, and so what kind of file it is: the kind follows the name. */
static int
locate(struct fs *fs, struct inode *i, const struct caller *who, struct buf *name,
       struct draft_place *ret)
{
    *ret = (struct draft_place){
        .engine = fs->engine, .id = i->node, .version = i->version, .who = *who};
    struct node n;
    int r = tree_get(fs->engine, i->node, &n);
    if (r < 0)
        return r;
    r = tree_name(fs->engine, i->node, name);
    if (r == -ENOENT)
        return 0;
    if (r < 0 || name->failed)
        return r < 0 ? r : -ENOMEM;
    ret->parent = n.parent;
    ret->name = buf_z(name);
    ret->kind = doc_kind(fs->engine, n.parent, ret->name);
    return 0;
}

/* ---- open ---- */

static bool
is_writing(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static int
open_place(struct fs *fs, struct inode *i, struct handle *h, const struct caller *who)
{
    const struct item *item = i->place.item;
    bool writing = is_writing(h->flags);
    if (item->kind == ITEM_DIR || item->kind == ITEM_STORED)
        return -EISDIR;
    if (writing && item->kind != ITEM_TRIGGER && !item->store)
        return -EACCES; /* also for root, whom no mode bits stop */
    if (item->kind == ITEM_ROWS) {
        h->kind = HANDLE_ROWS;
        return nodes_rows(fs->engine, &i->place, &h->rows);
    }
    if (writing && item->kind == ITEM_TRIGGER) {
        h->kind = HANDLE_VERBS;
        h->trigger = trigger_open(fs->triggers, i->place.sync);
        if (!h->trigger)
            return -ENOMEM;
    } else if (writing) {
        h->kind = HANDLE_STORE;
        if (h->flags & O_TRUNC)
            item->store(fs->engine, STR(""), who);
    }
    struct timespec changed;
    return nodes_text(fs->engine, &i->place, &h->text, &changed);
}

static int
open_shared(struct fs *fs, struct inode *i, struct handle *h)
{
    h->kind = HANDLE_SHARED;
    if (h->flags & O_TRUNC && is_writing(h->flags)) {
        buf_clear(&i->text);
        i->loaded = i->dirty = true;
        clock_gettime(CLOCK_REALTIME, &i->written);
        return 0;
    }
    return inode_load(fs, i);
}

static int
open_draft(struct fs *fs, struct inode *i, struct handle *h, const struct draft_place *at)
{
    h->kind = HANDLE_DRAFT;
    int r = inode_load(fs, i);
    if (r < 0)
        return r;
    bool empty = h->flags & O_TRUNC || i->fresh;
    r = draft_open(&h->draft, at->kind, empty ? (struct str){0} : buf_str(&i->text), i->version,
                   h->flags & O_APPEND, &at->who);
    if (r < 0) {
        draft_done(&h->draft);
        h->kind = HANDLE_SHARED;
        return r;
    }
    h->next_edit = i->edits;
    i->edits = h;
    return 0;
}

static int
open_stored(struct fs *fs, struct inode *i, struct handle *h, bool created,
            const struct caller *who)
{
    AUTO_BUF struct buf name = BUF_INIT(NAME_MAX_BYTES);
    struct draft_place at;
    int r = locate(fs, i, who, &name, &at);
    if (r < 0)
        return r;
    if (at.name && file_is_reject(fs, at.parent, at.name)) {
        if (is_writing(h->flags))
            return -EACCES;
        return tree_read(fs->engine, i->node, &h->text); /* changes by the engine's doing */
    }
    if (created && at.kind != TEXT_PLAIN)
        i->fresh = true;
    r = at.kind != TEXT_PLAIN && is_writing(h->flags) ? open_draft(fs, i, h, &at)
                                                      : open_shared(fs, i, h);
    if (r < 0)
        return r;
    i->opens++;
    i->writers += is_writing(h->flags);
    return 0;
}

int
file_open(struct fs *fs, struct inode *i, int flags, bool created, const struct caller *who,
          struct handle **ret)
{
    struct handle *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    h->kind = HANDLE_TEXT;
    h->inode = i;
    h->flags = flags;
    h->text = (struct buf)BUF_INIT(NODES_TEXT_MAX);
    int r;
    if (i->node) {
        pthread_mutex_lock(&i->lock);
        r = open_stored(fs, i, h, created, who);
        if (r < 0 && i->opens == 0 && !i->dirty) {
            buf_done(&i->text);
            i->loaded = false;
        }
        pthread_mutex_unlock(&i->lock);
    } else {
        r = open_place(fs, i, h, who);
    }
    if (r == 0 && h->text.failed)
        r = -ENOMEM;
    if (r < 0) {
        trigger_close(h->trigger);
        if (h->rows)
            chg_unref(h->rows);
        buf_done(&h->text);
        free(h);
        return r;
    }
    pthread_mutex_lock(&fs->table_lock);
    h->next = fs->handles;
    h->link = &fs->handles;
    if (h->next)
        h->next->link = &h->next;
    fs->handles = h;
    pthread_mutex_unlock(&fs->table_lock);
    *ret = h;
    return 0;
}

bool
file_is_direct(const struct handle *h)
{
    return h->kind != HANDLE_SHARED;
}

/* ---- read ---- */

static void
slice(struct str text, uint64_t offset, size_t n, struct buf *out)
{
    if (offset >= text.n)
        return;
    size_t rest = text.n - (size_t)offset;
    buf_add(out, text.p + offset, n < rest ? n : rest);
}

/* A watcher that poll(2) woke reads again from the start through the same descriptor. */
static bool
was_woken(struct fs *fs, struct handle *h)
{
    pthread_mutex_lock(&fs->polls_lock);
    bool again = h->polled && h->changed;
    h->changed = false;
    pthread_mutex_unlock(&fs->polls_lock);
    return again;
}

/* A reader at the end of a text that only grows (tail -f) wants what has come since. */
static bool
is_at_end(struct handle *h, uint64_t offset)
{
    pthread_mutex_lock(&h->inode->lock);
    bool at_end = offset > 0 && offset >= h->text.n;
    pthread_mutex_unlock(&h->inode->lock);
    return at_end && h->inode->place.item->flags & ITEM_GROWS;
}

static void
refresh(struct fs *fs, struct handle *h)
{
    struct buf text = BUF_INIT(NODES_TEXT_MAX);
    struct timespec changed;
    if (nodes_text(fs->engine, &h->inode->place, &text, &changed) == 0) {
        pthread_mutex_lock(&h->inode->lock);
        buf_done(&h->text);
        h->text = text;
        pthread_mutex_unlock(&h->inode->lock);
    } else {
        buf_done(&text);
    }
}

int
file_read(struct fs *fs, struct handle *h, uint64_t offset, size_t n, struct buf *out)
{
    struct inode *i = h->inode;
    int r = 0;
    if (h->kind == HANDLE_ROWS) {
        struct error err = ERROR_INIT;
        r = h->rows ? chg_view_read(h->rows, i->place.item->view, offset, n, out, &err) : 0;
        return r < 0 ? r : out->failed ? -ENOMEM : 0;
    }
    if (h->kind == HANDLE_TEXT && !i->node &&
        (offset == 0 ? was_woken(fs, h) : is_at_end(h, offset)))
        refresh(fs, h);
    pthread_mutex_lock(&i->lock);
    if (h->kind == HANDLE_SHARED) {
        r = inode_load(fs, i);
        slice(buf_str(&i->text), offset, n, out);
    } else if (h->kind == HANDLE_DRAFT) {
        slice(buf_str(&h->draft.text), offset, n, out);
    } else {
        slice(buf_str(&h->text), offset, n, out);
    }
    pthread_mutex_unlock(&i->lock);
    return r < 0 ? r : out->failed ? -ENOMEM : 0;
}

/* ---- write ---- */

static int
resize(struct buf *text, uint64_t size)
{
    if (size > PLAIN_FILE_MAX)
        return -EFBIG;
    if (size > text->n) {
        size_t more = (size_t)size - text->n;
        char *room = buf_room(text, more + 1);
        if (!room) {
            text->failed = false;
            return -ENOMEM;
        }
        memset(room, 0, more + 1);
    }
    text->n = (size_t)size;
    if (text->p)
        text->p[size] = '\0';
    return 0;
}

static int
write_shared(struct fs *fs, struct handle *h, uint64_t offset, struct str bytes)
{
    struct inode *i = h->inode;
    int r = inode_load(fs, i);
    if (r < 0)
        return r;
    if (h->flags & O_APPEND)
        offset = i->text.n;
    if (offset > PLAIN_FILE_MAX || offset + bytes.n > PLAIN_FILE_MAX)
        return -EFBIG;
    if (offset + bytes.n > i->text.n)
        r = resize(&i->text, offset + bytes.n);
    if (r < 0)
        return r;
    if (bytes.n)
        memcpy(i->text.p + offset, bytes.p, bytes.n);
    i->dirty = true;
    clock_gettime(CLOCK_REALTIME, &i->written);
    return 0;
}

/* Under i->lock. A file that took a checked name while it was open is checked like any. */
static int
settle(struct fs *fs, struct inode *i, const struct caller *who)
{
    if (!i->dirty)
        return 0;
    AUTO_BUF struct buf name = BUF_INIT(NAME_MAX_BYTES);
    struct draft_place at;
    int r = locate(fs, i, who, &name, &at);
    if (r < 0)
        return r;
    if (at.kind == TEXT_PLAIN) {
        r = tree_write(fs->engine, i->node, buf_str(&i->text));
    } else {
        struct complaint c = {0};
        r = doc_commit(fs->engine, at.parent, at.name, i->node, buf_str(&i->text), who, &c);
        i->version += r == 0;
        /* refused: readers go on with what is in force */
        i->loaded = r != -EINVAL && r != -ESTALE;
    }
    i->dirty = r < 0 && i->loaded;
    return r;
}

int
file_settle(struct fs *fs, struct inode *i, const struct caller *who)
{
    pthread_mutex_lock(&i->lock);
    int r = settle(fs, i, who);
    pthread_mutex_unlock(&i->lock);
    return r;
}

enum edit { EDIT_WRITE, EDIT_TRUNCATE, EDIT_FLUSH, EDIT_COMMIT };

/* One step of a draft, and what follows from it for the inode. Under i->lock. */
static int
edit(struct fs *fs, struct handle *h, enum edit step, uint64_t offset, struct str bytes,
     const struct caller *who)
{
    struct inode *i = h->inode;
    AUTO_BUF struct buf name = BUF_INIT(NAME_MAX_BYTES);
    struct draft_place at;
    int r = locate(fs, i, who, &name, &at);
    if (r < 0)
        return r;
    bool committed = false;
    switch (step) {
    case EDIT_WRITE:
        r = draft_write(&h->draft, &at, offset, bytes, &committed);
        break;
    case EDIT_TRUNCATE:
        r = draft_truncate(&h->draft, &at, offset);
        break;
    case EDIT_FLUSH:
        r = draft_flush(&h->draft, &at, &committed);
        break;
    case EDIT_COMMIT:
        r = draft_commit(&h->draft, &at, &committed);
        break;
    }
    if (committed) {
        i->version++;
        i->fresh = false;
        buf_clear(&i->text);
        buf_add(&i->text, h->draft.text.p, h->draft.text.n);
        i->loaded = !i->text.failed;
    }
    i->doomed = i->fresh && h->draft.refused && step >= EDIT_FLUSH;
    return r;
}

int
file_write(struct fs *fs, struct handle *h, uint64_t offset, struct str bytes,
           const struct caller *who)
{
    struct inode *i = h->inode;
    if (h->kind == HANDLE_STORE)
        return i->place.item->store(fs->engine, bytes, who);
    pthread_mutex_lock(&i->lock);
    int r = h->kind == HANDLE_DRAFT    ? edit(fs, h, EDIT_WRITE, offset, bytes, who)
            : h->kind == HANDLE_SHARED ? write_shared(fs, h, offset, bytes)
                                       : -EBADF;
    pthread_mutex_unlock(&i->lock);
    return r;
}

static int
flush(struct fs *fs, struct handle *h, enum edit step, const struct caller *who)
{
    if (!is_writing(h->flags) || !h->inode->node)
        return 0;
    pthread_mutex_lock(&h->inode->lock);
    int r = h->kind == HANDLE_DRAFT ? edit(fs, h, step, 0, (struct str){0}, who)
                                    : settle(fs, h->inode, who);
    pthread_mutex_unlock(&h->inode->lock);
    return r;
}

int
file_flush(struct fs *fs, struct handle *h, const struct caller *who)
{
    return flush(fs, h, EDIT_FLUSH, who);
}

int
file_sync(struct fs *fs, struct handle *h, const struct caller *who)
{
    return flush(fs, h, EDIT_COMMIT, who);
}

/* ---- release ---- */

/* `: > config.json`: nobody meant an empty file, and nobody is told otherwise. */
static void
note_unwritten(struct fs *fs, struct handle *h)
{
    AUTO_BUF struct buf name = BUF_INIT(NAME_MAX_BYTES);
    struct draft_place at;
    if (h->draft.written || !h->draft.whole ||
        locate(fs, h->inode, &h->draft.opener, &name, &at) < 0 || !at.name)
        return;
    struct complaint c = {0};
    snprintf(c.file, sizeof c.file, "%s", at.name);
    snprintf(c.text, sizeof c.text, "it was emptied but nothing was written: nothing changed");
    doc_note(fs->engine, at.parent, &c);
}

static void
release_draft(struct fs *fs, struct handle *h)
{
    struct inode *i = h->inode;
    if (h->draft.dirty && !h->draft.refused)
        edit(fs, h, EDIT_COMMIT, 0, (struct str){0}, &h->draft.opener);
    note_unwritten(fs, h);
    struct handle **at = &i->edits;
    while (*at != h)
        at = &(*at)->next_edit;
    *at = h->next_edit;
    draft_done(&h->draft);
}

void
file_release(struct fs *fs, struct handle *h)
{
    struct inode *i = h->inode;
    pthread_mutex_lock(&fs->table_lock);
    *h->link = h->next;
    if (h->next)
        h->next->link = h->link;
    pthread_mutex_unlock(&fs->table_lock);
    if (h->kind == HANDLE_DRAFT || h->kind == HANDLE_SHARED) {
        static const struct caller nobody = {0};
        pthread_mutex_lock(&i->lock);
        if (h->kind == HANDLE_DRAFT)
            release_draft(fs, h);
        i->opens--;
        i->writers -= is_writing(h->flags);
        if (i->opens == 0) {
            settle(fs, i, &nobody);
            i->dirty = i->loaded = false;
            buf_done(&i->text);
        }
        bool abandoned = i->fresh && i->writers == 0;
        pthread_mutex_unlock(&i->lock);
        if (abandoned)
            file_abandon(fs, i);
    }
    trigger_close(h->trigger);
    if (h->rows)
        chg_unref(h->rows);
    buf_done(&h->text);
    free(h);
}

static void
refuse_unended(struct fs *fs, struct handle *h)
{
    AUTO_BUF struct buf name = BUF_INIT(NAME_MAX_BYTES);
    struct draft_place at;
    if (!h->draft.dirty || h->draft.refused ||
        locate(fs, h->inode, &h->draft.opener, &name, &at) < 0 || at.kind == TEXT_PLAIN)
        return;
    struct complaint c = {0};
    snprintf(c.file, sizeof c.file, "%s", at.name);
    snprintf(c.text, sizeof c.text, "it was still being written when the mount ended");
    doc_refuse(fs->engine, at.parent, at.name, buf_str(&h->draft.text), &at.who, &c);
    h->draft.dirty = false;
}

void
file_close_all(struct fs *fs)
{
    while (fs->handles) {
        struct handle *h = fs->handles;
        if (h->kind == HANDLE_DRAFT)
            refuse_unended(fs, h);
        file_release(fs, h);
    }
}

void
file_abandon(struct fs *fs, struct inode *i)
{
    static const struct caller nobody = {0};
    AUTO_BUF struct buf name = BUF_INIT(NAME_MAX_BYTES);
    struct draft_place at;
    pthread_mutex_lock(&fs->names);
    pthread_mutex_lock(&i->lock);
    if (i->fresh && (i->doomed || i->writers == 0) && !i->unlinked) {
        i->fresh = i->doomed = false;
        if (locate(fs, i, &nobody, &name, &at) == 0 && at.name) {
            doc_abandon(fs->engine, at.parent, at.name, i->node);
            buf_clear(&name);
            i->unlinked = tree_name(fs->engine, i->node, &name) == -ENOENT;
            i->loaded = i->loaded && i->unlinked;
        }
    }
    pthread_mutex_unlock(&i->lock);
    pthread_mutex_unlock(&fs->names);
}

/* ---- attributes ---- */

/* `trigger` has an owner, a group and bits of its own. All else follows the sync's directory,
 * so that chown -R has nothing to do there. Of a mode, bits that an engine file cannot have are
 * not set, which everybody sees; but that one which was to go stays must not look like success.
 */
static int
set_place_owner(struct fs *fs, const struct place *at, unsigned what, const struct node *to,
                const struct stat *st)
{
    unsigned own = what & (TREE_MODE | TREE_UID | TREE_GID);
    if (own && at->item->kind == ITEM_TRIGGER)
        return trigger_set_attributes(fs->engine, at->sync, own, to);
    return what & TREE_MODE && st->st_mode & 0777 & ~to->mode ? -EPERM : 0;
}

static int
set_place(struct fs *fs, struct inode *i, unsigned what, const struct node *to,
          const struct caller *who, struct stat *st)
{
    const struct item *item = i->place.item;
    bool takes_writes = item->kind == ITEM_TRIGGER || item->store;
    int r = inode_stat(fs, i, st);
    if (r < 0)
        return r;
    if (what & FILE_SIZE && !takes_writes)
        return -EACCES;
    if (what & FILE_SIZE && item->store)
        item->store(fs->engine, STR(""), who);
    if (what & (TREE_MTIME | TREE_ATIME) && !takes_writes &&
        !errands_runs(fs->errands, who->pid))
        return -EPERM;
    r = set_place_owner(fs, &i->place, what, to, st);
    return r == 0 ? inode_stat(fs, i, st) : r;
}

static int
truncate_shared(struct fs *fs, struct inode *i, uint64_t size, const struct caller *who)
{
    int r = inode_load(fs, i);
    if (r == 0)
        r = resize(&i->text, size);
    if (r == 0) {
        i->dirty = true;
        clock_gettime(CLOCK_REALTIME, &i->written);
        if (i->opens == 0)
            r = settle(fs, i, who);
    }
    if (i->opens == 0) {
        i->loaded = i->dirty = false;
        buf_done(&i->text);
    }
    return r;
}

/* truncate(2) by name of a checked file is an edit of its own. */
static int
truncate_checked(struct fs *fs, struct inode *i, uint64_t size, const struct draft_place *at)
{
    AUTO_BUF struct buf text = BUF_INIT(PLAIN_FILE_MAX);
    int r = tree_read(fs->engine, i->node, &text);
    if (r < 0)
        return r;
    struct draft d;
    bool committed = false;
    r = draft_open(&d, at->kind, buf_str(&text), i->version, false, &at->who);
    if (r == 0)
        r = draft_truncate(&d, at, size);
    if (r == 0)
        r = draft_commit(&d, at, &committed);
    draft_done(&d);
    if (committed) {
        i->version++;
        i->loaded = false;
    }
    return r;
}

static int
set_size(struct fs *fs, struct inode *i, struct handle *h, uint64_t size,
         const struct caller *who)
{
    if (h && h->kind == HANDLE_DRAFT)
        return edit(fs, h, EDIT_TRUNCATE, size, (struct str){0}, who);
    AUTO_BUF struct buf name = BUF_INIT(NAME_MAX_BYTES);
    struct draft_place at;
    int r = locate(fs, i, who, &name, &at);
    if (r < 0)
        return r;
    if (at.name && file_is_reject(fs, at.parent, at.name))
        return -EACCES;
    return at.kind == TEXT_PLAIN ? truncate_shared(fs, i, size, who)
                                 : truncate_checked(fs, i, size, &at);
}

/* The open edit of this process, whose commit would change the time again. */
static struct draft *
edit_of(struct inode *i, const struct caller *who)
{
    for (struct handle *h = i->edits; h; h = h->next_edit) {
        if (h->draft.dirty && h->draft.opener.pid == who->pid)
            return &h->draft;
    }
    return NULL;
}

int
file_set(struct fs *fs, struct inode *i, struct handle *h, unsigned what, const struct node *to,
         const struct caller *who, struct stat *st)
{
    if (!i->node)
        return set_place(fs, i, what, to, who, st);
    int r = 0;
    struct draft *d = NULL;
    pthread_mutex_lock(&i->lock);
    if (what & FILE_SIZE)
        r = set_size(fs, i, h, to->size, who);
    if (r == 0 && what & TREE_MTIME) {
        r = settle(fs, i, who);
        d = edit_of(i, who);
        if (d) {
            d->mtime = to->mtime;
            d->mtime_set = true;
        }
    }
    struct node after;
    what &= TREE_MODE | TREE_UID | TREE_GID | TREE_ATIME | (d ? 0 : TREE_MTIME);
    if (r == 0 && what)
        r = tree_set(fs->engine, i->node, what, to, &after);
    pthread_mutex_unlock(&i->lock);
    if (r == 0)
        r = inode_stat(fs, i, st);
    if (r == 0 && d)
        st->st_mtim = to->mtime;
    return r;
}

int
file_readlink(struct fs *fs, struct inode *i, struct buf *out)
{
    struct timespec changed;
    if (!i->node)
        return i->place.item->kind == ITEM_LINK
                   ? nodes_text(fs->engine, &i->place, out, &changed)
                   : -EINVAL;
    int r = tree_read(fs->engine, i->node, out);
    return r < 0 ? r : out->failed ? -ENOMEM : 0;
}
