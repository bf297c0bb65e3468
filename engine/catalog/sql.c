/* SQLite with our errors: see sql.h. */
#include "catalog/sql.h"

#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "catalog/intact.h"

static int
errno_of(int code)
{
    switch (code & 0xFF) {
    case SQLITE_NOMEM:
        return ENOMEM;
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_READONLY:
        return EROFS;
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return EACCES;
    case SQLITE_TOOBIG:
        return EFBIG;
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_ERROR:
        return EINVAL;
    default:
        return EIO;
    }
}

static int
sql_error(const struct sql *q, int code, struct error *err)
{
    int primary = code & 0xFF;
    if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB)
        return error_set(err, ERR_INTERNAL, EIO, "the catalogue is damaged: %s",
                         q->db ? sqlite3_errmsg(q->db) : sqlite3_errstr(code));
    return error_set(err, ERR_INTERNAL, errno_of(code), "cannot use the catalogue: %s",
                     q->db ? sqlite3_errmsg(q->db) : sqlite3_errstr(code));
}

int
sql_open(struct sql *q, const char *path, struct error *err)
{
    *q = (struct sql){0};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(path, &q->db, flags, NULL);
    if (code == SQLITE_OK)
        code = checksum_define(q->db);
    if (code != SQLITE_OK) {
        sql_error(q, code, err);
        sql_close(q);
        return -err->errnum;
    }
    sqlite3_busy_timeout(q->db, 5000);
    return 0;
}

void
sql_close(struct sql *q)
{
    for (size_t i = 0; i < q->ncache; i++)
        sqlite3_finalize(q->cache[i].stmt);
    free(q->cache);
    sqlite3_close(q->db);
    *q = (struct sql){0};
}

static int
sql_prepare(struct sql *q, const char *text, unsigned flags, sqlite3_stmt **ret,
            struct error *err)
{
    int code = sqlite3_prepare_v3(q->db, text, -1, flags, ret, NULL);
    return code == SQLITE_OK ? 0 : sql_error(q, code, err);
}

static struct sql_cached *
cache_find(struct sql *q, const char *text)
{
    for (size_t i = 0; i < q->ncache; i++)
        if (q->cache[i].text == text)
            return &q->cache[i];
    return NULL;
}

/* Takes the statement out of the cache, making it first if need be. One that is running
 * already (a query inside its own loop) gets a twin that lives for this use only. */
static int
rows_begin(struct sql *q, struct sql_rows *r, const char *text, struct error *err)
{
    *r = (struct sql_rows){.q = q};
    if (q->in_transaction && sqlite3_get_autocommit(q->db))
        return error_set(err, ERR_INTERNAL, EIO, "the catalogue's transaction was lost");
    struct sql_cached *slot = cache_find(q, text);
    if (!slot) {
        if (!vec_grow((void **)&q->cache, &q->cap, q->ncache + 1, sizeof *q->cache))
            return error_no_memory(err);
        sqlite3_stmt *stmt = NULL;
        int rc = sql_prepare(q, text, SQLITE_PREPARE_PERSISTENT, &stmt, err);
        if (rc < 0)
            return rc;
        slot = &q->cache[q->ncache++];
        *slot = (struct sql_cached){.text = text, .stmt = stmt};
    }
    if (slot->busy)
        return sql_prepare(q, text, 0, &r->stmt, err);
    slot->busy = true;
    r->stmt = slot->stmt;
    r->text = text;
    return 0;
}

void
sql_rows_done(struct sql_rows *r)
{
    if (!r->stmt)
        return;
    if (!r->text) {
        sqlite3_finalize(r->stmt);
    } else {
        sqlite3_reset(r->stmt);
        sqlite3_clear_bindings(r->stmt);
        struct sql_cached *slot = cache_find(r->q, r->text);
        if (slot)
            slot->busy = false;
    }
    r->stmt = NULL;
}

static int
bind_str(sqlite3_stmt *stmt, int at, struct str s, bool blob)
{
    if (!blob)
        return sqlite3_bind_text64(stmt, at, s.p, s.n, SQLITE_STATIC, SQLITE_UTF8);
    if (s.n == 0)
        return sqlite3_bind_zeroblob(stmt, at, 0);
    return sqlite3_bind_blob64(stmt, at, s.p, s.n, SQLITE_STATIC);
}

static int
bind_all(struct sql *q, sqlite3_stmt *stmt, const char *types, va_list ap, struct error *err)
{
    int code = SQLITE_OK;
    for (int at = 1; types[at - 1] && code == SQLITE_OK; at++) {
        switch (types[at - 1]) {
        case 'i':
            code = sqlite3_bind_int64(stmt, at, va_arg(ap, int64_t));
            break;
        case 't':
            code = sqlite3_bind_text(stmt, at, va_arg(ap, const char *), -1, SQLITE_STATIC);
            break;
        case 's':
            code = bind_str(stmt, at, va_arg(ap, struct str), false);
            break;
        case 'b':
            code = bind_str(stmt, at, va_arg(ap, struct str), true);
            break;
        case 'n':
            code = sqlite3_bind_null(stmt, at);
            break;
        default:
            code = SQLITE_MISUSE;
        }
    }
    return code == SQLITE_OK ? 0 : sql_error(q, code, err);
}

int
sql_select_va(struct sql *q, struct sql_rows *r, struct error *err, const char *text,
              const char *types, va_list ap)
{
    int rc = rows_begin(q, r, text, err);
    if (rc == 0)
        rc = bind_all(q, r->stmt, types, ap, err);
    if (rc < 0)
        sql_rows_done(r);
    return rc;
}

int
sql_select(struct sql *q, struct sql_rows *r, struct error *err, const char *text,
           const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    int rc = sql_select_va(q, r, err, text, types, ap);
    va_end(ap);
    return rc;
}

/* A text gets its NUL when it is asked for, which takes memory: better no row than one whose
 * texts seem to be empty. */
static bool
has_texts(sqlite3_stmt *stmt)
{
    int n = sqlite3_column_count(stmt);
    for (int i = 0; i < n; i++)
        if (sqlite3_column_type(stmt, i) == SQLITE_TEXT && !sqlite3_column_text(stmt, i))
            return false;
    return true;
}

int
sql_next(struct sql_rows *r, struct error *err)
{
    int code = sqlite3_step(r->stmt);
    if (code == SQLITE_ROW)
        return has_texts(r->stmt) ? 1 : sql_error(r->q, SQLITE_NOMEM, err);
    return code == SQLITE_DONE ? 0 : sql_error(r->q, code, err);
}

struct str
sql_str(const struct sql_rows *r, int column)
{
    if (sql_is_null(r, column))
        return (struct str){0};
    const char *p = sqlite3_column_blob(r->stmt, column);
    return (struct str){p ? p : "", (size_t)sqlite3_column_bytes(r->stmt, column)};
}

int
sql_add(const struct sql_rows *r, int column, struct buf *out, struct error *err)
{
    struct str s = sql_str(r, column);
    buf_add(out, s.p, s.n);
    if (out->full)
        return error_set(err, ERR_LIMIT, EFBIG, "text is larger than %zu bytes", out->max);
    return out->failed ? error_no_memory(err) : 0;
}

const char *
sql_text(const struct sql_rows *r, int column)
{
    const char *z = (const char *)sqlite3_column_text(r->stmt, column);
    return z ? z : "";
}

int
sql_exec(struct sql *q, struct error *err, const char *text, const char *types, ...)
{
    AUTO_ROWS struct sql_rows r = {0};
    va_list ap;
    va_start(ap, types);
    int rc = sql_select_va(q, &r, err, text, types, ap);
    va_end(ap);
    if (rc == 0)
        while ((rc = sql_next(&r, err)) > 0)
            ;
    return rc;
}

int
sql_script(struct sql *q, struct error *err, const char *text)
{
    int code = sqlite3_exec(q->db, text, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : sql_error(q, code, err);
}

int64_t
sql_changes(const struct sql *q)
{
    return sqlite3_changes64(q->db);
}

int64_t
sql_last_id(const struct sql *q)
{
    return sqlite3_last_insert_rowid(q->db);
}

int
sql_query(struct sql *q, struct error *err, sql_row_fn row, void *arg, const char *text,
          const char *types, ...)
{
    AUTO_ROWS struct sql_rows r = {0};
    va_list ap;
    va_start(ap, types);
    int rc = sql_select_va(q, &r, err, text, types, ap);
    va_end(ap);
    while (rc == 0 && (rc = sql_next(&r, err)) > 0)
        rc = row(arg, &r, err);
    return rc;
}

/* -ENOENT: there is no row. */
static int
select_one(struct sql *q, struct sql_rows *r, struct error *err, const char *text,
           const char *types, va_list ap)
{
    int rc = sql_select_va(q, r, err, text, types, ap);
    if (rc == 0)
        rc = sql_next(r, err);
    return rc < 0 ? rc : rc == 0 ? -ENOENT : 0;
}

int
sql_one_int(struct sql *q, struct error *err, int64_t *ret, const char *text, const char *types,
            ...)
{
    AUTO_ROWS struct sql_rows r = {0};
    va_list ap;
    va_start(ap, types);
    int rc = select_one(q, &r, err, text, types, ap);
    va_end(ap);
    if (rc == 0)
        *ret = sql_int(&r, 0);
    return rc;
}

int
sql_one_str(struct sql *q, struct error *err, struct buf *out, const char *text,
            const char *types, ...)
{
    AUTO_ROWS struct sql_rows r = {0};
    va_list ap;
    va_start(ap, types);
    int rc = select_one(q, &r, err, text, types, ap);
    va_end(ap);
    if (rc < 0)
        return rc;
    return sql_add(&r, 0, out, err);
}
