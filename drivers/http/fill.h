/*
 * Text templates of a manifest: addresses, headers, form values, credentials. In them stands
 *
 *   {option}            for an option of the connection or the destination
 *   {@object}           for the object that the destination names
 *   {@identifier}       for the name of the identifier's field, if it has just one
 *   {@key}              for the row's identifier; of several fields joined by "|"
 *   {@keys}             for the identifiers of all rows of the call, with commas between
 *   {@keys:json}        the same as JSON strings: "a","b,c"
 *   {@identity:N}       for what names the change over retries and restarts, N hex digits
 *   {@token:/pointer}   for a member of the token server's answer, see auth.h
 *
 * and "{{" for "{". A call of which a text names the row has that row alone.
 *
 * Values come from rows and may be anything. In a path an empty value, or a segment that
 * becomes "." or "..", would name another resource (DELETE /contacts/ instead of one contact),
 * and no encoding protects these; an identifier with a comma would be two among several. They
 * are refused as ERR_DATA.
 */
#pragma once

#include <jansson.h>

#include "driver.h"
#include "http/connector.h"

enum fill_names {
    FILL_ROW = 1, /* one row */
    FILL_ROWS = 2,
    FILL_TOKEN = 4,
    FILL_OBJECT = 8,
    FILL_IDENTIFIER = 16,
};
enum { FILL_UNSET = 1 };

/* What is at hand to stand for names; NULL: nothing is. */
struct fill_values {
    const struct connector *connector;
    struct connector_use use;
    const struct call *call;
    size_t nkey;
    const json_t *token; /* the answer */
};

/* Whether it is a template of options that the connector has; adds to *names what else it
 * names. -EINVAL: "WHERE: …". */
int fill_check(const char *template, const char *where, const struct connector *c,
               unsigned *names, struct error *err);
/* Appends the text, its values as they are. 0; FILL_UNSET when something that it names is not
 * there (what is appended is then of no use); negative. */
int fill_plain(const char *template, const struct fill_values *v, struct buf *out,
               struct error *err);
/* The same for what follows the host in an address: values are percent-encoded. */
int fill_path(const char *template, const struct fill_values *v, struct buf *out,
              struct error *err);
