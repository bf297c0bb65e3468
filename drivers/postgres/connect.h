/*
 * One connection to a server: opening it, running statements, COPY in both directions, and the
 * server's errors as ours.
 *
 * Nothing here blocks inside libpq, but for the look-up of a host's name: every wait is a
 * poll(2) of the socket and of an eventfd, so that pg_cancel, from any thread, ends it at once,
 * though the server may be out of reach. After a cancel or a lost connection the link is of no
 * more use and every call fails.
 */
#pragma once

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "driver.h"

struct pg_options {
    char *dsn, *host, *dbname, *user, *sslmode, *password;
    int64_t port, connect_timeout, readers;
};

extern const struct option pg_option_table[];
/* The parts of a "dsn", for PQconninfoFree. */
int pg_parse_dsn(const char *dsn, PQconninfoOption **ret, struct error *err);
/* struct driver's check and place. */
int pg_check(const void *connection, struct error *err);
int pg_place(const void *connection, struct buf *out, struct error *err); /* place.c */

struct pg_link {
    PGconn *conn;
    int version; /* 150020 */
    int wake;    /* eventfd: readable after pg_cancel */
    atomic_bool cancelled;
    const atomic_bool *opening; /* while it is being opened: pg_cancel cannot be called yet, but
                                   this may be set; else NULL */
    pthread_mutex_t lock;       /* guards `canceller` against pg_disconnect */
    PGcancel *canceller;
    char sqlstate[6]; /* of the last error, "" when the server did not say */
};

/* Initialises the link before anything can fail: pg_disconnect is due in any case. Once *asked
 * (NULL: never) is set, it ends with ERR_CANCELLED. */
int pg_connect(struct pg_link *link, const struct pg_options *options, const char *sync,
               const atomic_bool *asked, struct error *err);
/* From here on pg_cancel is what ends a wait, and `asked` is not looked at. */
void pg_opened(struct pg_link *link);
void pg_disconnect(struct pg_link *link);
void pg_cancel(struct pg_link *link);
/* cancel.c: takes about a second at most, whatever the server does; takes it over, NULL-safe.
 */
void pg_ask_to_stop(PGcancel *canceller);

/* One statement; parameters are texts (NULL is NULL). *ret, if asked for, is the caller's to
 * PQclear. A COPY statement returns with its result and the COPY begun. */
int pg_exec(struct pg_link *link, const char *sql, int nparams, const char *const *params,
            PGresult **ret, struct error *err);
/* A statement without result, put together as by printf. */
int pg_run(struct pg_link *link, struct error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The first field of the first row of a query, appended to *out; nothing when it is NULL or
 * there is no row. */
int pg_ask(struct pg_link *link, const char *sql, int nparams, const char *const *params,
           struct buf *out, struct error *err);
/* What the statement will return, without running it (types of domains are their base types).
 * The statement may not have parameters. */
int pg_describe(struct pg_link *link, const char *sql, PGresult **ret, struct error *err);

/* Begins `COPY … TO STDOUT`, hands each line over without its newline (writable, valid until
 * the callback returns), and takes the server's word that it was all. Non-zero from the
 * callback stops: the link is unusable then. */
typedef int (*pg_line_fn)(void *arg, char *line, size_t n, struct error *err);
int pg_copy_out(struct pg_link *link, const char *sql, pg_line_fn line, void *arg,
                struct error *err);
/* The same for messages as they come, whatever is in them; n is never 0. */
int pg_copy_messages(struct pg_link *link, const char *sql, pg_line_fn message, void *arg,
                     struct error *err);
/* `COPY … FROM STDIN`. */
int pg_copy_begin(struct pg_link *link, const char *sql, struct error *err);
int pg_copy_put(struct pg_link *link, struct str data, struct error *err);
/* `abandon` makes it fail on purpose; the failure is no error then. */
int pg_copy_end(struct pg_link *link, bool abandon, struct error *err);

/* True when the connection can still carry statements. */
bool pg_alive(const struct pg_link *link);
/* True when the last error speaks of rows and not of the statement as such: another row might
 * have gone through. */
bool pg_blames_data(const struct pg_link *link);

/* "name" and 'text' as SQL has them. */
void pg_add_name(struct pg_link *link, struct buf *sql, const char *name);
void pg_add_text(struct pg_link *link, struct buf *sql, const char *text);

static inline void
pg_clear(PGresult **res)
{
    PQclear(*res);
}

#define AUTO_RESULT __attribute__((cleanup(pg_clear)))
