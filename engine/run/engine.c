/* Opening and closing the engine, and the catalogue's tree and documents as fs/ sees them. */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "base/log.h"
#include "run/engine_private.h"
#include "run/forgotten.h"
#include "run/scheduler.h"

enum { DEFAULT_SORT_MEMORY = 16 * 1024 * 1024, DEFAULT_RUNS_AT_ONCE = 4 };

static int
open_state_directory(const char *path, struct error *err)
{
    /* Parents too: a first start needs nothing prepared. */
    AUTO_FREE char *copy = strdup(path);
    if (!copy)
        return error_no_memory(err);
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            return error_set_errno(err, ERR_CONFIG, errno,
                                   "cannot make the state directory \"%s\"", path);
    }
    if (mkdir(copy, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ERR_CONFIG, errno, "cannot make the state directory \"%s\"",
                               path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, ERR_CONFIG, errno, "cannot open the state directory \"%s\"",
                               path);
    return fd;
}

/* catalog_settings.trouble */
static void
log_trouble(void *arg, const struct error *err)
{
    log_error("catalogue: %s", err->text);
}

/* Syncs removed long ago: their delivered state goes for good. */
static int
drop_expired(struct engine *e, struct error *err)
{
    AUTO_BUF struct buf uid = BUF_INIT(256);
    int rc;
    while ((rc = catalog_expired_sync(e->catalog, &uid)) == 0) {
        AUTO_BUF struct buf path = BUF_INIT(512);
        buf_addf(&path, "syncs/%s", buf_z(&uid));
        rc = path.failed ? -ENOMEM : file_remove_tree(e->state_fd, buf_z(&path), err);
        if (rc == 0)
            rc = catalog_drop_sync(e->catalog, buf_z(&uid));
        if (rc < 0)
            return err->kind ? rc
                             : error_set_errno(err, ERR_INTERNAL, -rc,
                                               "cannot drop the removed sync %s", buf_z(&uid));
        buf_clear(&uid);
    }
    return rc == -ENOENT
               ? 0
               : error_set_errno(err, ERR_INTERNAL, -rc, "cannot look for removed syncs");
}

int
engine_open(const struct engine_settings *settings, struct engine **ret, struct error *err)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return error_no_memory(err);
    e->settings = *settings;
    if (e->settings.sort_memory == 0)
        e->settings.sort_memory = DEFAULT_SORT_MEMORY;
    if (e->settings.runs_at_once == 0)
        e->settings.runs_at_once = DEFAULT_RUNS_AT_ONCE;
    scheduler_init(e);
    pthread_mutex_init(&e->building, NULL);
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->rows_lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->calls, NULL);
    e->queue_end = &e->queue;
    clock_gettime(CLOCK_REALTIME, &e->changed);
    const struct catalog_settings catalog = {
        .uid = settings->uid,
        .gid = settings->gid,
        .changed = registry_changed,
        .busy = registry_busy,
        .trouble = log_trouble,
        .arg = e,
    };
    int rc = e->state_fd = open_state_directory(settings->state_dir, err);
    if (rc >= 0)
        rc = catalog_open(e->state_fd, &catalog, &e->catalog, err);
    if (rc >= 0)
        rc = forgotten_syncs(e->catalog, e->state_fd, err);
    if (rc >= 0)
        rc = drop_expired(e, err);
    if (rc >= 0)
        rc = ledger_recover(e->catalog, err);
    if (rc >= 0)
        rc = registry_load(e, err);
    if (rc < 0) {
        engine_close(e);
        return rc;
    }
    *ret = e;
    return 0;
}

int
engine_start(struct engine *e, struct error *err)
{
    int rc = work_start(e, err);
    return rc < 0 ? rc : scheduler_start(e, err);
}

void
engine_close(struct engine *e)
{
    if (!e)
        return;
    scheduler_stop(e);
    work_stop(e);
    registry_free(e);
    catalog_close(e->catalog);
    if (e->state_fd >= 0)
        close(e->state_fd);
    pthread_cond_destroy(&e->calls);
    pthread_cond_destroy(&e->work);
    rows_forget(e);
    pthread_mutex_destroy(&e->rows_lock);
    pthread_mutex_destroy(&e->lock);
    pthread_mutex_destroy(&e->building);
    scheduler_done(e);
    free(e);
}

void
engine_on_change(struct engine *e, void (*fn)(void *arg, node_id sync), void *arg)
{
    e->on_change = fn;
    e->on_change_arg = arg;
}

/* ---- the stored tree ---- */

int
tree_get(struct engine *e, node_id id, struct node *ret)
{
    return ctree_get(e->catalog, id, ret);
}

int
tree_lookup(struct engine *e, node_id parent, const char *name, struct node *ret)
{
    return ctree_lookup(e->catalog, parent, name, ret);
}

int
tree_list(struct engine *e, node_id parent, const char *after,
          int (*fn)(void *arg, const char *name, const struct node *n), void *arg)
{
    return ctree_list(e->catalog, parent, after, fn, arg);
}

int
tree_name(struct engine *e, node_id id, struct buf *out)
{
    return ctree_name(e->catalog, id, out);
}

int
tree_make(struct engine *e, node_id parent, const char *name, enum node_kind kind, mode_t mode,
          const char *link, const struct caller *who, struct node *ret)
{
    return ctree_make(e->catalog, parent, name, kind, mode, link, who, ret);
}

int
tree_read(struct engine *e, node_id id, struct buf *out)
{
    return ctree_read(e->catalog, id, out);
}

int
tree_write(struct engine *e, node_id id, struct str text)
{
    return ctree_write(e->catalog, id, text);
}

int
tree_set(struct engine *e, node_id id, unsigned what, const struct node *to, struct node *ret)
{
    return ctree_set(e->catalog, id, what, to, ret);
}

int
trigger_attributes(struct engine *e, node_id sync, struct node *ret)
{
    return catalog_trigger_attributes(e->catalog, sync, ret);
}

int
trigger_set_attributes(struct engine *e, node_id sync, unsigned what, const struct node *to)
{
    return catalog_set_trigger_attributes(e->catalog, sync, what, to);
}

int
tree_unlink(struct engine *e, node_id parent, const char *name, bool with_refused,
            const struct caller *who)
{
    return ctree_unlink(e->catalog, parent, name, with_refused, who);
}

int
tree_rmdir(struct engine *e, node_id parent, const char *name, const struct caller *who)
{
    return ctree_rmdir(e->catalog, parent, name, who);
}

int
tree_rename(struct engine *e, node_id parent, const char *name, node_id new_parent,
            const char *new_name, bool noreplace, const struct caller *who,
            struct complaint *complaint)
{
    return ctree_rename(e->catalog, parent, name, new_parent, new_name, noreplace, who,
                        complaint);
}

void
tree_forget(struct engine *e, node_id id)
{
    ctree_forget(e->catalog, id);
}

/* ---- checked files ---- */

enum text_kind
doc_kind(struct engine *e, node_id parent, const char *name)
{
    return cdoc_kind(e->catalog, parent, name);
}

enum text_verdict
doc_check(struct engine *e, node_id parent, const char *name, struct str text, bool final,
          struct complaint *complaint)
{
    return cdoc_check(e->catalog, parent, name, text, final, complaint);
}

int
doc_commit(struct engine *e, node_id parent, const char *name, node_id id, struct str text,
           const struct caller *who, struct complaint *complaint)
{
    return cdoc_commit(e->catalog, parent, name, id, text, who, complaint);
}

void
doc_refuse(struct engine *e, node_id parent, const char *name, struct str text,
           const struct caller *who, const struct complaint *complaint)
{
    cdoc_refuse(e->catalog, parent, name, text, who, complaint);
}

void
doc_note(struct engine *e, node_id parent, const struct complaint *complaint)
{
    cdoc_note(e->catalog, parent, complaint);
}

void
doc_abandon(struct engine *e, node_id parent, const char *name, node_id id)
{
    cdoc_abandon(e->catalog, parent, name, id);
}
