/* What the mount shows of a driver: its options as JSON Schema, its modes as words. */
#include "define/define.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_parse.h"
#include "base/words.h"
#include "define/options.h"

/* Owned children are stolen by jansson also on failure; what is missing ends as no text. */
static json_t *
types_schema(void)
{
    json_t *names = json_array();
    for (int t = V_NULL; t <= V_JSON; t++)
        json_array_append_new(names, json_pack("s", value_type_name((enum value_type)t)));
    return json_pack("{s:s, s:{s:o}}", "type", "object", "additionalProperties", "enum", names);
}

static json_t *
enum_schema(const struct option *o)
{
    json_t *choices = json_array();
    for (const char *word = o->choices, *end; word; word = *end ? end + 1 : NULL) {
        end = strchrnul(word, '|');
        json_array_append_new(choices, json_stringn(word, (size_t)(end - word)));
    }
    return json_pack("{s:o}", "enum", choices);
}

static json_t *
option_schema(const struct option *o)
{
    json_t *schema = NULL;
    switch (o->type) {
    case OPT_STRING:
        schema = json_pack("{s:s}", "type", "string");
        break;
    case OPT_BOOL:
        schema = json_pack("{s:s}", "type", "boolean");
        break;
    case OPT_INT:
        schema = json_pack("{s:s}", "type", "integer");
        break;
    case OPT_ENUM:
        schema = enum_schema(o);
        break;
    case OPT_CHAR:
        schema = json_pack("{s:s, s:s}", "type", "string", "pattern", "^[\\x00-\\x7f]$");
        break;
    case OPT_SECRET:
        schema = json_pack("{s:s}", "$ref", "#/$defs/secret");
        break;
    case OPT_TYPES:
        schema = types_schema();
        break;
    case OPT_JSON:
        schema = json_object();
        break;
    case OPT_FIELDS:
        schema =
            json_pack("{s:s, s:o}", "type", "object", "additionalProperties", enum_schema(o));
        break;
    case OPT_FIXED: /* skipped */
        break;
    }
    if (o->help)
        json_object_set_new(schema, "description", json_pack("s", o->help));
    json_t *otherwise = option_default(o);
    if (otherwise)
        json_object_set_new(schema, "default", otherwise);
    return schema;
}

static json_t *
secret_schema(void)
{
    return json_pack("{s:s, s:["
                     "{s:s, s:{s:{s:s}}, s:[s], s:b},"
                     "{s:s, s:{s:{s:s, s:s}}, s:[s], s:b},"
                     "{s:s, s:{s:{s:s, s:{s:s}, s:i}}, s:[s], s:b}]}",
                     "description", "where to find it; never the secret itself", "oneOf",
                     /* env */ "type", "object", "properties", "env", "type", "string",
                     "required", "env", "additionalProperties", 0,
                     /* file */ "type", "object", "properties", "file", "type", "string",
                     "pattern", "^/", "required", "file", "additionalProperties", 0,
                     /* command */ "type", "object", "properties", "command", "type", "array",
                     "items", "type", "string", "minItems", 1, "required", "command",
                     "additionalProperties", 0);
}

/* An object with these properties and the table's; the first key is required. Steals own. */
static json_t *
object_schema(json_t *own, const char *first, const struct option *table)
{
    json_t *required = json_pack("[s]", first);
    for (const struct option *o = table; o && o->name; o++) {
        if (o->type == OPT_FIXED)
            continue;
        json_object_set_new(own, o->name, option_schema(o));
        if (o->flags & OPTION_REQUIRED)
            json_array_append_new(required, json_pack("s", o->name));
    }
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", own, "required",
                     required, "additionalProperties", 0);
}

static json_t *
source_schema(const struct driver *d)
{
    json_t *own = json_pack("{s:{s:s}}", "connection", "type", "string");
    json_t *one = json_array();
    if (d->takes_table) {
        json_object_set_new(own, "table", json_pack("{s:s}", "type", "string"));
        json_array_append_new(one, json_pack("{s:[s]}", "required", "table"));
    }
    if (d->takes_query) {
        json_object_set_new(own, "query", json_pack("{s:s}", "type", "string"));
        json_array_append_new(one, json_pack("{s:[s]}", "required", "query"));
    }
    json_t *schema = object_schema(own, "connection", d->source_options);
    json_object_set_new(schema, "description",
                        json_pack("s", "the keys of \"source\" in config.json"));
    if (json_array_size(one) > 0)
        json_object_set(schema, "oneOf", one);
    json_decref(one);
    return schema;
}

static json_t *
destination_schema(const struct driver *d)
{
    json_t *own =
        json_pack("{s:{s:s}, s:{s:s}, s:{s:s, s:b}}", "connection", "type", "string", "object",
                  "type", "string", "create", "type", "boolean", "default", 0);
    json_t *schema = object_schema(own, "connection", d->dest_options);
    json_object_set_new(schema, "description",
                        json_pack("s", "the keys of \"destination\" in config.json"));
    return schema;
}

void
driver_options_json(const struct driver *d, struct buf *out)
{
    json_build_begin();
    json_t *own = json_pack("{s:{s:s}}", "driver", "const", d->name);
    json_t *defs = json_pack("{s:o}", "secret", secret_schema());
    if (d->source_open)
        json_object_set_new(defs, "source", source_schema(d));
    if (driver_is_destination(d))
        json_object_set_new(defs, "destination", destination_schema(d));
    json_t *body = object_schema(own, "driver", d->options);
    json_t *root = json_pack(
        "{s:s, s:s, s:s}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
        "connections/NAME.json", "description", d->summary ? d->summary : "");
    json_object_update(root, body);
    json_object_set_new(root, "$defs", defs);
    json_decref(body);
    char *text = json_build_whole() ? json_write(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (text) {
        buf_adds(out, text);
        buf_addc(out, '\n');
    } else {
        out->failed = true;
    }
    free(text);
}

void
sync_modes_text(const struct driver *d, enum sync_type type, int current, struct buf *out)
{
    for (int i = 0; i < MODE_COUNT; i++)
        if (driver_modes(d, type) & MODE_BIT(i))
            buf_addf(out, i == current ? "[%s]\n" : "%s\n", mode_name((enum mode)i));
    if (!driver_is_destination(d))
        buf_addf(out, "# %s is a source only\n", d->name);
    else if (!driver_modes(d, type))
        buf_addf(out, "# %s is no destination of \"type\": \"%s\"\n", d->name,
                 sync_type_name(type));
}

void
driver_modes_text(const struct driver *d, struct buf *out)
{
    if (d->modes || !driver_is_destination(d))
        sync_modes_text(d, TYPE_RECORDS, -1, out);
    for (enum sync_type type = TYPE_RECORDS + 1; type < SYNC_TYPES; type++)
        if (driver_modes(d, type)) {
            buf_addf(out, "# with \"type\": \"%s\"\n", sync_type_name(type));
            sync_modes_text(d, type, -1, out);
        }
}

int
driver_text(const struct driver *d, enum driver_text which, struct buf *out)
{
    switch (which) {
    case DRIVER_README:
        buf_adds(out, d->readme ? d->readme : "");
        break;
    case DRIVER_MODES:
        driver_modes_text(d, out);
        break;
    case DRIVER_OPTIONS:
        driver_options_json(d, out);
        break;
    case DRIVER_MANIFEST:
        if (!d->manifest)
            return -ENOENT;
        buf_adds(out, d->manifest);
        break;
    case DRIVER_ERROR:
        return -ENOENT;
    }
    return out->failed ? -ENOMEM : 0;
}
