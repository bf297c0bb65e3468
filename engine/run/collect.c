/*
 * Files that nobody names any more: segments that were merged away, what failed runs left, runs
 * beyond those to be kept. Called when the sync is idle; readers that still hold a file open
 * keep it until they close it.
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
    int n = 0;
    if (is_segment(r, name))
        return true;
    if (strcmp(name, "plan") == 0 || strcmp(name, "plan-refused") == 0)
        return r->plan != NULL;
    if (strcmp(name, "plan-rekeyed") == 0)
        return r->plan && r->plan->rekeyed;
    if (sscanf(name, "run-%" SCNu64 ".%n", &number, &n) == 1 && n > 0) {
        if (strcmp(name + n, "rejected") == 0 && number == r->rejected_run)
            return true;
        if (number == unresolved)
            return true;
        bool state = strcmp(name + n, "merged") == 0 || strcmp(name + n, "rekeyed") == 0 ||
                     strcmp(name + n, "surveyed") == 0;
        return number >= oldest && number <= r->last_run && !state;
    }
    if (sscanf(name, "state-%" SCNu64, &number) == 1)
        return number == unresolved;
    return false;
}

void
collect_garbage(struct engine *e, const char *uid, uint64_t keep)
{
    struct sync_record record;
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf token = BUF_INIT(256);
    uint64_t unresolved = 0;
    if (ledger_load_uid(e->catalog, uid, &record, &err) < 0)
        return;
    /* What an unresolved run wrote is needed once it is settled: rather keep too much. */
    if (ledger_unresolved(e->catalog, uid, &unresolved, &token, &err) < 0) {
        sync_record_done(&record);
        return;
    }
    uint64_t oldest = keep && record.last_run > keep ? record.last_run - keep + 1 : 1;
    if (oldest > 1)
        ledger_forget_runs(e->catalog, uid, oldest - 1, &err);
    AUTO_BUF struct buf path = BUF_INIT(256);
    buf_addf(&path, "syncs/%s", uid);
    int fd = openat(e->state_fd, buf_z(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0)
        close(fd);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && !is_wanted(&record, entry->d_name, oldest, unresolved))
            unlinkat(fd, entry->d_name, 0);
    if (dir)
        closedir(dir);
    sync_record_done(&record);
}
