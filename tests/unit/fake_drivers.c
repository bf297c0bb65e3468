/* Drivers in memory: see fake_drivers.h. The mapped fields must be id, name, city in this order
 * (fewer is fine); nobody but the engine calls these. */
#include "fake_drivers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fake_world fake;

void
fake_clear(void)
{
    memset(&fake, 0, sizeof fake);
}

void
fake_add(const char *id, const char *name, const char *city)
{
    struct fake_row *r = &fake.model[fake.nmodel++];
    snprintf(r->cells[0], FAKE_TEXT, "%s", id);
    snprintf(r->cells[1], FAKE_TEXT, "%s", name);
    snprintf(r->cells[2], FAKE_TEXT, "%s", city);
}

const struct fake_row *
fake_find(const char *id)
{
    for (size_t i = 0; i < fake.ntarget; i++)
        if (strcmp(fake.target[i].cells[0], id) == 0)
            return &fake.target[i];
    return NULL;
}

/* ---- source ---- */

struct source {
    const struct projection *projection;
    size_t at[FAKE_COLUMNS];
    atomic_bool cancelled;
};

static const char *const names[FAKE_COLUMNS] = {"id", "name", "city"};

static enum value_type
type_of(size_t column)
{
    return column == 2 && fake.bytes ? V_BYTES : V_TEXT;
}

static int
source_open(const void *connection, const struct model *model, void **ret, struct error *err)
{
    *ret = calloc(1, sizeof(struct source));
    atomic_fetch_add(&fake.open, 1);
    return 0;
}

static int
source_describe(void *handle, struct schema *ret, struct error *err)
{
    static struct column columns[FAKE_COLUMNS];
    for (size_t i = 0; i < FAKE_COLUMNS; i++)
        columns[i] = (struct column){.name = names[i], .type = type_of(i)};
    *ret = (struct schema){columns, FAKE_COLUMNS};
    return 0;
}

static int
source_plan(void *handle, const struct projection *projection, bool want_order,
            struct source_plan *ret, struct error *err)
{
    struct source *s = handle;
    s->projection = projection;
    for (size_t i = 0; i < projection->n; i++)
        for (size_t c = 0; c < FAKE_COLUMNS; c++)
            if (strcmp(projection->columns[i], names[c]) == 0)
                s->at[i] = c;
    *ret = (struct source_plan){.ordered = fake.ordered && want_order,
                                .guessed = fake.guessed,
                                .rows = (int64_t)fake.nmodel,
                                .rows_exact = true};
    return 0;
}

static int
source_read(void *handle, source_row_fn row, void *arg, struct error *err)
{
    struct source *s = handle;
    while (atomic_load(&fake.block) && !atomic_load(&s->cancelled))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (atomic_load(&s->cancelled))
        return error_set(err, ERR_REMOTE, EIO, "interrupted by request");
    for (size_t i = 0; i < fake.nmodel; i++) {
        if (fake.fail_at == i + 1)
            return error_set(err, ERR_REMOTE, EIO, "the source broke");
        struct value values[FAKE_COLUMNS];
        for (size_t v = 0; v < s->projection->n; v++) {
            const char *cell = fake.model[i].cells[s->at[v]];
            values[v] = (struct value){.p = cell,
                                       .n = (uint32_t)strlen(cell),
                                       .type = *cell ? type_of(s->at[v]) : V_NULL};
        }
        int rc = row(arg, values, err);
        if (rc)
            return rc;
    }
    return 0;
}

static void
source_cancel(void *handle)
{
    atomic_store(&((struct source *)handle)->cancelled, true);
}

static void
close_handle(void *handle)
{
    atomic_fetch_sub(&fake.open, 1);
    free(handle);
}

/* ---- destination ---- */

struct staged {
    enum operation op;
    uint64_t seq;
    struct fake_row row;
};

struct destination {
    const struct target *target;
    size_t nfields;
    bool open, careful, dry;
    char token[128];
    struct staged *staged;
    size_t n;
    struct fake_row next[FAKE_ROWS];
    size_t nnext;
};

static int
dest_open(const void *connection, const struct target *target, void **ret, struct error *err)
{
    if (fake.unreachable)
        return error_set(err, ERR_UNREACHABLE, EIO, "no connection");
    struct destination *d = calloc(1, sizeof *d);
    struct staged *staged = calloc(4 * FAKE_ROWS, sizeof *staged);
    if (!d || !staged) {
        free(d);
        free(staged);
        return error_no_memory(err);
    }
    d->nfields = target->nfields;
    d->staged = staged;
    atomic_fetch_add(&fake.open, 1);
    *ret = d;
    return 0;
}

static int
dest_begin(void *handle, const struct session *session, struct error *err)
{
    struct destination *d = handle;
    snprintf(d->token, sizeof d->token, "%s", session->token);
    d->careful = session->careful;
    d->dry = session->dry;
    d->open = true;
    d->n = 0;
    fake.begun++;
    return 0;
}

static int
dest_write(void *handle, const struct batch *batch, struct outcome *out, struct error *err)
{
    struct destination *d = handle;
    for (size_t i = 0; i < batch->n; i++) {
        const struct change *c = &batch->changes[i];
        struct staged *s = &d->staged[d->n++];
        memset(s, 0, sizeof *s);
        s->op = c->op;
        s->seq = c->seq;
        for (size_t f = 0; f < d->nfields && f < FAKE_COLUMNS; f++) {
            const struct value *v = c->after ? &c->after[f] : f == 0 ? c->key : NULL;
            if (v && v->n)
                memcpy(s->row.cells[f], v->p, v->n < FAKE_TEXT ? v->n : FAKE_TEXT - 1);
        }
        out[i].kind = ROW_STAGED;
    }
    return 0;
}

static size_t
find_next(const struct destination *d, const char *id)
{
    size_t i = 0;
    while (i < d->nnext && strcmp(d->next[i].cells[0], id) != 0)
        i++;
    return i;
}

static int
dest_survey(void *handle, dest_foreign_fn foreign, void *arg, struct error *err)
{
    struct destination *d = handle;
    for (size_t i = 0; i < fake.ntarget; i++) {
        const struct fake_row *r = &fake.target[i];
        bool held = false;
        for (size_t s = 0; s < d->n && !held; s++)
            held = d->staged[s].op != OP_DELETE &&
                   strcmp(d->staged[s].row.cells[0], r->cells[0]) == 0;
        if (held)
            continue;
        struct buf packed = BUF_INIT(4096);
        struct value key = {0};
        for (size_t f = 0; f < d->nfields; f++) {
            struct value v = {
                .p = r->cells[f], .n = (uint32_t)strlen(r->cells[f]), .type = V_TEXT};
            record_add(&packed, &v);
            if (f == 0)
                key = v;
        }
        int rc = foreign(arg, &key, buf_str(&packed), err);
        buf_done(&packed);
        if (rc)
            return rc;
    }
    return 0;
}

static void
apply_row(struct destination *d, const struct staged *s, dest_verdict_fn verdict, void *arg)
{
    size_t at = find_next(d, s->row.cells[0]);
    struct outcome refused = {ROW_REJECTED, "bad", "refused by the test"};
    struct outcome no_match = {ROW_REJECTED, "no_match", "no such record at the destination"};
    if ((fake.reject_id && strcmp(fake.reject_id, s->row.cells[0]) == 0) ||
        fake.reject_nth == s->seq + 1) {
        verdict(arg, s->seq, &refused);
        if (fake.says_twice)
            verdict(arg, s->seq, &refused);
    } else if (s->op == OP_DELETE) {
        fake.deletes++;
        for (; at < d->nnext; at = find_next(d, s->row.cells[0]))
            d->next[at] = d->next[--d->nnext];
    } else if (s->op == OP_INSERT) {
        fake.inserts++;
        d->next[d->nnext++] = s->row;
    } else if (s->op == OP_UPDATE && at == d->nnext) {
        verdict(arg, s->seq, &no_match);
    } else {
        *(s->op == OP_UPDATE ? &fake.updates : &fake.upserts) += 1;
        if (at == d->nnext)
            d->nnext++;
        d->next[at] = s->row;
    }
}

static void
ignore_verdict(void *arg, uint64_t seq, const struct outcome *outcome)
{
}

static int
dest_apply(void *handle, dest_verdict_fn verdict, void *arg, struct error *err)
{
    struct destination *d = handle;
    if (fake.replay_once && !d->careful)
        return error_set(err, ERR_REPLAY, EAGAIN, "a bad row on the fast path");
    memcpy(d->next, fake.target, sizeof d->next);
    d->nnext = fake.ntarget;
    for (size_t i = 0; i < d->n; i++)
        if (d->staged[i].op != OP_PRESENT)
            apply_row(d, &d->staged[i], verdict, arg);
    return 0;
}

static int
dest_commit(void *handle, struct error *err)
{
    struct destination *d = handle;
    if (!fake.lose_commit || fake.commit_happened) {
        memcpy(fake.target, d->next, sizeof fake.target);
        fake.ntarget = d->nnext;
        memcpy(fake.token, d->token, sizeof fake.token);
    }
    fake.commits++;
    fake.unreachable = fake.lose_peer;
    d->open = false;
    return fake.lose_commit ? error_set(err, ERR_UNKNOWN, EIO, "the answer was lost") : 0;
}

static void
dest_abort(void *handle)
{
    ((struct destination *)handle)->open = false;
}

static int
dest_resolve(void *handle, const char *token, enum dest_fate *ret, struct error *err)
{
    *ret = strcmp(token, fake.token) == 0 ? FATE_COMMITTED : FATE_NOT_COMMITTED;
    return 0;
}

static void
dest_close(void *handle)
{
    struct destination *d = handle;
    atomic_fetch_sub(&fake.open, 1);
    free(d->staged);
    free(d);
}

/* ---- a destination that keeps what it was sent ---- */

static int
calls_write(void *handle, const struct batch *batch, struct outcome *out, struct error *err)
{
    struct destination *d = handle;
    int rc = dest_write(handle, batch, out, err);
    if (d->dry || rc < 0)
        return rc;
    while (atomic_load(&fake.hold))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    memcpy(d->next, fake.target, sizeof d->next);
    d->nnext = fake.ntarget;
    for (size_t i = d->n - batch->n; i < d->n; i++)
        if (d->staged[i].op != OP_PRESENT)
            apply_row(d, &d->staged[i], ignore_verdict, NULL);
    memcpy(fake.target, d->next, sizeof fake.target);
    fake.ntarget = d->nnext;
    for (size_t i = 0; i < batch->n; i++)
        out[i].kind = ROW_DONE;
    return 0;
}

static const struct option no_options[] = {{NULL}};

struct connection_options {
    char *where;
};

static const struct option dest_options[] = {
    {"where", OPT_STRING, 0, offsetof(struct connection_options, where), "here", NULL,
     "the place it points to"},
    {NULL},
};

static int
place(const void *connection, struct buf *out, struct error *err)
{
    buf_adds(out, ((const struct connection_options *)connection)->where);
    return 0;
}

static const struct driver fake_source = {
    .name = "memory",
    .summary = "a model in memory",
    .readme = "",
    .takes_table = true,
    .options = no_options,
    .options_size = 1,
    .source_open = source_open,
    .source_describe = source_describe,
    .source_plan = source_plan,
    .source_read = source_read,
    .source_cancel = source_cancel,
    .source_close = close_handle,
};

static const struct driver fake_destination = {
    .name = "fake",
    .summary = "a table in memory",
    .readme = "",
    .modes = MODES_OF_RECORDS,
    .audience_modes = MODES_OF_AUDIENCES,
    .traits = TRAIT_ATOMIC,
    .options = dest_options,
    .options_size = sizeof(struct connection_options),
    .place = place,
    .dest_open = dest_open,
    .dest_begin = dest_begin,
    .dest_write = dest_write,
    .dest_survey = dest_survey,
    .dest_apply = dest_apply,
    .dest_commit = dest_commit,
    .dest_abort = dest_abort,
    .dest_resolve = dest_resolve,
    .dest_close = dest_close,
};

static const struct driver fake_calls = {
    .name = "calls",
    .summary = "a table in memory, row by row",
    .readme = "",
    .modes = MODES_OF_RECORDS,
    .audience_modes = MODES_OF_AUDIENCES,
    .options = dest_options,
    .options_size = sizeof(struct connection_options),
    .place = place,
    .dest_open = dest_open,
    .dest_begin = dest_begin,
    .dest_write = calls_write,
    .dest_survey = dest_survey,
    .dest_close = dest_close,
};

static const struct driver *const all_drivers[] = {&fake_source, &fake_destination, &fake_calls,
                                                   NULL};
const struct driver *const *drivers = all_drivers;

const struct driver *
driver_find(const char *name)
{
    for (const struct driver *const *d = drivers; *d; d++)
        if (strcmp((*d)->name, name) == 0)
            return *d;
    return NULL;
}
