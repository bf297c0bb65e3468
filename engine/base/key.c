/*
 * Keys: see value.h. A component is a class byte and a payload, made so that memcmp over whole
 * keys is the order of the components:
 *
 *   NULL      08
 *   integer   10, 8 bytes big endian, sign bit flipped
 *   text      20, the bytes with 00 written as 00 FF, then 00 01
 *
 * What is the same identifier for people has the same bytes: 5, "5" and 5.00 do.
 */
#include "base/value.h"

#include <stdlib.h>

enum {
    CLASS_NULL = 0x08,
    CLASS_INT = 0x10,
    CLASS_TEXT = 0x20,
};

enum { INT_DIGITS_MAX = 19 };

enum key_class
key_class_of(enum value_type type)
{
    return type == V_INT ? KEY_INT : KEY_TEXT;
}

/* Canonical int64 text only: no plus, no leading zeros, no "-0". */
static bool
parse_int(struct str text, int64_t *ret)
{
    bool negative = text.n > 0 && text.p[0] == '-';
    const char *p = text.p + negative, *end = text.p + text.n;
    if (p == end || end - p > INT_DIGITS_MAX || (*p == '0' && (end - p > 1 || negative)))
        return false;
    uint64_t v = 0; /* 19 digits stay below 2^64 */
    for (; p < end; p++) {
        if (*p < '0' || *p > '9')
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (v > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = (int64_t)(negative ? 0 - v : v);
    return true;
}

static void
add_int(struct buf *out, int64_t v)
{
    char *to = buf_room(out, 9);
    if (!to)
        return;
    uint64_t big = __builtin_bswap64((uint64_t)v ^ (uint64_t)1 << 63);
    *to = CLASS_INT;
    memcpy(to + 1, &big, 8);
    out->n += 9;
}

static void
add_text(struct buf *out, struct str text)
{
    size_t zeros = 0;
    if (text.n > 0 && memchr(text.p, '\0', text.n))
        for (size_t i = 0; i < text.n; i++)
            zeros += text.p[i] == '\0';
    size_t n = text.n + zeros + 3;
    char *to = buf_room(out, n);
    if (!to)
        return;
    *to++ = CLASS_TEXT;
    if (zeros == 0) {
        if (text.n > 0)
            memcpy(to, text.p, text.n);
        to += text.n;
    } else {
        for (size_t i = 0; i < text.n; i++) {
            *to++ = text.p[i];
            if (text.p[i] == '\0')
                *to++ = (char)0xFF;
        }
    }
    *to++ = '\0';
    *to = 1;
    out->n += n;
}

/*
 * The part of a plain decimal that carries its value: "+007.50" → "7.5". *negative is set
 * apart from it. False for what is no plain decimal ("NaN", "1e9"): that stays as it is.
 */
static bool
trim_decimal(struct str in, struct str *ret, bool *negative)
{
    const char *p = in.p, *end = in.p + in.n;
    *negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    const char *point = NULL;
    size_t digits = 0;
    for (const char *c = p; c < end; c++) {
        if (*c == '.' && !point)
            point = c;
        else if (*c >= '0' && *c <= '9')
            digits++;
        else
            return false;
    }
    if (digits == 0)
        return false;
    while (p < end && *p == '0')
        p++;
    if (point) {
        while (end > point && end[-1] == '0')
            end--;
        if (end == point + 1)
            end = point;
    }
    *ret = (struct str){p, (size_t)(end - p)};
    return true;
}

/* The one text of a number: "-0.50" → "-0.5", ".0" → "0". scratch holds it where needed. */
static struct str
normal_decimal(struct str in, struct buf *scratch)
{
    struct str core;
    bool negative;
    if (!trim_decimal(in, &core, &negative))
        return in;
    if (core.n == 0)
        return STR("0");
    if (negative)
        buf_addc(scratch, '-');
    if (core.p[0] == '.')
        buf_addc(scratch, '0');
    if (scratch->n == 0)
        return core;
    buf_add(scratch, core.p, core.n);
    return buf_str(scratch);
}

void
key_add(struct buf *out, enum key_class class, const struct value *v)
{
    if (v->type == V_NULL || v->type == V_ABSENT) {
        buf_addc(out, CLASS_NULL);
        return;
    }
    struct buf scratch = BUF_INIT(BUF_NO_MAX);
    struct str text = {v->p, v->n};
    if (v->type == V_DECIMAL || v->type == V_FLOAT)
        text = normal_decimal(text, &scratch);
    int64_t i;
    if (scratch.failed)
        out->failed = true;
    else if (class == KEY_INT && parse_int(text, &i))
        add_int(out, i);
    else
        add_text(out, text);
    buf_done(&scratch);
}

static int
next_text(const char **p, const char *end, struct buf *text)
{
    for (;;) {
        const char *zero = *p < end ? memchr(*p, '\0', (size_t)(end - *p)) : NULL;
        if (!zero || zero + 1 == end)
            return -1;
        buf_add(text, *p, (size_t)(zero - *p));
        *p = zero + 2;
        if (zero[1] == 1)
            return 1;
        if (zero[1] != (char)0xFF)
            return -1;
        buf_addc(text, '\0');
    }
}

int
key_next(const char **p, const char *end, struct buf *text)
{
    if (*p >= end)
        return -1;
    switch (*(*p)++) {
    case CLASS_NULL:
        return 0;
    case CLASS_INT: {
        if (end - *p < 8)
            return -1;
        uint64_t big;
        memcpy(&big, *p, 8);
        *p += 8;
        buf_add_int(text, (int64_t)(__builtin_bswap64(big) ^ (uint64_t)1 << 63));
        return 1;
    }
    case CLASS_TEXT:
        return next_text(p, end, text);
    default:
        return -1;
    }
}
