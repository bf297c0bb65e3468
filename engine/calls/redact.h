/*
 * Takes secrets out of texts that are shown or kept: as they are, percent-encoded, in JSON's
 * escapes, and within base64 (of "user:password", say), so that a peer may say them back in any
 * of these and nobody else reads them.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

struct redactor;

struct redactor *redactor_create(void); /* NULL when memory is out */
/* From now on *secret, copied, is one; so are its words, of a header's value for one ("Bearer
 * …"). NULL and "" are none. -ENOMEM. */
int redactor_add(struct redactor *r, const char *secret);
struct redactor *redactor_free(struct redactor *r); /* wipes; NULL-safe, returns NULL */

/* Appends the text with "***" in place of secrets: those of r (MAY be NULL) and `more` (ended
 * by NULL, MAY be NULL). Fails the buffer when memory is out: then nothing was appended. */
void redact(const struct redactor *r, const char *const *more, struct str text,
            struct buf *out);
/* In place; what cannot be searched for want of memory is not told. */
void redact_error(const struct redactor *r, const char *const *more, struct error *err);
