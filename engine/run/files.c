/* The row files behind pending/, rejected/ and runs/N/, and the texts of runs. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "base/log.h"
#include "data/note.h"
#include "run/engine_private.h"
#include "run/requests.h"

int
files_open_rows(struct engine *e, const char *uid, const char *name, struct chg **ret)
{
    AUTO_BUF struct buf path = BUF_INIT(256);
    buf_addf(&path, "syncs/%s/%s", uid, name);
    struct error err = ERROR_INIT;
    if (faccessat(e->state_fd, buf_z(&path), F_OK, 0) < 0)
        return -ENOENT;
    return chg_open(e->state_fd, buf_z(&path), ret, &err) < 0 ? -EIO : 0;
}

int
sync_pending(struct engine *e, node_id sync, struct chg **ret)
{
    struct sync_view *v = registry_view(e, sync);
    int rc = -ENOENT;
    if (v && v->record.plan)
        rc = files_open_rows(e, v->record.uid, "plan", ret);
    sync_view_unref(v);
    return rc;
}

static int
open_run_file(struct engine *e, const struct sync_view *v, uint64_t run, const char *what,
              struct chg **ret)
{
    char name[STATE_NAME_MAX];
    run_file_name(name, run, what);
    return files_open_rows(e, v->record.uid, name, ret);
}

int
sync_rejected(struct engine *e, node_id sync, struct chg **ret)
{
    struct sync_view *v = registry_view(e, sync);
    int rc = -ENOENT;
    if (v && v->record.rejected_run)
        rc = open_run_file(e, v, v->record.rejected_run, "rejected", ret);
    sync_view_unref(v);
    return rc;
}

/* What became of the changes that were not refused. */
static const char *
changes_outcome(const struct run_record *run)
{
    if (run->outcome != RUN_SUCCEEDED && run->outcome != RUN_PARTIAL)
        return run_outcome_name(run->outcome);
    return strcmp(run->verb, verb_name(VERB_BASELINE)) == 0 ? "baseline" : "delivered";
}

/* Those of a run's rows that were not delivered, `n` by its record. A run whose end is not
 * known may have written them already. */
static int
open_undelivered(struct engine *e, const char *uid, const struct run_record *run,
                 const char *what, uint64_t n, struct chg **ret)
{
    char name[STATE_NAME_MAX];
    if (run->outcome != RUN_PARTIAL && run->outcome != RUN_UNRESOLVED)
        return 0;
    run_file_name(name, run->number, what);
    int rc = files_open_rows(e, uid, name, ret);
    return rc == -ENOENT && (run->outcome == RUN_UNRESOLVED || n == 0) ? 0 : rc;
}

/* The changes of a run that has ended, with what became of each. A run that came to nothing may
 * have left half a file. */
int
files_run_changes(struct engine *e, const char *uid, const struct run_record *run,
                  struct chg **ret)
{
    char name[STATE_NAME_MAX];
    struct chg *changes = NULL;
    if (run->outcome == RUN_ACTIVE)
        return -ENOENT;
    run_file_name(name, run->number, "changes");
    int rc = files_open_rows(e, uid, name, &changes);
    if (rc < 0)
        return run->outcome == RUN_FAILED || run->outcome == RUN_CANCELLED ? -ENOENT : rc;
    struct chg *refused = NULL, *unsent = NULL;
    rc = open_undelivered(e, uid, run, "rejected", run->rejected, &refused);
    if (rc == 0)
        rc = open_undelivered(e, uid, run, "unsent", run->not_sent, &unsent);
    if (rc == 0)
        chg_set_outcomes(changes, changes_outcome(run), refused, unsent);
    chg_unref(refused);
    chg_unref(unsent);
    if (rc == 0)
        *ret = TAKE(changes);
    chg_unref(changes);
    return rc;
}

int
run_changes(struct engine *e, node_id sync, uint64_t run, struct chg **ret)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct run_record record;
    struct sync_view *v = registry_view(e, sync);
    int rc = v ? ledger_load_run(e->catalog, v->record.uid, run, &arena, &record) : -ENOENT;
    if (rc == 0)
        rc = files_run_changes(e, v->record.uid, &record, ret);
    sync_view_unref(v);
    return rc;
}

int
run_rejected(struct engine *e, node_id sync, uint64_t run, struct chg **ret)
{
    struct sync_view *v = registry_view(e, sync);
    int rc = v ? open_run_file(e, v, run, "rejected", ret) : -ENOENT;
    sync_view_unref(v);
    return rc;
}

static int
read_run_file(struct engine *e, const char *uid, uint64_t run, const char *what,
              struct buf *out)
{
    AUTO_BUF struct buf path = BUF_INIT(256);
    buf_addf(&path, "syncs/%s/run-%" PRIu64 ".%s", uid, run, what);
    struct error err = ERROR_INIT;
    return file_read_whole(e->state_fd, buf_z(&path), out, &err);
}

static int
read_request(struct engine *e, const char *uid, const struct proof *proof, struct buf *out)
{
    AUTO_BUF struct buf path = BUF_INIT(256);
    buf_addf(&path, "syncs/%s/run-%" PRIu64 ".requests", uid, proof->run);
    AUTO_CLOSE int fd = openat(e->state_fd, buf_z(&path), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ENOENT : -EIO;
    char *line = buf_room(out, REQUEST_LINE_MAX);
    if (!line)
        return -ENOMEM;
    ssize_t n = pread(fd, line, REQUEST_LINE_MAX, (off_t)proof->at);
    const char *newline = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
    if (!newline)
        return -ENOENT;
    out->n += (size_t)(newline - line);
    return 0;
}

int
run_request(struct engine *e, node_id sync, struct str note, struct buf *out)
{
    const struct note said = note_read(note);
    struct sync_view *v = said.proof.run ? registry_view(e, sync) : NULL;
    int rc = v ? read_request(e, v->record.uid, &said.proof, out) : -ENOENT;
    sync_view_unref(v);
    return rc;
}

int
run_show(struct engine *e, node_id sync, uint64_t run, enum run_text which, struct buf *out,
         struct timespec *changed)
{
    static const char *const texts[] = {
        [RUN_CONFIG] = "config", [RUN_MAPPINGS] = "mappings", [RUN_MODE] = "mode"};
    struct sync_view *v = registry_view(e, sync);
    if (!v)
        return -ENOENT;
    const char *uid = v->record.uid;
    AUTO_BUF struct buf summary = BUF_INIT(BUF_NO_MAX);
    usec_t at = 0;
    int rc = ledger_run_summary(e->catalog, uid, run, &summary, &at);
    *changed = (struct timespec){at / 1000000, at % 1000000 * 1000};
    if (rc == 0) {
        if (which == RUN_SUMMARY)
            buf_add(out, summary.p, summary.n);
        else if (which == RUN_LOG)
            rc = read_run_file(e, uid, run, "log", out);
        else if (which == RUN_REQUESTS)
            rc = read_run_file(e, uid, run, "requests", out);
        else
            rc = ledger_run_text(e->catalog, uid, run, texts[which], out);
    }
    if (rc == -EIO)
        log_error("sync=%s run=%" PRIu64 " what is kept of it cannot be read", v->name, run);
    sync_view_unref(v);
    return rc;
}

size_t
run_list(struct engine *e, node_id sync, uint64_t after, uint64_t *numbers, size_t max)
{
    struct sync_view *v = registry_view(e, sync);
    size_t n = v ? ledger_list_runs(e->catalog, v->record.uid, after, numbers, max) : 0;
    sync_view_unref(v);
    return n;
}

uint64_t
run_last(struct engine *e, node_id sync)
{
    struct sync_view *v = registry_view(e, sync);
    uint64_t last = v ? v->last.number : 0;
    sync_view_unref(v);
    return last;
}

size_t
sync_history_list(struct engine *e, node_id sync, const char *name, uint64_t after,
                  struct history_text *ret, size_t max)
{
    struct sync_view *v = registry_view(e, sync);
    size_t n = 0;
    if (v && catalog_history_list(e->catalog, v->record.uid, name, after, ret, max, &n) < 0)
        n = 0;
    sync_view_unref(v);
    return n;
}

int
sync_history_read(struct engine *e, node_id sync, const char *name, uint64_t number,
                  struct buf *out, struct timespec *changed)
{
    struct sync_view *v = registry_view(e, sync);
    usec_t at = 0;
    int rc =
        v ? catalog_history_text(e->catalog, v->record.uid, name, number, out, &at) : -ENOENT;
    *changed = (struct timespec){at / 1000000, at % 1000000 * 1000};
    sync_view_unref(v);
    return rc;
}
