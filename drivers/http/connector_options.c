/* Options of a manifest: see connector.h. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "http/connector_private.h"
#include "http/manifest.h"

enum { OPTIONS_MAX = 64 };

static const char *
join_choices(struct arena *arena, const json_t *list)
{
    AUTO_BUF struct buf text = BUF_INIT(4096);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *choice = json_string_value(json_array_get(list, i));
        if (!choice || strchr(choice, '|'))
            return NULL;
        buf_addf(&text, "%s%s", i ? "|" : "", choice);
    }
    return text.n && !text.failed ? arena_strdup(arena, buf_z(&text)) : NULL;
}

static int
take_option(struct connector *c, const json_t *object, const char *where, struct option *o,
            struct error *err)
{
    static const char *const known[] = {"type", "required", "default", "choices",
                                        "help", "phrase",   NULL};
    static const char *const types[] = {
        [OPT_STRING] = "string", [OPT_BOOL] = "boolean",  [OPT_INT] = "integer",
        [OPT_ENUM] = "enum",     [OPT_SECRET] = "secret", [OPT_JSON] = "json"};
    int type = OPT_STRING;
    bool required = false, phrase = false;
    int rc = manifest_members(object, where, known, err);
    if (rc == 0)
        rc = manifest_word(object, where, "type", types, sizeof types / sizeof *types, &type,
                           err);
    if (rc == 0)
        rc = manifest_bool(object, where, "required", &required, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "phrase", &phrase, err);
    if (rc == 0)
        rc = manifest_text(object, where, "default", &o->default_text, err);
    if (rc == 0)
        rc = manifest_text(object, where, "help", &o->help, err);
    if (rc < 0)
        return rc;
    o->type = (enum option_type)type;
    o->flags = (required ? OPTION_REQUIRED : 0) | (phrase ? OPTION_PHRASE : 0);
    if (phrase && type != OPT_STRING && type != OPT_JSON)
        return manifest_wrong(err, where, "only a string or json is a \"phrase\"");
    if (!o->help)
        return manifest_wrong(err, where, "wants \"help\"");
    if (type == OPT_ENUM) {
        o->choices = join_choices(&c->arena, json_object_get(object, "choices"));
        if (!o->choices)
            return manifest_wrong(err, where, "an enum wants \"choices\", texts without \"|\"");
    }
    return 0;
}

int
connector_take_options(struct connector *c, const char *member, const struct option **ret,
                       size_t *size, struct error *err)
{
    const json_t *object = json_object_get(c->manifest, member);
    char where[CONNECTOR_WHERE_MAX];
    size_t n = 0;
    snprintf(where, sizeof where, "/%s", member);
    if (object && (!json_is_object(object) || json_object_size(object) > OPTIONS_MAX))
        return manifest_wrong(err, where, "must be an object of at most 64 options");
    bool destination = strcmp(member, "destination") == 0;
    size_t all = json_object_size(object) + 4;
    struct option *table = arena_alloc(&c->arena, all * sizeof *table);
    if (!table)
        return error_no_memory(err);
    memset(table, 0, all * sizeof *table);
    table[n++] = (struct option){.name = c->driver.name,
                                 .type = OPT_FIXED,
                                 .offset = offsetof(struct connector_options, connector),
                                 .default_text = c->name,
                                 .help = "the connector"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        snprintf(where, sizeof where, "/%s/%s", member, name);
        table[n].name = name;
        table[n].offset = offsetof(struct connector_options, values[n - 1]);
        int rc = take_option(c, value, where, &table[n], err);
        if (rc < 0)
            return rc;
        n++;
    }
    if (destination) {
        table[n] = (struct option){.name = "nulls",
                                   .type = OPT_FIELDS,
                                   .choices = "null|omit|empty",
                                   .offset = offsetof(struct connector_options, values[n - 1]),
                                   .help = "how a field's NULL is sent, where it is not as the "
                                           "connector sends them"};
        n++;
        table[n] = (struct option){.name = "max_rows",
                                   .type = OPT_INT,
                                   .default_text = "0",
                                   .offset = offsetof(struct connector_options, values[n - 1]),
                                   .help = "rows of a call at most, where the connector would "
                                           "send more; 0: no fewer than that"};
        n++;
    }
    *ret = table;
    *size = offsetof(struct connector_options, values[n - 1]);
    return 0;
}

const struct connector *
connector_of(const struct connector_options *filled)
{
    return (const void *)(filled->connector - offsetof(struct connector, name));
}

static const union connector_value *
value_at(const void *options, const struct option *o)
{
    return (const void *)((const char *)options + o->offset);
}

/* NULL: there is no such option. */
static const struct option *
find_option(const struct connector *c, const struct connector_use *use, const char *name,
            const void **options)
{
    const struct option *tables[] = {c->driver.dest_options, c->driver.options};
    const void *filled[] = {use->destination, use->connection};
    for (size_t i = 0; i < 2; i++)
        for (const struct option *o = tables[i]; filled[i] && o && o->name; o++)
            if (o->type != OPT_FIXED && strcmp(o->name, name) == 0) {
                *options = filled[i];
                return o;
            }
    return NULL;
}

int
connector_option(const struct connector *c, const struct connector_use *use, const char *name,
                 json_t **ret)
{
    const void *options;
    const struct option *o = find_option(c, use, name, &options);
    const union connector_value *v = o ? value_at(options, o) : NULL;
    *ret = NULL;
    if (!o || o->type == OPT_FIELDS)
        return 0;
    if (o->type == OPT_BOOL)
        *ret = json_boolean(v->flag);
    else if (o->type == OPT_INT)
        *ret = json_integer(v->number);
    else if (!v->text)
        return 0;
    else if (o->type == OPT_JSON)
        *ret = json_parse(str_of(v->text), JSON_DECODE_ANY, NULL, NULL);
    else
        *ret = json_string(v->text);
    return *ret ? 0 : -ENOMEM;
}

int64_t
connector_option_int(const struct connector *c, const struct connector_use *use,
                     const char *name)
{
    const void *options;
    const struct option *o = find_option(c, use, name, &options);
    return o && o->type == OPT_INT ? value_at(options, o)->number : 0;
}

bool
connector_option_is(const struct connector *c, const struct connector_use *use,
                    const char *name, const json_t *wanted)
{
    const void *options;
    const struct option *o = find_option(c, use, name, &options);
    const union connector_value *v = o ? value_at(options, o) : NULL;
    const char *text = json_string_value(wanted);
    if (!o || o->type == OPT_FIELDS)
        return json_is_null(wanted);
    if (o->type == OPT_BOOL)
        return json_is_boolean(wanted) && json_is_true(wanted) == v->flag;
    if (o->type == OPT_INT)
        return json_is_integer(wanted) && json_integer_value(wanted) == v->number;
    if (!v->text || json_is_null(wanted))
        return !v->text && json_is_null(wanted);
    return o->type != OPT_JSON && text && strcmp(v->text, text) == 0;
}

bool
connector_option_text(const struct connector *c, const struct connector_use *use,
                      const char *name, struct buf *out)
{
    const void *options;
    const struct option *o = find_option(c, use, name, &options);
    if (!o || o->type == OPT_FIELDS)
        return false;
    const union connector_value *v = value_at(options, o);
    if (o->type == OPT_BOOL)
        buf_adds(out, v->flag ? "true" : "false");
    else if (o->type == OPT_INT)
        buf_add_int(out, v->number);
    else if (v->text)
        buf_adds(out, v->text);
    return o->type == OPT_BOOL || o->type == OPT_INT || v->text;
}

const struct option *
connector_find_option(const struct connector *c, const char *name)
{
    const struct option *tables[] = {c->driver.options, c->driver.dest_options};
    for (size_t i = 0; i < 2; i++)
        for (const struct option *o = tables[i]; o && o->name; o++)
            if (o->type != OPT_FIXED && strcmp(o->name, name) == 0)
                return o;
    return NULL;
}

const struct option_fields *
connector_nulls(const struct connector *c, const void *destination)
{
    for (const struct option *o = c->driver.dest_options; destination && o->name; o++)
        if (o->type == OPT_FIELDS)
            return value_at(destination, o)->fields;
    return NULL;
}
