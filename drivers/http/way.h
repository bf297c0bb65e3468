/*
 * Ways: an operation of a sync, ready to be carried out: its bodies' templates are compiled for
 * the fields, and its texts known to make an address and headers.
 */
#pragma once

#include "http/auth.h"
#include "http/connector.h"

enum { WAY_HEADERS_MAX = 32 };

struct way_settings {
    const struct connector *connector;
    struct connector_use use;
    const struct target *target;
    struct auth *auth;  /* NULL: none */
    const char *secret; /* that signs; NULL: none */
};

struct way;

/* Everything given stays until way_close, but the target's fields. ERR_CONFIG when something
 * that is wanted is not set. Asks nobody. */
int way_open(const struct way_settings *settings, const struct connector_call *call,
             struct way **ret, struct error *err);
struct way *way_close(struct way *w); /* NULL-safe, returns NULL */
const struct connector_call *way_call(const struct way *w);
/* Fills the limits of its operation. */
void way_limits(const struct way *w, enum operation op, struct limits *ret);

/* A request as it is sent. Its memory is used again. */
struct request {
    const char *url;
    const char *headers[WAY_HEADERS_MAX + 1];
    struct str body;
    uint64_t token; /* see auth.h */
    /* the rest is way.c's */
    struct buf address, lines, plain, packed;
    size_t at[WAY_HEADERS_MAX]; /* where in `lines` they begin */
    size_t nlines;
};

/* ERR_DATA: for the sake of a row; ERR_LIMIT: of fewer rows it could be one; ERR_UNREACHABLE:
 * no token to be had now; all else stays so. */
int way_write(struct way *w, const struct call *call, const atomic_bool *cancelled,
              struct request *r, struct error *err);
void request_done(struct request *r);
