/* The delivered state carried on: a run's new segment, and many segments made one. */
#include "data/state.h"

enum {
    SEGMENTS_MAX = 8,
    MERGE_BYTES = 1 << 20, /* below this, merging is not worth its fsync */
    SMALL_SHARE = 4,       /* the small ones may reach a quarter of the large one */
};

bool
state_wants_merge(const struct state *s)
{
    uint64_t sum = 0, largest = 0;
    for (size_t i = 0; i < s->n; i++) {
        uint64_t size = chg_file_size(s->segments[i]);
        sum += size;
        largest = size > largest ? size : largest;
    }
    uint64_t small = sum - largest;
    return s->n > SEGMENTS_MAX || (small > MERGE_BYTES && small > largest / SMALL_SHARE);
}

int
state_merge(const struct state *s, const struct chg_meta *meta, const atomic_bool *cancelled,
            int dirfd, const char *name, uint64_t *ret_live, struct error *err)
{
    struct state_cursor *cur = NULL;
    struct chg_writer *w = NULL;
    int rc = state_cursor_open(s, meta, &cur, err);
    if (rc < 0)
        return rc;
    rc = chg_create(dirfd, name, meta, 0, &w, err);
    uint64_t live = 0;
    while (rc == 0 && (rc = cancel_check(cancelled, err)) == 0) {
        struct entry e;
        rc = state_next(cur, &e, err);
        if (rc <= 0)
            break;
        e.seq = live++;
        rc = chg_add(w, &e, err);
    }
    state_cursor_close(cur);
    if (rc < 0) {
        chg_discard(w);
        return rc;
    }
    chg_cancel_by(w, cancelled);
    rc = chg_finish(w, true, NULL, NULL, err);
    if (rc == 0 && ret_live)
        *ret_live = live;
    return rc;
}

/* The keys of a file, asked for in ascending order. */
struct key_set {
    struct chg_cursor *cursor; /* NULL: the empty set */
    struct entry entry;
    bool there;
};

static int
set_advance(struct key_set *set, struct error *err)
{
    int rc = chg_next(set->cursor, &set->entry, err);
    set->there = rc > 0;
    return rc < 0 ? rc : 0;
}

/* 1: in the set, 0: not. */
static int
set_holds(struct key_set *set, struct str key, struct error *err)
{
    while (set->there) {
        int c = key_compare(set->entry.key, key);
        if (c >= 0)
            return c == 0;
        int rc = set_advance(set, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Copies what was sent and is in neither set. */
static int
copy_delivered(struct chg_cursor *sent, struct key_set without[2], const atomic_bool *cancelled,
               struct chg_writer *w, struct error *err)
{
    struct entry e;
    int rc;
    while ((rc = cancel_check(cancelled, err)) == 0 && (rc = chg_next(sent, &e, err)) > 0) {
        if (e.op == ENTRY_PRESENT)
            continue;
        rc = set_holds(&without[0], e.key, err);
        if (rc == 0)
            rc = set_holds(&without[1], e.key, err);
        if (rc > 0)
            continue;
        if (rc < 0)
            break;
        e.before = e.note = (struct str){0};
        e.tries = 0;
        e.due = (struct due){0};
        if (e.op == ENTRY_DELETE)
            e.after = (struct str){0};
        rc = chg_add(w, &e, err);
        if (rc < 0)
            break;
    }
    return rc;
}

static int
set_open(struct key_set *set, struct chg *file, struct error *err)
{
    if (!file)
        return 0;
    int rc = chg_cursor_open(file, &set->cursor, err);
    return rc < 0 ? rc : set_advance(set, err);
}

int
state_apply(struct chg *sent, struct chg *rejected, struct chg *unsent,
            const atomic_bool *cancelled, int dirfd, const char *name,
            struct chg_totals *totals, struct error *err)
{
    struct chg_cursor *cur = NULL;
    struct key_set without[2] = {0};
    struct chg_writer *w = NULL;
    int rc = chg_cursor_open(sent, &cur, err);
    if (rc == 0)
        rc = set_open(&without[0], rejected, err);
    if (rc == 0)
        rc = set_open(&without[1], unsent, err);
    if (rc == 0)
        rc = chg_create(dirfd, name, chg_get_meta(sent), 0, &w, err);
    if (rc == 0)
        rc = copy_delivered(cur, without, cancelled, w, err);
    chg_cursor_close(cur);
    for (size_t i = 0; i < 2; i++)
        chg_cursor_close(without[i].cursor);
    if (rc < 0) {
        chg_discard(w);
        return rc;
    }
    chg_cancel_by(w, cancelled);
    return chg_finish(w, true, totals, NULL, err);
}
