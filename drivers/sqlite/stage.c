/*
 * Staging: checks the mapped fields against the target, then keeps every change in a temporary
 * table until the session is applied. A staged column has the affinity of its target column,
 * so a staged value is already what the target will hold, and keys compare as they will there.
 */
#include <string.h>

#include "sqlite/dest.h"

/* ---- does the mapping fit the table? ---- */

static int
no_such_column(const struct dest *d, const char *name, struct error *err)
{
    AUTO_BUF struct buf all = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < d->table.n; i++)
        if (!d->table.columns[i].column.generated)
            buf_addf(&all, "%s%s", all.n ? ", " : "", d->table.columns[i].column.name);
    return error_set(err, ERR_CONFIG, EINVAL, "table \"%s\" has no column \"%s\"; it has: %s",
                     d->table.name, name, buf_z(&all));
}

/* SQLite would take the first of them and drop the other without a word. */
static int
check_doubles(const struct target *t, struct error *err)
{
    for (size_t i = 0; i < t->nfields; i++)
        for (size_t k = 0; k < i; k++)
            if (sqlite3_stricmp(t->fields[k].name, t->fields[i].name) == 0)
                return error_set(err, ERR_CONFIG, EINVAL,
                                 "fields \"%s\" and \"%s\" are the same column",
                                 t->fields[k].name, t->fields[i].name);
    return 0;
}

static int
find_columns(struct dest *d, struct error *err)
{
    const struct target *t = &d->target;
    d->columns = arena_alloc(&d->session_arena, (t->nfields + 1) * sizeof *d->columns);
    if (!d->columns)
        return error_no_memory(err);
    for (size_t i = 0; i < t->nfields; i++) {
        size_t at = table_find(&d->table, t->fields[i].name);
        if (at == SIZE_MAX)
            return no_such_column(d, t->fields[i].name, err);
        if (d->table.columns[at].column.generated)
            return error_set(err, ERR_CONFIG, EINVAL,
                             "column \"%s\" is generated and cannot be written",
                             t->fields[i].name);
        d->columns[i] = at;
    }
    return 0;
}

/* New rows need a value wherever the table insists on one. */
static int
check_left_out(const struct dest *d, struct error *err)
{
    for (size_t c = 0; c < d->table.n; c++) {
        const struct column *column = &d->table.columns[c].column;
        bool mapped = false;
        for (size_t i = 0; i < d->target.nfields; i++)
            mapped |= d->columns[i] == c;
        if (column->not_null && !column->has_default && !column->generated && !mapped)
            return error_set(err, ERR_CONFIG, EINVAL,
                             "column \"%s\" is NOT NULL without default, and nothing is mapped "
                             "to it",
                             column->name);
    }
    return 0;
}

/* May two keys that differ in the model become one by conversion to the column's affinity? */
static bool
may_merge(enum value_type type, enum affinity affinity)
{
    switch (affinity) {
    case AFFINITY_BLOB:
    case AFFINITY_TEXT:
        return false;
    case AFFINITY_INTEGER:
    case AFFINITY_NUMERIC:
        return type != V_INT && type != V_BOOL && type != V_FLOAT && type != V_BYTES;
    case AFFINITY_REAL:
        return type != V_BOOL && type != V_FLOAT && type != V_BYTES;
    }
    return true;
}

static int
check_target(struct dest *d, struct error *err)
{
    const struct target *t = &d->target;
    d->columns = NULL;
    d->unique = d->merging = false;
    int rc = dest_load_table(d, err);
    if (rc)
        return rc;
    if (!d->table.exists && !t->create)
        return error_set(err, ERR_CONFIG, ENOENT, "no such table: \"%s\"", t->object);
    rc = check_doubles(t, err);
    if (!rc && d->table.exists)
        rc = find_columns(d, err);
    if (!rc && d->table.exists && t->mode != MODE_UPDATE && t->mode != MODE_REMOVE)
        rc = check_left_out(d, err);
    if (!rc && d->table.exists && !d->table.rowid && !d->table.without_rowid)
        rc = error_set(err, ERR_CONFIG, EINVAL, "the columns of \"%s\" hide its rowid",
                       t->object);
    if (rc)
        return rc;
    size_t *key = arena_alloc(&d->session_arena, (t->nkey + 1) * sizeof *key);
    if (!key)
        return error_no_memory(err);
    for (size_t i = 0; i < t->nkey; i++) {
        d->merging |= may_merge(t->fields[t->key[i]].type, dest_affinity(d, t->key[i]));
        if (d->table.exists)
            key[i] = d->columns[t->key[i]];
    }
    d->unique = t->nkey > 0 && (d->table.exists ? table_unique(&d->table, key, t->nkey)
                                                : t->mode != MODE_INSERT);
    return 0;
}

/* ---- the staging table ---- */

static int
create_stage(struct dest *d, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    size_t n = d->target.nfields;
    buf_adds(&sql, "BEGIN; CREATE TABLE " DEST_STAGE
                   " (seq INTEGER PRIMARY KEY, op INTEGER NOT NULL");
    for (size_t i = 0; i < n; i++)
        buf_addf(&sql, ", f%zu %s", i, types_affinity_name(dest_affinity(d, i)));
    buf_addc(&sql, ')');
    int rc = link_exec_buf(&d->link, &sql, err);
    if (rc)
        return rc;
    buf_adds(&sql, "INSERT INTO " DEST_STAGE " VALUES (?1, ?2");
    for (size_t i = 0; i < n; i++)
        buf_addf(&sql, ", ?%zu", i + 3);
    buf_addc(&sql, ')');
    return link_prepare_buf(&d->link, &sql, &d->stage, err);
}

int
sqlite_dest_begin(void *handle, const struct session *session, struct error *err)
{
    struct dest *d = handle;
    dest_forget_session(d);
    arena_clear(&d->session_arena);
    memset(d->staged, 0, sizeof d->staged);
    d->session = *session;
    d->session.token = arena_strdup(&d->session_arena, session->token);
    if (!d->session.token)
        return error_no_memory(err);
    int rc = check_target(d, err);
    if (!rc)
        rc = create_stage(d, err);
    d->in_session = rc == 0;
    return rc;
}

int
dest_index_stage(struct dest *d, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    if (d->indexed || d->target.nkey == 0)
        return 0;
    buf_adds(&sql, "CREATE INDEX temp.retlfs_stage_key ON retlfs_stage (");
    for (size_t i = 0; i < d->target.nkey; i++)
        buf_addf(&sql, "%sf%zu", i ? ", " : "", d->target.key[i]);
    buf_addc(&sql, ')');
    int rc = link_exec_buf(&d->link, &sql, err);
    d->indexed = rc == 0;
    return rc;
}

int
dest_enter_target(struct dest *d, struct error *err)
{
    if (d->in_target)
        return 0;
    int rc = link_exec(&d->link, "COMMIT", err); /* of the staged rows */
    if (!rc && !d->attached && !d->session.dry)
        rc = dest_attach(d, "rwc", err);
    if (!rc)
        rc = link_exec(&d->link, d->session.dry ? "BEGIN" : "BEGIN IMMEDIATE", err);
    d->in_target = rc == 0;
    return rc;
}

/* ---- rows ---- */

/* Result code of SQLite, or -EINVAL for a value that it cannot hold. */
static int
bind_field(struct dest *d, size_t field, const struct value *v)
{
    /* SQLite would write the text of a double with 15 digits only. */
    struct value text = *v;
    if (v->type == V_FLOAT && dest_affinity(d, field) == AFFINITY_TEXT)
        text.type = V_TEXT;
    return types_bind(d->stage, (int)field + 3, &text);
}

static int
bind_change(struct dest *d, const struct change *change)
{
    sqlite3_clear_bindings(d->stage);
    int code = sqlite3_bind_int64(d->stage, 1, (sqlite3_int64)change->seq);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int(d->stage, 2, change->op);
    if (change->after)
        for (size_t i = 0; code == SQLITE_OK && i < d->target.nfields; i++)
            code = bind_field(d, i, &change->after[i]);
    else
        for (size_t i = 0; code == SQLITE_OK && i < d->target.nkey; i++)
            code = bind_field(d, d->target.key[i], &change->key[i]);
    return code;
}

int
sqlite_dest_write(void *handle, const struct batch *batch, struct outcome *out,
                  struct error *err)
{
    struct dest *d = handle;
    if (!d->stage)
        return error_set(err, ERR_INTERNAL, EINVAL, "no session was begun");
    for (size_t i = 0; i < batch->n; i++) {
        const struct change *change = &batch->changes[i];
        out[i] = (struct outcome){.kind = ROW_STAGED};
        if (change->op == OP_PRESENT && !d->session.survey)
            continue;
        int code = bind_change(d, change);
        if (code == -EINVAL) {
            out[i] = (struct outcome){
                .kind = ROW_REJECTED, .code = "nan", .why = "SQLite has no NaN"};
            continue;
        }
        if (code == SQLITE_TOOBIG) {
            out[i] = (struct outcome){.kind = ROW_REJECTED,
                                      .code = "SQLITE_TOOBIG",
                                      .why = "a value is too big for SQLite"};
            continue;
        }
        if (code != SQLITE_OK)
            return link_fail(&d->link, code, err);
        int rc = link_run(&d->link, d->stage, err);
        if (rc && err->kind == ERR_DATA && err->errnum == EINVAL &&
            sqlite3_errcode(d->link.db) == SQLITE_TOOBIG) {
            error_clear(err);
            out[i] = (struct outcome){.kind = ROW_REJECTED,
                                      .code = "SQLITE_TOOBIG",
                                      .why = "the row is too big for SQLite"};
            continue;
        }
        if (rc)
            return rc;
        d->staged[change->op]++;
    }
    return 0;
}
