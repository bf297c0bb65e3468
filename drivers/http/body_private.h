/* A compiled template (body.h): a list of steps, made by body.c, done one after the other by
 * body_write.c. */
#pragma once

#include "base/vec.h"
#include "http/body.h"

enum { BODY_DEPTH_MAX = 32 };

enum step_kind {
    STEP_TEXT, /* a value, as it is written */
    STEP_OPEN, /* { or [; written with the first thing in it if it is `lazy` */
    STEP_CLOSE,
    STEP_NAME, /* of the next value: text is "name": */
    STEP_FIELD,
    STEP_KEY,
    STEP_KEY_TEXT,
    STEP_IDENTITY,
    STEP_INDEX,
    STEP_NOW,
    STEP_QUOTE,       /* a string made of the pieces that follow */
    STEP_PIECE,       /* text, JSON already */
    STEP_PIECE_FIELD, /* text instead of NULL */
    STEP_UNQUOTE,
    STEP_NOTHING, /* no value */
    STEP_JSON,    /* what follows is JSON in a string… */
    STEP_JSON_END,
    STEP_ROWS, /* the steps up to `end` for each row */
};

enum body_now { NOW_SECONDS, NOW_MILLISECONDS, NOW_ISO };

struct step {
    enum step_kind kind;
    struct str text;
    size_t field; /* STEP_FIELD; STEP_IDENTITY: digits; STEP_NOW: enum body_now; STEP_ROWS: the
                     step after its last one */
    char bracket; /* STEP_OPEN */
    bool lazy;
    bool markup;    /* STEP_PIECE_FIELD: the string is markup */
    bool in_record; /* the field stands for "@record": changed_only is about it */
};

struct body {
    VEC(struct step) steps;
    struct arena arena;
    struct value *before; /* of the row at hand */
    struct body_settings set;
    size_t *key;
    unsigned char *nulls;    /* enum body_nulls of each field */
    struct buf phrase, json; /* scratch of the writer */
};

/* Adds the steps of a text with fields in braces. */
int body_phrase(struct body *b, const struct body_settings *set, struct str text, bool markup,
                struct error *err);
/* Writes a field into such a text: within a JSON string, without its quotes. */
void body_phrase_field(struct body *b, const struct step *s, const struct value *v,
                       struct buf *out);
