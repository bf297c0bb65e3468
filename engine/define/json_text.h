/*
 * JSON as a person writes it in a file, bit by bit: a recogniser that tells after each piece
 * whether more text could still make it whole, and nodes that know at which byte they stand.
 *
 * jansson builds the values but keeps no places; they are found again in the text, by walking
 * it, when a complaint needs them.
 */
#pragma once

#include <jansson.h>

#include "define/complaint.h"

struct json_fault {
    size_t at;
    const char *text; /* static */
    const char *hint; /* static; NULL: none */
    size_t open;      /* TEXT_INCOMPLETE: the innermost bracket still open; AT_FILE: none */
};

/* Is text one JSON object (RFC 8259), so far? Within it: integers fit int64, no NUL, nesting
 * at most 64. One pass, no allocation, some hundred MB/s: it is called with the whole text so
 * far after every write. */
enum text_verdict json_recognise(struct str text, struct json_fault *fault);

struct json_node {
    const struct text_file *file;
    json_t *json;  /* borrowed from the root; NULL: there is no such node */
    size_t at;     /* of the value in the text */
    size_t key_at; /* of its key; of the value when it has none */
};

/* Recognises and parses. *root owns its json. TEXT_OK, or another verdict with a complaint
 * (with TEXT_INCOMPLETE only when final). */
enum text_verdict json_open(const struct text_file *f, bool final, struct json_node *root,
                            struct complaint *c);
/* The member of an object, the item of an array. */
struct json_node json_get(const struct json_node *object, const char *key);
struct json_node json_item(const struct json_node *array, size_t index);
/* "a string", "an integer" … */
const char *json_kind(const json_t *j);
