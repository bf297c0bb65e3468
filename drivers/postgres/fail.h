/* The server's and libpq's errors as ours: what kind it is, and their words on one line. */
#pragma once

#include "postgres/connect.h"

/* Of a statement (`res` may be NULL: libpq itself failed); remembers the SQLSTATE. */
int pg_fail(struct pg_link *link, const PGresult *res, struct error *err);
/* Of an attempt to connect. */
int pg_fail_connect(struct pg_link *link, struct error *err);
