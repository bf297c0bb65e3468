/* What the catalogue has forgotten: see forgotten.h. A run's log is made once the ledger knows
 * of the run, so that a log of a later run than the ledger's last one tells of a ledger that
 * lost it. */
#include "run/forgotten.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "run/run.h"

/* NULL with *err set, or with none: it is not there. */
static DIR *
open_dir(int dirfd, const char *name, struct error *err)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir || errno == ENOENT)
        return dir;
    error_set_errno(err, ERR_INTERNAL, errno, "cannot read the state directory");
    if (fd >= 0)
        close(fd);
    return NULL;
}

int
forgotten_runs(int dirfd, uint64_t last_run, uint64_t *newest, struct error *err)
{
    char next[STATE_NAME_MAX];
    *newest = last_run;
    run_file_name(next, last_run + 1, "log");
    if (faccessat(dirfd, next, F_OK, 0) < 0)
        return 0;
    DIR *dir = open_dir(dirfd, ".", err);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        uint64_t number;
        const char *rest;
        if (run_file_number(e->d_name, "run-", &number, &rest) && strcmp(rest, ".log") == 0 &&
            number > *newest)
            *newest = number;
    }
    if (dir)
        closedir(dir);
    return err->kind ? -err->errnum : 0;
}

static int
is_known(struct catalog *c, const char *uid, struct error *err)
{
    AUTO_CATALOG_ROWS struct catalog_rows r = {0};
    int rc = catalog_select(c, &r, err, "SELECT 1 FROM sync WHERE uid = ?1", "t", uid);
    return rc < 0 ? rc : sql_next(&r.rows, err);
}

int
forgotten_syncs(struct catalog *c, int state_fd, struct error *err)
{
    DIR *dir = open_dir(state_fd, "syncs", err);
    int rc = err->kind ? -err->errnum : 1;
    for (struct dirent *e; rc >= 0 && dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.' || (rc = is_known(c, e->d_name, err)) != 0)
            continue;
        log_warning("state directory: syncs/%s holds what was delivered of a sync that the "
                    "catalogue does not know: was the catalogue damaged, or put back from a "
                    "copy?",
                    e->d_name);
    }
    if (dir)
        closedir(dir);
    return rc < 0 ? rc : 0;
}
