/* Users' drivers: the manifests in force in drivers/, and who uses them. */
#include "catalog/catalog_private.h"

#include <stdio.h>
#include <string.h>

static const char manifest_name[] = "connector.json";

int
manifest_in_force(struct sql *q, const char *name, struct arena *arena, struct str *ret,
                  struct error *err)
{
    struct node dir;
    *ret = (struct str){0};
    int rc = node_find(q, NODE_DRIVERS, name, &dir, err);
    if (rc == 0 && dir.kind != NODE_DIR)
        rc = -ENOENT;
    if (rc == 0)
        rc = text_in_force(q, dir.id, manifest_name, arena, ret, err);
    return rc;
}

struct listing {
    int (*fn)(void *arg, const char *name, node_id dir);
    void *arg;
};

static int
pass_on(void *arg, const char *name, const struct node *n)
{
    struct listing *l = arg;
    return n->kind == NODE_DIR && driver_name_good(name) ? l->fn(l->arg, name, n->id) : 0;
}

int
catalog_drivers(struct catalog *c, int (*fn)(void *arg, const char *name, node_id dir),
                void *arg)
{
    struct listing l = {fn, arg};
    return ctree_list(c, NODE_DRIVERS, NULL, pass_on, &l);
}

/* The connection that names it, in arena; NULL: none. */
static int
find_user(struct catalog *c, const char *driver, struct arena *arena, const char **ret)
{
    struct catalog_connection *all;
    size_t n;
    *ret = NULL;
    int rc = catalog_connections(c, arena, &all, &n);
    for (size_t i = 0; rc == 0 && i < n && !*ret; i++) {
        const char *name = connection_driver(all[i].text, arena);
        if (name && strcmp(name, driver) == 0)
            *ret = all[i].name;
    }
    return rc;
}

int
driver_busy(struct catalog *c, const char *name, const char *what)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    AUTO_BUF struct buf place = BUF_INIT(512), why = BUF_INIT(1024);
    const char *connection;
    int rc = find_user(c, name, &arena, &connection);
    if (rc < 0 || !connection)
        return rc;
    buf_addf(&place, "drivers/%s", name);
    buf_addf(&why, "the driver cannot be %s: connections/%s.json uses it\n", what, connection);
    catalog_error_log(c, buf_z(&place), buf_z(&why));
    return -EBUSY;
}
