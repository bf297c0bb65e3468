/*
 * What stands in URLs and in bodies like theirs: percent-encoding, forms, and the templates of
 * paths and queries.
 *
 * Values come from rows and may be anything. In a path an empty value, or a segment that
 * becomes "." or "..", would name another resource (DELETE /contacts/ instead of one contact),
 * and no encoding protects these: they are refused.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"

/* Percent-encodes every byte but the unreserved characters of RFC 3986 section 2.3. Right in
 * paths, queries and forms: a blank is %20 in all of them. */
void form_encode(struct buf *out, struct str value);

/* Appends "name=value", after "&" unless it is the first: application/x-www-form-urlencoded. */
void form_add(struct buf *out, const char *name, struct str value);

/* Appends the value of that name, not encoded. False: there is none of that name. */
typedef bool (*form_value_fn)(void *arg, struct str name, struct buf *out);

/* Appends the template, "/contacts/{id}?by={property}", each "{name}" replaced by its encoded
 * value; "{{" stands for "{", which is %7B in a URL. 0, or negative: ERR_CONFIG when the
 * template is none or names what is not there, ERR_DATA when a value cannot stand in a path;
 * `where` names the template in the text. A template is checked beforehand by a value_fn that
 * has some text for each name that will be known. */
int form_expand(const char *template, const char *where, form_value_fn value, void *arg,
                struct buf *out, struct error *err);
