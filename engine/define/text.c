/*
 * The one check of a file's text, by its kind; and which names are checked at all.
 */
#include "define/parse.h"

#include <string.h>

#include "define/schedule.h"

static bool
ends_with(const char *name, const char *end, struct str *stem)
{
    size_t n = strlen(name), m = strlen(end);
    if (n <= m || strcmp(name + n - m, end) != 0)
        return false;
    *stem = (struct str){name, n - m};
    return true;
}

enum text_kind
text_kind_in_sync(const char *name)
{
    if (strcmp(name, "config.json") == 0)
        return TEXT_CONFIG;
    if (strcmp(name, "mappings.csv") == 0)
        return TEXT_MAPPINGS;
    if (strcmp(name, "schedule") == 0)
        return TEXT_SCHEDULE;
    return strcmp(name, "mode") == 0 ? TEXT_MODE : TEXT_PLAIN;
}

enum text_kind
text_kind_in_connections(const char *name)
{
    struct str stem;
    return ends_with(name, ".json", &stem) && connection_name_good(stem) ? TEXT_CONNECTION
                                                                         : TEXT_PLAIN;
}

enum text_kind
text_kind_in_driver(const char *name)
{
    return strcmp(name, "connector.json") == 0 ? TEXT_CONNECTOR : TEXT_PLAIN;
}

size_t
text_max(enum text_kind kind)
{
    static const size_t max[] = {
        [TEXT_PLAIN] = 16 << 20,    [TEXT_CONFIG] = 1 << 20,     [TEXT_MAPPINGS] = 16 << 20,
        [TEXT_MODE] = 64,           [TEXT_CONNECTION] = 1 << 20, [TEXT_SCHEDULE] = 1024,
        [TEXT_CONNECTOR] = 1 << 20,
    };
    return max[kind];
}

static enum text_verdict
check_config(const struct world *world, const struct text_file *f, bool final,
             struct complaint *c)
{
    struct definition d = {.arena = ARENA_INIT};
    enum text_verdict v = config_parse(world, f, final, &d, c);
    driver_unref(d.source_driver);
    driver_unref(d.dest_driver);
    arena_done(&d.arena);
    return v;
}

static enum text_verdict
check_mode(const struct world *world, const struct text_file *f, bool final,
           struct complaint *c)
{
    enum mode mode;
    bool known = world && world->destination;
    AUTO_DRIVER const struct driver *d = known ? world_driver(world, world->destination) : NULL;
    return mode_check(d, known ? world->type : SYNC_TYPES, f, final, &mode, c);
}

static enum text_verdict
check_mappings(const struct text_file *f, bool final, struct complaint *c)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct mapping *mappings;
    size_t n;
    return mappings_parse(f, final, &arena, &mappings, &n, c);
}

static enum text_verdict
check_schedule(const struct text_file *f, bool final, struct complaint *c)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct schedule schedule;
    return schedule_check(f, final, &arena, &schedule, c);
}

enum text_verdict
text_check(enum text_kind kind, const struct world *world, const char *file, struct str text,
           bool final, struct complaint *complaint)
{
    *complaint = (struct complaint){.line = 0};
    if (!text.p)
        text = STR("");
    struct text_file f = {.name = file, .text = text, .secret = kind == TEXT_CONNECTION};
    if (text.n > text_max(kind)) {
        complain(complaint, &f, AT_FILE, NULL, "larger than %zu bytes", text_max(kind));
        return TEXT_BROKEN;
    }
    switch (kind) {
    case TEXT_PLAIN:
        return TEXT_OK;
    case TEXT_CONFIG:
        return check_config(world, &f, final, complaint);
    case TEXT_MAPPINGS:
        return check_mappings(&f, final, complaint);
    case TEXT_MODE:
        return check_mode(world, &f, final, complaint);
    case TEXT_CONNECTION:
        return connection_check(world, &f, final, complaint);
    case TEXT_SCHEDULE:
        return check_schedule(&f, final, complaint);
    case TEXT_CONNECTOR:
        return manifest_check(&f, final, complaint);
    }
    return TEXT_BROKEN;
}
