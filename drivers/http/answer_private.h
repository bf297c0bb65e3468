/* Rules of a manifest about answers, read by answer_rules.c and applied by answer.c. */
#pragma once

#include "base/vec.h"
#include "http/answer.h"

enum {
    ANSWER_STATUSES_MAX = 8,
    ANSWER_CODES_MAX = 16,
    ANSWER_LISTS_MAX = 4,
};

/* Of which answers a rule speaks. */
struct answer_condition {
    int statuses[ANSWER_STATUSES_MAX]; /* 400; 4 stands for 4xx; none: any */
    size_t nstatuses;
    const char *pointer; /* NULL: the body does not matter */
    json_t *is, *is_not;
    json_t *in;           /* what it is one of */
    const char *contains; /* NULL: anything */
    const char *text;     /* what the whole body is, but for blanks around it; NULL: anything */
    bool some;
};

struct answer_rule {
    struct answer_condition when;
    enum call_fate fate;
    json_int_t wait; /* seconds */
};

enum rows_by { BY_ALL, BY_INDEX, BY_POINTER, BY_IDENTITY, BY_FIELDS, BY_KEY };

struct answer_rows {
    enum rows_by by;
    const char *list, *index, *pointer, *prefix; /* of those that failed */
    const char *done;                            /* BY_IDENTITY: the list of those done */
    struct answer_condition is_done;             /* BY_INDEX without index */
    const char *identity, *failed_identity;
    json_int_t digits;
    const char *lists[ANSWER_LISTS_MAX]; /* BY_FIELDS */
    size_t nlists;
    const char *count;
    const char *code, *words, *why;
    const char *retry[ANSWER_CODES_MAX];
    size_t nretry;
    const char *fine[ANSWER_CODES_MAX]; /* codes by which a row is done */
    size_t nfine;
};

enum reset_is { RESET_SECONDS, RESET_EPOCH, RESET_MILLISECONDS };

struct answer_rules {
    struct arena arena;
    json_t *manifest; /* owns the texts above */
    VEC(struct answer_rule) rules;
    const char *code, *words; /* of the whole answer */
    struct answer_rows rows;
    const char *remaining, *reset; /* headers */
    enum reset_is reset_is;
};
