/* What a statement returns: names, types, and the types' names with their modifiers. */
#pragma once

#include "base/arena.h"
#include "postgres/binary.h"
#include "postgres/connect.h"

struct pg_column {
    Oid type;
    const char *bare; /* the type's name without modifier: "character varying" */
    enum pg_form form;
    const char *output; /* the type's output function, quoted */
};

struct pg_columns {
    struct column *schema; /* name, type and native are set; all arena */
    struct pg_column *pg;
    size_t n;
};

/* Describes the columns of `sql`, which is not run. A domain shows as its base type. */
int pg_columns_of(struct pg_link *link, const char *sql, struct arena *arena,
                  struct pg_columns *ret, struct error *err);
