/*
 * What is said of a row that was not delivered, as it stands in a rejected file: a code, words,
 * and where the request stands that carried it, with its answer: "code\0words", and if there is
 * such evidence "\0" and its four numbers.
 */
#pragma once

#include "base/buf.h"

struct proof {
    uint64_t run;  /* 0: there is none */
    uint64_t line; /* of runs/RUN/requests.jsonl, from 1 */
    uint64_t at;   /* its first byte */
    uint64_t row;  /* which row of that request, from 0 */
};

struct note {
    struct str code, words;
    struct proof proof;
};

void note_add(struct buf *out, const struct note *note);
/* Its texts point into the bytes. */
struct note note_read(struct str bytes);
