/*
 * The target table: see table.h.
 *
 * A table we make is as wide as the source's types and never narrower: type names are taken
 * over without their modifiers, since numeric(10,2) would round what another server sends.
 */
#include "postgres/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "postgres/types.h"

enum { EVENT_UPDATE = 4, EVENT_INSERT = 8, EVENT_DELETE = 16 }; /* pg_relation_is_updatable */

static bool
is_true(const PGresult *res, int row, int column)
{
    return PQgetvalue(res, row, column)[0] == 't';
}

/* ---- looking it up ---- */

static const char columns_sql[] =
    "SELECT a.attname, b.oid, pg_catalog.format_type(a.atttypid, a.atttypmod),"
    " pg_catalog.format_type(b.oid, -1), a.attnotnull OR b.typnotnull,"
    " a.atthasdef OR a.attidentity <> '' OR b.typdefault, a.attgenerated <> '',"
    " a.attidentity = 'a', b.oid <> a.atttypid,"
    " pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')"
    " FROM pg_catalog.pg_attribute AS a CROSS JOIN LATERAL ("
    "WITH RECURSIVE up AS (SELECT t.oid, t.typtype, t.typbasetype, t.typnotnull,"
    " t.typdefault IS NOT NULL AS typdefault FROM pg_catalog.pg_type AS t"
    " WHERE t.oid = a.atttypid UNION ALL"
    " SELECT t.oid, t.typtype, t.typbasetype, t.typnotnull OR up.typnotnull,"
    " t.typdefault IS NOT NULL OR up.typdefault"
    " FROM pg_catalog.pg_type AS t JOIN up ON t.oid = up.typbasetype AND up.typtype = 'd')"
    " SELECT * FROM up WHERE up.typtype <> 'd') AS b"
    " WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum";

static int
load_columns(struct pg_link *link, const char *oid, struct arena *arena, struct pg_table *t,
             struct error *err)
{
    AUTO_RESULT PGresult *res = NULL;
    int rc = pg_exec(link, columns_sql, 1, &oid, &res, err);
    if (rc)
        return rc;
    t->n = (size_t)PQntuples(res);
    t->columns = arena_alloc(arena, (t->n + 1) * sizeof *t->columns);
    t->more = arena_alloc(arena, (t->n + 1) * sizeof *t->more);
    if (!t->columns || !t->more)
        return error_no_memory(err);
    for (int i = 0; i < (int)t->n; i++) {
        Oid type = (Oid)strtoul(PQgetvalue(res, i, 1), NULL, 10);
        t->columns[i] = (struct column){
            .name = arena_strdup(arena, PQgetvalue(res, i, 0)),
            .type = pg_value_type(type),
            .native = arena_strdup(arena, PQgetvalue(res, i, 2)),
            .not_null = is_true(res, i, 4),
            .has_default = is_true(res, i, 5),
            .generated = is_true(res, i, 6),
        };
        t->more[i] = (struct pg_table_column){
            .type = type,
            .bare = arena_strdup(arena, PQgetvalue(res, i, 3)),
            .always = is_true(res, i, 7),
            .domain = is_true(res, i, 8),
            .readable = is_true(res, i, 9),
        };
        if (!t->columns[i].name || !t->columns[i].native || !t->more[i].bare)
            return error_no_memory(err);
    }
    return 0;
}

static const char table_sql[] =
    "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relhasrules,"
    " pg_catalog.pg_relation_is_updatable(c.oid, true),"
    " pg_catalog.row_security_active(c.oid),"
    " EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid"
    " AND NOT t.tgisinternal AND t.tgtype & 7 = 7)"
    " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE c.oid = pg_catalog.to_regclass($1)";

/* Where a table of that name would be made. */
static int
load_place(struct pg_link *link, struct pg_name *name, struct pg_table *ret, struct error *err)
{
    AUTO_BUF struct buf found = BUF_INIT(BUF_NO_MAX);
    if (!name->schema.n) {
        int rc =
            pg_ask(link, "SELECT pg_catalog.current_schema()", 0, NULL, &name->schema, err);
        if (!rc && !name->schema.n)
            rc = error_set(err, ERR_CONFIG, EINVAL,
                           "no schema of the search_path exists; write schema.%s",
                           buf_z(&name->table));
        if (rc)
            return rc;
    }
    const char *params[] = {buf_z(&name->schema)};
    int rc = pg_ask(link, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", 1, params,
                    &found, err);
    ret->schema_exists = found.n > 0;
    return rc;
}

static int
load_table(struct pg_link *link, const PGresult *res, struct pg_name *name, struct arena *arena,
           struct pg_table *ret, struct error *err)
{
    char kind = PQgetvalue(res, 0, 3)[0];
    long events = strtol(PQgetvalue(res, 0, 5), NULL, 10);
    if (!strchr("rpvfm", kind))
        return error_set(err, ERR_CONFIG, EINVAL, "\"%s\" is not a table", buf_z(&name->table));
    ret->exists = ret->schema_exists = true;
    ret->plain = (kind == 'r' || kind == 'p') && !is_true(res, 0, 4);
    ret->row_security = is_true(res, 0, 6);
    ret->fills_in = is_true(res, 0, 7) || kind == 'v';
    ret->inserts = events & EVENT_INSERT;
    ret->updates = events & EVENT_UPDATE;
    ret->deletes = events & EVENT_DELETE;
    buf_clear(&name->schema);
    buf_adds(&name->schema, PQgetvalue(res, 0, 1));
    return load_columns(link, PQgetvalue(res, 0, 0), arena, ret, err);
}

int
pg_table_load(struct pg_link *link, const char *object, struct arena *arena,
              struct pg_table *ret, struct error *err)
{
    struct pg_name name;
    AUTO_BUF struct buf quoted = BUF_INIT(BUF_NO_MAX);
    AUTO_RESULT PGresult *res = NULL;
    *ret = (struct pg_table){0};
    int rc = pg_name_parse(object, &name, err);
    if (rc)
        return rc;
    pg_name_add(link, &quoted, &name);
    const char *params[] = {buf_z(&quoted)};
    rc = quoted.failed ? error_no_memory(err) : pg_exec(link, table_sql, 1, params, &res, err);
    if (!rc && PQntuples(res) > 0)
        rc = load_table(link, res, &name, arena, ret, err);
    else if (!rc)
        rc = load_place(link, &name, ret, err);
    buf_clear(&quoted);
    pg_name_add(link, &quoted, &name);
    ret->relation = arena_strdup(arena, buf_z(&quoted));
    ret->schema = arena_strdup(arena, buf_z(&name.schema));
    bool whole = ret->relation && ret->schema && !quoted.failed && !name.schema.failed;
    pg_name_done(&name);
    return rc || whole ? rc : error_no_memory(err);
}

/* ---- does the mapping fit ---- */

int
pg_table_find(const struct pg_table *table, const char *column)
{
    for (size_t i = 0; i < table->n; i++)
        if (strcmp(table->columns[i].name, column) == 0)
            return (int)i;
    return -1;
}

static int
refuse_unknown(const struct pg_table *t, const char *field, struct error *err)
{
    AUTO_BUF struct buf names = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < t->n && names.n < 600; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", t->columns[i].name);
    return error_set(err, ERR_CONFIG, EINVAL, "table %s has no column \"%s\"; it has: %s",
                     t->relation, field, buf_z(&names));
}

static int
check_kind(const struct pg_table *t, enum mode mode, struct error *err)
{
    const char *lack = NULL;
    if (mode != MODE_UPDATE && mode != MODE_REMOVE && !t->inserts)
        lack = "inserts";
    else if (mode != MODE_INSERT && mode != MODE_REMOVE && !t->updates)
        lack = "updates";
    else if (mode_deletes(mode) && !t->deletes)
        lack = "deletes";
    return lack ? error_set(err, ERR_CONFIG, EINVAL, "%s takes no %s", t->relation, lack) : 0;
}

static bool
is_key(const struct target *target, size_t field)
{
    for (size_t i = 0; i < target->nkey; i++)
        if (target->key[i] == field)
            return true;
    return false;
}

static int
check_field(const struct pg_table *t, const struct target *target, size_t i, int at,
            struct error *err)
{
    const char *name = target->fields[i].name;
    bool updates = target->mode != MODE_INSERT && target->nkey && !is_key(target, i);
    if (at < 0)
        return refuse_unknown(t, name, err);
    if (t->columns[at].generated)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "column \"%s\" of %s is generated and cannot be written", name,
                         t->relation);
    if (t->more[at].always && updates)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "column \"%s\" of %s is generated always as identity and cannot be "
                         "updated",
                         name, t->relation);
    return 0;
}

/* An insert would leave this column NULL. */
static bool
needs_value(const struct pg_table *t, size_t i)
{
    const struct column *c = &t->columns[i];
    return c->not_null && !c->has_default && !c->generated && !t->fills_in;
}

/* The column that says whose a row is: the driver's to write. */
static int
check_list(const struct pg_table *t, const struct target *target, const char *column,
           bool *mapped, struct error *err)
{
    if (!column)
        return 0;
    int at = pg_table_find(t, column);
    if (at < 0)
        return refuse_unknown(t, column, err);
    if (t->columns[at].generated)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "column \"%s\" of %s is generated and can tell no lists apart", column,
                         t->relation);
    if (mapped[at])
        return error_set(
            err, ERR_CONFIG, EINVAL,
            "column \"%s\" of %s says which list a member is in: map no field to it", column,
            t->relation);
    mapped[at] = true;
    return 0;
}

int
pg_table_check(const struct pg_table *table, const struct target *target,
               const char *list_column, int *columns, struct error *err)
{
    AUTO_FREE bool *mapped = calloc(table->n + 1, sizeof *mapped);
    bool makes = target->mode != MODE_UPDATE && target->mode != MODE_REMOVE;
    if (!mapped)
        return error_no_memory(err);
    int rc = check_kind(table, target->mode, err);
    for (size_t i = 0; !rc && i < target->nfields; i++) {
        columns[i] = pg_table_find(table, target->fields[i].name);
        rc = check_field(table, target, i, columns[i], err);
        if (!rc)
            mapped[columns[i]] = true;
    }
    if (!rc)
        rc = check_list(table, target, list_column, mapped, err);
    for (size_t i = 0; !rc && makes && i < table->n; i++)
        if (!mapped[i] && needs_value(table, i))
            rc = error_set(err, ERR_CONFIG, EINVAL,
                           "column \"%s\" of %s is not mapped, refuses NULL and has no default",
                           table->columns[i].name, table->relation);
    return rc;
}

/* ---- making it ---- */

/* The source's own type name, if it names a type here that is read as the same one of ours.
 * Integers and floats are made wide: other systems use the same names for wider types. */
static int
add_type(struct pg_link *link, const struct column *field, struct buf *sql, struct error *err)
{
    AUTO_BUF struct buf oid = BUF_INIT(BUF_NO_MAX), bare = BUF_INIT(BUF_NO_MAX);
    const char *params[] = {field->native};
    bool wide = field->type == V_INT || field->type == V_FLOAT || field->type == V_NULL;
    if (field->native && !wide) {
        /* A text that is no type at all is an error in some versions, NULL in others. */
        int rc = pg_run(link, err, "SAVEPOINT retlfs_type");
        if (!rc) {
            rc = pg_ask(link,
                        "SELECT pg_catalog.format_type(t, -1) FROM"
                        " pg_catalog.to_regtype($1) AS t",
                        1, params, &bare, err);
            if (!rc)
                rc = pg_ask(link, "SELECT pg_catalog.to_regtype($1)::pg_catalog.oid", 1, params,
                            &oid, err);
        }
        if (rc && (!pg_alive(link) || rc == -ENOMEM))
            return rc;
        error_clear(err);
        rc = pg_run(link, err, "ROLLBACK TO SAVEPOINT retlfs_type");
        if (rc)
            return rc;
    }
    Oid type = oid.n ? (Oid)strtoul(buf_z(&oid), NULL, 10) : 0;
    bool same = type && bare.n && pg_value_type(type) == field->type;
    buf_adds(sql, same ? buf_z(&bare) : pg_type_for(field->type));
    return 0;
}

static int
create_schema(struct pg_link *link, const struct pg_table *table, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_adds(&sql, "CREATE SCHEMA IF NOT EXISTS ");
    pg_add_name(link, &sql, table->schema);
    return sql.failed ? error_no_memory(err) : pg_run(link, err, "%s", buf_z(&sql));
}

int
pg_table_create(struct pg_link *link, const struct pg_table *table, const struct target *target,
                const char *list_column, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    int rc = table->schema_exists ? 0 : create_schema(link, table, err);
    buf_addf(&sql, "CREATE TABLE IF NOT EXISTS %s (", table->relation);
    if (list_column) {
        pg_add_name(link, &sql, list_column);
        buf_adds(&sql, " pg_catalog.text");
    }
    for (size_t i = 0; !rc && i < target->nfields; i++) {
        buf_adds(&sql, i || list_column ? ", " : "");
        pg_add_name(link, &sql, target->fields[i].name);
        buf_addc(&sql, ' ');
        rc = add_type(link, &target->fields[i], &sql, err);
    }
    /* Inserting accepts duplicates, which a key would refuse. */
    bool keyed = target->nkey > 0 && target->mode != MODE_INSERT;
    if (keyed)
        buf_adds(&sql, ", PRIMARY KEY (");
    if (keyed && list_column) {
        pg_add_name(link, &sql, list_column);
        buf_adds(&sql, ", ");
    }
    for (size_t i = 0; keyed && i < target->nkey; i++) {
        buf_adds(&sql, i ? ", " : "");
        pg_add_name(link, &sql, target->fields[target->key[i]].name);
    }
    buf_adds(&sql, keyed ? "))" : ")");
    if (rc)
        return rc;
    return sql.failed ? error_no_memory(err) : pg_run(link, err, "%s", buf_z(&sql));
}
