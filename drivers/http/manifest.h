/*
 * Reading the members of a manifest. What is wrong is told with its place as a JSON pointer, by
 * which the line can be found, and after "; " what would be right, if it can be told; a member
 * that nobody knows is wrong too, since a misspelt rule would be one that never speaks. Texts
 * are borrowed from the JSON.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/* The place of a member: "WHERE/NAME". */
struct manifest_place {
    char text[256];
};
const char *manifest_below(struct manifest_place *place, const char *where, const char *name);

/* -EINVAL: "WHERE: WHAT". */
int manifest_wrong(struct error *err, const char *where, const char *what);
/* It is an object, and has no members but these (ended by NULL). */
int manifest_members(const json_t *object, const char *where, const char *const *known,
                     struct error *err);
/* *ret stays as it is when there is no such member. */
int manifest_text(const json_t *object, const char *where, const char *name, const char **ret,
                  struct error *err);
int manifest_pointer(const json_t *object, const char *where, const char *name,
                     const char **ret, struct error *err);
int manifest_bool(const json_t *object, const char *where, const char *name, bool *ret,
                  struct error *err);
/* A whole number from `least` to `most`. */
int manifest_number(const json_t *object, const char *where, const char *name, json_int_t least,
                    json_int_t most, json_int_t *ret, struct error *err);
/* One of n words (a NULL among them is none); its place in *ret. */
int manifest_word(const json_t *object, const char *where, const char *name,
                  const char *const *words, size_t n, int *ret, struct error *err);
