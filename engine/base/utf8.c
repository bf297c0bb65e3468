/* UTF-8: see utf8.h. ASCII goes eight bytes at a time, which is what texts mostly are. */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

static size_t
ascii_span(const unsigned char *p, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    while (i < n && p[i] < 0x80)
        i++;
    return i;
}

/* Length of the character at p, 0 when it is none; *cut as for utf8_span. */
static size_t
character(const unsigned char *p, size_t n, bool *cut)
{
    unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte */
    size_t size;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        size = 2;
    else if (p[0] >= 0xE0 && p[0] <= 0xEF)
        size = 3;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        size = 4;
    else
        return 0;
    if (p[0] == 0xE0)
        low = 0xA0;
    else if (p[0] == 0xED)
        high = 0x9F;
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F;
    for (size_t i = 1; i < size; i++) {
        if (i == n) {
            *cut = true;
            return 0;
        }
        if (p[i] < low || p[i] > high)
            return 0;
        low = 0x80;
        high = 0xBF;
    }
    return size;
}

size_t
utf8_span(struct str text, bool *cut)
{
    const unsigned char *p = (const unsigned char *)text.p;
    size_t at = 0;
    *cut = false;
    for (;;) {
        at += ascii_span(p + at, text.n - at);
        size_t size = at < text.n ? character(p + at, text.n - at, cut) : 0;
        if (size == 0)
            return at;
        at += size;
    }
}

size_t
utf8_character(const char *p, size_t n)
{
    bool cut;
    return n == 0                     ? 0
           : (unsigned char)*p < 0x80 ? 1
                                      : character((const unsigned char *)p, n, &cut);
}

/* Whether any of the eight bytes at p is a NUL or no ASCII. */
static inline bool
odd_among(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return ((word - UINT64_C(0x0101010101010101)) | word) & UINT64_C(0x8080808080808080);
}

/* How many ASCII characters other than NUL there are at p. */
static size_t
plain_span(const unsigned char *p, size_t n)
{
    size_t i = 0;
    while (i + 8 <= n && !odd_among(p + i))
        i += 8;
    if (n >= 8 && i + 8 > n && !odd_among(p + n - 8))
        return n;
    while (i < n && p[i] > 0 && p[i] < 0x80)
        i++;
    return i;
}

size_t
utf8_check(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t at = 0;
    for (;;) {
        at += plain_span(p + at, n - at);
        bool cut;
        size_t size = at < n && p[at] ? character(p + at, n - at, &cut) : 0;
        if (size == 0)
            return at;
        at += size;
    }
}

size_t
utf8_cut(const char *p, size_t n, size_t max)
{
    if (n <= max)
        return n;
    while (max > 0 && utf8_continues(p[max]))
        max--;
    return max;
}

/* Of more than one byte: C1, line and paragraph separator, embeddings and overrides of
 * direction. */
static bool
controls(const unsigned char *p, size_t size)
{
    if (size == 2)
        return p[0] == 0xC2 && p[1] < 0xA0;
    return size == 3 && p[0] == 0xE2 &&
           ((p[1] == 0x80 && p[2] >= 0xA8 && p[2] <= 0xAE) ||
            (p[1] == 0x81 && p[2] >= 0xA6 && p[2] <= 0xA9));
}

void
utf8_clean(char *z)
{
    size_t n = strlen(z), size;
    for (size_t at = 0; at < n; at += size) {
        size = utf8_character(z + at, n - at);
        if (z[at] == '\t') {
            z[at] = ' ';
        } else if (size == 0) {
            size = 1;
            z[at] = '?';
        } else if (size == 1 ? (z[at] < ' ' || z[at] == 0x7F)
                             : controls((unsigned char *)z + at, size)) {
            memset(z + at, '?', size);
        }
    }
}
