/* Delivery: see sender.h. Packed changes: op byte, varint seq, then key, after and before each
 * with a varint length; for a destination of calls, what they are known by. */
#include "run/sender.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "run/due.h"
#include "run/journal.h"
#include "run/plan.h"
#include "run/post.h"
#include "run/queue.h"

struct sender {
    struct sender_settings set;
    struct limits limits;
    struct queue queue;
    struct block *filling;
    struct post *post; /* of a destination of calls */
    struct journal *journal;
    bool threaded; /* the thread runs */
    bool session;  /* begun and neither committed nor aborted */
    pthread_t thread;

    /* the thread's, and the caller's once it is joined */
    VEC(struct change) changes;
    VEC(struct value) values;
    VEC(struct outcome) outcomes;
    uint64_t batches;
    struct verdicts *verdicts;

    pthread_mutex_t lock; /* guards result and error while the thread runs */
    int result;
    struct error error;
};

int
sender_create(const struct sender_settings *settings, struct sender **ret, struct error *err)
{
    struct sender *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(err);
    s->set = *settings;
    s->limits = (struct limits){.rows = 1000, .bytes = QUEUE_BLOCK_BYTES, .parallel = 1};
    if (settings->driver->dest_limits)
        settings->driver->dest_limits(settings->destination, &s->limits);
    pthread_mutex_init(&s->lock, NULL);
    queue_init(&s->queue);
    *ret = s;
    return 0;
}

/* ---- the thread ---- */

static enum operation
operation_of(const struct sender *s, enum entry_op op)
{
    switch (op) {
    case ENTRY_DELETE:
        return OP_DELETE;
    case ENTRY_PRESENT:
        return OP_PRESENT;
    default:
        break;
    }
    switch (s->set.mode) {
    case MODE_INSERT:
        return OP_INSERT;
    case MODE_UPDATE:
        return OP_UPDATE;
    default:
        return OP_UPSERT;
    }
}

static int
damaged(struct error *err)
{
    return error_set(err, ERR_INTERNAL, EIO,
                     "a change between comparing and sending is damaged");
}

static bool
take_str(const char **p, const char *end, struct str *ret)
{
    uint64_t n;
    if (!varint_read(p, end, &n) || n > (uint64_t)(end - *p))
        return false;
    *ret = (struct str){*p, n};
    *p += n;
    return true;
}

static bool
take_due(const char **p, const char *end, struct due *ret)
{
    uint64_t copy;
    if (!varint_read(p, end, &ret->run) || !varint_read(p, end, &copy))
        return false;
    ret->copy = (uint32_t)copy;
    return true;
}

static bool
take_flag(const char **p, const char *end, bool *ret)
{
    if (*p == end)
        return false;
    *ret = *(*p)++ != 0;
    return true;
}

/* Room for the values of one change: its fields and its key. */
static size_t
values_a_change(const struct sender *s)
{
    return s->set.meta->nfields + s->set.meta->nkey;
}

/* Unpacks one change into values[0..]; `sender` is void for post.c. due: what a destination of
 * calls is told beside it. */
static bool
unpack(const void *sender, const char **p, const char *end, struct value *values,
       struct change *c, struct due *due)
{
    const struct sender *s = sender;
    const struct chg_meta *meta = s->set.meta;
    if (end - *p < 2)
        return false;
    enum entry_op op = (enum entry_op) * (*p)++;
    struct str after;
    if (!varint_read(p, end, &c->seq) || !take_str(p, end, &after) ||
        !take_str(p, end, &c->before))
        return false;
    c->unsure = false;
    if (s->set.driver->dest_call && (!take_due(p, end, due) || !take_flag(p, end, &c->unsure)))
        return false;
    c->op = operation_of(s, op);
    bool has_after = c->op != OP_DELETE;
    if (!record_unpack(has_after ? after : c->before, values, meta->nfields))
        return false;
    struct value *key = values + meta->nfields;
    for (size_t i = 0; i < meta->nkey; i++)
        key[i] = values[meta->key[i]];
    c->key = key;
    c->after = has_after && c->op != OP_PRESENT ? values : NULL;
    return true;
}

/* Two systems are at work: the failure says which one it was. */
static int
at_destination(const struct sender *s, struct error *err)
{
    if (err->kind == ERR_REPLAY || err->kind == ERR_CANCELLED)
        return -err->errnum;
    return error_wrap(err, "destination \"%s\"", s->set.name);
}

static int
write_batch(struct sender *s, size_t first, size_t n, struct error *err)
{
    struct batch batch = {.changes = s->changes.p + first, .n = n, .number = s->batches++};
    memset(s->outcomes.p, 0, n * sizeof *s->outcomes.p);
    int rc = cancel_check(s->set.cancelled, err); /* what is queued stays unsent */
    if (rc < 0)
        return rc;
    rc = s->set.driver->dest_write(s->set.destination, &batch, s->outcomes.p, err);
    if (rc < 0)
        return at_destination(s, err);
    for (size_t i = 0; i < n; i++)
        if (batch.changes[i].op != OP_PRESENT)
            verdicts_keep(s->verdicts, batch.changes[i].seq, &s->outcomes.p[i]);
    atomic_fetch_add_explicit(&s->set.progress->sent, n, memory_order_relaxed);
    return verdicts_kept(s->verdicts, err);
}

static int
write_block(struct sender *s, const struct block *b, struct error *err)
{
    size_t step = values_a_change(s);
    if (!VEC_RESERVE(&s->changes, b->rows) || !VEC_RESERVE(&s->values, b->rows * step) ||
        !VEC_RESERVE(&s->outcomes, b->rows))
        return error_no_memory(err);
    const char *p = b->data.p, *end = p + b->data.n;
    size_t first = 0, bytes = 0;
    const char *batch_start = p;
    for (size_t i = 0; i < b->rows; i++) {
        struct due due; /* there is none */
        if (!unpack(s, &p, end, s->values.p + i * step, &s->changes.p[i], &due))
            return damaged(err);
        bytes = (size_t)(p - batch_start);
        if (i + 1 - first < s->limits.rows && bytes < s->limits.bytes && i + 1 < b->rows)
            continue;
        int rc = write_batch(s, first, i + 1 - first, err);
        if (rc < 0)
            return rc;
        first = i + 1;
        batch_start = p;
    }
    return 0;
}

static void
fail(struct sender *s, int rc, const struct error *err)
{
    pthread_mutex_lock(&s->lock);
    s->result = rc;
    s->error = *err;
    pthread_mutex_unlock(&s->lock);
}

/* To a destination of calls. */
static void
post_all(struct sender *s)
{
    struct error err = ERROR_INIT;
    int rc = post_run(s->post, &err);
    if (rc == 0)
        rc = verdicts_kept(s->verdicts, &err);
    if (rc < 0)
        fail(s, rc, &err);
}

static void *
send_blocks(void *arg)
{
    struct sender *s = arg;
    struct block *b;
    if (s->post)
        post_all(s);
    while ((b = queue_get(&s->queue))) {
        /* After a failure blocks are taken and dropped: the producer must not hang. */
        struct error err = ERROR_INIT;
        pthread_mutex_lock(&s->lock);
        bool failed = s->result < 0;
        pthread_mutex_unlock(&s->lock);
        int rc = failed ? 0 : write_block(s, b, &err);
        queue_recycle(&s->queue, b);
        if (rc < 0)
            fail(s, rc, &err);
    }
    return NULL;
}

/* Ends the thread; everything queued was written or dropped afterwards. */
static void
join(struct sender *s)
{
    if (!s->threaded)
        return;
    queue_close_producer(&s->queue);
    if (s->post)
        post_wake(s->post);
    pthread_join(s->thread, NULL);
    s->threaded = false;
    queue_done(&s->queue);
    queue_init(&s->queue);
}

/* ---- the caller's side ---- */

int
sender_begin(struct sender *s, const struct session *session, struct error *err)
{
    verdicts_free(s->verdicts);
    s->verdicts = verdicts_create(s->set.dirfd);
    if (!s->verdicts)
        return error_no_memory(err);
    s->result = 0;
    s->batches = 0;
    atomic_store(&s->set.progress->sent, 0);
    if (s->set.driver->dest_begin) {
        int rc = s->set.driver->dest_begin(s->set.destination, session, err);
        if (rc < 0)
            return at_destination(s, err);
    }
    s->post = post_free(s->post);
    s->journal = journal_free(s->journal);
    if (s->set.journal) {
        int rc = journal_create(s->set.dirfd, s->set.journal, &s->journal, err);
        if (rc < 0)
            return rc;
    }
    const struct post_settings posting = {
        .sender = &s->set,
        .limits = s->limits,
        .unpack = unpack,
        .arg = s,
        .values_a_change = values_a_change(s),
        .verdicts = s->verdicts,
        .queue = &s->queue,
        .journal = s->journal,
    };
    int rc = s->set.driver->dest_call ? post_create(&posting, &s->post, err) : 0;
    s->session = rc == 0;
    return rc;
}

static int
flush_block(struct sender *s, struct error *err)
{
    struct block *b = TAKE(s->filling);
    if (!b)
        return 0;
    if (!s->threaded) {
        int rc = pthread_create(&s->thread, NULL, send_blocks, s);
        if (rc != 0) {
            queue_recycle(&s->queue, b);
            return error_set_errno(err, ERR_INTERNAL, rc, "cannot start a thread");
        }
        s->threaded = true;
    }
    int rc = s->set.ahead ? s->set.ahead(s->set.arg, err) : 0;
    if (rc < 0) {
        queue_recycle(&s->queue, b);
        return rc;
    }
    queue_put(&s->queue, b);
    if (s->post)
        post_wake(s->post);
    pthread_mutex_lock(&s->lock);
    rc = s->error.kind == ERR_REPLAY ? 0 : s->result;
    if (rc < 0)
        *err = s->error;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int
sender_add(struct sender *s, const struct entry *e, struct error *err)
{
    if (!s->filling && !(s->filling = queue_blank(&s->queue)))
        return error_no_memory(err);
    struct buf *out = &s->filling->data;
    /* What is created has nothing before it at the destination, whatever was known of it. */
    struct str before = e->op == ENTRY_INSERT ? (struct str){0} : e->before;
    char *to = buf_room(out, 2 + 5 * VARINT_MAX + e->after.n + before.n);
    if (!to)
        return error_no_memory(err);
    *to++ = (char)e->op;
    to = varint_write_str(varint_write(to, e->seq), e->after);
    to = varint_write_str(to, before);
    if (s->set.driver->dest_call) {
        struct due due = due_of(s->set.meta, e, s->set.due_run);
        to = varint_write(varint_write(to, due.run), due.copy);
        *to++ = s->set.whole || plan_is_unsure(e);
    }
    out->n = (size_t)(to - out->p);
    s->filling->rows++;
    return out->n >= QUEUE_BLOCK_BYTES ? flush_block(s, err) : 0;
}

int
sender_drain(struct sender *s, struct error *err)
{
    int rc = flush_block(s, err);
    join(s);
    if (rc < 0)
        return rc;
    if (s->result < 0)
        *err = s->error;
    return s->result;
}

int
sender_survey(struct sender *s, dest_foreign_fn foreign, void *arg, struct error *err)
{
    int rc = s->set.driver->dest_survey(s->set.destination, foreign, arg, err);
    return rc < 0 ? at_destination(s, err) : rc;
}

int
sender_apply(struct sender *s, struct error *err)
{
    int rc = 0;
    if (s->set.driver->dest_apply)
        rc = s->set.driver->dest_apply(s->set.destination, verdicts_keep, s->verdicts, err);
    return rc < 0 ? at_destination(s, err) : verdicts_kept(s->verdicts, err);
}

int
sender_commit(struct sender *s, struct error *err)
{
    int rc = 0;
    if (s->set.driver->dest_commit)
        rc = s->set.driver->dest_commit(s->set.destination, err);
    if (rc < 0)
        return at_destination(s, err);
    s->session = false;
    return 0;
}

void
sender_abort(struct sender *s)
{
    if (s->filling) {
        queue_recycle(&s->queue, s->filling);
        s->filling = NULL;
    }
    if (s->threaded) {
        pthread_mutex_lock(&s->lock);
        if (s->result == 0)
            s->result = error_set(&s->error, ERR_CANCELLED, ECANCELED, "cancelled");
        pthread_mutex_unlock(&s->lock);
        if (s->post)
            post_abandon(s->post);
        join(s);
    }
    if (s->session && s->set.driver->dest_abort)
        s->set.driver->dest_abort(s->set.destination);
    s->session = false;
    error_clear(&s->error);
}

const struct error *
sender_stopped(const struct sender *s)
{
    return s->post ? post_stopped(s->post) : NULL;
}

struct verdicts *
sender_verdicts(const struct sender *s)
{
    return s->verdicts;
}

struct sender *
sender_free(struct sender *s)
{
    if (!s)
        return NULL;
    sender_abort(s);
    post_free(s->post);
    journal_free(s->journal);
    queue_done(&s->queue);
    verdicts_free(s->verdicts);
    VEC_DONE(&s->changes);
    VEC_DONE(&s->values);
    VEC_DONE(&s->outcomes);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}
