/* The table a session writes: what it is, whether the mapping fits it, and making it. */
#pragma once

#include "base/arena.h"
#include "postgres/connect.h"
#include "postgres/name.h"

struct pg_table_column {
    Oid type;         /* base type of a domain */
    const char *bare; /* its name without modifier, fit for a cast */
    bool domain;
    bool always;   /* GENERATED ALWAYS AS IDENTITY */
    bool readable; /* we may SELECT it */
};

struct pg_table {
    bool exists;
    const char *schema; /* where it is or would be made */
    bool schema_exists;
    const char *relation;           /* "schema"."table", quoted */
    bool plain;                     /* a table, without rules: takes COPY and MERGE */
    bool row_security;              /* policies apply to us: takes no COPY */
    bool fills_in;                  /* a trigger before INSERT may set what was left out */
    bool inserts, updates, deletes; /* what it takes at all */
    struct column *columns;
    struct pg_table_column *more;
    size_t n;
};

/* Looks the table up; texts go to the arena. A table that is not there is no error. */
int pg_table_load(struct pg_link *link, const char *object, struct arena *arena,
                  struct pg_table *ret, struct error *err);
/* The column's index, or -1. */
int pg_table_find(const struct pg_table *table, const char *column);
/* Refuses, in words, a mapping that cannot work. columns[i]: index of target->fields[i];
 * list_column: says whose a row is, NULL: none does. */
int pg_table_check(const struct pg_table *table, const struct target *target,
                   const char *list_column, int *columns, struct error *err);
/* Makes the table for the target's fields, and its schema. To be loaded again afterwards. */
int pg_table_create(struct pg_link *link, const struct pg_table *table,
                    const struct target *target, const char *list_column, struct error *err);
