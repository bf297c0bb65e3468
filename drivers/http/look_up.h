/*
 * Look-ups: a request before a call, where the peer knows rows by something else than their
 * identifier. What its answer says of each row is decided here: it goes on into the call, with
 * what was found as its key, or its outcome is known already.
 *
 * A row is "not there" only if the whole answer can be read so. An entry that names none of the
 * rows was found by one of them all the same (HubSpot finds a contact by its second address and
 * tells the first), and so may one that names a row again; rows that differ in the case of
 * letters alone may be one. Then nobody knows which rows are missing until they stand alone. A
 * peer that lists what it did not find ("failed") says so of rows that are missing.
 */
#pragma once

#include "http/connector.h"
#include "http/fill.h"
#include "http/way.h"

struct found {
    struct call part; /* the rows that were found; part.batch.n = 0: none. Without outcomes… */
    size_t *rows;     /* …which row of the call each is */
    struct outcome *out; /* of all rows, as far as they are known without the call */
    bool unclear;        /* of several rows some may be missing, or found by another name */
    struct request request;
    struct exchange x; /* the look-up, for those who look for what went wrong */
    struct arena arena;
    struct found *following; /* in the list it stands in */
};

/* Reads an answer that is one. 0 and *ret; 1: it does not tell what was found; -ENOMEM. Where
 * the look-up has "absent" rows of which nothing is found are not rejected, but ROW_ABSENT in
 * call->out, and what is in *ret is of the call without them. */
int look_up_read(const struct connector_look_up *look, const struct fill_values *values,
                 const struct exchange *x, struct call *call, struct found **ret);
/* The outcomes of the call's rows: those of the part if its answer tells of them, those known
 * before if `all` are to be told. What is ROW_ABSENT stays so. */
void look_up_spread(const struct found *f, struct call *call, bool all);
struct found *look_up_free(struct found *f); /* NULL-safe, returns NULL */
