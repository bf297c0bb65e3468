/*
 * What checks may know of the world: the driver behind a connection's name. Looked up in the
 * accepted texts when first asked for, forgotten whenever a connection changed.
 */
#include "catalog/catalog_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

enum { KNOWN_MAX = 1024 }; /* names come from users' files */

static void
forget_drivers(struct catalog *c)
{
    VEC_EACH (&c->drivers, known)
        free(known->connection);
    c->drivers.n = 0;
}

void
world_forget(struct catalog *c)
{
    pthread_mutex_lock(&c->world_lock);
    forget_drivers(c);
    pthread_mutex_unlock(&c->world_lock);
}

/* What the catalogue says of itself in place of a text. */
static int
complain_of(int rc, const struct error *err, struct complaint *why)
{
    *why = (struct complaint){.no_memory = rc == -ENOMEM};
    snprintf(why->text, sizeof why->text, "%s", err->text);
    return rc == -EUCLEAN ? -EINVAL : rc;
}

/* Always from the last commit: what a transaction may still undo must not be remembered.
 * -ENOENT: there is no such connection; -EINVAL: it is not in order, see *why; others, with
 * *why too: that cannot be told now. */
static int
load_driver(struct catalog *c, const char *connection, const struct driver **ret,
            struct complaint *why)
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
    rc = connection_parse(connection, buf_str(&text), &parsed, why);
    if (rc == 0)
        *ret = parsed->driver;
    connection_free(parsed);
    return rc;
}

static const struct driver *
driver_of(void *arg, const char *connection)
{
    struct catalog *c = arg;
    const struct driver *driver = NULL;
    pthread_mutex_lock(&c->world_lock);
    VEC_EACH (&c->drivers, known)
        if (strcmp(known->connection, connection) == 0) {
            driver = known->driver;
            goto out;
        }
    struct complaint why;
    int rc = load_driver(c, connection, &driver, &why);
    if (rc < 0 && rc != -ENOENT && rc != -EINVAL)
        goto out; /* not known now; the next one asks again */
    if (c->drivers.n >= KNOWN_MAX)
        forget_drivers(c);
    char *name = strdup(connection);
    if (name && !VEC_PUSH(&c->drivers, ((struct known_driver){name, driver})))
        free(name);
out:
    pthread_mutex_unlock(&c->world_lock);
    return driver;
}

static bool
fault_of(void *arg, const char *connection, struct complaint *why)
{
    const struct driver *driver;
    int rc = load_driver(arg, connection, &driver, why);
    return rc < 0 && rc != -ENOENT;
}

struct world
catalog_world(struct catalog *c)
{
    return (struct world){.driver_of = driver_of, .fault_of = fault_of, .arg = c};
}
