/*
 * config.json: where from, where to, what names a record, and the guards. Options of the two
 * drivers are judged as far as the connections are known; of an unknown source only keys that
 * no driver has are refused, since they can never be right. An unknown destination may be one
 * that a user is about to write.
 */
#include "base/words.h"
#include "define/json_text.h"
#include "define/options.h"
#include "define/parse.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/vec.h"

enum { IDENTIFIER_MAX = 64 };

struct config {
    const struct world *world;
    struct definition *d;
    struct complaint *c;
};

const struct driver *
world_driver(const struct world *world, const char *connection)
{
    if (!world || !world->driver_of || !connection)
        return NULL;
    return world->driver_of(world->arg, connection);
}

/* ---- single values ---- */

static int
wrong_kind(const struct config *k, const char *name, const struct json_node *v,
           const char *wanted)
{
    return complain(k->c, v->file, v->at, NULL, "\"%s\" must be %s, not %s", name, wanted,
                    json_kind(v->json));
}

/* A string that says something. Left alone when the key is absent. */
static int
take_text(const struct config *k, const struct json_node *object, const char *name,
          const char **ret)
{
    struct json_node v = json_get(object, name);
    if (!v.json)
        return 0;
    const char *text = json_string_value(v.json);
    if (!text)
        return wrong_kind(k, name, &v, "a string");
    if (!*text)
        return complain(k->c, v.file, v.at, NULL, "\"%s\" is empty", name);
    *ret = arena_strdup(&k->d->arena, text);
    return *ret ? 0 : complain_memory(k->c, v.file);
}

/* One of `choices`: its number, or `otherwise` when the key is absent. -errno. */
static int
take_choice(const struct config *k, const struct json_node *object, const char *name,
            const char *const *choices, int otherwise)
{
    struct json_node v = json_get(object, name);
    if (!v.json)
        return otherwise;
    const char *text = json_string_value(v.json);
    if (!text)
        return wrong_kind(k, name, &v, "a string");
    struct words words = {.n = 0};
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0)
            return i;
        words_add(&words, choices[i]);
    }
    char hint[ERROR_TEXT_MAX];
    words_hint(&words, text, "allowed", hint, sizeof hint);
    return complain(k->c, v.file, v.at, hint, "\"%s\" cannot be \"%s\"", name, text);
}

/* SYNC_TYPES: it is none. */
static enum sync_type
type_named(const char *name)
{
    enum sync_type type = TYPE_RECORDS;
    while (type < SYNC_TYPES && strcmp(sync_type_name(type), name) != 0)
        type++;
    return type;
}

/* "name": the name of all, or {"column": "kind"}. */
static int
take_event_name(const struct config *k, const struct json_node *event)
{
    static const char *const own[] = {"column", NULL};
    static const char hint[] = "\"name\": \"Order paid\", or \"name\": {\"column\": \"kind\"}";
    struct json_node v = json_get(event, "name");
    if (!v.json)
        return complain(k->c, event->file, event->at, hint, "\"name\" of the event is missing");
    if (!json_is_object(v.json))
        return take_text(k, event, "name", &k->d->event);
    int rc = options_check_keys(&v, own, NULL, 0, k->c);
    rc = rc ? rc : take_text(k, &v, "column", &k->d->event_column);
    return rc || k->d->event_column
               ? rc
               : complain(k->c, v.file, v.at, hint, "\"column\" is missing");
}

/* To identify somebody is to write his record. */
static int
take_event(const struct config *k, const struct json_node *root)
{
    static const char *const own[] = {"type", "name", NULL};
    static const char *const types[] = {"identify", "track", NULL};
    struct json_node event = json_get(root, "event");
    struct definition *d = k->d;
    if (event.json && d->type != TYPE_EVENTS)
        return complain(k->c, root->file, event.key_at, NULL,
                        "\"event\" wants \"type\": \"events\"");
    if (event.json && !json_is_object(event.json))
        return wrong_kind(k, "event", &event, "an object");
    int type = event.json ? take_choice(k, &event, "type", types, 0) : 0;
    int rc = type < 0 ? type : 0;
    if (rc == 0 && event.json)
        rc = options_check_keys(&event, own, NULL, 0, k->c);
    if (rc || d->type != TYPE_EVENTS)
        return rc;
    if (type == 1)
        return take_event_name(k, &event);
    d->type = TYPE_RECORDS;
    struct json_node name = event.json ? json_get(&event, "name") : (struct json_node){0};
    return name.json ? complain(k->c, name.file, name.key_at, NULL,
                                "only events of the type \"track\" have a \"name\"")
                     : 0;
}

static int
take_type(const struct config *k, const struct json_node *root)
{
    struct json_node v = json_get(root, "type");
    const char *text = v.json ? json_string_value(v.json) : sync_type_name(TYPE_RECORDS);
    if (!text)
        return wrong_kind(k, "type", &v, "a string");
    k->d->type = type_named(text);
    if (k->d->type < SYNC_TYPES)
        return take_event(k, root);
    struct words types = {.n = 0};
    for (enum sync_type type = TYPE_RECORDS; type < SYNC_TYPES; type++)
        words_add(&types, sync_type_name(type));
    char hint[ERROR_TEXT_MAX];
    words_hint(&types, text, "possible", hint, sizeof hint);
    return complain(k->c, v.file, v.at, hint, "unknown type \"%s\"", text);
}

/* Whether the destination's driver carries such syncs. */
static int
check_type(const struct config *k, const struct json_node *root, const struct driver *driver)
{
    struct json_node v = json_get(root, "type");
    const char *said = v.json ? json_string_value(v.json) : sync_type_name(TYPE_RECORDS);
    if (driver_modes(driver, k->d->type) &&
        (type_named(said) == k->d->type || driver->event_modes))
        return 0;
    struct words types = {.n = 0};
    for (enum sync_type type = TYPE_RECORDS; type < SYNC_TYPES; type++)
        if (driver_modes(driver, type))
            words_add(&types, sync_type_name(type));
    char hint[ERROR_TEXT_MAX];
    words_hint(&types, "", "possible", hint, sizeof hint);
    return complain(k->c, root->file, v.json ? v.at : root->at, hint,
                    "type \"%s\" is not possible with driver \"%s\"", said, driver->name);
}

/* ---- identifier ---- */

static int
add_identifier(const struct config *k, const struct json_node *v, size_t index)
{
    bool list = json_is_array(v->json);
    json_t *item = list ? json_array_get(v->json, index) : v->json;
    size_t at = list ? json_item(v, index).at : v->at;
    const char *column = json_string_value(item);
    struct definition *d = k->d;
    if (!column)
        return complain(k->c, v->file, at, NULL,
                        "\"identifier\" must be a column or a list of columns");
    if (!*column)
        return complain(k->c, v->file, at, NULL, "a column of \"identifier\" is empty");
    for (size_t i = 0; i < d->nidentifier; i++)
        if (strcmp(d->identifier[i], column) == 0)
            return complain(k->c, v->file, at, NULL, "\"%s\" stands twice in \"identifier\"",
                            column);
    d->identifier[d->nidentifier] = arena_strdup(&d->arena, column);
    return d->identifier[d->nidentifier++] ? 0 : complain_memory(k->c, v->file);
}

static int
take_identifier(const struct config *k, const struct json_node *root)
{
    struct json_node v = json_get(root, "identifier");
    if (!v.json)
        return 0;
    size_t n = json_is_array(v.json) ? json_array_size(v.json) : 1;
    if (n == 0 || n > IDENTIFIER_MAX)
        return complain(k->c, v.file, v.at, n ? NULL : "leave it out for a sync without one",
                        "\"identifier\" must hold 1 to %d columns", IDENTIFIER_MAX);
    k->d->identifier = arena_alloc(&k->d->arena, n * sizeof *k->d->identifier);
    if (!k->d->identifier)
        return complain_memory(k->c, v.file);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_identifier(k, &v, i);
    return rc;
}

/* ---- max_deletes ---- */

/* "2.5%" → 0.025. By hand: strtod would also take "0x1p3%", "inf%" and another locale's comma.
 */
static bool
parse_share(const char *z, double *ret)
{
    double number = 0, unit = 1;
    size_t digits = 0;
    for (; *z >= '0' && *z <= '9' && digits < 9; z++, digits++)
        number = number * 10 + (*z - '0');
    if (digits == 0)
        return false;
    if (*z == '.') {
        z++;
        for (digits = 0; *z >= '0' && *z <= '9' && digits < 6; z++, digits++) {
            number = number * 10 + (*z - '0');
            unit *= 10;
        }
        if (digits == 0)
            return false;
    }
    *ret = number / (unit * 100);
    return strcmp(z, "%") == 0 && *ret <= 1;
}

static int
take_max_deletes(const struct config *k, const struct json_node *root)
{
    static const char hint[] = "a share as \"20%\", or a number of rows; "
                               "0: never without approval";
    struct definition *d = k->d;
    d->max_deletes_rows = -1;
    d->max_deletes_share = 0.2;
    struct json_node v = json_get(root, "max_deletes");
    if (!v.json)
        return 0;
    d->max_deletes_set = true;
    if (json_is_integer(v.json) && json_integer_value(v.json) >= 0) {
        d->max_deletes_rows = json_integer_value(v.json);
        return 0;
    }
    if (json_is_string(v.json) && parse_share(json_string_value(v.json), &d->max_deletes_share))
        return 0;
    return complain(k->c, v.file, v.at, hint,
                    "\"max_deletes\" must be a share from \"0%%\" to \"100%%\" or a whole "
                    "number of rows");
}

static int
take_count(const struct config *k, const struct json_node *root, const char *key, int most,
           const char *hint, uint64_t *ret)
{
    struct json_node v = json_get(root, key);
    if (!v.json)
        return 0;
    json_int_t n = json_integer_value(v.json);
    if (!json_is_integer(v.json) || n < 1 || n > most)
        return complain(k->c, v.file, v.at, hint, "\"%s\" must be a whole number from 1 to %d",
                        key, most);
    *ret = (uint64_t)n;
    return 0;
}

static int
take_keep(const struct config *k, const struct json_node *root)
{
    enum { RUNS = 100, MOST_RUNS = 1000000, MOST_DAYS = 36500 };
    k->d->keep_runs = RUNS;
    k->d->keep_days = 0;
    int rc = take_count(k, root, "keep_runs", MOST_RUNS,
                        "how many runs runs/ holds; 100 if it is left out", &k->d->keep_runs);
    return rc ? rc
              : take_count(k, root, "keep_days", MOST_DAYS,
                           "after how many days a run leaves runs/; never if it is left out",
                           &k->d->keep_days);
}

static int
take_log(const struct config *k, const struct json_node *root)
{
    enum { MOST = 10000 };
    k->d->log_requests = 0;
    return take_count(
        k, root, "log_requests", MOST,
        "how many of a run's requests runs/N/requests.jsonl holds, for debugging; "
        "none if it is left out, but those of rejected rows",
        &k->d->log_requests);
}

/* ---- source and destination ---- */

static int
take_object(const struct config *k, const struct json_node *root, const char *name,
            struct json_node *ret)
{
    *ret = json_get(root, name);
    if (!ret->json)
        return complain(k->c, root->file, root->at, NULL, "\"%s\" is missing", name);
    if (!json_is_object(ret->json))
        return wrong_kind(k, name, ret, "an object");
    return 0;
}

static int
take_connection(const struct config *k, const struct json_node *object, const char **ret)
{
    int rc = take_text(k, object, "connection", ret);
    if (rc)
        return rc;
    if (!*ret)
        return complain(k->c, object->file, object->at,
                        "\"connection\": \"x\" means connections/x.json",
                        "\"connection\" is missing");
    if (!connection_name_good(str_of(*ret)))
        return complain(k->c, object->file, json_get(object, "connection").at,
                        "letters, digits, '_', '-' and '.', at most 64",
                        "\"%s\" cannot be the name of a connection", *ret);
    return 0;
}

/* Refuses keys that no driver has: a misspelt one is told before what is missing for it, and
 * all that can be told when the connection, and with it the driver, is not known. */
static int
check_source_keys(const struct config *k, const struct json_node *object,
                  const char *const *own)
{
    VEC(const struct option *) tables = {.n = 0};
    bool memory = true;
    for (const struct driver *const *d = drivers; *d; d++)
        memory = memory && VEC_PUSH(&tables, (*d)->source_options);
    int rc = memory ? options_check_keys(object, own, tables.p, tables.n, k->c)
                    : complain_memory(k->c, object->file);
    VEC_DONE(&tables);
    return rc;
}

static bool
is_some_dest_option(const char *key)
{
    for (const struct driver *const *d = drivers; *d; d++)
        for (const struct option *o = (*d)->dest_options; o && o->name; o++)
            if (o->type != OPT_FIXED && strcmp(o->name, key) == 0)
                return true;
    return false;
}

/* The same where any key may be that of a driver to come: what seems to be meant for one that
 * all have. */
static int
check_dest_keys(const struct config *k, const struct json_node *object, const char *const *own)
{
    const struct driver *driver = k->d->dest_driver;
    if (driver && driver_is_destination(driver))
        return options_check_keys(object, own, &driver->dest_options, 1, k->c);
    struct words words = {.n = 0};
    for (size_t i = 0; own[i]; i++)
        words_add(&words, own[i]);
    const char *key;
    json_t *value;
    json_object_foreach(object->json, key, value)
    {
        if (words_have(&words, key) || is_some_dest_option(key) || !words_nearest(&words, key))
            continue;
        char hint[ERROR_TEXT_MAX];
        words_hint(&words, key, "allowed", hint, sizeof hint);
        return complain(k->c, object->file, json_get(object, key).key_at, hint,
                        "unknown key \"%s\"", key);
    }
    return 0;
}

/* What the source's driver reads: a table, a query, or what its connection says. */
static int
check_model(const struct config *k, const struct json_node *source, const struct driver *driver)
{
    struct json_node table = json_get(source, "table"), query = json_get(source, "query");
    if (table.json && query.json)
        return complain(k->c, source->file, query.key_at, NULL,
                        "\"table\" and \"query\" stand side by side: one of them is meant");
    if (!driver)
        return 0;
    if ((table.json && !driver->takes_table) || (query.json && !driver->takes_query))
        return complain(k->c, source->file, table.json ? table.key_at : query.key_at,
                        driver->takes_table   ? "allowed: table"
                        : driver->takes_query ? "allowed: query"
                                              : "what it reads stands in the connection",
                        "driver \"%s\" takes no \"%s\"", driver->name,
                        table.json ? "table" : "query");
    if (!table.json && !query.json && (driver->takes_table || driver->takes_query))
        return complain(k->c, source->file, source->at, NULL, "%s is missing",
                        !driver->takes_query   ? "\"table\""
                        : !driver->takes_table ? "\"query\""
                                               : "\"table\" or \"query\"");
    return 0;
}

static int
take_source(const struct config *k, const struct json_node *root)
{
    static const char *const all[] = {"connection", "table", "query", NULL};
    const char *own[4] = {"connection"};
    struct definition *d = k->d;
    struct json_node source;
    int rc = take_object(k, root, "source", &source);
    rc = rc ? rc : check_source_keys(k, &source, all);
    rc = rc ? rc : take_connection(k, &source, &d->source_connection);
    rc = rc ? rc : take_text(k, &source, "table", &d->table);
    rc = rc ? rc : take_text(k, &source, "query", &d->query);
    if (rc)
        return rc;
    const struct driver *driver = d->source_driver =
        world_driver(k->world, d->source_connection);
    if (driver && !driver->source_open)
        driver = NULL; /* it will have to be another one */
    size_t nown = 1;
    if (!driver || driver->takes_table)
        own[nown++] = "table";
    if (!driver || driver->takes_query)
        own[nown++] = "query";
    rc = check_model(k, &source, driver);
    if (rc || !driver)
        return rc;
    void *options;
    rc = options_fill(&source, own, driver->source_options, driver->source_options_size,
                      &d->arena, NULL, &options, k->c);
    d->source_options = options;
    return rc;
}

static int
take_dest_options(const struct config *k, const struct json_node *destination,
                  const char *const *own, const struct driver *driver)
{
    struct definition *d = k->d;
    void *options;
    int rc = options_fill(destination, own, driver->dest_options, driver->dest_options_size,
                          &d->arena, NULL, &options, k->c);
    if (rc)
        return rc;
    d->dest_options = options;
    if (!options_part(driver->dest_options, options, &d->arena, &d->dest_part))
        return complain_memory(k->c, destination->file);
    struct error err = ERROR_INIT;
    if (options && driver->dest_options_check &&
        driver->dest_options_check(options, d->type, &err) < 0)
        return err.errnum == ENOMEM
                   ? complain_memory(k->c, destination->file)
                   : complain(k->c, destination->file, destination->at, NULL, "%s", err.text);
    return 0;
}

static int
take_destination(const struct config *k, const struct json_node *root)
{
    static const char *const own[] = {"connection", "object", "create", NULL};
    struct definition *d = k->d;
    struct json_node destination;
    int rc = take_object(k, root, "destination", &destination);
    if (rc)
        return rc;
    d->dest_driver = world_driver(
        k->world, json_string_value(json_object_get(destination.json, "connection")));
    rc = check_dest_keys(k, &destination, own);
    rc = rc ? rc : take_connection(k, &destination, &d->dest_connection);
    rc = rc ? rc : take_text(k, &destination, "object", &d->object);
    if (rc)
        return rc;
    struct json_node create = json_get(&destination, "create");
    if (create.json && !json_is_boolean(create.json))
        return wrong_kind(k, "create", &create, "true or false");
    d->create = json_is_true(create.json);

    const struct driver *driver = d->dest_driver;
    if (!driver || !driver_is_destination(driver))
        return 0;
    rc = check_type(k, root, driver);
    return rc ? rc : take_dest_options(k, &destination, own, driver);
}

/* ---- the whole ---- */

static int
take_root(const struct config *k, const struct json_node *root)
{
    static const char *const own[] = {
        "source",  "destination",  "identifier",  "type",      "max_deletes",
        "foreign", "duplicates",   "description", "keep_runs", "keep_days",
        "event",   "log_requests", NULL};
    static const char *const foreign[] = {"hold", "delete", "keep", NULL};
    static const char *const duplicates[] = {"reject", "last", NULL};
    const char *description = NULL;
    int rc = take_type(k, root);
    rc = rc ? rc : options_check_keys(root, own, NULL, 0, k->c);
    rc = rc ? rc : take_source(k, root);
    rc = rc ? rc : take_destination(k, root);
    rc = rc ? rc : take_identifier(k, root);
    rc = rc ? rc : take_max_deletes(k, root);
    rc = rc ? rc : take_keep(k, root);
    rc = rc ? rc : take_log(k, root);
    rc = rc ? rc : take_text(k, root, "description", &description);
    if (rc)
        return rc;
    rc = take_choice(k, root, "foreign", foreign, FOREIGN_HOLD);
    if (rc < 0)
        return rc;
    k->d->foreign = (enum foreign_rows)rc;
    rc = take_choice(k, root, "duplicates", duplicates, 0);
    k->d->duplicates_last = rc == 1;
    return rc < 0 ? rc : 0;
}

enum text_verdict
config_parse(const struct world *world, const struct text_file *f, bool final,
             struct definition *d, struct complaint *c)
{
    struct json_node root;
    enum text_verdict v = json_open(f, final, &root, c);
    if (v != TEXT_OK)
        return v;
    struct config k = {.world = world, .d = d, .c = c};
    v = take_root(&k, &root) ? TEXT_BROKEN : TEXT_OK;
    json_decref(root.json);
    return v;
}

const char *
config_destination(struct str config, struct arena *arena, enum sync_type *type)
{
    struct text_file f = {.name = "config.json", .text = config};
    struct json_node root;
    struct complaint ignored;
    if (!config.p || json_open(&f, false, &root, &ignored) != TEXT_OK)
        return NULL;
    const char *said = json_string_value(json_object_get(root.json, "type"));
    json_t *destination = json_object_get(root.json, "destination");
    const char *name = json_string_value(json_object_get(destination, "connection"));
    const char *copy = arena_strdup(arena, name);
    *type = said ? type_named(said) : TYPE_RECORDS;
    *type = *type < SYNC_TYPES ? *type : TYPE_RECORDS; /* it was refused */
    const char *event =
        json_string_value(json_object_get(json_object_get(root.json, "event"), "type"));
    if (*type == TYPE_EVENTS && !(event && strcmp(event, "track") == 0))
        *type = TYPE_RECORDS;
    json_decref(root.json);
    return copy;
}
