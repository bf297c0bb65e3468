/* What the PostgreSQL tests share: a connection of their own beside the driver's. The server
 * is the one of PGHOST and PGPORT (postgres.sh starts it). */
#pragma once

#include <libpq-fe.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "drive.h"
#include "unit/tap.h"

extern const struct driver driver_postgres;

static struct arena arena;
static PGconn *admin;
static void *connection;

static inline void
quiet(void *arg, const char *message)
{
}

static inline void
sql(const char *text)
{
    PGresult *res = PQexec(admin, text);
    ExecStatusType status = PQresultStatus(res);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        printf("Bail out! %s: %s", text, PQerrorMessage(admin));
        exit(1);
    }
    PQclear(res);
}

/* All rows as "a|b\n", NULL as nothing; in the arena. */
static inline const char *
ask(const char *text)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    PGresult *res = PQexec(admin, text);
    if (PQresultStatus(res) != PGRES_TUPLES_OK) {
        printf("Bail out! %s: %s", text, PQerrorMessage(admin));
        exit(1);
    }
    for (int i = 0; i < PQntuples(res); i++) {
        for (int k = 0; k < PQnfields(res); k++)
            buf_addf(&out, "%s%s", k ? "|" : "", PQgetvalue(res, i, k));
        buf_addc(&out, '\n');
    }
    PQclear(res);
    return arena_strdup(&arena, buf_z(&out));
}

/* Whether the server comes to say so. */
static inline bool
wait_until(const char *question, const char *answer)
{
    usec_t deadline = clock_monotonic() + 10 * 1000000;
    while (strcmp(ask(question), answer) != 0) {
        if (clock_monotonic() > deadline)
            return false;
        usleep(2000);
    }
    return true;
}

static inline void *
connect_as(const char *key, const char *value)
{
    return drive_options(driver_postgres.options, driver_postgres.options_size, &arena, key,
                         value, NULL);
}

static inline void
open_server(void)
{
    if (!getenv("PGHOST"))
        tap_skip_all("PGHOST names no server; postgres.sh starts one");
    admin = PQconnectdb("dbname=postgres");
    if (PQstatus(admin) != CONNECTION_OK) {
        printf("Bail out! %s", PQerrorMessage(admin));
        exit(1);
    }
    PQsetNoticeProcessor(admin, quiet, NULL);
    connection = connect_as("dbname", "postgres");
}

static inline void
close_server(void)
{
    PQfinish(admin);
    arena_done(&arena);
}
