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
    STEP_NOTHING,    /* no value */
    STEP_STRING,     /* a field as a string; NULL is left out */
    STEP_TIME,       /* …as a time, in `unit` */
    STEP_NULL_PART,  /* text, if all `fields` are NULL */
    STEP_WITH_NULLS, /* the steps up to `field`, if a part of `fields` is all NULL */
    STEP_JSON,       /* what follows is JSON in a string… */
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
    bool omit; /* STEP_FIELD: left out if it is NULL */
    enum body_now unit;
    const size_t *fields; /* STEP_WITH_NULLS: each part is followed by SIZE_MAX */
    size_t nfields;
    bool markup;                     /* STEP_PIECE_FIELD: the string is markup */
    const struct field_group *group; /* of a field of "@record", which changed_only is about */
};

/* Fields that are sent together, if one of them changed. */
struct field_group {
    size_t n;
    size_t fields[];
};

struct body {
    VEC(struct step) steps;
    struct arena arena;
    struct value *before; /* of the row at hand */
    struct body_settings set;
    size_t *key;
    unsigned char *nulls;    /* enum body_nulls of each field */
    struct buf phrase, json; /* scratch of the writer */
    VEC(size_t) over;        /* see body_over */
};

struct compiler {
    struct body *body;
    const struct body_settings *set;
    struct error *err;
    bool in_rows, in_row_array, in_json;
    bool phrases;       /* strings are texts with fields in braces */
    bool *used;         /* fields that the template names */
    const char *member; /* within which we are */
    char where[256];    /* JSON pointer */
};

/* "WHERE: WHAT"; -EINVAL. */
int body_wrong(struct compiler *c, const char *what);
int body_add(struct compiler *c, struct step step);
int body_open(struct compiler *c, char bracket, bool lazy);
int body_close(struct compiler *c);
int body_text(struct compiler *c, enum step_kind kind, struct buf *text);
int body_name(struct compiler *c, const char *name, size_t n);
int body_value(struct compiler *c, const json_t *value, int depth);

/* "@record" */
int body_record(struct compiler *c, const json_t *which);
/* Notes the fields that the template names. */
void body_mark_used(struct compiler *c, const json_t *template);
/* Those actions that are about fields which need not be there. */
int body_field_action(struct compiler *c, const char *name, const json_t *value, int depth,
                      bool *known);
/* Whether a part of the step's fields is all NULL. */
bool body_any_null(const struct step *s, const struct value *(*value)(void *arg, size_t field),
                   void *arg);
/* Appends a date or time as JSON; what is none stays as it is. Without a zone it is UTC. */
void body_time(struct buf *out, const struct value *v, enum body_now unit);

/* Adds the steps of a text with fields in braces. */
int body_phrase(struct body *b, const struct body_settings *set, struct str text, bool markup,
                struct error *err);
/* Writes a field into such a text: within a JSON string, without its quotes. */
void body_phrase_field(struct body *b, const struct step *s, const struct value *v,
                       struct buf *out);
