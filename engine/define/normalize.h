/*
 * Values as those want them who compare hashes (Google Customer Match, Meta): the same person
 * must give the same bytes. Each rule is one that a vendor publishes, named where it is made.
 * What cannot be such a value is refused with a reason, never bent into another person's.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

/* Empties *out and puts the normal form of `in` there; nothing when `in` holds white space
 * only. `country` may be empty: two letters or a calling code, for those that have use for it.
 * -EINVAL and ERR_DATA: it is no such value. The words tell why and leave the value out: it is
 * a person's, and stands in the row. */
typedef int normalize_fn(struct str in, struct str country, struct buf *out, struct error *err);

normalize_fn normalize_email;        /* trimmed, small letters */
normalize_fn normalize_email_google; /* gmail.com also without dots and +suffix */
normalize_fn normalize_phone_e164;   /* +, calling code, number */
normalize_fn normalize_phone_digits; /* the same without + */
normalize_fn normalize_name;         /* small letters, no punctuation, single blanks */
normalize_fn normalize_city;         /* small letters, no punctuation, no blanks */
normalize_fn normalize_zip;          /* small letters, no blanks, no dashes; US: five digits */
normalize_fn normalize_country;      /* ISO 3166-1 alpha-2, small letters */

/* A SHA-256 in hexadecimal, perhaps with white space around: it is put into *out in small
 * letters, and true returned. */
bool normalize_hashed(struct str in, struct buf *out);

/* For normalisers: empties *out and takes white space off *in, if it is a text; and a look at
 * what was written. */
int normalize_begin(struct str *in, struct buf *out, struct error *err);
int normalize_finish(const struct buf *out, struct error *err);
