/* What the mount shows of a user's driver, and what stands in the way of one. */
#include "base/cleanup.h"
#include "run/engine_private.h"

/* Why what is in force makes no driver: the daemon may have become another one since it was
 * accepted, or the catalogue damaged. Nothing is said of what is not written yet. */
static int
show_fault(struct engine *e, node_id dir, const struct complaint *why, struct buf *out)
{
    struct node n;
    if (ctree_lookup(e->catalog, dir, "connector.json", &n) == 0)
        complaint_render(why, out);
    return out->failed ? -ENOMEM : 0;
}

int
driver_show(struct engine *e, node_id dir, enum driver_text which, struct buf *out,
            struct timespec *changed)
{
    AUTO_BUF struct buf name = BUF_INIT(256);
    AUTO_DRIVER const struct driver *d = NULL;
    struct complaint why = {0};
    struct node n;
    usec_t at = 0;
    int rc = ctree_get(e->catalog, dir, &n);
    if (rc == 0)
        rc = ctree_name(e->catalog, dir, &name);
    if (rc < 0)
        return rc;
    *changed = n.mtime;
    if (ctree_lookup(e->catalog, dir, "connector.json", &n) == 0)
        *changed = n.mtime;
    const struct world world = catalog_world(e->catalog);
    rc = world.users_driver(world.arg, buf_z(&name), &d, &why);
    if (which == DRIVER_ERROR) {
        int told = catalog_error_text(e->catalog, dir, out, &at);
        if (told == 0)
            *changed = (struct timespec){at / 1000000, at % 1000000 * 1000};
        return told != -ENOENT ? told : rc < 0 ? show_fault(e, dir, &why, out) : 0;
    }
    if (d)
        return driver_text(d, which, out);
    buf_adds(out, "# connector.json is not in order or not there: see error\n");
    return out->failed ? -ENOMEM : 0;
}

struct reasons {
    struct engine *engine;
    struct buf *out;
};

static int
add_refused(void *arg, const char *name, node_id dir)
{
    struct reasons *r = arg;
    AUTO_BUF struct buf prefix = BUF_INIT(512);
    buf_addf(&prefix, "drivers/%s/", name);
    catalog_refused_texts(r->engine->catalog, dir, buf_z(&prefix), r->out);
    return 0;
}

void
drivers_refused(struct engine *e, struct buf *out)
{
    struct reasons r = {e, out};
    catalog_drivers(e->catalog, add_refused, &r);
}
