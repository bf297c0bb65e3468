/*
 * The three files of a sync put together, and what they say of each other and of the
 * connections. Each fault is told once, where a person would mend it.
 */
#include "base/words.h"
#include "define/json_text.h"
#include "define/parse.h"
#include "define/phrases.h"

#include <stdio.h>
#include <stdlib.h>

struct whole {
    const struct world *world;
    struct text_file config, mappings, mode;
    bool have_config, have_mappings, have_mode; /* parsed and good by itself */
    struct definition *d;
    struct json_node root; /* of config.json, when have_config */
    struct complaints *complaints;
    struct complaint overflow; /* what is more than COMPLAINTS_MAX goes here */
};

/* The next free complaint. */
static struct complaint *
next(struct whole *w)
{
    struct complaints *all = w->complaints;
    return all->n < COMPLAINTS_MAX ? &all->items[all->n++] : &w->overflow;
}

/* ---- each file by itself ---- */

static bool
exists(struct whole *w, const struct text_file *f)
{
    static const struct text_file nothing = {.name = ""};
    if (f->text.p)
        return true;
    complain(next(w), &nothing, AT_FILE, NULL, "%s is missing", f->name);
    return false;
}

/* Keeps c when the text is not good. */
static bool
judge(struct whole *w, enum text_verdict v, const struct complaint *c)
{
    if (v != TEXT_OK)
        *next(w) = *c;
    return v == TEXT_OK;
}

static bool
small_enough(struct whole *w, const struct text_file *f, enum text_kind kind)
{
    if (f->text.n <= text_max(kind))
        return true;
    complain(next(w), f, AT_FILE, NULL, "larger than %zu bytes", text_max(kind));
    return false;
}

static void
parse_files(struct whole *w)
{
    struct complaint c;
    struct definition *d = w->d;
    if (exists(w, &w->config) && small_enough(w, &w->config, TEXT_CONFIG))
        w->have_config = judge(w, config_parse(w->world, &w->config, true, d, &c), &c);
    if (w->have_config)
        w->have_config = judge(w, json_open(&w->config, true, &w->root, &c), &c);
    if (exists(w, &w->mappings) && small_enough(w, &w->mappings, TEXT_MAPPINGS))
        w->have_mappings = judge(
            w, mappings_parse(&w->mappings, true, &d->arena, &d->mappings, &d->nmappings, &c),
            &c);
    /* its driver is judged below, where config.json's own destination is known */
    enum sync_type type = w->have_config ? d->type : SYNC_TYPES;
    if (exists(w, &w->mode) && small_enough(w, &w->mode, TEXT_MODE))
        w->have_mode = judge(w, mode_check(NULL, type, &w->mode, true, &d->mode, &c), &c);
}

/* ---- connections ---- */

static size_t
connection_at(struct whole *w, const char *side)
{
    struct json_node object = json_get(&w->root, side);
    return json_get(&object, "connection").at;
}

/* Why there is no driver: a complaint, but when nothing is known of connections. */
static void
tell_no_driver(struct whole *w, const char *side, const char *name)
{
    if (!w->world || !w->world->driver_of)
        return;
    struct complaint why = {0};
    if (w->world->fault_of && w->world->fault_of(w->world->arg, name, &why)) {
        struct complaint *c = next(w);
        complain(c, &w->config, connection_at(w, side), NULL,
                 "connection \"%s\" is not in order: %s", name, why.text);
        c->no_memory = why.no_memory;
        return;
    }
    complain(next(w), &w->config, connection_at(w, side), NULL,
             "connection \"%s\" does not exist: write connections/%s.json", name, name);
}

static void
check_source(struct whole *w)
{
    const char *name = w->d->source_connection;
    const struct driver *driver = w->d->source_driver;
    if (!driver)
        tell_no_driver(w, "source", name);
    else if (!driver->source_open)
        complain(next(w), &w->config, connection_at(w, "source"), NULL,
                 "driver \"%s\" of connection \"%s\" is no source", driver->name, name);
}

/* A driver that describes objects has to be told which. */
static void
check_object(struct whole *w, const struct driver *driver)
{
    if (w->d->object || !driver->dest_describe)
        return;
    struct json_node destination = json_get(&w->root, "destination");
    complain(next(w), &w->config, destination.at, NULL,
             "\"object\" is missing: driver \"%s\" needs to know where to write", driver->name);
}

/* ---- mode and identifier ---- */

static bool
needs_identifier(enum mode mode, const struct driver *driver)
{
    if (mode == MODE_FULL)
        return driver && driver->modes & MODE_BIT(MODE_UPSERT);
    return mode != MODE_INSERT;
}

static void
check_mode(struct whole *w, const struct driver *driver)
{
    struct complaint c;
    if (!judge(w, mode_check(driver, w->d->type, &w->mode, true, &w->d->mode, &c), &c))
        return;
    if (needs_identifier(w->d->mode, driver) && w->d->nidentifier == 0)
        complain(next(w), &w->config, AT_FILE,
                 "\"identifier\": \"COLUMN\" names the column that tells records apart",
                 "mode \"%s\" needs an \"identifier\"", mode_name(w->d->mode));
}

static void
check_destination(struct whole *w)
{
    const char *name = w->d->dest_connection;
    const struct driver *driver = w->d->dest_driver;
    if (!driver)
        tell_no_driver(w, "destination", name);
    if (driver && !driver_is_destination(driver)) {
        complain(next(w), &w->config, connection_at(w, "destination"), NULL,
                 "driver \"%s\" of connection \"%s\" is no destination", driver->name, name);
        return;
    }
    if (driver)
        check_object(w, driver);
    if (w->have_mode)
        check_mode(w, driver);
}

static void
complain_identifier(struct whole *w, size_t i, const char *text, const char *hint)
{
    struct json_node list = json_get(&w->root, "identifier");
    struct json_node item = json_is_array(list.json) ? json_item(&list, i) : list;
    complain(next(w), &w->config, item.at, hint, "identifier column \"%s\" %s",
             w->d->identifier[i], text);
}

static void
hint_unmapped(struct whole *w, const char *column, char *hint, size_t size)
{
    struct words mapped = {.n = 0};
    for (size_t i = 0; i < w->d->nmappings; i++)
        if (w->d->mappings[i].column)
            words_add(&mapped, w->d->mappings[i].column);
    const char *nearest = words_nearest(&mapped, column);
    snprintf(hint, size, "%s%s%sadd a line to mappings.csv: %s,FIELD",
             nearest ? "did you mean \"" : "", nearest ? nearest : "", nearest ? "\"? " : "",
             column);
}

/* Each identifier column goes plainly into exactly one field: the key at the destination. */
static int
find_key(struct whole *w)
{
    struct definition *d = w->d;
    d->key = arena_alloc(&d->arena, (d->nidentifier + 1) * sizeof *d->key);
    if (!d->key)
        return -ENOMEM;
    for (size_t i = 0; i < d->nidentifier; i++) {
        size_t found = 0;
        for (size_t m = 0; m < d->nmappings; m++) {
            const char *column = d->mappings[m].column;
            if (column && strcmp(column, d->identifier[i]) == 0 && found++ == 0)
                d->key[i] = m;
        }
        char hint[ERROR_TEXT_MAX];
        hint_unmapped(w, d->identifier[i], hint, sizeof hint);
        if (found == 0)
            complain_identifier(w, i, "is not mapped", hint);
        else if (found > 1)
            complain_identifier(w, i, "is mapped to more than one field",
                                "its one field is the key at the destination");
    }
    return 0;
}

/* The fields that options of the destination name. */
static void
check_fields(struct whole *w)
{
    const struct driver *driver = w->d->dest_driver;
    struct json_node destination = json_get(&w->root, "destination");
    struct complaint c;
    for (const struct option *o = driver ? driver->dest_options : NULL; o && o->name; o++) {
        struct json_node v = json_get(&destination, o->name);
        if (v.json && (o->type == OPT_FIELDS || o->flags & OPTION_PHRASE) &&
            phrases_check_fields(o, &v, w->d, &c))
            *next(w) = c;
    }
}

/* ---- events ---- */

/* The column that names events goes plainly into a field: of several the first. */
static void
find_event(struct whole *w)
{
    struct definition *d = w->d;
    for (size_t m = 0; d->event_column && m < d->nmappings; m++) {
        d->event_field = m;
        if (d->mappings[m].column && strcmp(d->mappings[m].column, d->event_column) == 0)
            return;
    }
    if (!d->event_column)
        return;
    struct json_node event = json_get(&w->root, "event"), name = json_get(&event, "name");
    char hint[ERROR_TEXT_MAX];
    hint_unmapped(w, d->event_column, hint, sizeof hint);
    complain(next(w), &w->config, json_get(&name, "column").at, hint,
             "column \"%s\", which names the event, is not mapped", d->event_column);
}

/* ---- the whole ---- */

/* What the driver says of a sync in which all else is right. */
static int
ask_driver(struct whole *w)
{
    struct definition *d = w->d;
    const struct driver *driver = d->dest_driver;
    if (!driver || !driver->dest_judge)
        return 0;
    struct column *fields = arena_alloc(&d->arena, (d->nmappings + 1) * sizeof *fields);
    if (!fields)
        return -ENOMEM;
    for (size_t i = 0; i < d->nmappings; i++)
        fields[i].name = d->mappings[i].field;
    const struct target target = {.object = d->object,
                                  .options = d->dest_options,
                                  .type = d->type,
                                  .event = d->event,
                                  .event_field = d->event_field,
                                  .mode = d->mode,
                                  .fields = fields,
                                  .nfields = d->nmappings,
                                  .key = d->key,
                                  .nkey = d->nidentifier};
    struct error err = ERROR_INIT;
    if (driver->dest_judge(&target, &err) == 0)
        return 0;
    if (err.errnum == ENOMEM)
        return -ENOMEM;
    complain(next(w), &w->config, json_get(&w->root, "destination").at, NULL, "%s", err.text);
    return 0;
}

static bool
lacked_memory(const struct whole *w, size_t before)
{
    bool lacked = w->overflow.no_memory;
    for (size_t i = before; i < w->complaints->n; i++)
        lacked = lacked || w->complaints->items[i].no_memory;
    return lacked;
}

int
definition_parse(const struct world *world, const struct sync_texts *texts,
                 struct definition **ret, struct complaints *complaints)
{
    struct whole w = {
        .world = world,
        .config = {.name = "config.json", .text = texts->config},
        .mappings = {.name = "mappings.csv", .text = texts->mappings},
        .mode = {.name = "mode", .text = texts->mode},
        .complaints = complaints,
        .d = calloc(1, sizeof *w.d),
    };
    *ret = NULL;
    if (!w.d)
        return -ENOMEM;
    size_t before = complaints->n;
    int rc = 0;
    parse_files(&w);
    if (w.have_config) {
        check_source(&w);
        check_destination(&w);
        if (w.have_mappings) {
            rc = find_key(&w);
            find_event(&w);
            check_fields(&w);
        }
    }
    bool good = complaints->n == before && w.have_config && w.have_mappings && w.have_mode;
    if (rc == 0 && good && !w.overflow.text[0])
        rc = ask_driver(&w);
    json_decref(w.root.json);
    if (lacked_memory(&w, before))
        rc = -ENOMEM;
    if (rc || complaints->n > before || w.overflow.text[0] || !w.have_config ||
        !w.have_mappings || !w.have_mode)
        w.d = definition_free(w.d);
    *ret = w.d;
    return rc;
}

struct definition *
definition_free(struct definition *d)
{
    if (!d)
        return NULL;
    driver_unref(d->source_driver);
    driver_unref(d->dest_driver);
    arena_done(&d->arena);
    free(d);
    return NULL;
}
