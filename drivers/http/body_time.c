/* Times in bodies: from how values hold them (base/value.h) to what APIs want. */
#include "base/civil.h"
#include "http/body_private.h"

/* Digits at *p, as many as are wanted. */
static bool
take_digits(const char **p, const char *end, int digits, int64_t *ret)
{
    *ret = 0;
    for (; digits > 0; digits--, ++*p) {
        if (*p == end || **p < '0' || **p > '9')
            return false;
        *ret = *ret * 10 + (**p - '0');
    }
    return true;
}

static bool
take_char(const char **p, const char *end, char c)
{
    bool is = *p < end && **p == c;
    *p += is;
    return is;
}

/* "13:05:00.25" after the date, in milliseconds; nothing is midnight. */
static bool
take_clock(const char **p, const char *end, int64_t *ret)
{
    int64_t hours = 0, minutes = 0, seconds = 0, part = 0, unit = 100;
    if (*p < end && !(take_char(p, end, ' ') && take_digits(p, end, 2, &hours) &&
                      take_char(p, end, ':') && take_digits(p, end, 2, &minutes) &&
                      take_char(p, end, ':') && take_digits(p, end, 2, &seconds)))
        return false;
    if (take_char(p, end, '.'))
        for (; *p < end && **p >= '0' && **p <= '9'; ++*p, unit /= 10)
            part += (**p - '0') * unit;
    *ret = ((hours * 60 + minutes) * 60 + seconds) * 1000 + part;
    return true;
}

/* Milliseconds since 1970; false for infinity, and for years of more or less than four digits.
 */
static bool
parse(const struct value *v, int64_t *ret)
{
    const char *p = v->p, *end = p + v->n;
    int64_t year, month, day, clock;
    bool zone = v->type == V_TIMESTAMPTZ;
    if (v->type != V_DATE && v->type != V_TIMESTAMP && !zone)
        return false;
    if (!take_digits(&p, end, 4, &year) || !take_char(&p, end, '-') ||
        !take_digits(&p, end, 2, &month) || !take_char(&p, end, '-') ||
        !take_digits(&p, end, 2, &day))
        return false;
    const char *date_end = zone && v->n > 3 ? end - 3 : end; /* "+00" */
    if (!take_clock(&p, date_end, &clock) || p != date_end)
        return false;
    *ret = civil_days(year, (unsigned)month, (unsigned)day) * 86400000 + clock;
    return true;
}

void
body_time(struct buf *out, const struct value *v, enum body_now unit)
{
    int64_t ms;
    bool parsed = parse(v, &ms);
    if (parsed && unit == NOW_MILLISECONDS) {
        buf_add_int(out, ms);
    } else if (parsed && unit == NOW_SECONDS) {
        buf_add_int(out, ms < 0 ? (ms - 999) / 1000 : ms / 1000);
    } else if (parsed && v->type != V_TIMESTAMPTZ) {
        size_t n = v->n > 10 ? 10 : v->n;
        buf_addc(out, '"');
        buf_add(out, v->p, n);
        buf_addc(out, 'T');
        if (v->n > n)
            buf_add(out, v->p + n + 1, v->n - n - 1);
        else
            buf_adds(out, "00:00:00");
        buf_adds(out, "Z\"");
    } else {
        value_json(out, v);
    }
}
