/* What stands in addresses and in bodies like theirs: percent-encoding and forms. */
#pragma once

#include "base/buf.h"

/* Percent-encodes every byte but the unreserved characters of RFC 3986 section 2.3. Right in
 * paths, queries and forms: a blank is %20 in all of them. */
void form_encode(struct buf *out, struct str value);

/* Appends "name=value", after "&" unless it is the first: application/x-www-form-urlencoded. */
void form_add(struct buf *out, const char *name, struct str value);
