/*
 * The little of Unicode that normalising needs: small letters, white space, punctuation. Texts
 * are good UTF-8. Nothing depends on a locale: a hash must be the same on every machine.
 */
#pragma once

#include "base/buf.h"

uint32_t letters_decode(const char **p, const char *end);
bool letters_is_wide_space(uint32_t c);

/* Reads the character at *p, before end, and moves past it. */
static inline uint32_t
letters_next(const char **p, const char *end)
{
    return (unsigned char)**p < 0x80 ? (uint32_t)(unsigned char)*(*p)++
                                     : letters_decode(p, end);
}

void letters_add(struct buf *out, uint32_t c);

/* Appends the text in small letters, as Unicode 14 maps them without regard to the language:
 * capital I with dot becomes i and a combining dot, capital sigma at a word's end the final
 * form, as String.toLowerCase of JavaScript and str.lower of Python do. What has no case stays;
 * nothing is composed or decomposed. */
void letters_add_lower(struct buf *out, struct str text);

/* What shows nothing (zero width space, direction of writing, byte order): it comes along when
 * people copy from address books. Joiners are none: they change letters. */
bool letters_is_mark(uint32_t c);
/* White space and those marks. */
static inline bool
letters_is_space(uint32_t c)
{
    return c < 0x80 ? c == ' ' || (c >= '\t' && c <= '\r') : letters_is_wide_space(c);
}

/* What is punctuation in ASCII (symbols too), Latin-1, General Punctuation, CJK and the full
 * width forms; that of other scripts is not known. */
bool letters_is_punctuation(uint32_t c);

/* Hyphen, minus, dashes. */
bool letters_is_dash(uint32_t c);

/* The text without white space at its ends. */
struct str letters_trim(struct str text);
