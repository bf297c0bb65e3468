/*
 * Names of tables as people write them, and queries as people end them.
 *
 * A name is read as PostgreSQL reads it: `Sales.Orders` is sales.orders, `"Sales"."My
 * ""best"""` is what it says.
 */
#pragma once

#include "postgres/connect.h"

struct pg_name {
    struct buf schema; /* empty: where search_path finds it */
    struct buf table;
};

int pg_name_parse(const char *text, struct pg_name *ret, struct error *err);
void pg_name_done(struct pg_name *name);
/* Appends "schema"."table". */
void pg_name_add(struct pg_link *link, struct buf *sql, const struct pg_name *name);

/* The length of the query without the semicolons, comments and white space at its end. */
size_t pg_query_length(const char *query);
