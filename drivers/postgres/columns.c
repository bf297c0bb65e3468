/* Columns of a statement: see columns.h. */
#include "postgres/columns.h"

#include <string.h>

#include "base/cleanup.h"
#include "postgres/types.h"

/* "{1,2,3}" of the types or of their modifiers. */
static void
add_array(struct buf *out, const PGresult *res, bool modifiers)
{
    buf_addc(out, '{');
    for (int i = 0; i < PQnfields(res); i++) {
        if (modifiers)
            buf_addf(out, "%s%d", i ? "," : "", PQfmod(res, i));
        else
            buf_addf(out, "%s%u", i ? "," : "", PQftype(res, i));
    }
    buf_addc(out, '}');
}

static int
name_types(struct pg_link *link, const PGresult *res, PGresult **ret, struct error *err)
{
    AUTO_BUF struct buf types = BUF_INIT(BUF_NO_MAX), modifiers = BUF_INIT(BUF_NO_MAX);
    add_array(&types, res, false);
    add_array(&modifiers, res, true);
    if (types.failed || modifiers.failed)
        return error_no_memory(err);
    const char *params[] = {buf_z(&types), buf_z(&modifiers)};
    static const char sql[] =
        "SELECT pg_catalog.format_type(u.t, u.m), pg_catalog.format_type(u.t, -1),"
        " s.prosrc, CASE WHEN o.prolang = s.prolang THEN o.prosrc END,"
        " pg_catalog.format('%I.%I', n.nspname, o.proname)"
        " FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),"
        " pg_catalog.unnest($2::pg_catalog.int4[])) WITH ORDINALITY AS u(t, m, i)"
        " LEFT JOIN pg_catalog.pg_type AS t ON t.oid = u.t"
        " LEFT JOIN pg_catalog.pg_proc AS s ON s.oid = t.typsend AND s.prolang ="
        " (SELECT oid FROM pg_catalog.pg_language WHERE lanname = 'internal')"
        " LEFT JOIN pg_catalog.pg_proc AS o ON o.oid = t.typoutput"
        " LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = o.pronamespace ORDER BY u.i";
    return pg_exec(link, sql, 2, params, ret, err);
}

/* Bytes are shown as text (\x…) by every type but bytea itself. */
static enum pg_form
form_of(const PGresult *names, int i, enum value_type type)
{
    enum pg_form form = pg_form_of(PQgetvalue(names, i, 2), PQgetvalue(names, i, 3));
    return form == PG_FORM_BYTES && type != V_BYTES ? PG_FORM_OUTPUT : form;
}

int
pg_columns_of(struct pg_link *link, const char *sql, struct arena *arena,
              struct pg_columns *ret, struct error *err)
{
    AUTO_RESULT PGresult *res = NULL, *names = NULL;
    int rc = pg_describe(link, sql, &res, err);
    if (!rc)
        rc = name_types(link, res, &names, err);
    if (rc)
        return rc;
    size_t n = (size_t)PQnfields(res);
    ret->n = n;
    ret->schema = arena_alloc(arena, (n + 1) * sizeof *ret->schema);
    ret->pg = arena_alloc(arena, (n + 1) * sizeof *ret->pg);
    if (!ret->schema || !ret->pg)
        return error_no_memory(err);
    for (int i = 0; i < (int)n; i++) {
        struct column *c = &ret->schema[i];
        *c = (struct column){.name = arena_strdup(arena, PQfname(res, i)),
                             .native = arena_strdup(arena, PQgetvalue(names, i, 0)),
                             .type = pg_value_type(PQftype(res, i))};
        ret->pg[i] = (struct pg_column){.type = PQftype(res, i),
                                        .bare = arena_strdup(arena, PQgetvalue(names, i, 1)),
                                        .form = form_of(names, i, c->type),
                                        .output = arena_strdup(arena, PQgetvalue(names, i, 4))};
        if (!c->name || !c->native || !ret->pg[i].bare || !ret->pg[i].output)
            return error_no_memory(err);
    }
    return 0;
}
