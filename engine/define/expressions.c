/*
 * Expressions over rows. Each is a prepared statement that reads only the columns it uses, as
 * parameters, so that a row costs a bind, a step and no copy.
 */
#include "define/define.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "define/sandbox.h"

struct compiled {
    const char *field;
    sqlite3_stmt *stmt;
    size_t *columns; /* model columns, in the order of the parameters */
    size_t ncolumns;
    char number[40]; /* the last result, when it was one */
};

struct expressions {
    struct arena arena;
    struct sandbox *sandbox;
    struct compiled *items;
    size_t n;
};

int
expression_check(const char *expression, struct error *err)
{
    struct sandbox *s = NULL;
    int rc = sandbox_open(&s, err);
    if (rc)
        return rc;
    rc = sandbox_check(s, expression, err);
    sandbox_close(s);
    return rc;
}

/* ---- compiling ---- */

static void
list_columns(const struct schema *schema, struct buf *out)
{
    for (size_t i = 0; i < schema->n && !out->failed; i++)
        buf_addf(out, "%s%s", i ? ", " : "", schema->columns[i].name);
}

/* SQL does not tell "Email" from "email"; a model may. */
static int
find_column(const struct schema *schema, const char *name, size_t *ret, struct error *err)
{
    size_t found = 0;
    for (size_t i = 0; i < schema->n; i++)
        if (sqlite3_stricmp(schema->columns[i].name, name) == 0 && found++ == 0)
            *ret = i;
    if (found == 1)
        return 0;
    if (found > 1)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "column \"%s\" is ambiguous: the model has columns that differ only "
                         "by case",
                         name);
    AUTO_BUF struct buf columns = BUF_INIT(ERROR_TEXT_MAX);
    list_columns(schema, &columns);
    return error_set(err, ERR_CONFIG, EINVAL, "the model has no column \"%s\"; it has: %s",
                     name, buf_z(&columns));
}

static int
compile(struct expressions *x, const struct schema *schema, const struct mapping *m, bool *used,
        struct error *err)
{
    struct compiled *item = &x->items[x->n];
    struct sandbox_names names;
    int rc = sandbox_compile(x->sandbox, m->expression, &names, &item->stmt, err);
    if (rc)
        return error_wrap(err, "expression of field \"%s\"", m->field);
    x->n++; /* its statement is to be finalised from now on */
    item->field = arena_strdup(&x->arena, m->field);
    item->columns = arena_alloc(&x->arena, (names.n + 1) * sizeof *item->columns);
    if (!item->field || !item->columns)
        rc = error_no_memory(err);
    for (size_t i = 0; i < names.n && rc == 0; i++) {
        rc = find_column(schema, names.p[i], &item->columns[i], err);
        if (rc == 0)
            used[item->columns[item->ncolumns++]] = true;
        else
            error_wrap(err, "expression of field \"%s\"", m->field);
    }
    sandbox_names_done(&names);
    return rc;
}

int
expressions_compile(const struct schema *schema, const struct mapping *mappings,
                    size_t nmappings, bool *used, struct expressions **ret, struct error *err)
{
    *ret = NULL;
    struct expressions *x = calloc(1, sizeof *x);
    if (!x)
        return error_no_memory(err);
    size_t n = 0;
    for (size_t i = 0; i < nmappings; i++)
        n += mappings[i].expression != NULL;
    x->items = arena_alloc(&x->arena, (n + 1) * sizeof *x->items);
    int rc = x->items ? 0 : error_no_memory(err);
    if (rc == 0 && n > 0)
        rc = sandbox_open(&x->sandbox, err);
    for (size_t i = 0; i < nmappings && rc == 0; i++)
        if (mappings[i].expression)
            rc = compile(x, schema, &mappings[i], used, err);
    if (rc)
        x = expressions_free(x);
    *ret = x;
    return rc;
}

struct expressions *
expressions_free(struct expressions *x)
{
    if (!x)
        return NULL;
    for (size_t i = 0; x->items && i < x->n; i++)
        sqlite3_finalize(x->items[i].stmt);
    sandbox_close(x->sandbox);
    arena_done(&x->arena);
    free(x);
    return NULL;
}

/* ---- a row ---- */

/* The text as an integer, if it is one and fits. */
static bool
as_integer(struct str text, int64_t *ret)
{
    bool negative = text.n > 0 && text.p[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + negative, v = 0;
    if (text.n == negative || text.n > 20)
        return false;
    for (size_t i = negative; i < text.n; i++) {
        uint64_t digit = (uint64_t)(text.p[i] - '0');
        if (text.p[i] < '0' || text.p[i] > '9' || v > (limit - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret = (int64_t)(negative ? 0 - v : v);
    return true;
}

static int
bind_number(sqlite3_stmt *stmt, int i, struct str text)
{
    int64_t integer;
    if (as_integer(text, &integer))
        return sqlite3_bind_int64(stmt, i, integer);
    char small[64];
    AUTO_FREE char *large = text.n < sizeof small ? NULL : strndup(text.p, text.n);
    const char *z = large;
    if (text.n < sizeof small) {
        memcpy(small, text.p, text.n);
        small[text.n] = '\0';
        z = small;
    }
    if (!z)
        return SQLITE_NOMEM;
    char *end;
    double number = strtod(z, &end);
    if (*end || end == z || isnan(number)) /* "NaN": SQLite would make it NULL */
        return sqlite3_bind_text(stmt, i, text.p, (int)text.n, SQLITE_STATIC);
    return sqlite3_bind_double(stmt, i, number);
}

static int
bind(sqlite3_stmt *stmt, int i, const struct value *v)
{
    const char *p = v->p ? v->p : "";
    switch (v->type) {
    case V_NULL:
    case V_ABSENT:
        return sqlite3_bind_null(stmt, i);
    case V_BOOL:
        return sqlite3_bind_int(stmt, i, v->n > 0 && p[0] == 't');
    case V_INT:
    case V_DECIMAL:
    case V_FLOAT:
        return bind_number(stmt, i, (struct str){p, v->n});
    case V_BYTES:
        return sqlite3_bind_blob64(stmt, i, p, v->n, SQLITE_STATIC);
    default:
        return sqlite3_bind_text64(stmt, i, p, v->n, SQLITE_STATIC, SQLITE_UTF8);
    }
}

static void
float_result(struct compiled *item, double number, struct value *out)
{
    int n = 0;
    if (isinf(number))
        n = snprintf(item->number, sizeof item->number, "%sInfinity", number < 0 ? "-" : "");
    else
        for (int digits = 15; digits <= 17; digits++) {
            n = snprintf(item->number, sizeof item->number, "%.*g", digits, number);
            if (strtod(item->number, NULL) == number)
                break;
        }
    *out = (struct value){.p = item->number, .n = (uint32_t)n, .type = V_FLOAT};
}

static int
text_result(const struct compiled *item, struct value *out, struct error *err)
{
    const char *blob = sqlite3_column_blob(item->stmt, 0), *p = blob ? blob : "";
    size_t n = blob ? (size_t)sqlite3_column_bytes(item->stmt, 0) : 0;
    bool cut;
    *out = (struct value){.p = p, .n = (uint32_t)n, .type = V_TEXT};
    if (n > 0 && (memchr(p, '\0', n) || utf8_span((struct str){p, n}, &cut) < n))
        return error_set(err, ERR_DATA, EINVAL,
                         "expression of field \"%s\": the result is no UTF-8 text",
                         item->field);
    return 0;
}

static int
result(struct compiled *item, struct value *out, struct error *err)
{
    sqlite3_stmt *stmt = item->stmt;
    switch (sqlite3_column_type(stmt, 0)) {
    case SQLITE_INTEGER: {
        long long v = sqlite3_column_int64(stmt, 0);
        int n = snprintf(item->number, sizeof item->number, "%lld", v);
        *out = (struct value){.p = item->number, .n = (uint32_t)n, .type = V_INT};
        return 0;
    }
    case SQLITE_FLOAT:
        float_result(item, sqlite3_column_double(stmt, 0), out);
        return 0;
    case SQLITE_TEXT:
        return text_result(item, out, err);
    case SQLITE_BLOB: {
        const char *p = sqlite3_column_blob(stmt, 0);
        *out = (struct value){
            .p = p ? p : "", .n = (uint32_t)sqlite3_column_bytes(stmt, 0), .type = V_BYTES};
        return 0;
    }
    default:
        *out = (struct value){.p = "", .type = V_NULL};
        return 0;
    }
}

int
expressions_eval(struct expressions *x, size_t which, const struct value *row,
                 struct value *out, struct error *err)
{
    struct compiled *item = &x->items[which];
    sqlite3_reset(item->stmt);
    int rc = SQLITE_OK;
    for (size_t i = 0; i < item->ncolumns && rc == SQLITE_OK; i++)
        rc = bind(item->stmt, (int)i + 1, &row[item->columns[i]]);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(item->stmt);
    if (rc == SQLITE_ROW)
        return result(item, out, err);
    if (rc == SQLITE_NOMEM)
        return error_no_memory(err);
    return error_set(err, ERR_DATA, EINVAL, "expression of field \"%s\": %s", item->field,
                     sandbox_error(x->sandbox));
}
