/*
 * What checks may know of the world: the driver behind a connection's name, and users' own
 * drivers. Looked up in the accepted texts when first asked for, forgotten whenever one of them
 * changed. A driver that was made of a text lives on with those who hold it.
 */
#include "catalog/catalog_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "base/words.h"

enum { KNOWN_MAX = 1024 }; /* names come from users' files */

static void
forget(struct known_drivers *known)
{
    VEC_EACH (known, it) {
        free(it->name);
        driver_unref(it->driver);
    }
    known->n = 0;
}

void
world_forget(struct catalog *c, bool users)
{
    pthread_mutex_lock(&c->world_lock);
    forget(&c->behind);
    if (users)
        forget(&c->users);
    pthread_mutex_unlock(&c->world_lock);
}

static const struct known_driver *
find(struct known_drivers *known, const char *name)
{
    VEC_EACH (known, it)
        if (strcmp(it->name, name) == 0)
            return it;
    return NULL;
}

/* Without memory it is looked up again. */
static void
remember(struct known_drivers *known, const char *name, const struct driver *driver)
{
    if (known->n >= KNOWN_MAX)
        forget(known);
    char *copy = strdup(name);
    if (copy && VEC_PUSH(known, ((struct known_driver){copy, driver})))
        driver_ref(driver);
    else
        free(copy);
}

/* What the catalogue says of itself in place of a text. */
static int
complain_of(int rc, const struct error *err, struct complaint *why)
{
    *why = (struct complaint){.no_memory = rc == -ENOMEM};
    snprintf(why->text, sizeof why->text, "%s", err->text);
    return rc == -EUCLEAN ? -EINVAL : rc;
}

/* ---- users' drivers ---- */

/* Always from the last commit: what a transaction may still undo must not be remembered.
 * -ENOENT: there is no such driver; -EINVAL: it is not in order, see *why; others, with *why
 * too: that cannot be told now. */
static int
load_users_driver(struct catalog *c, const char *name, const struct driver **ret,
                  struct complaint *why)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct error err = ERROR_INIT;
    struct str text = {0};
    struct sql *q;
    int rc = committed_read(c, &q, &err);
    if (rc == 0) {
        rc = manifest_in_force(q, name, &arena, &text, &err);
        catalog_read_end(c, q);
    }
    if (rc < 0)
        return rc == -ENOENT ? rc : complain_of(rc, &err, why);
    if (text.p)
        return manifest_make(name, text, ret, why);
    if (driver_find(name))
        return -ENOENT;
    *why = (struct complaint){.text = "it is not written yet"};
    snprintf(why->file, sizeof why->file, "drivers/%s/connector.json", name);
    return -EINVAL;
}

/* world.users_driver, under world_lock. */
static int
users_driver_locked(void *arg, const char *name, const struct driver **ret,
                    struct complaint *why)
{
    struct catalog *c = arg;
    const struct known_driver *known = find(&c->users, name);
    if (known) {
        *ret = driver_ref(known->driver);
        return 0;
    }
    int rc = load_users_driver(c, name, ret, why);
    if (rc == 0)
        remember(&c->users, name, *ret);
    return rc;
}

static int
users_driver(void *arg, const char *name, const struct driver **ret, struct complaint *why)
{
    struct catalog *c = arg;
    pthread_mutex_lock(&c->world_lock);
    int rc = users_driver_locked(c, name, ret, why);
    pthread_mutex_unlock(&c->world_lock);
    return rc;
}

struct naming {
    struct arena *arena;
    struct words *names;
};

static int
add_name(void *arg, const char *name, node_id dir)
{
    struct naming *n = arg;
    const char *copy = arena_strdup(n->arena, name);
    if (copy)
        words_add(n->names, copy);
    return 0;
}

static void
users_drivers(void *arg, struct arena *arena, struct words *names)
{
    struct naming n = {arena, names};
    catalog_drivers(arg, add_name, &n);
}

/* ---- the drivers behind connections ---- */

/* As load_users_driver, of a connection. */
static int
load_driver(struct catalog *c, const struct world *world, const char *connection,
            const struct driver **ret, struct complaint *why)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    struct sql *q;
    int rc = committed_read(c, &q, &err);
    if (rc == 0) {
        rc = connection_in_force(q, connection, &text, &err);
        catalog_read_end(c, q);
    }
    if (rc < 0)
        return rc == -ENOENT ? rc : complain_of(rc, &err, why);
    struct connection *parsed = NULL;
    rc = connection_parse(world, connection, buf_str(&text), &parsed, why);
    if (rc == 0)
        *ret = driver_ref(parsed->driver);
    connection_free(parsed);
    return rc;
}

static const struct driver *
driver_of(void *arg, const char *connection)
{
    struct catalog *c = arg;
    const struct driver *driver = NULL;
    const struct world world = {.users_driver = users_driver_locked, .arg = c};
    pthread_mutex_lock(&c->world_lock);
    const struct known_driver *known = find(&c->behind, connection);
    struct complaint why;
    if (known) {
        driver = driver_ref(known->driver);
    } else {
        int rc = load_driver(c, &world, connection, &driver, &why);
        if (rc == 0 || rc == -ENOENT || rc == -EINVAL) /* else the next one asks again */
            remember(&c->behind, connection, driver);
    }
    pthread_mutex_unlock(&c->world_lock);
    return driver;
}

static bool
fault_of(void *arg, const char *connection, struct complaint *why)
{
    AUTO_DRIVER const struct driver *driver = NULL;
    const struct world world = catalog_world(arg);
    int rc = load_driver(arg, &world, connection, &driver, why);
    return rc < 0 && rc != -ENOENT;
}

struct world
catalog_world(struct catalog *c)
{
    return (struct world){.driver_of = driver_of,
                          .fault_of = fault_of,
                          .users_driver = users_driver,
                          .users_drivers = users_drivers,
                          .arg = c};
}
