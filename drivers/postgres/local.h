/* What of this machine a connection would use beside the network: see engine/base/reach.h.
 * libpq fills in from files and the account of the process what a definition leaves out. */
#pragma once

#include "postgres/connect.h"

/* On a mount where definitions may not reach everything: 0, or ERR_CONFIG for what they may
 * not: sockets (where the server sees the daemon's account), keys and certificates outside the
 * allowed directories, and service files. */
int pg_local_check(const struct pg_options *o, const PQconninfoOption *dsn, struct error *err);
/* Where libpq is to look instead of the daemon's home: a keyword and a path that has no file.
 */
extern const char *const pg_local_defaults[][2];
enum { PG_LOCAL_DEFAULTS = 3 };
