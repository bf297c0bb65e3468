/* Rows removed by hand: see left_out.h. */
#include "run/left_out.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "catalog/intact.h"
#include "data/note.h"

bool
left_out_file(const struct sync_record *sync, enum rows_of of, struct buf *out)
{
    if (of == ROWS_PENDING && sync->plan)
        buf_addf(out, "plan %s", sync->plan->id);
    else if (of == ROWS_REJECTED && sync->rejected_run)
        buf_addf(out, "rejected %" PRIu64, sync->rejected_run);
    else
        return false;
    return true;
}

bool
left_out_has(const struct left_out *l, uint64_t row)
{
    return row < l->rows &&
           __atomic_load_n(&l->bits[row / 8], __ATOMIC_RELAXED) >> (row % 8) & 1;
}

void
left_out_set(struct left_out *l, uint64_t row)
{
    if (row >= l->rows || left_out_has(l, row))
        return;
    __atomic_fetch_or(&l->bits[row / 8], (uint8_t)(1 << row % 8), __ATOMIC_RELAXED);
    __atomic_fetch_add(&l->n, 1, __ATOMIC_RELAXED);
}

void
left_out_done(struct left_out *l)
{
    free(TAKE(l->bits));
}

/* sql_row_fn */
static int
take_row(void *arg, const struct sql_rows *r, struct error *err)
{
    struct left_out *l = arg;
    if (!sql_int(r, 2))
        return error_set(err, ERR_INTERNAL, EUCLEAN,
                         "which rows were removed by hand is damaged: \"plan\" makes a new "
                         "plan, \"reset\" forgets the rejected rows");
    left_out_set(l, (uint64_t)sql_int(r, 0));
    if (sql_int(r, 1) > l->at)
        l->at = sql_int(r, 1);
    return 0;
}

int
left_out_load(struct catalog *c, const char *uid, const char *file, uint64_t rows,
              struct left_out *ret, struct error *err)
{
    *ret = (struct left_out){.rows = rows, .bits = calloc(rows / 8 + 1, 1)};
    if (!ret->bits)
        return error_no_memory(err);
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    rc = sql_query(catalog_sql(c), err, take_row, ret,
                   "SELECT row, at, " INTACT_LEFT_OUT
                   " FROM left_out WHERE sync = ?1 AND file = ?2",
                   "tt", uid, file);
    catalog_rollback(c);
    return rc;
}

int
left_out_add(struct catalog *c, const char *uid, const char *file, uint64_t row,
             struct error *err)
{
    /* Of a file of the same kind that is gone. */
    int rc = sql_exec(catalog_sql(c), err,
                      "DELETE FROM left_out WHERE sync = ?1 AND file <> ?2"
                      " AND substr(file, 1, 2) = substr(?2, 1, 2)",
                      "tt", uid, file);
    if (rc == 0)
        rc = sql_exec(catalog_sql(c), err,
                      "INSERT OR IGNORE INTO left_out(sync, file, row, at, sum)"
                      " VALUES(?1, ?2, ?3, ?4, checksum(?1, ?2, ?3))",
                      "ttii", uid, file, (int64_t)row, clock_now());
    return rc;
}

int
left_out_keep(struct catalog *c, const char *uid, const char *file, struct error *err)
{
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    rc = sql_exec(catalog_sql(c), err,
                  "DELETE FROM left_out WHERE sync = ?1 AND file LIKE 'plan %' AND file <> ?2",
                  "tt", uid, file);
    if (rc == 0)
        return catalog_commit(c, err);
    catalog_rollback(c);
    return rc;
}

int
left_out_filter(const struct left_out *l, enum rows_of of, struct chg *from, unsigned views,
                const atomic_bool *cancelled, int dirfd, const char *name, struct chg **ret,
                struct error *err)
{
    struct chg_writer *w = NULL;
    struct chg_cursor *cursor = NULL;
    struct entry e;
    uint64_t kept = 0;
    int rc = chg_create(dirfd, name, chg_get_meta(from), views, &w, err);
    if (rc == 0)
        rc = chg_cursor_open(from, &cursor, err);
    for (uint64_t row = 0; rc == 0 && (rc = cancel_check(cancelled, err)) == 0 &&
                           (rc = chg_next(cursor, &e, err)) == 1;
         row++) {
        rc = 0;
        if (left_out_has(l, row)) {
            if (of != ROWS_REJECTED || !note_read(e.note).unsure)
                continue;
            e.tries = 0;
        }
        e.seq = kept++;
        rc = chg_add(w, &e, err);
    }
    chg_cursor_close(cursor);
    if (rc < 0) {
        chg_discard(w);
        return rc;
    }
    chg_cancel_by(w, cancelled);
    rc = chg_finish(w, true, NULL, NULL, err);
    return rc < 0 ? rc : chg_open(dirfd, name, ret, err);
}
