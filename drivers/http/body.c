/* From a template to steps: see body.h. */
#include "http/body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "http/body_private.h"

enum { NUMBERS_MAX = 1000 };

struct compiler {
    struct body *body;
    const struct body_settings *set;
    struct error *err;
    bool in_rows, in_row_array, in_json;
    bool phrases;       /* strings are texts with fields in braces */
    const char *member; /* within which we are */
    char where[256];    /* JSON pointer */
};

static int
no_memory(struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

static int
wrong(struct compiler *c, const char *what)
{
    return error_set(c->err, ERR_CONFIG, EINVAL, "%s: %s", c->where[0] ? c->where : "/", what);
}

static int
add(struct compiler *c, struct step step)
{
    return VEC_PUSH(&c->body->steps, step) ? 0 : no_memory(c->err);
}

static int
add_open(struct compiler *c, char bracket, bool lazy)
{
    return add(c, (struct step){.kind = STEP_OPEN, .bracket = bracket, .lazy = lazy});
}

static int
add_close(struct compiler *c)
{
    return add(c, (struct step){.kind = STEP_CLOSE});
}

static int
add_text(struct compiler *c, enum step_kind kind, struct buf *text)
{
    char *copy = text->failed ? NULL : arena_strndup(&c->body->arena, buf_z(text), text->n);
    return copy ? add(c, (struct step){.kind = kind, .text = {copy, text->n}})
                : no_memory(c->err);
}

static int
add_name(struct compiler *c, const char *name, size_t n)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    json_quote(&text, name, n);
    buf_addc(&text, ':');
    return add_text(c, STEP_NAME, &text);
}

static int
add_literal(struct compiler *c, const json_t *value)
{
    AUTO_FREE char *dump = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    buf_adds(&text, dump ? dump : "");
    return dump ? add_text(c, STEP_TEXT, &text) : no_memory(c->err);
}

/* Adds a part to the pointer; returns its length before. */
static size_t
go_down(struct compiler *c, const char *part)
{
    size_t n = strlen(c->where);
    snprintf(c->where + n, sizeof c->where - n, "/%s", part);
    return n;
}

static bool
is_key(const struct body_settings *set, size_t field)
{
    for (size_t i = 0; i < set->nkey; i++)
        if (set->key[i] == field)
            return true;
    return false;
}

/* ---- the record: fields by their dotted names ---- */

struct path {
    const char *rest; /* of the name, below what is open */
    size_t field;
};

struct part {
    const char *p;
    size_t n;
};

static struct part
first_part(const char *rest)
{
    return (struct part){rest, strcspn(rest, ".")};
}

static bool
same_part(struct part a, struct part b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static bool
part_number(struct part part, size_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < part.n; i++) {
        if (part.p[i] < '0' || part.p[i] > '9' || *ret > NUMBERS_MAX)
            return false;
        *ret = *ret * 10 + (size_t)(part.p[i] - '0');
    }
    return part.n > 0;
}

/* Where the members of a record are to go. */
struct place {
    bool array;  /* elements, not members */
    bool within; /* …or within an element: then nothing is left out, it stands for the whole */
    int depth;
};

static int add_members(struct compiler *c, struct path *paths, size_t n, struct place at);

static int
name_clash(struct compiler *c, size_t field, const char *why)
{
    return error_set(c->err, ERR_CONFIG, EINVAL, "field \"%s\" %s", c->set->fields[field].name,
                     why);
}

/* paths[0..n) begin with the same part and go on below it. */
static int
add_below(struct compiler *c, struct path *paths, size_t n, struct place at)
{
    size_t number, elements = 0;
    for (size_t i = 0; i < n; i++) {
        struct part part = first_part(paths[i].rest);
        if (paths[i].rest[part.n] == '\0')
            return name_clash(c, paths[i].field, "is a value, and has fields below it");
        paths[i].rest += part.n + 1;
        part = first_part(paths[i].rest);
        if (part.n == 0)
            return name_clash(c, paths[i].field, "has an empty part");
        elements += part_number(part, &number);
    }
    if (elements != 0 && elements != n)
        return name_clash(c, paths[0].field, "makes its parent both an array and an object");
    int rc = add_open(c, elements ? '[' : '{', true);
    if (rc == 0)
        rc = add_members(c, paths, n,
                         (struct place){.array = elements != 0,
                                        .within = at.within || elements != 0,
                                        .depth = at.depth + 1});
    return rc == 0 ? add_close(c) : rc;
}

/* Members in the order in which the mappings name them first; elements must come in theirs. */
static int
add_members(struct compiler *c, struct path *paths, size_t n, struct place at)
{
    if (at.depth > BODY_DEPTH_MAX)
        return name_clash(c, paths[0].field, "is nested too deep");
    size_t expected = 0, number;
    while (n > 0) {
        struct part part = first_part(paths[0].rest);
        size_t same = 0;
        /* Those that share the first part are brought together, the others keep their order. */
        for (size_t i = 0; i < n; i++)
            if (same_part(first_part(paths[i].rest), part)) {
                struct path moved = paths[i];
                memmove(paths + same + 1, paths + same, (i - same) * sizeof *paths);
                paths[same++] = moved;
            }
        if (at.array && (!part_number(part, &number) || number != expected++))
            return name_clash(c, paths[0].field,
                              "is an element out of turn: they are 0, 1, 2 …");
        int rc = at.array ? 0 : add_name(c, part.p, part.n);
        if (rc == 0 && same == 1 && paths[0].rest[part.n] == '\0')
            rc = add(c,
                     (struct step){.kind = STEP_FIELD,
                                   .field = paths[0].field,
                                   .in_record = !at.within && !is_key(c->set, paths[0].field)});
        else if (rc == 0)
            rc = add_below(c, paths, same, at);
        if (rc < 0)
            return rc;
        paths += same;
        n -= same;
    }
    return 0;
}

static int
add_record(struct compiler *c, const json_t *which)
{
    const char *word = json_string_value(which);
    bool rest = word && strcmp(word, "rest") == 0;
    if (!rest && !(word && strcmp(word, "all") == 0))
        return wrong(c, "\"@record\" is \"all\" or \"rest\"");
    if (!c->in_rows)
        return wrong(c, "no row here");
    AUTO_FREE struct path *paths = calloc(c->set->nfields + 1, sizeof *paths);
    if (!paths)
        return no_memory(c->err);
    size_t n = 0;
    for (size_t i = 0; i < c->set->nfields; i++)
        if (!rest || !is_key(c->set, i))
            paths[n++] = (struct path){c->set->fields[i].name, i};
    return add_members(c, paths, n, (struct place){.depth = 0});
}

/* ---- actions ---- */

static int add_value(struct compiler *c, const json_t *value, int depth);

static int
add_field(struct compiler *c, const json_t *value)
{
    const char *name = json_string_value(value);
    for (size_t i = 0; name && i < c->set->nfields; i++)
        if (strcmp(c->set->fields[i].name, name) == 0)
            return add(c, (struct step){.kind = STEP_FIELD, .field = i});
    if (!name)
        return wrong(c, "\"@field\" wants a field's name");
    return error_set(c->err, ERR_CONFIG, EINVAL, "no mapping gives field \"%s\"", name);
}

static int
add_option(struct compiler *c, const json_t *value)
{
    const char *name = json_string_value(value);
    if (!name)
        return wrong(c, "\"@option\" wants an option's name");
    const json_t *option = c->set->option ? c->set->option(c->set->arg, name) : NULL;
    return option ? add_literal(c, option)
                  : error_set(c->err, ERR_CONFIG, EINVAL, "option \"%s\" is not set", name);
}

static int
add_rows(struct compiler *c, const json_t *row, int depth)
{
    if (c->in_row_array)
        return wrong(c, "\"@rows\" stands within \"@rows\"");
    c->in_rows = c->in_row_array = true;
    size_t at = c->body->steps.n;
    int rc = add(c, (struct step){.kind = STEP_ROWS});
    if (rc == 0)
        rc = add_value(c, row, depth + 1);
    if (rc == 0)
        c->body->steps.p[at].field = c->body->steps.n;
    c->in_rows = c->in_row_array = false;
    return rc;
}

static int
add_identity(struct compiler *c, const json_t *value)
{
    json_int_t digits = json_is_integer(value) ? json_integer_value(value) : 0;
    if (digits < 16 || digits > 64)
        return wrong(c, "\"@identity\" wants a number of digits, 16 to 64");
    return add(c, (struct step){.kind = STEP_IDENTITY, .field = (size_t)digits});
}

static int
add_object_name(struct compiler *c, const json_t *value)
{
    if (!json_is_true(value))
        return wrong(c, "an action that takes nothing is true");
    if (!c->set->object)
        return wrong(c, "the destination names no object");
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    json_quote(&text, c->set->object, strlen(c->set->object));
    return add_text(c, STEP_TEXT, &text);
}

static int
add_now(struct compiler *c, const json_t *value)
{
    static const char *const units[] = {
        [NOW_SECONDS] = "seconds", [NOW_MILLISECONDS] = "milliseconds", [NOW_ISO] = "iso"};
    const char *word = json_string_value(value);
    for (size_t i = 0; word && i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i], word) == 0)
            return add(c, (struct step){.kind = STEP_NOW, .field = i});
    return wrong(c, "\"@now\" is \"seconds\", \"milliseconds\" or \"iso\"");
}

static int
add_plain(struct compiler *c, enum step_kind kind, const json_t *value)
{
    return json_is_true(value) ? add(c, (struct step){.kind = kind})
                               : wrong(c, "an action that takes nothing is true");
}

static bool
is_markup(const struct compiler *c)
{
    bool found = false;
    for (size_t i = 0; i < json_array_size(c->set->markup); i++) {
        const char *name = json_string_value(json_array_get(c->set->markup, i));
        found = found || (name && c->member && strcmp(name, c->member) == 0);
    }
    return found;
}

/* In a template of the user's every string is a phrase, and there are no actions: it could name
 * a secret. */
static int
add_phrases(struct compiler *c, const json_t *value, int depth)
{
    const char *name = json_string_value(json_object_get(value, "@option"));
    const json_t *template = name && c->set->option ? c->set->option(c->set->arg, name) : value;
    if (!json_is_string(value) && !name)
        return wrong(c, "\"@text\" wants a text or an option");
    if (!template)
        return add(c, (struct step){.kind = STEP_NOTHING});
    c->phrases = true;
    int rc = add_value(c, template, depth + 1);
    c->phrases = false;
    return rc < 0 && name ? error_wrap(c->err, "%s", name) : rc;
}

static int
add_json(struct compiler *c, const json_t *value, int depth)
{
    if (c->in_json)
        return wrong(c, "\"@json\" stands within \"@json\"");
    c->in_json = true;
    int rc = add(c, (struct step){.kind = STEP_JSON});
    if (rc == 0)
        rc = add_value(c, value, depth + 1);
    c->in_json = false;
    return rc == 0 ? add(c, (struct step){.kind = STEP_JSON_END}) : rc;
}

static int
add_action(struct compiler *c, const char *name, const json_t *value, int depth)
{
    if (strcmp(name, "@json") == 0)
        return add_json(c, value, depth);
    if (strcmp(name, "@rows") == 0)
        return add_rows(c, value, depth);
    if (strcmp(name, "@option") == 0)
        return add_option(c, value);
    if (strcmp(name, "@object") == 0)
        return add_object_name(c, value);
    if (strcmp(name, "@now") == 0)
        return add_now(c, value);
    if (!c->in_rows)
        return wrong(c, "no row here");
    if (strcmp(name, "@field") == 0)
        return add_field(c, value);
    if (strcmp(name, "@text") == 0)
        return add_phrases(c, value, depth);
    if (strcmp(name, "@identity") == 0)
        return add_identity(c, value);
    static const struct {
        const char *name;
        enum step_kind kind;
    } plain[] = {{"@key", STEP_KEY}, {"@key_text", STEP_KEY_TEXT}, {"@index", STEP_INDEX}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(name, plain[i].name) == 0)
            return add_plain(c, plain[i].kind, value);
    return wrong(c, "no such action; known: @rows @field @key @key_text @identity @index "
                    "@option @object @now @text @json, and the member @record");
}

/* ---- JSON of the template ---- */

static int
add_object(struct compiler *c, const json_t *object, int depth)
{
    int rc = add_open(c, '{', false);
    const char *name;
    json_t *value;
    /* json_object_foreach wants a writable object, and does not write. */
    const char *member = c->member;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        size_t before = go_down(c, name);
        c->member = name;
        if (rc == 0 && strcmp(name, "@record") == 0 && !c->phrases) {
            rc = add_record(c, value);
        } else if (rc == 0 && name[0] == '@' && !c->phrases) {
            rc = wrong(c, "an action stands alone in its object, but for @record");
        } else if (rc == 0) {
            rc = add_name(c, name, strlen(name));
            if (rc == 0)
                rc = add_value(c, value, depth + 1);
        }
        if (rc < 0)
            return rc;
        c->where[before] = '\0';
    }
    c->member = member;
    return rc == 0 ? add_close(c) : rc;
}

static int
add_array(struct compiler *c, const json_t *array, int depth)
{
    int rc = add_open(c, '[', false);
    for (size_t i = 0; rc == 0 && i < json_array_size(array); i++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        size_t before = go_down(c, number);
        rc = add_value(c, json_array_get(array, i), depth + 1);
        if (rc == 0)
            c->where[before] = '\0';
    }
    return rc == 0 ? add_close(c) : rc;
}

static int
add_value(struct compiler *c, const json_t *value, int depth)
{
    if (depth > BODY_DEPTH_MAX)
        return wrong(c, "nested too deep");
    if (json_is_array(value))
        return add_array(c, value, depth);
    if (c->phrases && json_is_string(value))
        return body_phrase(c->body, c->set,
                           (struct str){json_string_value(value), json_string_length(value)},
                           is_markup(c), c->err);
    if (!json_is_object(value))
        return add_literal(c, value);
    if (c->phrases)
        return add_object(c, value, depth);
    json_t *object = (json_t *)(uintptr_t)value;
    const char *name = json_object_iter_key(json_object_iter(object));
    if (name && json_object_size(object) == 1 && name[0] == '@' &&
        strcmp(name, "@record") != 0) {
        size_t before = go_down(c, name);
        int rc = add_action(c, name, json_object_get(object, name), depth);
        if (rc == 0)
            c->where[before] = '\0';
        return rc;
    }
    return add_object(c, value, depth);
}

static bool
has_rows(const json_t *value)
{
    size_t i;
    const char *name;
    json_t *member;
    json_t *v = (json_t *)(uintptr_t)value;
    if (json_object_get(v, "@rows"))
        return true;
    json_array_foreach(v, i, member) if (has_rows(member)) return true;
    json_object_foreach(v, name, member) if (has_rows(member)) return true;
    return false;
}

int
body_compile(const json_t *template, const struct body_settings *settings, struct body **ret,
             struct error *err)
{
    struct body *b = calloc(1, sizeof *b);
    if (!b)
        return no_memory(err);
    b->set = *settings;
    b->before = arena_alloc(&b->arena, (settings->nfields + 1) * sizeof *b->before);
    b->key = arena_alloc(&b->arena, (settings->nkey + 1) * sizeof *b->key);
    b->nulls = arena_alloc(&b->arena, settings->nfields + 1);
    b->phrase = b->json = (struct buf)BUF_INIT(BUF_NO_MAX);
    struct compiler c = {.body = b, .set = settings, .err = err};
    c.in_rows = !has_rows(template);
    int rc = b->before && b->key && b->nulls ? add_value(&c, template, 0) : no_memory(err);
    if (rc < 0) {
        body_free(b);
        return rc;
    }
    if (settings->nkey)
        memcpy(b->key, settings->key, settings->nkey * sizeof *b->key);
    for (size_t i = 0; i < settings->nfields; i++)
        b->nulls[i] = settings->field_nulls ? settings->field_nulls[i] : settings->nulls;
    b->set.key = b->key;
    b->set.field_nulls = NULL;
    b->set.markup = NULL;
    b->set.fields = NULL;
    b->set.option = NULL;
    b->set.object = NULL;
    *ret = b;
    return 0;
}

struct body *
body_free(struct body *b)
{
    if (!b)
        return NULL;
    VEC_DONE(&b->steps);
    buf_done(&b->phrase);
    buf_done(&b->json);
    arena_done(&b->arena);
    free(b);
    return NULL;
}
