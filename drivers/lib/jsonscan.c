/* Scanning JSON in place: see jsonscan.h. Nesting is a stack of bits, so depth costs no C
 * stack. */
#include "lib/jsonscan.h"

#include <stdint.h>
#include <string.h>

#include "base/hex.h"
#include "base/utf8.h"

enum { DEPTH_MAX = 1024 };

static const char *
fail(struct json_fault *fault, const char *at, const char *what)
{
    *fault = (struct json_fault){at, what};
    return NULL;
}

/* p is at the backslash. */
static const char *
scan_escape(const char *p, const char *end, struct json_fault *fault)
{
    if (end - p < 2)
        return fail(fault, end, "string without end");
    if (p[1] != 'u')
        return p[1] && strchr("\"\\/bfnrt", p[1])
                   ? p + 2
                   : fail(fault, p, "unknown escape in a string");
    for (int i = 2; i < 6; i++)
        if (end - p <= i || hex_digit(p[i]) < 0)
            return fail(fault, p, "\\u needs four hexadecimal digits");
    return p + 6;
}

/* Skips bytes that mean nothing in a string, eight at a time. */
static const char *
skip_plain(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, sizeof w);
        uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
        uint64_t stop =
            ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((w - ones * 0x20) & ~w);
        if (stop & high)
            break;
        p += 8;
    }
    return p;
}

/* p is after the opening quote; the span ends before the closing one. */
static const char *
scan_string(const char *p, const char *end, struct json_span *ret, struct json_fault *fault)
{
    *ret = (struct json_span){.p = p, .kind = JSON_SPAN_STRING};
    for (;;) {
        p = skip_plain(p, end);
        while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
            p++;
        if (p == end)
            return fail(fault, end, "string without end");
        if (*p == '"') {
            ret->n = (size_t)(p - ret->p);
            return p + 1;
        }
        if (*p != '\\')
            return fail(fault, p, "control character in a string");
        ret->escaped = true;
        p = scan_escape(p, end, fault);
        if (!p)
            return NULL;
    }
}

static const char *
skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static const char *
scan_number(const char *p, const char *end, struct json_span *ret, struct json_fault *fault)
{
    *ret = (struct json_span){.p = p, .kind = JSON_SPAN_INTEGER};
    const char *digits = p + (*p == '-');
    p = skip_digits(digits, end);
    if (p == digits)
        return fail(fault, p, "expected a digit");
    if (*digits == '0' && p - digits > 1)
        return fail(fault, digits, "number with a leading zero");
    if (p < end && *p == '.') {
        ret->kind = JSON_SPAN_NUMBER;
        const char *fraction = p + 1;
        p = skip_digits(fraction, end);
        if (p == fraction)
            return fail(fault, p, "expected a digit");
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        ret->kind = JSON_SPAN_NUMBER;
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        const char *exponent = p;
        p = skip_digits(exponent, end);
        if (p == exponent)
            return fail(fault, p, "expected a digit");
    }
    ret->n = (size_t)(p - ret->p);
    return p;
}

static const char *
scan_word(const char *p, const char *end, struct json_span *ret, struct json_fault *fault)
{
    static const struct {
        const char *text;
        size_t n;
        enum json_kind kind;
    } words[] = {{"null", 4, JSON_SPAN_NULL},
                 {"true", 4, JSON_SPAN_TRUE},
                 {"false", 5, JSON_SPAN_FALSE}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if ((size_t)(end - p) >= words[i].n && memcmp(p, words[i].text, words[i].n) == 0) {
            *ret = (struct json_span){.p = p, .n = words[i].n, .kind = words[i].kind};
            return p + words[i].n;
        }
    }
    return fail(fault, p, "expected a value");
}

static const char *
scan_scalar(const char *p, const char *end, struct json_span *ret, struct json_fault *fault)
{
    if (p == end)
        return fail(fault, p, "expected a value");
    if (*p == '"')
        return scan_string(p + 1, end, ret, fault);
    if (*p == '-' || (*p >= '0' && *p <= '9'))
        return scan_number(p, end, ret, fault);
    return scan_word(p, end, ret, fault);
}

/* "key": before a member's value. */
static const char *
scan_key(const char *p, const char *end, struct json_fault *fault)
{
    struct json_span key;
    if (p == end || *p != '"')
        return fail(fault, p, "expected a key in quotes");
    p = scan_string(p + 1, end, &key, fault);
    if (!p)
        return NULL;
    p = json_space(p, end);
    if (p == end || *p != ':')
        return fail(fault, p, "expected \":\"");
    return json_space(p + 1, end);
}

/* p is at '{' or '['. */
static const char *
scan_nested(const char *p, const char *end, struct json_fault *fault)
{
    uint64_t objects[DEPTH_MAX / 64] = {0}; /* bit set: that level is an object */
    unsigned depth = 0;
    for (;;) {
        /* At a value. */
        if (p < end && (*p == '{' || *p == '[')) {
            if (depth == DEPTH_MAX)
                return fail(fault, p, "nested too deeply");
            uint64_t bit = UINT64_C(1) << depth % 64;
            bool object = *p == '{';
            objects[depth / 64] = (objects[depth / 64] & ~bit) | (object ? bit : 0);
            depth++;
            p = json_space(p + 1, end);
            if (p == end || *p != (object ? '}' : ']')) {
                if (object && !(p = scan_key(p, end, fault)))
                    return NULL;
                continue;
            }
        } else {
            struct json_span ignored;
            p = scan_scalar(p, end, &ignored, fault);
            if (!p)
                return NULL;
        }
        /* After a value, or at the end of an empty container. */
        for (;;) {
            p = json_space(p, end);
            bool object = objects[(depth - 1) / 64] >> (depth - 1) % 64 & 1;
            if (p < end && *p == (object ? '}' : ']')) {
                p++;
                if (--depth == 0)
                    return p;
                continue;
            }
            if (p == end || *p != ',')
                return fail(fault, p,
                            object ? "expected \",\" or \"}\"" : "expected \",\" or \"]\"");
            p = json_space(p + 1, end);
            if (object && !(p = scan_key(p, end, fault)))
                return NULL;
            break;
        }
    }
}

const char *
json_scan(const char *p, const char *end, struct json_span *ret, struct json_fault *fault)
{
    if (p == end || (*p != '{' && *p != '['))
        return scan_scalar(p, end, ret, fault);
    const char *after = scan_nested(p, end, fault);
    if (after)
        *ret = (struct json_span){
            .p = p,
            .n = (size_t)(after - p),
            .kind = *p == '{' ? JSON_SPAN_OBJECT : JSON_SPAN_ARRAY,
        };
    return after;
}

static unsigned
hex4(const char *p)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (unsigned)hex_digit(p[i]);
    return v;
}

static void
add_utf8(struct buf *out, unsigned c)
{
    if (c < 0x80) {
        buf_addc(out, (char)c);
        return;
    }
    if (c < 0x800) {
        buf_addc(out, (char)(0xC0 | c >> 6));
    } else {
        if (c < 0x10000) {
            buf_addc(out, (char)(0xE0 | c >> 12));
        } else {
            buf_addc(out, (char)(0xF0 | c >> 18));
            buf_addc(out, (char)(0x80 | (c >> 12 & 0x3F)));
        }
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3F)));
    }
    buf_addc(out, (char)(0x80 | (c & 0x3F)));
}

/* p is after "\u"; returns after the digits, of both halves of a pair. */
static const char *
unescape_unicode(const char *p, const char *end, struct buf *out, struct json_fault *fault)
{
    unsigned c = hex4(p);
    if (c == 0)
        return fail(fault, p - 2, "\\u0000 cannot stand in a text");
    if (c >= 0xDC00 && c < 0xE000)
        return fail(fault, p - 2, "half a surrogate pair");
    if (c >= 0xD800 && c < 0xDC00) {
        if (end - p < 10 || p[4] != '\\' || p[5] != 'u')
            return fail(fault, p - 2, "half a surrogate pair");
        unsigned low = hex4(p + 6);
        if (low < 0xDC00 || low >= 0xE000)
            return fail(fault, p - 2, "half a surrogate pair");
        add_utf8(out, 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00));
        return p + 10;
    }
    add_utf8(out, c);
    return p + 4;
}

bool
json_unescape(const struct json_span *s, struct buf *out, struct json_fault *fault)
{
    const char *p = s->p, *end = s->p + s->n;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        buf_add(out, p, (size_t)((slash ? slash : end) - p));
        if (!slash)
            break;
        p = slash + 2;
        switch (slash[1]) {
        case 'b':
            buf_addc(out, '\b');
            break;
        case 'f':
            buf_addc(out, '\f');
            break;
        case 'n':
            buf_addc(out, '\n');
            break;
        case 'r':
            buf_addc(out, '\r');
            break;
        case 't':
            buf_addc(out, '\t');
            break;
        case 'u':
            p = unescape_unicode(p, end, out, fault);
            if (!p)
                return false;
            break;
        default:
            buf_addc(out, slash[1]);
        }
    }
    return true;
}

bool
json_valid(struct str text)
{
    if (utf8_check(text.p, text.n) < text.n)
        return false;
    const char *end = text.p + text.n;
    struct json_span ignored;
    struct json_fault fault;
    const char *p = json_scan(json_space(text.p, end), end, &ignored, &fault);
    return p && json_space(p, end) == end;
}
