/*
 * What is said of a row that was not delivered, as it stands in a rejected file: a code, words,
 * where the request stands that carried it, with its answer, and whether the row may stand at
 * the destination all the same: "code\0words", and if there is more to say "\0" and the four
 * numbers of the evidence and one for the doubt.
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
    bool unsure; /* this try, or one before it that nobody answered, may have been applied */
};

void note_add(struct buf *out, const struct note *note);
/* Its texts point into the bytes. */
struct note note_read(struct str bytes);
