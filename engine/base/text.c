/*
 * Values as JSON and CSV: see value.h. Every row that is shown or sent passes here, so text is
 * copied in runs, not byte by byte.
 */
#include "base/utf8.h"
#include "base/value.h"

enum byte_class { PLAIN, ESCAPE, HIGH };

/* What json_quote must look at: control characters, quote, backslash, all that is not ASCII.
 */
static const uint8_t byte_classes[256] = {
    [0 ... 0x1F] = ESCAPE, ['"'] = ESCAPE, ['\\'] = ESCAPE, [0x80 ... 0xFF] = HIGH};

static void
escape_byte(struct buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r',
                                   ['\t'] = 't', ['"'] = '"',  ['\\'] = '\\'};
    if (c < sizeof letters && letters[c]) {
        buf_add(out, (char[]){'\\', letters[c]}, 2);
        return;
    }
    buf_add(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

/* How many bytes at p are ASCII that needs no escape. */
static size_t
plain_run(const char *p, size_t n)
{
    const uint64_t ones = 0x0101010101010101u;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w;
        memcpy(&w, p + i, 8);
        /* a top bit appears where a byte is above 7F, below 20, a quote or a backslash */
        uint64_t odd =
            w | (w - ones * 0x20) | ((w ^ ones * '"') - ones) | ((w ^ ones * '\\') - ones);
        if (odd & ones * 0x80)
            break;
    }
    while (i < n && byte_classes[(unsigned char)p[i]] == PLAIN)
        i++;
    return i;
}

/* The rest of a string from where it is no longer plain. */
static void
escape_rest(struct buf *out, const char *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t done = 0, i = 0; /* [done, i) is fit to be copied as it is */
    while (i < n) {
        size_t length = byte_classes[s[i]] == HIGH ? utf8_character(p + i, n - i) : 1;
        if (byte_classes[s[i]] != ESCAPE && length > 0) {
            i += length;
            continue;
        }
        buf_add(out, p + done, i - done);
        if (length > 0)
            escape_byte(out, s[i]);
        else
            buf_add(out, "\xEF\xBF\xBD", 3);
        done = ++i;
    }
    buf_add(out, p + done, n - done);
}

void
json_quote(struct buf *out, const char *p, size_t n)
{
    char *to = buf_room(out, n + 2);
    if (!to)
        return;
    size_t plain = plain_run(p, n);
    *to++ = '"';
    if (plain > 0)
        memcpy(to, p, plain);
    out->n += 1 + plain;
    if (plain < n)
        escape_rest(out, p + plain, n - plain);
    buf_addc(out, '"');
}

static const char *
skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* Whether it is a JSON number as it stands. */
static bool
is_json_number(struct str text)
{
    const char *p = text.p, *end = p + text.n;
    p += p < end && *p == '-';
    const char *whole = p;
    p = skip_digits(p, end);
    if (p == whole || (p - whole > 1 && *whole == '0'))
        return false;
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p, end);
        if (p == fraction)
            return false;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '-' || *p == '+');
        const char *exponent = p;
        p = skip_digits(p, end);
        if (p == exponent)
            return false;
    }
    return p == end;
}

/*
 * Decimal text as a JSON number: ".5" becomes 0.5, "+1" 1, "007" 7, "5." 5. False, and nothing
 * written, for what is none ("NaN").
 */
static bool
json_number(struct buf *out, struct str text)
{
    if (is_json_number(text)) {
        buf_add(out, text.p, text.n);
        return true;
    }
    const char *p = text.p, *end = text.p + text.n;
    bool negative = p < end && *p == '-', plus = p < end && *p == '+';
    p += negative || plus;
    const char *whole = p, *whole_end = skip_digits(p, end);
    const char *fraction = whole_end, *fraction_end = whole_end;
    if (whole_end < end && *whole_end == '.') {
        fraction = whole_end + 1;
        fraction_end = skip_digits(fraction, end);
    }
    if (whole_end == whole && fraction_end == fraction)
        return false;
    const char *exponent = fraction_end;
    if (exponent < end) {
        if (*exponent != 'e' && *exponent != 'E')
            return false;
        p = exponent + 1;
        if (p < end && (*p == '-' || *p == '+'))
            p++;
        if (p == end || skip_digits(p, end) != end)
            return false;
    }
    while (whole_end - whole > 1 && *whole == '0')
        whole++;
    if (negative)
        buf_addc(out, '-');
    if (whole == whole_end)
        buf_addc(out, '0');
    buf_add(out, whole, (size_t)(whole_end - whole));
    if (fraction_end > fraction) {
        buf_addc(out, '.');
        buf_add(out, fraction, (size_t)(fraction_end - fraction));
    }
    buf_add(out, exponent, (size_t)(end - exponent));
    return true;
}

static void
add_hex(struct buf *out, const char *p, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    char *to = buf_room(out, 2 * n);
    if (!to)
        return;
    for (size_t i = 0; i < n; i++) {
        *to++ = hex[(unsigned char)p[i] >> 4];
        *to++ = hex[(unsigned char)p[i] & 15];
    }
    *to = '\0';
    out->n += 2 * n;
}

/* Where the time begins in "2024-01-31 13:05:00.25+00"; NULL: it is something else. */
static const char *
find_time(const struct value *v)
{
    for (size_t i = 0; i < v->n; i++) {
        char c = v->p[i];
        if (!((c >= '0' && c <= ':') || c == '-' || c == '.' || c == ' ' || c == '+'))
            return NULL;
    }
    return v->n ? memchr(v->p, ' ', v->n) : NULL;
}

static bool
ends_utc(const struct value *v)
{
    return v->type == V_TIMESTAMPTZ && v->n > 3 && memcmp(v->p + v->n - 3, "+00", 3) == 0;
}

/* As RFC 3339; "infinity" and years BC, which that cannot say, as they are. */
static void
json_timestamp(struct buf *out, const struct value *v)
{
    const char *space = find_time(v);
    if (!space) {
        json_quote(out, v->p, v->n);
        return;
    }
    bool utc = ends_utc(v);
    size_t n = utc ? v->n - 3 : v->n;
    buf_addc(out, '"');
    size_t at = out->n + (size_t)(space - v->p);
    buf_add(out, v->p, n);
    if (!out->failed && at < out->n)
        out->p[at] = 'T';
    buf_adds(out, utc ? "Z\"" : "\"");
}

/* JSON on one line: white space outside strings goes, control characters inside, which are not
 * allowed there anyway, are escaped. */
static void
json_compact(struct buf *out, const char *p, size_t n)
{
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (quoted && c == '\\' && i + 1 < n && (unsigned char)p[i + 1] >= 0x20) {
            buf_add(out, p + i++, 2);
            continue;
        }
        if (c == '"')
            quoted = !quoted;
        if (quoted && c < 0x20)
            escape_byte(out, c);
        else if (c > 0x20 || (quoted && c == ' '))
            buf_addc(out, (char)c);
    }
}

void
value_json(struct buf *out, const struct value *v)
{
    switch ((enum value_type)v->type) {
    case V_NULL:
    case V_ABSENT:
        buf_add(out, "null", 4);
        return;
    case V_BOOL:
        if (v->n == 1 && v->p[0] == 't')
            buf_add(out, "true", 4);
        else
            buf_add(out, "false", 5);
        return;
    case V_INT:
    case V_DECIMAL:
    case V_FLOAT:
        if (!json_number(out, (struct str){v->p, v->n}))
            json_quote(out, v->p, v->n);
        return;
    case V_BYTES:
        buf_add(out, "\"\\\\x", 4);
        add_hex(out, v->p, v->n);
        buf_addc(out, '"');
        return;
    case V_TIMESTAMP:
    case V_TIMESTAMPTZ:
        json_timestamp(out, v);
        return;
    case V_JSON:
        if (v->n == 0)
            buf_add(out, "null", 4);
        else if (memchr(v->p, '\n', v->n) || memchr(v->p, '\r', v->n))
            json_compact(out, v->p, v->n);
        else
            buf_add(out, v->p, v->n);
        return;
    case V_TEXT:
    case V_DATE:
    case V_TIME:
        break;
    }
    json_quote(out, v->p, v->n);
}

/* -1: it must be written to know. */
static int64_t
size_of_json(const struct value *v)
{
    enum { QUOTES = 2, ZONE = 2 }; /* "+00" becomes "Z" */
    switch ((enum value_type)v->type) {
    case V_NULL:
    case V_ABSENT:
        return 4;
    case V_INT:
    case V_DECIMAL:
    case V_FLOAT:
        return is_json_number((struct str){v->p, v->n}) ? (int64_t)v->n : -1;
    case V_TIMESTAMP:
    case V_TIMESTAMPTZ:
        return find_time(v) ? (int64_t)v->n + QUOTES - (ends_utc(v) ? ZONE : 0) : -1;
    case V_TEXT:
    case V_DATE:
    case V_TIME:
        return plain_run(v->p, v->n) == v->n ? (int64_t)v->n + QUOTES : -1;
    case V_BOOL:
    case V_BYTES:
    case V_JSON:
        break;
    }
    return -1;
}

size_t
value_json_size(const struct value *v, struct buf *scratch)
{
    int64_t n = size_of_json(v);
    if (n >= 0)
        return (size_t)n;
    buf_clear(scratch);
    value_json(scratch, v);
    return scratch->n;
}

void
csv_field(struct buf *out, const char *p, size_t n)
{
    static const bool special[256] = {[','] = true, ['"'] = true, ['\n'] = true, ['\r'] = true};
    bool quote = false;
    for (size_t i = 0; i < n && !quote; i++)
        quote = special[(unsigned char)p[i]];
    if (!quote) {
        if (n > 0)
            buf_add(out, p, n);
        return;
    }
    buf_addc(out, '"');
    while (n > 0) {
        const char *inner = memchr(p, '"', n);
        size_t run = inner ? (size_t)(inner - p) + 1 : n;
        buf_add(out, p, run);
        if (inner)
            buf_addc(out, '"');
        p += run;
        n -= run;
    }
    buf_addc(out, '"');
}

void
value_csv(struct buf *out, const struct value *v)
{
    switch ((enum value_type)v->type) {
    case V_NULL:
    case V_ABSENT:
        return;
    case V_BOOL:
        buf_adds(out, v->n == 1 && v->p[0] == 't' ? "true" : "false");
        return;
    case V_BYTES:
        buf_add(out, "\\x", 2);
        add_hex(out, v->p, v->n);
        return;
    default:
        if (v->n == 0)
            buf_add(out, "\"\"", 2);
        else
            csv_field(out, v->p, v->n);
    }
}
