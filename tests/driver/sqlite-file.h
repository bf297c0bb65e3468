/* For tests of the SQLite driver: one database file, looked at with a connection of our own. */
#pragma once

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../unit/tap.h"
#include "base/cleanup.h"
#include "drive.h"

extern const struct driver driver_sqlite;

static struct arena arena;
static char path[4200];

#define OPTIONS(...)                                                                           \
    drive_options(driver_sqlite.options, driver_sqlite.options_size, &arena, "path", path,     \
                  ##__VA_ARGS__, NULL)

static inline void
sql(const char *text)
{
    sqlite3 *db;
    char *words = NULL;
    if (sqlite3_open(path, &db) || sqlite3_exec(db, text, NULL, NULL, &words)) {
        printf("Bail out! %s: %s\n", words ? words : "open", text);
        exit(1);
    }
    sqlite3_close(db);
}

/* Rows of a query with quote()d values: "1,'x'\n". */
static inline char *
look(const char *query)
{
    struct buf out = BUF_INIT(BUF_NO_MAX);
    sqlite3 *db;
    sqlite3_stmt *stmt = NULL;
    sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);
    if (sqlite3_prepare_v2(db, query, -1, &stmt, NULL))
        buf_addf(&out, "error: %s", sqlite3_errmsg(db));
    while (stmt && sqlite3_step(stmt) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(stmt); i++)
            buf_addf(&out, "%s%s", i ? "," : "", (const char *)sqlite3_column_text(stmt, i));
        buf_addc(&out, '\n');
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    buf_adds(&out, "");
    return buf_take(&out);
}

static inline void
fresh(const char *schema)
{
    unlink(path);
    sql(schema);
}

static inline char *
read_table(const char *table, const char *query, const char *columns)
{
    struct drive_source s = {.driver = &driver_sqlite,
                             .connection = OPTIONS(),
                             .model = {.sync = "s", .table = table, .query = query},
                             .columns = columns};
    return drive_read(&s);
}
