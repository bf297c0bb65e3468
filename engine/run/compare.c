/*
 * Reading and comparing: the source in its thread, the diff in this one, the sender in a third.
 * Every change goes to the run's change file; when the run is live it goes to the destination
 * at the same time, but for deletes: they are known to be wanted only at the model's end.
 */
#include "run/run.h"

#include "base/cleanup.h"
#include "run/plan.h"
#include "run/rekey.h"

enum { SPLITTERS = 256 };

void
run_count(struct run *run, const struct entry *e)
{
    switch (e->op) {
    case ENTRY_INSERT:
        run->record.inserts++;
        break;
    case ENTRY_UPDATE:
        run->record.updates++;
        break;
    case ENTRY_DELETE:
        if (plan_is_foreign(e))
            run->record.foreign++;
        else
            run->record.deletes++;
        run->doubtful += plan_is_unsure_gone(e);
        return;
    case ENTRY_RECORDED:
        run->record.recorded++;
        break;
    default:
        return;
    }
    if (e->before.n == 0)
        run->new_keys++;
}

/* While the model is read. */
static int
begin_sending(struct run *run, struct error *err)
{
    int rc = 0;
    if (run->live && run->dest_connection->driver->dest_call) {
        run->record.cut = true; /* until it was read to its end */
        rc = chg_flush(run->writer, true, err);
        if (rc == 0)
            rc = run_promise(run, err);
    }
    return rc < 0 ? rc : run_begin_session(run, err);
}

/* diff's emit */
static int
take_change(void *arg, const struct entry *e, struct error *err)
{
    struct run *run = arg;
    run_count(run, e);
    if (e->op != ENTRY_PRESENT && e->op != ENTRY_RECORDED)
        atomic_fetch_add_explicit(&run->progress.changes, 1, memory_order_relaxed);
    struct entry told = *e;
    if (e->op != ENTRY_PRESENT)
        told.note = plan_reason(e, str_of(run->resent));
    int rc = chg_add(run->writer, &told, err);
    if (rc < 0 || !(run->live || run->survey) || e->op == ENTRY_DELETE ||
        e->op == ENTRY_RECORDED)
        return rc;
    if (!run->session) {
        rc = begin_sending(run, err);
        if (rc < 0)
            return rc;
    }
    return sender_add(run->sender, e, err);
}

/* diff's refuse */
static int
take_refusal(void *arg, const struct entry *e, struct error *err)
{
    struct run *run = arg;
    return refusals_add(run->refusals, e, err);
}

/* Where the sorter may split: the delivered state knows how the keys are spread. */
static size_t
splitters(struct run *run, struct arena *arena, struct str *keys)
{
    const struct chg *largest = NULL;
    for (size_t i = 0; i < run->state.n; i++)
        if (!largest || chg_file_size(run->state.segments[i]) > chg_file_size(largest))
            largest = run->state.segments[i];
    return largest ? chg_sample_keys(largest, arena, keys, SPLITTERS) : 0;
}

static int
merge(struct run *run, const struct diff_settings *settings, const bool *shared,
      struct error *err)
{
    if (!shared)
        return diff_run(settings, &run->record.counts, err);
    char name[STATE_NAME_MAX];
    run_file_name(name, run->record.number, "rekeyed");
    int rc = rekey_run(settings, run->mapper, shared, run->dirfd, name, run->sort_memory,
                       &run->record.counts, err);
    run->rekeyed = rc == 0;
    return rc;
}

/* A baseline takes the model as delivered, so what it holds is known as that. */
static enum mode
compared_as(const struct run *run)
{
    bool records = run->def->mode == MODE_REMOVE;
    return records && run->verb == VERB_BASELINE ? MODE_ADD : run->def->mode;
}

bool
run_rekeys(const struct run *run)
{
    return run->meta->nkey == 0 && !run->fresh && !run->why_full &&
           rekey_needed(run->before.meta, run->meta);
}

static int
diff(struct run *run, struct error *err)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct str hint[SPLITTERS];
    const bool *shared = NULL;
    if (run_rekeys(run)) {
        if (run->rows == VERB_SEND)
            return error_set(err, ERR_CONFIG, EIO,
                             "the mapping has changed: without identifier a row is known again "
                             "only after a run");
        shared = rekey_shared(run->before.meta, run->meta, &arena);
        mapper_identify_by(run->mapper, shared);
    }
    const struct reader_settings reading = {
        .driver = run->source_connection->driver,
        .source = run->source,
        .name = run->def->source_connection,
        .mapper = run->mapper,
        .ordered = run->ordered,
        .dirfd = run->dirfd,
        .hint = hint,
        .nhint = run->ordered || shared ? 0 : splitters(run, &arena, hint),
        .sort_memory = run->sort_memory,
        .cancelled = &run->cancelled,
        .progress = &run->progress,
    };
    struct reader *reader = NULL;
    int rc = reader_start(&reading, &reader, err);
    if (rc < 0)
        return rc;
    const struct diff_settings settings = {
        .mode = compared_as(run),
        .full = run->why_full != NULL || run->verb == VERB_BASELINE,
        .duplicates_last = run->def->duplicates_last,
        .present = run->survey,
        .doubts = run->dest_connection->driver->dest_call != NULL,
        .only_rejected = run->rows == VERB_RETRY,
        .only = run->rows == VERB_SEND ? run->row_asked : NULL,
        .once = run_creates(run->def),
        .rejected = run->previous_rejected,
        .unsent = run->previous_unsent,
        .meta = run->meta,
        .state = &run->state,
        .reader = reader,
        .cancelled = &run->cancelled,
        .emit = take_change,
        .refuse = take_refusal,
        .arg = run,
    };
    rc = merge(run, &settings, shared, err);
    reader_free(reader);
    return rc;
}

int
run_compare(struct run *run, struct error *err)
{
    char name[STATE_NAME_MAX];
    run_file_name(name, run->record.number, "changes");
    AUTO_BUF struct buf resent = BUF_INIT(BUF_NO_MAX);
    plan_resent(run->why_full, &resent);
    run->resent = arena_strdup(&run->arena, buf_z(&resent));
    if (!run->resent || resent.failed)
        return error_no_memory(err);
    int rc = refusals_create(run->dirfd, &run->refusals, err);
    if (rc == 0)
        rc = chg_create(run->dirfd, name, run->meta, VIEW_BIT(VIEW_SENT), &run->writer, err);
    if (rc == 0)
        rc = diff(run, err);
    if (rc < 0)
        return rc;
    chg_cancel_by(run->writer, &run->cancelled);
    if (run->promised) /* it names the rows that were sent */
        chg_keep(run->writer);
    rc = chg_finish(TAKE(run->writer), run->verb != VERB_PLAN, NULL, NULL, err);
    if (rc < 0)
        return rc;
    run->record.cut = false;
    return chg_open(run->dirfd, name, &run->changes, err);
}
