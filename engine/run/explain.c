/*
 * explain/NAME: why one identifier is, or is not, in the plan, or without one in what the last
 * run sent. All of it from what is kept: plan, rejected rows, delivered state, runs; each asked
 * by key. Source and destination are not, so what no file tells is left open in words.
 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "data/note.h"
#include "run/engine_private.h"

enum { RUNS_SEARCHED = 100, TRIES = 3 };

/* Where an entry was found: in a plan, or in what a run sent. */
struct comparison {
    struct rows *rows; /* of a plan */
    struct chg *changes;
    const struct plan_record *plan; /* NULL: a run */
    struct run_record run;
    const char *mode, *why_full;
    const struct diff_counts *counts;
    bool whole; /* it offers all that its mode sends */
    struct entry row;
    bool found;
};

struct explanation {
    struct engine *engine;
    node_id sync;
    const char *name;
    struct arena arena;
    struct sync_view *view;
    struct sync_record record; /* newer than the view's while a run is going on */
    struct comparison by;
    struct entry rejected; /* by the newest run that rejected any, if is_rejected */
    struct entry refused;  /* before it could be a change, if is_refused */
    bool is_rejected, is_refused;
    bool is_forgotten;   /* rejected, and the note of it was removed by hand */
    struct chg *segment; /* of the delivered state, the newest that knows the key */
    const char *segment_name;
    struct entry delivered;
    struct run_record sent; /* the newest that offered it; number 0: not known */
    struct entry sent_row;
    struct buf outcome; /* of that */
    struct timespec changed;
    struct buf *out;
};

/* 1: found; 0: no. */
static int
find(struct explanation *x, struct chg *in, struct entry *ret)
{
    struct error err = ERROR_INIT;
    return chg_find_filename(in, CHG_ALL_OPS & ~CHG_OP(ENTRY_PRESENT), x->name, &x->arena, ret,
                             &err);
}

static void
note_change(struct explanation *x, struct timespec at)
{
    if (at.tv_sec > x->changed.tv_sec ||
        (at.tv_sec == x->changed.tv_sec && at.tv_nsec > x->changed.tv_nsec))
        x->changed = at;
}

/* ---- what is looked up ---- */

static int
take_plan(struct explanation *x)
{
    struct comparison *by = &x->by;
    struct timespec newest;
    int rc = sync_rows(x->engine, x->sync, ROWS_PENDING, &by->rows);
    if (rc < 0)
        return rc;
    by->plan = x->view->record.plan;
    by->changes = chg_ref(rows_chg(by->rows));
    by->mode = by->plan->mode ? by->plan->mode : x->view->mode;
    by->why_full = by->plan->why_full;
    by->counts = &by->plan->counts;
    by->whole = !by->plan->verb || strcmp(by->plan->verb, verb_name(VERB_RETRY)) != 0;
    note_change(x, rows_changed(by->rows));
    rows_left_out_count(by->rows, &newest);
    note_change(x, newest);
    return 0;
}

static int
take_last_run(struct explanation *x)
{
    struct comparison *by = &x->by;
    const char *uid = x->record.uid;
    if (x->record.last_done == 0 || x->record.reset)
        return 0;
    int rc = ledger_load_run(x->engine->catalog, uid, x->record.last_done, &x->arena, &by->run);
    if (rc == 0)
        rc = files_run_changes(x->engine, uid, &by->run, &by->changes);
    if (rc < 0) {
        by->run.number = 0;
        return rc == -ENOENT ? 0 : rc;
    }
    by->mode = by->run.mode ? by->run.mode : "";
    by->why_full = by->run.why_full;
    by->counts = &by->run.counts;
    const char *verb =
        strcmp(by->run.verb, verb_name(VERB_APPROVE)) == 0 ? by->run.plan_verb : by->run.verb;
    by->whole = verb && strcmp(verb, verb_name(VERB_RETRY)) != 0 &&
                strcmp(verb, verb_name(VERB_SEND)) != 0 && by->run.left_out == 0 &&
                !by->run.cut;
    return 0;
}

static int
look_at_comparison(struct explanation *x)
{
    int rc = x->view->record.plan ? take_plan(x) : -ENOENT;
    if (rc == -ENOENT)
        rc = take_last_run(x);
    if (rc == 0 && x->by.changes)
        rc = find(x, x->by.changes, &x->by.row);
    x->by.found = rc == 1;
    return rc < 0 ? rc : 0;
}

static int
look_at_rejected(struct explanation *x)
{
    struct error err = ERROR_INIT;
    struct rows *rows = NULL;
    int rc = sync_rows(x->engine, x->sync, ROWS_REJECTED, &rows);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    rc = chg_find_filename(rows_chg(rows), CHG_ALL_OPS, x->name, &x->arena, &x->rejected, &err);
    x->is_rejected = rc == 1;
    x->is_forgotten = rc == 1 && rows_left_out(rows, x->rejected.seq);
    rows_unref(rows);
    return rc < 0 ? rc : 0;
}

/* Rows that a plan cannot send for their own fault stand in a file beside it; those of a run,
 * among what it rejected. */
static int
look_at_refused(struct explanation *x)
{
    struct error err = ERROR_INIT;
    struct chg *file = NULL;
    if (!x->by.plan) {
        x->is_refused = x->is_rejected && x->rejected.op == ENTRY_PRESENT &&
                        x->view->record.rejected_run == x->by.run.number;
        x->refused = x->rejected;
        return 0;
    }
    int rc = files_open_rows(x->engine, x->record.uid, "plan-refused", &file);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    rc = chg_find_filename(file, CHG_ALL_OPS, x->name, &x->arena, &x->refused, &err);
    x->is_refused = rc == 1;
    chg_unref(file);
    return rc < 0 ? rc : 0;
}

/* The newest segment that knows the key tells: a record, or that it was deleted. */
static int
look_at_state(struct explanation *x)
{
    for (size_t i = x->record.nsegments; i-- > 0;) {
        const char *name = x->record.segments[i];
        struct chg *segment = NULL;
        int rc = files_open_rows(x->engine, x->record.uid, name, &segment);
        if (rc == 0)
            rc = find(x, segment, &x->delivered);
        if (rc == 1) {
            x->segment = segment;
            x->segment_name = name;
            return 0;
        }
        chg_unref(segment);
        if (rc < 0)
            return rc == -ENOENT ? -ESTALE : rc;
    }
    return 0;
}

/* 1: that run offered it. */
static int
look_at_run(struct explanation *x, uint64_t number)
{
    struct error err = ERROR_INIT;
    struct run_record run;
    struct chg *changes = NULL;
    int rc = ledger_load_run(x->engine->catalog, x->record.uid, number, &x->arena, &run);
    if (rc == 0 && (run.outcome == RUN_HELD ||
                    run.inserts + run.updates + run.deletes + run.foreign + run.recorded == 0))
        return 0;
    if (rc == 0)
        rc = files_run_changes(x->engine, x->record.uid, &run, &changes);
    if (rc == 0)
        rc = find(x, changes, &x->sent_row);
    if (rc == 1) {
        x->sent = run;
        rc = chg_outcome(changes, &x->sent_row, &x->outcome, &err);
        rc = rc == 0 ? 1 : rc;
    }
    chg_unref(changes);
    return rc == -ENOENT ? 0 : rc;
}

static int
look_at_runs(struct explanation *x)
{
    uint64_t number = x->record.last_run;
    int rc = 0;
    for (int i = 0; rc == 0 && i < RUNS_SEARCHED && number > 0; i++)
        rc = look_at_run(x, number--);
    return rc < 0 ? rc : 0;
}

/* ---- what is said ---- */

static void
add_time(struct buf *out, usec_t at)
{
    buf_adds(out, ", ");
    clock_format(at, out);
}

/* On one line, whatever others wrote. */
static void
add_words(struct buf *out, struct str words)
{
    for (size_t i = 0; i < words.n; i++)
        buf_addc(out, (unsigned char)words.p[i] < ' ' ? ' ' : words.p[i]);
}

/* "CODE: words" */
static void
add_note(struct buf *out, struct str bytes)
{
    const struct note note = note_read(bytes);
    add_words(out, note.code);
    buf_adds(out, note.code.n ? ": " : "");
    add_words(out, note.words);
}

static void
say_words(struct explanation *x, const char *key, const char *words)
{
    if (!words)
        return;
    buf_addf(x->out, "%s: ", key);
    add_words(x->out, str_of(words));
    buf_addc(x->out, '\n');
}

static const char *
op_word(enum entry_op op)
{
    return op == ENTRY_INSERT   ? "insert"
           : op == ENTRY_UPDATE ? "update"
           : op == ENTRY_DELETE ? "delete"
                                : "record";
}

/* "column town", "expression first || last". */
static void
add_source(struct buf *out, const char *source)
{
    const char *colon = strchr(source, ':');
    buf_addf(out, "%.*s%s", (int)(colon ? colon - source : 0), source, colon ? " " : "");
    add_words(out, str_of(colon ? colon + 1 : source));
}

/* Of what the delivered state was made with; NULL: it has no such field. */
static const struct chg_field *
former_field(const struct explanation *x, const char *name)
{
    const struct chg_meta *meta = x->record.meta;
    for (size_t i = 0; meta && i < meta->nfields; i++)
        if (strcmp(meta->fields[i].name, name) == 0)
            return &meta->fields[i];
    return NULL;
}

/* changed: city: "Rom" → "Bonn" (column town; mapping updated, was column city) */
static void
add_changed(const struct explanation *x, const struct chg_field *field, const struct value *old,
            const struct value *new)
{
    struct buf *out = x->out;
    const struct chg_field *former = former_field(x, field->name);
    buf_adds(out, "changed: ");
    add_words(out, str_of(field->name));
    buf_adds(out, ": ");
    if (old->type == V_ABSENT)
        buf_adds(out, "not sent before");
    else
        value_json(out, old);
    buf_adds(out, " → ");
    value_json(out, new);
    buf_adds(out, " (");
    add_source(out, field->source);
    if (old->type == V_ABSENT) {
        buf_adds(out, "; mapping added");
    } else if (former && strcmp(former->source, field->source) != 0) {
        buf_adds(out, "; mapping updated, was ");
        add_source(out, former->source);
    }
    buf_adds(out, ")\n");
}

static int
add_fields(const struct explanation *x, const struct chg_meta *meta, const struct entry *row)
{
    if (row->op != ENTRY_UPDATE || row->before.n == 0)
        return 0;
    AUTO_FREE struct value *values = calloc(2 * meta->nfields + 1, sizeof *values);
    struct value *old = values, *new = values + meta->nfields;
    if (!values)
        return -ENOMEM;
    if (!record_unpack(row->before, old, meta->nfields) ||
        !record_unpack(row->after, new, meta->nfields))
        return -EIO;
    for (size_t i = 0; i < meta->nfields; i++)
        if (!value_equal(&old[i], &new[i]))
            add_changed(x, &meta->fields[i], &old[i], &new[i]);
    return 0;
}

/* Why it is not among the changes. */
static const char *
why_not(const struct explanation *x)
{
    const struct comparison *by = &x->by;
    bool delivered =
        x->segment && x->delivered.op != ENTRY_DELETE && !(by->plan && by->plan->fresh);
    if (!by->changes)
        return x->record.reset ? "not known: nothing was compared since the reset"
                               : "not known: nothing was compared yet";
    if (!by->whole)
        return by->plan ? "the plan is a retry: it holds only what was rejected"
                        : "the last run took up only a part of the changes";
    if (!delivered)
        return "not in the model";
    if (strcmp(by->mode, mode_name(MODE_MIRROR)) == 0)
        return "delivered, and unchanged";
    if (strcmp(by->mode, mode_name(MODE_REMOVE)) == 0)
        return "known, and still in the model: this mode sends only what left it";
    if (by->why_full || by->counts->unchanged + by->counts->held_back == 0)
        return "delivered, and no longer in the model: this mode deletes nothing";
    if (strcmp(by->mode, mode_name(MODE_INSERT)) == 0)
        return "delivered: this mode sends a record once";
    if (strcmp(by->mode, mode_name(MODE_ADD)) == 0)
        return "delivered: this mode adds a member once";
    if (by->counts->gone == 0)
        return "delivered, and unchanged";
    return "delivered, and unchanged or no longer in the model: as this mode deletes nothing, "
           "it is not kept which";
}

/* What the plan, or the last run, has of it. */
static int
say_change(struct explanation *x)
{
    const struct comparison *by = &x->by;
    struct buf *out = x->out;
    if (!by->found) {
        buf_addf(out, "%s: no\nwhy: ", by->plan || !by->changes ? "pending" : "sent");
        if (x->is_refused) {
            buf_adds(out, "it cannot be sent, ");
            add_note(out, x->refused.note);
        } else {
            buf_adds(out, why_not(x));
        }
        buf_addc(out, '\n');
        return 0;
    }
    buf_addf(out, "%s: %s", by->plan ? "pending" : "sent", op_word(by->row.op));
    if (by->plan && rows_left_out(by->rows, by->row.seq))
        buf_adds(out, ", left out by hand: approve does not send it");
    buf_adds(out, "\nwhy: ");
    add_words(out, by->row.note);
    buf_addc(out, '\n');
    int rc = add_fields(x, chg_get_meta(by->changes), &by->row);
    say_words(x, "full", by->why_full);
    say_words(x, "held", by->plan ? by->plan->held : NULL);
    return rc;
}

/* A record that left the model long ago is a change once the mode deletes. */
static void
say_mode(struct explanation *x)
{
    struct run_record run;
    const struct comparison *by = &x->by;
    if (!by->plan || !by->found || x->record.last_done == 0 ||
        ledger_load_run(x->engine->catalog, x->record.uid, x->record.last_done, &x->arena,
                        &run) < 0 ||
        !run.mode || strcmp(run.mode, by->mode) == 0)
        return;
    buf_addf(x->out, "mode: %s, changed since run %" PRIu64 " (%s)\n", by->mode, run.number,
             run.mode);
}

static void
say_comparison(struct explanation *x)
{
    const struct comparison *by = &x->by;
    struct buf *out = x->out;
    const struct chg_meta *meta = by->changes ? chg_get_meta(by->changes) : x->record.meta;
    buf_addf(out, "identifier: %s", x->name);
    for (size_t i = 0; meta && i < meta->nkey; i++) {
        buf_adds(out, i ? "," : " (");
        add_words(out, str_of(meta->key_names[i]));
    }
    buf_addf(out, "%s\nplan: ", meta && meta->nkey ? ")" : "");
    if (by->plan) {
        buf_adds(out, by->plan->id);
        add_time(out, by->plan->made);
    } else {
        buf_adds(out, "none; write \"plan\" to trigger");
    }
    if (!by->plan && by->changes) {
        buf_addf(out, "\nlast_run: %" PRIu64 " %s", by->run.number,
                 run_outcome_name(by->run.outcome));
        add_time(out, by->run.ended);
    }
    buf_addc(out, '\n');
}

static void
say_rejected(struct explanation *x)
{
    if (!x->is_rejected || x->is_forgotten)
        return;
    buf_addf(x->out, "rejected: run %" PRIu64 ", %u %s, ", x->view->record.rejected_run,
             x->rejected.tries, x->rejected.tries == 1 ? "try" : "tries");
    add_note(x->out, x->rejected.note);
    buf_addc(x->out, '\n');
}

static int
add_record(struct explanation *x)
{
    const struct chg_meta *meta = chg_get_meta(x->segment);
    AUTO_FREE struct value *values = calloc(meta->nfields + 1, sizeof *values);
    if (!values)
        return -ENOMEM;
    if (!record_unpack(x->delivered.after, values, meta->nfields))
        return -EIO;
    char before = '{';
    buf_adds(x->out, "record: ");
    for (size_t i = 0; i < meta->nfields; i++) {
        if (values[i].type == V_ABSENT)
            continue;
        buf_addc(x->out, before);
        json_quote(x->out, meta->fields[i].name, strlen(meta->fields[i].name));
        buf_addc(x->out, ':');
        value_json(x->out, &values[i]);
        before = ',';
    }
    buf_adds(x->out, before == '{' ? "{}\n" : "}\n");
    return 0;
}

/* Which run brought it, as far as it can be told: a segment bears the number of the run that
 * wrote it, but one that others were merged into tells no more than their end. */
static void
add_deliverer(struct explanation *x)
{
    struct run_record run;
    uint64_t number = 0;
    const struct run_record *sent = &x->sent;
    const char *outcome = buf_z(&x->outcome);
    if (sent->number &&
        (strcmp(outcome, "delivered") == 0 || strcmp(outcome, "recorded") == 0)) {
        number = sent->number;
    } else if (!run_file_number(x->segment_name, "state-", &number, NULL)) {
        run_file_number(x->segment_name, "run-", &number, NULL);
        buf_addf(x->out, "run %" PRIu64 " or before", number);
        return;
    }
    buf_addf(x->out, "run %" PRIu64, number);
    if (ledger_load_run(x->engine->catalog, x->record.uid, number, &x->arena, &run) == 0)
        add_time(x->out, run.ended);
}

static int
say_delivered(struct explanation *x)
{
    struct buf *out = x->out;
    buf_adds(out, "delivered: ");
    if (!x->segment) {
        buf_adds(out, "no\n");
        return 0;
    }
    bool deleted = x->delivered.op == ENTRY_DELETE;
    if (deleted)
        buf_adds(out, "no; deleted by ");
    else if (x->delivered.op == ENTRY_RECORDED)
        buf_adds(out, "no; recorded by ");
    add_deliverer(x);
    if (!deleted && x->by.plan && x->by.plan->fresh)
        buf_adds(out, ", which does not count any more");
    buf_addc(out, '\n');
    return deleted ? 0 : add_record(x);
}

static void
say_sent(struct explanation *x)
{
    const struct run_record *run = &x->sent;
    if (run->number) {
        buf_addf(x->out, "last_sent: run %" PRIu64, run->number);
        add_time(x->out, run->ended);
        buf_addf(x->out, ": %s, %s, ", op_word(x->sent_row.op), buf_z(&x->outcome));
        add_words(x->out, x->sent_row.note);
        buf_addc(x->out, '\n');
    }
    say_words(x, "next_run: full", x->view->ready ? x->view->why_full : NULL);
}

static void
explanation_done(struct explanation *x)
{
    rows_unref(x->by.rows);
    chg_unref(x->by.changes);
    chg_unref(x->segment);
    sync_record_done(&x->record);
    sync_view_unref(x->view);
    arena_done(&x->arena);
    buf_done(&x->outcome);
}

/* -ESTALE: a run has merged the delivered state meanwhile. Nothing was said yet. */
static int
explain(struct explanation *x)
{
    struct error err = ERROR_INIT;
    int rc = ledger_load_uid(x->engine->catalog, x->view->record.uid, &x->record, &err);
    if (rc == 0)
        rc = look_at_comparison(x);
    if (rc < 0)
        return rc;
    const struct chg_meta *meta = x->by.changes ? chg_get_meta(x->by.changes) : x->record.meta;
    if (meta ? !chg_is_filename(meta, x->name) : x->name[0] == '.')
        return -ENOENT;
    rc = look_at_rejected(x);
    if (rc == 0)
        rc = look_at_refused(x);
    if (rc == 0)
        rc = look_at_state(x);
    if (rc == 0)
        rc = look_at_runs(x);
    if (rc < 0)
        return rc;
    say_comparison(x);
    rc = say_change(x);
    say_mode(x);
    say_rejected(x);
    if (rc == 0)
        rc = say_delivered(x);
    say_sent(x);
    return rc;
}

int
sync_explain(struct engine *e, node_id sync, const char *name, struct buf *out,
             struct timespec *changed)
{
    int rc = -ESTALE;
    for (int i = 0; i < TRIES && rc == -ESTALE; i++) {
        struct explanation x = {
            .engine = e, .sync = sync, .name = name, .out = out, .outcome = BUF_INIT(256)};
        x.view = registry_view(e, sync);
        if (!x.view)
            return -ENOENT;
        x.changed = x.view->changed;
        rc = explain(&x);
        *changed = x.changed;
        explanation_done(&x);
    }
    return rc == -ESTALE ? -EIO : rc;
}
