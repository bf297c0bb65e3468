/* Is it text? Every source that reads bytes asks here before it calls them V_TEXT. */
#pragma once

#include <stddef.h>

/* Offset of the first byte that cannot stand in a V_TEXT (a NUL, or no UTF-8 as RFC 3629 has
 * it: no overlong forms, no surrogates, nothing above U+10FFFF); n when all is well. */
size_t utf8_check(const char *p, size_t n);

/* How many of the first n bytes may be shown without cutting a character; at most max. */
size_t utf8_cut(const char *p, size_t n, size_t max);
