/* Types of values and columns: see types.h. */
#include "sqlite/types.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "lib/jsonscan.h"

static bool
has(const char *decl, const char *word)
{
    return strcasestr(decl, word) != NULL;
}

enum affinity
types_affinity(const char *decl)
{
    if (!decl || !*decl)
        return AFFINITY_BLOB;
    if (has(decl, "INT"))
        return AFFINITY_INTEGER;
    if (has(decl, "CHAR") || has(decl, "CLOB") || has(decl, "TEXT"))
        return AFFINITY_TEXT;
    if (has(decl, "BLOB"))
        return AFFINITY_BLOB;
    if (has(decl, "REAL") || has(decl, "FLOA") || has(decl, "DOUB"))
        return AFFINITY_REAL;
    return AFFINITY_NUMERIC;
}

const char *
types_affinity_name(enum affinity a)
{
    static const char *const names[] = {
        [AFFINITY_BLOB] = "",           [AFFINITY_TEXT] = "TEXT",
        [AFFINITY_NUMERIC] = "NUMERIC", [AFFINITY_INTEGER] = "INTEGER",
        [AFFINITY_REAL] = "REAL",
    };
    return names[a];
}

static bool
begins(const char *decl, const char *word)
{
    return strncasecmp(decl, word, strlen(word)) == 0;
}

enum value_type
types_declared(const char *decl)
{
    if (!decl || !*decl)
        return V_NULL;
    if (begins(decl, "BOOL"))
        return V_BOOL;
    if (begins(decl, "JSON"))
        return V_JSON;
    if (begins(decl, "TIMESTAMPTZ") || has(decl, "WITH TIME ZONE"))
        return V_TIMESTAMPTZ;
    if (begins(decl, "TIMESTAMP") || begins(decl, "DATETIME"))
        return V_TIMESTAMP;
    if (begins(decl, "DATE"))
        return V_DATE;
    if (begins(decl, "TIME"))
        return V_TIME;
    if (begins(decl, "DECIMAL") || begins(decl, "NUMERIC"))
        return V_DECIMAL;
    switch (types_affinity(decl)) {
    case AFFINITY_INTEGER:
        return V_INT;
    case AFFINITY_TEXT:
        return V_TEXT;
    case AFFINITY_REAL:
        return V_FLOAT;
    case AFFINITY_BLOB:
        return V_BYTES;
    case AFFINITY_NUMERIC:
        break;
    }
    return V_NULL;
}

const char *
types_for_new_column(enum value_type type)
{
    switch (type) {
    case V_INT:
        return "INTEGER";
    case V_BOOL:
        return "BOOLEAN";
    case V_FLOAT:
        return "REAL";
    case V_BYTES:
        return "BLOB";
    case V_NULL:
    case V_ABSENT:
        return "";
    case V_DECIMAL: /* NUMERIC would make a rounded 0.1 of 0.10 */
    case V_JSON:    /* JSON is numeric to SQLite: "123" would become an integer */
    case V_TEXT:
    case V_DATE:
    case V_TIME:
    case V_TIMESTAMP:
    case V_TIMESTAMPTZ:
        break;
    }
    return "TEXT";
}

static int
set(struct value *v, enum value_type type, const char *p, size_t n)
{
    *v = (struct value){.p = p, .n = (uint32_t)n, .type = (uint8_t)type};
    return 0;
}

static int
read_integer(int64_t i, enum value_type declared, struct types_slot *slot, struct value *ret)
{
    if (declared == V_BOOL && (i == 0 || i == 1))
        return set(ret, V_BOOL, i ? "t" : "f", 1);
    size_t n = cast_int(i, slot->text);
    return set(ret, declared == V_DECIMAL ? V_DECIMAL : V_INT, slot->text, n);
}

static int
read_text(struct str text, enum value_type declared, struct arena *arena, struct value *ret)
{
    if (utf8_check(text.p, text.n) < text.n)
        return -EINVAL;
    switch (declared) {
    case V_JSON:
    case V_DECIMAL:
    case V_DATE:
    case V_TIME:
    case V_TIMESTAMP:
    case V_TIMESTAMPTZ: {
        int rc = cast_text(declared, text, arena, ret);
        if (rc != -EINVAL)
            return rc;
        break;
    }
    default:
        break;
    }
    return set(ret, V_TEXT, text.p, text.n);
}

int
types_read(sqlite3_stmt *stmt, int i, enum value_type declared, struct types_slot *slot,
           struct arena *arena, struct value *ret)
{
    /* "Unprotected", as nothing keeps other threads from this connection but that there are
     * none. What sqlite3_column_type and its like do is this with a lock and a look at errors,
     * each time. */
    sqlite3_value *v = sqlite3_column_value(stmt, i);
    switch (sqlite3_value_type(v)) {
    case SQLITE_INTEGER:
        return read_integer(sqlite3_value_int64(v), declared, slot, ret);
    case SQLITE_FLOAT: {
        double d = sqlite3_value_double(v);
        bool decimal = declared == V_DECIMAL && isfinite(d);
        size_t n = cast_double(d, slot->text);
        return set(ret, decimal ? V_DECIMAL : V_FLOAT, slot->text, n);
    }
    case SQLITE_TEXT: {
        const char *p = (const char *)sqlite3_value_text(v);
        int n = sqlite3_value_bytes(v);
        return p ? read_text((struct str){p, (size_t)n}, declared, arena, ret) : -ENOMEM;
    }
    case SQLITE_BLOB: {
        const char *p = sqlite3_value_blob(v);
        int n = sqlite3_value_bytes(v);
        return p || n == 0 ? set(ret, V_BYTES, p, (size_t)n) : -ENOMEM;
    }
    default:
        return set(ret, V_NULL, NULL, 0);
    }
}

static int
bind_double(sqlite3_stmt *stmt, int i, struct str text)
{
    char z[64];
    if (text.n >= sizeof z)
        return -EINVAL;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    char *end;
    double d = strtod(z, &end);
    if (isnan(d) || *end || end == z)
        return -EINVAL;
    return sqlite3_bind_double(stmt, i, d);
}

int
types_bind(sqlite3_stmt *stmt, int i, const struct value *v)
{
    int64_t number;
    const char *p = v->p ? v->p : "";
    switch ((enum value_type)v->type) {
    case V_NULL:
    case V_ABSENT:
        return sqlite3_bind_null(stmt, i);
    case V_BOOL:
        return sqlite3_bind_int(stmt, i, v->n > 0 && *p == 't');
    case V_INT:
        if (!cast_to_int((struct str){p, v->n}, &number))
            return -EINVAL;
        return sqlite3_bind_int64(stmt, i, number);
    case V_FLOAT:
        return bind_double(stmt, i, (struct str){p, v->n});
    case V_BYTES:
        return sqlite3_bind_blob64(stmt, i, p, v->n, SQLITE_STATIC);
    case V_DECIMAL:
    case V_TEXT:
    case V_DATE:
    case V_TIME:
    case V_TIMESTAMP:
    case V_TIMESTAMPTZ:
    case V_JSON:
        break;
    }
    return sqlite3_bind_text64(stmt, i, p, v->n, SQLITE_STATIC, SQLITE_UTF8);
}
