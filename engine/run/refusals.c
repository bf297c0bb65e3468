/* Refused rows: see refusals.h. In the sorter a row's data is: varint record length, record,
 * note. */
#include "run/refusals.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "data/note.h"
#include "data/reshape.h"
#include "run/due.h"
#include "run/plan.h"

enum { REFUSAL_MEMORY = 4 * 1024 * 1024 };

struct refusals {
    struct sorter *sorter;
    uint64_t n;
    struct buf packed;
};

int
refusals_create(int dirfd, struct refusals **ret, struct error *err)
{
    struct refusals *r = calloc(1, sizeof *r);
    if (!r)
        return error_no_memory(err);
    int rc = sorter_create(dirfd, NULL, 0, REFUSAL_MEMORY, &r->sorter, err);
    if (rc < 0) {
        free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

int
refusals_add(struct refusals *r, const struct entry *e, struct error *err)
{
    buf_clear(&r->packed);
    buf_add_varint(&r->packed, e->after.n);
    buf_add(&r->packed, e->after.p, e->after.n);
    buf_add(&r->packed, e->note.p, e->note.n);
    if (r->packed.failed)
        return error_no_memory(err);
    r->n++;
    return sorter_add(r->sorter, e->key, buf_str(&r->packed), err);
}

uint64_t
refusals_count(const struct refusals *r)
{
    return r->n;
}

struct refusals *
refusals_free(struct refusals *r)
{
    if (r) {
        sorter_free(r->sorter);
        buf_done(&r->packed);
        free(r);
    }
    return NULL;
}

/* Three key-ordered streams on their way into two files. */
struct join {
    const struct refusing *set;
    struct entry early_entry;
    bool more_early;

    struct chg_cursor *changes;
    uint64_t refused_seq;
    struct str refused_note;
    bool more_refused;

    struct chg_cursor *previous;
    struct entry previous_entry;
    bool more_previous;
    struct reshape reshape; /* its records into ours */
    struct buf seen;        /* the last key of a previous rejection that was a change again */
    struct buf words, note, after, before;

    struct chg_writer *out, *unsent; /* unsent: made with the first */
    struct refused_counts *counts;
};

static int
next_early(struct join *j, struct error *err)
{
    struct str data;
    int rc = sorter_next(j->set->early->sorter, &j->early_entry.key, &data, err);
    j->more_early = rc == 1;
    if (rc != 1)
        return rc;
    const char *p = data.p, *end = p + data.n;
    uint64_t n;
    if (!varint_read(&p, end, &n) || n > (uint64_t)(end - p))
        return error_set(err, ERR_INTERNAL, EIO, "a refused row is damaged");
    j->early_entry.op = ENTRY_PRESENT;
    j->early_entry.after = (struct str){p, n};
    j->early_entry.note = (struct str){p + n, (size_t)(end - p) - n};
    return 0;
}

static int
next_refused(struct join *j, struct error *err)
{
    bool again = j->more_refused; /* of the same row: a driver may say it twice */
    uint64_t last = j->refused_seq;
    int rc = 0;
    do {
        rc = j->set->verdicts ? verdicts_next(j->set->verdicts, j->set->cancelled,
                                              &j->refused_seq, &j->refused_note, err)
                              : 0;
    } while (rc == 1 && again && j->refused_seq == last);
    j->more_refused = rc == 1;
    return rc < 0 ? rc : 0;
}

static int
next_previous(struct join *j, struct error *err)
{
    j->more_previous = false;
    if (!j->previous)
        return 0;
    int rc = chg_next(j->previous, &j->previous_entry, err);
    j->more_previous = rc == 1;
    return rc < 0 ? rc : 0;
}

/* Into the file, as it stands. */
static int
list_row(struct join *j, struct entry row, struct error *err)
{
    row.seq = j->counts->listed++; /* its place in this file */
    return chg_add(j->out, &row, err);
}

/* A previous rejection of which this run found out nothing. */
static int
keep_previous(struct join *j, struct error *err)
{
    struct entry row = j->previous_entry;
    int rc = reshape_record(&j->reshape, &row.after, &j->after, err);
    if (rc == 0)
        rc = reshape_record(&j->reshape, &row.before, &j->before, err);
    if (rc == 0)
        rc = list_row(j, row, err);
    return rc < 0 ? rc : next_previous(j, err);
}

/* Leaves a previous rejection behind: dropped, unless its key was a change in this run too or
 * it is another run's business. */
static int
pass_previous(struct join *j, struct error *err)
{
    if (!str_equal(j->previous_entry.key, buf_str(&j->seen))) {
        const struct entry *row = &j->previous_entry;
        bool untouched =
            j->set->inserts && row->op != ENTRY_INSERT && note_read(row->note).unsure;
        if (j->set->some || (j->set->retry && row->tries == 0) || untouched)
            return keep_previous(j, err);
        j->counts->dropped++;
    }
    return next_previous(j, err);
}

/* Moves on to `key` in what was rejected before: *found is its entry there, or NULL. */
static int
look_up_previous(struct join *j, struct str key, const struct entry **found, struct error *err)
{
    *found = NULL;
    while (j->more_previous) {
        int order = key_compare(j->previous_entry.key, key);
        if (order > 0)
            return 0;
        if (order == 0) {
            *found = &j->previous_entry;
            buf_clear(&j->seen);
            buf_add(&j->seen, key.p, key.n);
            return j->seen.failed ? error_no_memory(err) : 0;
        }
        int rc = pass_previous(j, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* A refusal says nothing of an earlier try that nobody answered: the doubt goes on. */
static int
keep_doubt(struct join *j, const struct entry *before, struct entry *row, struct error *err)
{
    struct note note = note_read(row->note);
    if (!before || note.unsure || !note_read(before->note).unsure)
        return 0;
    buf_clear(&j->words);
    buf_add(&j->words, note.words.p, note.words.n);
    buf_adds(&j->words, " (and an earlier try, which nobody answered, may have been applied)");
    note.words = buf_str(&j->words);
    note.unsure = true;
    buf_clear(&j->note);
    note_add(&j->note, &note);
    row->note = buf_str(&j->note);
    return j->words.failed || j->note.failed ? error_no_memory(err) : 0;
}

static int
write_row(struct join *j, const struct entry *e, struct error *err)
{
    struct entry row = *e;
    const struct entry *before;
    int rc = look_up_previous(j, e->key, &before, err);
    if (rc == 0)
        rc = keep_doubt(j, before, &row, err);
    if (rc < 0)
        return rc;
    row.tries = (before ? before->tries : 0) + 1;
    j->counts->rejected++;
    return list_row(j, row, err);
}

static void
count_undelivered(struct refused_counts *counts, const struct entry *change)
{
    switch (change->op) {
    case ENTRY_INSERT:
        counts->inserts++;
        break;
    case ENTRY_UPDATE:
        counts->updates++;
        break;
    default:
        counts->deletes++;
        if (plan_is_foreign(change) || plan_is_unsure_gone(change))
            counts->foreign++;
        break;
    }
    if (change->op != ENTRY_DELETE && change->before.n == 0)
        counts->never_delivered++;
}

/* The change was not sent: it stays one. What a run before could not deliver is listed on: that
 * nobody knows whether it was applied, say, is still so. */
static int
write_unsent(struct join *j, const struct entry *change, struct error *err)
{
    const struct entry *before;
    int rc = look_up_previous(j, change->key, &before, err);
    if (rc == 0 && before && (before->op != ENTRY_PRESENT || note_read(before->note).unsure)) {
        struct entry row = *change;
        row.note = before->note;
        row.tries = before->tries;
        rc = list_row(j, row, err);
    }
    if (rc == 0 && !j->unsent)
        rc = chg_create(j->set->dirfd, j->set->unsent, j->set->meta, 0, &j->unsent, err);
    j->counts->unsent++;
    const struct entry key = {.op = change->op, .seq = change->seq, .key = change->key};
    return rc < 0 ? rc : chg_add(j->unsent, &key, err);
}

static bool
was_not_sent(struct str note)
{
    static const char code[] = VERDICT_NOT_SENT;
    return note.n >= sizeof code && memcmp(note.p, code, sizeof code) == 0;
}

static int
write_refused(struct join *j, const struct entry *change, struct error *err)
{
    struct entry row = *change;
    row.note = j->refused_note;
    row.due = due_of(j->set->meta, change, j->set->due_run);
    count_undelivered(j->counts, change);
    int rc = was_not_sent(row.note) ? write_unsent(j, &row, err) : write_row(j, &row, err);
    return rc < 0 ? rc : next_refused(j, err);
}

static int
write_early_before(struct join *j, struct str key, struct error *err)
{
    while (j->more_early && key_compare(j->early_entry.key, key) <= 0) {
        int rc = write_row(j, &j->early_entry, err);
        if (rc == 0)
            rc = next_early(j, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
join_changes(struct join *j, struct error *err)
{
    struct entry e;
    int rc;
    while ((rc = cancel_check(j->set->cancelled, err)) == 0 &&
           (rc = chg_next(j->changes, &e, err)) == 1) {
        if (!j->more_refused && !j->more_previous)
            return 0;
        const struct entry *before;
        rc = write_early_before(j, e.key, err);
        bool refused = rc == 0 && j->more_refused && e.seq == j->refused_seq;
        bool unsendable = e.op == ENTRY_PRESENT || e.op == ENTRY_RECORDED;
        if (refused && unsendable) /* it was not sent, nor was it to be */
            rc = next_refused(j, err);
        if (refused && !unsendable)
            rc = write_refused(j, &e, err);
        else if (rc == 0)
            rc = look_up_previous(j, e.key, &before, err);
        if (rc < 0)
            return rc;
    }
    return rc;
}

static int
join_all(struct join *j, struct error *err)
{
    int rc = sorter_finish(j->set->early->sorter, err);
    if (rc == 0)
        rc = next_early(j, err);
    if (rc == 0)
        rc = next_refused(j, err);
    if (rc == 0)
        rc = next_previous(j, err);
    if (rc == 0 && j->changes)
        rc = join_changes(j, err);
    if (rc == 0 && j->more_refused) /* then it would count as delivered */
        rc = error_set(err, ERR_INTERNAL, EPROTO,
                       "the destination refused row %llu, which was not sent",
                       (unsigned long long)j->refused_seq);
    while (rc == 0 && j->more_early && (rc = cancel_check(j->set->cancelled, err)) == 0) {
        rc = write_row(j, &j->early_entry, err);
        if (rc == 0)
            rc = next_early(j, err);
    }
    while (rc == 0 && j->more_previous && (rc = cancel_check(j->set->cancelled, err)) == 0)
        rc = pass_previous(j, err);
    return rc;
}

static int
finish(struct chg_writer *w, const struct refusing *set, const char *name, struct chg **ret,
       struct error *err)
{
    chg_cancel_by(w, set->cancelled);
    int rc = chg_finish(w, true, NULL, NULL, err);
    return rc < 0 ? rc : chg_open(set->dirfd, name, ret, err);
}

int
refusals_write(const struct refusing *set, struct chg **rejected, struct chg **unsent,
               struct refused_counts *counts, struct error *err)
{
    sorter_cancel_by(set->early->sorter, set->cancelled);
    struct join j = {.set = set, .counts = counts};
    *counts = (struct refused_counts){0};
    *rejected = *unsent = NULL;
    int rc =
        chg_create(set->dirfd, set->rejected, set->meta, VIEW_BIT(VIEW_REJECTED), &j.out, err);
    if (rc == 0 && set->changes)
        rc = chg_cursor_open(set->changes, &j.changes, err);
    if (rc == 0 && set->previous)
        rc = reshape_init(&j.reshape, chg_get_meta(set->previous), set->meta, err);
    if (rc == 0 && set->previous)
        rc = chg_cursor_open(set->previous, &j.previous, err);
    if (rc == 0)
        rc = join_all(&j, err);
    chg_cursor_close(j.changes);
    chg_cursor_close(j.previous);
    reshape_done(&j.reshape);
    buf_done(&j.after);
    buf_done(&j.before);
    buf_done(&j.seen);
    buf_done(&j.words);
    buf_done(&j.note);
    if (rc == 0 && counts->listed > 0)
        rc = finish(TAKE(j.out), set, set->rejected, rejected, err);
    if (rc == 0 && j.unsent)
        rc = finish(TAKE(j.unsent), set, set->unsent, unsent, err);
    chg_discard(j.out);
    chg_discard(j.unsent);
    if (rc < 0)
        *rejected = chg_unref(*rejected);
    return rc;
}
