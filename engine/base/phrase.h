/*
 * Texts in which fields stand in braces: "Hello {first_name|you}, …". One reader for whoever
 * judges such a text and whoever writes it.
 */
#pragma once

#include "base/buf.h"

enum phrase_kind {
    PHRASE_END,
    PHRASE_TEXT,   /* as it is; "{{" stands for "{" */
    PHRASE_FIELD,  /* a field's value */
    PHRASE_BROKEN, /* a "{" that is not closed, or names nothing */
};

struct phrase {
    struct str text;      /* PHRASE_TEXT; PHRASE_FIELD: its name */
    struct str otherwise; /* PHRASE_FIELD: what stands there for NULL, after "|" */
};

/* The next piece at *at, which is moved behind it. */
enum phrase_kind phrase_next(struct str *at, struct phrase *ret);
