/*
 * pending/ and rejected/ as directories: which file holds their rows now, and which of the rows
 * were removed by hand. One of each kind is kept open, the last one asked for, since whoever
 * lists a directory then looks at every row of it.
 *
 * `rows_lock` is taken before the catalogue's locks and engine.lock.
 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "run/engine_private.h"
#include "run/left_out.h"

struct rows {
    atomic_uint refs;
    node_id sync;
    char *file; /* what left_out_file says, and for a plan when it was made */
    struct chg *chg;
    struct left_out left_out;
    struct timespec changed;
};

struct rows *
rows_unref(struct rows *r)
{
    if (r && atomic_fetch_sub(&r->refs, 1) == 1) {
        chg_unref(r->chg);
        left_out_done(&r->left_out);
        free(r->file);
        free(r);
    }
    return NULL;
}

struct chg *
rows_chg(const struct rows *r)
{
    return r->chg;
}

struct timespec
rows_changed(const struct rows *r)
{
    return r->changed;
}

bool
rows_left_out(const struct rows *r, uint64_t row)
{
    return left_out_has(&r->left_out, row);
}

uint64_t
rows_left_out_count(const struct rows *r, struct timespec *newest)
{
    usec_t at = __atomic_load_n(&r->left_out.at, __ATOMIC_RELAXED);
    *newest = (struct timespec){at / 1000000, at % 1000000 * 1000};
    return __atomic_load_n(&r->left_out.n, __ATOMIC_RELAXED);
}

static int
open_rows(struct engine *e, node_id sync, const struct sync_view *v, enum rows_of of,
          const char *name, const char *file, struct rows **ret)
{
    struct error err = ERROR_INIT;
    struct rows *r = calloc(1, sizeof *r);
    if (!r || !(r->file = strdup(file))) {
        free(r);
        return -ENOMEM;
    }
    atomic_init(&r->refs, 1);
    r->sync = sync;
    usec_t made = of == ROWS_PENDING ? v->record.plan->made : 0;
    r->changed = made ? (struct timespec){made / 1000000, made % 1000000 * 1000} : v->changed;
    int rc =
        of == ROWS_PENDING ? sync_pending(e, sync, &r->chg) : sync_rejected(e, sync, &r->chg);
    if (rc == 0)
        rc = left_out_load(e->catalog, v->record.uid, name, chg_get_totals(r->chg).entries,
                           &r->left_out, &err);
    if (rc < 0)
        rows_unref(r);
    else
        *ret = r;
    return rc;
}

/* rows_lock must be held. */
static int
rows_now(struct engine *e, node_id sync, const struct sync_view *v, enum rows_of of,
         struct rows **ret)
{
    AUTO_BUF struct buf name = BUF_INIT(256), file = BUF_INIT(256);
    if (!left_out_file(&v->record, of, &name))
        return -ENOENT;
    buf_addf(&file, "%s %" PRId64, buf_z(&name),
             of == ROWS_PENDING ? (int64_t)v->record.plan->made : 0);
    if (name.failed || file.failed)
        return -ENOMEM;
    struct rows *kept = e->rows[of];
    if (!kept || kept->sync != sync || strcmp(kept->file, buf_z(&file)) != 0) {
        struct rows *made = NULL;
        int rc = open_rows(e, sync, v, of, buf_z(&name), buf_z(&file), &made);
        if (rc < 0)
            return rc;
        rows_unref(kept);
        e->rows[of] = kept = made;
    }
    *ret = kept;
    return 0;
}

int
sync_rows(struct engine *e, node_id sync, enum rows_of of, struct rows **ret)
{
    struct sync_view *v = registry_view(e, sync);
    if (!v)
        return -ENOENT;
    pthread_mutex_lock(&e->rows_lock);
    int rc = rows_now(e, sync, v, of, ret);
    if (rc == 0)
        atomic_fetch_add(&(*ret)->refs, 1);
    pthread_mutex_unlock(&e->rows_lock);
    sync_view_unref(v);
    return rc;
}

void
rows_forget(struct engine *e)
{
    for (int of = 0; of < ROWS_KINDS; of++)
        e->rows[of] = rows_unref(e->rows[of]);
}

/* ---- removing one ---- */

/* status counts rejected rows without those whose note was removed. */
static int
count_one_less(struct engine *e, const char *uid, struct error *err)
{
    struct sync_record record;
    int rc = ledger_load_uid(e->catalog, uid, &record, err);
    if (rc < 0)
        return rc;
    if (record.rejected_rows > 0)
        record.rejected_rows--;
    rc = ledger_store_sync(e->catalog, &record, err);
    sync_record_done(&record);
    return rc;
}

static int
audit(struct engine *e, const char *uid, const char *file, const char *name,
      const struct caller *who)
{
    AUTO_BUF struct buf line = BUF_INIT(2048);
    buf_addf(&line, "uid=%u pid=%d removed row %s of %s", (unsigned)who->uid, (int)who->pid,
             name, file);
    return catalog_log(e->catalog, uid, buf_z(&line));
}

static int
remember(struct engine *e, node_id sync, const char *uid, enum rows_of of, const char *file,
         const char *name, uint64_t row, const struct caller *who, struct error *err)
{
    int rc = catalog_begin(e->catalog, err);
    if (rc < 0)
        return rc;
    /* Asked within the transaction: see left_out_load. */
    if (registry_busy(e, sync))
        rc = error_set(err, ERR_CONFIG, EBUSY, "a run is active");
    if (rc == 0)
        rc = left_out_add(e->catalog, uid, file, row, err);
    if (rc == 0 && of == ROWS_REJECTED)
        rc = count_one_less(e, uid, err);
    if (rc == 0)
        rc = audit(e, uid, file, name, who);
    if (rc == 0)
        return catalog_commit(e->catalog, err);
    catalog_rollback(e->catalog);
    return rc;
}

static int
leave_out(struct engine *e, node_id sync, const struct sync_view *v, enum rows_of of,
          unsigned ops, const char *name, const struct caller *who)
{
    struct error err = ERROR_INIT;
    AUTO_ARENA struct arena arena = ARENA_INIT;
    AUTO_BUF struct buf file = BUF_INIT(256);
    struct entry row;
    struct rows *rows = NULL;
    int rc = rows_now(e, sync, v, of, &rows);
    if (rc == 0)
        rc = chg_find_filename(rows->chg, ops, name, &arena, &row, &err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    if (left_out_has(&rows->left_out, row.seq))
        return -ENOENT;
    left_out_file(&v->record, of, &file);
    rc = file.failed
             ? -ENOMEM
             : remember(e, sync, v->record.uid, of, buf_z(&file), name, row.seq, who, &err);
    if (rc < 0)
        return rc;
    left_out_set(&rows->left_out, row.seq);
    __atomic_store_n(&rows->left_out.at, clock_now(), __ATOMIC_RELAXED);
    return 0;
}

int
sync_rows_remove(struct engine *e, node_id sync, enum rows_of of, unsigned ops,
                 const char *name, const struct caller *who)
{
    struct sync_view *v = registry_view(e, sync);
    if (!v)
        return -ENOENT;
    pthread_mutex_lock(&e->rows_lock);
    int rc = leave_out(e, sync, v, of, ops, name, who);
    pthread_mutex_unlock(&e->rows_lock);
    sync_view_unref(v);
    if (rc == 0 && of == ROWS_REJECTED)
        registry_refresh(e, sync);
    return rc;
}
