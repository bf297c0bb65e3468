/*
 * Options that name fields: see phrases.h. A text is judged where jansson holds it; only when
 * one is at fault is its place looked for, since each step down reads the file again.
 */
#include "define/phrases.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/phrase.h"
#include "base/words.h"

struct judge {
    const char **fields; /* sorted; NULL: only the form is judged */
    size_t n;
    struct str unknown; /* field, once found */
};

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool
is_field(const struct judge *j, struct str name)
{
    size_t low = 0, high = j->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = key_compare(name, str_of(j->fields[middle]));
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

static bool
text_faulty(struct judge *j, const json_t *text)
{
    struct str at = {json_string_value(text), json_string_length(text)};
    struct phrase piece;
    enum phrase_kind kind;
    while ((kind = phrase_next(&at, &piece)) != PHRASE_END) {
        if (kind == PHRASE_BROKEN)
            return true;
        if (kind == PHRASE_FIELD && j->fields && !is_field(j, piece.text)) {
            j->unknown = piece.text;
            return true;
        }
    }
    return false;
}

static bool
faulty(struct judge *j, json_t *v)
{
    size_t i;
    const char *name;
    json_t *inner;
    if (json_is_string(v))
        return text_faulty(j, v);
    json_array_foreach(v, i, inner) if (faulty(j, inner)) return true;
    json_object_foreach(v, name, inner) if (faulty(j, inner)) return true;
    return false;
}

/* The text at fault below v, of which there is one. */
static struct json_node
find_fault(struct judge *j, struct json_node v)
{
    while (!json_is_string(v.json)) {
        size_t i;
        const char *name;
        json_t *inner;
        struct json_node next = v;
        json_array_foreach(v.json, i, inner) if (faulty(j, inner))
        {
            next = json_item(&v, i);
            break;
        }
        json_object_foreach(v.json, name, inner) if (faulty(j, inner))
        {
            next = json_get(&v, name);
            break;
        }
        v = next;
    }
    return v;
}

int
phrases_check(const struct json_node *v, struct complaint *c)
{
    struct judge j = {.n = 0};
    if (!faulty(&j, v->json))
        return 0;
    struct json_node at = find_fault(&j, *v);
    return complain(c, at.file, at.at, "a field stands as {field}; \"{{\" is a brace",
                    "a brace that is not closed, or names nothing");
}

static int
unknown(const struct judge *j, struct str name, const struct text_file *f, size_t at,
        struct complaint *c)
{
    char text[ERROR_TEXT_MAX], hint[ERROR_TEXT_MAX];
    struct words words = {.n = 0};
    for (size_t i = 0; i < j->n; i++)
        words_add(&words, j->fields[i]);
    snprintf(text, sizeof text, "%.*s", (int)name.n, name.p);
    words_hint(&words, text, "mapped", hint, sizeof hint);
    return complain(c, f, at, hint, "no mapping gives field \"%s\"", text);
}

int
phrases_check_fields(const struct option *o, const struct json_node *v,
                     const struct definition *d, struct complaint *c)
{
    AUTO_FREE const char **fields = calloc(d->nmappings + 1, sizeof *fields);
    if (!fields)
        return complain_memory(c, v->file);
    for (size_t i = 0; i < d->nmappings; i++)
        fields[i] = d->mappings[i].field;
    qsort(fields, d->nmappings, sizeof *fields, by_name);
    struct judge j = {.fields = fields, .n = d->nmappings};
    if (o->type != OPT_FIELDS) {
        if (!faulty(&j, v->json) || !j.unknown.p)
            return 0;
        struct json_node at = find_fault(&j, *v);
        return unknown(&j, j.unknown, at.file, at.at, c);
    }
    const char *name;
    json_t *word;
    json_object_foreach(v->json, name, word) if (!is_field(&j, str_of(name))) return unknown(
        &j, str_of(name), v->file, json_get(v, name).key_at, c);
    return 0;
}
