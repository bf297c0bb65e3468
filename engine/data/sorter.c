/*
 * Sorting with bounded memory: see sorter.h.
 *
 * One region of memory holds everything. Rows grow from its front; what is sorted (struct item)
 * comes to its back. When a row does not fit, all are spilled to partitions (partition.h) and
 * the region becomes the partitions' write buffers; at the end it holds one partition after the
 * other. So the memory in use is the budget in every phase.
 */
#include "data/sorter.h"

#include <stdlib.h>

#include "base/arena.h"
#include "data/partition.h"

enum {
    BUDGET_MIN = 64 * 1024,
    CUTS_MAX = 127,     /* each may make two partitions */
    SAMPLE_ROWS = 4096, /* of a partition that has to be split again */
    INSERTION_MAX = 12,
};

/* A row to be sorted: where it is, and eight bytes of its key after what all keys share. */
struct item {
    uint64_t prefix;
    const char *row;
};

/* Room a row needs at the back: its item, and half of one to merge with. */
enum { ITEM_ROOM = sizeof(struct item) + sizeof(struct item) / 2 };

struct sorter {
    char *region;
    size_t cap;
    size_t used, nrows; /* rows at the front */
    struct item *items; /* of the sorted rows, at the back */
    size_t next;        /* item to be given */
    struct parts *parts;
    bool spilled;
    struct part *streamed; /* the partition that is given row by row */
    struct arena arena;
    struct str *hint;
    size_t nhint;
    const atomic_bool *cancelled;
};

static bool
copy_hint(struct sorter *s, const struct str *hint, size_t nhint)
{
    s->hint = arena_alloc(&s->arena, nhint * sizeof *hint);
    for (size_t i = 0; s->hint && i < nhint; i++) {
        char *copy = arena_strndup(&s->arena, hint[i].p, hint[i].n);
        if (!copy)
            return false;
        s->hint[i] = (struct str){copy, hint[i].n};
    }
    s->nhint = nhint;
    return s->hint;
}

int
sorter_create(int dirfd, const struct str *hint, size_t nhint, size_t budget,
              struct sorter **ret, struct error *err)
{
    struct sorter *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(err);
    s->cap = (budget > BUDGET_MIN ? budget : BUDGET_MIN) & ~(sizeof(struct item) - 1);
    s->region = malloc(s->cap); /* pages come as they are used */
    int rc = 0;
    if (!s->region || !copy_hint(s, hint, nhint))
        rc = error_no_memory(err);
    else
        rc = parts_create(dirfd, s->region, s->cap, &s->parts, err);
    if (rc < 0)
        sorter_free(s);
    else
        *ret = s;
    return rc;
}

void
sorter_cancel_by(struct sorter *s, const atomic_bool *cancelled)
{
    s->cancelled = cancelled;
}

struct sorter *
sorter_free(struct sorter *s)
{
    if (!s)
        return NULL;
    parts_free(s->parts);
    free(s->streamed);
    arena_done(&s->arena);
    free(s->region);
    free(s);
    return NULL;
}

/* ---- in memory ---- */

static struct str
row_key(const char *row)
{
    struct str key, data;
    row_read(row, &key, &data);
    return key;
}

static bool
fits(const struct sorter *s, uint64_t bytes, uint64_t rows)
{
    return bytes <= s->cap && rows <= (s->cap - bytes) / ITEM_ROOM;
}

static bool
item_less(const struct item *a, const struct item *b)
{
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    return key_compare(row_key(a->row), row_key(b->row)) < 0;
}

/* Stable merge sort; tmp holds n / 2. What is in order already is only looked at. */
static void
sort_items(struct item *a, size_t n, struct item *tmp)
{
    if (n <= INSERTION_MAX) {
        for (size_t i = 1; i < n; i++) {
            struct item x = a[i];
            size_t k = i;
            for (; k > 0 && item_less(&x, &a[k - 1]); k--)
                a[k] = a[k - 1];
            a[k] = x;
        }
        return;
    }
    size_t middle = n / 2;
    sort_items(a, middle, tmp);
    sort_items(a + middle, n - middle, tmp);
    if (!item_less(&a[middle], &a[middle - 1]))
        return;
    memcpy(tmp, a, middle * sizeof *a);
    size_t left = 0, right = middle, to = 0;
    while (left < middle && right < n)
        a[to++] = item_less(&a[right], &tmp[left]) ? a[right++] : tmp[left++];
    memcpy(a + to, tmp + left, (middle - left) * sizeof *a);
}

/* Up to eight bytes of key as a number in memcmp order. */
static uint64_t
key_prefix(struct str key, size_t from)
{
    char bytes[8] = {0};
    if (key.n > from)
        memcpy(bytes, key.p + from, key.n - from < 8 ? key.n - from : 8);
    uint64_t v;
    memcpy(&v, bytes, 8);
    return __builtin_bswap64(v);
}

/* Sorts the rows at the front. */
static void
sort_region(struct sorter *s)
{
    s->next = 0;
    s->items = (struct item *)(void *)(s->region + s->cap) - s->nrows;
    if (s->nrows == 0)
        return;
    struct str first = row_key(s->region), data;
    size_t shared = first.n; /* bytes that all keys begin with */
    const char *row = s->region;
    for (size_t i = 0; i < s->nrows; i++) {
        struct str key;
        s->items[i].row = row;
        row = row_read(row, &key, &data);
        size_t n = key.n < shared ? key.n : shared, same = 0;
        while (same < n && key.p[same] == first.p[same])
            same++;
        shared = same;
    }
    for (size_t i = 0; i < s->nrows; i++)
        s->items[i].prefix = key_prefix(row_key(s->items[i].row), shared);
    sort_items(s->items, s->nrows, s->items - s->nrows / 2);
}

static void
put_row(struct sorter *s, struct str key, struct str data)
{
    uint32_t head[2] = {(uint32_t)key.n, (uint32_t)data.n};
    char *to = s->region + s->used;
    memcpy(to, head, ROW_HEAD);
    if (key.n > 0)
        memcpy(to + ROW_HEAD, key.p, key.n);
    if (data.n > 0)
        memcpy(to + ROW_HEAD + key.n, data.p, data.n);
    s->used += row_size(key, data);
    s->nrows++;
}

static void
clear_region(struct sorter *s)
{
    s->used = s->nrows = s->next = 0;
}

/* ---- on disk ---- */

/*
 * Cuts at keys evenly spaced in the sorted region. Where the row before has the same key, that
 * key gets a partition of its own: then every set that has more than one key is divided, and
 * what cannot be divided needs no sorting.
 */
static int
cut_by_region(struct sorter *s, struct error *err)
{
    size_t n = s->nrows, pieces = n < CUTS_MAX + 1 ? n : CUTS_MAX + 1;
    if (n == 1)
        return parts_cut(s->parts, row_key(s->items[0].row), true, err);
    for (size_t i = 1; i < pieces; i++) {
        size_t at = (size_t)((uint64_t)i * n / pieces);
        bool alone = !item_less(&s->items[at - 1], &s->items[at]);
        int rc = parts_cut(s->parts, row_key(s->items[at].row), alone, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
cut_by_hint(struct sorter *s, struct error *err)
{
    size_t pieces = s->nhint < 2 * CUTS_MAX ? s->nhint : 2 * CUTS_MAX;
    int rc = 0;
    for (size_t i = 0; i < pieces && rc == 0; i++)
        rc = parts_cut(s->parts, s->hint[i * s->nhint / pieces], false, err);
    return rc;
}

/* All rows of the region to the disk, so that it becomes write buffers. */
static int
spill(struct sorter *s, struct error *err)
{
    sort_region(s);
    int rc = parts_begin(s->parts, true, err);
    if (rc == 0)
        rc = s->nhint > 0 ? cut_by_hint(s, err) : cut_by_region(s, err);
    for (size_t i = 0; i < s->nrows && rc == 0; i++) {
        struct str key, data;
        row_read(s->items[i].row, &key, &data);
        rc = parts_add(s->parts, key, data, err);
    }
    if (rc == 0)
        rc = parts_end_spill(s->parts, err);
    clear_region(s);
    s->spilled = true;
    return rc;
}

static int
next_row(struct sorter *s, struct str *key, struct str *data, struct error *err)
{
    int rc = cancel_check(s->cancelled, err);
    return rc < 0 ? rc : parts_next(s->parts, key, data, err);
}

/* Every so many rows' keys of the partition into the region, sorted. */
static int
sample_part(struct sorter *s, const struct part *part, struct error *err)
{
    uint64_t step = part->rows / SAMPLE_ROWS + 1;
    struct str key, data;
    clear_region(s);
    parts_rewind(s->parts, part, true);
    int rc = 0;
    for (uint64_t i = 0; (rc = next_row(s, &key, &data, err)) > 0; i++)
        if (i % step == 0 && fits(s, s->used + ROW_HEAD + key.n, s->nrows + 1))
            put_row(s, key, (struct str){0});
    sort_region(s);
    return rc;
}

/* Replaces the first partition by smaller ones. */
static int
split_first(struct sorter *s, struct error *err)
{
    struct part *part = parts_take(s->parts);
    struct str key, data;
    int rc = sample_part(s, part, err);
    if (rc == 0)
        rc = parts_begin(s->parts, false, err);
    if (rc == 0 && s->nrows > 0)
        rc = cut_by_region(s, err);
    else if (rc == 0) /* no key fits in memory: the rows are huge, and few */
        rc = error_set(err, ERR_LIMIT, EFBIG, "an identifier is too large to sort by");
    clear_region(s);
    parts_rewind(s->parts, part, false);
    while (rc == 0 && (rc = next_row(s, &key, &data, err)) > 0)
        rc = parts_add(s->parts, key, data, err);
    if (rc == 0)
        rc = parts_flush(s->parts, err);
    free(part);
    return rc;
}

/* Makes the first partition what sorter_next gives. 0: no more. */
static int
next_part(struct sorter *s, struct error *err)
{
    struct part *part = parts_first(s->parts);
    if (!part)
        return 0;
    bool streamed = part->equal || part->rows == 1;
    if (!streamed && !fits(s, part->bytes, part->rows)) {
        int rc = split_first(s, err);
        return rc < 0 ? rc : 1;
    }
    part = parts_take(s->parts);
    clear_region(s);
    if (streamed) {
        parts_rewind(s->parts, part, false);
        s->streamed = part;
        return 1;
    }
    int rc = parts_load(s->parts, part, s->region, err);
    if (rc == 0) {
        s->nrows = part->rows;
        s->used = part->bytes;
        sort_region(s);
    }
    free(part);
    return rc < 0 ? rc : 1;
}

/* ---- */

int
sorter_add(struct sorter *s, struct str key, struct str data, struct error *err)
{
    if (key.n > UINT32_MAX || data.n > UINT32_MAX)
        return error_set(err, ERR_LIMIT, EFBIG, "a row is too large to sort");
    if (!s->spilled) {
        if (fits(s, s->used + row_size(key, data), s->nrows + 1)) {
            put_row(s, key, data);
            return 0;
        }
        int rc = spill(s, err);
        if (rc < 0)
            return rc;
    }
    return parts_add(s->parts, key, data, err);
}

int
sorter_finish(struct sorter *s, struct error *err)
{
    if (s->spilled)
        return parts_flush(s->parts, err);
    sort_region(s);
    return 0;
}

int
sorter_next(struct sorter *s, struct str *key, struct str *data, struct error *err)
{
    for (;;) {
        if (s->next < s->nrows) {
            row_read(s->items[s->next++].row, key, data);
            return 1;
        }
        if (s->streamed) {
            int rc = parts_next(s->parts, key, data, err);
            if (rc != 0)
                return rc;
            free(s->streamed);
            s->streamed = NULL;
        }
        int rc = s->spilled ? next_part(s, err) : 0;
        if (rc <= 0)
            return rc;
    }
}
