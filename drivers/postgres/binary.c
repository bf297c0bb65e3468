/*
 * The binary format: see binary.h. Numbers come in network order. The layouts are those of the
 * send functions (PostgreSQL's src/backend/utils/adt) and of the protocol's COPY (manual,
 * "COPY", "Binary Format").
 */
#include "postgres/binary.h"

#include <endian.h>
#include <string.h>

#include "base/civil.h"

enum {
    FIXED_ROOM = 48,    /* holds the text of anything but a numeric */
    EPOCH_DAYS = 10957, /* from 1970-01-01 to 2000-01-01, where the server counts from */
    NUMERIC_HEAD = 8,
    NUMERIC_BASE = 10000,
    NUMERIC_NEGATIVE = 0x4000,
    NUMERIC_DIGITS = 4, /* decimal ones in a digit of that base */
};

static const int64_t second = 1000000, day = 86400 * INT64_C(1000000);

enum pg_form
pg_form_of(const char *send, const char *output)
{
    static const struct {
        const char *send;
        enum pg_form form;
    } forms[] = {
        {"textsend", PG_FORM_TEXT},
        {"varcharsend", PG_FORM_TEXT},
        {"bpcharsend", PG_FORM_TEXT},
        {"namesend", PG_FORM_TEXT},
        {"enum_send", PG_FORM_TEXT},
        {"json_send", PG_FORM_TEXT},
        {"jsonb_send", PG_FORM_JSONB},
        {"byteasend", PG_FORM_BYTES},
        {"boolsend", PG_FORM_BOOL},
        {"int2send", PG_FORM_INT2},
        {"int4send", PG_FORM_INT4},
        {"int8send", PG_FORM_INT8},
        {"oidsend", PG_FORM_OID},
        {"uuid_send", PG_FORM_UUID},
        {"numeric_send", PG_FORM_NUMERIC},
        {"date_send", PG_FORM_DATE},
        {"time_send", PG_FORM_TIME},
        {"timestamp_send", PG_FORM_TIMESTAMP},
        {"timestamptz_send", PG_FORM_TIMESTAMPTZ},
    };
    size_t stem = strlen(send) > 4 ? strlen(send) - 4 : 0; /* "int4send", "int4out" */
    if (strncmp(send, output, stem) != 0 || strcmp(output + stem, "out") != 0)
        return PG_FORM_OUTPUT;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(forms[i].send, send) == 0)
            return forms[i].form;
    return PG_FORM_OUTPUT;
}

/* ---- numbers in network order ---- */

static int16_t
int16_at(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return (int16_t)be16toh(v);
}

static uint32_t
uint32_at(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static int64_t
int64_at(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return (int64_t)be64toh(v);
}

/* ---- texts: written to `to`, where there is room; returned is where they end ---- */

/* The last `width` decimal digits. */
static char *
put_padded(char *to, uint64_t v, size_t width)
{
    for (size_t i = width; i-- > 0; v /= 10)
        to[i] = (char)('0' + v % 10);
    return to + width;
}

static char *
put_int(char *to, int64_t v)
{
    uint64_t left = v < 0 ? -(uint64_t)v : (uint64_t)v;
    size_t width = 1;
    for (uint64_t rest = left; rest > 9; rest /= 10)
        width++;
    if (v < 0)
        *to++ = '-';
    return put_padded(to, left, width);
}

static char *
put_text(char *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

static char *
put_uuid(char *to, const char *p)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = digits[(uint8_t)p[i] >> 4];
        *to++ = digits[p[i] & 15];
    }
    return to;
}

/* `days` since 1970; *before: the year is one before Christ, to be said at the end. */
static char *
put_date(char *to, int64_t days, bool *before)
{
    int64_t year;
    unsigned month, of_month;
    civil_date(days, &year, &month, &of_month);
    *before = year <= 0;
    year = *before ? 1 - year : year;
    to = year > 9999 ? put_int(to, year) : put_padded(to, (uint64_t)year, 4);
    *to++ = '-';
    to = put_padded(to, month, 2);
    *to++ = '-';
    return put_padded(to, of_month, 2);
}

/* Microseconds of a day, 24:00:00 included. */
static char *
put_time(char *to, int64_t t)
{
    uint64_t seconds = (uint64_t)(t / second), part = (uint64_t)(t % second);
    to = put_padded(to, seconds / 3600, 2);
    *to++ = ':';
    to = put_padded(to, seconds / 60 % 60, 2);
    *to++ = ':';
    to = put_padded(to, seconds % 60, 2);
    if (!part)
        return to;
    size_t width = 6;
    for (; part % 10 == 0; part /= 10)
        width--;
    *to++ = '.';
    return put_padded(to, part, width);
}

static char *
put_infinity(char *to, bool negative)
{
    return put_text(to, negative ? "-infinity" : "infinity");
}

static char *
put_date_field(char *to, int32_t days)
{
    bool before;
    if (days == INT32_MIN || days == INT32_MAX)
        return put_infinity(to, days < 0);
    to = put_date(to, (int64_t)days + EPOCH_DAYS, &before);
    return before ? put_text(to, " BC") : to;
}

static char *
put_timestamp(char *to, int64_t t, bool zone)
{
    bool before;
    if (t == INT64_MIN || t == INT64_MAX)
        return put_infinity(to, t < 0);
    int64_t days = t / day, rest = t % day;
    if (rest < 0) {
        days--;
        rest += day;
    }
    to = put_date(to, days + EPOCH_DAYS, &before);
    *to++ = ' ';
    to = put_time(to, rest);
    if (zone)
        to = put_text(to, "+00");
    return before ? put_text(to, " BC") : to;
}

/* ---- numeric: digits in base 10000, the first worth 10000^weight ---- */

struct numeric {
    int32_t ndigits, weight, scale;
    uint16_t sign;
    const char *digits;
};

/* NaN and the infinities have no digits. */
static const char *
numeric_name(const struct numeric *v)
{
    switch (v->sign) {
    case 0xC000:
        return "NaN";
    case 0xD000:
        return "Infinity";
    case 0xF000:
        return "-Infinity";
    default:
        return NULL;
    }
}

static bool
read_numeric(const char *p, size_t n, struct numeric *ret)
{
    if (n < NUMERIC_HEAD)
        return false;
    *ret = (struct numeric){.ndigits = int16_at(p),
                            .weight = int16_at(p + 2),
                            .sign = (uint16_t)int16_at(p + 4),
                            .scale = int16_at(p + 6),
                            .digits = p + NUMERIC_HEAD};
    return ret->ndigits >= 0 && ret->scale >= 0 && n == NUMERIC_HEAD + 2 * (size_t)ret->ndigits;
}

/* Bytes that its text may take. */
static size_t
numeric_room(const struct numeric *v)
{
    size_t whole = v->weight >= 0 ? ((size_t)v->weight + 1) * NUMERIC_DIGITS : 1;
    return FIXED_ROOM + whole + (size_t)v->scale;
}

/* The digit worth 10000^power; those not sent are zero. */
static int32_t
numeric_digit(const struct numeric *v, int32_t power)
{
    int32_t i = v->weight - power;
    return i >= 0 && i < v->ndigits ? int16_at(v->digits + 2 * i) : 0;
}

static char *
put_numeric(char *to, const struct numeric *v)
{
    const char *name = numeric_name(v);
    if (name)
        return put_text(to, name);
    if (v->sign == NUMERIC_NEGATIVE)
        *to++ = '-';
    int32_t power = v->weight;
    bool any = false;
    for (; power >= 0; power--) {
        uint64_t digit = (uint64_t)numeric_digit(v, power);
        size_t width = any || digit > 999 ? 4 : digit > 99 ? 3 : digit > 9 ? 2 : 1;
        any = any || digit;
        if (any || power == 0)
            to = put_padded(to, digit, width);
    }
    if (v->weight < 0)
        *to++ = '0';
    if (!v->scale)
        return to;
    *to++ = '.';
    /* By whole digits, the last of which may reach beyond the scale. */
    for (int32_t left = v->scale, at = -1; left > 0; left -= NUMERIC_DIGITS, at--) {
        char *end = put_padded(to, (uint64_t)numeric_digit(v, at), NUMERIC_DIGITS);
        to = left < NUMERIC_DIGITS ? to + left : end;
    }
    return to;
}

/* ---- tuples ---- */

/* Bytes that a field has in its form; 0: any number. */
static size_t
size_of(enum pg_form form)
{
    switch (form) {
    case PG_FORM_BOOL:
        return 1;
    case PG_FORM_INT2:
        return 2;
    case PG_FORM_INT4:
    case PG_FORM_OID:
    case PG_FORM_DATE:
        return 4;
    case PG_FORM_INT8:
    case PG_FORM_TIME:
    case PG_FORM_TIMESTAMP:
    case PG_FORM_TIMESTAMPTZ:
        return 8;
    case PG_FORM_UUID:
        return 16;
    default:
        return 0;
    }
}

/* NULL: not in its form. */
static char *
put_field(char *to, enum pg_form form, const char *p, size_t n)
{
    struct numeric numeric;
    switch (form) {
    case PG_FORM_BOOL:
        *to++ = *p ? 't' : 'f';
        return to;
    case PG_FORM_INT2:
        return put_int(to, int16_at(p));
    case PG_FORM_INT4:
        return put_int(to, (int32_t)uint32_at(p));
    case PG_FORM_INT8:
        return put_int(to, int64_at(p));
    case PG_FORM_OID:
        return put_int(to, uint32_at(p));
    case PG_FORM_UUID:
        return put_uuid(to, p);
    case PG_FORM_DATE:
        return put_date_field(to, (int32_t)uint32_at(p));
    case PG_FORM_TIME:
        return int64_at(p) < 0 || int64_at(p) > day ? NULL : put_time(to, int64_at(p));
    case PG_FORM_TIMESTAMP:
    case PG_FORM_TIMESTAMPTZ:
        return put_timestamp(to, int64_at(p), form == PG_FORM_TIMESTAMPTZ);
    case PG_FORM_NUMERIC:
        return read_numeric(p, n, &numeric) ? put_numeric(to, &numeric) : NULL;
    default:
        return NULL;
    }
}

static bool
is_text_already(enum pg_form form)
{
    return form == PG_FORM_TEXT || form == PG_FORM_OUTPUT || form == PG_FORM_BYTES ||
           form == PG_FORM_JSONB;
}

/* Finds the fields and how much room their texts may take. */
static bool
find_fields(const char *p, const char *end, const enum pg_form *forms,
            const enum value_type *types, struct value *values, size_t n, size_t *room)
{
    *room = 1;
    for (size_t i = 0; i < n; i++) {
        if (end - p < 4)
            return false;
        int32_t size = (int32_t)uint32_at(p);
        p += 4;
        if (size < -1 || size > end - p)
            return false;
        if (size == -1) {
            values[i] = (struct value){.type = V_NULL};
            continue;
        }
        values[i] = (struct value){.p = p, .n = (uint32_t)size, .type = (uint8_t)types[i]};
        p += size;
        struct numeric numeric;
        if (forms[i] == PG_FORM_NUMERIC) {
            if (!read_numeric(values[i].p, values[i].n, &numeric))
                return false;
            *room += numeric_room(&numeric);
        } else if (!is_text_already(forms[i])) {
            if (values[i].n != size_of(forms[i]))
                return false;
            *room += FIXED_ROOM;
        }
    }
    return p == end;
}

bool
pg_decode_tuple(const char *tuple, size_t len, const enum pg_form *forms,
                const enum value_type *types, struct value *values, size_t n, struct buf *text)
{
    size_t room;
    if (len < 2 || (uint16_t)int16_at(tuple) != n ||
        !find_fields(tuple + 2, tuple + len, forms, types, values, n, &room))
        return false;
    buf_clear(text);
    char *to = buf_room(text, room);
    if (!to)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct value *v = &values[i];
        if (v->type == V_NULL)
            continue;
        if (forms[i] == PG_FORM_JSONB) {
            if (v->n < 1 || *v->p != 1)
                return false;
            v->p++;
            v->n--;
        }
        if (is_text_already(forms[i]))
            continue;
        char *end = put_field(to, forms[i], v->p, v->n);
        if (!end)
            return false;
        v->p = to;
        v->n = (uint32_t)(end - to);
        to = end;
    }
    return true;
}

/* ---- the copy ---- */

struct unwrapping {
    pg_line_fn tuple;
    void *arg;
    bool begun, ended;
};

static int
garbled(struct error *err)
{
    return error_set(err, ERR_REMOTE, EPROTO,
                     "the server does not answer in COPY's binary format");
}

/* Before the first tuple, and in one message with it, stands a header. */
static int
skip_header(char **p, size_t *n, struct error *err)
{
    static const char signature[] = "PGCOPY\n\377\r\n"; /* with its zero */
    size_t fixed = sizeof signature + 8;
    if (*n < fixed || memcmp(*p, signature, sizeof signature) != 0)
        return garbled(err);
    uint32_t more = uint32_at(*p + sizeof signature + 4);
    if (more > *n - fixed)
        return garbled(err);
    *p += fixed + more;
    *n -= fixed + more;
    return 0;
}

/* pg_line_fn */
static int
unwrap(void *arg, char *p, size_t n, struct error *err)
{
    struct unwrapping *u = arg;
    if (!u->begun) {
        int rc = skip_header(&p, &n, err);
        if (rc)
            return rc;
        u->begun = true;
        if (!n)
            return 0;
    }
    if (u->ended || n < 2)
        return garbled(err);
    if (int16_at(p) == -1) {
        u->ended = true;
        return n == 2 ? 0 : garbled(err);
    }
    return u->tuple(u->arg, p, n, err);
}

int
pg_copy_out_binary(struct pg_link *link, const char *sql, pg_line_fn tuple, void *arg,
                   struct error *err)
{
    struct unwrapping u = {.tuple = tuple, .arg = arg};
    int rc = pg_copy_messages(link, sql, unwrap, &u, err);
    return rc || u.ended ? rc : garbled(err);
}
