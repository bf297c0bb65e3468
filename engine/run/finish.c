/*
 * The end of a run. Order is everything here: what was refused and the delivered state that
 * follows are on disk, and the ledger knows what will be true, before the destination is asked
 * to commit; only then does the ledger say that it is true. A daemon killed in between asks the
 * destination which of the two it was.
 */
#include "run/run.h"

#include <fcntl.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "run/left_out.h"
#include "run/plan.h"

enum { RESOLVE_TRIES = 6, RESOLVE_WAIT_MS = 250 };

static const char *
join_names(struct arena *arena, const char **names, size_t n)
{
    AUTO_BUF struct buf all = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < n; i++)
        buf_addf(&all, "%s%s", i ? " " : "", names[i]);
    return arena_strdup(arena, buf_z(&all));
}

static struct verdicts *
verdicts_of(const struct run *run)
{
    if (run->verdicts)
        return run->verdicts;
    return run->session ? sender_verdicts(run->sender) : NULL;
}

/* What was not delivered. */
struct undelivered {
    struct chg *rejected, *unsent; /* NULL: none */
    struct refused_counts counts;
};

static void
undelivered_done(struct undelivered *u)
{
    chg_unref(u->rejected);
    chg_unref(u->unsent);
}

static int
write_undelivered(struct run *run, struct undelivered *u, struct error *err)
{
    char rejected[STATE_NAME_MAX], unsent[STATE_NAME_MAX];
    run_file_name(rejected, run->record.number, "rejected");
    run_file_name(unsent, run->record.number, "unsent");
    const struct refusing refusing = {
        .early = run->refusals,
        .changes = run->changes,
        .verdicts = verdicts_of(run),
        .previous = run->previous_rejected,
        .meta = run->meta,
        .due_run = run->before.last_done + 1,
        .dirfd = run->dirfd,
        .rejected = rejected,
        .unsent = unsent,
        .some = run->rows == VERB_SEND || run->record.left_out > 0 || run->verdicts,
        .retry = run->rows == VERB_RETRY,
        .inserts = run->def->mode == MODE_INSERT,
        .cancelled = &run->cancelled,
    };
    return refusals_write(&refusing, &u->rejected, &u->unsent, &u->counts, err);
}

/* Writes the segment that follows from this run under NAME; *wrote false: nothing changed. A
 * change file of which every row was delivered is a segment already. */
static int
write_segment(struct run *run, const struct undelivered *u, const char *name, bool *wrote,
              struct error *err)
{
    struct chg_totals totals = chg_get_totals(run->changes);
    *wrote = totals.entries > totals.by_op[ENTRY_PRESENT];
    if (!*wrote)
        return 0;
    unlinkat(run->dirfd, name, 0);
    if (!u->rejected && !u->unsent && totals.by_op[ENTRY_PRESENT] == 0 &&
        run->verb != VERB_APPROVE) {
        char changes[STATE_NAME_MAX];
        run_file_name(changes, run->record.number, "changes");
        if (linkat(run->dirfd, changes, run->dirfd, name, 0) < 0)
            return error_set_errno(err, ERR_INTERNAL, errno, "cannot keep the delivered state");
        return 0;
    }
    return state_apply(run->changes, u->rejected, u->unsent, &run->cancelled, run->dirfd, name,
                       NULL, err);
}

/* Whether the new segment alone is the whole state. */
static bool
replaces_state(const struct run *run, const struct refused_counts *refused)
{
    const struct diff_counts *c = &run->record.counts;
    return run->fresh || run->verb == VERB_BASELINE ||
           (run->why_full && !run->record.cut && refused->listed + refused->unsent == 0 &&
            run->record.left_out == 0 && c->unchanged == 0 && c->held_back == 0 &&
            (c->gone == 0 || mode_deletes(run->def->mode)));
}

static int
list_segments(struct run *run, const char *name, bool wrote, bool replaces,
              struct sync_record *after, struct error *err)
{
    size_t kept = replaces ? 0 : run->before.nsegments;
    const char **names = arena_alloc(&run->arena, (kept + 2) * sizeof *names);
    bool good = names != NULL;
    for (size_t i = 0; good && i < kept; i++)
        names[i] = run->before.segments[i];
    if (run->rekeyed) {
        char rekeyed[STATE_NAME_MAX];
        run_file_name(rekeyed, run->record.number, "rekeyed");
        good = good && (names[0] = arena_strdup(&run->arena, rekeyed));
        kept = 1;
    }
    if (wrote)
        good = good && (names[kept++] = arena_strdup(&run->arena, name));
    if (!good)
        return error_no_memory(err);
    after->segments = names;
    after->nsegments = kept;
    return 0;
}

static const char *
rows_were(uint64_t n)
{
    return n == 1 ? "row was" : "rows were";
}

/* What the summary of a run says that did not deliver all: "3 rows were rejected: rejected/
 * says why", "20 rows were not sent: HTTP 401 …", or both. */
static int
say_undelivered(struct run *run, struct error *err)
{
    struct run_record *r = &run->record;
    const struct error *stopped = run->session ? sender_stopped(run->sender) : NULL;
    const char *why = stopped ? stopped->text : run->cut_short;
    if (!why)
        why = r->cut ? "the daemon was stopped" : "the run ended before";
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    if (r->not_sent)
        buf_addf(&text, "%llu %s not sent: %s", (unsigned long long)r->not_sent,
                 rows_were(r->not_sent), why);
    else if (r->cut)
        buf_addf(&text, "it ended before the model was read: %s", why);
    if (r->rejected)
        buf_addf(&text, "%s%llu %s rejected: rejected/ says why", text.n ? "; " : "",
                 (unsigned long long)r->rejected, rows_were(r->rejected));
    r->error = text.failed ? NULL : arena_strdup(&run->arena, buf_z(&text));
    return r->error ? 0 : error_no_memory(err);
}

/* After one row was sent: the others are due for the reasons that they were due for. Where what
 * was delivered would be created again they are due anyway, for they are new. */
static const char *
still_due_full(const struct run *run)
{
    if (!run->fresh)
        return run->before.due_full;
    if (run_creates(run->def))
        return NULL;
    return run->due_full ? run->due_full : "only one row was sent so far";
}

static int
describe_after(struct run *run, const struct refused_counts *refused, struct sync_record *after,
               struct error *err)
{
    struct run_record *r = &run->record;
    uint64_t kept = r->cut ? run->before.live_rows : r->counts.delivered;
    if (run->fresh || run->verb == VERB_BASELINE)
        kept = 0;
    after->signature = run->signature;
    bool one = run->rows == VERB_SEND;
    bool stays_due = run->rows == VERB_RETRY || one || (r->cut && run->why_full);
    if (run->fresh || run->rekeyed || !stays_due || !run->before.meta)
        after->meta = run->meta;
    after->reset = NULL;
    if (one)
        after->due_full = still_due_full(run);
    else if (run->rows != VERB_RETRY && !r->cut)
        after->due_full = NULL;
    after->live_rows = kept + run->new_keys - refused->never_delivered - r->deletes +
                       run->doubtful + (refused->deletes - refused->foreign);
    if (run->verb == VERB_BASELINE)
        after->live_rows = r->inserts + r->updates + r->recorded;
    if (!r->cut)
        after->model_rows = (int64_t)r->counts.rows;
    after->rejected_run = refused->listed ? r->number : 0;
    after->rejected_rows = refused->listed;
    if (!one || after->unsent_run == 0)
        after->unsent_run = refused->unsent ? r->number : 0;
    after->last_run = after->last_done = r->number;
    bool whole = refused->rejected + refused->unsent == 0 && !r->cut;
    after->last_ok = whole && !one ? clock_now() : after->last_ok;
    after->plan = NULL;
    r->rejected = refused->rejected;
    r->not_sent = refused->unsent;
    r->dropped = refused->dropped;
    r->delivered = r->inserts + r->updates + r->deletes + r->foreign - refused->inserts -
                   refused->updates - refused->deletes;
    if (run->verb == VERB_BASELINE)
        r->delivered = 0;
    r->outcome = whole ? RUN_SUCCEEDED : RUN_PARTIAL;
    return whole ? 0 : say_undelivered(run, err);
}

/* False: cancelled meanwhile. */
static bool
pause_for(const struct run *run, int ms)
{
    enum { STEP_MS = 50 };
    for (; ms > 0 && !atomic_load(&run->cancelled); ms -= STEP_MS)
        usleep(STEP_MS * 1000);
    return !atomic_load(&run->cancelled);
}

/* Asks the destination about a commit whose answer was lost, a few times. */
static int
resolve_now(struct run *run, enum dest_fate *fate, struct error *err)
{
    const struct driver *driver = run->dest_connection->driver;
    int rc = -EIO;
    *fate = FATE_UNKNOWN;
    for (int i = 0; i < RESOLVE_TRIES && driver->dest_resolve; i++) {
        if (i > 0 && !pause_for(run, RESOLVE_WAIT_MS << i))
            break;
        run_close_handles(run);
        error_clear(err);
        rc = run_open_destination(run, err);
        if (rc == 0)
            rc = driver->dest_resolve(run->destination, run->record.token, fate, err);
        if (rc == 0 && *fate != FATE_UNKNOWN)
            return 0;
    }
    return rc < 0 ? rc : -EIO;
}

static int
commit(struct run *run, const struct sync_record *after, struct error *err)
{
    int rc = ledger_prepare_commit(run->catalog, run->before.uid, &run->record, after, err);
    if (rc < 0)
        return rc;
    run_set_phase(run, PHASE_COMMITTING);
    pthread_mutex_lock(&run->lock); /* from here on cancelling would only make it unclear */
    run->cancel_destination = NULL;
    pthread_mutex_unlock(&run->lock);
    rc = sender_commit(run->sender, err);
    if (rc == 0 || err->kind != ERR_UNKNOWN)
        return rc;

    char lost[ERROR_TEXT_MAX];
    memcpy(lost, err->text, sizeof lost);
    run_log(run, "the answer to the commit was lost, asking: %s", lost);
    run->sender = sender_free(run->sender);
    enum dest_fate fate;
    if (resolve_now(run, &fate, err) < 0) {
        run->record.outcome = RUN_UNRESOLVED;
        return error_set(err, ERR_UNKNOWN, EIO,
                         "it is not known yet whether the destination committed (%s); the next "
                         "run asks it first",
                         lost);
    }
    if (fate == FATE_COMMITTED)
        return 0;
    return error_set(err, ERR_REMOTE, EIO, "the destination did not commit: %s", lost);
}

int
run_promise(struct run *run, struct error *err)
{
    const struct run_record now = run->record;
    const struct refused_counts none = {0};
    struct sync_record after = run->before;
    char name[STATE_NAME_MAX];
    snprintf(name, sizeof name, "state-%llu", (unsigned long long)now.number);
    int rc = list_segments(run, name, true, replaces_state(run, &none), &after, err);
    if (rc == 0)
        rc = describe_after(run, &none, &after, err);
    if (rc == 0)
        rc = file_sync_dir(run->dirfd, err);
    if (rc == 0)
        rc = ledger_prepare_commit(run->catalog, run->before.uid, &run->record, &after, err);
    run->record = now;
    run->promised = rc == 0;
    return rc;
}

int
run_finish(struct run *run, struct error *err)
{
    struct sync_record after = run->before;
    struct undelivered u = {0};
    char name[STATE_NAME_MAX];
    bool wrote = false;
    snprintf(name, sizeof name, "state-%llu", (unsigned long long)run->record.number);

    int rc = write_undelivered(run, &u, err);
    if (rc == 0)
        rc = write_segment(run, &u, name, &wrote, err);
    undelivered_done(&u);
    if (rc == 0)
        rc = list_segments(run, name, wrote, replaces_state(run, &u.counts), &after, err);
    if (rc == 0)
        rc = describe_after(run, &u.counts, &after, err);
    if (rc == 0)
        rc = file_sync_dir(run->dirfd, err);
    if (rc == 0)
        rc = run_go_on(run, err); /* the last moment to say so */
    if (rc == 0 && run->session)
        rc = commit(run, &after, err);
    if (rc < 0)
        return rc;
    run->record.ended = clock_now();
    rc = ledger_end_run(run->catalog, run->before.uid, &run->record, &after, err);
    if (rc == 0 && run->record.outcome == RUN_PARTIAL)
        return error_set(err, ERR_DATA, EIO, "%s", run->record.error);
    return rc;
}

/* Readers of the old plan hold its file open; the record names the new one. */
static int
keep_plan_files(struct run *run, bool any_refused, struct error *err)
{
    int dir = run->dirfd;
    char rekeyed[STATE_NAME_MAX];
    run_file_name(rekeyed, run->record.number, "rekeyed");
    bool kept = renameat(dir, "plan.new", dir, "plan") == 0;
    if (kept)
        unlinkat(dir, "plan-refused", 0);
    if (kept && any_refused)
        kept = renameat(dir, "plan-refused.new", dir, "plan-refused") == 0;
    if (kept && run->rekeyed)
        kept = renameat(dir, rekeyed, dir, "plan-rekeyed") == 0;
    return kept ? file_sync_dir(dir, err)
                : error_set_errno(err, ERR_INTERNAL, errno, "cannot keep the plan");
}

int
run_keep_plan(struct run *run, struct error *err)
{
    enum {
        ALL_VIEWS = VIEW_BIT(VIEW_JSONL) | VIEW_BIT(VIEW_INSERTS_CSV) |
                    VIEW_BIT(VIEW_UPDATES_CSV) | VIEW_BIT(VIEW_DELETES_CSV) |
                    VIEW_BIT(VIEW_DIFF) | VIEW_BIT(VIEW_SENT) /* once it is approved */
    };
    char id[PLAN_ID_LENGTH + 1];
    uint64_t foreign;
    struct chg *plan = NULL;
    struct undelivered u = {0};
    const struct refusing refusing = {
        .early = run->refusals,
        .meta = run->meta,
        .dirfd = run->dirfd,
        .rejected = "plan-refused.new",
        .cancelled = &run->cancelled,
    };
    int rc = plan_write(run->changes, NULL, run->why_full, ALL_VIEWS, &run->cancelled,
                        run->dirfd, "plan.new", &plan, id, &foreign, err);
    if (rc == 0)
        rc = refusals_write(&refusing, &u.rejected, &u.unsent, &u.counts, err);
    bool any_refused = u.rejected != NULL;
    chg_unref(plan);
    undelivered_done(&u);
    if (rc < 0)
        return rc;
    struct plan_record record = {
        .id = id,
        .made = clock_now(),
        .texts = run->texts_digest,
        .segments = join_names(&run->arena, run->before.segments, run->before.nsegments),
        .verb = verb_name(run->rows),
        .mode = mode_name(run->def->mode),
        .why_full = run->why_full,
        .held = run->held,
        .fresh = run->fresh,
        .rekeyed = run->rekeyed,
        .counts = run->record.counts,
        .inserts = run->record.inserts,
        .updates = run->record.updates,
        .deletes = run->record.deletes,
        .foreign = run->record.foreign,
        .recorded = run->record.recorded,
    };
    run->record.plan = arena_strdup(&run->arena, id);
    if (!record.segments || !run->record.plan)
        return error_no_memory(err);
    rc = keep_plan_files(run, any_refused, err);
    if (rc < 0)
        return rc;
    AUTO_BUF struct buf kept = BUF_INIT(256);
    struct sync_record after = run->before;
    after.plan = &record;
    if (run->rechecks)
        left_out_file(&after, ROWS_PENDING, &kept);
    rc = kept.failed ? error_no_memory(err)
                     : left_out_keep(run->catalog, run->before.uid, buf_z(&kept), err);
    if (rc < 0)
        return rc;
    after.model_rows = (int64_t)run->record.counts.rows;
    if (!run->numbered)
        return ledger_store_sync(run->catalog, &after, err);
    after.last_run = run->record.number;
    run->record.outcome = RUN_HELD;
    run->record.error = run->held;
    run->record.ended = clock_now();
    rc = ledger_end_run(run->catalog, run->before.uid, &run->record, &after, err);
    return rc < 0 ? rc : error_set(err, ERR_LIMIT, EIO, "held: %s", run->held);
}
