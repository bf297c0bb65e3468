/* Sockets, keys and certificates of this machine: see local.h. */
#include "postgres/local.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/reach.h"

/* Where a server listens that no host names (Debian's libpq). */
#define DEFAULT_SOCKETS "/var/run/postgresql"

/* Without passfile libpq reads ~/.pgpass, without sslcert and sslkey what is in ~/.postgresql.
 */
const char *const pg_local_defaults[][2] = {
    {"passfile", "/dev/null/none"},
    {"sslcert", "/dev/null/none"},
    {"sslkey", "/dev/null/none"},
};
_Static_assert(sizeof pg_local_defaults / sizeof *pg_local_defaults == PG_LOCAL_DEFAULTS,
               "one line each");

static const char *
value_of(const PQconninfoOption *parts, const char *keyword)
{
    for (; parts && parts->keyword; parts++) {
        if (strcmp(parts->keyword, keyword) == 0)
            return parts->val && *parts->val ? parts->val : NULL;
    }
    return NULL;
}

/* A list as libpq has it: "db1,,/run/x". Nothing stands for the default, which is a socket. */
static int
check_hosts(const char *hosts, struct error *err)
{
    AUTO_FREE char *copy = strdup(hosts);
    if (!copy)
        return error_no_memory(err);
    int rc = 0;
    for (char *rest = copy, *host; rc == 0 && (host = strsep(&rest, ","));) {
        if (!*host || *host == '/' || *host == '@')
            rc = reach_check(*host ? host : DEFAULT_SOCKETS, err);
    }
    return rc ? error_wrap(err, "the server's socket") : 0;
}

int
pg_local_check(const struct pg_options *o, const PQconninfoOption *dsn, struct error *err)
{
    static const char *const paths[] = {"passfile",    "sslcert", "sslkey",
                                        "sslrootcert", "sslcrl",  "sslcrldir"};
    if (!reach_is_limited())
        return 0;
    if (value_of(dsn, "service"))
        return error_set(err, ERR_CONFIG, EACCES,
                         "\"service\" in \"dsn\": service files are not read on this mount");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const char *path = value_of(dsn, paths[i]);
        if (path && reach_check(path, err))
            return error_wrap(err, "\"%s\" in \"dsn\"", paths[i]);
    }
    const char *host = o->host && *o->host ? o->host : value_of(dsn, "host");
    if (!host && value_of(dsn, "hostaddr"))
        return 0;
    return check_hosts(host ? host : "", err);
}
