/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* How many bytes from the start are good. *cut: what follows is the beginning of a character
 * that more bytes could make whole. */
size_t utf8_span(struct str text, bool *cut);

/* Length of the character at p, of which n bytes are there; 0 when it is none. */
size_t utf8_character(const char *p, size_t n);

/* Offset of the first byte that cannot stand in a V_TEXT: a NUL, or no UTF-8; n when all is
 * well. Every source that reads bytes asks here before it calls them V_TEXT. */
size_t utf8_check(const char *text, size_t n);

/* How many of the first n bytes may be shown without cutting a character; at most max. */
size_t utf8_cut(const char *p, size_t n, size_t max);

/* Makes words of others fit for a line on a terminal, in place: each byte of what controls it,
 * ends the line, turns the direction of writing or is no UTF-8 becomes '?', a tab a blank. */
void utf8_clean(char *z);

/* A byte that is not the first of its character. */
static inline bool
utf8_continues(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}
