/*
 * Rows as files: pending/insert, update and delete, and rejected/. Removing one is allowed to
 * whom the sync belongs: see engine.h for what it means.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "nodes.h"

static enum rows_of
rows_of(const struct place *at)
{
    return at->item->view == VIEW_REJECTED ? ROWS_REJECTED : ROWS_PENDING;
}

/* `which` of directories and their files: the op, or 0 for all. */
static unsigned
ops_of(const struct place *at)
{
    return at->item->which ? CHG_OP(at->item->which) : CHG_ALL_OPS;
}

/* *ret holds what `row` was read from. */
static int
find_row(struct engine *e, const struct place *at, struct arena *arena, struct entry *row,
         struct rows **ret)
{
    struct error err = ERROR_INIT;
    struct rows *rows = NULL;
    int r = sync_rows(e, at->sync, rows_of(at), &rows);
    if (r < 0)
        return r;
    r = chg_find_filename(rows_chg(rows), ops_of(at), at->name, arena, row, &err);
    if (r == 0 || (r > 0 && rows_left_out(rows, row->seq)))
        r = -ENOENT;
    if (r < 0)
        rows_unref(rows);
    else
        *ret = rows;
    return r < 0 ? r : 0;
}

/* The request that carried the row, and its answer: {…,"call":{…}}. */
static void
add_evidence(struct engine *e, node_id sync, const struct entry *row, struct buf *out)
{
    static const char end[] = "}\n", key[] = ",\"call\":";
    size_t n = out->n;
    out->n -= sizeof end - 1;
    buf_adds(out, key);
    if (run_request(e, sync, row->note, out) < 0)
        out->n = n - (sizeof end - 1);
    buf_adds(out, end);
}

static int
show_row(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct entry row;
    struct rows *rows = NULL;
    int r = find_row(e, at, &arena, &row, &rows);
    if (r < 0)
        return r;
    chg_render(chg_get_meta(rows_chg(rows)), at->item->view, &row, out);
    if (at->item->view == VIEW_REJECTED && !out->failed)
        add_evidence(e, at->sync, &row, out);
    *changed = rows_changed(rows);
    rows_unref(rows);
    return 0;
}

/* Whoever looks at the row finds out whether it is there: one look-up is enough. */
static int
find(struct engine *e, const struct place *dir, const char *name, uint64_t *number)
{
    *number = 0;
    return 0;
}

static int
start(struct engine *e, const struct place *dir, struct listing *it)
{
    struct error err = ERROR_INIT;
    int r = sync_rows(e, dir->sync, rows_of(dir), &it->rows);
    if (r == 0)
        r = chg_cursor_open(rows_chg(it->rows), &it->cursor, &err);
    if (r == 0)
        chg_cursor_only(it->cursor, ops_of(dir));
    return r;
}

/* Equal names stand together and are numbered, those that were removed too: the others' names
 * must not change by that. */
static void
name_row(struct listing *it, const struct entry *row, struct buf *name)
{
    chg_entry_filename(chg_get_meta(rows_chg(it->rows)), row, name);
    if (str_equal(buf_str(name), buf_str(&it->last))) {
        buf_addf(name, "~%u", ++it->same);
        return;
    }
    it->same = 1;
    buf_clear(&it->last);
    buf_add(&it->last, name->p, name->n);
}

/* One listing reads one change file from front to back, whatever the sync does meanwhile. */
static int
next(struct engine *e, const struct place *dir, struct listing *it, struct buf *name)
{
    struct error err = ERROR_INIT;
    struct entry row;
    if (!it->cursor) {
        int r = start(e, dir, it);
        if (r < 0)
            return r == -ENOENT ? 0 : r;
    }
    do {
        int r = chg_next(it->cursor, &row, &err);
        if (r <= 0)
            return r;
        buf_clear(name);
        name_row(it, &row, name);
    } while (rows_left_out(it->rows, row.seq));
    return 1;
}

static int
remove_row(struct engine *e, const struct place *dir, const char *name,
           const struct caller *who)
{
    return sync_rows_remove(e, dir->sync, rows_of(dir), ops_of(dir), name, who);
}

#define ROWS_DIR(child_)                                                                       \
    {                                                                                          \
        .child = child_, .find = find, .next = next, .remove = remove_row                      \
    }

#define ROW(which_, view_)                                                                     \
    {                                                                                          \
        "", ITEM_TEXT, ITEM_PASSING | ITEM_STEADY, which_, view_, .show = show_row             \
    }

static const struct item insert_row = ROW(ENTRY_INSERT, VIEW_JSONL);
static const struct item update_row = ROW(ENTRY_UPDATE, VIEW_JSONL);
static const struct item delete_row = ROW(ENTRY_DELETE, VIEW_JSONL);
static const struct item rejected_row = ROW(0, VIEW_REJECTED);

const struct dir nodes_inserts = ROWS_DIR(&insert_row);
const struct dir nodes_updates = ROWS_DIR(&update_row);
const struct dir nodes_deletes = ROWS_DIR(&delete_row);
const struct dir nodes_rejected = ROWS_DIR(&rejected_row);
