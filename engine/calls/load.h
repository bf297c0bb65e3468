/*
 * Loads: batches of changes on their way, and lists of them. Between the parts of the courier.
 */
#pragma once

#include "calls/courier.h"

struct load {
    struct call call; /* call.batch.changes and the next two are of this allocation */
    struct parcel *parcel;
    usec_t began, not_before;
    struct pace *pace; /* by which it began; MAY be NULL */
    unsigned denied;   /* in succession */
    bool sent;         /* at least once, perhaps */
    struct load *following;
};

/* Whether a row of the load, by its number, is wanted. */
typedef bool (*load_wanted_fn)(const struct load *, size_t);

/* Room for n changes of the parcel, none yet; number: of the batch. NULL when memory is out. */
struct load *load_create(struct parcel *parcel, size_t n, uint64_t number);
/* The last of a parcel gives it up. NULL-safe, returns NULL. */
struct load *load_free(struct load *load);
void load_add(struct load *load, const struct change *change, const unsigned char identity[32]);
/* Whether some row is wanted. And takes those that are away; the others stay in their order,
 * with their outcomes. */
bool load_has(const struct load *load, load_wanted_fn wanted);
void load_drop(struct load *load, load_wanted_fn unwanted);
/* The rows that are wanted, MAY be none, as a load that has come as far. NULL when memory is
 * out. */
struct load *load_part(const struct load *load, uint64_t number, load_wanted_fn wanted);
/* Of somebody who used the parcel. */
void parcel_leave(struct parcel *p);

struct load_list {
    struct load *first, **end;
    size_t n;
};

void loads_init(struct load_list *list);
void loads_put_last(struct load_list *list, struct load *load);
void loads_put_first(struct load_list *list, struct load *load);
/* at: what points to it within the list. */
void loads_take_out(struct load_list *list, struct load **at);
/* The first whose time has come; else NULL, and *wait is not more than until there is one. */
struct load *loads_take_ready(struct load_list *list, usec_t now, usec_t *wait);
