/*
 * Views read at any offset: see chg.h. The index says at which byte of a view each block ends,
 * so only the blocks that are asked for are rendered; the last one is kept, for readers come
 * back for the next piece. What was kept goes when a reader reaches the end.
 */
#include "base/cleanup.h"
#include "data/chg_format.h"

enum { KEPT_TEXT_MAX = 4 << 20 };

void
chg_set_outcomes(struct chg *c, const char *outcome, struct chg *refused, struct chg *unsent)
{
    c->outcome = outcome;
    c->refused = refused ? chg_ref(refused) : NULL;
    c->unsent = unsent ? chg_ref(unsent) : NULL;
}

static enum chg_view
kept_view(const struct chg *c, enum chg_view view)
{
    return view == VIEW_SENT && !(c->views & VIEW_BIT(VIEW_SENT)) ? VIEW_JSONL : view;
}

uint64_t
chg_view_size(const struct chg *c, enum chg_view view)
{
    view = kept_view(c, view);
    if (!(c->views & VIEW_BIT(view)))
        return 0;
    if (c->nblocks == 0)
        return c->view_heads[view];
    return c->view_ends[(c->nblocks - 1) * c->nviews + chg_view_slot(c->views, view)];
}

static uint64_t
view_end(const struct chg *c, enum chg_view view, size_t block)
{
    return c->view_ends[block * c->nviews + chg_view_slot(c->views, view)];
}

static uint64_t
view_start(const struct chg *c, enum chg_view view, size_t block)
{
    return block ? view_end(c, view, block - 1) : c->view_heads[view];
}

/* The block that holds the view's byte at offset. */
static size_t
find_block(const struct chg *c, enum chg_view view, uint64_t offset)
{
    size_t low = 0, high = c->nblocks;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (view_end(c, view, middle) <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void
forget(struct chg *c)
{
    c->view_cursor = chg_cursor_close(c->view_cursor);
    buf_done(&c->view_text);
    c->view_block = SIZE_MAX;
}

/* Rows of which something else is told, walked along with a block of changes. */
struct others {
    struct chg_cursor *cursor; /* NULL: there are none */
    struct entry row;
    int there; /* of chg_next */
};

struct fates {
    struct others refused, unsent;
};

static int
others_open(struct others *o, struct chg *file, struct str first, struct error *err)
{
    if (!file)
        return 0;
    int rc = chg_cursor_open(file, &o->cursor, err);
    if (rc == 0)
        rc = chg_seek(o->cursor, first, err);
    if (rc == 0)
        rc = o->there = chg_next(o->cursor, &o->row, err);
    return rc < 0 ? rc : 0;
}

static int
fates_open(struct fates *f, const struct chg *c, struct str first, struct error *err)
{
    int rc = others_open(&f->refused, c->refused, first, err);
    return rc < 0 ? rc : others_open(&f->unsent, c->unsent, first, err);
}

static void
fates_close(struct fates *f)
{
    chg_cursor_close(f->refused.cursor);
    chg_cursor_close(f->unsent.cursor);
}

/* 1: the key is there; keys are asked for in ascending order. */
static int
others_have(struct others *o, struct str key, struct error *err)
{
    int order = 1;
    while (o->there == 1 && (order = key_compare(o->row.key, key)) < 0)
        o->there = chg_next(o->cursor, &o->row, err);
    if (o->there < 0)
        return o->there;
    return o->there == 1 && order == 0;
}

static int
tell_outcome(struct fates *f, const struct chg *c, const struct entry *e, struct str *ret,
             struct error *err)
{
    static const char unknown[] = "unknown"; /* a note begins with its code */
    *ret = str_of(c->outcome ? c->outcome : "");
    if (e->op == ENTRY_RECORDED) {
        *ret = str_is(*ret, "delivered") ? STR("recorded") : *ret;
        return 0;
    }
    int unsent = others_have(&f->unsent, e->key, err);
    int refused = unsent < 0 ? unsent : others_have(&f->refused, e->key, err);
    if (refused < 0)
        return refused;
    struct str note = f->refused.row.note;
    if (unsent)
        *ret = STR("not_sent");
    else if (refused && f->refused.row.op != ENTRY_PRESENT)
        *ret = note.n >= sizeof unknown && memcmp(note.p, unknown, sizeof unknown) == 0
                   ? STR("unknown")
                   : STR("rejected");
    return 0;
}

int
chg_outcome(struct chg *c, const struct entry *e, struct buf *out, struct error *err)
{
    struct fates fates = {0};
    struct str outcome = {0};
    int rc = fates_open(&fates, c, e->key, err);
    if (rc == 0)
        rc = tell_outcome(&fates, c, e, &outcome, err);
    fates_close(&fates);
    buf_add(out, outcome.p, outcome.n);
    return rc;
}

static int
render_entries(struct chg *c, enum chg_view view, size_t block, struct fates *fates,
               struct error *err)
{
    struct chg_renderer renderer = c->renderer;
    chg_cursor_to_block(c->view_cursor, block);
    for (uint32_t i = 0; i < c->blocks[block].entries; i++) {
        struct entry e;
        int rc = chg_next(c->view_cursor, &e, err);
        if (rc == 0)
            rc = chg_damaged(c, c->blocks[block].offset, err);
        if (rc == 1 && i == 0 && view == VIEW_SENT)
            rc = fates_open(fates, c, e.key, err);
        if (rc >= 0 && view == VIEW_SENT)
            rc = tell_outcome(fates, c, &e, &renderer.outcome, err);
        if (rc < 0)
            return rc;
        chg_render_entry(&renderer, view, &e, &c->view_text);
    }
    return 0;
}

static int
render_block(struct chg *c, enum chg_view view, size_t block, struct error *err)
{
    struct fates fates = {0};
    c->view_block = SIZE_MAX;
    if (!c->view_cursor) {
        int rc = chg_cursor_open_uncounted(c, &c->view_cursor, err);
        if (rc < 0)
            return rc;
    }
    if (c->view_text.cap > KEPT_TEXT_MAX)
        buf_done(&c->view_text);
    buf_clear(&c->view_text);
    int rc = render_entries(c, view, block, &fates, err);
    fates_close(&fates);
    if (rc < 0)
        return rc;
    if (c->view_text.failed)
        return error_no_memory(err);
    if (c->view_text.n != view_end(c, view, block) - view_start(c, view, block))
        return chg_damaged(c, c->blocks[block].offset, err);
    c->view_block = block;
    c->view_kind = view;
    return 0;
}

/* Appends what [offset, offset + n) has in common with the text that stands at `start`. */
static void
add_part(struct buf *out, struct str text, uint64_t start, uint64_t offset, uint64_t n)
{
    uint64_t from = offset > start ? offset - start : 0;
    uint64_t to = offset + n > start ? offset + n - start : 0;
    if (to > text.n)
        to = text.n;
    if (from < to)
        buf_add(out, text.p + from, to - from);
}

static int
read_blocks(struct chg *c, enum chg_view view, uint64_t offset, uint64_t n, struct buf *out,
            struct error *err)
{
    for (size_t b = find_block(c, view, offset); b < c->nblocks; b++) {
        uint64_t start = view_start(c, view, b);
        if (start >= offset + n)
            break;
        if (c->view_block != b || c->view_kind != view) {
            int rc = render_block(c, view, b, err);
            if (rc < 0)
                return rc;
        }
        add_part(out, buf_str(&c->view_text), start, offset, n);
    }
    return 0;
}

int
chg_view_read(struct chg *c, enum chg_view view, uint64_t offset, size_t n, struct buf *out,
              struct error *err)
{
    view = kept_view(c, view);
    if (!(c->views & VIEW_BIT(view)))
        return error_set(err, ERR_INTERNAL, EINVAL, "\"%s\" was not made for this view",
                         c->name);
    uint64_t size = chg_view_size(c, view);
    if (offset >= size)
        return 0;
    uint64_t length = n < size - offset ? n : size - offset;
    if (offset < c->view_heads[view]) {
        AUTO_BUF struct buf head = BUF_INIT(BUF_NO_MAX);
        chg_render_head(c->meta, view, &head);
        add_part(out, buf_str(&head), 0, offset, length);
        out->failed |= head.failed;
    }
    pthread_mutex_lock(&c->lock);
    int rc = read_blocks(c, view, offset, length, out, err);
    if (rc < 0 || offset + length == size)
        forget(c);
    pthread_mutex_unlock(&c->lock);
    if (rc == 0 && out->failed)
        rc = error_no_memory(err);
    return rc;
}
