/* Text to typed values: see cast.h. */
#include "lib/cast.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/utf8.h"
#include "lib/jsonscan.h"

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int
keep(enum value_type type, const char *p, size_t n, struct value *ret)
{
    *ret = (struct value){.p = p, .n = (uint32_t)n, .type = (uint8_t)type};
    return 0;
}

static int
copy(enum value_type type, const char *p, size_t n, struct arena *arena, struct value *ret)
{
    char *q = arena_strndup(arena, p, n);
    return q ? keep(type, q, n, ret) : -ENOMEM;
}

static bool
equals_nocase(struct str s, const char *z)
{
    return s.n == strlen(z) && strncasecmp(s.p, z, s.n) == 0;
}

static int
cast_bool(struct str in, struct value *ret)
{
    static const char *const yes[] = {"t", "true", "yes", "1"}, *const no[] = {"f", "false",
                                                                               "no", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (equals_nocase(in, yes[i]))
            return keep(V_BOOL, "t", 1, ret);
        if (equals_nocase(in, no[i]))
            return keep(V_BOOL, "f", 1, ret);
    }
    return -EINVAL;
}

bool
cast_to_int(struct str in, int64_t *ret)
{
    const char *p = in.p, *end = in.p + in.n;
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return false;
    uint64_t v = 0, most = (uint64_t)INT64_MAX + negative;
    for (; p < end; p++) {
        if (!is_digit(*p))
            return false;
        unsigned digit = (unsigned)(*p - '0');
        if (v > (most - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret = (int64_t)(negative ? 0 - v : v);
    return true;
}

size_t
cast_int(int64_t i, char out[20])
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t v = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    if (i < 0)
        digits[--at] = '-';
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

static int
cast_integer(struct str in, struct arena *arena, struct value *ret)
{
    int64_t i;
    char text[20];
    if (!cast_to_int(in, &i))
        return -EINVAL;
    size_t n = cast_int(i, text);
    if (n == in.n && memcmp(text, in.p, n) == 0)
        return keep(V_INT, in.p, in.n, ret);
    return copy(V_INT, text, n, arena, ret);
}

/* The parts of [+-]digits[.digits][e[+-]digits]; at least one digit before the exponent. */
struct number {
    bool negative;
    struct str whole, fraction, exponent; /* the exponent with its 'e' */
};

static struct str
take_digits(const char **p, const char *end)
{
    const char *from = *p;
    while (*p < end && is_digit(**p))
        (*p)++;
    return (struct str){from, (size_t)(*p - from)};
}

static bool
split_number(struct str in, struct number *ret)
{
    const char *p = in.p, *end = in.p + in.n;
    *ret = (struct number){.negative = p < end && *p == '-'};
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    ret->whole = take_digits(&p, end);
    if (p < end && *p == '.') {
        p++;
        ret->fraction = take_digits(&p, end);
    }
    if (ret->whole.n + ret->fraction.n == 0)
        return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        ret->exponent.p = p++;
        if (p < end && (*p == '-' || *p == '+'))
            p++;
        if (take_digits(&p, end).n == 0)
            return false;
        ret->exponent.n = (size_t)(p - ret->exponent.p);
    }
    return p == end;
}

static int
cast_decimal(struct str in, struct arena *arena, struct value *ret)
{
    struct number d;
    if (!split_number(in, &d))
        return -EINVAL;
    bool plain = *in.p != '+' && d.whole.n > 0 && (d.whole.n == 1 || *d.whole.p != '0') &&
                 (d.fraction.n > 0 || !d.fraction.p);
    if (plain)
        return keep(V_DECIMAL, in.p, in.n, ret);
    while (d.whole.n > 1 && *d.whole.p == '0') {
        d.whole.p++;
        d.whole.n--;
    }
    if (d.whole.n == 0)
        d.whole = STR("0");
    char *text = arena_printf(arena, "%s%.*s%s%.*s%.*s", d.negative ? "-" : "", (int)d.whole.n,
                              d.whole.p, d.fraction.n ? "." : "", (int)d.fraction.n,
                              d.fraction.n ? d.fraction.p : "", (int)d.exponent.n,
                              d.exponent.n ? d.exponent.p : "");
    if (!text)
        return -ENOMEM;
    return keep(V_DECIMAL, text, strlen(text), ret);
}

/*
 * Amounts and the like: up to six decimals and 15 digits in all. Such a text is m / 10^k with
 * both exact as doubles, so one division, correctly rounded, is what reading it back gives. 0:
 * d is not of that kind.
 */
static size_t
short_decimal(double d, char out[CAST_DOUBLE_MAX])
{
    double size = fabs(d), scale = 1;
    if (!(size >= 1e-4 && size < 1e9))
        return 0;
    for (int decimals = 1; decimals <= 6; decimals++) {
        scale *= 10;
        double m = rint(size * scale);
        if (m / scale != size)
            continue;
        int64_t whole = (int64_t)size, fraction = (int64_t)(m - (double)whole * scale);
        size_t n = 0;
        if (d < 0)
            out[n++] = '-';
        n += cast_int(whole, out + n);
        out[n++] = '.';
        for (int i = decimals; i-- > 0; fraction /= 10)
            out[n + (size_t)i] = (char)('0' + fraction % 10);
        n += (size_t)decimals;
        out[n] = '\0';
        return n;
    }
    return 0;
}

size_t
cast_double(double d, char out[CAST_DOUBLE_MAX])
{
    if (!isfinite(d)) {
        const char *word = isnan(d) ? "NaN" : d < 0 ? "-Infinity" : "Infinity";
        memcpy(out, word, strlen(word) + 1);
        return strlen(word);
    }
    if (d == trunc(d) && fabs(d) < 1e15 && !(d == 0 && signbit(d))) {
        size_t n = cast_int((int64_t)d, out);
        out[n] = '\0';
        return n;
    }
    size_t quick = short_decimal(d, out);
    if (quick)
        return quick;
    char text[CAST_DOUBLE_MAX];
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    memcpy(out, text, (size_t)n + 1);
    return (size_t)n;
}

static int
cast_float(struct str in, struct arena *arena, struct value *ret)
{
    struct number ignored;
    bool word = equals_nocase(in, "nan") || equals_nocase(in, "inf") ||
                equals_nocase(in, "infinity") || equals_nocase(in, "-inf") ||
                equals_nocase(in, "-infinity");
    if (!word && !split_number(in, &ignored))
        return -EINVAL;
    char *z = arena_strndup(arena, in.p, in.n);
    if (!z)
        return -ENOMEM;
    double d = strtod(z, NULL);
    if (!word && isinf(d)) /* beyond a double: not that number any more */
        return -EINVAL;
    char text[CAST_DOUBLE_MAX];
    return copy(V_FLOAT, text, cast_double(d, text), arena, ret);
}

static int
cast_bytes(struct str in, struct arena *arena, struct value *ret)
{
    if (in.n < 2 || in.n % 2 || in.p[0] != '\\' || in.p[1] != 'x')
        return -EINVAL;
    size_t n = in.n / 2 - 1;
    char *to = arena_alloc(arena, n + 1);
    if (!to)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(in.p[2 + 2 * i]), low = hex_digit(in.p[3 + 2 * i]);
        if (high < 0 || low < 0)
            return -EINVAL;
        to[i] = (char)(high << 4 | low);
    }
    return keep(V_BYTES, to, n, ret);
}

/* ---- dates and times ---- */

struct moment {
    int year, month, day, hour, minute, second;
    struct str fraction; /* digits without trailing zeros */
    bool zoned;
    int offset; /* minutes east */
};

static bool
take_number(const char **p, const char *end, int digits, int low, int high, int *ret)
{
    int v = 0;
    if (end - *p < digits)
        return false;
    for (int i = 0; i < digits; i++, (*p)++) {
        if (!is_digit(**p))
            return false;
        v = v * 10 + (**p - '0');
    }
    *ret = v;
    return v >= low && v <= high;
}

static bool
take_char(const char **p, const char *end, char c)
{
    if (*p == end || **p != c)
        return false;
    (*p)++;
    return true;
}

static int
days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

static bool
take_date(const char **p, const char *end, struct moment *m)
{
    return take_number(p, end, 4, 1, 9999, &m->year) && take_char(p, end, '-') &&
           take_number(p, end, 2, 1, 12, &m->month) && take_char(p, end, '-') &&
           take_number(p, end, 2, 1, 31, &m->day) && m->day <= days_in_month(m->year, m->month);
}

static bool
take_time(const char **p, const char *end, struct moment *m)
{
    if (!take_number(p, end, 2, 0, 23, &m->hour) || !take_char(p, end, ':') ||
        !take_number(p, end, 2, 0, 59, &m->minute))
        return false;
    if (!take_char(p, end, ':'))
        return true;
    if (!take_number(p, end, 2, 0, 59, &m->second))
        return false;
    if (!take_char(p, end, '.'))
        return true;
    m->fraction = take_digits(p, end);
    bool some = m->fraction.n > 0 && m->fraction.n <= 9;
    while (m->fraction.n && m->fraction.p[m->fraction.n - 1] == '0')
        m->fraction.n--;
    return some;
}

static bool
take_zone(const char **p, const char *end, struct moment *m)
{
    m->zoned = true;
    if (take_char(p, end, 'Z') || take_char(p, end, 'z'))
        return true;
    if (*p == end || (**p != '+' && **p != '-'))
        return false;
    int sign = *(*p)++ == '-' ? -1 : 1, hours, minutes = 0;
    if (!take_number(p, end, 2, 0, 15, &hours))
        return false;
    if (*p < end) {
        take_char(p, end, ':');
        if (!take_number(p, end, 2, 0, 59, &minutes))
            return false;
    }
    m->offset = sign * (hours * 60 + minutes);
    return true;
}

/* Moves to UTC. False: out of the years we write. */
static bool
to_utc(struct moment *m)
{
    int minutes = m->hour * 60 + m->minute - m->offset;
    int days = minutes < 0 ? -1 : minutes >= 24 * 60 ? 1 : 0;
    minutes -= days * 24 * 60;
    m->hour = minutes / 60;
    m->minute = minutes % 60;
    m->day += days;
    if (m->day < 1) {
        if (--m->month < 1) {
            m->month = 12;
            m->year--;
        }
        m->day = m->year > 0 ? days_in_month(m->year, m->month) : 1;
    } else if (m->day > days_in_month(m->year, m->month)) {
        m->day = 1;
        if (++m->month > 12) {
            m->month = 1;
            m->year++;
        }
    }
    return m->year >= 1 && m->year <= 9999;
}

static int
cast_moment(enum value_type type, struct str in, struct arena *arena, struct value *ret)
{
    const char *p = in.p, *end = in.p + in.n;
    struct moment m = {.year = 1, .month = 1, .day = 1};
    bool dated = type != V_TIME, timed = type != V_DATE;
    if (dated && !take_date(&p, end, &m))
        return -EINVAL;
    if (dated && timed && !take_char(&p, end, ' ') && !take_char(&p, end, 'T') &&
        !take_char(&p, end, 't'))
        return -EINVAL;
    if (timed && !take_time(&p, end, &m))
        return -EINVAL;
    if (type == V_TIMESTAMPTZ && (!take_zone(&p, end, &m) || !to_utc(&m)))
        return -EINVAL;
    if (p != end)
        return -EINVAL;

    char text[64];
    int n = 0;
    if (dated)
        n = snprintf(text, sizeof text, "%04d-%02d-%02d%s", m.year, m.month, m.day,
                     timed ? " " : "");
    if (timed)
        n += snprintf(text + n, sizeof text - (size_t)n, "%02d:%02d:%02d%s%.*s%s", m.hour,
                      m.minute, m.second, m.fraction.n ? "." : "", (int)m.fraction.n,
                      m.fraction.n ? m.fraction.p : "", m.zoned ? "+00" : "");
    if ((size_t)n == in.n && memcmp(text, in.p, in.n) == 0)
        return keep(type, in.p, in.n, ret);
    return copy(type, text, (size_t)n, arena, ret);
}

int
cast_text(enum value_type type, struct str in, struct arena *arena, struct value *ret)
{
    switch (type) {
    case V_BOOL:
        return cast_bool(in, ret);
    case V_INT:
        return cast_integer(in, arena, ret);
    case V_DECIMAL:
        return cast_decimal(in, arena, ret);
    case V_FLOAT:
        return cast_float(in, arena, ret);
    case V_BYTES:
        return cast_bytes(in, arena, ret);
    case V_DATE:
    case V_TIME:
    case V_TIMESTAMP:
    case V_TIMESTAMPTZ:
        return cast_moment(type, in, arena, ret);
    case V_JSON:
        return json_valid(in) ? keep(V_JSON, in.p, in.n, ret) : -EINVAL;
    case V_TEXT:
    case V_NULL:
    case V_ABSENT:
        break;
    }
    return keep(V_TEXT, in.p, in.n, ret);
}
