/* Matching under a changed mapping: see rekey.h. Sorted rows carry a byte that says what they
 * are and, in the second sort, makes known ones come before new ones of the same record. */
#include "run/rekey.h"

#include "base/cleanup.h"
#include "data/sorter.h"

enum row_kind { ROW_KNOWN = 'a', ROW_NEW = 'b', ROW_LEFT = 'c' };

struct rekey {
    const struct diff_settings *set;
    struct mapper *mapper;
    const bool *shared;
    struct diff_counts *counts;
    struct sorter *delivered; /* shared fingerprint → key, record of the state */
    struct sorter *rows;      /* new key and kind → record */
    struct sorter *rejected;  /* retry: shared fingerprints of what was rejected before */
    struct buf key, data;
};

static bool
same_field(const struct chg_field *a, const struct chg_field *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->source, b->source) == 0 &&
           a->type == b->type;
}

const bool *
rekey_shared(const struct chg_meta *before, const struct chg_meta *now, struct arena *arena)
{
    bool *shared = arena_alloc(arena, now->nfields + 1);
    for (size_t i = 0; shared && i < now->nfields; i++)
        for (size_t f = 0; f < before->nfields && !shared[i]; f++)
            shared[i] = same_field(&before->fields[f], &now->fields[i]);
    return shared;
}

bool
rekey_needed(const struct chg_meta *before, const struct chg_meta *now)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    const bool *shared = rekey_shared(before, now, &arena);
    bool same = before->nfields == now->nfields;
    for (size_t i = 0; shared && i < now->nfields; i++)
        same = same && shared[i];
    return !same;
}

static int
go_on(const struct rekey *r, struct error *err)
{
    return cancel_check(r->set->cancelled, err);
}

/* The delivered state, sorted by what it shares with the new mapping. */
static int
sort_delivered(struct rekey *r, struct error *err)
{
    struct state_cursor *cursor = NULL;
    struct entry e;
    int rc = state_cursor_open(r->set->state, r->set->meta, &cursor, err);
    while (rc == 0 && (rc = go_on(r, err)) == 0 && (rc = state_next(cursor, &e, err)) == 1) {
        r->counts->delivered++;
        buf_clear(&r->key);
        buf_clear(&r->data);
        buf_add_varint(&r->data, e.key.n);
        buf_add(&r->data, e.key.p, e.key.n);
        buf_add(&r->data, e.after.p, e.after.n);
        rc = mapper_fingerprint(r->mapper, r->shared, e.after, &r->key, err);
        if (rc == 0 && r->data.failed)
            rc = error_no_memory(err);
        if (rc == 0)
            rc = sorter_add(r->delivered, buf_str(&r->key), buf_str(&r->data), err);
    }
    state_cursor_close(cursor);
    return rc < 0 ? rc : sorter_finish(r->delivered, err);
}

/* For a retry: what the run before rejected, by what it shares with the new mapping. A rejected
 * file reads like a state of one segment. */
static int
sort_rejected(struct rekey *r, struct error *err)
{
    if (!r->set->only_rejected || !r->set->rejected)
        return 0;
    struct chg *segment = r->set->rejected;
    const struct state state = {.segments = &segment, .n = 1};
    struct state_cursor *cursor = NULL;
    struct entry e;
    int rc = state_cursor_open(&state, r->set->meta, &cursor, err);
    while (rc == 0 && (rc = go_on(r, err)) == 0 && (rc = state_next(cursor, &e, err)) == 1) {
        buf_clear(&r->key);
        rc = mapper_fingerprint(r->mapper, r->shared, e.after, &r->key, err);
        if (rc == 0)
            rc = sorter_add(r->rejected, buf_str(&r->key), (struct str){0}, err);
    }
    state_cursor_close(cursor);
    return rc;
}

/* A row of the model under its own fingerprint. */
static int
keep_row(struct rekey *r, enum row_kind kind, struct str record, struct error *err)
{
    buf_clear(&r->key);
    int rc = mapper_fingerprint(r->mapper, NULL, record, &r->key, err);
    if (rc < 0)
        return rc;
    buf_addc(&r->key, (char)kind);
    return r->key.failed ? error_no_memory(err)
                         : sorter_add(r->rows, buf_str(&r->key), record, err);
}

/* A delivered record that the model no longer has stays known under its old key. */
static int
keep_left(struct rekey *r, struct str data, struct error *err)
{
    const char *p = data.p, *end = p + data.n;
    uint64_t n;
    if (!varint_read(&p, end, &n) || n > (uint64_t)(end - p))
        return error_set(err, ERR_INTERNAL, EIO, "a delivered record is damaged");
    r->counts->gone++;
    buf_clear(&r->key);
    buf_add(&r->key, p, n);
    buf_addc(&r->key, ROW_LEFT);
    return r->key.failed ? error_no_memory(err)
                         : sorter_add(r->rows, buf_str(&r->key),
                                      (struct str){p + n, (size_t)(end - p) - n}, err);
}

static int
refuse(struct rekey *r, const struct row *row, struct error *err)
{
    const char *code = mapped_code(row->kind);
    buf_clear(&r->data);
    buf_add(&r->data, code, strlen(code) + 1);
    buf_add(&r->data, row->why.p, row->why.n);
    if (r->data.failed)
        return error_no_memory(err);
    r->counts->refused++;
    struct entry e = {
        .op = ENTRY_PRESENT,
        .key = row->key,
        .after = row->record,
        .note = buf_str(&r->data),
    };
    return r->set->refuse(r->set->arg, &e, err);
}

/* 1: a row that is new may be sent. A retry sends one for each rejected one like it; `next` is
 * the first of those not used up. */
static int
may_send(struct rekey *r, struct str row_key, struct str *next, int *more, struct error *err)
{
    if (!r->set->only_rejected)
        return 1;
    struct str nothing;
    int order = -1;
    while (*more == 1 && (order = key_compare(*next, row_key)) < 0)
        *more = sorter_next(r->rejected, next, &nothing, err);
    if (*more < 0)
        return *more;
    if (*more == 0 || order > 0) {
        r->counts->held_back++;
        return 0;
    }
    *more = sorter_next(r->rejected, next, &nothing, err);
    return *more < 0 ? *more : 1;
}

/* Both sides in the order of what they share: equal ones are matched one by one. */
static int
match(struct rekey *r, struct error *err)
{
    struct str key, data, rejected, nothing;
    int more = sorter_next(r->delivered, &key, &data, err), rc = more;
    int more_rejected = rc < 0 ? 0 : sorter_next(r->rejected, &rejected, &nothing, err);
    if (more_rejected < 0)
        return more_rejected;
    struct row row;
    while (rc >= 0) {
        rc = go_on(r, err);
        if (rc == 0)
            rc = reader_next(r->set->reader, &row, err);
        if (rc != 1)
            break;
        r->counts->rows++;
        if (row.kind >= MAPPED_BAD) {
            rc = refuse(r, &row, err);
            continue;
        }
        while (more == 1 && key_compare(key, row.key) < 0) {
            rc = keep_left(r, data, err);
            if (rc == 0)
                rc = more = sorter_next(r->delivered, &key, &data, err);
            if (rc < 0)
                return rc;
        }
        bool known = more == 1 && str_equal(key, row.key);
        rc = known ? 1 : may_send(r, row.key, &rejected, &more_rejected, err);
        if (rc == 1)
            rc = keep_row(r, known ? ROW_KNOWN : ROW_NEW, row.record, err);
        if (rc == 0 && known) {
            r->counts->unchanged++;
            rc = more = sorter_next(r->delivered, &key, &data, err);
        }
    }
    while (rc >= 0 && more == 1) {
        rc = keep_left(r, data, err);
        if (rc == 0)
            rc = more = sorter_next(r->delivered, &key, &data, err);
    }
    return rc < 0 ? rc : sorter_finish(r->rows, err);
}

/* Gives each row its new key (fingerprint and count) and its place: the state or the changes.
 */
static int
place(struct rekey *r, struct chg_writer *state, struct error *err)
{
    AUTO_BUF struct buf last = BUF_INIT(BUF_NO_MAX);
    uint32_t occurrence = 0;
    uint64_t seq = 0;
    struct str key, record;
    int rc;
    while ((rc = go_on(r, err)) == 0 && (rc = sorter_next(r->rows, &key, &record, err)) == 1) {
        enum row_kind kind = (enum row_kind)key.p[--key.n];
        struct entry e = {.op = ENTRY_INSERT, .key = key, .after = record};
        if (kind != ROW_LEFT) {
            bool again = last.n == FINGERPRINT_BYTES && str_equal(key, buf_str(&last));
            occurrence = again ? occurrence + 1 : 0;
            buf_clear(&last);
            buf_add(&last, key.p, key.n);
            buf_clear(&r->key);
            buf_add(&r->key, key.p, key.n);
            for (int shift = 24; shift >= 0; shift -= 8)
                buf_addc(&r->key, (char)(occurrence >> shift));
            if (last.failed || r->key.failed)
                return error_no_memory(err);
            e.key = buf_str(&r->key);
        }
        if (kind == ROW_NEW)
            e.seq = seq++;
        rc = kind == ROW_NEW ? r->set->emit(r->set->arg, &e, err) : chg_add(state, &e, err);
        if (rc < 0)
            return rc;
    }
    return rc;
}

int
rekey_run(const struct diff_settings *settings, struct mapper *mapper, const bool *shared,
          int dirfd, const char *name, size_t sort_memory, struct diff_counts *counts,
          struct error *err)
{
    struct rekey r = {.set = settings, .mapper = mapper, .shared = shared, .counts = counts};
    struct chg_writer *state = NULL;
    *counts = (struct diff_counts){0};
    int rc = sorter_create(dirfd, NULL, 0, sort_memory, &r.delivered, err);
    if (rc == 0)
        rc = sorter_create(dirfd, NULL, 0, sort_memory, &r.rows, err);
    if (rc == 0)
        rc = sorter_create(dirfd, NULL, 0, sort_memory, &r.rejected, err);
    if (rc == 0) {
        struct sorter *sorters[] = {r.delivered, r.rows, r.rejected};
        for (size_t i = 0; i < 3; i++)
            sorter_cancel_by(sorters[i], settings->cancelled);
        rc = chg_create(dirfd, name, settings->meta, 0, &state, err);
    }
    if (rc == 0)
        rc = sort_delivered(&r, err);
    if (rc == 0)
        rc = sort_rejected(&r, err);
    if (rc == 0)
        rc = sorter_finish(r.rejected, err);
    if (rc == 0)
        rc = match(&r, err);
    if (rc == 0)
        rc = place(&r, state, err);
    sorter_free(r.delivered);
    sorter_free(r.rows);
    sorter_free(r.rejected);
    buf_done(&r.key);
    buf_done(&r.data);
    if (rc < 0) {
        chg_discard(state);
        return rc;
    }
    chg_cancel_by(state, settings->cancelled);
    return chg_finish(state, true, NULL, NULL, err);
}
