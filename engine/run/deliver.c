/*
 * From changes to the destination, short of committing. Usually everything was sent while the
 * source was read and only deletes are left. When the destination asks for a replay (a fast way
 * met a bad row), or foreign rows have joined the deletes, all is offered again from the change
 * file. So it is, for the first time, where what was sent cannot be taken back: run->spools.
 */
#include "run/run.h"

#include "base/cleanup.h"
#include "run/plan.h"

int
run_begin_session(struct run *run, struct error *err)
{
    const struct session session = {
        .token = run->record.token,
        .full = run->why_full != NULL,
        .dry = !run->live,
        .careful = run->careful,
        .survey = run->survey && !run->surveyed,
    };
    int rc = sender_begin(run->sender, &session, err);
    run->session = rc == 0;
    return rc;
}

/* Sends the deletes of the change file, or all but them; never what is only recorded. */
static int
send_file(struct run *run, bool deletes, struct error *err)
{
    struct chg_cursor *cursor = NULL;
    int rc = chg_cursor_open(run->changes, &cursor, err);
    struct entry e;
    while (rc == 0 && (rc = chg_next(cursor, &e, err)) == 1) {
        rc = run_go_on(run, err);
        if (rc == 0 && (e.op == ENTRY_DELETE) == deletes && e.op != ENTRY_RECORDED)
            rc = sender_add(run->sender, &e, err);
    }
    chg_cursor_close(cursor);
    return rc;
}

/* Offers inserts and updates again, from the file, in a new session. */
static int
stage_again(struct run *run, struct error *err)
{
    sender_abort(run->sender);
    run->session = false;
    int rc = run_begin_session(run, err);
    if (rc == 0)
        rc = send_file(run, false, err);
    return rc < 0 ? rc : sender_drain(run->sender, err);
}

/* dest_foreign_fn */
static int
take_foreign(void *arg, const struct value *key, struct str record, struct error *err)
{
    struct run *run = arg;
    AUTO_BUF struct buf bytes = BUF_INIT(BUF_NO_MAX);
    AUTO_BUF struct buf packed = BUF_INIT(BUF_NO_MAX);
    const struct chg_meta *meta = run->meta;
    int rc = run_go_on(run, err);
    if (rc < 0)
        return rc;
    AUTO_FREE struct value *values = calloc(meta->nfields + 1, sizeof *values);
    if (!values)
        return error_no_memory(err);
    if (!record_unpack(record, values, meta->nfields))
        return error_set(err, ERR_INTERNAL, EIO, "a row of the destination is damaged");
    for (size_t i = 0; i < meta->nkey; i++) {
        key_add(&bytes, meta->key_class[i], &key[i]);
        values[meta->key[i]] = key[i];
    }
    record_pack(&packed, values, meta->nfields);
    if (bytes.failed || packed.failed)
        return error_no_memory(err);
    return sorter_add(run->foreign, buf_str(&bytes), buf_str(&packed), err);
}

/* Puts the foreign rows among the changes. */
static int
merge_foreign(struct run *run, struct error *err)
{
    char name[STATE_NAME_MAX];
    run_file_name(name, run->record.number, "surveyed");
    struct chg *merged = NULL;
    int rc =
        plan_write(run->changes, run->foreign, run->why_full, VIEW_BIT(VIEW_SENT),
                   &run->cancelled, run->dirfd, name, &merged, NULL, &run->foreign_rows, err);
    run->foreign = sorter_free(run->foreign);
    if (rc < 0)
        return rc;
    run->record.foreign = run->foreign_rows;
    if (run->foreign_rows == 0) {
        chg_unref(merged);
        unlinkat(run->dirfd, name, 0);
        return 0;
    }
    char changes[STATE_NAME_MAX];
    run_file_name(changes, run->record.number, "changes");
    if (renameat(run->dirfd, name, run->dirfd, changes) < 0) {
        rc = error_set_errno(err, ERR_INTERNAL, errno, "cannot rename the run's changes");
        chg_unref(merged);
        return rc;
    }
    chg_unref(run->changes);
    run->changes = merged;
    return 0;
}

static int
survey(struct run *run, struct error *err)
{
    run->foreign = sorter_free(run->foreign); /* of a survey that asked for a replay */
    int rc = sorter_create(run->dirfd, NULL, 0, run->sort_memory, &run->foreign, err);
    if (rc == 0) {
        sorter_cancel_by(run->foreign, &run->cancelled);
        rc = sender_survey(run->sender, take_foreign, run, err);
    }
    if (rc == 0)
        rc = sorter_finish(run->foreign, err);
    if (rc == 0)
        rc = merge_foreign(run, err);
    if (rc == 0)
        run->surveyed = true;
    return rc;
}

/* Asks the destination what the model does not hold, and the guard whether it may go on. */
static int
decide(struct run *run, struct error *err)
{
    if (run->survey && !run->surveyed) {
        int rc = survey(run, err);
        if (rc < 0)
            return rc;
    }
    if (!run->held && run->verb != VERB_APPROVE)
        run->held = run_guard(run->def, &run->record.counts, run->record.deletes,
                              run->record.foreign, &run->arena);
    if (run->held)
        return 0;
    /* The change file was written anew: what was staged carries the old numbers. */
    bool renumber = run->live && run->foreign_rows > 0 && !run->renumbered;
    bool meant = run->spools && !run->live; /* so far it was to see what would be */
    if (!renumber && !meant)
        return 0;
    run->live = run->live || meant;
    run->renumbered = true;
    return stage_again(run, err);
}

static bool
wants_replay(const struct run *run, int rc, const struct error *err)
{
    return rc < 0 && err->kind == ERR_REPLAY && !run->careful;
}

static int
offer(struct run *run, struct error *err)
{
    int rc = sender_drain(run->sender, err);
    for (;;) {
        if (rc == 0)
            rc = decide(run, err);
        if (rc == 0 && (run->held || !run->live))
            return 0;
        if (rc == 0 && run->record.deletes + run->record.foreign > 0)
            rc = send_file(run, true, err);
        if (rc == 0) {
            run_set_phase(run, PHASE_APPLYING);
            rc = sender_drain(run->sender, err);
        }
        if (rc == 0)
            rc = run_go_on(run, err);
        if (rc == 0)
            rc = sender_apply(run->sender, err);
        if (!wants_replay(run, rc, err))
            return rc;
        run_log(run, "offering every row again: %s", err->text);
        error_clear(err);
        run->careful = true;
        run_set_phase(run, PHASE_SENDING);
        rc = stage_again(run, err);
    }
}

int
run_deliver(struct run *run, struct error *err)
{
    struct chg_totals totals = chg_get_totals(run->changes);
    bool nothing = totals.entries == totals.by_op[ENTRY_RECORDED];
    if (!run->survey && (nothing || !run->live)) {
        if (run->verb != VERB_BASELINE && run->verb != VERB_APPROVE && !run->held)
            run->held =
                run_guard(run->def, &run->record.counts, run->record.deletes, 0, &run->arena);
        if (nothing || run->held || !run->spools)
            return 0;
        run->live = true;
    }
    run_set_phase(run, PHASE_SENDING);
    int rc = 0;
    if (run->live && run->dest_connection->driver->dest_call)
        rc = run_promise(run, err);
    if (rc == 0 && !run->session) {
        rc = run_begin_session(run, err);
        if (rc == 0 && (run->verb == VERB_APPROVE || run->spools))
            rc = send_file(run, false, err);
    }
    if (rc == 0)
        rc = offer(run, err);
    if (run->held || !run->live) {
        sender_abort(run->sender);
        run->session = false;
    }
    if (rc < 0 && err->kind == ERR_REPLAY)
        return error_set(err, ERR_REMOTE, EIO, "destination \"%s\": %s",
                         run->def->dest_connection, err->text);
    return rc;
}
