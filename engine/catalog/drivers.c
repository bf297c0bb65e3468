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

struct search {
    struct catalog *catalog;
    const char *driver;
    char user[256]; /* the connection that names it */
};

/* ctree_list's fn; 1: it is the one. A connection that is damaged uses nothing until it is
 * written again. */
static int
names_it(void *arg, const char *file, const struct node *n)
{
    struct search *s = arg;
    if (n->kind != NODE_FILE || name_kind(PLACE_CONNECTIONS, file) != TEXT_CONNECTION)
        return 0;
    AUTO_ARENA struct arena arena = ARENA_INIT;
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    struct error err = ERROR_INIT;
    snprintf(s->user, sizeof s->user, "%.*s", (int)(strlen(file) - strlen(".json")), file);
    int rc = catalog_connection_text(s->catalog, s->user, &text, &err);
    if (rc < 0)
        return rc == -ENOENT || rc == -EUCLEAN ? 0 : rc;
    const char *name = connection_driver(buf_str(&text), &arena);
    return name && strcmp(name, s->driver) == 0;
}

int
driver_busy(struct catalog *c, const char *name, const char *what)
{
    AUTO_BUF struct buf place = BUF_INIT(512), why = BUF_INIT(1024);
    struct search search = {.catalog = c, .driver = name};
    int rc = ctree_list(c, NODE_CONNECTIONS, NULL, names_it, &search);
    if (rc <= 0)
        return rc;
    buf_addf(&place, "drivers/%s", name);
    buf_addf(&why, "the driver cannot be %s: connections/%s.json uses it\n", what, search.user);
    catalog_error_log(c, buf_z(&place), buf_z(&why));
    return -EBUSY;
}
