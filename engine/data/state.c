/*
 * The delivered state as one ordered stream: see state.h. A cursor holds one entry of each
 * segment; there are at most some ten, so the smallest key is found by looking at all.
 */
#include "data/state.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "data/reshape.h"

int
state_open(int dirfd, const char *const *names, size_t n, struct state *ret, struct error *err)
{
    *ret = (struct state){.segments = calloc(n + 1, sizeof *ret->segments)};
    if (!ret->segments)
        return error_no_memory(err);
    for (; ret->n < n; ret->n++) {
        int rc = chg_open(dirfd, names[ret->n], &ret->segments[ret->n], err);
        if (rc < 0) {
            state_done(ret);
            return rc;
        }
    }
    return 0;
}

void
state_done(struct state *s)
{
    for (size_t i = 0; i < s->n; i++)
        chg_unref(s->segments[i]);
    free(s->segments);
    *s = (struct state){0};
}

/* ---- cursor ---- */

struct segment {
    struct chg_cursor *cursor;
    struct entry entry;
    bool there; /* entry is the next of this segment */
    bool stale; /* entry was given: get the next before comparing */
    struct reshape reshape;
};

struct state_cursor {
    struct segment *segments; /* oldest first */
    size_t n;
    struct buf record;
};

static int
open_segment(struct segment *s, struct chg *file, const struct chg_meta *want,
             struct error *err)
{
    s->stale = true;
    int rc = reshape_init(&s->reshape, chg_get_meta(file), want, err);
    return rc < 0 ? rc : chg_cursor_open(file, &s->cursor, err);
}

int
state_cursor_open(const struct state *s, const struct chg_meta *want, struct state_cursor **ret,
                  struct error *err)
{
    struct state_cursor *cur = calloc(1, sizeof *cur);
    if (cur)
        cur->segments = calloc(s->n + 1, sizeof *cur->segments);
    if (!cur || !cur->segments) {
        state_cursor_close(cur);
        return error_no_memory(err);
    }
    for (; cur->n < s->n; cur->n++) {
        int rc = open_segment(&cur->segments[cur->n], s->segments[cur->n], want, err);
        if (rc < 0) {
            cur->n++; /* its memory too */
            state_cursor_close(cur);
            return rc;
        }
    }
    *ret = cur;
    return 0;
}

struct state_cursor *
state_cursor_close(struct state_cursor *cur)
{
    if (!cur)
        return NULL;
    for (size_t i = 0; i < cur->n; i++) {
        chg_cursor_close(cur->segments[i].cursor);
        reshape_done(&cur->segments[i].reshape);
    }
    buf_done(&cur->record);
    free(cur->segments);
    free(cur);
    return NULL;
}

int
state_seek(struct state_cursor *cur, struct str key, struct error *err)
{
    for (size_t i = 0; i < cur->n; i++) {
        int rc = chg_seek(cur->segments[i].cursor, key, err);
        if (rc < 0)
            return rc;
        cur->segments[i].stale = true;
    }
    return 0;
}

static int
advance(struct segment *s, struct error *err)
{
    int rc = chg_next(s->cursor, &s->entry, err);
    s->there = rc > 0;
    s->stale = false;
    return rc;
}

/* Makes all with the smallest key stale and *ret the newest of them; NULL at the end. */
static int
take_smallest(struct state_cursor *cur, struct segment **ret, struct error *err)
{
    struct segment *least = NULL;
    for (size_t i = cur->n; i-- > 0;) {
        struct segment *s = &cur->segments[i];
        if (s->stale) {
            int rc = advance(s, err);
            if (rc < 0)
                return rc;
        }
        if (!s->there)
            continue;
        int c = least ? key_compare(s->entry.key, least->entry.key) : -1;
        if (c < 0) {
            for (size_t k = i + 1; k < cur->n; k++)
                cur->segments[k].stale = false; /* held the least key so far */
            least = s;
        }
        s->stale = c <= 0;
    }
    *ret = least;
    return 0;
}

int
state_next(struct state_cursor *cur, struct entry *e, struct error *err)
{
    for (;;) {
        struct segment *s;
        int rc = take_smallest(cur, &s, err);
        if (rc < 0 || !s)
            return rc;
        if (s->entry.op == ENTRY_DELETE)
            continue;
        bool recorded = s->entry.op == ENTRY_RECORDED;
        *e = (struct entry){.op = recorded ? ENTRY_RECORDED : ENTRY_INSERT,
                            .seq = s->entry.seq,
                            .key = s->entry.key,
                            .after = s->entry.after};
        rc = reshape_record(&s->reshape, &e->after, &cur->record, err);
        return rc < 0 ? rc : 1;
    }
}
