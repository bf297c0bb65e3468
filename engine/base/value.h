/*
 * One field of one row, and rows packed into bytes.
 *
 * A value is a type and bytes in that type's canonical form. Sources deliver it, the state
 * keeps it, destinations receive it; nobody in between parses a number, so nothing is rounded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum value_type {
    V_NULL = 0,    /* no bytes; as a column's type: any, decided row by row */
    V_BOOL,        /* t or f */
    V_INT,         /* decimal digits, optional '-', no leading zeros, within int64 */
    V_DECIMAL,     /* exact text as the source gave it: "0.10" stays so; NaN is possible */
    V_FLOAT,       /* shortest text that reads back as the same double; Infinity, NaN */
    V_TEXT,        /* UTF-8, no NUL */
    V_BYTES,       /* the raw bytes */
    V_DATE,        /* 2024-01-31; "infinity" and "0044-03-15 BC" as PostgreSQL writes them */
    V_TIME,        /* 13:05:00.25 */
    V_TIMESTAMP,   /* 2024-01-31 13:05:00.25 */
    V_TIMESTAMPTZ, /* 2024-01-31 13:05:00.25+00, always UTC */
    V_JSON,        /* the JSON text as the source gave it */
    V_ABSENT = 15, /* no bytes; only in packed records: no such field when it was packed */
};

struct value {
    const char *p; /* borrowed */
    uint32_t n;
    uint8_t type; /* enum value_type */
};

/* "text", "integer", "timestamp with time zone" …; V_NULL is "any". Static. */
const char *value_type_name(enum value_type type);
/* The reverse, for options ("integer", "decimal", …); -1 when unknown. */
int value_type_parse(struct str name);

/* --- packed records: the values of a row one after the other --- */

enum { VALUE_HEAD_MAX = 6 };

/* Packs v at `to`, where v->n + VALUE_HEAD_MAX bytes must fit; returns where it ends. */
static inline char *
value_pack(char *to, const struct value *v)
{
    uint32_t small = v->n < 15 ? v->n : 15;
    *to++ = (char)(v->type | small << 4);
    if (small == 15) {
        uint32_t more = v->n - 15;
        while (more >= 0x80) {
            *to++ = (char)(more | 0x80);
            more >>= 7;
        }
        *to++ = (char)more;
    }
    if (v->n)
        memcpy(to, v->p, v->n);
    return to + v->n;
}

static inline void
record_add(struct buf *out, const struct value *v)
{
    char *to = buf_room(out, (size_t)v->n + VALUE_HEAD_MAX);
    if (to)
        out->n = (size_t)(value_pack(to, v) - out->p);
}

/* Appends n values. */
void record_pack(struct buf *out, const struct value *values, size_t n);

/* Reads the next value at *p; false at the end or when the bytes are cut. */
static inline bool
record_next(const char **p, const char *end, struct value *ret)
{
    if (*p >= end)
        return false;
    uint8_t head = (uint8_t) * (*p)++;
    uint64_t n = head >> 4;
    if (n == 15) {
        if (!varint_read(p, end, &n))
            return false;
        n += 15;
    }
    if (n > (uint64_t)(end - *p))
        return false;
    *ret = (struct value){.p = *p, .n = (uint32_t)n, .type = head & 15};
    *p += n;
    return true;
}

/* Unpacks exactly n values (borrowed from rec). False: the record does not hold exactly n. */
bool record_unpack(struct str rec, struct value *values, size_t n);

static inline bool
value_equal(const struct value *a, const struct value *b)
{
    return a->type == b->type && a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

/* --- keys: identifiers as bytes whose memcmp order is the engine's one order --- */

enum key_class {
    KEY_TEXT, /* compared as canonical text, byte by byte */
    KEY_INT,  /* compared as a 64-bit integer; what is no integer comes after, as text */
};

/* The class for an identifier column of that type. */
enum key_class key_class_of(enum value_type type);

/* Appends one component. Decimals lose trailing zeros, so 1.0 is 1.00. A NULL comes before all
 * else (only rejected rows have one). */
void key_add(struct buf *out, enum key_class class, const struct value *v);

/* Reads the component at *p back: its class byte's value as canonical text (digits for an
 * integer) appended to *text. 1: text or integer, 0: NULL, -1: not a key made by key_add. */
int key_next(const char **p, const char *end, struct buf *text);

static inline int
key_compare(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* --- values as text for people and programs --- */

/* Appends the value as JSON: NULL → null, V_BOOL → true/false, V_INT, V_DECIMAL and V_FLOAT →
 * numbers (NaN and infinities → strings), V_JSON → as it is, V_BYTES → "\\x6162" like
 * PostgreSQL's hex form, timestamps as RFC 3339 ("2024-01-31T13:05:00.25Z"), the rest strings.
 * Always one line: V_JSON with newlines is compacted (white space outside strings removed). */
void value_json(struct buf *out, const struct value *v);
/* How many bytes that appends. What can only be told by writing it is written to `scratch`,
 * which has failed where memory is out. */
size_t value_json_size(const struct value *v, struct buf *scratch);
/* Appends p[0..n) as a JSON string with quotes. Bytes that are no UTF-8 become U+FFFD. */
void json_quote(struct buf *out, const char *p, size_t n);
/* Appends the value as one CSV field (RFC 4180): NULL is empty and unquoted, an empty text is
 * "", V_BOOL true or false, V_BYTES \x6162, the rest as it is. */
void value_csv(struct buf *out, const struct value *v);
/* Appends p[0..n) as one CSV field, quoted where needed. */
void csv_field(struct buf *out, const char *p, size_t n);
/* Appends the value as a file name part; a NULL is "NULL". */
void value_filename(struct buf *out, const struct value *v);
/* Appends p[0..n) as a file name part: everything but A-Z a-z 0-9 . _ - @ + is
 * percent-encoded, so are a leading dot and the N of a text that is "NULL"; nothing is "%". */
void filename_part(struct buf *out, const char *p, size_t n);
/* Whether filename_part would append it as it is. */
bool filename_is_plain(const char *p, size_t n);
