/*
 * The end of a session: the marker row goes into the same transaction as the rows, so whoever
 * asks later, after whatever crash, reads there whether the session was committed.
 */
#include "base/clock.h"
#include "sqlite/dest.h"

/* A result code: what is not bound is NULL, and no marker has that. */
static int
bind_texts(sqlite3_stmt *stmt, const char *const *texts, int n)
{
    int code = SQLITE_OK;
    for (int i = 0; i < n && code == SQLITE_OK; i++)
        code = sqlite3_bind_text(stmt, i + 1, texts[i], -1, SQLITE_STATIC);
    return code;
}

static int
write_marker(struct dest *d, struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    AUTO_BUF struct buf now = BUF_INIT(64);
    int rc = link_exec(&d->link,
                       "CREATE TABLE IF NOT EXISTS " DEST_SCHEMA "." DEST_MARKERS
                       " (sync TEXT PRIMARY KEY, token TEXT NOT NULL, committed_at TEXT)",
                       err);
    if (!rc)
        rc = link_prepare(&d->link,
                          "INSERT OR REPLACE INTO " DEST_SCHEMA "." DEST_MARKERS
                          " (sync, token, committed_at) VALUES (?1, ?2, ?3)",
                          &stmt, err);
    if (rc)
        return rc;
    clock_format(clock_now(), &now);
    const char *texts[] = {d->target.sync_uid, d->session.token, buf_z(&now)};
    int code = bind_texts(stmt, texts, 3);
    return code == SQLITE_OK ? link_run(&d->link, stmt, err) : link_fail(&d->link, code, err);
}

/* Reads the marker within the transaction that is open. */
static int
read_marker(struct dest *d, const char *token, enum dest_fate *ret, struct error *err)
{
    AUTO_STMT sqlite3_stmt *exists = NULL, *stmt = NULL;
    *ret = FATE_UNKNOWN;
    int rc = link_prepare(&d->link,
                          "SELECT 1 FROM " DEST_SCHEMA ".sqlite_master"
                          " WHERE type = 'table' AND name = '" DEST_MARKERS "'",
                          &exists, err);
    if (rc)
        return rc;
    int code = sqlite3_step(exists);
    if (code == SQLITE_ROW) {
        rc = link_prepare(
            &d->link, "SELECT token = ?2 FROM " DEST_SCHEMA "." DEST_MARKERS " WHERE sync = ?1",
            &stmt, err);
        if (rc)
            return rc;
        code = bind_texts(stmt, (const char *[]){d->target.sync_uid, token}, 2);
        if (code == SQLITE_OK)
            code = sqlite3_step(stmt);
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return link_fail(&d->link, code, err);
    bool committed = code == SQLITE_ROW && sqlite3_column_int(stmt, 0);
    *ret = committed ? FATE_COMMITTED : FATE_NOT_COMMITTED;
    return 0;
}

int
sqlite_dest_resolve(void *handle, const char *token, enum dest_fate *ret, struct error *err)
{
    struct dest *d = handle;
    *ret = FATE_UNKNOWN;
    if (!d->attached) /* a session that came as far as its commit had made it */
        return error_set(err, ERR_UNREACHABLE, ENOENT,
                         "\"%s\" is not there any more, and it alone can tell",
                         d->options->path);
    /* The write lock: whoever is still about to commit has done it or never will. */
    int rc = link_exec(&d->link, "BEGIN IMMEDIATE", err);
    if (rc)
        return rc;
    rc = read_marker(d, token, ret, err);
    sqlite3_exec(d->link.db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* COMMIT failed with *err for another reason than a lock: the marker tells what became of it.
 */
static int
look_again(struct dest *d, struct error *err)
{
    enum dest_fate fate;
    struct error ignored = ERROR_INIT;
    sqlite3_exec(d->link.db, "ROLLBACK", NULL, NULL, NULL);
    int rc = sqlite_dest_resolve(d, d->session.token, &fate, &ignored);
    if (!rc && fate == FATE_COMMITTED)
        return 0;
    if (rc)
        err->kind = ERR_UNKNOWN;
    else if (err->kind == ERR_DATA) /* a deferred constraint: no row to blame */
        err->kind = ERR_REMOTE;
    return error_wrap(err, "cannot commit");
}

int
sqlite_dest_commit(void *handle, struct error *err)
{
    struct dest *d = handle;
    if (!d->in_target || d->session.dry)
        return error_set(err, ERR_INTERNAL, EINVAL, "nothing was applied");
    int rc = write_marker(d, err);
    if (!rc) {
        rc = link_exec(&d->link, "COMMIT", err);
        if (rc && err->kind != ERR_UNREACHABLE)
            rc = look_again(d, err);
    }
    dest_forget_session(d);
    if (rc == 0)
        error_clear(err);
    return rc;
}
