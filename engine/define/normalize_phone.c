/*
 * Telephone numbers as ITU-T E.164 writes them: see normalize.h. A number is international when
 * it begins with + or with what is dialled for calls abroad; else the country must be told, and
 * what is dialled before a national number goes. Where that leaves two readings, or one that is
 * too long or too short for the country, it is refused: a wrong number is somebody else's.
 */
#include <stdio.h>

#include "base/utf8.h"
#include "define/calling_codes.h"
#include "define/letters.h"
#include "define/normalize.h"

enum {
    E164_MIN = 7,
    E164_MAX = 15,
    DIGITS_MAX = 24, /* with prefixes */
};

struct dialled {
    char digits[DIGITS_MAX];
    size_t n;
    bool plus;
};

static int
no_phone(struct error *err, const char *why)
{
    return error_set(err, ERR_DATA, EINVAL, "it is no telephone number: %s", why);
}

static bool
is_separator(uint32_t c)
{
    return letters_is_space(c) || letters_is_dash(c) || c == '.' || c == '/' || c == '(' ||
           c == ')';
}

/* "16505551212.0" is a number that went through a spreadsheet; its last digit is none. */
static bool
is_decimal(struct str text)
{
    size_t n = text.n;
    if (n < 3 || text.p[n - 2] != '.' || text.p[n - 1] < '0' || text.p[n - 1] > '9')
        return false;
    for (size_t i = 0; i < n - 2; i++)
        if ((text.p[i] < '0' || text.p[i] > '9') && text.p[i] != '+' && text.p[i] != '-')
            return false;
    return true;
}

/* The digits; what they are set off by goes. */
static int
collect(struct str text, struct dialled *d, struct error *err)
{
    const char *p = text.p, *end = text.p + text.n;
    if (is_decimal(text))
        return no_phone(err, "it has a decimal point");
    while (p < end) {
        const char *here = p;
        uint32_t c = letters_next(&p, end);
        if (c >= '0' && c <= '9') {
            if (d->n == DIGITS_MAX)
                return no_phone(err, "it has too many digits");
            d->digits[d->n++] = (char)c;
        } else if ((c == '+' || c == 0xFF0B) && d->n == 0 && !d->plus) {
            d->plus = true;
        } else if (!is_separator(c)) {
            return error_set(err, ERR_DATA, EINVAL,
                             "it is no telephone number: it has the character \"%.*s\"",
                             (int)(p - here), here);
        }
    }
    return d->n ? 0 : no_phone(err, "it has no digits");
}

static bool
begins(struct str digits, const char *prefix)
{
    size_t n = strlen(prefix);
    return digits.n > n && memcmp(digits.p, prefix, n) == 0;
}

static struct str
after(struct str digits, size_t n)
{
    return (struct str){digits.p + n, digits.n - n};
}

static bool
possible(const struct calling_code *c, size_t n)
{
    return n >= c->min && n <= c->max;
}

/* An area of North America begins with 2 to 9. */
static bool
good_area(const struct calling_code *c, struct str number)
{
    return c->code != 1 || (number.n == 10 && number.p[0] >= '2');
}

static int
write_e164(struct str code, struct str number, struct buf *out, struct error *err)
{
    buf_addc(out, '+');
    buf_add(out, code.p, code.n);
    buf_add(out, number.p, number.n);
    if (!out->failed && (out->n <= E164_MIN || out->n > E164_MAX + 1))
        return no_phone(err, "with the calling code it must have 7 to 15 digits");
    return normalize_finish(out, err);
}

static int
write_number(const struct calling_code *c, struct str number, struct buf *out,
             struct error *err)
{
    char code[8];
    int n = snprintf(code, sizeof code, "%u", c->code);
    if (!good_area(c, number))
        return no_phone(err, "after +1 come ten digits, the first of them 2 to 9");
    return write_e164((struct str){code, (size_t)n}, number, out, err);
}

/* ---- international ---- */

/* Those that end up after the calling code though they are not dialled there: "+49 (0)30 …". */
static size_t
stray_trunk(const struct calling_code *c, struct str number)
{
    static const char *const prefixes[] = {[TRUNK_0] = "0",
                                           [TRUNK_8] = "8",
                                           [TRUNK_80] = "80",
                                           [TRUNK_06] = "06",
                                           [TRUNK_0_8] = "0"};
    unsigned trunk = c->rule & TRUNK_MASK;
    const char *prefix = trunk < sizeof prefixes / sizeof *prefixes ? prefixes[trunk] : NULL;
    if (!prefix || !begins(number, prefix) || !possible(c, number.n - strlen(prefix)))
        return 0;
    return trunk == TRUNK_8 && possible(c, number.n) ? 0 : strlen(prefix);
}

/* Digits from the calling code on. Countries that are not known, and numbers of services, have
 * but the bounds that E.164 sets. */
static int
international(struct str digits, struct buf *out, struct error *err)
{
    const struct calling_code *c = calling_code_of(digits);
    if (digits.p[0] == '0')
        return no_phone(err, "no calling code begins with 0");
    if (!c)
        return write_e164((struct str){digits.p, 0}, digits, out, err);
    struct str number = after(digits, calling_code_digits(c));
    if (begins(number, "00") && (c->rule & TRUNK_MASK) != KEEPS_0)
        return no_phone(err, "zeros follow the calling code");
    return write_number(c, after(number, stray_trunk(c, number)), out, err);
}

/* What is dialled before the calling code; 0 when it is not. */
static size_t
abroad(const struct calling_code *c, struct str digits)
{
    unsigned rule = c ? c->rule & FROM_MASK : 0;
    const char *prefix = rule == FROM_011    ? "011"
                         : rule == FROM_0011 ? "0011"
                         : rule == FROM_010  ? "010"
                                             : "00";
    return rule != FROM_OTHER && begins(digits, prefix) ? strlen(prefix) : 0;
}

/* ---- national ---- */

/* The prefix of a call inside the country; -1: a leading 0 that is none. */
static int
trunk_prefix(const struct calling_code *c, struct str d)
{
    bool zero = d.p[0] == '0';
    switch ((enum trunk)(c->rule & TRUNK_MASK)) {
    case KEEPS_0:
        return 0;
    case TRUNK_0:
        return zero;
    case TRUNK_1:
        return zero ? -1 : d.p[0] == '1';
    case TRUNK_8:
        return zero ? -1 : d.p[0] == '8' && possible(c, d.n - 1) && !possible(c, d.n);
    case TRUNK_80:
        return zero ? -1 : begins(d, "80") && possible(c, d.n - 2) ? 2 : 0;
    case TRUNK_06:
        return begins(d, "06") ? 2 : zero ? -1 : 0;
    case TRUNK_0_8:
        return zero || (d.p[0] == '8' && possible(c, d.n - 1) && !possible(c, d.n));
    default:
        return zero ? -1 : 0;
    }
}

static int
wrong_length(const struct calling_code *c, size_t n, struct error *err)
{
    if (c->min == c->max)
        return error_set(err, ERR_DATA, EINVAL,
                         "it is no telephone number of %s: that has %u digits, this %zu",
                         c->region, c->min, n);
    return error_set(err, ERR_DATA, EINVAL,
                     "it is no telephone number of %s: that has %u to %u digits, this %zu",
                     c->region, c->min, c->max, n);
}

/* Without any prefix, "4930…" may be Germany's code and an area, or another area. Sets *number
 * to what follows the calling code. */
static int
own_code(const struct calling_code *c, struct str digits, struct str *number, struct error *err)
{
    size_t code = calling_code_begins(c, digits) ? calling_code_digits(c) : 0;
    struct str rest = after(digits, code);
    bool whole = possible(c, digits.n);
    bool shorter = code > 0 &&
                   (rest.p[0] == '0' ? (c->rule & TRUNK_MASK) == KEEPS_0 : possible(c, rest.n));
    if (whole && shorter && c->rule & OWN_CODE)
        return error_set(err, ERR_DATA, EINVAL,
                         "it is a telephone number of two meanings: +%u is missing, or only "
                         "the + of it; write either",
                         c->code);
    *number = shorter ? rest : digits;
    return whole || shorter ? 0 : wrong_length(c, digits.n, err);
}

static int
unknown_zeros(const struct calling_code *c, struct error *err)
{
    return error_set(err, ERR_DATA, EINVAL,
                     "it is no telephone number of %s as they are known here: write it with + "
                     "and the calling code",
                     c->region);
}

static int
national(const struct calling_code *c, struct str digits, struct buf *out, struct error *err)
{
    int prefix = trunk_prefix(c, digits), rc = 0;
    if (prefix < 0)
        return unknown_zeros(c, err);
    struct str number = after(digits, (size_t)prefix);
    if (prefix > 0 && number.n > 0 && number.p[0] == '0')
        return unknown_zeros(c, err);
    if (prefix > 0 && !possible(c, number.n))
        return wrong_length(c, number.n, err);
    if (prefix == 0 && digits.p[0] != '0')
        rc = own_code(c, digits, &number, err);
    return rc ? rc : write_number(c, number, out, err);
}

/* ---- both ---- */

int
normalize_phone_e164(struct str in, struct str country, struct buf *out, struct error *err)
{
    struct dialled d = {.n = 0};
    int rc = normalize_begin(&in, out, err);
    if (rc || in.n == 0)
        return rc;
    rc = collect(in, &d, err);
    if (rc)
        return rc;
    struct str digits = {d.digits, d.n};
    if (d.plus)
        return international(digits, out, err);
    const struct calling_code *c = NULL;
    if (country.n > 0 && utf8_check(country.p, country.n) == country.n)
        country = letters_trim(country);
    if (country.n > 0 && !(c = calling_code_find(country)))
        return error_set(err, ERR_DATA, EINVAL,
                         "\"%.*s\" is no country: two letters or a calling code are needed",
                         (int)utf8_cut(country.p, country.n, 20), country.p);
    size_t prefix = abroad(c, digits);
    if (prefix > 0)
        return international(after(digits, prefix), out, err);
    return c ? national(c, digits, out, err)
             : no_phone(err, "it does not begin with + or 00, and no country is given");
}

int
normalize_phone_digits(struct str in, struct str country, struct buf *out, struct error *err)
{
    int rc = normalize_phone_e164(in, country, out, err);
    if (rc == 0 && out->n > 0) {
        memmove(out->p, out->p + 1, out->n); /* with the NUL */
        out->n--;
    }
    return rc;
}
