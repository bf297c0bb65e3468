/*
 * From rows to the JSON that an API wants: a template, given in the connector's manifest as
 * JSON, is compiled once for the fields of a sync and then written for each batch, without a
 * tree in between.
 *
 * What a template says stands as it is, but for objects with one member whose name begins with
 * "@", and for the member "@record" beside others:
 *
 *   {"@rows": T}            an array of T, once for each row of the batch
 *   {"@field": "email"}     the mapped field of the row; a dot is part of the name
 *   {"@key": true}          the identifier of the row, a value or, of several fields, an array;
 *                           or what a look-up found for it
 *   {"@key_text": true}     the same as a string; of several fields joined by "|"
 *   {"@identity": N}        what names this change over retries and restarts, N hex digits
 *   {"@index": true}        the row's number in its batch, from 0
 *   {"@option": "token"}    an option of the connection or the destination, as it is typed
 *   {"@object": true}       the object that the destination names
 *   {"@identifier": true}   the name of the identifier's field, which must be one
 *   {"@now": "iso"}         the time of this attempt: "seconds" or "milliseconds" since 1970 as
 *                           numbers, or "iso", as in "2026-11-21T04:33:52Z"
 *   {"@text": "Hello {x}"}  a text with fields in braces, see base/phrase.h; {"@text":
 *                           {"@option": "blocks"}}: the option's JSON, in which each string is
 *                           such a text; no member if it is unset
 *   {"@json": T}            T as JSON in a string
 *   {"@field?": "ip"}       as @field, or the object of the fields below it ("ip.x"); no member
 *                           if it is not mapped or NULL
 *   {"@string?": "user"}    the same of one field as a string
 *   {"@time": {"field": "at", "as": "milliseconds"}}   the same as a time, see @now; without a
 *                           zone it is UTC, a number stays as it is
 *   {"@event": "name"}      the event's name
 *   {"@nulls": "names"}     the names of what is NULL among "others"; {"each": V}: an object
 * with a member V for each; no member if there is none
 *   {"@with_nulls": T}      T only for a row of which something is NULL among "others"
 *   {"@rows": {"@spread": [T, T]}}   several elements a row
 *   "@record": "all"        as a member: the row's mapped fields are members here; "rest": but
 *                           for those of the identifier; "others": those that the template does
 *                           not name; "values": of these what is not NULL; "key": the
 *                           identifier's
 *
 *   "@member": T            as a member: one of the object's name
 *
 * A field named "address.city" is the member city of the object address; "phones.0" is the
 * first element of the array phones. An object or array of which no field is there is left out.
 */
#pragma once

#include <jansson.h>

#include "base/arena.h"
#include "driver.h"

enum body_nulls {
    NULLS_NULL,  /* null */
    NULLS_OMIT,  /* no such member */
    NULLS_EMPTY, /* "" */
};

struct body_settings {
    const struct column *fields;
    size_t nfields;
    const size_t *key; /* indices into fields */
    size_t nkey;
    const char *object; /* NULL: it names none */
    bool events;        /* rows are events */
    const char *event;  /* their name; NULL: it stands in event_field, an index into fields */
    size_t event_field;
    enum body_nulls nulls;
    const unsigned char *field_nulls; /* of each field instead; MAY be NULL */
    const json_t *markup; /* names of members whose "@text" is markup: values are escaped */
    bool strings;         /* numbers, booleans and JSON as strings */
    bool changed_only;    /* "@record" leaves out what stands at the destination already, but
                             for the identifier; an array is sent whole */
    bool changed_whole;   /* so is an object within the record */
    bool looked_up;       /* the key of a change is what was found for it; it follows there */
    size_t row_bytes;     /* what one row may take, see body_over; 0: any */
    /* The option as JSON (borrowed), NULL: no such option or unset. */
    const json_t *(*option)(void *arg, const char *name);
    void *arg;
};

struct body;

/* 0, -EINVAL when the template or the fields cannot be (*err names the place as a JSON
 * pointer), or -ENOMEM. Everything given may go afterwards. */
int body_compile(const json_t *template, const struct body_settings *settings,
                 struct body **ret, struct error *err);
/* Whether "@rows" stands somewhere in it. */
bool body_has_rows(const json_t *template);
/* About how many bytes a row takes beside its values. */
size_t body_overhead(const struct body *b);
struct body *body_free(struct body *b); /* NULL-safe, returns NULL */
/* Appends the JSON for the changes. What has "@rows" nowhere is of the first one alone.
 * identities: of each change, 32 bytes; n: at least one. False: a delivered record is damaged
 * (out->failed tells memory). */
bool body_write(struct body *b, const struct change *changes, size_t n,
                const unsigned char (*identities)[32], struct buf *out);
/* Which changes took more than row_bytes in the last body_write, by their places there; *n:
 * how many did. Borrowed until the next one. */
const size_t *body_over(const struct body *b, size_t *n);
