/* The destination's handle: see dest.h. */
#include "sqlite/dest.h"

#include <stdlib.h>
#include <string.h>

#include "base/reach.h"

static int
copy_target(struct dest *d, const struct target *t, struct error *err)
{
    d->target = *t;
    d->target.sync = arena_strdup(&d->arena, t->sync);
    d->target.sync_uid = arena_strdup(&d->arena, t->sync_uid);
    d->target.object = arena_strdup(&d->arena, t->object);
    struct column *fields = arena_alloc(&d->arena, (t->nfields + 1) * sizeof *fields);
    size_t *key = arena_alloc(&d->arena, (t->nkey + 1) * sizeof *key);
    if (!fields || !key || !d->target.sync_uid || !d->target.object)
        return error_no_memory(err);
    for (size_t i = 0; i < t->nfields; i++) {
        fields[i] = t->fields[i];
        fields[i].name = arena_strdup(&d->arena, t->fields[i].name);
        fields[i].native = NULL;
        if (!fields[i].name)
            return error_no_memory(err);
    }
    for (size_t i = 0; i < t->nkey; i++)
        key[i] = t->key[i];
    d->target.fields = fields;
    d->target.key = key;
    return 0;
}

int
dest_attach(struct dest *d, const char *mode, struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    const char *uri;
    int rc = link_uri(&d->arena, d->options->path, mode, &uri, err);
    if (rc)
        return rc;
    rc = link_prepare(&d->link, "ATTACH ?1 AS " DEST_SCHEMA, &stmt, err);
    if (rc)
        return rc;
    sqlite3_bind_text(stmt, 1, uri, -1, SQLITE_STATIC);
    rc = link_run(&d->link, stmt, err);
    if (rc)
        return error_wrap(err, "\"%s\"", d->options->path);
    d->attached = true;
    return link_exec(&d->link, "PRAGMA " DEST_SCHEMA ".cache_size = -16384", err);
}

static int
open_file(struct dest *d, struct error *err)
{
    /* CREATE is what an attached file may be opened with at most; its mode says the rest. */
    int rc = link_open(&d->link, "file::memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                       d->options, err);
    if (rc)
        return rc;
    struct stat st;
    rc = reach_stat(d->options->path, true, &st);
    if (rc == -ENOENT && d->target.create)
        return 0; /* dest_apply will make it */
    if (rc < 0)
        return reach_fail(err, rc, d->options->path);
    rc = dest_attach(d, "rw", err);
    if (!rc && sqlite3_db_readonly(d->link.db, DEST_SCHEMA))
        rc = error_set(err, ERR_CONFIG, EROFS, "\"%s\" can only be read", d->options->path);
    return rc;
}

int
sqlite_dest_open(const void *connection, const struct target *target, void **ret,
                 struct error *err)
{
    if (!target->object || !*target->object)
        return error_set(err, ERR_CONFIG, EINVAL, "the destination needs an object: a table");
    if (sqlite3_stricmp(target->object, DEST_MARKERS) == 0)
        return error_set(err, ERR_CONFIG, EINVAL, "table \"%s\" is retlfs's own",
                         target->object);
    struct dest *d = calloc(1, sizeof *d);
    if (!d)
        return error_no_memory(err);
    d->options = connection;
    d->link.opening = target->cancelled;
    int rc = copy_target(d, target, err);
    if (!rc)
        rc = open_file(d, err);
    if (rc) {
        sqlite_dest_close(d);
        return rc;
    }
    d->link.opening = NULL;
    *ret = d;
    return 0;
}

int
dest_load_table(struct dest *d, struct error *err)
{
    d->table = (struct table){.schema = DEST_SCHEMA, .name = d->target.object};
    if (!d->attached)
        return 0;
    int rc =
        table_load(&d->link, DEST_SCHEMA, d->target.object, &d->session_arena, &d->table, err);
    if (!rc && d->table.view)
        rc = error_set(err, ERR_CONFIG, EINVAL, "\"%s\" is not a table", d->target.object);
    return rc;
}

int
sqlite_dest_describe(void *handle, struct schema *ret, struct error *err)
{
    struct dest *d = handle;
    int rc = dest_load_table(d, err);
    if (rc)
        return rc;
    /* Into the arena of the handle: the schema outlives sessions. */
    struct column *columns = arena_alloc(&d->arena, (d->table.n + 1) * sizeof *columns);
    if (!columns)
        return error_no_memory(err);
    for (size_t i = 0; i < d->table.n; i++) {
        columns[i] = d->table.columns[i].column;
        columns[i].name = arena_strdup(&d->arena, columns[i].name);
        columns[i].native = arena_strdup(&d->arena, columns[i].native);
        if (!columns[i].name || !columns[i].native)
            return error_no_memory(err);
    }
    *ret = (struct schema){.columns = columns, .n = d->table.n};
    return 0;
}

void
sqlite_dest_limits(void *handle, struct limits *ret)
{
    *ret = (struct limits){.rows = 10000, .bytes = 1 << 20, .parallel = 1};
}

enum affinity
dest_affinity(const struct dest *d, size_t field)
{
    if (d->columns)
        return d->table.columns[d->columns[field]].affinity;
    return types_affinity(types_for_new_column(d->target.fields[field].type));
}

void
dest_add_column(struct buf *sql, const struct dest *d, size_t field)
{
    link_add_name(sql, d->columns ? d->table.columns[d->columns[field]].column.name
                                  : d->target.fields[field].name);
}

void
dest_add_key_match(struct buf *sql, const struct dest *d, const char *compare)
{
    for (size_t i = 0; i < d->target.nkey; i++) {
        size_t field = d->target.key[i];
        buf_adds(sql, i ? " AND t." : "t.");
        dest_add_column(sql, d, field);
        buf_addf(sql, " %s s.f%zu COLLATE BINARY", compare, field);
    }
}

void
dest_forget_session(struct dest *d)
{
    sqlite3_finalize(d->stage);
    d->stage = NULL;
    if (!sqlite3_get_autocommit(d->link.db))
        sqlite3_exec(d->link.db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_exec(d->link.db,
                 "DROP TABLE IF EXISTS " DEST_STAGE "; DROP TABLE IF EXISTS " DEST_MATCHED,
                 NULL, NULL, NULL);
    d->in_session = d->in_target = d->indexed = false;
}

void
sqlite_dest_abort(void *handle)
{
    dest_forget_session(handle);
}

void
sqlite_dest_cancel(void *handle)
{
    link_cancel(&((struct dest *)handle)->link);
}

void
sqlite_dest_close(void *handle)
{
    struct dest *d = handle;
    if (d->link.db)
        dest_forget_session(d);
    link_close(&d->link);
    arena_done(&d->session_arena);
    arena_done(&d->arena);
    free(d);
}
