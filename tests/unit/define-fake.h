/* A world for the tests of define/: two drivers with every type of option, and their registry.
 */
#pragma once

#include "define/define.h"

struct fake_options {
    char *path, *tls;
    bool header;
    int64_t port;
    char delimiter;
    char *password;
    struct option_types types;
};

static const struct option fake_table[] = {
    {"path", OPT_STRING, OPTION_REQUIRED | OPTION_PATH, offsetof(struct fake_options, path),
     NULL, NULL, "the file to open"},
    {"tls", OPT_ENUM, 0, offsetof(struct fake_options, tls), "prefer", "off|prefer|require",
     "how to encrypt"},
    {"header", OPT_BOOL, 0, offsetof(struct fake_options, header), "true", NULL,
     "the first line names the columns"},
    {"port", OPT_INT, 0, offsetof(struct fake_options, port), "5432", NULL, "where it listens"},
    {"delimiter", OPT_CHAR, 0, offsetof(struct fake_options, delimiter), "\"", NULL,
     "between cells"},
    {"password", OPT_SECRET, 0, offsetof(struct fake_options, password), NULL, NULL,
     "what opens it"},
    {"types", OPT_TYPES, 0, offsetof(struct fake_options, types), NULL, NULL,
     "types of columns"},
    {NULL},
};

struct fake_dest_options {
    char *schema, *list;
    char *text, *blocks;
    struct option_fields *nulls;
};

static const struct option fake_dest_table[] = {
    {"schema", OPT_STRING, 0, offsetof(struct fake_dest_options, schema), "public", NULL,
     "where the object lives"},
    {"list", OPT_STRING, OPTION_PLACE, offsetof(struct fake_dest_options, list), NULL, NULL,
     "which list of the object"},
    {"text", OPT_STRING, OPTION_PHRASE, offsetof(struct fake_dest_options, text), NULL, NULL,
     "a text with fields"},
    {"blocks", OPT_JSON, OPTION_PHRASE, offsetof(struct fake_dest_options, blocks), NULL, NULL,
     "texts with fields"},
    {"nulls", OPT_FIELDS, 0, offsetof(struct fake_dest_options, nulls), NULL, "null|omit|empty",
     "how NULL is sent"},
    {NULL},
};

static int
fake_open(const void *connection, const struct model *model, void **ret, struct error *err)
{
    return 0;
}

static int
fake_describe(void *handle, struct schema *ret, struct error *err)
{
    return 0;
}

static int
fake_dest_options_check(const void *options, enum sync_type type, struct error *err)
{
    const struct fake_dest_options *o = options;
    if (o->list && strcmp(o->list, "much") == 0)
        return error_no_memory(err);
    if (type == TYPE_AUDIENCE || !o->list)
        return 0;
    return error_set(err, ERR_CONFIG, EINVAL, "\"list\" is for an audience");
}

static int
fake_dest_judge(const struct target *t, struct error *err)
{
    const char *key = t->nkey ? t->fields[t->key[0]].name : "";
    if (strcmp(key, "sealed") != 0)
        return 0;
    return error_set(err, ERR_CONFIG, EINVAL, "no %s of %zu by %s", mode_name(t->mode),
                     t->nfields, key);
}

/* Source and destination, with everything. */
static const struct driver fake_db = {
    .name = "db",
    .summary = "a database",
    .modes = MODE_BIT(MODE_UPSERT) | MODE_BIT(MODE_INSERT) | MODE_BIT(MODE_FULL),
    .audience_modes = MODE_BIT(MODE_ADD) | MODE_BIT(MODE_REMOVE) | MODE_BIT(MODE_MIRROR),
    .dest_options_check = fake_dest_options_check,
    .dest_judge = fake_dest_judge,
    .takes_table = true,
    .takes_query = true,
    .options = fake_table,
    .options_size = sizeof(struct fake_options),
    .dest_options = fake_dest_table,
    .dest_options_size = sizeof(struct fake_dest_options),
    .source_open = fake_open,
    .dest_describe = fake_describe,
};

static int
fake_check(const void *connection, struct error *err)
{
    const struct fake_options *o = connection;
    if (strcmp(o->path, "/forbidden") != 0)
        return 0;
    return error_set(err, ERR_CONFIG, EINVAL, "path \"%s\" is forbidden", o->path);
}

/* A source only, of a file. */
static const struct driver fake_file = {
    .name = "file",
    .summary = "a file",
    .options = fake_table,
    .options_size = sizeof(struct fake_options),
    .check = fake_check,
    .source_open = fake_open,
};

/* A destination only, which streams. */
static const struct driver fake_stream = {
    .name = "stream",
    .summary = "a stream",
    .modes = MODE_BIT(MODE_INSERT) | MODE_BIT(MODE_FULL) | MODE_BIT(MODE_MIRROR),
    .event_modes = MODE_BIT(MODE_UPSERT) | MODE_BIT(MODE_INSERT),
};

static const struct driver *const all_drivers[] = {&fake_db, &fake_file, &fake_stream, NULL};
const struct driver *const *drivers = all_drivers;

const struct driver *
driver_find(const char *name)
{
    for (const struct driver *const *d = drivers; *d; d++)
        if (strcmp((*d)->name, name) == 0)
            return *d;
    return NULL;
}

static const struct driver *
fake_driver_of(void *arg, const char *connection)
{
    if (strcmp(connection, "shop") == 0 || strcmp(connection, "crm") == 0)
        return &fake_db;
    if (strcmp(connection, "in") == 0)
        return &fake_file;
    return strcmp(connection, "bus") == 0 ? &fake_stream : NULL;
}

static const struct world fake_world = {.driver_of = fake_driver_of, .destination = "crm"};
