/* Reading the model: see reader.h. A row in a block is a struct head, the record, the key and
 * why it is bad; in the sorter it is its key and the rest: kind byte, [varint why length, why,]
 * record. */
#include "run/reader.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "data/sorter.h"
#include "run/queue.h"

struct head {
    size_t record, key; /* bytes */
    uint32_t why;
    uint32_t kind;
};

struct reader {
    struct reader_settings set;
    pthread_t thread;
    struct queue queue;
    struct sorter *sorter; /* NULL when the source gives key order */
    bool sorted;           /* the thread has ended and the sorter hands out */

    /* the reading thread's */
    struct block *filling;
    struct buf key, record, packed;
    struct error why;   /* the row is bad */
    struct error error; /* of the read; valid once the thread has ended */
    int result;
    bool ours; /* it was not the source that failed */

    /* the consumer's */
    struct block *taking;
    const char *at;
    bool joined;
};

static void
pack_rest(struct buf *out, enum mapped kind, const struct error *why, struct str record)
{
    buf_addc(out, (char)kind);
    if (kind >= MAPPED_BAD) {
        size_t n = strlen(why->text);
        buf_add_varint(out, n);
        buf_add(out, why->text, n);
    }
    buf_add(out, record.p, record.n);
}

static bool
unpack_rest(struct str rest, struct row *row)
{
    const char *p = rest.p, *end = p + rest.n;
    if (p == end)
        return false;
    row->kind = (enum mapped) * p++;
    row->why = (struct str){"", 0};
    if (row->kind >= MAPPED_BAD) {
        uint64_t n;
        if (!varint_read(&p, end, &n) || n > (uint64_t)(end - p))
            return false;
        row->why = (struct str){p, n};
        p += n;
    }
    row->record = (struct str){p, (size_t)(end - p)};
    return true;
}

static int
flush_block(struct reader *r, struct error *err)
{
    struct block *b = TAKE(r->filling);
    if (!b)
        return 0;
    atomic_fetch_add_explicit(&r->set.progress->rows_read, b->rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->set.progress->bytes_read,
                              b->data.n - b->rows * sizeof(struct head), memory_order_relaxed);
    if (!queue_put(&r->queue, b))
        return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
    return 0;
}

/* Appends the record and sets r->key, which is where the row goes. */
static int
map_row(struct reader *r, const struct value *values, struct buf *record, enum mapped *kind,
        struct error *err)
{
    int rc = cancel_check(r->set.cancelled, err);
    if (rc < 0)
        return rc;
    buf_clear(&r->key);
    return mapper_row(r->set.mapper, values, &r->key, record, kind, &r->why, err);
}

static int
add_to_block(struct reader *r, const struct value *values, struct error *err)
{
    if (!r->filling && !(r->filling = queue_blank(&r->queue)))
        return error_no_memory(err);
    struct buf *out = &r->filling->data;
    size_t at = out->n, record = at + sizeof(struct head);
    if (!buf_room(out, sizeof(struct head)))
        return error_no_memory(err);
    out->n = record;
    enum mapped kind;
    int rc = map_row(r, values, out, &kind, err);
    if (rc < 0)
        return rc;
    const struct head head = {
        .record = out->n - record,
        .key = r->key.n,
        .why = kind >= MAPPED_BAD ? (uint32_t)strlen(r->why.text) : 0,
        .kind = kind,
    };
    buf_add(out, r->key.p, head.key);
    buf_add(out, r->why.text, head.why);
    if (out->failed)
        return error_no_memory(err);
    memcpy(out->p + at, &head, sizeof head);
    r->filling->rows++;
    return out->n >= QUEUE_BLOCK_BYTES ? flush_block(r, err) : 0;
}

static int
add_to_sorter(struct reader *r, const struct value *values, struct error *err)
{
    enum mapped kind;
    buf_clear(&r->record);
    buf_clear(&r->packed);
    int rc = map_row(r, values, &r->record, &kind, err);
    if (rc < 0)
        return rc;
    pack_rest(&r->packed, kind, &r->why, buf_str(&r->record));
    if (r->packed.failed)
        return error_no_memory(err);
    atomic_fetch_add_explicit(&r->set.progress->rows_read, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->set.progress->bytes_read, r->packed.n, memory_order_relaxed);
    return sorter_add(r->sorter, buf_str(&r->key), buf_str(&r->packed), err);
}

/* source_row_fn */
static int
take_row(void *arg, const struct value *values, struct error *err)
{
    struct reader *r = arg;
    int rc = r->sorter ? add_to_sorter(r, values, err) : add_to_block(r, values, err);
    r->ours = rc < 0;
    return rc;
}

static void *
read_source(void *arg)
{
    struct reader *r = arg;
    r->result = r->set.driver->source_read(r->set.source, take_row, r, &r->error);
    if (r->result < 0 && !r->ours && r->error.kind != ERR_CANCELLED)
        error_wrap(&r->error, "source \"%s\"", r->set.name);
    if (r->result == 0)
        r->result = r->sorter ? sorter_finish(r->sorter, &r->error) : flush_block(r, &r->error);
    queue_close_producer(&r->queue);
    return NULL;
}

int
reader_start(const struct reader_settings *settings, struct reader **ret, struct error *err)
{
    struct reader *r = calloc(1, sizeof *r);
    if (!r)
        return error_no_memory(err);
    r->set = *settings;
    queue_init(&r->queue);
    int rc = 0;
    if (!settings->ordered)
        rc = sorter_create(settings->dirfd, settings->hint, settings->nhint,
                           settings->sort_memory, &r->sorter, err);
    if (rc == 0) {
        if (r->sorter)
            sorter_cancel_by(r->sorter, settings->cancelled);
        rc = pthread_create(&r->thread, NULL, read_source, r);
        if (rc != 0)
            rc = error_set_errno(err, ERR_INTERNAL, rc, "cannot start a thread");
    }
    if (rc < 0) {
        r->joined = true;
        reader_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

/* Waits for the thread; 0 or the read's error. */
static int
join(struct reader *r, struct error *err)
{
    if (!r->joined) {
        pthread_join(r->thread, NULL);
        r->joined = true;
    }
    if (r->result == 0)
        return 0;
    *err = r->error;
    return r->result < 0 ? r->result : -EIO;
}

static int
damaged(struct error *err)
{
    return error_set(err, ERR_INTERNAL, EIO, "a row between reading and comparing is damaged");
}

static int
next_sorted(struct reader *r, struct row *row, struct error *err)
{
    if (!r->sorted) {
        int rc = join(r, err);
        if (rc < 0)
            return rc;
        r->sorted = true;
    }
    struct str rest;
    int rc = sorter_next(r->sorter, &row->key, &rest, err);
    if (rc == 1 && !unpack_rest(rest, row))
        return damaged(err);
    return rc;
}

int
reader_next(struct reader *r, struct row *row, struct error *err)
{
    if (r->sorter)
        return next_sorted(r, row, err);
    while (!r->taking || r->at == r->taking->data.p + r->taking->data.n) {
        if (r->taking)
            queue_recycle(&r->queue, r->taking);
        r->taking = queue_get(&r->queue);
        if (!r->taking)
            return join(r, err);
        r->at = r->taking->data.p;
    }
    struct head head;
    size_t left = (size_t)(r->taking->data.p + r->taking->data.n - r->at);
    if (left < sizeof head)
        return damaged(err);
    memcpy(&head, r->at, sizeof head);
    left -= sizeof head;
    if (head.record > left || head.key > left - head.record ||
        head.why > left - head.record - head.key)
        return damaged(err);
    const char *record = r->at + sizeof head, *key = record + head.record;
    *row = (struct row){
        .kind = (enum mapped)head.kind,
        .record = {record, head.record},
        .key = {key, head.key},
        .why = {key + head.key, head.why},
    };
    r->at = row->why.p + head.why;
    return 1;
}

struct reader *
reader_free(struct reader *r)
{
    if (!r)
        return NULL;
    if (!r->joined) {
        queue_close_consumer(&r->queue);
        if (r->set.driver->source_cancel)
            r->set.driver->source_cancel(r->set.source);
        pthread_join(r->thread, NULL);
    }
    if (r->taking)
        queue_recycle(&r->queue, r->taking);
    if (r->filling)
        queue_recycle(&r->queue, r->filling);
    queue_done(&r->queue);
    sorter_free(r->sorter);
    buf_done(&r->key);
    buf_done(&r->record);
    buf_done(&r->packed);
    free(r);
    return NULL;
}
