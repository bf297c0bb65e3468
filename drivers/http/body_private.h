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
    bool in_record; /* the field stands for "@record": changed_only is about it */
};

struct body {
    VEC(struct step) steps;
    struct arena arena;
    struct value *before; /* of the row at hand */
    struct body_settings set;
    size_t *key;
};
