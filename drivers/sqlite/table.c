/* Reading a table's shape with pragma functions: see table.h. */
#include "sqlite/table.h"

#include <string.h>

/* The query with two text parameters, ready to be stepped. */
static int
ask(struct link *l, const char *sql, const char *a, const char *b, sqlite3_stmt **ret,
    struct error *err)
{
    int rc = link_prepare(l, sql, ret, err);
    if (rc)
        return rc;
    /* In a file in UTF-16 they are converted, which takes memory. */
    int code = sqlite3_bind_text(*ret, 1, a, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_bind_text(*ret, 2, b, -1, SQLITE_STATIC);
    return code == SQLITE_OK ? 0 : link_fail(l, code, err);
}

/* "" of NULL; NULL: memory is out. */
static const char *
text_of(sqlite3_stmt *stmt, int i, struct arena *arena)
{
    if (sqlite3_column_type(stmt, i) == SQLITE_NULL)
        return "";
    return arena_strdup(arena, (const char *)sqlite3_column_text(stmt, i));
}

static int
load_kind(struct link *l, const char *name, struct arena *arena, struct table *t,
          struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    int rc = ask(l,
                 "SELECT name, type, wr, strict FROM pragma_table_list(?1)"
                 " WHERE schema = ?2 AND type IN ('table', 'view', 'virtual')",
                 name, t->schema, &stmt, err);
    if (rc)
        return rc;
    int code = sqlite3_step(stmt);
    if (code == SQLITE_DONE)
        return 0;
    if (code != SQLITE_ROW)
        return link_fail(l, code, err);
    t->name = text_of(stmt, 0, arena);
    const char *type = text_of(stmt, 1, arena);
    if (!t->name || !type)
        return error_no_memory(err);
    t->exists = true;
    t->view = strcmp(type, "table") != 0;
    t->without_rowid = sqlite3_column_int(stmt, 2);
    t->strict = sqlite3_column_int(stmt, 3);
    return 0;
}

static int
load_columns(struct link *l, struct arena *arena, struct table *t, struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    int rc = ask(l,
                 "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden,"
                 " count(*) OVER () FROM pragma_table_xinfo(?1, ?2) ORDER BY cid",
                 t->name, t->schema, &stmt, err);
    int code = SQLITE_DONE;
    while (!rc && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (!t->columns)
            t->columns =
                arena_alloc(arena, (size_t)sqlite3_column_int(stmt, 6) * sizeof *t->columns);
        const char *name = text_of(stmt, 0, arena), *decl = text_of(stmt, 1, arena);
        if (!t->columns || !name || !decl)
            return error_no_memory(err);
        struct table_column *c = &t->columns[t->n++];
        bool any = t->strict && sqlite3_stricmp(decl, "ANY") == 0;
        c->pk = sqlite3_column_int(stmt, 4);
        c->affinity = any ? AFFINITY_BLOB : types_affinity(decl);
        c->column = (struct column){
            .name = name,
            .type = any ? V_NULL : types_declared(decl),
            .native = decl,
            .not_null = sqlite3_column_int(stmt, 2) || (c->pk && t->without_rowid),
            .has_default = sqlite3_column_int(stmt, 3),
            .generated = sqlite3_column_int(stmt, 5) >= 2,
        };
    }
    return rc ? rc : code == SQLITE_DONE ? 0 : link_fail(l, code, err);
}

/* Keeps the index if all its columns are columns of the table under BINARY. */
static int
load_index(struct link *l, const char *name, struct arena *arena, struct table *t,
           struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    int rc =
        ask(l, "SELECT name, coll FROM pragma_index_xinfo(?1, ?2) WHERE key ORDER BY seqno",
            name, t->schema, &stmt, err);
    if (rc)
        return rc;
    struct table_index *index = &t->indexes[t->nindexes];
    index->columns = arena_alloc(arena, t->n * sizeof *index->columns);
    if (!index->columns)
        return error_no_memory(err);
    bool plain = true;
    int code;
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *column = (const char *)sqlite3_column_text(stmt, 0);
        const char *collation = (const char *)sqlite3_column_text(stmt, 1);
        size_t at = column ? table_find(t, column) : SIZE_MAX;
        if (at == SIZE_MAX || index->n == t->n || !collation ||
            sqlite3_stricmp(collation, "BINARY") != 0)
            plain = false;
        else
            index->columns[index->n++] = at;
    }
    if (code != SQLITE_DONE)
        return link_fail(l, code, err);
    if (plain)
        t->nindexes++;
    else
        *index = (struct table_index){0};
    return 0;
}

static int
load_indexes(struct link *l, struct arena *arena, struct table *t, struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    int rc = ask(l,
                 "SELECT name, origin, \"unique\" AND NOT partial, count(*) OVER ()"
                 " FROM pragma_index_list(?1, ?2)",
                 t->name, t->schema, &stmt, err);
    bool pk_index = false;
    int code = SQLITE_DONE;
    while (!rc && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *name = text_of(stmt, 0, arena), *origin = text_of(stmt, 1, arena);
        if (!t->indexes)
            t->indexes =
                arena_alloc(arena, (size_t)sqlite3_column_int(stmt, 3) * sizeof *t->indexes);
        if (!name || !origin || !t->indexes)
            return error_no_memory(err);
        pk_index |= strcmp(origin, "pk") == 0;
        if (sqlite3_column_int(stmt, 2))
            rc = load_index(l, name, arena, t, err);
    }
    if (rc || code != SQLITE_DONE)
        return rc ? rc : link_fail(l, code, err);

    /* A primary key without an index of its own is the rowid itself. */
    for (size_t i = 0; i < t->n; i++) {
        if (t->columns[i].pk == 1 && !pk_index && !t->without_rowid) {
            t->rowid_alias = i;
            t->columns[i].column.has_default = true;
        }
    }
    return 0;
}

static int
load_triggers(struct link *l, struct table *t, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    buf_adds(&sql, "SELECT 1 FROM ");
    link_add_name(&sql, t->schema);
    buf_adds(&sql, ".sqlite_master WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE");
    int rc = link_prepare_buf(l, &sql, &stmt, err);
    if (rc)
        return rc;
    sqlite3_bind_text(stmt, 1, t->name, -1, SQLITE_STATIC);
    int code = sqlite3_step(stmt);
    t->triggers = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : link_fail(l, code, err);
}

static const char *
free_rowid_name(const struct table *t)
{
    static const char *const names[] = {"rowid", "_rowid_", "oid"};
    if (t->without_rowid || t->view)
        return NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (table_find(t, names[i]) == SIZE_MAX)
            return names[i];
    return t->rowid_alias != SIZE_MAX ? t->columns[t->rowid_alias].column.name : NULL;
}

int
table_load(struct link *l, const char *schema, const char *name, struct arena *arena,
           struct table *ret, struct error *err)
{
    *ret = (struct table){.schema = schema, .name = name, .rowid_alias = SIZE_MAX};
    int rc = load_kind(l, name, arena, ret, err);
    if (rc || !ret->exists)
        return rc;
    rc = load_columns(l, arena, ret, err);
    if (!rc && !ret->view)
        rc = load_indexes(l, arena, ret, err);
    if (!rc)
        rc = load_triggers(l, ret, err);
    if (!rc)
        ret->rowid = free_rowid_name(ret);
    return rc;
}

size_t
table_find(const struct table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (sqlite3_stricmp(t->columns[i].column.name, name) == 0)
            return i;
    return SIZE_MAX;
}

static bool
among(size_t column, const size_t *columns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (columns[i] == column)
            return true;
    return false;
}

bool
table_unique(const struct table *t, const size_t *columns, size_t n)
{
    if (n == 1 && columns[0] == t->rowid_alias)
        return true;
    for (size_t i = 0; i < t->nindexes; i++) {
        const struct table_index *index = &t->indexes[i];
        bool exact = index->n == n;
        for (size_t k = 0; exact && k < n; k++)
            exact = among(index->columns[k], columns, n);
        if (exact)
            return true;
    }
    return false;
}

void
table_add_name(struct buf *sql, const struct table *t)
{
    link_add_name(sql, t->schema);
    buf_addc(sql, '.');
    link_add_name(sql, t->name);
}
