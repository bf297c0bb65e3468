/*
 * Text from a file or a loosely typed column, made a value of a declared type in the one form
 * of value.h. Nothing is guessed: what does not fit is said to the caller, who decides.
 */
#pragma once

#include "base/arena.h"
#include "base/value.h"

/* 0: *ret is the value, borrowed from `in` or, where the form had to change, from the arena.
 * -EINVAL: the text is nothing of that type. -ENOMEM.
 *
 *   boolean    true false t f yes no 1 0, in any case
 *   integer    optional sign, digits, within 64 bits
 *   decimal    sign, digits, fraction, exponent; every digit is kept
 *   float      the same, and NaN, inf, infinity
 *   bytes      "\x" and hexadecimal digits
 *   date       2024-01-31
 *   time       13:05, 13:05:00, 13:05:00.25
 *   timestamp  date, 'T' or a space, time; with time zone: and Z, +01, +0130 or +01:30
 *   json       any JSON value */
int cast_text(enum value_type type, struct str in, struct arena *arena, struct value *ret);

/* Shortest text that reads back as the same double: at most CAST_DOUBLE_MAX bytes and a NUL. */
enum { CAST_DOUBLE_MAX = 32 };
size_t cast_double(double d, char out[CAST_DOUBLE_MAX]);
/* Decimal digits; at most 20 bytes, no NUL. */
size_t cast_int(int64_t i, char out[20]);
/* Reads a V_INT's text; false when it is none or does not fit. */
bool cast_to_int(struct str in, int64_t *ret);
