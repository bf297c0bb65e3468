/* Jobs: see job.h. */
#include "calls/job.h"

#include <stdlib.h>
#include <string.h>

void
parcel_leave(struct parcel *p)
{
    if (--p->users == 0)
        p->done(p->arg, p);
}

struct job *
job_free(struct job *j)
{
    if (j) {
        parcel_leave(j->parcel);
        free(j);
    }
    return NULL;
}

struct job *
job_create(struct parcel *parcel, size_t n, uint64_t number)
{
    size_t head = sizeof(struct job), changes = n * sizeof(struct change);
    size_t outcomes = n * sizeof(struct outcome), identities = n * 32;
    struct job *j = calloc(1, head + changes + outcomes + identities);
    if (!j)
        return NULL;
    char *room = (char *)j + head;
    j->call.batch.changes = (struct change *)(void *)room;
    j->call.out = (struct outcome *)(void *)(room + changes);
    j->call.identities = (void *)(room + changes + outcomes);
    j->call.batch.number = number;
    j->parcel = parcel;
    parcel->users++;
    return j;
}

void
job_add(struct job *j, const struct change *change, const unsigned char identity[32])
{
    size_t at = j->call.batch.n++;
    memmove((void *)(uintptr_t)&j->call.batch.changes[at], change, sizeof *change);
    memmove((void *)(uintptr_t)j->call.identities[at], identity, 32);
}

struct job *
job_part(const struct job *j, uint64_t number, job_wanted_fn wanted)
{
    struct job *part = job_create(j->parcel, j->call.batch.n, number);
    if (!part)
        return NULL;
    for (size_t i = 0; i < j->call.batch.n; i++)
        if (wanted(j, i))
            job_add(part, &j->call.batch.changes[i], j->call.identities[i]);
    part->call.tries = j->call.tries;
    part->call.absent = j->call.absent;
    part->sent = j->sent;
    return part;
}

/* ---- lists ---- */

void
jobs_init(struct job_list *l)
{
    *l = (struct job_list){.end = &l->first};
}

void
jobs_put_last(struct job_list *l, struct job *j)
{
    j->following = NULL;
    *l->end = j;
    l->end = &j->following;
    l->n++;
}

void
jobs_put_first(struct job_list *l, struct job *j)
{
    if (!l->first)
        l->end = &j->following;
    j->following = l->first;
    l->first = j;
    l->n++;
}

void
jobs_take_out(struct job_list *l, struct job **at)
{
    struct job *j = *at;
    *at = j->following;
    if (!*at)
        l->end = at;
    l->n--;
}

struct job *
jobs_take_ready(struct job_list *l, usec_t now, usec_t *wait)
{
    for (struct job **at = &l->first; *at; at = &(*at)->following) {
        struct job *j = *at;
        if (j->not_before > now) {
            if (j->not_before - now < *wait)
                *wait = j->not_before - now;
            continue;
        }
        jobs_take_out(l, at);
        return j;
    }
    return NULL;
}
