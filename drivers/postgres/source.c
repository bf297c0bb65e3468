/*
 * Reading a table or a query: describe, plan and one COPY, all in one read-only snapshot.
 *
 * Order is never bought: the rows come sorted only where the server's own plan shows that an
 * index gives the order; else the engine sorts, which costs less than a sort in the server.
 */
#include "postgres/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "postgres/columns.h"
#include "postgres/connect.h"
#include "postgres/fail.h"
#include "postgres/name.h"
#include "postgres/ranges.h"
#include "postgres/types.h"

struct source {
    struct pg_link link;
    const struct pg_options *options;
    struct arena arena; /* as long as the handle */
    const char *sync;
    struct buf from;     /* what stands after FROM */
    size_t table_length; /* of the table's name at its beginning */
    bool is_query;       /* and not a table */
    struct pg_columns columns;
    struct buf select;      /* the statement that will be read */
    size_t plain_length;    /* of it without its order */
    enum value_type *types; /* of the projection */
    enum pg_form *forms;
    struct value *values;
    size_t n;
    struct buf texts;                 /* of the values of one row */
    struct pg_ranges *_Atomic ranges; /* NULL: one connection reads all */
    bool check_utf8;                  /* a SQL_ASCII database stores and sends any bytes */
};

/* ---- open ---- */

static int
set_from(struct source *s, const struct model *model, struct error *err)
{
    s->is_query = model->query != NULL;
    if (s->is_query) {
        /* Lines of its own, so that a comment at the end does not swallow the parenthesis. */
        buf_adds(&s->from, "(\n");
        buf_add(&s->from, model->query, pg_query_length(model->query));
        buf_adds(&s->from, "\n) AS model");
    } else {
        struct pg_name name;
        int rc = pg_name_parse(model->table, &name, err);
        if (rc)
            return rc;
        pg_name_add(&s->link, &s->from, &name);
        s->table_length = s->from.n;
        buf_adds(&s->from, " AS model");
        pg_name_done(&name);
    }
    return s->from.failed ? error_no_memory(err) : 0;
}

int
pg_source_open(const void *connection, const struct model *model, void **ret, struct error *err)
{
    if (!model->table == !model->query)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "the source needs either \"table\" or \"query\"");
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(err);
    s->options = connection;
    s->sync = arena_strdup(&s->arena, model->sync);
    int rc = pg_connect(&s->link, connection, model->sync, model->cancelled, err);
    if (!rc && !s->sync)
        rc = error_no_memory(err);
    if (!rc)
        rc = set_from(s, model, err);
    if (!rc)
        rc = pg_run(&s->link, err, "%s", pg_begin_reading);
    if (rc) {
        pg_source_close(s);
        return rc;
    }
    pg_opened(&s->link);
    const char *encoding = PQparameterStatus(s->link.conn, "server_encoding");
    /* Not known where a pooler keeps it to itself, or libpq had no memory for it. */
    s->check_utf8 = !encoding || strcmp(encoding, "SQL_ASCII") == 0;
    *ret = s;
    return 0;
}

void
pg_source_close(void *handle)
{
    struct source *s = handle;
    if (!s)
        return;
    pg_ranges_close(s->ranges);
    pg_disconnect(&s->link);
    buf_done(&s->from);
    buf_done(&s->select);
    buf_done(&s->texts);
    arena_done(&s->arena);
    free(s);
}

void
pg_source_cancel(void *handle)
{
    struct source *s = handle;
    pg_cancel(&s->link);
    struct pg_ranges *ranges = atomic_load(&s->ranges);
    if (ranges)
        pg_ranges_cancel(ranges);
}

/* ---- describe ---- */

/* A query is wrapped in parentheses, so that the server's words about what may stand there
 * need an explanation. */
static int
explain_query_error(const struct source *s, struct error *err)
{
    const char *state = s->link.sqlstate;
    if (s->is_query && (strcmp(state, "42601") == 0 || strcmp(state, "0A000") == 0))
        return error_wrap(err, "the query must be one SELECT, VALUES, TABLE or WITH that only "
                               "reads");
    return s->is_query ? error_wrap(err, "query") : error_wrap(err, "table");
}

static int
refuse_twins(const struct pg_columns *columns, struct error *err)
{
    for (size_t i = 0; i < columns->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(columns->schema[i].name, columns->schema[k].name) == 0)
                return error_set(err, ERR_CONFIG, EINVAL,
                                 "the query returns two columns named \"%s\"; rename one with "
                                 "AS",
                                 columns->schema[i].name);
    return 0;
}

int
pg_source_describe(void *handle, struct schema *ret, struct error *err)
{
    struct source *s = handle;
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_addf(&sql, "SELECT * FROM %s", buf_z(&s->from));
    if (sql.failed)
        return error_no_memory(err);
    int rc = pg_columns_of(&s->link, buf_z(&sql), &s->arena, &s->columns, err);
    if (rc)
        return err->kind == ERR_CONFIG ? explain_query_error(s, err) : rc;
    rc = refuse_twins(&s->columns, err);
    *ret = (struct schema){s->columns.schema, s->columns.n};
    return rc;
}

/* ---- plan ---- */

static const struct pg_column *
find(const struct source *s, const char *name)
{
    for (size_t i = 0; i < s->columns.n; i++)
        if (strcmp(s->columns.schema[i].name, name) == 0)
            return &s->columns.pg[i];
    return NULL;
}

/* "C" costs nothing where the column has it already, and an index in another collation cannot
 * give the order of bytes. Where the column's order is that of bytes under another name
 * ("default" of a database in the C locale), the index is found by that name only. */
static int
add_collation(struct source *s, const char *column, struct buf *sql, struct error *err)
{
    AUTO_BUF struct buf ask = BUF_INIT(BUF_NO_MAX), answer = BUF_INIT(BUF_NO_MAX);
    buf_adds(&ask, "SELECT pg_catalog.pg_collation_for((SELECT ");
    pg_add_name(&s->link, &ask, column);
    buf_addf(&ask,
             " FROM %s LIMIT 0)) = '\"default\"' AND datcollate IN ('C', 'POSIX')"
             " FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
             buf_z(&s->from));
    if (ask.failed)
        return error_no_memory(err);
    int rc = pg_ask(&s->link, buf_z(&ask), 0, NULL, &answer, err);
    if (!rc && strcmp(buf_z(&answer), "t") != 0)
        buf_adds(sql, " COLLATE \"C\"");
    return rc;
}

/* Appends ORDER BY; *possible tells whether the types allow the engine's order at all. */
static int
add_order(struct source *s, const struct projection *p, struct buf *sql, bool *possible,
          struct error *err)
{
    *possible = p->norder > 0;
    for (size_t i = 0; i < p->norder; i++) {
        const char *name = p->columns[p->order[i]];
        const struct pg_column *column = find(s, name);
        if (!column || !pg_type_orders(column->type, p->order_class[i])) {
            *possible = false;
            return 0;
        }
        buf_adds(sql, i ? ", " : " ORDER BY ");
        pg_add_name(&s->link, sql, name);
        int rc = pg_type_collates(column->type) ? add_collation(s, name, sql, err) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static int
explain(struct source *s, const char *select, struct buf *plan, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_addf(&sql, "EXPLAIN (FORMAT JSON) %s", select);
    if (sql.failed)
        return error_no_memory(err);
    return pg_ask(&s->link, buf_z(&sql), 0, NULL, plan, err);
}

/* Texts inside the JSON have their quotes escaped, so these patterns only match real keys. */
static bool
plan_sorts(const char *plan)
{
    return strstr(plan, "\"Node Type\": \"Sort\"") ||
           strstr(plan, "\"Node Type\": \"Incremental Sort\"");
}

static int64_t
plan_rows(const char *plan)
{
    static const char key[] = "\"Plan Rows\": ";
    const char *p = strstr(plan, key);
    int64_t n = 0;
    if (!p)
        return -1;
    for (p += sizeof key - 1; *p >= '0' && *p <= '9' && n < INT64_MAX / 10 - 1; p++)
        n = n * 10 + (*p - '0');
    return n;
}

/* A type that has no form here comes as the text of its output function. (A cast to text may be
 * another one: inet's adds the netmask, char(n)'s takes away blanks.) The name stays, so that
 * none is made up that could be a column's. */
static void
add_value(struct source *s, const struct pg_column *column, const char *name)
{
    bool plain = column->form != PG_FORM_OUTPUT;
    if (!plain)
        buf_addf(&s->select, "pg_catalog.textin(%s(", column->output);
    pg_add_name(&s->link, &s->select, name);
    if (!plain) {
        buf_adds(&s->select, ")) AS ");
        pg_add_name(&s->link, &s->select, name);
    }
}

static int
set_projection(struct source *s, const struct projection *p, struct error *err)
{
    s->n = p->n;
    s->types = arena_alloc(&s->arena, (p->n + 1) * sizeof *s->types);
    s->forms = arena_alloc(&s->arena, (p->n + 1) * sizeof *s->forms);
    s->values = arena_alloc(&s->arena, (p->n + 1) * sizeof *s->values);
    if (!s->types || !s->forms || !s->values)
        return error_no_memory(err);
    buf_adds(&s->select, "SELECT ");
    for (size_t i = 0; i < p->n; i++) {
        const struct pg_column *column = find(s, p->columns[i]);
        if (!column)
            return error_set(err, ERR_CONFIG, EINVAL, "the model has no column \"%s\"",
                             p->columns[i]);
        s->types[i] = pg_value_type(column->type);
        s->forms[i] = column->form;
        buf_adds(&s->select, i ? ", " : "");
        add_value(s, column, p->columns[i]);
    }
    buf_addf(&s->select, " FROM %s", buf_z(&s->from));
    return s->select.failed ? error_no_memory(err) : 0;
}

/* Ranges need the order of one integer, and a table: of a query each range might run it whole.
 */
static int
plan_ranges(struct source *s, const struct projection *p, int64_t rows, struct error *err)
{
    const struct pg_column *column = find(s, p->columns[p->order[0]]);
    enum value_type type = column ? pg_value_type(column->type) : V_TEXT;
    if (s->is_query || p->norder != 1 || type != V_INT)
        return 0;
    AUTO_FREE char *table = strndup(buf_z(&s->from), s->table_length);
    struct pg_ranges *ranges = NULL;
    int rc = table ? pg_ranges_open(&s->link, s->options, s->sync, table,
                                    p->columns[p->order[0]], rows, &ranges, err)
                   : error_no_memory(err);
    atomic_store(&s->ranges, ranges);
    return rc;
}

int
pg_source_plan(void *handle, const struct projection *projection, bool want_order,
               struct source_plan *ret, struct error *err)
{
    struct source *s = handle;
    AUTO_BUF struct buf order = BUF_INIT(BUF_NO_MAX), plan = BUF_INIT(BUF_NO_MAX);
    *ret = (struct source_plan){.rows = -1};
    int rc = set_projection(s, projection, err);
    if (!rc && want_order)
        rc = add_order(s, projection, &order, &ret->ordered, err);
    if (rc)
        return rc;
    size_t plain = s->select.n;
    if (ret->ordered) {
        buf_add(&s->select, order.p, order.n);
        if (s->select.failed || order.failed)
            return error_no_memory(err);
        rc = explain(s, buf_z(&s->select), &plan, err);
        if (rc)
            return rc;
        ret->ordered = !plan_sorts(buf_z(&plan));
    } else {
        rc = explain(s, buf_z(&s->select), &plan, err);
        if (rc)
            return rc;
    }
    if (!ret->ordered && s->select.n > plain) {
        s->select.n = plain;
        s->select.p[plain] = '\0';
    }
    ret->rows = plan_rows(buf_z(&plan));
    s->plain_length = plain;
    return ret->ordered ? plan_ranges(s, projection, ret->rows, err) : 0;
}

/* ---- read ---- */

struct reading {
    struct source *source;
    source_row_fn row;
    void *arg;
    uint64_t rows;
};

static bool
all_utf8(const struct source *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct value *v = &s->values[i];
        if ((v->type == V_TEXT || v->type == V_JSON) && utf8_check(v->p, v->n) < v->n)
            return false;
    }
    return true;
}

static int
take_tuple(void *arg, char *tuple, size_t n, struct error *err)
{
    struct reading *r = arg;
    struct source *s = r->source;
    r->rows++;
    if (!pg_decode_tuple(tuple, n, s->forms, s->types, s->values, s->n, &s->texts))
        return s->texts.failed ? error_no_memory(err)
                               : error_set(err, ERR_REMOTE, EPROTO,
                                           "row %llu of the copy is not what was asked for",
                                           (unsigned long long)r->rows);
    if (s->check_utf8 && !all_utf8(s))
        return error_set(err, ERR_DATA, EILSEQ,
                         "row %llu holds bytes that are no UTF-8 (the database's encoding is "
                         "SQL_ASCII)",
                         (unsigned long long)r->rows);
    return r->row(r->arg, s->values, err);
}

int
pg_source_read(void *handle, source_row_fn row, void *arg, struct error *err)
{
    struct source *s = handle;
    struct reading reading = {.source = s, .row = row, .arg = arg};
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    if (s->ranges) {
        s->select.p[s->plain_length] = '\0';
        return pg_ranges_read(s->ranges, s->select.p, take_tuple, &reading, err);
    }
    buf_addf(&sql, "COPY (%s) TO STDOUT (FORMAT binary)", buf_z(&s->select));
    if (sql.failed)
        return error_no_memory(err);
    int rc = pg_copy_out_binary(&s->link, buf_z(&sql), take_tuple, &reading, err);
    if (rc && err->kind == ERR_DATA && pg_blames_data(&s->link))
        return error_wrap(err, "after row %llu", (unsigned long long)reading.rows);
    return rc ? rc : pg_run(&s->link, err, "COMMIT");
}
