/*
 * Files that nobody names any more: segments that were merged away, what failed runs left, runs
 * beyond those to be kept. Readers that still hold a file open keep it until they close it.
 *
 * Everything is looked at when the sync is idle, after its run; only runs grow old while
 * nothing happens, or while another one goes on, and their files are told by their names.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "run/engine_private.h"

static bool
is_segment(const struct sync_record *r, const char *name)
{
    for (size_t i = 0; i < r->nsegments; i++)
        if (strcmp(r->segments[i], name) == 0)
            return true;
    return false;
}

static bool
is_wanted(const struct sync_record *r, const char *name, uint64_t oldest, uint64_t unresolved)
{
    uint64_t number;
    const char *rest;
    if (is_segment(r, name))
        return true;
    if (strcmp(name, "plan") == 0 || strcmp(name, "plan-refused") == 0)
        return r->plan != NULL;
    if (strcmp(name, "plan-rekeyed") == 0)
        return r->plan && r->plan->rekeyed;
    if (run_file_number(name, "run-", &number, &rest) && *rest == '.') {
        bool of_rejected = strcmp(rest, ".rejected") == 0 || strcmp(rest, ".requests") == 0;
        if ((of_rejected && number == r->rejected_run) ||
            (strcmp(rest, ".unsent") == 0 && number == r->unsent_run))
            return true;
        if (number == unresolved)
            return true;
        if (number > r->last_run && strcmp(rest, ".log") == 0)
            return true; /* what the ledger forgot is told by it */
        bool state = strcmp(rest, ".merged") == 0 || strcmp(rest, ".rekeyed") == 0 ||
                     strcmp(rest, ".surveyed") == 0;
        return number >= oldest && number <= r->last_run && !state;
    }
    if (run_file_number(name, "state-", &number, NULL))
        return number == unresolved || (number == r->last_run && number > r->last_done);
    return false;
}

/* Of a run that was forgotten, whatever else is going on in the directory. */
static bool
is_of_old_run(const char *name, uint64_t oldest)
{
    uint64_t number;
    return run_file_number(name, "run-", &number, NULL) && number < oldest;
}

/* The oldest run that is to be kept; the newest always is. */
static uint64_t
oldest_kept(struct engine *e, const struct sync_record *r, struct keep_runs keep)
{
    const usec_t day = INT64_C(86400) * 1000000;
    struct error err = ERROR_INIT;
    uint64_t oldest =
        keep.newest && r->last_run > keep.newest ? r->last_run - keep.newest + 1 : 1;
    uint64_t young = 0;
    if (keep.days &&
        ledger_first_since(e->catalog, r->uid, clock_now() - (usec_t)keep.days * day, &young,
                           &err) == 0) {
        if (young == 0)
            young = r->last_run;
        if (young > oldest)
            oldest = young;
    }
    return oldest;
}

static void
remove_files(struct engine *e, const struct sync_record *r, uint64_t oldest,
             uint64_t unresolved, bool idle)
{
    AUTO_BUF struct buf path = BUF_INIT(256);
    buf_addf(&path, "syncs/%s", r->uid);
    int fd = openat(e->state_fd, buf_z(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0)
        close(fd);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        if (name[0] != '.' && (idle || is_of_old_run(name, oldest)) &&
            !is_wanted(r, name, oldest, unresolved))
            unlinkat(fd, name, 0);
    }
    if (dir)
        closedir(dir);
}

static void
collect(struct engine *e, const char *uid, struct keep_runs keep, bool idle)
{
    struct sync_record record;
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf token = BUF_INIT(256);
    uint64_t unresolved = 0;
    if (ledger_load_uid(e->catalog, uid, &record, &err) < 0)
        return;
    uint64_t oldest = oldest_kept(e, &record, keep);
    if (oldest > 1)
        ledger_forget_runs(e->catalog, uid, oldest - 1, &err);
    /* What an unresolved run wrote is needed once it is settled: rather keep too much. */
    if (ledger_unresolved(e->catalog, uid, &unresolved, &token, NULL, &err) == 0 &&
        (idle || oldest > 1))
        remove_files(e, &record, oldest, unresolved, idle);
    sync_record_done(&record);
}

void
collect_garbage(struct engine *e, const char *uid, struct keep_runs keep)
{
    collect(e, uid, keep, true);
}

void
collect_old_runs(struct engine *e)
{
    AUTO_FREE node_id *ids = NULL;
    size_t n = registry_list(e, &ids);
    for (size_t i = 0; i < n; i++) {
        struct sync_view *v = registry_view(e, ids[i]);
        if (v && v->keep.days && v->last.number > 1)
            collect(e, v->record.uid, v->keep, false);
        sync_view_unref(v);
    }
}
