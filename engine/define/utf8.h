/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* How many bytes from the start are good. *cut: what follows is the beginning of a character
 * that more bytes could make whole. */
size_t utf8_span(struct str text, bool *cut);

/* A byte that is not the first of its character. */
static inline bool
utf8_continues(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}
