/* What earlier runs left open: see settle.h. */
#include "run/settle.h"

#include "base/cleanup.h"
#include "run/journal.h"

enum { JOURNAL_MEMORY = 8 * 1024 * 1024 };

static int
load_run_texts(struct run *run, uint64_t number, struct error *err)
{
    static const char *const which[] = {"config", "mappings", "mode"};
    struct str *texts[] = {&run->texts.config, &run->texts.mappings, &run->texts.mode};
    for (size_t i = 0; i < 3; i++) {
        AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
        int rc = ledger_run_text(run->catalog, run->before.uid, number, which[i], &text);
        char *copy = rc < 0 ? NULL : arena_strndup(&run->arena, buf_z(&text), text.n);
        if (rc == -ENOMEM || (rc == 0 && !copy))
            return error_no_memory(err);
        if (rc < 0)
            return error_set(err, ERR_INTERNAL, EIO,
                             "the texts that run %llu was made with cannot be read (%s): "
                             "\"reset\" gives the question up",
                             (unsigned long long)number,
                             rc == -EIO ? "damaged" : strerror(-rc));
        *texts[i] = (struct str){copy, text.n};
    }
    return 0;
}

/* Another place would not know of the run, and its "no" would be taken for the answer. */
static int
points_there_still(struct run *run, const char *sent, struct error *err)
{
    const char *now = run_signature(run->def, run->place, &run->arena);
    const char *moved = now ? run_other_place(sent, now, &run->arena) : NULL;
    if (!moved)
        return now ? 0 : error_no_memory(err);
    return error_set(err, ERR_CONFIG, EIO,
                     "connection \"%s\" points elsewhere since (%s): point it back, or "
                     "\"reset\" gives the question up",
                     run->def->dest_connection, moved);
}

static int
ask_fate(struct run *run, const char *token, enum dest_fate *fate, struct error *err)
{
    const struct driver *driver = run->dest_connection->driver;
    if (!driver->dest_commit) { /* it has nothing to publish: every verdict was known before */
        *fate = FATE_COMMITTED;
        return 0;
    }
    struct chg_meta no_fields = {.source_driver = (char[]){""}};
    run->meta = &no_fields;
    int rc = run_open_destination(run, err);
    run->meta = NULL;
    if (rc == 0 && driver->dest_resolve)
        rc = driver->dest_resolve(run->destination, token, fate, err);
    return rc;
}

/* ---- a run that sent by calls ---- */

struct reading {
    struct verdicts *verdicts;
    uint64_t next;    /* seq */
    uint64_t end;     /* of the run's changes */
    uint64_t unnamed; /* rows that were sent and are not among them */
};

static void
not_sent(struct reading *r, uint64_t end)
{
    static const struct outcome not_sent = {
        .kind = ROW_RETRY, .code = VERDICT_NOT_SENT, .why = "the run ended before it was sent"};
    for (; r->next < end; r->next++)
        verdicts_keep(r->verdicts, r->next, &not_sent);
}

/* journal_row_fn: what is not in the journal was not sent. */
static int
take_row(void *arg, uint64_t seq, const struct outcome *outcome, const struct proof *proof,
         struct error *err)
{
    struct reading *r = arg;
    if (seq >= r->end) {
        r->unnamed++;
        return 0;
    }
    not_sent(r, seq);
    verdicts_keep_with(r->verdicts, seq, outcome, proof);
    r->next = seq + 1;
    return 0;
}

static int
read_journal(struct run *run, struct error *err)
{
    char name[STATE_NAME_MAX];
    run_file_name(name, run->record.number, "journal");
    run->verdicts = verdicts_create(run->dirfd);
    if (!run->verdicts)
        return error_no_memory(err);
    struct reading reading = {.verdicts = run->verdicts,
                              .end = chg_get_totals(run->changes).entries};
    /* Without one the run was cut off before its first call. */
    bool any = faccessat(run->dirfd, name, F_OK, 0) == 0;
    int rc = any ? journal_read(run->dirfd, name, JOURNAL_MEMORY, take_row, &reading, err) : 0;
    if (rc < 0)
        return rc;
    if (reading.unnamed > 0)
        run_log(run,
                "%llu rows were sent, and a power failure took what says which: they may be "
                "sent again",
                (unsigned long long)reading.unnamed);
    not_sent(&reading, reading.end);
    return verdicts_kept(run->verdicts, err);
}

static enum verb
verb_of(const char *name)
{
    enum verb v = 0;
    while (v < VERB_COUNT - 1 && strcmp(name ? name : "", verb_name(v)) != 0)
        v++;
    return v;
}

/* Ends the run as it would have ended had it gone no further. */
static int
settle_calls(struct run *run, uint64_t number, struct error *err)
{
    char changes[STATE_NAME_MAX];
    run_file_name(changes, number, "changes");
    int rc = ledger_load_run(run->catalog, run->before.uid, number, &run->arena, &run->record);
    if (rc < 0)
        return error_set(err, ERR_INTERNAL, EIO, "its record cannot be read");
    if (rc == 0)
        rc = run_open_directory(run, err);
    if (rc == 0 && run->record.cut)
        rc = chg_mend(run->dirfd, changes, &run->cancelled, err);
    if (rc == 0)
        rc = chg_open(run->dirfd, changes, &run->changes, err);
    if (rc == 0)
        rc = run_open_previous(run, err);
    if (rc < 0)
        return rc;
    run->verb = verb_of(run->record.verb);
    run->rows = run->record.plan_verb ? verb_of(run->record.plan_verb) : run->verb;
    if (run->record.cut) /* the first change is what these were written down at */
        run->record.counts = run->counted ? *run->counted : (struct diff_counts){0};
    run->meta = chg_meta_copy(&run->arena, chg_get_meta(run->changes));
    run->signature = run_signature(run->def, run->place, &run->arena);
    if (!run->meta || !run->signature)
        return error_no_memory(err);
    run->why_full = run->record.why_full;
    rc = run_decide_fresh(run, err);
    run->rekeyed = rc >= 0 && run_rekeys(run);
    if (rc >= 0)
        rc = run_count_changes(run, err);
    if (rc == 0)
        rc = read_journal(run, err);
    if (rc == 0)
        rc = refusals_create(run->dirfd, &run->refusals, err);
    if (rc == 0)
        rc = run_finish(run, err);
    if (rc < 0 && run->record.outcome == RUN_PARTIAL && run->record.ended) {
        error_clear(err);
        rc = 0;
    }
    return rc;
}

static int
resolve(struct run *run, struct error *err)
{
    AUTO_BUF struct buf token = BUF_INIT(256);
    AUTO_BUF struct buf signature = BUF_INIT(BUF_NO_MAX);
    uint64_t number = 0;
    int rc = ledger_unresolved(run->catalog, run->before.uid, &number, &token, &signature, err);
    if (rc < 0 || number == 0)
        return rc;
    if (token.failed || signature.failed) /* part of a token is one that nobody committed */
        return error_no_memory(err);
    /* The run's own texts say where it sent; the definition may have changed since. */
    enum dest_fate fate = FATE_UNKNOWN;
    rc = load_run_texts(run, number, err);
    if (rc == 0)
        rc = run_prepare_texts(run, err);
    if (rc == 0)
        rc = points_there_still(run, buf_z(&signature), err);
    if (rc == 0 && run->dest_connection->driver->dest_call) {
        rc = settle_calls(run, number, err);
        return rc < 0 ? error_wrap(err, "what run %llu delivered is not known yet",
                                   (unsigned long long)number)
                      : 0;
    }
    if (rc == 0)
        rc = ask_fate(run, buf_z(&token), &fate, err);
    if (rc == 0 && fate == FATE_UNKNOWN)
        rc = error_set(err, ERR_UNKNOWN, EIO,
                       "the destination cannot tell; \"reset\" gives the question up");
    run_close_handles(run);
    if (rc < 0)
        return error_wrap(err, "the outcome of run %llu is not known yet",
                          (unsigned long long)number);
    run_log(run, "run %llu was %s by the destination", (unsigned long long)number,
            fate == FATE_COMMITTED ? "committed" : "not committed");
    return ledger_settle(run->catalog, run->before.uid, number, fate == FATE_COMMITTED, err);
}

/* A segment of the last run, which the ledger takes for interrupted: the run was cut off just
 * before it asked for the commit, or the catalogue has lost that it did. The destination knows.
 */
static int
check_interrupted(struct run *run, struct error *err)
{
    const struct sync_record *before = &run->before;
    AUTO_BUF struct buf path = BUF_INIT(512), token = BUF_INIT(256);
    uint64_t number = before->last_run;
    enum dest_fate fate = FATE_UNKNOWN;
    buf_addf(&path, "syncs/%s/state-%llu", before->uid, (unsigned long long)number);
    buf_addf(&token, "%s:%llu", before->uid, (unsigned long long)number);
    if (path.failed || token.failed)
        return error_no_memory(err);
    if (number <= before->last_done)
        return 0;
    if (faccessat(run->state_fd, buf_z(&path), F_OK, 0) < 0)
        return errno == ENOENT ? 0
                               : error_set_errno(err, ERR_INTERNAL, errno,
                                                 "cannot look for \"%s\"", buf_z(&path));
    int rc = load_run_texts(run, number, err);
    if (rc == 0)
        rc = run_prepare_texts(run, err);
    if (rc == -ENOMEM)
        return rc; /* somebody may be asked, but not now */
    const struct driver *driver = rc < 0 ? NULL : run->dest_connection->driver;
    if (!driver || !driver->dest_commit || !driver->dest_resolve) {
        error_clear(err); /* only a suspicion, and nobody can be asked */
        return 0;
    }
    rc = ask_fate(run, buf_z(&token), &fate, err);
    run_close_handles(run);
    if (rc < 0)
        return error_wrap(err,
                          "run %llu was interrupted, and whether it was committed must "
                          "be asked",
                          (unsigned long long)number);
    if (fate == FATE_COMMITTED)
        return error_set(err, ERR_INTERNAL, EIO,
                         "the destination has committed run %llu, and the catalogue has "
                         "forgotten what it delivered (was it damaged?): put it right, or "
                         "write \"baseline\" or \"reset\"",
                         (unsigned long long)number);
    unlinkat(run->state_fd, buf_z(&path), 0);
    return 0;
}

/* Each question in a run of its own, so that this one starts clean. */
int
settle_earlier(struct run *run, struct error *err)
{
    struct run earlier;
    run_init(&earlier);
    run_enter(run, &earlier);
    int rc = ledger_load_sync(run->catalog, run->dir, &earlier.before, err);
    if (rc == 0)
        rc = resolve(&earlier, err);
    if (rc == 0)
        rc = ledger_close_books(run->catalog, earlier.before.uid, err);
    run_leave(run);
    run_done(&earlier);
    if (rc < 0)
        return rc;
    run_init(&earlier);
    run_enter(run, &earlier);
    rc = ledger_load_sync(run->catalog, run->dir, &earlier.before, err);
    if (rc == 0 && !earlier.before.reset && run->verb != VERB_BASELINE)
        rc = check_interrupted(&earlier, err);
    run_leave(run);
    run_done(&earlier);
    return rc;
}

void
settle_promised(struct run *run, struct error *why)
{
    struct run again;
    struct error err = ERROR_INIT;
    run_init(&again);
    again.catalog = run->catalog;
    again.state_fd = run->state_fd;
    again.name = run->name;
    again.dir = run->dir;
    again.who = run->who;
    again.command = run->command;
    again.cut_short = why->text;
    again.counted = &run->record.counts;
    int rc = ledger_load_sync(again.catalog, again.dir, &again.before, &err);
    if (rc == 0)
        rc = resolve(&again, &err);
    if (rc == 0)
        run->record.outcome = RUN_PARTIAL;
    else
        run_log(run, "%s", err.text);
    run_done(&again);
}
