/*
 * What checks may know of the world: the driver behind a connection's name. Looked up in the
 * accepted texts when first asked for, forgotten whenever a connection changed.
 */
#include "catalog/catalog_private.h"

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

/* Always from the last commit: what a transaction may still undo must not be remembered. */
static int
load_driver(struct catalog *c, const char *connection, const struct driver **ret)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    struct sql *q;
    int rc = committed_read(c, &q, &err);
    if (rc == 0) {
        rc = connection_in_force(q, connection, &text, &err);
        catalog_read_end(c, q);
    }
    *ret = NULL;
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    struct connection *parsed = NULL;
    struct complaint complaint;
    if (connection_parse(connection, buf_str(&text), &parsed, &complaint) == 0)
        *ret = parsed->driver;
    connection_free(parsed);
    return 0;
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
    if (load_driver(c, connection, &driver) < 0)
        goto out;
    if (c->drivers.n >= KNOWN_MAX)
        forget_drivers(c);
    char *name = strdup(connection);
    if (name && !VEC_PUSH(&c->drivers, ((struct known_driver){name, driver})))
        free(name);
out:
    pthread_mutex_unlock(&c->world_lock);
    return driver;
}

struct world
catalog_world(struct catalog *c)
{
    return (struct world){.driver_of = driver_of, .arg = c};
}
