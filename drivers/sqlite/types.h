/*
 * SQLite's types and ours. SQLite types values, not columns: a declared type only sets an
 * affinity. So every value is read as what it is stored as, and the declared type says more
 * only where the stored form fits it (an integer 0 or 1 in a BOOLEAN column is a boolean).
 */
#pragma once

#include <sqlite3.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/value.h"
#include "lib/cast.h"

enum affinity {
    AFFINITY_BLOB,
    AFFINITY_TEXT,
    AFFINITY_NUMERIC,
    AFFINITY_INTEGER,
    AFFINITY_REAL
};

/* As SQLite decides it. decl may be NULL. */
enum affinity types_affinity(const char *decl);
/* A type name with that affinity; "" for BLOB. Static. */
const char *types_affinity_name(enum affinity a);
/* What a column declared like that is meant to hold; V_NULL: anything. */
enum value_type types_declared(const char *decl);
/* How a new column for such values is declared, so that they come back as they were; "" for
 * any. Static. */
const char *types_for_new_column(enum value_type type);

/* Where the text of a number lives until the next row. */
struct types_slot {
    char text[CAST_DOUBLE_MAX];
};
/* Column i of the row at hand. 0; -EINVAL: a text that is no UTF-8 or holds a NUL; -ENOMEM.
 * Borrowed from the statement, the slot or the arena until the next row. */
int types_read(sqlite3_stmt *stmt, int i, enum value_type declared, struct types_slot *slot,
               struct arena *arena, struct value *ret);
/* Binds v (borrowed until the statement is reset). -EINVAL: NaN, which SQLite has not. */
int types_bind(sqlite3_stmt *stmt, int i, const struct value *v);
