/*
 * SQLite with this project's errors: statements are prepared once a connection and found again
 * by the address of their text, so the text must be a literal (or otherwise never change).
 *
 * Parameters are named by one letter each, ?1 first:
 *   i  int64_t (pass exactly that type)          t  const char *, text; NULL is NULL
 *   s  struct str, text; p = NULL is NULL        b  struct str, blob; never NULL
 *   n  NULL, takes no argument
 * They are borrowed until the statement is done. Not locked: the owner of a struct sql is.
 */
#pragma once

#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct sql_cached {
    const char *text;
    sqlite3_stmt *stmt;
    bool busy;
};

struct sql {
    sqlite3 *db;              /* NULL: not open */
    struct sql_cached *cache; /* sorted by nothing: there are few */
    size_t ncache, cap;
    bool in_transaction; /* then SQLite must not have ended it behind our back */
};

int sql_open(struct sql *q, const char *path, struct error *err);
void sql_close(struct sql *q);

/* One statement that returns nothing of interest. */
int sql_exec(struct sql *q, struct error *err, const char *text, const char *types, ...);
/* Several statements without parameters (a schema). */
int sql_script(struct sql *q, struct error *err, const char *text);
/* Rows changed by the last statement. */
int64_t sql_changes(const struct sql *q);
int64_t sql_last_id(const struct sql *q);

/* Reading row by row:
 *     AUTO_ROWS struct sql_rows r = {0};
 *     int rc = sql_select(q, &r, err, "SELECT …", "i", id);
 *     while (rc == 0 && (rc = sql_next(&r, err)) > 0) { … rc = 0; }
 */
struct sql_rows {
    struct sql *q;
    sqlite3_stmt *stmt;
    const char *text; /* of the cached statement; NULL: this one is ours to finalize */
};

int sql_select(struct sql *q, struct sql_rows *r, struct error *err, const char *text,
               const char *types, ...);
int sql_select_va(struct sql *q, struct sql_rows *r, struct error *err, const char *text,
                  const char *types, va_list ap);
/* 1: a row, 0: no more, or negative. */
int sql_next(struct sql_rows *r, struct error *err);
void sql_rows_done(struct sql_rows *r);
#define AUTO_ROWS __attribute__((cleanup(sql_rows_done)))

static inline int64_t
sql_int(const struct sql_rows *r, int column)
{
    return sqlite3_column_int64(r->stmt, column);
}

static inline bool
sql_is_null(const struct sql_rows *r, int column)
{
    return sqlite3_column_type(r->stmt, column) == SQLITE_NULL;
}

/* Text or blob, borrowed until the next sql_next or sql_rows_done; p = NULL for NULL. */
struct str sql_str(const struct sql_rows *r, int column);
/* Appends it to *out. */
int sql_add(const struct sql_rows *r, int column, struct buf *out, struct error *err);
/* The same as a C string; "" for NULL. */
const char *sql_text(const struct sql_rows *r, int column);

/* Calls row for each row; non-zero stops and is returned. */
typedef int (*sql_row_fn)(void *arg, const struct sql_rows *r, struct error *err);
int sql_query(struct sql *q, struct error *err, sql_row_fn row, void *arg, const char *text,
              const char *types, ...);

/* The first column of the first row. -ENOENT (without *err) when there is none. */
int sql_one_int(struct sql *q, struct error *err, int64_t *ret, const char *text,
                const char *types, ...);
/* Appends it to *out, as text or bytes. */
int sql_one_str(struct sql *q, struct error *err, struct buf *out, const char *text,
                const char *types, ...);
