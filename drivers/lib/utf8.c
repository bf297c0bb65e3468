/* Checking UTF-8: see utf8.h. Eight bytes at a time while they are ASCII, which most are. */
#include "lib/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool
is_tail(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

/* Length of the well-formed sequence at s, of at most n bytes; 0: there is none. */
static size_t
sequence(const unsigned char *s, size_t n)
{
    unsigned char c = s[0];
    if (c < 0x80)
        return c != 0;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    if (c < 0xE0)
        return n >= 2 && is_tail(s[1]) ? 2 : 0;
    if (c < 0xF0) {
        if (n < 3 || !is_tail(s[1]) || !is_tail(s[2]))
            return 0;
        bool overlong = c == 0xE0 && s[1] < 0xA0, surrogate = c == 0xED && s[1] > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    if (n < 4 || !is_tail(s[1]) || !is_tail(s[2]) || !is_tail(s[3]))
        return 0;
    bool overlong = c == 0xF0 && s[1] < 0x90, beyond = c == 0xF4 && s[1] > 0x8F;
    return overlong || beyond ? 0 : 4;
}

size_t
utf8_check(const char *p, size_t n)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    size_t i = 0;
    while (i < n) {
        uint64_t w;
        if (n - i >= sizeof w) {
            memcpy(&w, p + i, sizeof w);
            /* No byte above 0x7F and none that is zero. */
            if (((w | (w - ones)) & high) == 0) {
                i += sizeof w;
                continue;
            }
        }
        size_t len = sequence((const unsigned char *)p + i, n - i);
        if (!len)
            return i;
        i += len;
    }
    return n;
}

size_t
utf8_cut(const char *p, size_t n, size_t max)
{
    if (n <= max)
        return n;
    while (max > 0 && is_tail((unsigned char)p[max]))
        max--;
    return max;
}
