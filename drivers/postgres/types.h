/*
 * PostgreSQL's types and COPY's text format as our values, and back.
 */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/value.h"

enum value_type pg_value_type(Oid type);
/* Whether two identifiers that differ in a model of that type differ in such a column for sure.
 * "7" and "007" are one integer. */
bool pg_tells_apart(Oid type, enum value_type model);
/* The type that holds all of ours, for a table we make; static. */
const char *pg_type_for(enum value_type type);
/* Can an index of that type give the engine's order for keys of that class? */
bool pg_type_orders(Oid type, enum key_class class);
/* Is its order one of a collation? */
bool pg_type_collates(Oid type);

/* Splits a line of COPY text into n values of those types, decoding in place. False: it does
 * not have n fields, or one is not in its type's output form. */
bool pg_decode_line(char *line, size_t len, const enum value_type *types, struct value *values,
                    size_t n);

/* Appends a value as one field of COPY text. */
void pg_encode_value(struct buf *out, const struct value *v);
