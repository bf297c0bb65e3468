/*
 * E-mail addresses, names and places: see normalize.h. The vendors' rules were read in November
 * 2026: Google's "Format user data" of the Data Manager API (…/devguides/concepts/formatting),
 * Meta's "Customer Information Parameters" of the Conversions API.
 */
#include "define/normalize.h"

#include "base/cleanup.h"
#include "base/utf8.h"
#include "define/letters.h"

enum {
    EMAIL_MAX = 254, /* bytes: RFC 5321 with its erratum 1690 */
    SHA256_DIGITS = 64,
};

int
normalize_finish(const struct buf *out, struct error *err)
{
    return out->failed ? error_no_memory(err) : 0;
}

int
normalize_begin(struct str *in, struct buf *out, struct error *err)
{
    buf_clear(out);
    if (in->n > 0 && utf8_check(in->p, in->n) < in->n)
        return error_set(err, ERR_DATA, EINVAL, "it is no UTF-8 text");
    *in = letters_trim(*in);
    return 0;
}

/* Adds what is not dropped. White space is dropped, too, or is one blank between words. */
static void
add_kept(struct buf *out, struct str text, bool dropped(uint32_t), bool blanks)
{
    bool blank = false;
    for (const char *p = text.p, *end = text.p + text.n; p < end;) {
        const char *here = p;
        uint32_t c = letters_next(&p, end);
        if (letters_is_space(c)) {
            blank = blank || (blanks && out->n > 0 && !letters_is_mark(c));
        } else if (!dropped(c)) {
            if (blank)
                buf_addc(out, ' ');
            blank = false;
            buf_add(out, here, (size_t)(p - here));
        }
    }
}

bool
normalize_hashed(struct str in, struct buf *out)
{
    while (in.n > 0 && (in.p[0] == ' ' || (in.p[0] >= '\t' && in.p[0] <= '\r')))
        in = (struct str){in.p + 1, in.n - 1};
    while (in.n > 0 &&
           (in.p[in.n - 1] == ' ' || (in.p[in.n - 1] >= '\t' && in.p[in.n - 1] <= '\r')))
        in.n--;
    if (in.n != SHA256_DIGITS)
        return false;
    buf_clear(out);
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i] >= 'A' && in.p[i] <= 'F' ? (char)(in.p[i] | 32) : in.p[i];
        if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
            return false;
        buf_addc(out, c);
    }
    return true;
}

/* ---- e-mail ---- */

static int
no_email(struct error *err, const char *why)
{
    return error_set(err, ERR_DATA, EINVAL, "it is no e-mail address: %s", why);
}

/* Those that stand in an address only within quotes (RFC 5322, 3.2.3), which nobody uses. */
static bool
is_special(uint32_t c)
{
    return c == '(' || c == ')' || c == '<' || c == '>' || c == '[' || c == ']' || c == ':' ||
           c == ';' || c == ',' || c == '\\' || c == '"';
}

static int
check_email(struct str text, struct error *err)
{
    if (text.n > EMAIL_MAX)
        return no_email(err, "it is longer than 254 bytes");
    const char *at = memchr(text.p, '@', text.n), *end = text.p + text.n;
    if (!at)
        return no_email(err, "it has no @");
    if (memchr(at + 1, '@', (size_t)(end - at - 1)))
        return no_email(err, "it has more than one @");
    if (at == text.p)
        return no_email(err, "nothing stands before the @");
    if (at + 1 == end)
        return no_email(err, "nothing stands after the @");
    for (const char *p = text.p; p < end;) {
        uint32_t c = letters_next(&p, end);
        if (letters_is_space(c))
            return no_email(err, "white space stands inside");
        if (c < ' ' || (c >= 0x7F && c < 0xA0))
            return no_email(err, "it has a control character");
        if (is_special(c))
            return error_set(err, ERR_DATA, EINVAL,
                             "it is no e-mail address: it has the character '%c'", (int)c);
    }
    if (at[1] == '.' || end[-1] == '.' || memmem(at, (size_t)(end - at), "..", 2))
        return no_email(err, "a part of its domain is empty");
    return 0;
}

int
normalize_email(struct str in, struct str country, struct buf *out, struct error *err)
{
    int rc = normalize_begin(&in, out, err);
    if (rc || in.n == 0)
        return rc;
    rc = check_email(in, err);
    if (rc)
        return rc;
    letters_add_lower(out, in);
    return normalize_finish(out, err);
}

/* Google: white space goes wherever it stands; of the domains gmail.com and googlemail.com also
 * each dot before the @, and + with what follows it. Others keep both. */
int
normalize_email_google(struct str in, struct str country, struct buf *out, struct error *err)
{
    AUTO_BUF struct buf close = BUF_INIT(BUF_NO_MAX);
    int rc = normalize_begin(&in, out, err);
    if (rc)
        return rc;
    add_kept(&close, in, letters_is_space, false);
    rc = normalize_finish(&close, err);
    if (rc == 0)
        rc = normalize_email(buf_str(&close), country, out, err);
    const char *at = rc == 0 && out->n ? memchr(out->p, '@', out->n) : NULL;
    if (!at || (strcmp(at, "@gmail.com") != 0 && strcmp(at, "@googlemail.com") != 0))
        return rc;
    size_t kept = 0, local = (size_t)(at - out->p);
    for (size_t i = 0; i < local && out->p[i] != '+'; i++)
        if (out->p[i] != '.')
            out->p[kept++] = out->p[i];
    if (kept == 0)
        return no_email(err, "nothing is left before the @ without dots and +suffix");
    memmove(out->p + kept, at, out->n - local + 1);
    out->n -= local - kept;
    return 0;
}

/* ---- names and places ---- */

static int
lower_kept(struct str in, bool dropped(uint32_t), bool blanks, struct buf *out,
           struct error *err)
{
    AUTO_BUF struct buf kept = BUF_INIT(BUF_NO_MAX);
    int rc = normalize_begin(&in, out, err);
    if (rc)
        return rc;
    add_kept(&kept, in, dropped, blanks);
    rc = normalize_finish(&kept, err);
    if (rc)
        return rc;
    letters_add_lower(out, buf_str(&kept));
    return normalize_finish(out, err);
}

/* Google: "all lowercase, with no punctuation, no leading or trailing whitespace"; Meta:
 * "lowercase only with no punctuation", special characters in UTF-8. */
int
normalize_name(struct str in, struct str country, struct buf *out, struct error *err)
{
    return lower_kept(in, letters_is_punctuation, true, out, err);
}

/* Meta, for cities and for states outside the US: as names, and "no spaces". */
int
normalize_city(struct str in, struct str country, struct buf *out, struct error *err)
{
    return lower_kept(in, letters_is_punctuation, false, out, err);
}

static bool
is_country(struct str country, const char *z)
{
    return country.n == 2 && (country.p[0] | 32) == z[0] && (country.p[1] | 32) == z[1];
}

/* Meta: "lowercase with no spaces and no dash. Use only the first 5 digits for U.S." */
int
normalize_zip(struct str in, struct str country, struct buf *out, struct error *err)
{
    int rc = lower_kept(in, letters_is_dash, false, out, err);
    if (rc || out->n == 0 || !is_country(letters_trim(country), "us"))
        return rc;
    if ((out->n != 5 && out->n != 9) || strspn(out->p, "0123456789") != out->n)
        return error_set(err, ERR_DATA, EINVAL,
                         "it is no postal code of the US: it has not 5 or 9 digits");
    out->p[out->n = 5] = '\0';
    return 0;
}

int
normalize_country(struct str in, struct str country, struct buf *out, struct error *err)
{
    int rc = normalize_begin(&in, out, err);
    if (rc || in.n == 0)
        return rc;
    for (size_t i = 0; i < in.n; i++)
        if (in.n != 2 || (in.p[i] | 32) < 'a' || (in.p[i] | 32) > 'z')
            return error_set(err, ERR_DATA, EINVAL, "it is no two-letter code of a country");
    letters_add_lower(out, is_country(in, "uk") ? STR("gb") : in);
    return normalize_finish(out, err);
}
