/*
 * HTTP cases: a scenario in a text file (its format: cases/README.md), read, and what it
 * expects compared with what came. See test-http-cases.c.
 */
#pragma once

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/vec.h"
#include "driver.h"

struct case_field {
    const char *name;
    enum value_type type;
};

struct case_outcome {
    enum outcome_kind kind;
    const char *code;  /* NULL: any */
    const char *words; /* that the reason holds; NULL: any */
};

struct case_row {
    bool gone;           /* "delete" */
    json_t *after, *was; /* was: NULL when nothing stands there */
    struct case_outcome want;
    unsigned line;
};

enum case_fault {
    FAULT_NONE,
    FAULT_SILENT, /* no answer until the client gives up */
    FAULT_CLOSE,  /* the connection is closed instead of an answer */
    FAULT_RESET,  /* …reset */
    FAULT_HALF,   /* the head and half of the body, and the connection is closed */
    FAULT_BROKEN, /* …reset */
    FAULT_STALL,  /* …and then nothing */
    FAULT_LARGE,  /* ten megabytes of a body */
};

enum case_compare { BODY_ANY, BODY_JSON, BODY_LINES, BODY_FORM, BODY_EXACT };

struct case_headers {
    const char *names[16], *values[16];
    size_t n;
};

/* One request, and how it is answered. */
struct case_exchange {
    const char *method, *path;
    struct case_headers headers; /* value NULL: there must be no such header */
    enum case_compare compare;
    const char *body; /* "": none may come, with BODY_EXACT */
    usec_t after;     /* at least so long after the answer before */
    enum case_fault fault;
    int status; /* 0: the fault is all */
    struct case_headers back;
    const char *body_back;
    unsigned line;
    bool met;
};

struct http_case {
    struct arena arena;
    json_t *connection, *destination, *config; /* objects */
    const char *driver, *object, *mode, *identifier;
    const char *manifest; /* of a connector of its own; NULL: a built-in one */
    VEC(struct case_field) fields;
    VEC(struct case_row) rows;
    VEC(struct case_exchange) exchanges;
    const char *refused; /* words by which the definition, or its opening, is refused */
    const char *stopped; /* words by which the run stops */
    usec_t patience;     /* of all waits in a row */
    usec_t timeout;      /* of an answer; 0: the manifest's */
    unsigned parallel;
    size_t batch; /* rows of a call at most; 0: the manifest's */
};

/* False: *why says what is wrong, and where. Names are set in the environment as it says. What
 * it takes is never given back: a process runs one case. */
bool case_read(const char *path, struct http_case *c, struct buf *why);

/* What placeholders are made of. */
struct case_world {
    int port;    /* of the peer */
    int nowhere; /* a port at which nobody listens */
};

/* A text with its {peer}, {identity:…} and {date:…} put in. */
void case_expand(const struct case_world *w, const char *text, struct buf *out);
/* The 32 bytes that name a row's change. */
void case_identity(size_t row, unsigned char out[32]);

/* Whether the request is as expected; else why not. */
bool case_fits(const struct case_world *w, const struct case_exchange *x, const char *request,
               size_t n, struct buf *why);

/* Starts the peer with the exchanges of the case; -1 when there is no loopback. */
int case_peer_start(struct http_case *c, struct case_world *w);
/* Once the run is over: what came that should not have, and what did not come. */
void case_peer_faults(struct buf *why);
/* Set when something came that should not have. */
bool case_peer_failed(void);
