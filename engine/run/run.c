/* One run, step by step: see run.h. The way of one row is told in HACKING.md. */
#include "run/run.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "base/log.h"
#include "run/forgotten.h"
#include "run/left_out.h"
#include "run/plan.h"
#include "run/settle.h"

const char *
verb_name(enum verb verb)
{
    static const char *const names[] = {
        [VERB_RUN] = "run",           [VERB_FULL] = "full", [VERB_RETRY] = "retry",
        [VERB_SEND] = "send",         [VERB_PLAN] = "plan", [VERB_APPROVE] = "approve",
        [VERB_BASELINE] = "baseline",
    };
    return names[verb];
}

const char *
run_phase_name(enum run_phase phase)
{
    static const char *const names[] = {
        [PHASE_QUEUED] = "queued",     [PHASE_CONNECTING] = "connecting",
        [PHASE_READING] = "reading",   [PHASE_SENDING] = "sending",
        [PHASE_APPLYING] = "applying", [PHASE_COMMITTING] = "committing",
    };
    return names[phase];
}

void
run_file_name(char out[STATE_NAME_MAX], uint64_t number, const char *what)
{
    snprintf(out, STATE_NAME_MAX, "run-%llu.%s", (unsigned long long)number, what);
}

bool
run_file_number(const char *name, const char *prefix, uint64_t *number, const char **rest)
{
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0 || name[n] < '0' || name[n] > '9')
        return false;
    *number = 0;
    for (name += n; *name >= '0' && *name <= '9'; name++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*name - '0'), number))
            return false;
    if (rest)
        *rest = name;
    return true;
}

void
run_set_phase(struct run *run, enum run_phase phase)
{
    atomic_store(&run->phase, phase);
}

void
run_log(struct run *run, const char *format, ...)
{
    AUTO_BUF struct buf said = BUF_INIT(8192), text = BUF_INIT(8192);
    va_list ap;
    va_start(ap, format);
    buf_vaddf(&said, format, ap);
    va_end(ap);
    redact(run->redactor, NULL, buf_str(&said), &text);
    if (text.failed && text.n == 0) {
        buf_clear(&text);
        buf_adds(&text, "(not told: out of memory)");
    }
    AUTO_BUF struct buf line = BUF_INIT(16384);
    if (run->numbered)
        buf_addf(&line, "run=%llu ", (unsigned long long)run->record.number);
    buf_add(&line, buf_z(&text), text.n);
    catalog_log(run->catalog, run->before.uid, buf_z(&line));
    if (run->log_fd >= 0) {
        struct error ignored = ERROR_INIT; /* a log that cannot be written must not end a run */
        buf_clear(&line);
        clock_format(clock_now(), &line);
        buf_addf(&line, " %s\n", buf_z(&text));
        file_write_all(run->log_fd, buf_z(&line), line.n, &ignored);
    }
    log_debug("sync=%s run=%llu %s", run->name, (unsigned long long)run->record.number,
              buf_z(&text));
}

int
run_go_on(const struct run *run, struct error *err)
{
    return cancel_check(&run->cancelled, err);
}

void
run_init(struct run *run)
{
    *run = (struct run){.dirfd = -1, .log_fd = -1, .ordered = true};
    pthread_mutex_init(&run->lock, NULL);
    atomic_store(&run->progress.total, -1);
}

/* What belongs to one attempt at reading and sending. */
static void
end_attempt(struct run *run)
{
    run->sender = sender_free(run->sender);
    run->verdicts = verdicts_free(run->verdicts);
    run->refusals = refusals_free(run->refusals);
    if (run->promised) /* it names the rows that were sent */
        chg_leave(TAKE(run->writer));
    else
        chg_discard(TAKE(run->writer));
    run->changes = chg_unref(run->changes);
    run->foreign = sorter_free(run->foreign);
    run->mapper = mapper_free(run->mapper);
    run_close_handles(run);
    state_done(&run->state);
    run->session = run->surveyed = run->careful = run->renumbered = run->rekeyed = false;
    run->new_keys = run->doubtful = run->foreign_rows = 0;
    run->held = NULL;
}

void
run_done(struct run *run)
{
    end_attempt(run);
    run->previous_rejected = chg_unref(run->previous_rejected);
    run->previous_unsent = chg_unref(run->previous_unsent);
    run->redactor = redactor_free(run->redactor);
    connection_free(run->source_connection);
    connection_free(run->dest_connection);
    definition_free(run->def);
    sync_record_done(&run->before);
    if (run->dirfd >= 0)
        close(run->dirfd);
    if (run->log_fd >= 0)
        close(run->log_fd);
    arena_done(&run->arena);
    pthread_mutex_destroy(&run->lock);
}

void
run_cancel(struct run *run)
{
    atomic_store(&run->cancelled, true);
    pthread_mutex_lock(&run->lock);
    if (run->cancel_source && run->source_connection->driver->source_cancel)
        run->source_connection->driver->source_cancel(run->cancel_source);
    if (run->cancel_destination && run->dest_connection->driver->dest_cancel)
        run->dest_connection->driver->dest_cancel(run->cancel_destination);
    if (run->inner)
        run_cancel(run->inner);
    pthread_mutex_unlock(&run->lock);
}

void
run_enter(struct run *run, struct run *inner)
{
    inner->catalog = run->catalog;
    inner->state_fd = run->state_fd;
    inner->name = run->name;
    inner->dir = run->dir;
    inner->who = run->who;
    inner->command = run->command;
    pthread_mutex_lock(&run->lock);
    run->inner = inner;
    atomic_store(&inner->cancelled, atomic_load(&run->cancelled));
    pthread_mutex_unlock(&run->lock);
}

void
run_leave(struct run *run)
{
    pthread_mutex_lock(&run->lock);
    run->inner = NULL;
    pthread_mutex_unlock(&run->lock);
}

/* ---- the state on disk ---- */

int
run_open_directory(struct run *run, struct error *err)
{
    AUTO_CLOSE int syncs = file_make_dir(run->state_fd, "syncs", err);
    if (syncs < 0)
        return syncs;
    run->dirfd = file_make_dir(syncs, run->before.uid, err);
    return run->dirfd < 0 ? run->dirfd : 0;
}

/* Puts in place of *file, which pending/ or rejected/ shows, what was left of it by hand. */
static int
without_left_out(struct run *run, enum rows_of of, const char *name, unsigned views,
                 struct chg **file, uint64_t *left_out, struct error *err)
{
    AUTO_BUF struct buf what = BUF_INIT(256);
    struct left_out rows;
    struct chg *rest = NULL;
    if (!left_out_file(&run->before, of, &what))
        return 0;
    if (what.failed)
        return error_no_memory(err);
    int rc = left_out_load(run->catalog, run->before.uid, buf_z(&what),
                           chg_get_totals(*file).entries, &rows, err);
    *left_out = rc < 0 ? 0 : rows.n;
    if (*left_out > 0)
        rc = left_out_filter(&rows, of, *file, views, &run->cancelled, run->dirfd, name, &rest,
                             err);
    left_out_done(&rows);
    if (rest) {
        chg_unref(*file);
        *file = rest;
    }
    return rc;
}

int
run_open_previous(struct run *run, struct error *err)
{
    char name[STATE_NAME_MAX];
    if (run->before.unsent_run) {
        run_file_name(name, run->before.unsent_run, "unsent");
        int rc = chg_open(run->dirfd, name, &run->previous_unsent, err);
        if (rc < 0)
            return rc;
    }
    if (run->before.rejected_run == 0)
        return 0;
    run_file_name(name, run->before.rejected_run, "rejected");
    int rc = chg_open(run->dirfd, name, &run->previous_rejected, err);
    return rc < 0 ? rc
                  : without_left_out(run, ROWS_REJECTED, "rejected-kept", 0,
                                     &run->previous_rejected, &(uint64_t){0}, err);
}

/* Opens the delivered state; merges its segments first when there are too many of them. */
static int
open_state(struct run *run, struct error *err)
{
    if (run->fresh || run->verb == VERB_BASELINE)
        return 0;
    int rc =
        state_open(run->dirfd, run->before.segments, run->before.nsegments, &run->state, err);
    if (rc < 0 || !state_wants_merge(&run->state))
        return rc;
    char name[STATE_NAME_MAX];
    uint64_t live;
    run_file_name(name, run->record.number, "merged");
    rc = state_merge(&run->state, run->before.meta, &run->cancelled, run->dirfd, name, &live,
                     err);
    if (rc == 0)
        rc = file_sync_dir(run->dirfd, err);
    const char **names = arena_alloc(&run->arena, sizeof *names);
    if (rc < 0 || !names || !(names[0] = arena_strdup(&run->arena, name)))
        return rc < 0 ? rc : error_no_memory(err);
    size_t merged = run->before.nsegments;
    const char **old = run->before.segments;
    run->before.segments = names;
    run->before.nsegments = 1;
    run->before.live_rows = live;
    run->before.plan = NULL; /* it was made against the old segments */
    rc = ledger_store_sync(run->catalog, &run->before, err);
    if (rc < 0)
        return rc;
    state_done(&run->state);
    for (size_t i = 0; i < merged; i++)
        unlinkat(run->dirfd, old[i], 0);
    return state_open(run->dirfd, names, 1, &run->state, err);
}

/* ---- the run in the ledger ---- */

/* The number of this run, unless the catalogue has forgotten what later ones delivered. */
static int
take_number(struct run *run, struct error *err)
{
    uint64_t newest, last = run->before.last_run;
    int rc = forgotten_runs(run->dirfd, last, &newest, err);
    if (rc < 0)
        return rc;
    if (newest > last && !run->before.reset && run->verb != VERB_BASELINE)
        return error_set(
            err, ERR_INTERNAL, EIO,
            "the catalogue has forgotten the runs after %llu, up to %llu, and what "
            "they delivered (was it damaged, or put back from a copy?): put it "
            "right, or write \"baseline\" or \"reset\"",
            (unsigned long long)last, (unsigned long long)newest);
    run->record.number = newest + 1;
    return 0;
}

static int
begin_in_ledger(struct run *run, struct error *err)
{
    struct run_record *r = &run->record;
    int rc = take_number(run, err);
    if (rc < 0)
        return rc;
    r->verb = verb_name(run->verb);
    r->mode = mode_name(run->def->mode);
    r->started = run->started;
    r->who = run->who;
    r->command = run->command;
    r->token =
        arena_printf(&run->arena, "%s:%llu", run->before.uid, (unsigned long long)r->number);
    if (!r->token)
        return error_no_memory(err);
    if (run->verb == VERB_PLAN)
        return 0;
    rc = ledger_begin_run(run->catalog, run->before.uid, r, &run->texts, err);
    if (rc < 0)
        return rc;
    run->numbered = true;
    run->before.last_run = r->number;
    char name[STATE_NAME_MAX];
    run_file_name(name, r->number, "log");
    run->log_fd =
        openat(run->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    run_log(run, "%s started, mode %s, by uid=%u pid=%d %s", r->verb, r->mode, run->who.uid,
            run->who.pid, run->command ? run->command : "");
    return 0;
}

/* The run came to nothing: says so in the ledger. What it offered stays to be looked at. */
static void
end_failed(struct run *run, const struct error *failure)
{
    struct run_record *r = &run->record;
    if (!run->numbered || r->outcome == RUN_HELD || run->promised)
        return;
    if (r->outcome != RUN_UNRESOLVED)
        r->outcome = failure->kind == ERR_CANCELLED ? RUN_CANCELLED : RUN_FAILED;
    r->delivered = r->rejected = r->not_sent = r->dropped = 0;
    r->error = failure->text;
    r->ended = clock_now();
    struct error err = ERROR_INIT;
    if (ledger_end_run(run->catalog, run->before.uid, r, NULL, &err) < 0)
        log_error("sync=%s run=%llu cannot write the run's end: %s", run->name,
                  (unsigned long long)r->number, err.text);
    if (r->outcome != RUN_UNRESOLVED) {
        char name[STATE_NAME_MAX];
        run_file_name(name, r->number, "rejected");
        unlinkat(run->dirfd, name, 0);
        run_file_name(name, r->number, "unsent");
        unlinkat(run->dirfd, name, 0);
        snprintf(name, sizeof name, "state-%llu", (unsigned long long)r->number);
        unlinkat(run->dirfd, name, 0);
        run_file_name(name, r->number, "rekeyed");
        unlinkat(run->dirfd, name, 0);
    }
}

/* ---- running ---- */

/* `insert` run in full would create everything a second time. */
static void
hold_second_creation(struct run *run)
{
    bool again =
        run->rows == VERB_FULL || (run->fresh && run->before.signature && !run->before.reset &&
                                   run_same_object(run->before.signature, run->signature));
    if (run->def->mode != MODE_INSERT || !again || run->before.live_rows == 0 ||
        run->verb == VERB_BASELINE)
        return;
    run->held = arena_printf(&run->arena, "mode insert would create %llu records again (%s)",
                             (unsigned long long)run->before.live_rows, run->why_full);
}

/* A destination that is not atomic keeps what it was sent. A mirror may still be held once the
 * model is read, and a held run sends nothing; rows of one identifier are only seen side by
 * side when the order is what it seems to be; and what was delivered is known under its new
 * keys only when all of them are.
 *
 * What an insert had sent when the source failed half way must not be created again: it need
 * not wait where a journal and the change file, which is always ahead of it, say afterwards
 * what that was. */
static bool
waits_for_the_end(const struct run *run)
{
    bool insert = run->def->mode == MODE_INSERT;
    return mode_deletes(run->def->mode) || run->def->mode == MODE_FULL || run->guessed ||
           (insert && (!run->dest_connection->driver->dest_call || run_rekeys(run)));
}

/* sender's ahead: the change file names rows before any of them is sent. */
static int
write_ahead(void *arg, struct error *err)
{
    struct run *run = arg;
    return run->writer ? chg_flush(run->writer, false, err) : 0;
}

static int
open_sender(struct run *run, struct error *err)
{
    const struct driver *driver = run->dest_connection->driver;
    bool sends = run->verb != VERB_PLAN && run->verb != VERB_BASELINE && !run->held;
    run->spools = sends && !(driver->traits & TRAIT_ATOMIC) && waits_for_the_end(run);
    run->live = sends && !run->spools;
    run->survey = run->def->mode == MODE_MIRROR && run->why_full && driver->dest_survey &&
                  run->def->foreign != FOREIGN_KEEP && run->verb != VERB_BASELINE &&
                  run->verb != VERB_APPROVE;
    if (run->verb == VERB_BASELINE)
        return 0;
    int rc = run_open_destination(run, err);
    if (rc < 0 || !(sends || run->survey))
        return rc;
    char name[STATE_NAME_MAX];
    run_file_name(name, run->record.number, "journal");
    const char *kept = arena_strdup(&run->arena, name);
    run_file_name(name, run->record.number, "requests");
    const char *asked = arena_strdup(&run->arena, name);
    if (!kept || !asked)
        return error_no_memory(err);
    const struct sender_settings settings = {
        .driver = driver,
        .destination = run->destination,
        .name = run->def->dest_connection,
        .uid = run->before.uid,
        .pace = run->place ? run->place : run->def->dest_connection,
        .mode = run->def->mode,
        .whole = run->rows == VERB_FULL || run->def->mode == MODE_FULL,
        .meta = run->meta,
        .refused_before =
            run->previous_rejected ? chg_get_totals(run->previous_rejected).entries : 0,
        .due_run = run->before.last_done + 1,
        .dirfd = run->dirfd,
        .journal = sends && driver->dest_call ? kept : NULL,
        .redactor = run->redactor,
        .requests = {.dirfd = run->dirfd,
                     .name = asked,
                     .sync = run->name,
                     .run = run->record.number,
                     .first = run->rows == VERB_SEND ? UINT64_MAX : run->def->log_requests,
                     .redactor = run->redactor},
        .cancelled = &run->cancelled,
        .progress = &run->progress,
        .ahead = run->live && driver->dest_call ? write_ahead : NULL,
        .arg = run,
    };
    return sender_create(&settings, &run->sender, err);
}

static int
read_and_send(struct run *run, struct error *err)
{
    run_set_phase(run, PHASE_CONNECTING);
    int rc = run_open_source(run, err);
    if (rc == 0)
        rc = run_go_on(run, err);
    if (rc == 0)
        rc = open_state(run, err);
    if (rc < 0)
        return rc;
    run->record.why_full = run->why_full;
    hold_second_creation(run);
    rc = open_sender(run, err);
    if (rc < 0)
        return rc;
    if (run->why_full)
        run_log(run, "full: %s", run->why_full);
    run_set_phase(run, PHASE_READING);
    rc = run_go_on(run, err);
    if (rc == 0)
        rc = run_compare(run, err);
    if (rc == 0)
        rc = run_deliver(run, err);
    if (rc < 0)
        return rc;
    if (run->held && run->rows == VERB_SEND)
        return error_set(err, ERR_LIMIT, EIO, "held: %s", run->held);
    if (run->verb == VERB_PLAN || run->held)
        return run_keep_plan(run, err);
    return run_finish(run, err);
}

static void
forget_journal(struct run *run)
{
    char name[STATE_NAME_MAX];
    run_file_name(name, run->record.number, "journal");
    unlinkat(run->dirfd, name, 0);
}

/* One attempt, and a second one without the source's order if it broke its promise. What an
 * insert has created it must not create again: that run ends as one whose source failed, and
 * the next one finds the broken order before it has sent anything. */
static int
attempt(struct run *run, struct error *err)
{
    int rc = read_and_send(run, err);
    bool again = !(run->promised && run->def->mode == MODE_INSERT);
    if (rc < 0 && err->kind == ERR_ORDER && again) {
        run_log(run, "%s: sorting here instead",
                run->guessed ? "the rows are not in the order they seemed to be in"
                             : err->text);
        error_clear(err);
        end_attempt(run);
        forget_journal(run); /* its numbers are those of another change file */
        struct run_record *r = &run->record;
        r->counts = (struct diff_counts){0};
        r->inserts = r->updates = r->deletes = r->foreign = r->recorded = 0;
        atomic_store(&run->progress.rows_read, 0);
        atomic_store(&run->progress.bytes_read, 0);
        atomic_store(&run->progress.changes, 0);
        run->ordered = false;
        rc = read_and_send(run, err);
    }
    return rc;
}

/* ---- approve: exactly the plan ---- */

static int
plan_is_current(struct run *run, struct error *err)
{
    const struct plan_record *plan = run->before.plan;
    if (!plan)
        return error_set(err, ERR_CONFIG, ESTALE,
                         "there is no plan to approve: write \"plan\"");
    if (run->plan_asked && strcmp(run->plan_asked, plan->id) != 0)
        return error_set(err, ERR_CONFIG, ESTALE, "pending/ holds plan %s, not %s", plan->id,
                         run->plan_asked);
    if (strcmp(plan->texts, run->texts_digest) != 0)
        return error_set(err, ERR_CONFIG, ESTALE,
                         "the definition changed since plan %s was made: write \"plan\"",
                         plan->id);
    AUTO_BUF struct buf segments = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < run->before.nsegments; i++)
        buf_addf(&segments, "%s%s", i ? " " : "", run->before.segments[i]);
    if (strcmp(plan->segments, buf_z(&segments)) != 0)
        return error_set(err, ERR_CONFIG, ESTALE,
                         "something was delivered since plan %s was made: write \"plan\"",
                         plan->id);
    return 0;
}

/* Which rows it was made for. */
static enum verb
plan_rows(const struct plan_record *plan)
{
    static const enum verb others[] = {VERB_FULL, VERB_RETRY};
    for (size_t i = 0; plan->verb && i < sizeof others / sizeof *others; i++)
        if (strcmp(plan->verb, verb_name(others[i])) == 0)
            return others[i];
    return VERB_RUN;
}

/* Plans anew: the id says whether the source would still give the same changes. */
static int
source_has_moved(struct run *run, struct error *err)
{
    struct run again;
    run_init(&again);
    run_enter(run, &again);
    again.verb = VERB_PLAN;
    again.rechecks = true;
    again.rows = plan_rows(run->before.plan);
    again.sort_memory = run->sort_memory;
    again.started = run->started;
    int rc = run_execute(&again, err);
    run_leave(run);
    bool same = rc == 0 && again.record.plan && strcmp(again.record.plan, run->plan_asked) == 0;
    char now[PLAN_ID_LENGTH + 1] = "";
    if (rc == 0 && again.record.plan)
        snprintf(now, sizeof now, "%s", again.record.plan);
    run_done(&again);
    if (rc != 0)
        return -rc;
    return same ? 0
                : error_set(
                      err, ERR_CONFIG, ESTALE,
                      "the source has moved since plan %s was made; pending/ holds plan %s "
                      "now",
                      run->plan_asked, now);
}

/* Rows the plan could not send for their own fault are rejected rows of this run too. */
static int
take_plan_refusals(struct run *run, struct error *err)
{
    int rc = refusals_create(run->dirfd, &run->refusals, err);
    if (rc < 0 || faccessat(run->dirfd, "plan-refused", F_OK, 0) < 0)
        return rc;
    struct chg *file = NULL;
    struct chg_cursor *cursor = NULL;
    struct entry e;
    rc = chg_open(run->dirfd, "plan-refused", &file, err);
    if (rc == 0)
        rc = chg_cursor_open(file, &cursor, err);
    while (rc == 0 && (rc = run_go_on(run, err)) == 0 && (rc = chg_next(cursor, &e, err)) == 1)
        rc = refusals_add(run->refusals, &e, err);
    chg_cursor_close(cursor);
    chg_unref(file);
    return rc;
}

int
run_count_changes(struct run *run, struct error *err)
{
    struct run_record *r = &run->record;
    struct chg_cursor *cursor = NULL;
    struct entry e;
    r->inserts = r->updates = r->deletes = r->foreign = r->recorded = run->new_keys =
        run->doubtful = 0;
    int rc = chg_cursor_open(run->changes, &cursor, err);
    while (rc == 0 && (rc = run_go_on(run, err)) == 0 &&
           (rc = chg_next(cursor, &e, err)) == 1) {
        run_count(run, &e);
        rc = 0;
    }
    chg_cursor_close(cursor);
    return rc;
}

/* Counts what the plan holds, and checks that it is the plan its record tells of: a daemon
 * killed while it kept a newer one leaves that one's rows under the older one's record. */
static int
count_plan(struct run *run, struct error *err)
{
    const struct plan_record *plan = run->before.plan;
    const struct run_record *r = &run->record;
    int rc = run_count_changes(run, err);
    if (rc == 0 && (r->inserts != plan->inserts || r->updates != plan->updates ||
                    r->deletes != plan->deletes || r->foreign != plan->foreign ||
                    r->recorded != plan->recorded))
        return error_set(err, ERR_CONFIG, ESTALE,
                         "pending/ does not hold what plan %s was: write \"plan\"", plan->id);
    return rc;
}

/* A file of the plan becomes one of this run's; its new name is put in `name`. */
static int
take_plan_file(struct run *run, const char *from, const char *what, char name[STATE_NAME_MAX],
               struct error *err)
{
    run_file_name(name, run->record.number, what);
    unlinkat(run->dirfd, name, 0);
    if (linkat(run->dirfd, from, run->dirfd, name, 0) < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot take the plan");
    return 0;
}

/* What was removed from pending/ is not sent, and so is a change again on the next run. */
static int
leave_out(struct run *run, const char *changes, struct error *err)
{
    uint64_t *n = &run->record.left_out;
    int rc = without_left_out(run, ROWS_PENDING, changes, VIEW_BIT(VIEW_SENT), &run->changes, n,
                              err);
    if (rc < 0 || *n == 0)
        return rc;
    run_log(run, "%llu rows of plan %s are left out", (unsigned long long)*n,
            run->before.plan->id);
    return run_count_changes(run, err);
}

static int
approve(struct run *run, struct error *err)
{
    const struct plan_record *plan = run->before.plan;
    run->rows = plan_rows(plan);
    char changes[STATE_NAME_MAX];
    int rc = take_plan_file(run, "plan", "changes", changes, err);
    if (rc == 0 && plan->rekeyed) {
        char rekeyed[STATE_NAME_MAX];
        rc = take_plan_file(run, "plan-rekeyed", "rekeyed", rekeyed, err);
        run->rekeyed = rc == 0;
    }
    if (rc == 0)
        rc = chg_open(run->dirfd, changes, &run->changes, err);
    if (rc == 0)
        rc = take_plan_refusals(run, err);
    if (rc == 0)
        rc = count_plan(run, err);
    if (rc == 0)
        rc = leave_out(run, changes, err);
    if (rc < 0)
        return rc;
    run->meta = chg_meta_copy(&run->arena, chg_get_meta(run->changes));
    run->signature = run_signature(run->def, run->place, &run->arena);
    if (!run->meta || !run->signature)
        return error_no_memory(err);
    run_set_fresh(run, plan->fresh);
    run->why_full = run->record.why_full = plan->why_full;
    run->record.counts = plan->counts;
    run->record.plan = plan->id;
    run->record.plan_verb = verb_name(run->rows);
    run_set_phase(run, PHASE_CONNECTING);
    rc = open_sender(run, err);
    if (rc == 0)
        rc = run_deliver(run, err);
    return rc < 0 ? rc : run_finish(run, err);
}

/* ---- all of it ---- */

/* Who changes a sync's record for no run being active (reset) looks for one within a
 * transaction. From here on such a look finds this run; what was changed before is in the
 * catalogue once nobody else writes. */
static int
wait_for_writers(struct run *run, struct error *err)
{
    int rc = catalog_begin(run->catalog, err);
    if (rc == 0)
        catalog_rollback(run->catalog);
    return rc;
}

static int
prepare(struct run *run, struct error *err)
{
    int rc = wait_for_writers(run, err);
    if (rc == 0)
        rc = settle_earlier(run, err);
    if (rc == 0)
        rc = ledger_load_sync(run->catalog, run->dir, &run->before, err);
    if (rc == 0)
        rc = run_open_directory(run, err);
    if (rc == 0)
        rc = run_prepare_definition(run, err);
    if (rc == 0)
        rc = run_open_previous(run, err);
    if (rc == 0 && run->verb == VERB_APPROVE)
        rc = plan_is_current(run, err);
    if (rc == 0 && run->verb == VERB_APPROVE && run->plan_asked) {
        rc = source_has_moved(run, err);
        if (rc == 0) { /* the same plan, kept anew */
            sync_record_done(&run->before);
            rc = ledger_load_sync(run->catalog, run->dir, &run->before, err);
        }
    }
    return rc == 0 ? begin_in_ledger(run, err) : rc;
}

int
run_execute(struct run *run, struct error *err)
{
    if (run->verb != VERB_PLAN)
        run->rows = run->verb;
    int rc = run_go_on(run, err);
    if (rc == 0)
        rc = prepare(run, err);
    if (rc == 0)
        rc = run->verb == VERB_APPROVE ? approve(run, err) : attempt(run, err);
    /* Nothing may still be open at either end when others hear of the run's. */
    end_attempt(run);
    if (rc < 0 && atomic_load(&run->cancelled) && run->record.outcome == RUN_ACTIVE)
        error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
    redact_error(run->redactor, NULL, err);
    bool ended = run->record.outcome == RUN_SUCCEEDED || run->record.outcome == RUN_PARTIAL;
    if (rc < 0 && run->promised && !(ended && run->record.ended))
        settle_promised(run, err);
    if (rc < 0 && !(ended && run->record.ended))
        end_failed(run, err);
    const struct run_record *r = &run->record;
    if (run->numbered && r->recorded)
        run_log(run, "%" PRIu64 " rows recorded, which is all this mode does with them",
                r->recorded);
    if (run->numbered)
        run_log(run,
                "%s: %" PRIu64 " inserts, %" PRIu64 " updates, %" PRIu64
                " deletes offered, %" PRIu64 " rejected, %" PRIu64 " not sent%s%s",
                run_outcome_name(r->outcome), r->inserts, r->updates, r->deletes + r->foreign,
                r->rejected, r->not_sent, r->error ? ": " : "", r->error ? r->error : "");
    if (rc == 0)
        return 0;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): err is never NULL */
    return err->kind == ERR_CANCELLED                        ? ECANCELED
           : err->errnum == ENOEXEC || err->errnum == ESTALE ? err->errnum
                                                             : EIO;
}
