/* connections/NAME.json: a driver and its options. */
#include "base/words.h"
#include "define/complaint.h"
#include "define/options.h"
#include "define/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { NAME_MAX_BYTES = 64 };

bool
connection_name_good(struct str name)
{
    if (name.n == 0 || name.n > NAME_MAX_BYTES || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i], low = (char)(c | 32);
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-' &&
            c != '.')
            return false;
    }
    return true;
}

bool
driver_name_good(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 128 && !strchr("@+-.", name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                        "_@+-.") == n;
}

/* ---- the driver ---- */

struct search {
    const struct world *world;
    bool lenient; /* one that is not there may come */
};

/* Which there are, and which of them was probably meant. */
static void
driver_hint(const struct world *world, const char *name, char *hint, size_t size, bool *near)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct words known = {.n = 0};
    for (const struct driver *const *d = drivers; *d; d++)
        words_add(&known, (*d)->name);
    if (world && world->users_drivers)
        world->users_drivers(world->arg, &arena, &known);
    words_hint(&known, name, "known", hint, size);
    /* "webhook2" is a name of its own */
    const char *nearest = words_nearest(&known, name);
    *near = nearest && strncmp(name, nearest, strlen(nearest)) != 0;
}

/* A user's own comes first: it stood there before one of its name was built in. */
static int
driver_named(const struct search *s, const char *name, const struct driver **ret,
             struct complaint *why)
{
    int rc = -ENOENT;
    if (s->world && s->world->users_driver && driver_name_good(name))
        rc = s->world->users_driver(s->world->arg, name, ret, why);
    if (rc == -ENOENT && (*ret = driver_ref(driver_find(name))) != NULL)
        rc = 0;
    return rc;
}

/* *ret stays NULL when it may come. */
static int
find_driver(const struct search *s, const struct json_node *root, const struct driver **ret,
            struct complaint *c)
{
    char hint[ERROR_TEXT_MAX];
    struct complaint why = {0};
    bool near = false;
    struct json_node v = json_get(root, "driver");
    const char *name = json_string_value(v.json);
    int rc = name ? driver_named(s, name, ret, &why) : -ENOENT;
    if (rc == 0)
        return 0;
    if (rc != -ENOENT && (s->lenient && !why.no_memory))
        return 0; /* its own file says what is wrong with it */
    if (rc != -ENOENT) {
        AUTO_BUF struct buf line = BUF_INIT(ERROR_TEXT_MAX);
        complaint_line(&why, &line);
        rc = complain(c, root->file, v.at, NULL, "driver \"%s\" is not in order: %s", name,
                      buf_z(&line));
        c->no_memory = why.no_memory;
        return why.no_memory ? -ENOMEM : rc;
    }
    driver_hint(s->world, name ? name : "", hint, sizeof hint, &near);
    if (!v.json)
        return complain(c, root->file, root->at, hint, "\"driver\" is missing");
    if (!name)
        return complain(c, root->file, v.at, hint, "\"driver\" must be a string, not %s",
                        json_kind(v.json));
    if (s->lenient && driver_name_good(name) && !near)
        return 0;
    return complain(c, root->file, v.at, hint, "unknown driver \"%s\"", name);
}

static int
fill(const struct search *s, const struct json_node *root, const char *name,
     struct connection *conn, struct complaint *c)
{
    static const char *const own[] = {"driver", NULL};
    int rc = find_driver(s, root, &conn->driver, c);
    if (rc == 0 && !conn->driver)
        rc = options_refuse_plain_secrets(root, c);
    if (rc || !conn->driver)
        return rc;
    const struct driver *d = conn->driver;
    struct secret_list secrets = {.n = 0};
    rc = options_fill(root, own, d->options, d->options_size, &conn->arena, &secrets,
                      &conn->options, c);
    if (rc)
        return rc;
    conn->secrets = secrets.p;
    conn->nsecrets = secrets.n;
    conn->name = arena_strdup(&conn->arena, name);
    if (!conn->name)
        return complain_memory(c, root->file);
    struct error err = ERROR_INIT;
    if (d->check && d->check(conn->options, &err))
        return err.errnum == ENOMEM ? complain_memory(c, root->file)
                                    : complain(c, root->file, root->at, NULL, "%s", err.text);
    return 0;
}

static enum text_verdict
parse(const struct search *s, const struct text_file *f, const char *name, bool final,
      struct connection **ret, struct complaint *c)
{
    struct json_node root;
    enum text_verdict v = json_open(f, final, &root, c);
    if (v != TEXT_OK)
        return v;
    struct connection *conn = calloc(1, sizeof *conn);
    int rc = conn ? fill(s, &root, name, conn, c) : complain_memory(c, f);
    json_decref(root.json);
    if (rc) {
        connection_free(conn);
        return TEXT_BROKEN;
    }
    *ret = conn;
    return TEXT_OK;
}

enum text_verdict
connection_check(const struct world *world, const struct text_file *f, bool final,
                 struct complaint *c)
{
    const struct search search = {world, true};
    struct connection *conn = NULL;
    enum text_verdict v = parse(&search, f, "", final, &conn, c);
    connection_free(conn);
    return v;
}

int
connection_parse(const struct world *world, const char *name, struct str text,
                 struct connection **ret, struct complaint *complaint)
{
    const struct search search = {world, false};
    char file[sizeof complaint->file];
    snprintf(file, sizeof file, "connections/%s.json", name);
    struct text_file f = {.name = file, .text = text, .secret = true};
    *ret = NULL;
    if (text.n > text_max(TEXT_CONNECTION))
        return complain(complaint, &f, AT_FILE, NULL, "larger than %zu bytes",
                        text_max(TEXT_CONNECTION));
    if (parse(&search, &f, name, true, ret, complaint) == TEXT_OK)
        return 0;
    return complaint->no_memory ? -ENOMEM : -EINVAL;
}

const char *
connection_driver(struct str text, struct arena *arena)
{
    struct text_file f = {.name = "", .text = text, .secret = true};
    struct json_node root;
    struct complaint ignored;
    if (!text.p || json_open(&f, false, &root, &ignored) != TEXT_OK)
        return NULL;
    const char *name = json_string_value(json_object_get(root.json, "driver"));
    const char *copy = arena_strdup(arena, name);
    json_decref(root.json);
    return copy;
}

struct connection *
connection_free(struct connection *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->nsecrets; i++) {
        char *value = *(char **)((char *)c->options + c->secrets[i].offset);
        if (value)
            explicit_bzero(value, strlen(value));
    }
    driver_unref(c->driver);
    arena_done(&c->arena);
    free(c);
    return NULL;
}
