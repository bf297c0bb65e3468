/* The merge of model and delivered state: see diff.h. */
#include "run/diff.h"

#include "base/cleanup.h"

/* A model row held until the next one shows whether its identifier stands alone. */
struct held_row {
    struct buf key, record, why;
    enum mapped kind;
    bool valid;
    bool duplicate; /* refused already, together with the others of its key */
};

struct diff {
    const struct diff_settings *set;
    struct diff_counts *counts;
    struct held_row row;
    struct buf fingerprint; /* of the row before, without identifier */
    uint32_t occurrence;    /* how many equal records came before */
    struct buf full_key;
    struct buf note;

    struct state_cursor *state;
    struct entry delivered;
    bool more_delivered;

    struct chg_cursor *only;
    struct entry wanted;
    bool more_wanted;

    uint64_t seq;
};

static int
no_memory(struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

static int
next_delivered(struct diff *d, struct error *err)
{
    int rc = state_next(d->state, &d->delivered, err);
    d->more_delivered = rc == 1;
    if (rc == 1)
        d->counts->delivered++;
    return rc < 0 ? rc : 0;
}

/* Whether this run may send that key at all. Keys are asked for in ascending order. */
static int
is_wanted(struct diff *d, struct str key, struct error *err)
{
    if (!d->set->only_rejected)
        return 1;
    while (d->more_wanted && key_compare(d->wanted.key, key) < 0) {
        int rc = chg_next(d->only, &d->wanted, err);
        if (rc < 0)
            return rc;
        d->more_wanted = rc == 1;
    }
    return d->more_wanted && key_compare(d->wanted.key, key) == 0;
}

static int
emit(struct diff *d, enum entry_op op, struct str key, struct str after, struct str before,
     struct error *err)
{
    struct entry e = {.op = op, .key = key, .after = after, .before = before};
    if (op != ENTRY_PRESENT) {
        int wanted = is_wanted(d, key, err);
        if (wanted < 0)
            return wanted;
        if (!wanted) {
            d->counts->held_back++;
            return 0;
        }
    }
    e.seq = d->seq++;
    return d->set->emit(d->set->arg, &e, err);
}

static int
refuse(struct diff *d, struct str key, struct str record, const char *code, struct str words,
       struct error *err)
{
    buf_clear(&d->note);
    buf_add(&d->note, code, strlen(code) + 1);
    buf_add(&d->note, words.p, words.n);
    if (d->note.failed)
        return no_memory(err);
    d->counts->refused++;
    struct entry e = {
        .op = ENTRY_PRESENT,
        .key = key,
        .after = record,
        .note = buf_str(&d->note),
    };
    return d->set->refuse(d->set->arg, &e, err);
}

/* A delivered record that the model no longer has. */
static int
gone(struct diff *d, struct error *err)
{
    d->counts->gone++;
    if (d->set->mode != MODE_MIRROR)
        return 0;
    return emit(d, ENTRY_DELETE, d->delivered.key, (struct str){0}, d->delivered.after, err);
}

static int
compare(struct diff *d, struct str key, struct str record, bool was_delivered,
        struct error *err)
{
    struct str nothing = {0};
    enum mode mode = d->set->mode;
    if (!was_delivered)
        return emit(d, mode == MODE_UPDATE ? ENTRY_UPDATE : ENTRY_INSERT, key, record, nothing,
                    err);
    struct str before = d->delivered.after;
    if (mode == MODE_INSERT) {
        if (d->set->full)
            return emit(d, ENTRY_INSERT, key, record, before, err);
        d->counts->unchanged++;
        return 0;
    }
    bool same = str_equal(record, before);
    if (same && !d->set->full) {
        d->counts->unchanged++;
        return 0;
    }
    return emit(d, ENTRY_UPDATE, key, record, before, err);
}

/* The held row is alone with its key, or known to be a duplicate: decides it. */
static int
settle(struct diff *d, struct error *err)
{
    struct held_row *row = &d->row;
    if (!row->valid)
        return 0;
    row->valid = false;
    struct str key = buf_str(&row->key), record = buf_str(&row->record);
    int order = 1;
    while (d->more_delivered && (order = key_compare(d->delivered.key, key)) < 0) {
        int rc = gone(d, err);
        if (rc == 0)
            rc = next_delivered(d, err);
        if (rc < 0)
            return rc;
    }
    bool was_delivered = d->more_delivered && order == 0;
    int rc = 0;
    if (row->kind == MAPPED_BAD && !row->duplicate)
        rc = refuse(d, key, record, "expression", buf_str(&row->why), err);
    if (rc == 0 && (row->kind == MAPPED_BAD || row->duplicate)) {
        if (d->set->present)
            rc = emit(d, ENTRY_PRESENT, key, record, (struct str){0}, err);
    } else if (rc == 0) {
        rc = compare(d, key, record, was_delivered, err);
    }
    if (rc == 0 && was_delivered)
        rc = next_delivered(d, err);
    return rc;
}

static int
hold(struct diff *d, const struct row *row, struct str key, struct error *err)
{
    struct held_row *held = &d->row;
    buf_clear(&held->key);
    buf_clear(&held->record);
    buf_clear(&held->why);
    buf_add(&held->key, key.p, key.n);
    buf_add(&held->record, row->record.p, row->record.n);
    buf_add(&held->why, row->why.p, row->why.n);
    held->kind = row->kind;
    held->duplicate = false;
    held->valid = true;
    return held->key.failed || held->record.failed || held->why.failed ? no_memory(err) : 0;
}

static int
refuse_duplicate(struct diff *d, struct str key, struct str record, struct error *err)
{
    return refuse(d, key, record, "duplicate_identifier",
                  STR("several rows of the model have this identifier"), err);
}

static int
take_keyed(struct diff *d, const struct row *row, struct error *err)
{
    int order = d->row.key.n ? key_compare(row->key, buf_str(&d->row.key)) : 1;
    if (order < 0)
        return error_set(err, ERR_ORDER, EIO,
                         "the source gave rows out of the order it promised");
    if (order > 0 || !d->row.valid) {
        int rc = settle(d, err);
        return rc < 0 ? rc : hold(d, row, row->key, err);
    }
    if (d->set->duplicates_last) {
        d->counts->superseded++;
        return hold(d, row, row->key, err);
    }
    if (!d->row.duplicate) {
        d->row.duplicate = true;
        int rc = refuse_duplicate(d, buf_str(&d->row.key), buf_str(&d->row.record), err);
        if (rc < 0)
            return rc;
    }
    return refuse_duplicate(d, row->key, row->record, err);
}

/* Without identifier: equal records are told apart by counting them, so that a record that
 * stands n times in the model and m times in the state is sent n - m times. */
static int
take_counted(struct diff *d, const struct row *row, struct error *err)
{
    if (str_equal(row->key, buf_str(&d->fingerprint))) {
        d->occurrence++;
    } else {
        d->occurrence = 0;
        buf_clear(&d->fingerprint);
        buf_add(&d->fingerprint, row->key.p, row->key.n);
    }
    buf_clear(&d->full_key);
    buf_add(&d->full_key, row->key.p, row->key.n);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_addc(&d->full_key, (char)(d->occurrence >> shift));
    if (d->full_key.failed || d->fingerprint.failed)
        return no_memory(err);
    int rc = settle(d, err);
    return rc < 0 ? rc : hold(d, row, buf_str(&d->full_key), err);
}

static int
take_row(struct diff *d, const struct row *row, struct error *err)
{
    d->counts->rows++;
    if (row->kind == MAPPED_NULL_KEY)
        return refuse(d, row->key, row->record, "null_identifier",
                      STR("the identifier is NULL"), err);
    return d->set->meta->nkey ? take_keyed(d, row, err) : take_counted(d, row, err);
}

static int
merge(struct diff *d, struct error *err)
{
    int rc = next_delivered(d, err);
    if (rc == 0 && d->only) {
        rc = chg_next(d->only, &d->wanted, err);
        d->more_wanted = rc == 1;
    }
    while (rc >= 0) {
        struct row row;
        if (atomic_load_explicit(d->set->cancelled, memory_order_relaxed))
            return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
        rc = reader_next(d->set->reader, &row, err);
        if (rc != 1)
            break;
        rc = take_row(d, &row, err);
    }
    if (rc == 0)
        rc = settle(d, err);
    while (rc == 0 && d->more_delivered) {
        rc = gone(d, err);
        if (rc == 0)
            rc = next_delivered(d, err);
    }
    return rc < 0 ? rc : 0;
}

int
diff_run(const struct diff_settings *settings, struct diff_counts *counts, struct error *err)
{
    struct diff d = {.set = settings, .counts = counts};
    *counts = (struct diff_counts){0};
    int rc = state_cursor_open(settings->state, settings->meta, &d.state, err);
    if (rc == 0 && settings->only_rejected && settings->only)
        rc = chg_cursor_open(settings->only, &d.only, err);
    if (rc == 0)
        rc = merge(&d, err);
    state_cursor_close(d.state);
    chg_cursor_close(d.only);
    buf_done(&d.row.key);
    buf_done(&d.row.record);
    buf_done(&d.row.why);
    buf_done(&d.fingerprint);
    buf_done(&d.full_key);
    buf_done(&d.note);
    return rc;
}
