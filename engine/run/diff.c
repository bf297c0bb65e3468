/* The merge of model and delivered state: see diff.h. */
#include "run/diff.h"

#include "base/cleanup.h"
#include "data/note.h"
#include "data/reshape.h"
#include "run/due.h"
#include "run/plan.h"

/* A model row held until the next one shows whether its identifier stands alone. */
struct held_row {
    struct buf key, record, why;
    enum mapped kind;
    bool valid;
    bool duplicate; /* refused already, together with the others of its key */
};

/* Rows that the run before could not deliver, walked along. */
struct earlier {
    struct chg_cursor *cursor; /* NULL: there are none */
    struct entry row;
    bool more;
};

struct diff {
    const struct diff_settings *set;
    struct diff_counts *counts;
    struct held_row row;
    struct buf fingerprint; /* of the row before, without identifier */
    uint32_t occurrence;    /* the number that another such record would get */
    struct buf full_key;
    struct buf note;

    struct state_cursor *state;
    struct entry delivered;
    bool more_delivered;

    struct earlier rejected, unsent; /* by the run before */
    bool same_fields;                /* of what it rejected and of ours */
    struct reshape reshape;          /* the one into the other */
    struct buf reshaped;

    struct buf only; /* key of the one row to be sent, or if !only_whole its beginning */
    bool only_whole, only_met;

    uint64_t seq;
};

static int
next_delivered(struct diff *d, struct error *err)
{
    int rc = cancel_check(d->set->cancelled, err);
    if (rc == 0)
        rc = state_next(d->state, &d->delivered, err);
    d->more_delivered = rc == 1;
    if (rc == 1)
        d->counts->delivered++;
    return rc < 0 ? rc : 0;
}

/* What tells records apart: the key, or without identifier its fingerprint, since equal records
 * are only counted. */
static struct str
identity(const struct diff *d, struct str key)
{
    if (d->set->meta->nkey == 0 && key.n > FINGERPRINT_BYTES)
        key.n = FINGERPRINT_BYTES;
    return key;
}

static int
earlier_next(struct earlier *rows, struct error *err)
{
    int rc = rows->cursor ? chg_next(rows->cursor, &rows->row, err) : 0;
    rows->more = rc == 1;
    return rc < 0 ? rc : 0;
}

static int
earlier_open(struct earlier *rows, struct chg *file, struct error *err)
{
    int rc = file ? chg_cursor_open(file, &rows->cursor, err) : 0;
    return rc < 0 ? rc : earlier_next(rows, err);
}

/* 1: that key is among them. Keys are asked for in ascending order. */
static int
was_among(struct diff *d, struct earlier *rows, struct str key, struct error *err)
{
    key = identity(d, key);
    int order = 1;
    while (rows->more && (order = key_compare(identity(d, rows->row.key), key)) < 0) {
        int rc = earlier_next(rows, err);
        if (rc < 0)
            return rc;
    }
    return rows->more && order == 0;
}

/* Of equal records without identifier each was one of them. */
static int
use_up(struct diff *d, struct earlier *rows, struct error *err)
{
    return d->set->meta->nkey == 0 ? earlier_next(rows, err) : 0;
}

/* Whether what the row at hand of those that were rejected was to do may be done all the same.
 */
static bool
is_doubtful(const struct diff *d)
{
    return d->set->doubts && note_read(d->rejected.row.note).unsure;
}

/* 1: the destination refused it, or did not say, so it is still a change though it may look
 * like what was delivered before. Without identifier what was refused has no delivered record:
 * only the counts of equal ones tell. What other modes could not change or delete stands there,
 * and an insert would create it a second time. */
static int
is_still_due(struct diff *d, struct str key, struct error *err)
{
    if (d->set->meta->nkey == 0)
        return 0;
    int rc = was_among(d, &d->rejected, key, err);
    if (rc != 1)
        return rc;
    if (d->set->mode == MODE_INSERT)
        return d->rejected.row.op == ENTRY_INSERT;
    return d->rejected.row.op != ENTRY_PRESENT || is_doubtful(d);
}

/* 1: this verb sends it. */
static int
is_wanted(struct diff *d, struct entry *e, struct error *err)
{
    int again = was_among(d, &d->rejected, e->key, err);
    if (again == 1 && d->set->only_rejected && d->rejected.row.tries == 0)
        again = 0; /* taken out by hand */
    if (again == 1) {
        if (e->op != ENTRY_RECORDED) {
            d->counts->retried++;
            if (!plan_is_unsure_gone(e))
                e->note = is_doubtful(d)
                              ? STR(PLAN_UNSURE)
                              : STR("tried again: the run before did not deliver it");
        }
        if (d->same_fields && due_same_change(&d->rejected.row, e))
            e->due = d->rejected.row.due;
        int rc = use_up(d, &d->rejected, err);
        return rc < 0 ? rc : 1;
    }
    if (e->op == ENTRY_INSERT && e->before.n && d->delivered.op == ENTRY_RECORDED)
        e->note = STR("new: it was only recorded before");
    if (again < 0 || !d->set->only_rejected)
        return again < 0 ? again : 1;
    int unsent = was_among(d, &d->unsent, e->key, err);
    int rc = unsent == 1 ? use_up(d, &d->unsent, err) : 0;
    return rc < 0 ? rc : unsent;
}

/* The one row that this run is about, if it is about one. */
static bool
is_the_one(const struct diff *d, struct str key)
{
    if (d->only_whole)
        return str_equal(key, buf_str(&d->only));
    if (key.n < d->only.n || memcmp(key.p, buf_z(&d->only), d->only.n) != 0)
        return false;
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    const struct entry e = {.key = key};
    chg_entry_filename(d->set->meta, &e, &name);
    return !name.failed && str_is(buf_str(&name), d->set->only);
}

static bool
is_meant(struct diff *d, struct str key)
{
    if (!d->set->only)
        return true;
    bool the_one = is_the_one(d, key);
    d->only_met = d->only_met || the_one;
    return the_one;
}

static int
emit_noted(struct diff *d, struct entry e, struct error *err)
{
    int wanted = e.op == ENTRY_PRESENT ? 1 : !is_meant(d, e.key) ? 0 : is_wanted(d, &e, err);
    if (wanted < 0)
        return wanted;
    if (!wanted) {
        d->counts->held_back++;
        return 0;
    }
    e.seq = d->seq++;
    return d->set->emit(d->set->arg, &e, err);
}

static int
emit(struct diff *d, enum entry_op op, struct str key, struct str after, struct str before,
     struct error *err)
{
    struct entry e = {.op = op, .key = key, .after = after, .before = before};
    return emit_noted(d, e, err);
}

/* Whether what was rejected under a key that neither the model nor the delivered state has may
 * stand at the destination. So may what such a delete left. */
static bool
may_stand_there(const struct diff *d)
{
    const struct entry *row = &d->rejected.row;
    return row->op == ENTRY_DELETE ? row->before.n > 0 : row->after.n > 0 && is_doubtful(d);
}

/* What was rejected of this key is dealt with. */
static int
pass_rejected(struct diff *d, struct str key, struct error *err)
{
    int rc = 0;
    while (rc == 0 && d->set->meta->nkey && d->rejected.more &&
           key_compare(d->rejected.row.key, key) <= 0)
        rc = earlier_next(&d->rejected, err);
    return rc;
}

/* The rejected row at hand, which may stand at the destination: a mirror deletes it, and what
 * is a mirror only later must know of it. Several rows of one identifier are one. */
static int
leave_one(struct diff *d, struct error *err)
{
    const struct entry *row = &d->rejected.row;
    bool deletes = mode_deletes(d->set->mode);
    struct str record = row->op == ENTRY_DELETE ? row->before : row->after;
    struct entry e = {.op = deletes ? ENTRY_DELETE : ENTRY_RECORDED,
                      .key = row->key,
                      .note = STR(PLAN_UNSURE_GONE)};
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX);
    buf_add(&key, row->key.p, row->key.n);
    int rc = key.failed ? error_no_memory(err)
                        : reshape_record(&d->reshape, &record, &d->reshaped, err);
    *(deletes ? &e.before : &e.after) = record;
    if (rc == 0)
        rc = emit_noted(d, e, err);
    return rc < 0 ? rc : pass_rejected(d, buf_str(&key), err);
}

/* Deals with what may stand at the destination of keys before this one (n = 0: of all). */
static int
leave_doubtful(struct diff *d, struct str key, struct error *err)
{
    bool any = d->set->doubts && d->set->meta->nkey;
    int rc = 0;
    while (rc == 0 && any && d->rejected.more &&
           (key.n == 0 || key_compare(d->rejected.row.key, key) < 0))
        rc = may_stand_there(d) ? leave_one(d, err) : earlier_next(&d->rejected, err);
    return rc;
}

static int
refuse(struct diff *d, struct str key, struct str record, const char *code, struct str words,
       struct error *err)
{
    if (!is_meant(d, key))
        return 0;
    buf_clear(&d->note);
    buf_add(&d->note, code, strlen(code) + 1);
    buf_add(&d->note, words.p, words.n);
    if (d->note.failed)
        return error_no_memory(err);
    d->counts->refused++;
    struct entry e = {
        .op = ENTRY_PRESENT,
        .key = key,
        .after = record,
        .note = buf_str(&d->note),
    };
    return d->set->refuse(d->set->arg, &e, err);
}

/* Of a delivered record that is left alone, whether an earlier try that nobody answered may
 * have changed or removed it: then what was before is no measure, and it is recorded as what
 * was never delivered. 1: it is. */
static int
record_doubt(struct diff *d, struct str record, struct str note, struct error *err)
{
    struct str key = d->delivered.key;
    int rc = d->set->doubts && d->set->meta->nkey && d->delivered.op != ENTRY_RECORDED
                 ? was_among(d, &d->rejected, key, err)
                 : 0;
    if (rc <= 0 || !is_doubtful(d))
        return rc < 0 ? rc : 0;
    const struct entry e = {.op = ENTRY_RECORDED,
                            .key = key,
                            .after = record,
                            .before = d->delivered.after,
                            .note = note};
    rc = emit_noted(d, e, err);
    return rc < 0 ? rc : 1;
}

/* A delivered record that the model no longer has. */
static int
gone(struct diff *d, struct error *err)
{
    d->counts->gone++;
    struct str key = d->delivered.key, before = d->delivered.after;
    int rc = leave_doubtful(d, key, err);
    if (rc < 0)
        return rc;
    if (mode_deletes(d->set->mode))
        rc = emit(d, ENTRY_DELETE, key, (struct str){0}, before, err);
    else
        rc = record_doubt(d, before, STR("left the model: nobody knows how it was left there"),
                          err);
    return rc < 0 ? rc : pass_rejected(d, key, err);
}

static int
leave(struct diff *d, bool differs)
{
    if (differs)
        d->counts->held_back++;
    else
        d->counts->unchanged++;
    return 0;
}

/* A row whose identifier the state does not have. */
static int
compare_new(struct diff *d, struct str key, struct str record, struct error *err)
{
    static const enum entry_op ops[MODE_COUNT] = {
        [MODE_UPSERT] = ENTRY_INSERT,   [MODE_INSERT] = ENTRY_INSERT,
        [MODE_UPDATE] = ENTRY_UPDATE,   [MODE_MIRROR] = ENTRY_INSERT,
        [MODE_FULL] = ENTRY_INSERT,     [MODE_ADD] = ENTRY_INSERT,
        [MODE_REMOVE] = ENTRY_RECORDED,
    };
    return emit(d, ops[d->set->mode], key, record, (struct str){0}, err);
}

/* 1: a row that was delivered, and has not changed, may be sent once more to see how it goes.
 */
static int
send_again(const struct diff *d, struct error *err)
{
    if (!d->set->once)
        return 1;
    return error_set(err, ERR_CONFIG, EEXIST,
                     "\"%s\" was delivered already, and would be created a second time",
                     d->set->only);
}

static int
compare(struct diff *d, struct str key, struct str record, struct error *err)
{
    enum mode mode = d->set->mode;
    struct str before = d->delivered.after;
    bool differs = mode != MODE_INSERT && !str_equal(record, before);
    if (mode == MODE_REMOVE) { /* whoever is known is in, until he leaves */
        int rc = record_doubt(d, record,
                              STR("in the model: nobody knows how it was left there"), err);
        return rc < 0 ? rc : rc ? 0 : leave(d, differs);
    }
    if (d->delivered.op == ENTRY_RECORDED)
        return emit(d, ENTRY_INSERT, key, record, before, err);
    if (!d->set->full && (!differs || mode == MODE_ADD)) {
        int due = is_still_due(d, key, err);
        if (due == 0 && d->set->only && is_meant(d, key))
            due = send_again(d, err);
        if (due <= 0)
            return due < 0 ? due : leave(d, differs);
    }
    return emit(d, mode == MODE_INSERT ? ENTRY_INSERT : ENTRY_UPDATE, key, record, before, err);
}

/* Without identifier: gives the record a key of its own, that of the delivered one it is taken
 * for, or the next number that is free. */
static int
number(struct diff *d, struct str *key, bool was_delivered, struct error *err)
{
    if (!str_equal(*key, buf_str(&d->fingerprint))) {
        d->occurrence = 0;
        buf_clear(&d->fingerprint);
        buf_add(&d->fingerprint, key->p, key->n);
    }
    if (was_delivered && d->delivered.key.n == FINGERPRINT_BYTES + 4) {
        d->occurrence = 0;
        for (size_t i = FINGERPRINT_BYTES; i < d->delivered.key.n; i++)
            d->occurrence = d->occurrence << 8 | (uint8_t)d->delivered.key.p[i];
    }
    buf_clear(&d->full_key);
    buf_add(&d->full_key, key->p, key->n);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_addc(&d->full_key, (char)(d->occurrence >> shift));
    d->occurrence++;
    *key = buf_str(&d->full_key);
    return d->full_key.failed || d->fingerprint.failed ? error_no_memory(err) : 0;
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
    while (d->more_delivered && (order = key_compare(identity(d, d->delivered.key), key)) < 0) {
        int rc = gone(d, err);
        if (rc == 0)
            rc = next_delivered(d, err);
        if (rc < 0)
            return rc;
    }
    bool was_delivered = d->more_delivered && order == 0;
    int rc = leave_doubtful(d, key, err);
    if (rc < 0)
        return rc;
    rc = d->set->meta->nkey ? 0 : number(d, &key, was_delivered, err);
    if (rc == 0 && row->kind >= MAPPED_BAD && !row->duplicate)
        rc = refuse(d, key, record, mapped_code(row->kind), buf_str(&row->why), err);
    if (rc == 0 && (row->kind >= MAPPED_BAD || row->duplicate)) {
        if (d->set->present)
            rc = emit(d, ENTRY_PRESENT, key, record, (struct str){0}, err);
    } else if (rc == 0) {
        rc = was_delivered ? compare(d, key, record, err) : compare_new(d, key, record, err);
    }
    if (rc == 0)
        rc = pass_rejected(d, key, err);
    if (rc == 0 && was_delivered)
        rc = next_delivered(d, err);
    return rc;
}

static int
hold(struct diff *d, const struct row *row, struct error *err)
{
    struct held_row *held = &d->row;
    buf_clear(&held->key);
    buf_clear(&held->record);
    buf_clear(&held->why);
    buf_add(&held->key, row->key.p, row->key.n);
    buf_add(&held->record, row->record.p, row->record.n);
    buf_add(&held->why, row->why.p, row->why.n);
    held->kind = row->kind;
    held->duplicate = false;
    held->valid = true;
    return held->key.failed || held->record.failed || held->why.failed ? error_no_memory(err)
                                                                       : 0;
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
        return rc < 0 ? rc : hold(d, row, err);
    }
    if (d->set->duplicates_last) {
        d->counts->superseded++;
        return hold(d, row, err);
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
    int rc = settle(d, err);
    return rc < 0 ? rc : hold(d, row, err);
}

static int
take_row(struct diff *d, const struct row *row, struct error *err)
{
    d->counts->rows++;
    if (row->kind == MAPPED_NULL_KEY)
        return refuse(d, row->key, row->record, mapped_code(row->kind),
                      STR("the identifier is NULL"), err);
    return d->set->meta->nkey ? take_keyed(d, row, err) : take_counted(d, row, err);
}

static int
merge(struct diff *d, struct error *err)
{
    int rc = next_delivered(d, err);
    while (rc >= 0) {
        struct row row;
        rc = cancel_check(d->set->cancelled, err);
        if (rc == 0)
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
    if (rc == 0)
        rc = leave_doubtful(d, (struct str){0}, err);
    return rc < 0 ? rc : 0;
}

static int
no_such_row(const struct diff *d, struct error *err)
{
    return error_set(
        err, ERR_CONFIG, ENOENT,
        "there is nothing to send of \"%s\": a row is named as its file in pending/, "
        "and must be in the model%s",
        d->set->only, mode_deletes(d->set->mode) ? ", or have left it" : "");
}

int
diff_run(const struct diff_settings *settings, struct diff_counts *counts, struct error *err)
{
    struct diff d = {.set = settings, .counts = counts};
    *counts = (struct diff_counts){0};
    bool named = !settings->only ||
                 chg_key_of_filename(settings->meta, settings->only, &d.only, &d.only_whole);
    int rc = !named ? no_such_row(&d, err)
             : d.only.failed
                 ? error_no_memory(err)
                 : state_cursor_open(settings->state, settings->meta, &d.state, err);
    if (rc == 0)
        rc = earlier_open(&d.rejected, settings->rejected, err);
    if (rc == 0)
        rc = earlier_open(&d.unsent, settings->unsent, err);
    if (rc == 0 && settings->rejected)
        rc = reshape_init(&d.reshape, chg_get_meta(settings->rejected), settings->meta, err);
    d.same_fields = settings->rejected &&
                    chg_meta_same_fields(chg_get_meta(settings->rejected), settings->meta);
    if (rc == 0)
        rc = merge(&d, err);
    if (rc == 0 && settings->only && !d.only_met)
        rc = no_such_row(&d, err);
    state_cursor_close(d.state);
    chg_cursor_close(d.rejected.cursor);
    chg_cursor_close(d.unsent.cursor);
    reshape_done(&d.reshape);
    buf_done(&d.reshaped);
    buf_done(&d.only);
    buf_done(&d.row.key);
    buf_done(&d.row.record);
    buf_done(&d.row.why);
    buf_done(&d.fingerprint);
    buf_done(&d.full_key);
    buf_done(&d.note);
    return rc;
}
