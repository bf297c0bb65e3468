/*
 * Connectors: what the HTTP driver must know of a destination, as data. A manifest is JSON:
 *
 * - "name": the driver's; a-z, 0-9, "_" and "-"
 * - "summary": one line; "readme": lines of Markdown; "sources": where its facts come from
 * - "connection": options of connections/NAME.json, "destination": those of "destination" in
 *   config.json: {"token": {"type": "string|integer|boolean|enum|secret|json", "required":
 * true, "default": "text", "choices": ["a"], "help": "…"}}; with "phrase": true its texts name
 *   mapped fields in braces, see base/phrase.h. "nulls" is an option of every destination
 * - "url": template, begins every call's address: "{base_url}/v2"
 * - "place": template, names the account; "url" when it is missing
 * - "headers": {"Authorization": "Bearer {token}"}; a header that names an option that is not
 *   set is left out
 * - "signature": the option whose secret signs each call by Standard Webhooks 1.0.0 (headers
 *   webhook-id, webhook-timestamp, webhook-signature), if it is set
 * - "parallel": calls under way at once (1)
 * - "rate": [{"calls": 100, "milliseconds": 10000}], at most four
 * - "timeouts": {"connect": 10, "first_byte": 30, "whole": 120}, seconds
 * - "answer": rules, see answer.h
 * - "calls": of these the first that fits the operation and its "when" is made
 *
 * A call:
 *
 * - "for": ["insert", "upsert", "update", "delete"]
 * - "when": {"format": "array"}, options as they must be; null: unset
 * - "url": template, instead of that above
 * - "method": POST when it is missing; "path": template, "" when it is missing
 * - "headers": beside those above; "answer": instead of that above; or "exceptions": rules
 *   before those of its "when"
 * - "type": Content-Type, "application/json" when it is missing
 * - "body": template, see body.h; none: an empty body
 * - "lines": true: the body is written for each row alone, a line each
 * - "nulls": "null" (the default), "omit", "empty"
 * - "strings", "changed_only", "markup": see body.h
 * - "repeatable": the peer knows a change again by what the body or a header says of it; true
 *   for upsert, update and delete unless it says false
 * - "rows", "bytes": of a call, at most (1 row; 1 MiB)
 *
 * A template is a text in which {option} stands for an option, encoded for an address where it
 * is one. Modes follow from the operations: mirror wants upsert and delete, full upsert or
 * insert.
 */
#pragma once

#include <jansson.h>

#include "base/arena.h"
#include "driver.h"
#include "http/answer.h"
#include "http/body.h"
#include "http/transfer.h"

struct connector_call {
    unsigned operations; /* 1 << enum operation */
    const json_t *when, *headers, *body, *markup;
    const char *method, *url, *path, *type;
    bool lines, strings, changed_only, repeatable;
    enum body_nulls nulls;
    size_t rows, bytes;
    struct answer_rules *answer;
};

struct connector {
    struct driver driver; /* as the engine sees it */
    struct arena arena;
    json_t *manifest;
    const char *url, *place, *signature;
    const json_t *headers;
    struct pace_window windows[PACE_WINDOWS_MAX];
    size_t nwindows;
    struct transfer_settings transfer;
    struct answer_rules *answer;
    struct connector_call *calls;
    size_t ncalls;
};

/* What options_fill makes of a connector's options: one word each, in the table's order. */
union connector_value {
    char *text;
    int64_t number;
    bool flag;
    const struct option_fields *fields;
};
struct connector_options {
    const char *connector; /* its name */
    union connector_value values[];
};

/* Reads a manifest. 0, -EINVAL with the place in *err (a JSON pointer), -ENOMEM. driver.name
 * and the option tables are filled; the hooks are http.c's. */
int connector_parse(struct str text, struct connector **ret, struct error *err);
struct connector *connector_free(struct connector *c); /* NULL-safe, returns NULL */

/* The option as JSON, owned by the caller; NULL: no such option, or unset (or memory is out).
 * connection and destination are the filled structs; destination MAY be NULL. */
json_t *connector_option(const struct connector *c, const void *connection,
                         const void *destination, const char *name);
/* The option "nulls"; NULL: unset. */
const struct option_fields *connector_nulls(const struct connector *c, const void *destination);
/* The call for an operation with these options; NULL: none. */
const struct connector_call *connector_call_for(const struct connector *c, enum operation op,
                                                const void *connection,
                                                const void *destination);
