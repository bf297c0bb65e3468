/*
 * Requests and their answers over HTTP, several at a time, on connections that are kept:
 * libcurl in one thread. It tells truly what is known of a request that has no answer, which
 * decides whether rows may be sent again.
 *
 * TLS is verified; HTTP/2 is used where it is offered; proxies and certificates are those of
 * the usual environment variables (http_proxy, https_proxy, no_proxy, CURL_CA_BUNDLE,
 * SSL_CERT_FILE, SSL_CERT_DIR). A redirect is an answer like any other: it is never followed,
 * since whoever is named there was not given the credentials.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

enum exchange_end {
    END_ANSWERED, /* status, head and body are there */
    END_UNSENT,   /* nothing that could be acted on has left: no connection, or it broke before
                     the first byte of the body */
    END_BARRED,   /* nothing has left, nor would it another time: the peer's certificate is not
                     to be trusted, or no such place can be */
    END_LOST,     /* sent, at least in part, and no whole answer */
};

struct exchange {
    /* the request; all of it is borrowed until the end */
    const char *method;
    const char *url;
    const char *const *headers; /* "Name: value", ended by NULL */
    struct str body;
    bool repeatable; /* it may come to the peer twice: a kept connection that turns out to be
                        dead is then replaced without a word */
    void *arg;       /* the caller's */

    /* the answer, filled by the end */
    enum exchange_end end;
    const char *why; /* unless END_ANSWERED; one line, borrowed until the next request */
    bool timed_out, cancelled;
    int status;
    bool cut;        /* the body was longer than allowed: this is its beginning */
    bool twice;      /* it was sent once more, on another connection, when one broke silently */
    struct buf head; /* "name: value\n" lines, names in lower case */
    struct buf body_back;
    usec_t began, ended; /* clock_monotonic */

    struct exchange_state *state; /* transfer.c's, while it is under way */
};

struct transfer_settings {
    unsigned parallel; /* connections to a host, and requests under way */
    usec_t connect;    /* until the connection stands, TLS included */
    usec_t first_byte; /* until the answer begins */
    usec_t whole;      /* until it is there */
    size_t answer_max; /* bytes of an answer's body, unpacked */
};

struct transfer;

/* 0 or -errno with *err. */
int transfer_create(const struct transfer_settings *settings, struct transfer **ret,
                    struct error *err);
/* Begins a request. An error here (a URL that is none, memory) means that nothing was sent. */
int transfer_start(struct transfer *t, struct exchange *x, struct error *err);
/* How many are under way. */
unsigned transfer_active(const struct transfer *t);
/* One that has ended, or NULL when none did within the timeout or somebody woke us. Of a
 * timeout below 0: only those that were seen to end. */
struct exchange *transfer_wait(struct transfer *t, usec_t timeout);
/* Any thread: transfer_wait returns soon. */
void transfer_wake(struct transfer *t);
/* Any thread: what is under way ends, `cancelled`, and nothing begins any more. */
void transfer_cancel(struct transfer *t);
/* Breaks off what is under way; the exchanges stay the caller's. NULL-safe, returns NULL. */
struct transfer *transfer_free(struct transfer *t);

/* The value of a header, whatever the case of its name, or n = 0 and p = NULL. Of several the
 * first. */
struct str exchange_header(const struct exchange *x, const char *name);
/* Frees the answer's buffers. */
void exchange_done(struct exchange *x);
