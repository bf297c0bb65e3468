/*
 * Rows on their way into a table of the server, by COPY: see dest.h for the three ways.
 *
 * Columns of the temporary tables are named f0, f1, … after the fields, so that no name of the
 * target's can clash with seq and op. A dry session needs keys only.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "postgres/dest.h"
#include "postgres/types.h"

enum { SEND_AT = 256 * 1024 };

static bool
is_staged(const struct pg_dest *d, size_t field)
{
    return !d->session.dry || d->is_key[field];
}

static int
send_statement(struct pg_dest *d, const struct buf *sql, struct error *err)
{
    return sql->failed ? error_no_memory(err) : pg_run(&d->link, err, "%s", buf_z(sql));
}

/* A copy of the target's columns keeps their types, modifiers and collations. Domains become
 * their base types: one that is NOT NULL would refuse rows that hold only a key. */
static int
create_typed(struct pg_dest *d, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_adds(&sql, "CREATE TEMP TABLE retlfs_stage ON COMMIT DROP AS"
                   " SELECT 0::pg_catalog.int8 AS seq, ''::pg_catalog.\"char\" AS op");
    for (size_t i = 0; i < d->target.nfields; i++) {
        if (!is_staged(d, i))
            continue;
        const struct pg_table_column *more = &d->table.more[d->columns[i]];
        buf_adds(&sql, ", ");
        pg_add_name(&d->link, &sql, d->target.fields[i].name);
        if (more->domain)
            buf_addf(&sql, "::%s", more->bare);
        buf_addf(&sql, " AS f%zu", i);
    }
    buf_addf(&sql, " FROM %s WITH NO DATA", d->table.relation);
    return send_statement(d, &sql, err);
}

static int
create_texts(struct pg_dest *d, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_adds(&sql, "CREATE TEMP TABLE retlfs_texts (seq pg_catalog.int8,"
                   " op pg_catalog.\"char\"");
    for (size_t i = 0; i < d->target.nfields; i++)
        if (is_staged(d, i))
            buf_addf(&sql, ", f%zu pg_catalog.text", i);
    buf_adds(&sql, ") ON COMMIT DROP");
    return send_statement(d, &sql, err);
}

int
pg_stage_begin(struct pg_dest *d, struct error *err)
{
    if (d->way == WAY_DIRECT)
        return 0;
    int rc = create_typed(d, err);
    if (!rc && d->way == WAY_CAREFUL)
        rc = create_texts(d, err);
    d->staging = !rc;
    return rc;
}

static int
begin_copy(struct pg_dest *d, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    if (d->way == WAY_DIRECT) {
        buf_addf(&sql, "COPY %s (", d->table.relation);
        for (size_t i = 0; i < d->target.nfields; i++) {
            buf_adds(&sql, i ? ", " : "");
            pg_add_name(&d->link, &sql, d->target.fields[i].name);
        }
        pg_list_column(&d->link, &d->list, &sql);
        buf_adds(&sql, ") FROM STDIN");
    } else {
        buf_addf(&sql, "COPY pg_temp.%s FROM STDIN",
                 d->way == WAY_CAREFUL ? "retlfs_texts" : "retlfs_stage");
    }
    int rc = sql.failed ? error_no_memory(err) : pg_copy_begin(&d->link, buf_z(&sql), err);
    d->copying = !rc;
    return rc;
}

/* ---- rows ---- */

static const char op_letters[] = {
    [OP_INSERT] = 'i', [OP_UPSERT] = 'u',  [OP_UPDATE] = 'm',
    [OP_DELETE] = 'd', [OP_PRESENT] = 'p',
};

/* The server would fail the whole COPY for a text it cannot hold. */
static bool
is_text(const struct value *v)
{
    return (v->type != V_TEXT && v->type != V_JSON) || utf8_check(v->p, v->n) == v->n;
}

static void
reject(struct pg_dest *d, const char *field, const struct value *v, struct outcome *out)
{
    bool nul = v->p[utf8_check(v->p, v->n)] == '\0';
    *out = (struct outcome){
        .kind = ROW_REJECTED,
        .code = "22021",
        .why = arena_printf(&d->words, "field \"%s\" holds %s", field,
                            nul ? "a zero byte" : "bytes that are no UTF-8"),
    };
    if (!out->why)
        out->why = "a text holds a zero byte or is no UTF-8";
}

static const struct value *
value_of(const struct pg_dest *d, const struct change *c, size_t field)
{
    static const struct value null = {.type = V_NULL};
    if (c->after)
        return &c->after[field];
    return d->is_key[field] ? &c->key[d->key_at[field]] : &null;
}

static void
add_row(struct pg_dest *d, const struct change *c, struct outcome *out)
{
    size_t start = d->out.n;
    bool first = d->way == WAY_DIRECT;
    if (!first) {
        buf_add_int(&d->out, (int64_t)c->seq);
        buf_addc(&d->out, '\t');
        buf_addc(&d->out, op_letters[c->op]);
    }
    for (size_t i = 0; i < d->target.nfields; i++) {
        if (!is_staged(d, i))
            continue;
        const struct value *v = value_of(d, c, i);
        if (!is_text(v)) {
            d->out.n = start;
            reject(d, d->target.fields[i].name, v, out);
            return;
        }
        if (!first)
            buf_addc(&d->out, '\t');
        first = false;
        pg_encode_value(&d->out, v);
    }
    if (d->way == WAY_DIRECT && d->list.column) {
        struct value list = {d->list.name, (uint32_t)strlen(d->list.name), V_TEXT};
        buf_addc(&d->out, '\t');
        pg_encode_value(&d->out, &list);
    }
    buf_addc(&d->out, '\n');
    *out = (struct outcome){.kind = ROW_STAGED};
}

static int
send(struct pg_dest *d, struct error *err)
{
    if (d->out.failed)
        return error_no_memory(err);
    int rc = pg_copy_put(&d->link, buf_str(&d->out), err);
    buf_clear(&d->out);
    return rc;
}

int
pg_stage_write(struct pg_dest *d, const struct batch *batch, struct outcome *out,
               struct error *err)
{
    bool direct = d->way == WAY_DIRECT;
    int rc = d->copying ? 0 : begin_copy(d, err);
    for (size_t i = 0; !rc && i < batch->n; i++) {
        const struct change *c = &batch->changes[i];
        if (c->seq >= d->end)
            d->end = c->seq + 1;
        /* The table was empty: there is nothing else to remove or to keep. */
        if (direct && !c->after) {
            out[i] = (struct outcome){.kind = ROW_STAGED};
            continue;
        }
        add_row(d, c, &out[i]);
        d->count[c->op] += out[i].kind == ROW_STAGED;
        if (d->out.n >= SEND_AT)
            rc = send(d, err);
    }
    return rc;
}

int
pg_stage_finish(struct pg_dest *d, struct error *err)
{
    if (!d->copying)
        return 0;
    int rc = send(d, err);
    if (!rc)
        rc = pg_copy_end(&d->link, false, err);
    d->copying = false;
    return rc && pg_blames_data(&d->link) ? pg_dest_replay(d, err) : rc;
}
