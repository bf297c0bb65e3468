/* Types and COPY's text format: see types.h. */
#include "postgres/types.h"

#include <string.h>

/* Oids of built-in types never change; those of extensions (citext, hstore) and of users
 * (enums) are not fixed, and text anyway. */
enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_OID = 26,
    OID_JSON = 114,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_VARCHAR = 1043,
    OID_DATE = 1082,
    OID_TIME = 1083,
    OID_TIMESTAMP = 1114,
    OID_TIMESTAMPTZ = 1184,
    OID_NUMERIC = 1700,
    OID_UUID = 2950,
    OID_JSONB = 3802,
};

enum value_type
pg_value_type(Oid type)
{
    switch (type) {
    case OID_BOOL:
        return V_BOOL;
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_OID:
        return V_INT;
    case OID_NUMERIC:
        return V_DECIMAL;
    case OID_FLOAT4:
    case OID_FLOAT8:
        return V_FLOAT;
    case OID_BYTEA:
        return V_BYTES;
    case OID_DATE:
        return V_DATE;
    case OID_TIME:
        return V_TIME;
    case OID_TIMESTAMP:
        return V_TIMESTAMP;
    case OID_TIMESTAMPTZ:
        return V_TIMESTAMPTZ;
    case OID_JSON:
    case OID_JSONB:
        return V_JSON;
    default:
        return V_TEXT;
    }
}

bool
pg_tells_apart(Oid type, enum value_type model)
{
    switch (type) {
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_NUMERIC:
        return model == V_INT;
    case OID_TEXT:
    case OID_VARCHAR:
        return true;
    default:
        return false;
    }
}

const char *
pg_type_for(enum value_type type)
{
    static const char *const names[] = {
        [V_NULL] = "text",
        [V_BOOL] = "boolean",
        [V_INT] = "bigint",
        [V_DECIMAL] = "numeric",
        [V_FLOAT] = "double precision",
        [V_TEXT] = "text",
        [V_BYTES] = "bytea",
        [V_DATE] = "date",
        [V_TIME] = "time",
        [V_TIMESTAMP] = "timestamp",
        [V_TIMESTAMPTZ] = "timestamptz",
        [V_JSON] = "jsonb",
    };
    return type <= V_JSON ? names[type] : "text";
}

bool
pg_type_collates(Oid type)
{
    return type == OID_TEXT || type == OID_VARCHAR;
}

bool
pg_type_orders(Oid type, enum key_class class)
{
    if (class == KEY_INT)
        return type == OID_INT2 || type == OID_INT4 || type == OID_INT8;
    return type == OID_UUID || pg_type_collates(type);
}

/* ---- reading ---- */

/* COPY OUT escapes control characters and the backslash, nothing else. */
static char
unescaped(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'v':
        return '\v';
    default:
        return c;
    }
}

/* Decodes p[0..n) in place; returns the new length. */
static size_t
unescape(char *p, size_t n)
{
    const char *from = memchr(p, '\\', n), *end = p + n;
    if (!from)
        return n;
    char *to = p + (from - p);
    while (from < end) {
        if (*from == '\\' && from + 1 < end) {
            *to++ = unescaped(from[1]);
            from += 2;
            continue;
        }
        *to++ = *from++;
    }
    return (size_t)(to - p);
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "\x6162" in place. */
static bool
decode_bytes(struct value *v, char *p)
{
    if (v->n < 2 || v->n % 2 || p[0] != '\\' || p[1] != 'x')
        return false;
    uint32_t n = v->n / 2 - 1;
    for (uint32_t i = 0; i < n; i++) {
        int high = hex_digit(p[2 + 2 * i]), low = hex_digit(p[3 + 2 * i]);
        if (high < 0 || low < 0)
            return false;
        p[i] = (char)(high << 4 | low);
    }
    v->n = n;
    return true;
}

static bool
decode_field(char *p, size_t n, bool escapes, enum value_type type, struct value *ret)
{
    if (escapes && n == 2 && p[0] == '\\' && p[1] == 'N') {
        *ret = (struct value){.type = V_NULL};
        return true;
    }
    if (escapes)
        n = unescape(p, n);
    *ret = (struct value){.p = p, .n = (uint32_t)n, .type = (uint8_t)type};
    return type != V_BYTES || decode_bytes(ret, p);
}

bool
pg_decode_line(char *line, size_t len, const enum value_type *types, struct value *values,
               size_t n)
{
    bool escapes = memchr(line, '\\', len) != NULL;
    char *p = line, *end = line + len;
    if (n == 0)
        return len == 0;
    for (size_t i = 0; i < n; i++) {
        char *tab = memchr(p, '\t', (size_t)(end - p));
        char *stop = tab ? tab : end;
        if (!tab != (i + 1 == n) ||
            !decode_field(p, (size_t)(stop - p), escapes, types[i], &values[i]))
            return false;
        p = stop + 1;
    }
    return true;
}

/* ---- writing ---- */

static char
escape_of(char c)
{
    switch (c) {
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\\':
        return '\\';
    default:
        return 0;
    }
}

static void
encode_text(struct buf *out, const char *p, size_t n)
{
    char *to = buf_room(out, 2 * n);
    if (!to)
        return;
    for (size_t i = 0; i < n; i++) {
        /* All that needs an escape is below ' ' or the backslash. */
        if ((unsigned char)p[i] >= ' ' && p[i] != '\\') {
            *to++ = p[i];
            continue;
        }
        char letter = escape_of(p[i]);
        if (letter)
            *to++ = '\\';
        *to++ = letter ? letter : p[i];
    }
    out->n = (size_t)(to - out->p);
    *to = '\0';
}

static void
encode_bytes(struct buf *out, const char *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *to = buf_room(out, 2 * n + 3);
    if (!to)
        return;
    memcpy(to, "\\\\x", 3);
    to += 3;
    for (size_t i = 0; i < n; i++) {
        *to++ = digits[(unsigned char)p[i] >> 4];
        *to++ = digits[p[i] & 15];
    }
    out->n = (size_t)(to - out->p);
    *to = '\0';
}

void
pg_encode_value(struct buf *out, const struct value *v)
{
    switch (v->type) {
    case V_NULL:
    case V_ABSENT:
        buf_add(out, "\\N", 2);
        break;
    case V_BYTES:
        encode_bytes(out, v->p, v->n);
        break;
    case V_TEXT:
    case V_JSON:
    case V_DECIMAL:
        encode_text(out, v->p, v->n);
        break;
    default:
        buf_add(out, v->p, v->n);
    }
}
