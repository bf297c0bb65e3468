/* Loads: see load.h. */
#include "calls/load.h"

#include <stdlib.h>
#include <string.h>

void
parcel_leave(struct parcel *p)
{
    if (--p->users == 0)
        p->done(p->arg, p);
}

struct load *
load_free(struct load *load)
{
    if (load) {
        parcel_leave(load->parcel);
        free(load);
    }
    return NULL;
}

struct load *
load_create(struct parcel *parcel, size_t n, uint64_t number)
{
    size_t head = sizeof(struct load), changes = n * sizeof(struct change);
    size_t outcomes = n * sizeof(struct outcome), identities = n * 32;
    struct load *load = calloc(1, head + changes + outcomes + identities);
    if (!load)
        return NULL;
    char *room = (char *)load + head;
    load->call.batch.changes = (struct change *)(void *)room;
    load->call.out = (struct outcome *)(void *)(room + changes);
    load->call.identities = (void *)(room + changes + outcomes);
    load->call.batch.number = number;
    load->parcel = parcel;
    parcel->users++;
    return load;
}

void
load_add(struct load *load, const struct change *change, const unsigned char identity[32])
{
    size_t at = load->call.batch.n++;
    memcpy((void *)(uintptr_t)&load->call.batch.changes[at], change, sizeof *change);
    memcpy((void *)(uintptr_t)load->call.identities[at], identity, 32);
}

bool
load_has(const struct load *load, load_wanted_fn wanted)
{
    for (size_t i = 0; i < load->call.batch.n; i++)
        if (wanted(load, i))
            return true;
    return false;
}

void
load_drop(struct load *load, load_wanted_fn unwanted)
{
    size_t n = load->call.batch.n, at = 0;
    while (at < n && !unwanted(load, at))
        at++;
    load->call.batch.n = at;
    for (size_t i = at; i < n; i++) {
        if (unwanted(load, i))
            continue;
        load->call.out[load->call.batch.n] = load->call.out[i];
        load_add(load, &load->call.batch.changes[i], load->call.identities[i]);
    }
}

struct load *
load_part(const struct load *load, uint64_t number, load_wanted_fn wanted)
{
    struct load *part = load_create(load->parcel, load->call.batch.n, number);
    if (!part)
        return NULL;
    for (size_t i = 0; i < load->call.batch.n; i++)
        if (wanted(load, i))
            load_add(part, &load->call.batch.changes[i], load->call.identities[i]);
    part->call.tries = load->call.tries;
    part->call.absent = load->call.absent;
    part->sent = load->sent;
    return part;
}

/* ---- lists ---- */

void
loads_init(struct load_list *list)
{
    *list = (struct load_list){.end = &list->first};
}

void
loads_put_last(struct load_list *list, struct load *load)
{
    load->following = NULL;
    *list->end = load;
    list->end = &load->following;
    list->n++;
}

void
loads_put_first(struct load_list *list, struct load *load)
{
    if (!list->first)
        list->end = &load->following;
    load->following = list->first;
    list->first = load;
    list->n++;
}

void
loads_take_out(struct load_list *list, struct load **at)
{
    struct load *load = *at;
    *at = load->following;
    if (!*at)
        list->end = at;
    list->n--;
}

struct load *
loads_take_ready(struct load_list *list, usec_t now, usec_t *wait)
{
    for (struct load **at = &list->first; *at; at = &(*at)->following) {
        struct load *load = *at;
        if (load->not_before > now) {
            if (load->not_before - now < *wait)
                *wait = load->not_before - now;
            continue;
        }
        loads_take_out(list, at);
        return load;
    }
    return NULL;
}
