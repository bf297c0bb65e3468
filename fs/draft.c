/* The edit of a checked file: see draft.h. */
#include "draft.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Checks by writes look at the whole text each time. Up to here every write is checked; beyond,
 * only when the text has grown by a part, so that a long file in small pieces stays linear. */
static const uint64_t EFFORT_FREE = 64 * 1048576;
enum { EFFORT_GROWTH = 16 };

int
draft_open(struct draft *d, enum text_kind kind, struct str accepted, uint64_t version,
           bool append, const struct caller *opener)
{
    *d = (struct draft){
        .kind = kind,
        .text = BUF_INIT(text_max(kind) + 1),
        .whole = !accepted.p,
        .append = append,
        .in_order = !accepted.p || append,
        .base = version,
        .opener = *opener,
    };
    if (accepted.p)
        buf_add(&d->text, accepted.p, accepted.n);
    return d->text.failed ? -ENOMEM : 0;
}

void
draft_done(struct draft *d)
{
    buf_done(&d->text);
}

static void
cut(struct buf *b, size_t n)
{
    b->n = n;
    if (b->p)
        b->p[n] = '\0';
}

/* Nothing of what was there before counts any more. */
static void
start_over(struct draft *d)
{
    cut(&d->text, 0);
    d->whole = d->in_order = true;
    d->broken = d->refused = false;
    d->checked = 0;
}

/* Room up to `size`, new bytes zero. */
static int
grow(struct draft *d, size_t size)
{
    if (size <= d->text.n)
        return 0;
    size_t more = size - d->text.n;
    char *room = buf_room(&d->text, more + 1);
    if (!room) {
        d->text.failed = false;
        return -ENOMEM;
    }
    memset(room, 0, more + 1);
    d->text.n = size;
    return 0;
}

static int
refuse_size(struct draft *d, const struct draft_place *at)
{
    struct complaint c = {0};
    d->refused = d->written = true;
    d->broken = d->text.n > 0;
    if (!at->name)
        return -EFBIG;
    snprintf(c.file, sizeof c.file, "%s", at->name);
    snprintf(c.text, sizeof c.text, "the file may have at most %zu bytes", text_max(d->kind));
    doc_note(at->engine, at->parent, &c);
    return -EFBIG;
}

static int
commit(struct draft *d, const struct draft_place *at, bool *committed)
{
    struct complaint c = {0};
    if (!at->name)
        return -ESTALE; /* removed or replaced meanwhile: there is nothing to be edited */
    if (!d->whole && d->base != at->version) {
        snprintf(c.file, sizeof c.file, "%s", at->name);
        snprintf(c.text, sizeof c.text, "the file was changed by someone else meanwhile");
        snprintf(c.hint, sizeof c.hint, "open it again to see what is in force now");
        doc_refuse(at->engine, at->parent, at->name, buf_str(&d->text), &at->who, &c);
        d->dirty = false;
        d->refused = true;
        return -ESTALE;
    }
    int r = at->kind == TEXT_PLAIN ? tree_write(at->engine, at->id, buf_str(&d->text))
                                   : doc_commit(at->engine, at->parent, at->name, at->id,
                                                buf_str(&d->text), &at->who, &c);
    /* For want of memory or room it is still to be committed: the next close tries again. */
    d->refused = r == -EINVAL || r == -ESTALE;
    if (r < 0)
        return r;
    d->dirty = false;
    d->base = at->version + 1;
    *committed = true;
    if (d->mtime_set) {
        struct node to = {.mtime = d->mtime}, after;
        tree_set(at->engine, at->id, TREE_MTIME, &to, &after);
        d->mtime_set = false;
    }
    return 0;
}

/* `mode`, `schedule`: one write is one value, wherever it is written, and holds when write(2)
 * returns. */
static int
write_value(struct draft *d, const struct draft_place *at, struct str bytes, bool *committed)
{
    size_t blank = 0;
    while (blank < bytes.n && strchr(" \t\r\n", bytes.p[blank]) && bytes.p[blank])
        blank++;
    if (blank == bytes.n && d->text.n && d->written && !d->refused)
        return 0; /* the newline of a value that was written without */
    start_over(d);
    d->written = d->dirty = true;
    int r = grow(d, bytes.n);
    if (r < 0)
        return r;
    if (bytes.n)
        memcpy(d->text.p, bytes.p, bytes.n);
    return commit(d, at, committed);
}

static bool
worth_checking(struct draft *d)
{
    if (d->effort > EFFORT_FREE && d->text.n < d->checked + d->checked / EFFORT_GROWTH)
        return false;
    d->effort += d->text.n;
    d->checked = d->text.n;
    return true;
}

int
draft_write(struct draft *d, const struct draft_place *at, uint64_t offset, struct str bytes,
            bool *committed)
{
    if (bytes.n > text_max(d->kind))
        return refuse_size(d, at);
    if (at->kind == TEXT_MODE || at->kind == TEXT_SCHEDULE)
        return write_value(d, at, bytes, committed);
    if (d->append)
        offset = d->text.n;
    if (offset > text_max(d->kind) || offset + bytes.n > text_max(d->kind))
        return refuse_size(d, at);
    size_t before = d->text.n;
    if (d->broken && offset == 0 && before && !d->append)
        start_over(d);
    else if (d->broken)
        return -EINVAL;
    before = d->text.n;
    if (offset != before)
        d->in_order = false;
    int r = grow(d, offset + bytes.n);
    if (r < 0)
        return r;
    if (bytes.n)
        memcpy(d->text.p + offset, bytes.p, bytes.n);
    d->written = true;
    if (d->in_order && at->kind != TEXT_PLAIN && worth_checking(d)) {
        struct complaint c = {0};
        if (doc_check(at->engine, at->parent, at->name, buf_str(&d->text), false, &c) ==
                TEXT_BROKEN &&
            !c.no_memory) {
            doc_refuse(at->engine, at->parent, at->name, buf_str(&d->text), &at->who, &c);
            cut(&d->text, before); /* so that a retry of the same bytes is checked again */
            d->refused = true;
            d->broken = before > 0;
            return -EINVAL;
        }
    }
    d->dirty = true;
    d->refused = false;
    return 0;
}

int
draft_truncate(struct draft *d, const struct draft_place *at, uint64_t size)
{
    if (size > text_max(d->kind))
        return refuse_size(d, at);
    if (size == 0) {
        start_over(d);
    } else if (size < d->text.n) {
        cut(&d->text, size);
    } else {
        int r = grow(d, size);
        if (r < 0)
            return r;
    }
    d->written = d->dirty = true;
    return 0;
}

int
draft_flush(struct draft *d, const struct draft_place *at, bool *committed)
{
    if (d->refused)
        return -EINVAL;
    if (!d->dirty)
        return 0;
    /* A child's exit closes what it inherited. JSON that is closed is whole whoever closes it;
     * of lines nobody but the opener can say that these were all. */
    if (at->kind != TEXT_PLAIN && at->who.pid && at->who.pid != d->opener.pid) {
        struct complaint c = {0};
        if (at->kind == TEXT_MAPPINGS ||
            doc_check(at->engine, at->parent, at->name, buf_str(&d->text), false, &c) ==
                TEXT_INCOMPLETE)
            return 0;
    }
    return commit(d, at, committed);
}

int
draft_commit(struct draft *d, const struct draft_place *at, bool *committed)
{
    if (d->refused)
        return -EINVAL;
    return d->dirty ? commit(d, at, committed) : 0;
}
