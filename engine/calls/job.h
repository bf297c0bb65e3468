/*
 * Jobs: batches of changes on their way, and lists of them. Between the parts of the courier.
 */
#pragma once

#include "calls/courier.h"

struct job {
    struct call call; /* call.batch.changes and the next two are of this allocation */
    struct parcel *parcel;
    usec_t began, not_before;
    struct pace *pace; /* by which it began; MAY be NULL */
    unsigned denied;   /* in succession */
    bool sent;         /* at least once, perhaps */
    struct job *following;
};

/* Whether a row of the job, by its number, is wanted. */
typedef bool (*job_wanted_fn)(const struct job *, size_t);

/* Room for n changes of the parcel, none yet; number: of the batch. NULL when memory is out. */
struct job *job_create(struct parcel *parcel, size_t n, uint64_t number);
/* The last of a parcel gives it up. NULL-safe, returns NULL. */
struct job *job_free(struct job *j);
/* The change MAY be one of its own, from there on. */
void job_add(struct job *j, const struct change *change, const unsigned char identity[32]);
/* The rows that are wanted, MAY be none, as a job that has come as far. NULL when memory is
 * out. */
struct job *job_part(const struct job *j, uint64_t number, job_wanted_fn wanted);
/* Of somebody who used the parcel. */
void parcel_leave(struct parcel *p);

struct job_list {
    struct job *first, **end;
    size_t n;
};

void jobs_init(struct job_list *l);
void jobs_put_last(struct job_list *l, struct job *j);
void jobs_put_first(struct job_list *l, struct job *j);
/* at: what points to it within the list. */
void jobs_take_out(struct job_list *l, struct job **at);
/* The first whose time has come; else NULL, and *wait is not more than until there is one. */
struct job *jobs_take_ready(struct job_list *l, usec_t now, usec_t *wait);
