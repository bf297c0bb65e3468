/*
 * Opening, the lock, and whose turn it is: see catalog.h.
 *
 * SQLite forgets its file locks over a fork and must not be used behind one, while the daemon
 * forks after it has opened the state. So connections are opened where they are needed and
 * catalog_suspend may close them at any time; only the lock file's descriptor lives through.
 */
#include "catalog/catalog_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/vec.h"

static _Thread_local char this_thread; /* its address names the thread */

int
tell_trouble(struct catalog *c, int rc, const struct error *err)
{
    if (rc < 0 && err->kind == ERR_INTERNAL && c->settings.trouble)
        c->settings.trouble(c->settings.arg, err);
    return rc;
}

/* ---- the lock file ---- */

static void
write_pid(struct catalog *c)
{
    c->lock_pid = getpid();
    /* Only a courtesy to whom the lock keeps out. */
    if (ftruncate(c->lock_fd, 0) == 0)
        dprintf(c->lock_fd, "%ld\n", (long)c->lock_pid);
}

static int
take_lock(struct catalog *c, int dirfd, struct error *err)
{
    c->lock_fd =
        openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_APPEND, 0600);
    if (c->lock_fd < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "state directory is not writable");
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        write_pid(c);
        return 0;
    }
    if (errno != EWOULDBLOCK)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot lock the state directory");
    char pid[16] = {0};
    ssize_t n = pread(c->lock_fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
    char path[64], where[512];
    snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
    ssize_t m = readlink(path, where, sizeof where - 1);
    where[m > 0 ? m : 0] = '\0';
    return error_set(err, ERR_INTERNAL, EBUSY,
                     "state directory \"%s\" is in use by another retlfs (pid %s)", where,
                     pid[0] ? pid : "unknown");
}

/* ---- connections ---- */

static int
open_connection(struct catalog *c, struct sql *q, struct error *err)
{
    int rc = sql_open(q, c->path, err);
    if (rc == 0)
        rc = sql_script(q, err,
                        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                        "PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;"
                        "PRAGMA journal_size_limit = 67108864;");
    if (rc < 0)
        sql_close(q);
    return rc;
}

static int
open_writer(struct catalog *c, struct error *err)
{
    if (c->lock_pid != getpid()) /* the first write after a fork */
        write_pid(c);
    return open_connection(c, &c->writer, err);
}

static int
open_reader(struct catalog *c, struct error *err)
{
    int rc = open_connection(c, &c->reader, err);
    if (rc == 0)
        rc = sql_script(&c->reader, err, "PRAGMA query_only = ON");
    if (rc < 0)
        sql_close(&c->reader);
    return rc;
}

static bool
owns_writer(struct catalog *c)
{
    return atomic_load_explicit(&c->owner, memory_order_relaxed) == &this_thread;
}

int
committed_read(struct catalog *c, struct sql **ret, struct error *err)
{
    pthread_mutex_lock(&c->read_lock);
    int rc = c->reader.db ? 0 : open_reader(c, err);
    if (rc < 0)
        pthread_mutex_unlock(&c->read_lock);
    else
        *ret = &c->reader;
    return rc;
}

int
catalog_read(struct catalog *c, struct sql **ret, struct error *err)
{
    if (!owns_writer(c))
        return committed_read(c, ret, err);
    *ret = &c->writer;
    return 0;
}

void
catalog_read_end(struct catalog *c, struct sql *q)
{
    if (q == &c->reader)
        pthread_mutex_unlock(&c->read_lock);
}

int
catalog_select(struct catalog *c, struct catalog_rows *r, struct error *err, const char *text,
               const char *types, ...)
{
    int rc = catalog_read(c, &r->q, err);
    if (rc < 0)
        return rc;
    r->catalog = c;
    va_list ap;
    va_start(ap, types);
    rc = sql_select_va(r->q, &r->rows, err, text, types, ap);
    va_end(ap);
    return rc;
}

void
catalog_rows_done(struct catalog_rows *r)
{
    sql_rows_done(&r->rows);
    if (r->catalog)
        catalog_read_end(r->catalog, r->q);
    r->catalog = NULL;
}

struct sql *
catalog_sql(struct catalog *c)
{
    return &c->writer;
}

/* ---- transactions ---- */

static void
release_writer(struct catalog *c)
{
    atomic_store(&c->owner, NULL);
    pthread_mutex_unlock(&c->write_lock);
}

/* Without memory not even a rollback is certain; a connection that is closed holds no
 * transaction. */
static void
abandon(struct catalog *c)
{
    if (!c->writer.db || sqlite3_get_autocommit(c->writer.db))
        return;
    sqlite3_exec(c->writer.db, "ROLLBACK", NULL, NULL, NULL);
    if (!sqlite3_get_autocommit(c->writer.db))
        sql_close(&c->writer); /* opened again by the next that writes */
}

int
catalog_begin(struct catalog *c, struct error *err)
{
    if (owns_writer(c)) {
        int rc = sql_exec(&c->writer, err, "SAVEPOINT nested", "");
        c->depth += rc == 0;
        return rc;
    }
    pthread_mutex_lock(&c->write_lock);
    atomic_store(&c->owner, &this_thread);
    int rc = c->writer.db ? 0 : open_writer(c, err);
    if (rc == 0)
        rc = sql_exec(&c->writer, err, "BEGIN IMMEDIATE", "");
    if (rc < 0) {
        abandon(c);
        release_writer(c);
        return rc;
    }
    c->writer.in_transaction = true;
    c->depth = 1;
    return 0;
}

/* Ends the outermost transaction one way or the other and tells what changed. */
static void
finish(struct catalog *c, bool committed)
{
    __typeof__(c->changed) changed = {0};
    if (committed) {
        changed = c->changed;
        c->changed = (__typeof__(c->changed)){0};
    } else {
        c->writer.in_transaction = false;
        abandon(c);
        c->changed.n = 0;
    }
    VEC_EACH (&changed, dir)
        if (*dir == NODE_CONNECTIONS || *dir == NODE_DRIVERS)
            world_forget(c, *dir == NODE_DRIVERS);
    release_writer(c);
    VEC_EACH (&changed, dir)
        if (c->settings.changed)
            c->settings.changed(c->settings.arg, *dir);
    VEC_DONE(&changed);
}

int
catalog_commit(struct catalog *c, struct error *err)
{
    if (c->depth > 1) {
        c->depth--;
        return sql_exec(&c->writer, err, "RELEASE nested", "");
    }
    c->depth = 0;
    int rc = sql_exec(&c->writer, err, "COMMIT", "");
    c->writer.in_transaction = false;
    finish(c, rc == 0);
    return rc;
}

void
catalog_rollback(struct catalog *c)
{
    if (--c->depth == 0) {
        finish(c, false);
        return;
    }
    struct error ignored =
        ERROR_INIT; /* then the outer transaction is lost, and it will know */
    if (sql_exec(&c->writer, &ignored, "ROLLBACK TO nested", "") == 0)
        sql_exec(&c->writer, &ignored, "RELEASE nested", "");
}

int
transaction_end(struct catalog *c, int rc, struct error *err)
{
    if (rc >= 0) {
        int ended = catalog_commit(c, err);
        return ended < 0 ? ended : rc;
    }
    catalog_rollback(c);
    return rc;
}

int
note_changed(struct catalog *c, node_id dir, struct error *err)
{
    enum place place;
    int rc = node_place(&c->writer, dir, &place, err);
    if (rc < 0)
        return rc;
    if (place == PLACE_DRIVER)
        dir = NODE_DRIVERS;
    VEC_EACH (&c->changed, known)
        if (*known == dir)
            return 0;
    return VEC_PUSH(&c->changed, dir) ? 0 : error_no_memory(err);
}

/* ---- opening and closing ---- */

/* Beginning with an empty one would look as if nobody had ever defined a sync. */
static int
refuse_lost(int dirfd, struct error *err)
{
    struct stat file, dir;
    if ((fstatat(dirfd, "catalogue.db", &file, 0) == 0 && file.st_size > 0) ||
        fstatat(dirfd, "syncs", &dir, 0) < 0)
        return 0;
    return error_set(err, ERR_INTERNAL, EIO,
                     "the catalogue (catalogue.db) is lost, but what syncs delivered is there: "
                     "put it back, or begin with an empty state directory");
}

/* The file is made here, so that only its owner may ever read it, whatever the umask. */
static int
make_file(int dirfd, struct error *err)
{
    AUTO_CLOSE int fd =
        openat(dirfd, "catalogue.db", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "state directory is not writable");
    return file_sync_dir(dirfd, err);
}

static int
find_path(struct catalog *c, int dirfd, struct error *err)
{
    char link[64], where[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
    ssize_t n = readlink(link, where, sizeof where);
    if (n < 0 || (size_t)n >= sizeof where)
        return error_set_errno(err, ERR_INTERNAL, n < 0 ? errno : ENAMETOOLONG,
                               "cannot tell the path of the state directory");
    if (asprintf(&c->path, "%.*s/catalogue.db", (int)n, where) < 0) {
        c->path = NULL;
        return error_no_memory(err);
    }
    return 0;
}

/* What was unlinked but open when the last daemon ended is needed by nobody. */
static int
purge_unlinked(struct catalog *c, struct error *err)
{
    return IN_TRANSACTION(
        c, err, sql_exec(&c->writer, err, "DELETE FROM node WHERE parent IS NULL", ""));
}

int
catalog_open(int state_dirfd, const struct catalog_settings *settings, struct catalog **ret,
             struct error *err)
{
    struct catalog *c = calloc(1, sizeof *c);
    if (!c)
        return error_no_memory(err);
    c->settings = *settings;
    if (c->settings.bytes_max == 0)
        c->settings.bytes_max = UINT64_C(1) << 30;
    pthread_mutex_init(&c->write_lock, NULL);
    pthread_mutex_init(&c->world_lock, NULL);
    pthread_mutex_init(&c->read_lock, NULL);
    int rc = take_lock(c, state_dirfd, err);
    if (rc == 0)
        rc = find_path(c, state_dirfd, err);
    if (rc == 0)
        rc = refuse_lost(state_dirfd, err);
    if (rc == 0)
        rc = make_file(state_dirfd, err);
    if (rc == 0)
        rc = open_writer(c, err);
    if (rc == 0)
        rc = schema_prepare(c, err);
    if (rc == 0)
        rc = purge_unlinked(c, err);
    if (rc < 0) {
        catalog_close(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void
catalog_suspend(struct catalog *c)
{
    pthread_mutex_lock(&c->write_lock);
    pthread_mutex_lock(&c->read_lock);
    sql_close(&c->reader);
    sql_close(&c->writer); /* last: it folds the write-ahead log into the file */
    pthread_mutex_unlock(&c->read_lock);
    pthread_mutex_unlock(&c->write_lock);
}

struct catalog *
catalog_close(struct catalog *c)
{
    if (!c)
        return NULL;
    catalog_suspend(c);
    world_forget(c, true);
    VEC_DONE(&c->changed);
    VEC_DONE(&c->behind);
    VEC_DONE(&c->users);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    pthread_mutex_destroy(&c->read_lock);
    pthread_mutex_destroy(&c->world_lock);
    pthread_mutex_destroy(&c->write_lock);
    free(c->path);
    free(c);
    return NULL;
}
