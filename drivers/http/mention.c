/* Mentioned identities: see mention.h. */
#include "http/mention.h"

#include <string.h>

static bool
in_text(const char *text)
{
    return text && strstr(text, "identity");
}

static bool
in_json(const json_t *value)
{
    const char *name;
    json_t *member;
    size_t i;
    if (json_is_string(value))
        return in_text(json_string_value(value));
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        if (in_text(name) || in_json(member))
            return true;
    }
    json_array_foreach(value, i, member)
    {
        if (in_json(member))
            return true;
    }
    return false;
}

/* What belongs to every call. */
static bool
in_common(const json_t *manifest)
{
    static const char *const others[] = {"name",       "summary",     "readme", "sources",
                                         "connection", "destination", "calls"};
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)manifest, name, member)
    {
        bool other = false;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            other = other || strcmp(name, others[i]) == 0;
        if (!other && in_json(member))
            return true;
    }
    return false;
}

/* An option may hold a template; one that there is no memory to read, too. */
static bool
in_options(const struct connector *c, const struct connector_use *use)
{
    const struct option *tables[] = {c->driver.options, c->driver.dest_options};
    for (size_t i = 0; i < 2; i++)
        for (const struct option *o = tables[i]; o && o->name; o++) {
            json_t *value;
            bool found = connector_option(c, use, o->name, &value) < 0 || in_json(value);
            json_decref(value);
            if (found)
                return true;
        }
    return false;
}

bool
mention_identity(const struct connector *c, const struct connector_call *call,
                 const struct connector_use *use)
{
    const json_t *calls = json_object_get(c->manifest, "calls");
    return in_json(json_array_get(calls, (size_t)(call - c->calls))) ||
           in_common(c->manifest) || in_options(c, use);
}
