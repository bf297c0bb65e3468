/* Manifests: see connector.h. */
#include "http/connector.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "http/manifest.h"

enum { WHERE_MAX = 128, OPTIONS_MAX = 64, CALLS_MAX = 64, SECONDS_MAX = 3600 };

static int
no_memory(struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

/* ---- option tables ---- */

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

/* A table with the connector's name at its head. */
static int
take_options(struct connector *c, const char *member, const struct option **ret, size_t *size,
             struct error *err)
{
    const json_t *object = json_object_get(c->manifest, member);
    char where[WHERE_MAX];
    size_t n = 0;
    snprintf(where, sizeof where, "/%s", member);
    if (object && (!json_is_object(object) || json_object_size(object) > OPTIONS_MAX))
        return manifest_wrong(err, where, "must be an object of at most 64 options");
    bool destination = strcmp(member, "destination") == 0;
    size_t all = json_object_size(object) + 3;
    struct option *table = arena_alloc(&c->arena, all * sizeof *table);
    if (!table)
        return no_memory(err);
    memset(table, 0, all * sizeof *table);
    table[n++] = (struct option){.name = c->driver.name,
                                 .type = OPT_FIXED,
                                 .offset = offsetof(struct connector_options, connector),
                                 .default_text = c->driver.name,
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
    }
    *ret = table;
    *size = offsetof(struct connector_options, values[n - 1]);
    return 0;
}

static const union connector_value *
value_at(const void *options, const struct option *o)
{
    return (const void *)((const char *)options + o->offset);
}

static json_t *
option_json(const void *options, const struct option *o)
{
    const union connector_value *v = value_at(options, o);
    switch (o->type) {
    case OPT_BOOL:
        return json_boolean(v->flag);
    case OPT_INT:
        return json_integer(v->number);
    case OPT_JSON:
        return v->text ? json_loads(v->text, JSON_DECODE_ANY, NULL) : NULL;
    case OPT_FIELDS:
        return NULL;
    default:
        return v->text ? json_string(v->text) : NULL;
    }
}

json_t *
connector_option(const struct connector *c, const void *connection, const void *destination,
                 const char *name)
{
    const struct option *tables[] = {c->driver.dest_options, c->driver.options};
    const void *filled[] = {destination, connection};
    for (size_t i = 0; i < 2; i++)
        for (const struct option *o = tables[i]; filled[i] && o && o->name; o++)
            if (o->type != OPT_FIXED && strcmp(o->name, name) == 0)
                return option_json(filled[i], o);
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

/* ---- calls ---- */

static int
take_operations(const json_t *list, const char *where, unsigned *ret, struct error *err)
{
    static const char *const names[] = {[OP_INSERT] = "insert",
                                        [OP_UPSERT] = "upsert",
                                        [OP_UPDATE] = "update",
                                        [OP_DELETE] = "delete"};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        unsigned before = *ret;
        for (size_t op = 0; name && op < sizeof names / sizeof *names; op++)
            if (strcmp(names[op], name) == 0)
                *ret |= 1u << op;
        if (*ret == before)
            return manifest_wrong(err, where,
                                  "\"for\" lists insert, upsert, update, delete, once each");
    }
    return *ret ? 0 : manifest_wrong(err, where, "wants \"for\", a list of operations");
}

static int
take_answer(const json_t *object, const char *where, struct answer_rules **ret,
            struct error *err)
{
    int rc = answer_compile(json_object_get(object, "answer"), ret, err);
    return rc < 0 && *where ? error_wrap(err, "%s", where) : rc;
}

/* The rules above with the call's own before them. */
static int
take_exceptions(const json_t *above, const json_t *exceptions, const char *where,
                struct answer_rules **ret, struct error *err)
{
    json_t *all = above ? json_copy((json_t *)(uintptr_t)above) : json_object();
    json_t *when = json_array();
    bool good = all && when && json_array_extend(when, (json_t *)(uintptr_t)exceptions) == 0;
    const json_t *rest = json_object_get(above, "when");
    if (good && rest)
        good = json_array_extend(when, (json_t *)(uintptr_t)rest) == 0;
    good = good && json_object_set(all, "when", when) == 0;
    json_decref(when);
    int rc = good ? answer_compile(all, ret, err) : no_memory(err);
    json_decref(all);
    return rc < 0 ? error_wrap(err, "%s", where) : rc;
}

static int
take_objects(const json_t *object, const char *where, struct connector_call *call,
             struct error *err)
{
    call->when = json_object_get(object, "when");
    call->headers = json_object_get(object, "headers");
    call->body = json_object_get(object, "body");
    call->markup = json_object_get(object, "markup");
    if (call->markup && !json_is_array(call->markup))
        return manifest_wrong(err, where, "\"markup\" must be an array of members' names");
    if (call->when && !json_is_object(call->when))
        return manifest_wrong(err, where, "\"when\" must be an object");
    if (call->headers && !json_is_object(call->headers))
        return manifest_wrong(err, where, "\"headers\" must be an object");
    return 0;
}

static int
take_texts(const json_t *object, const char *where, struct connector_call *call,
           struct error *err)
{
    call->method = "POST";
    call->path = "";
    call->type = "application/json";
    int rc = manifest_text(object, where, "method", &call->method, err);
    if (rc == 0)
        rc = manifest_text(object, where, "path", &call->path, err);
    if (rc == 0)
        rc = manifest_text(object, where, "url", &call->url, err);
    if (rc == 0)
        rc = manifest_text(object, where, "type", &call->type, err);
    if (rc == 0 &&
        (!*call->method || call->method[strspn(call->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")]))
        rc = manifest_wrong(err, where, "\"method\" must be capital letters");
    return rc;
}

static int
take_flags(const json_t *object, const char *where, struct connector_call *call,
           struct error *err)
{
    call->repeatable = !(call->operations & 1u << OP_INSERT);
    int rc = manifest_bool(object, where, "lines", &call->lines, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "strings", &call->strings, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "changed_only", &call->changed_only, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "repeatable", &call->repeatable, err);
    return rc;
}

static int
take_sizes(const json_t *object, const char *where, struct connector_call *call,
           struct error *err)
{
    static const char *const nulls[] = {
        [NULLS_NULL] = "null", [NULLS_OMIT] = "omit", [NULLS_EMPTY] = "empty"};
    json_int_t rows = 1, bytes = 1 << 20;
    int policy = NULLS_NULL;
    int rc = manifest_number(object, where, "rows", 1, 100000, &rows, err);
    if (rc == 0)
        rc = manifest_number(object, where, "bytes", 1, 1 << 30, &bytes, err);
    if (rc == 0)
        rc = manifest_word(object, where, "nulls", nulls, 3, &policy, err);
    call->rows = (size_t)rows;
    call->bytes = (size_t)bytes;
    call->nulls = (enum body_nulls)policy;
    return rc;
}

static int
take_call(const struct connector *c, const json_t *object, const char *where,
          struct connector_call *call, struct error *err)
{
    static const char *const known[] = {
        "for",        "when",  "method", "path",       "headers", "answer", "type",
        "body",       "lines", "nulls",  "strings",    "rows",    "bytes",  "changed_only",
        "repeatable", "url",   "markup", "exceptions", NULL};
    int rc = manifest_members(object, where, known, err);
    if (rc == 0)
        rc = take_operations(json_object_get(object, "for"), where, &call->operations, err);
    if (rc == 0)
        rc = take_objects(object, where, call, err);
    if (rc == 0)
        rc = take_texts(object, where, call, err);
    if (rc == 0)
        rc = take_flags(object, where, call, err);
    if (rc == 0)
        rc = take_sizes(object, where, call, err);
    const json_t *exceptions = json_object_get(object, "exceptions");
    if (rc == 0 && exceptions &&
        (json_object_get(object, "answer") || !json_is_array(exceptions)))
        return manifest_wrong(err, where, "\"exceptions\" is an array, beside no \"answer\"");
    if (rc == 0 && exceptions)
        rc = take_exceptions(json_object_get(c->manifest, "answer"), exceptions, where,
                             &call->answer, err);
    else if (rc == 0 && json_object_get(object, "answer"))
        rc = take_answer(object, where, &call->answer, err);
    return rc;
}

static int
take_calls(struct connector *c, struct error *err)
{
    const json_t *list = json_object_get(c->manifest, "calls");
    size_t n = json_array_size(list);
    if (n == 0 || n > CALLS_MAX)
        return manifest_wrong(err, "/calls", "must be an array of one to 64 calls");
    c->calls = arena_alloc(&c->arena, n * sizeof *c->calls);
    if (!c->calls)
        return no_memory(err);
    memset(c->calls, 0, n * sizeof *c->calls);
    for (size_t i = 0; i < n; i++) {
        char where[WHERE_MAX];
        snprintf(where, sizeof where, "/calls/%zu", i);
        c->ncalls = i + 1;
        int rc = take_call(c, json_array_get(list, i), where, &c->calls[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool
fits(const struct connector *c, const struct connector_call *call, const void *connection,
     const void *destination)
{
    const char *name;
    json_t *wanted;
    json_object_foreach((json_t *)(uintptr_t)call->when, name, wanted)
    {
        json_t *is = connector_option(c, connection, destination, name);
        bool same = is ? json_equal(is, wanted) : json_is_null(wanted);
        json_decref(is);
        if (!same)
            return false;
    }
    return true;
}

const struct connector_call *
connector_call_for(const struct connector *c, enum operation op, const void *connection,
                   const void *destination)
{
    for (size_t i = 0; i < c->ncalls; i++)
        if (c->calls[i].operations & 1u << op && fits(c, &c->calls[i], connection, destination))
            return &c->calls[i];
    return NULL;
}

/* ---- the whole ---- */

static int
take_rate(struct connector *c, struct error *err)
{
    static const char *const known[] = {"calls", "milliseconds", NULL};
    const json_t *list = json_object_get(c->manifest, "rate");
    if ((list && !json_is_array(list)) || json_array_size(list) > PACE_WINDOWS_MAX)
        return manifest_wrong(err, "/rate", "must be an array of at most four windows");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *object = json_array_get(list, i);
        json_int_t calls = 0, ms = 0;
        char where[WHERE_MAX];
        snprintf(where, sizeof where, "/rate/%zu", i);
        int rc = manifest_members(object, where, known, err);
        if (rc == 0)
            rc = manifest_number(object, where, "calls", 1, 1000000000, &calls, err);
        if (rc == 0)
            rc = manifest_number(object, where, "milliseconds", 1, 86400000, &ms, err);
        if (rc == 0 && (!calls || !ms))
            rc = manifest_wrong(err, where, "wants \"calls\" and \"milliseconds\"");
        if (rc < 0)
            return rc;
        c->windows[c->nwindows++] = (struct pace_window){(uint64_t)calls, ms * 1000};
    }
    return 0;
}

static int
take_timeouts(struct connector *c, struct error *err)
{
    static const char *const known[] = {"connect", "first_byte", "whole", NULL};
    static const char *const where = "/timeouts";
    const json_t *object = json_object_get(c->manifest, "timeouts");
    json_int_t connect = 10, first_byte = 30, whole = 120, parallel = 1;
    int rc = object ? manifest_members(object, where, known, err) : 0;
    if (rc == 0)
        rc = manifest_number(object, where, "connect", 1, SECONDS_MAX, &connect, err);
    if (rc == 0)
        rc = manifest_number(object, where, "first_byte", 1, SECONDS_MAX, &first_byte, err);
    if (rc == 0)
        rc = manifest_number(object, where, "whole", 1, SECONDS_MAX, &whole, err);
    if (rc == 0)
        rc = manifest_number(c->manifest, "", "parallel", 1, 64, &parallel, err);
    c->transfer = (struct transfer_settings){
        .parallel = (unsigned)parallel,
        .connect = connect * 1000000,
        .first_byte = first_byte * 1000000,
        .whole = whole * 1000000,
        .answer_max = 8 << 20,
    };
    return rc;
}

static unsigned
modes_of(const struct connector *c)
{
    unsigned ops = 0, modes = 0;
    for (size_t i = 0; i < c->ncalls; i++)
        ops |= c->calls[i].operations;
    bool insert = ops & 1u << OP_INSERT, upsert = ops & 1u << OP_UPSERT;
    if (insert)
        modes |= MODE_BIT(MODE_INSERT);
    if (upsert)
        modes |= MODE_BIT(MODE_UPSERT);
    if (ops & 1u << OP_UPDATE)
        modes |= MODE_BIT(MODE_UPDATE);
    if (upsert && ops & 1u << OP_DELETE)
        modes |= MODE_BIT(MODE_MIRROR);
    if (insert || upsert)
        modes |= MODE_BIT(MODE_FULL);
    return modes;
}

static int
take_readme(struct connector *c, struct error *err)
{
    const json_t *lines = json_object_get(c->manifest, "readme");
    AUTO_BUF struct buf text = BUF_INIT(256 * 1024);
    if (lines && !json_is_array(lines))
        return manifest_wrong(err, "/readme", "must be an array of lines");
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const char *line = json_string_value(json_array_get(lines, i));
        if (!line)
            return manifest_wrong(err, "/readme", "must be an array of lines");
        buf_addf(&text, "%s\n", line);
    }
    c->driver.readme = text.failed ? NULL : arena_strdup(&c->arena, buf_z(&text));
    return c->driver.readme ? 0 : no_memory(err);
}

static int
take_head(struct connector *c, struct error *err)
{
    static const char *const known[] = {"name",       "summary",     "readme", "sources",
                                        "connection", "destination", "url",    "place",
                                        "headers",    "parallel",    "rate",   "timeouts",
                                        "signature",  "answer",      "calls",  NULL};
    const json_t *m = c->manifest;
    int rc = manifest_members(m, "", known, err);
    if (rc == 0)
        rc = manifest_text(m, "", "name", &c->driver.name, err);
    if (rc == 0)
        rc = manifest_text(m, "", "summary", &c->driver.summary, err);
    if (rc == 0)
        rc = manifest_text(m, "", "url", &c->url, err);
    c->place = c->url;
    if (rc == 0)
        rc = manifest_text(m, "", "place", &c->place, err);
    if (rc == 0)
        rc = manifest_text(m, "", "signature", &c->signature, err);
    c->headers = json_object_get(m, "headers");
    if (rc < 0)
        return rc;
    const char *name = c->driver.name;
    if (!name || !*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-")])
        return manifest_wrong(err, "/name", "must be a-z, 0-9, \"_\" and \"-\"");
    if (!c->driver.summary || !c->url)
        return manifest_wrong(err, "", "wants \"summary\" and \"url\"");
    if (c->headers && !json_is_object(c->headers))
        return manifest_wrong(err, "/headers", "must be an object");
    return 0;
}

static int
take_manifest(struct connector *c, struct error *err)
{
    int rc = take_head(c, err);
    if (rc == 0)
        rc = take_readme(c, err);
    if (rc == 0)
        rc = take_options(c, "connection", &c->driver.options, &c->driver.options_size, err);
    if (rc == 0)
        rc = take_options(c, "destination", &c->driver.dest_options,
                          &c->driver.dest_options_size, err);
    if (rc == 0)
        rc = take_rate(c, err);
    if (rc == 0)
        rc = take_timeouts(c, err);
    if (rc == 0)
        rc = take_answer(c->manifest, "", &c->answer, err);
    if (rc == 0)
        rc = take_calls(c, err);
    c->driver.modes = modes_of(c);
    return rc;
}

int
connector_parse(struct str text, struct connector **ret, struct error *err)
{
    struct connector *c = calloc(1, sizeof *c);
    json_error_t at;
    if (!c)
        return no_memory(err);
    c->manifest = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &at);
    int rc = 0;
    if (!c->manifest)
        rc = json_error_code(&at) == json_error_out_of_memory
                 ? no_memory(err)
                 : error_set(err, ERR_CONFIG, EINVAL, "line %d: %s", at.line, at.text);
    if (rc == 0)
        rc = take_manifest(c, err);
    if (rc < 0) {
        connector_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

struct connector *
connector_free(struct connector *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->ncalls; i++)
        answer_free(c->calls[i].answer);
    answer_free(c->answer);
    json_decref(c->manifest);
    arena_done(&c->arena);
    free(c);
    return NULL;
}
