/* From a template to steps: see body.h. */
#include "http/body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "http/body_private.h"

int
body_wrong(struct compiler *c, const char *what)
{
    return error_set(c->err, ERR_CONFIG, EINVAL, "%s: %s", c->where[0] ? c->where : "/", what);
}

int
body_add(struct compiler *c, struct step step)
{
    return VEC_PUSH(&c->body->steps, step) ? 0 : error_no_memory(c->err);
}

int
body_open(struct compiler *c, char bracket, bool lazy)
{
    return body_add(c, (struct step){.kind = STEP_OPEN, .bracket = bracket, .lazy = lazy});
}

int
body_close(struct compiler *c)
{
    return body_add(c, (struct step){.kind = STEP_CLOSE});
}

int
body_text(struct compiler *c, enum step_kind kind, struct buf *text)
{
    char *copy = text->failed ? NULL : arena_strndup(&c->body->arena, buf_z(text), text->n);
    return copy ? body_add(c, (struct step){.kind = kind, .text = {copy, text->n}})
                : error_no_memory(c->err);
}

int
body_name(struct compiler *c, const char *name, size_t n)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    json_quote(&text, name, n);
    buf_addc(&text, ':');
    return body_text(c, STEP_NAME, &text);
}

static int
add_literal(struct compiler *c, const json_t *value)
{
    AUTO_FREE char *dump = json_write(value, JSON_COMPACT | JSON_ENCODE_ANY);
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    buf_adds(&text, dump ? dump : "");
    return dump ? body_text(c, STEP_TEXT, &text) : error_no_memory(c->err);
}

/* Adds a part to the pointer; returns its length before. */
static size_t
go_down(struct compiler *c, const char *part)
{
    size_t n = strlen(c->where);
    snprintf(c->where + n, sizeof c->where - n, "/%s", part);
    return n;
}

/* ---- actions ---- */

static int
add_field(struct compiler *c, const json_t *value)
{
    const char *name = json_string_value(value);
    for (size_t i = 0; name && i < c->set->nfields; i++)
        if (strcmp(c->set->fields[i].name, name) == 0)
            return body_add(c, (struct step){.kind = STEP_FIELD, .field = i});
    if (!name)
        return body_wrong(c, "\"@field\" wants a field's name");
    return error_set(c->err, ERR_CONFIG, EINVAL, "no mapping gives field \"%s\"", name);
}

static int
add_option(struct compiler *c, const json_t *value)
{
    const char *name = json_string_value(value);
    if (!name)
        return body_wrong(c, "\"@option\" wants an option's name");
    const json_t *option = c->set->option ? c->set->option(c->set->arg, name) : NULL;
    return option ? add_literal(c, option)
                  : error_set(c->err, ERR_CONFIG, EINVAL, "option \"%s\" is not set", name);
}

static int
add_rows(struct compiler *c, const json_t *row, int depth)
{
    if (c->in_row_array)
        return body_wrong(c, "\"@rows\" stands within \"@rows\"");
    c->in_rows = c->in_row_array = true;
    size_t at = c->body->steps.n;
    int rc = body_add(c, (struct step){.kind = STEP_ROWS});
    const json_t *spread = json_object_get(row, "@spread");
    if (rc == 0 && !spread)
        rc = body_value(c, row, depth + 1);
    for (size_t i = 0; rc == 0 && i < json_array_size(spread); i++)
        rc = body_value(c, json_array_get(spread, i), depth + 1);
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
        return body_wrong(c, "\"@identity\" wants a number of digits, 16 to 64");
    return body_add(c, (struct step){.kind = STEP_IDENTITY, .field = (size_t)digits});
}

/* A name that the sync gives; NULL: it gives none, which is wrong. */
static int
add_given(struct compiler *c, const json_t *value, const char *name, const char *none)
{
    if (!json_is_true(value))
        return body_wrong(c, "an action that takes nothing is true");
    if (!name)
        return body_wrong(c, none);
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    json_quote(&text, name, strlen(name));
    return body_text(c, STEP_TEXT, &text);
}

static const char *
identifier(const struct body_settings *set)
{
    return set->nkey == 1 ? set->fields[set->key[0]].name : NULL;
}

static int
add_now(struct compiler *c, const json_t *value)
{
    static const char *const units[] = {
        [NOW_SECONDS] = "seconds", [NOW_MILLISECONDS] = "milliseconds", [NOW_ISO] = "iso"};
    const char *word = json_string_value(value);
    for (size_t i = 0; word && i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i], word) == 0)
            return body_add(c, (struct step){.kind = STEP_NOW, .field = i});
    return body_wrong(c, "\"@now\" is \"seconds\", \"milliseconds\" or \"iso\"");
}

static int
add_plain(struct compiler *c, enum step_kind kind, const json_t *value)
{
    return json_is_true(value) ? body_add(c, (struct step){.kind = kind})
                               : body_wrong(c, "an action that takes nothing is true");
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
        return body_wrong(c, "\"@text\" wants a text or an option");
    if (!template)
        return body_add(c, (struct step){.kind = STEP_NOTHING});
    c->phrases = true;
    int rc = body_value(c, template, depth + 1);
    c->phrases = false;
    return rc < 0 && name ? error_wrap(c->err, "%s", name) : rc;
}

static int
add_json(struct compiler *c, const json_t *value, int depth)
{
    if (c->in_json)
        return body_wrong(c, "\"@json\" stands within \"@json\"");
    c->in_json = true;
    int rc = body_add(c, (struct step){.kind = STEP_JSON});
    if (rc == 0)
        rc = body_value(c, value, depth + 1);
    c->in_json = false;
    return rc == 0 ? body_add(c, (struct step){.kind = STEP_JSON_END}) : rc;
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
        return add_given(c, value, c->set->object, "the destination names no object");
    if (strcmp(name, "@identifier") == 0)
        return add_given(c, value, identifier(c->set), "the identifier must be one field");
    if (strcmp(name, "@now") == 0)
        return add_now(c, value);
    if (!c->in_rows)
        return body_wrong(c, "no row here");
    if (strcmp(name, "@field") == 0)
        return add_field(c, value);
    if (strcmp(name, "@text") == 0)
        return add_phrases(c, value, depth);
    if (strcmp(name, "@identity") == 0)
        return add_identity(c, value);
    bool known;
    int rc = body_field_action(c, name, value, depth, &known);
    if (known)
        return rc;
    static const struct {
        const char *name;
        enum step_kind kind;
    } plain[] = {{"@key", STEP_KEY}, {"@key_text", STEP_KEY_TEXT}, {"@index", STEP_INDEX}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(name, plain[i].name) == 0)
            return add_plain(c, plain[i].kind, value);
    return body_wrong(c,
                      "no such action; known: @rows @field @key @key_text @identity @index "
                      "@option @object @identifier @now @text @json @field? @string? @time "
                      "@event @nulls @with_nulls @spread, and the members @record and @member");
}

/* ---- JSON of the template ---- */

/* One that is called as the object is. */
static int
add_member(struct compiler *c, const json_t *value, int depth)
{
    const char *name = c->set->object;
    if (!name)
        return body_wrong(c, "the destination names no object");
    int rc = body_name(c, name, strlen(name));
    return rc == 0 ? body_value(c, value, depth + 1) : rc;
}

static int
add_object(struct compiler *c, const json_t *object, int depth)
{
    int rc = body_open(c, '{', false);
    const char *name;
    json_t *value;
    /* json_object_foreach wants a writable object, and does not write. */
    const char *member = c->member;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        size_t before = go_down(c, name);
        c->member = name;
        if (rc == 0 && strcmp(name, "@record") == 0 && !c->phrases) {
            rc = body_record(c, value);
        } else if (rc == 0 && strcmp(name, "@member") == 0 && !c->phrases) {
            rc = add_member(c, value, depth);
        } else if (rc == 0 && name[0] == '@' && !c->phrases) {
            rc = body_wrong(
                c, "an action stands alone in its object, but for @record and @member");
        } else if (rc == 0) {
            rc = body_name(c, name, strlen(name));
            if (rc == 0)
                rc = body_value(c, value, depth + 1);
        }
        if (rc < 0)
            return rc;
        c->where[before] = '\0';
    }
    c->member = member;
    return rc == 0 ? body_close(c) : rc;
}

static int
add_array(struct compiler *c, const json_t *array, int depth)
{
    int rc = body_open(c, '[', false);
    for (size_t i = 0; rc == 0 && i < json_array_size(array); i++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        size_t before = go_down(c, number);
        rc = body_value(c, json_array_get(array, i), depth + 1);
        if (rc == 0)
            c->where[before] = '\0';
    }
    return rc == 0 ? body_close(c) : rc;
}

int
body_value(struct compiler *c, const json_t *value, int depth)
{
    if (depth > BODY_DEPTH_MAX)
        return body_wrong(c, "nested too deep");
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
        strcmp(name, "@record") != 0 && strcmp(name, "@member") != 0) {
        size_t before = go_down(c, name);
        int rc = add_action(c, name, json_object_get(object, name), depth);
        if (rc == 0)
            c->where[before] = '\0';
        return rc;
    }
    return add_object(c, value, depth);
}

bool
body_has_rows(const json_t *value)
{
    size_t i;
    const char *name;
    json_t *member;
    json_t *v = (json_t *)(uintptr_t)value;
    if (json_object_get(v, "@rows"))
        return true;
    json_array_foreach(v, i, member) if (body_has_rows(member)) return true;
    json_object_foreach(v, name, member) if (body_has_rows(member)) return true;
    return false;
}

int
body_compile(const json_t *template, const struct body_settings *settings, struct body **ret,
             struct error *err)
{
    struct body *b = calloc(1, sizeof *b);
    if (!b)
        return error_no_memory(err);
    b->set = *settings;
    b->before = arena_alloc(&b->arena, (settings->nfields + 1) * sizeof *b->before);
    b->key = arena_alloc(&b->arena, (settings->nkey + 1) * sizeof *b->key);
    b->nulls = arena_alloc(&b->arena, settings->nfields + 1);
    b->phrase = b->json = (struct buf)BUF_INIT(BUF_NO_MAX);
    struct compiler c = {.body = b, .set = settings, .err = err};
    c.used = arena_alloc(&b->arena, settings->nfields + 1);
    if (c.used)
        body_mark_used(&c, template);
    c.in_rows = !body_has_rows(template);
    int rc = b->before && b->key && b->nulls && c.used ? body_value(&c, template, 0)
                                                       : error_no_memory(err);
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
    b->set.event = NULL;
    *ret = b;
    return 0;
}

size_t
body_overhead(const struct body *b)
{
    size_t n = 0, in_rows = 0, end = 0;
    bool any = false;
    for (size_t i = 0; i < b->steps.n; i++) {
        const struct step *s = &b->steps.p[i];
        size_t bytes = s->kind == STEP_IDENTITY ? s->field + 3 : s->text.n + 1;
        if (s->kind == STEP_ROWS)
            end = s->field;
        any |= s->kind == STEP_ROWS;
        n += bytes;
        in_rows += i < end ? bytes : 0;
    }
    return any ? in_rows : n;
}

struct body *
body_free(struct body *b)
{
    if (!b)
        return NULL;
    VEC_DONE(&b->steps);
    VEC_DONE(&b->over);
    buf_done(&b->phrase);
    buf_done(&b->json);
    arena_done(&b->arena);
    free(b);
    return NULL;
}
