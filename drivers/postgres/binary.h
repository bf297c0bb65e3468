/*
 * COPY's binary format: the server sends values as it holds them, and their texts are made
 * here.
 *
 * Making the texts is what a server that copies a table spends much of its time on, and it has
 * one process for it. The texts are to the byte those of the server's own output functions.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/value.h"
#include "postgres/connect.h"

enum pg_form {
    PG_FORM_OUTPUT, /* unknown here: to be asked for as the text of its output function */
    PG_FORM_TEXT,   /* the text itself */
    PG_FORM_JSONB,  /* a version, and the text */
    PG_FORM_BYTES,
    PG_FORM_BOOL,
    PG_FORM_INT2,
    PG_FORM_INT4,
    PG_FORM_INT8,
    PG_FORM_OID,
    PG_FORM_UUID,
    PG_FORM_NUMERIC,
    PG_FORM_DATE,
    PG_FORM_TIME,
    PG_FORM_TIMESTAMP,
    PG_FORM_TIMESTAMPTZ,
};

/* By the type's send and output functions, as pg_proc.prosrc names them where the server has
 * them built in ("" where not). They must be a pair: a type may send what it does not show. */
enum pg_form pg_form_of(const char *send, const char *output);

/* One tuple of the copy into n values, which point into it or into *text, whose contents before
 * are dropped. False: it does not have n fields, or one is not in its form; or *text failed. */
bool pg_decode_tuple(const char *tuple, size_t len, const enum pg_form *forms,
                     const enum value_type *types, struct value *values, size_t n,
                     struct buf *text);

/* As pg_copy_out, for `COPY … TO STDOUT (FORMAT binary)`: hands over tuples. */
int pg_copy_out_binary(struct pg_link *link, const char *sql, pg_line_fn tuple, void *arg,
                       struct error *err);
