/*
 * Connectors: what the HTTP driver must know of a destination, as data. A manifest is JSON:
 *
 * - "name": the driver's, of one that is built in: a-z, 0-9, "_" and "-"; a user's is called as
 *   its directory is
 * - "summary": one line; "readme": lines of Markdown; "sources": where its facts come from
 * - "connection": options of connections/NAME.json, "destination": those of "destination" in
 *   config.json: {"token": {"type": "string|integer|boolean|enum|secret|json", "required":
 *   true, "default": "text", "choices": ["a"], "help": "…"}}; with "phrase": true its texts
 *   name mapped fields in braces, see base/phrase.h. "nulls" and "max_rows" are options of
 *   every destination
 * - "url": text, begins every call's address: "{base_url}/v2", "{@token:/instance_url}"
 * - "place": text, names the account; "url" when it is missing
 * - "auth": who calls, see auth.h
 * - "headers": {"X-Api-Key": "{api_key}"}; a header that names an option that is not set is
 *   left out
 * - "signature": the option whose secret signs each call by Standard Webhooks 1.0.0 (headers
 *   webhook-id, webhook-timestamp, webhook-signature), if it is set
 * - "gzip": true: bodies of more than 1 KiB are packed; a call may say otherwise
 * - "parallel": calls under way at once (1)
 * - "rate": [{"calls": 100, "milliseconds": 10000, "when": {"plan": "free"}}]: at most so many
 *   begin in any such stretch; four at once at most
 * - "quota": {"remaining": "header", "keep": "option"} or {"usage": "header", "name":
 *   "api-usage", "keep": "option"}: how many calls of the day are left, as the header says
 *   ("api-usage=72/100000": of so many so many were made); once there are no more than that
 *   option of the connection (0) the run makes none that it need not make
 * - "timeouts": {"connect": 10, "first_byte": 30, "whole": 120}, seconds
 * - "answer": rules, see answer.h
 * - "calls": of these the first that fits the operation and its "when" is made
 *
 * A call:
 *
 * - "for": ["insert", "upsert", "update", "delete"] of records, ["add", "remove"] of members:
 *   those of an audience, whose list the object is
 * - "when": {"format": "array"}, options as they must be (null: not set; an array: one of
 *   these), and the type, the mode, the object and the only field of the identifier (null: it
 *   has several or none):
 *   {"@type": "records", "@mode": "mirror", "@object": "contacts", "@identifier": "Id"}
 * - "event": "track" for syncs of such events, which have no other calls; "identify" when it is
 *   missing: for records, and events that identify
 * - "needs": [["user_id", "device_id"]], fields of which one must be mapped, for each list
 * - "refuse": "why this cannot be done": said when a sync that would need it is defined; beside
 *   it stand "for" and "when" alone
 * - "url": text, instead of that above
 * - "method": POST when it is missing
 * - "path": text, encoded for an address, "" when it is missing
 * - "query": {"name": text}; one that names an option that is not set is left out
 * - "headers": beside those above; "answer": instead of that above; or "exceptions": rules
 *   before those of its "when"
 * - "type": Content-Type, "application/json" when it is missing
 * - "body": template of JSON, see body.h; none: an empty body
 * - "form": {"name": text or template of JSON}, instead of "body": the body is a form
 *   (application/x-www-form-urlencoded); one that names an option that is not set is left out
 * - "lines": true: the body is written for each row alone, a line each
 * - "gzip": true or false: instead of that above
 * - "nulls": "null" (the default), "omit", "empty"
 * - "strings", "changed_only", "changed_whole", "markup": see body.h
 * - "repeatable": the peer knows a change again by what the body or a header says of it; true
 *   for upsert, update and delete unless it says false
 * - "rows", "bytes": of a call, at most (1 row; 1 MiB, before it is packed); a single row may
 *   be larger. Of each operation apart: deletes of one row do not make upserts of one row
 * - "row_bytes": of what is written of one row, at most; one that has more is refused, and not
 *   sent
 * - "rate": one to four windows without "when": the endpoint's own, instead of those above;
 *   what answers say of the pace is then said of the endpoint
 * - "parallel": at most, instead of that above; of a sync's calls the smallest holds
 * - "look_up": a request made before it, where the peer knows rows by something else than their
 *   identifier (one field): what is found stands for the identifier in the call and its answer.
 *   Not of inserts, nor of events. A row of which nothing is found is unchanged by delete and
 *   remove, else rejected; a look-up that fails is a call of which nothing was applied
 *
 * A look-up, beside "url", "method", "path", "query", "headers", "type", "body", "rate" and
 * "answer" or "exceptions" as above (of an answer the "rows" do not count):
 *
 * - "list": pointer to the array of what was found
 * - "key", "id": pointers within an entry to the identifier, in which {@identifier} may stand,
 *   and to what was found. An entry that names no row exactly names the one that differs from
 *   it in the case of letters alone
 * - "failed": pointer to an array of what was not, where a row that is not there must stand;
 *   "code" and "words" point within an entry. A code in "fine" says that there is none; after
 *   any other, rows of which nothing was found are rejected by it
 * - "why": the words for a row that is rejected since nothing was found
 * - "absent": of upserts: the call by which such rows are made instead, in what differs from
 *   the one that they were to be in ({} of "query" or "headers": it has none). One that may
 *   have been made is looked up again
 *
 * For texts see fill.h. Modes follow from the operations: mirror wants upsert and delete,
 * full upsert or insert; of audiences add and upsert want add, remove wants remove, mirror
 * both.
 */
#pragma once

#include <jansson.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "driver.h"
#include "http/answer.h"
#include "http/body.h"
#include "http/transfer.h"

struct connector_look_up;

struct connector_call {
    unsigned operations[SYNC_TYPES]; /* 1 << enum operation; to add is an upsert */
    unsigned names;                  /* of its texts and the connector's: enum fill_names */
    const json_t *when, *query, *headers, *body, *form, *markup;
    const char *method, *url, *path, *type, *refuse;
    bool lines, strings, changed_only, changed_whole, repeatable, gzip;
    const json_t *needs; /* lists of fields of which one must be mapped */
    enum body_nulls nulls;
    size_t rows, bytes, row_bytes; /* row_bytes 0: any */
    unsigned parallel;             /* 0: as the connector says */
    struct pace_scope scope;       /* "POST /path"; without windows the connector's hold */
    struct answer_rules *answer;
    struct connector_look_up *look_up; /* NULL: none */
};

struct connector_look_up {
    struct connector_call call; /* its request, and what its answer means as a whole */
    const char *list, *key, *id, *failed, *code, *words, *why;
    const json_t *fine;            /* MAY be NULL */
    struct connector_call *absent; /* of rows of which nothing was found; NULL: none is made */
};

enum { CONNECTOR_WINDOWS_MAX = 16 };
struct connector_window {
    struct pace_window window;
    const json_t *when;
};

/* The day's calls. */
struct connector_quota {
    const char *remaining, *usage; /* headers; both NULL: there is none */
    const char *name, *keep;
};

enum { CONNECTOR_NAME_MAX = 128 };

struct connector {
    struct driver driver; /* as the engine sees it */
    atomic_uint holders;
    char name[CONNECTOR_NAME_MAX + 1];
    struct arena arena;
    json_t *manifest;
    json_t *made; /* calls that are no members of it, an array */
    const char *url, *place, *signature;
    const json_t *auth, *headers;
    unsigned names; /* of url and headers */
    bool gzip, has_token;
    struct connector_window windows[CONNECTOR_WINDOWS_MAX];
    size_t nwindows;
    struct connector_quota quota;
    struct transfer_settings transfer;
    struct answer_rules *answer;
    struct connector_call *calls;
    size_t ncalls;
};

/* Who uses it, and for what. NULL: not known, or there is none. */
struct connector_use {
    const void *connection, *destination; /* the filled options */
    enum sync_type type;
    const char *object;
    const char *identifier; /* its field, if there is just one */
    const char *mode;       /* its name */
};

/* What options_fill makes of a connector's options: one word each, in the table's order. */
union connector_value {
    char *text;
    int64_t number;
    bool flag;
    const struct option_fields *fields;
};
struct connector_options {
    const char *connector; /* its name, by which it is found */
    union connector_value values[];
};

/* Reads a manifest; name NULL: it says its own. 0, -EINVAL with the place in *err (a JSON
 * pointer), -ENOMEM. driver.name and the option tables are filled; the hooks are http.c's. */
int connector_parse(const char *name, struct str text, struct connector **ret,
                    struct error *err);
/* The connector by whose table the options were filled. */
const struct connector *connector_of(const struct connector_options *filled);
struct connector *connector_free(struct connector *c); /* NULL-safe, returns NULL */

/* The option as JSON, owned by the caller; *ret is NULL if there is no such option, or it is
 * unset. -ENOMEM. */
int connector_option(const struct connector *c, const struct connector_use *use,
                     const char *name, json_t **ret);
/* 0: no such option, or it is no integer. */
int64_t connector_option_int(const struct connector *c, const struct connector_use *use,
                             const char *name);
/* Whether it is that; of one that is JSON only null (unset) can be asked. */
bool connector_option_is(const struct connector *c, const struct connector_use *use,
                         const char *name, const json_t *wanted);
/* Appends its text; false: no such option, or unset. */
bool connector_option_text(const struct connector *c, const struct connector_use *use,
                           const char *name, struct buf *out);
/* The option "nulls"; NULL: unset. */
const struct option_fields *connector_nulls(const struct connector *c, const void *destination);
/* Whether a "when" can be one; -EINVAL. And whether it holds (NULL: always). */
int connector_check_when(const struct connector *c, const json_t *when, const char *where,
                         struct error *err);
bool connector_fits(const struct connector *c, const json_t *when,
                    const struct connector_use *use);
/* The call for an operation; NULL: none. */
const struct connector_call *connector_call_for(const struct connector *c, enum operation op,
                                                const struct connector_use *use);
/* Whether some call for it depends on the connection. */
bool connector_may_call(const struct connector *c, enum sync_type type, enum operation op);
/* Whether that call names the object. */
bool connector_wants_object(const struct connector *c, const struct connector_call *call);
/* Fills the windows of the pace. */
void connector_pace(const struct connector *c, const struct connector_use *use,
                    struct limits *ret);
/* Whether an answer says that no more calls of the day are to be spent; then appends it. */
bool connector_is_spent(const struct connector *c, const struct connector_use *use,
                        const struct exchange *x, struct buf *why);
