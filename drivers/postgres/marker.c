/* The marker of finished sessions: see marker.h. */
#include "postgres/marker.h"

#include <string.h>

#include "base/cleanup.h"

static void
add_marker(struct pg_link *link, const struct pg_table *table, struct buf *sql)
{
    pg_add_name(link, sql, table->schema);
    buf_adds(sql, ".retlfs_runs");
}

/* *found: "t" when we may use it, "f" when not, empty when it is not there. */
static int
look(struct pg_link *link, const struct pg_table *table, struct buf *found, struct error *err)
{
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    add_marker(link, table, &name);
    if (name.failed)
        return error_no_memory(err);
    const char *params[] = {buf_z(&name)};
    buf_clear(found);
    return pg_ask(link,
                  "SELECT pg_catalog.has_table_privilege(r, 'SELECT') AND"
                  " pg_catalog.has_table_privilege(r, 'INSERT') AND"
                  " pg_catalog.has_table_privilege(r, 'UPDATE')"
                  " FROM CAST(pg_catalog.to_regclass($1) AS pg_catalog.oid) AS r"
                  " WHERE r IS NOT NULL",
                  1, params, found, err);
}

int
pg_marker_prepare(struct pg_link *link, const struct pg_table *table, struct error *err)
{
    AUTO_BUF struct buf found = BUF_INIT(BUF_NO_MAX), sql = BUF_INIT(BUF_NO_MAX);
    int rc = look(link, table, &found, err);
    if (!rc && !found.n) {
        buf_adds(&sql, "CREATE TABLE IF NOT EXISTS ");
        add_marker(link, table, &sql);
        buf_adds(&sql, " (sync text PRIMARY KEY, token text NOT NULL,"
                       " committed_at timestamptz NOT NULL)");
        if (sql.failed)
            return error_no_memory(err);
        rc = pg_run(link, err, "%s", buf_z(&sql));
        if (rc && err->kind == ERR_CONFIG)
            return error_wrap(err,
                              "the table that records finished runs is missing; have its "
                              "owner run: %s; and grant SELECT, INSERT, UPDATE",
                              buf_z(&sql));
        /* Two syncs may make it at once; the one that loses is told so in odd ways. */
        if (rc && pg_alive(link))
            rc = look(link, table, &found, err);
        else
            buf_adds(&found, "t");
    }
    if (rc || strcmp(buf_z(&found), "t") == 0)
        return rc;
    return error_set(err, ERR_CONFIG, EACCES,
                     "the role needs SELECT, INSERT and UPDATE on the table retlfs_runs in "
                     "schema \"%s\"",
                     table->schema);
}

int
pg_marker_lock(struct pg_link *link, const char *sync_uid, struct error *err)
{
    AUTO_BUF struct buf nothing = BUF_INIT(BUF_NO_MAX);
    const char *params[] = {sync_uid};
    int rc = pg_run(link, err, "SET LOCAL lock_timeout TO '5s'");
    if (!rc)
        rc = pg_ask(link,
                    "SELECT pg_catalog.pg_advisory_xact_lock("
                    "pg_catalog.hashtextextended('retlfs:' || $1, 0))",
                    1, params, &nothing, err);
    if (!rc)
        return pg_run(link, err, "SET LOCAL lock_timeout TO DEFAULT");
    if (strcmp(link->sqlstate, "55P03") == 0)
        return error_set(err, ERR_UNREACHABLE, EAGAIN,
                         "the server still works on an earlier session of this sync");
    return rc;
}

int
pg_marker_write(struct pg_link *link, const struct pg_table *table, const char *sync_uid,
                const char *token, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    const char *params[] = {sync_uid, token};
    buf_adds(&sql, "INSERT INTO ");
    add_marker(link, table, &sql);
    buf_adds(&sql, " AS r (sync, token, committed_at) VALUES ($1, $2, pg_catalog.now())"
                   " ON CONFLICT (sync) DO UPDATE SET token = excluded.token,"
                   " committed_at = excluded.committed_at");
    return sql.failed ? error_no_memory(err) : pg_exec(link, buf_z(&sql), 2, params, NULL, err);
}

static int
read_token(struct pg_link *link, const struct pg_table *table, const char *sync_uid,
           struct buf *token, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX), found = BUF_INIT(BUF_NO_MAX);
    const char *params[] = {sync_uid};
    int rc = look(link, table, &found, err);
    if (rc)
        return rc;
    if (!found.n && !table->schema_exists)
        return 0; /* both were to be made by the session */
    if (!found.n) /* a session that came as far as its commit had made it, or found it */
        return error_set(err, ERR_REMOTE, ENOENT,
                         "the table retlfs_runs of schema \"%s\" is not there any more, and it "
                         "alone can tell",
                         table->schema);
    buf_adds(&sql, "SELECT token FROM ");
    add_marker(link, table, &sql);
    buf_adds(&sql, " WHERE sync = $1");
    return sql.failed ? error_no_memory(err) : pg_ask(link, buf_z(&sql), 1, params, token, err);
}

/* A standby may lag behind: its silence proves nothing. */
static int
refuse_standby(struct pg_link *link, struct error *err)
{
    AUTO_BUF struct buf answer = BUF_INIT(BUF_NO_MAX);
    int rc = pg_ask(link, "SELECT pg_catalog.pg_is_in_recovery()", 0, NULL, &answer, err);
    if (!rc && strcmp(buf_z(&answer), "f") != 0)
        rc = error_set(err, ERR_UNREACHABLE, EROFS, "the server is a standby");
    return rc;
}

int
pg_marker_resolve(struct pg_link *link, const struct pg_table *table, const char *sync_uid,
                  const char *token, enum dest_fate *ret, struct error *err)
{
    AUTO_BUF struct buf last = BUF_INIT(BUF_NO_MAX);
    int rc = refuse_standby(link, err);
    if (!rc)
        rc = pg_run(link, err, "BEGIN ISOLATION LEVEL READ COMMITTED");
    if (!rc)
        rc = pg_marker_lock(link, sync_uid, err);
    if (!rc)
        rc = read_token(link, table, sync_uid, &last, err);
    if (!rc)
        *ret = strcmp(buf_z(&last), token) == 0 ? FATE_COMMITTED : FATE_NOT_COMMITTED;
    struct error ignored = ERROR_INIT;
    if (pg_alive(link))
        pg_run(link, &ignored, "ROLLBACK");
    return rc;
}
