/*
 * Reads JSON (RFC 8259) where it lies, without building anything: a value is a span of the text
 * and its kind. What a library would lose stays: the digits of a number, the text of an object.
 * Bytes above 0x7F are not looked at: check UTF-8 first (utf8.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum json_kind {
    JSON_SPAN_NULL,
    JSON_SPAN_FALSE,
    JSON_SPAN_TRUE,
    JSON_SPAN_INTEGER, /* no fraction, no exponent; any length */
    JSON_SPAN_NUMBER,
    JSON_SPAN_STRING, /* the span is without the quotes */
    JSON_SPAN_OBJECT,
    JSON_SPAN_ARRAY,
};

struct json_span {
    const char *p;
    size_t n;
    enum json_kind kind;
    bool escaped; /* a string with backslashes: json_unescape it */
};

struct json_fault {
    const char *at;   /* in the text */
    const char *what; /* "expected a value"; static */
};

static inline const char *
json_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

/* Reads the value at p (no white space before it). Returns where it ends, or NULL and *fault.
 */
const char *json_scan(const char *p, const char *end, struct json_span *ret,
                      struct json_fault *fault);
/* Appends what a string span means, never more bytes than the span has. False: \u0000 or half a
 * surrogate pair, which no UTF-8 text can hold; *fault says which. */
bool json_unescape(const struct json_span *s, struct buf *out, struct json_fault *fault);
/* The text is one whole JSON value in UTF-8. */
bool json_valid(struct str text);
