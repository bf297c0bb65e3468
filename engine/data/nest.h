/*
 * Records as JSON whose fields' names go down by dots: "address.city" is the member city of the
 * object address, "phones.0" the first element of the array phones. What a destination of that
 * kind (TRAIT_NESTED) is sent, people are shown.
 */
#pragma once

#include "base/arena.h"
#include "base/value.h"

enum { NEST_FIELDS_MAX = 256 };

struct nest;

/* *ret is NULL when nothing is to be nested: no name has a dot, or some cannot stand side by
 * side ("a" and "a.b"), or they are too many. False: memory is out. It is the arena's, and
 * copies the names. */
bool nest_create(struct arena *arena, const char *const *names, size_t n,
                 const struct nest **ret);
/* Appends the object of these values, one a name; absent ones are left out. */
void nest_write(const struct nest *nest, const struct value *values, struct buf *out);
