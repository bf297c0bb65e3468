/*
 * SQLite as a source. The file is opened read-only, and one statement inside one transaction is
 * the one snapshot; writers of a file without WAL wait until it has been read.
 *
 * A query is never wrapped into another: what the user wrote is what runs, and the columns that
 * nobody maps are simply not looked at.
 */
#include "sqlite/source.h"

#include <stdlib.h>
#include <string.h>

#include "sqlite/link.h"
#include "sqlite/table.h"
#include "sqlite/types.h"

struct read_column {
    int at; /* in the statement */
    enum value_type declared;
};

struct source {
    struct link link;
    const char *table_name, *query;
    struct arena arena, row;
    struct schema schema;
    struct table table; /* when a table is read */
    sqlite3_stmt *stmt; /* the read */
    struct read_column *read;
    struct types_slot *slots;
    struct value *values;
    size_t nread;
};

void
sqlite_source_close(void *handle)
{
    struct source *s = handle;
    sqlite3_finalize(s->stmt);
    link_close(&s->link);
    arena_done(&s->arena);
    arena_done(&s->row);
    free(s);
}

int
sqlite_source_open(const void *connection, const struct model *model, void **ret,
                   struct error *err)
{
    const struct sqlite_options *options = connection;
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(err);
    s->table_name = arena_strdup(&s->arena, model->table);
    s->query = arena_strdup(&s->arena, model->query);
    const char *uri;
    int rc;
    if ((model->table && !s->table_name) || (model->query && !s->query))
        rc = error_no_memory(err);
    else if (!s->table_name == !s->query)
        rc = error_set(err, ERR_CONFIG, EINVAL, "either a table or a query is needed");
    else
        rc = link_uri(&s->arena, options->path, "ro", &uri, err);
    s->link.opening = model->cancelled;
    if (!rc && link_open(&s->link, uri, SQLITE_OPEN_READONLY, options, err))
        rc = error_wrap(err, "\"%s\"", options->path);
    if (rc) {
        sqlite_source_close(s);
        return rc;
    }
    s->link.opening = NULL;
    *ret = s;
    return 0;
}

/* ---- columns ---- */

/* A wrong query is the definition's fault. */
static int
blame_definition(struct error *err)
{
    if (err->kind == ERR_REMOTE)
        err->kind = ERR_CONFIG;
    return -err->errnum;
}

static int
prepare_query(struct source *s, sqlite3_stmt **ret, struct error *err)
{
    const char *rest;
    int code = sqlite3_prepare_v2(s->link.db, s->query, -1, ret, &rest);
    if (code != SQLITE_OK) {
        link_fail(&s->link, code, err);
        return blame_definition(err);
    }
    if (!*ret)
        return error_set(err, ERR_CONFIG, EINVAL, "the query is empty");
    AUTO_STMT sqlite3_stmt *second = NULL;
    code = sqlite3_prepare_v2(s->link.db, rest, -1, &second, NULL);
    if (code != SQLITE_OK || second)
        return error_set(err, ERR_CONFIG, EINVAL, "the query is more than one statement");
    if (!sqlite3_stmt_readonly(*ret))
        return error_set(err, ERR_CONFIG, EINVAL, "the query writes; it may only read");
    if (sqlite3_column_count(*ret) == 0)
        return error_set(err, ERR_CONFIG, EINVAL, "the query gives no columns");
    if (sqlite3_bind_parameter_count(*ret))
        return error_set(err, ERR_CONFIG, EINVAL, "the query has parameters");
    return 0;
}

static int
describe_query(struct source *s, struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    int rc = prepare_query(s, &stmt, err);
    if (rc)
        return rc;
    size_t n = (size_t)sqlite3_column_count(stmt);
    s->schema.columns = arena_alloc(&s->arena, n * sizeof *s->schema.columns);
    if (!s->schema.columns)
        return error_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        const char *decl = sqlite3_column_decltype(stmt, (int)i);
        struct column *c = &s->schema.columns[i];
        c->name = arena_strdup(&s->arena, sqlite3_column_name(stmt, (int)i));
        c->native = arena_strdup(&s->arena, decl);
        c->type = types_declared(decl);
        if (!c->name || (decl && !c->native))
            return error_no_memory(err);
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->schema.columns[k].name, c->name) == 0)
                return error_set(err, ERR_CONFIG, EINVAL,
                                 "the query has two columns named \"%s\"; rename one with AS",
                                 c->name);
    }
    s->schema.n = n;
    return 0;
}

static int
describe_table(struct source *s, struct error *err)
{
    int rc = table_load(&s->link, "main", s->table_name, &s->arena, &s->table, err);
    if (rc)
        return rc;
    if (!s->table.exists)
        return error_set(err, ERR_CONFIG, ENOENT, "no such table: \"%s\"", s->table_name);
    s->schema.columns = arena_alloc(&s->arena, (s->table.n + 1) * sizeof *s->schema.columns);
    if (!s->schema.columns)
        return error_no_memory(err);
    for (size_t i = 0; i < s->table.n; i++)
        s->schema.columns[i] = s->table.columns[i].column;
    s->schema.n = s->table.n;
    return 0;
}

int
sqlite_source_describe(void *handle, struct schema *ret, struct error *err)
{
    struct source *s = handle;
    if (!s->schema.columns) {
        int rc = s->query ? describe_query(s, err) : describe_table(s, err);
        if (rc)
            return rc;
    }
    *ret = s->schema;
    return 0;
}

/* ---- the plan ---- */

/* One number, or `none` when the query has no row or a NULL. */
static int
ask_number(struct source *s, const char *sql, const char *parameter, int64_t none, int64_t *ret,
           struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    int rc = link_prepare(&s->link, sql, &stmt, err);
    if (rc)
        return rc;
    if (parameter)
        sqlite3_bind_text(stmt, 1, parameter, -1, SQLITE_STATIC);
    int code = sqlite3_step(stmt);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return link_fail(&s->link, code, err);
    bool some = code == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL;
    *ret = some ? sqlite3_column_int64(stmt, 0) : none;
    return 0;
}

/* About how many rows, by what ANALYZE left, or the span of rowids where that is plausible. */
static int
estimate(struct source *s, int64_t *ret, struct error *err)
{
    int64_t analyzed = 0, first = 0, last = -1, bytes = 0;
    const struct table *t = &s->table;
    *ret = -1;
    if (s->query || t->view)
        return 0;
    int rc = ask_number(s, "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'", NULL, 0,
                        &analyzed, err);
    if (!rc && analyzed)
        rc = ask_number(s,
                        "SELECT CAST(stat AS INTEGER) FROM sqlite_stat1 WHERE tbl = ?1 LIMIT 1",
                        t->name, -1, ret, err);
    if (rc || *ret >= 0 || !t->rowid)
        return rc;
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    for (int i = 0; i < 2; i++) {
        buf_addf(&sql, "SELECT %s(\"%s\") FROM ", i ? "max" : "min", t->rowid);
        table_add_name(&sql, t);
        if (sql.failed)
            return error_no_memory(err);
        rc = ask_number(s, buf_z(&sql), NULL, i ? -1 : 0, i ? &last : &first, err);
        buf_clear(&sql);
        if (rc)
            return rc;
    }
    rc = ask_number(s, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
                    NULL, 0, &bytes, err);
    int64_t span;
    if (!rc && !__builtin_sub_overflow(last, first, &span) && span < bytes / 4)
        *ret = span + 1; /* a row takes four bytes at least */
    return rc;
}

static int
add_columns(struct source *s, struct buf *sql, const struct projection *p, struct error *err)
{
    buf_adds(sql, "SELECT ");
    for (size_t i = 0; i < p->n; i++) {
        if (table_find(&s->table, p->columns[i]) == SIZE_MAX)
            return error_set(err, ERR_CONFIG, EINVAL, "no column \"%s\"", p->columns[i]);
        buf_adds(sql, i ? ", " : "");
        link_add_name(sql, p->columns[i]);
    }
    buf_adds(sql, p->n ? " FROM " : "1 FROM ");
    table_add_name(sql, &s->table);
    return 0;
}

/*
 * Is the table stored in the very order the engine compares keys in? Only then is order free;
 * an index on other columns costs 2.5 times a plain read. So: the rowid, or all of a WITHOUT
 * ROWID table's primary key, where STRICT vouches for what the columns hold.
 */
static int
stored_in_order(struct source *s, const struct projection *p, bool *ret, struct error *err)
{
    const struct table *t = &s->table;
    *ret = false;
    if (s->query || t->view || p->norder == 0)
        return 0;
    size_t first = table_find(t, p->columns[p->order[0]]);
    if (p->norder == 1 && first != SIZE_MAX && first == t->rowid_alias) {
        *ret = p->order_class[0] == KEY_INT;
        return 0;
    }
    if (!t->without_rowid || !t->strict)
        return 0;
    for (size_t i = 0; i < p->norder; i++) {
        size_t at = table_find(t, p->columns[p->order[i]]);
        if (at == SIZE_MAX || t->columns[at].pk != (int)i + 1)
            return 0;
        enum affinity a = t->columns[at].affinity;
        if (p->order_class[i] == KEY_INT ? a != AFFINITY_INTEGER : a != AFFINITY_TEXT)
            return 0;
    }
    int64_t utf8 = 0;
    int rc =
        ask_number(s, "SELECT encoding = 'UTF-8' FROM pragma_encoding", NULL, 0, &utf8, err);
    *ret = utf8; /* BINARY compares the bytes of the database's encoding */
    return rc;
}

static void
add_order(struct buf *sql, const struct projection *p)
{
    buf_adds(sql, " ORDER BY ");
    for (size_t i = 0; i < p->norder; i++) {
        buf_adds(sql, i ? ", " : "");
        link_add_name(sql, p->columns[p->order[i]]);
        if (p->order_class[i] == KEY_TEXT)
            buf_adds(sql, " COLLATE BINARY");
    }
}

/* SQLite has the last word on whether it would sort. */
static int
sorts(struct source *s, const struct buf *select, bool *ret, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    buf_addf(&sql, "EXPLAIN QUERY PLAN %s", buf_z(select));
    int rc = link_prepare_buf(&s->link, &sql, &stmt, err);
    if (rc)
        return rc;
    int code;
    *ret = false;
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(stmt, 3);
        *ret |= !detail || strstr(detail, "TEMP B-TREE");
    }
    return code == SQLITE_DONE ? 0 : link_fail(&s->link, code, err);
}

static int
plan_table(struct source *s, const struct projection *p, bool want_order, bool *ordered,
           struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    int rc = add_columns(s, &sql, p, err);
    *ordered = false;
    if (!rc && want_order)
        rc = stored_in_order(s, p, ordered, err);
    if (rc)
        return rc;
    if (*ordered) {
        size_t plain = sql.n;
        bool sorting = true;
        add_order(&sql, p);
        rc = sql.failed ? error_no_memory(err) : sorts(s, &sql, &sorting, err);
        if (rc)
            return rc;
        if (sorting) {
            *ordered = false;
            sql.p[sql.n = plain] = '\0';
        }
    }
    for (size_t i = 0; i < p->n; i++)
        s->read[i] = (struct read_column){
            .at = (int)i,
            .declared = s->table.columns[table_find(&s->table, p->columns[i])].column.type,
        };
    return link_prepare_buf(&s->link, &sql, &s->stmt, err);
}

/* Between describing and this the tables may have changed: then the columns must still be
 * there, under their names. */
static int
plan_query(struct source *s, const struct projection *p, struct error *err)
{
    int rc = prepare_query(s, &s->stmt, err);
    for (size_t i = 0; !rc && i < p->n; i++) {
        int at = sqlite3_column_count(s->stmt);
        while (--at >= 0 && strcmp(sqlite3_column_name(s->stmt, at), p->columns[i]) != 0)
            ;
        if (at < 0)
            return error_set(err, ERR_CONFIG, EINVAL, "no column \"%s\"", p->columns[i]);
        s->read[i] = (struct read_column){
            .at = at,
            .declared = types_declared(sqlite3_column_decltype(s->stmt, at)),
        };
    }
    return rc;
}

int
sqlite_source_plan(void *handle, const struct projection *projection, bool want_order,
                   struct source_plan *ret, struct error *err)
{
    struct source *s = handle;
    struct schema ignored;
    *ret = (struct source_plan){.rows = -1};
    int rc = sqlite_source_describe(s, &ignored, err);
    if (rc)
        return rc;
    s->nread = projection->n;
    s->read = arena_alloc(&s->arena, (s->nread + 1) * sizeof *s->read);
    s->slots = arena_alloc(&s->arena, (s->nread + 1) * sizeof *s->slots);
    s->values = arena_alloc(&s->arena, (s->nread + 1) * sizeof *s->values);
    if (!s->read || !s->slots || !s->values)
        return error_no_memory(err);
    rc = link_exec(&s->link, "BEGIN", err);
    if (!rc)
        rc = s->query ? plan_query(s, projection, err)
                      : plan_table(s, projection, want_order, &ret->ordered, err);
    return rc ? rc : estimate(s, &ret->rows, err);
}

/* ---- rows ---- */

static int
read_row(struct source *s, uint64_t number, struct error *err)
{
    if (s->row.head)
        arena_clear(&s->row);
    for (size_t i = 0; i < s->nread; i++) {
        const struct read_column *c = &s->read[i];
        int rc = types_read(s->stmt, c->at, c->declared, &s->slots[i], &s->row, &s->values[i]);
        if (rc == -ENOMEM)
            return error_no_memory(err);
        if (rc)
            return error_set(err, ERR_DATA, EINVAL,
                             "row %llu, column \"%s\": a text that is not valid UTF-8",
                             (unsigned long long)number, sqlite3_column_name(s->stmt, c->at));
    }
    return 0;
}

/* A statement is compiled anew when the schema changed before its first step. */
static int
check_shape(struct source *s, int columns, struct error *err)
{
    if (sqlite3_column_count(s->stmt) != columns)
        return error_set(err, ERR_CONFIG, EINVAL, "the columns changed while they were read");
    return 0;
}

static int
read_rows(struct source *s, source_row_fn row, void *arg, struct error *err)
{
    int columns = sqlite3_column_count(s->stmt), code;
    for (uint64_t number = 1; (code = sqlite3_step(s->stmt)) == SQLITE_ROW; number++) {
        if (atomic_load_explicit(&s->link.cancelled, memory_order_relaxed))
            return link_fail(&s->link, SQLITE_INTERRUPT, err);
        int rc = number == 1 ? check_shape(s, columns, err) : 0;
        if (!rc)
            rc = read_row(s, number, err);
        if (!rc)
            rc = row(arg, s->values, err);
        if (rc)
            return rc;
    }
    return code == SQLITE_DONE ? 0 : link_fail(&s->link, code, err);
}

int
sqlite_source_read(void *handle, source_row_fn row, void *arg, struct error *err)
{
    struct source *s = handle;
    int rc = read_rows(s, row, arg, err);
    /* Gives the lock back: the destination may be this very file. */
    sqlite3_reset(s->stmt);
    sqlite3_exec(s->link.db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

void
sqlite_source_cancel(void *handle)
{
    link_cancel(&((struct source *)handle)->link);
}
