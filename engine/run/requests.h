/*
 * Evidence: requests and their answers as lines of JSON, without secrets, for those who look
 * for why rows were not delivered, and, of as many calls of a run as was asked for, what was
 * sent at all. Bounded: long texts are cut, and beyond so many lines and bytes only a count is
 * kept of what is left out.
 */
#pragma once

#include "calls/redact.h"
#include "data/note.h"
#include "driver.h"

enum { REQUEST_LINE_MAX = 512 * 1024 };

struct requests_settings {
    int dirfd;
    const char *name;
    const char *sync; /* its name, for the daemon's log */
    uint64_t run;
    uint64_t first; /* so many calls are kept whatever became of them */
    const struct redactor *redactor;
};

struct requests;

/* Nothing is written before the first line is; what stands under the name is removed. NULL when
 * memory is out. */
struct requests *requests_create(const struct requests_settings *settings);
/* An answer has come. Keeps it if it is one of the first. The driver's transcript is needed
 * until the next one. */
void requests_answered(struct requests *q, const struct call_answer *a);
/* The answer at hand is evidence: *ret says where it stands now, ret->run 0 if it was left out.
 * Evidence that cannot be written ends no run. */
void requests_prove(struct requests *q, struct proof *ret);
struct requests *requests_free(struct requests *q); /* NULL-safe, returns NULL */
