/*
 * The stored tree: what fs/ does to directories, files and links. Checked files are stored here
 * like all others; what their text means is doc.c's.
 */
#include "catalog/catalog_private.h"

#include <string.h>
#include <sys/stat.h>

/* ---- reading ---- */

int
ctree_get(struct catalog *c, node_id id, struct node *ret)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, node_get(q, id, ret, &err));
}

int
ctree_lookup(struct catalog *c, node_id parent, const char *name, struct node *ret)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, node_find(q, parent, name, ret, &err));
}

int
ctree_list(struct catalog *c, node_id parent, const char *after,
           int (*fn)(void *arg, const char *name, const struct node *n), void *arg)
{
    struct named_node page[NODE_PAGE];
    char last[256];
    snprintf(last, sizeof last, "%s", after ? after : "");
    for (;;) {
        struct error err = ERROR_INIT;
        int n = READING(c, q, &err, node_page(q, parent, last, page, &err));
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++) {
            int rc = fn(arg, page[i].name, &page[i].node);
            if (rc != 0)
                return rc;
        }
        if (n < NODE_PAGE)
            return 0;
        memcpy(last, page[n - 1].name, sizeof last);
    }
}

int
ctree_name(struct catalog *c, node_id id, struct buf *out)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err,
                   sql_one_str(q, &err, out,
                               "SELECT name FROM node WHERE id = ?1 AND parent IS NOT NULL",
                               "i", (int64_t)id));
}

static int
read_data(struct sql *q, node_id id, struct buf *out, struct error *err)
{
    struct node n;
    int rc = node_get(q, id, &n, err);
    if (rc == 0 && n.kind == NODE_DIR)
        return -EISDIR;
    return rc == 0 ? node_data(q, id, out, err) : rc;
}

int
ctree_read(struct catalog *c, node_id id, struct buf *out)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, read_data(q, id, out, &err));
}

/* ---- making ---- */

int
may_stand(enum place place, const char *name, enum node_kind kind)
{
    if (name_is_engine_file(place, name))
        return -EPERM;
    if (name_kind(place, name) != TEXT_PLAIN && kind != NODE_FILE)
        return -EPERM;
    if (place == PLACE_SYNCS && kind == NODE_DIR && name[0] != '.' && !name_is_sync(name))
        return -EINVAL;
    if (place == PLACE_DRIVERS && driver_find(name))
        return -EPERM;
    if (place == PLACE_DRIVERS && kind == NODE_DIR && name[0] != '.' && !driver_name_good(name))
        return -EINVAL;
    return 0;
}

int
note_plain(struct catalog *c, enum place place, node_id dir, const char *name,
           struct error *err)
{
    bool seen = place == PLACE_SYNC && name[0] != '.' && name_kind(place, name) == TEXT_PLAIN;
    return seen ? note_changed(c, dir, err) : 0;
}

struct making {
    node_id parent;
    const char *name, *link;
    struct node node;
    const struct caller *who;
};

/* Everything that may forbid it; fills in the place and the group. */
static int
check_making(struct catalog *c, struct making *m, enum place *place, struct error *err)
{
    struct sql *q = &c->writer;
    struct node dir = {0}, there;
    if (m->parent == ROOT)
        return -EPERM;
    int rc = name_check(m->name);
    if (rc == 0)
        rc = node_dir(q, m->parent, &dir, err);
    if (rc < 0)
        return rc;
    rc = node_find(q, m->parent, m->name, &there, err);
    if (rc != -ENOENT)
        return rc == 0 ? -EEXIST : rc;
    if (m->link && strlen(m->link) > CATALOG_LINK_MAX)
        return -ENAMETOOLONG;
    rc = node_place(q, m->parent, place, err);
    if (rc == 0)
        rc = may_stand(*place, m->name, m->node.kind);
    if (rc == 0)
        rc = node_room(c, m->parent, 1, m->node.kind == NODE_DIR, err);
    if (dir.mode & S_ISGID) {
        m->node.gid = dir.gid;
        if (m->node.kind == NODE_DIR)
            m->node.mode |= S_ISGID;
    }
    return rc;
}

static int
make_node(struct catalog *c, struct making *m, struct error *err)
{
    enum place place;
    int rc = check_making(c, m, &place, err);
    if (rc == 0)
        rc = node_insert(&c->writer, m->name, str_of(m->link), &m->node, err);
    if (rc == 0)
        rc = bytes_room(c, err);
    if (rc == 0)
        rc = node_touch_dir(&c->writer, m->parent, err);
    if (rc == 0 && place == PLACE_SYNCS && m->node.kind == NODE_DIR && name_is_sync(m->name))
        rc = sync_make(c, m->node.id, m->name, m->who, err);
    if (rc == 0 && place == PLACE_DRIVERS && m->node.kind == NODE_DIR)
        rc = note_changed(c, NODE_DRIVERS, err);
    return rc == 0 ? note_plain(c, place, m->parent, m->name, err) : rc;
}

int
ctree_make(struct catalog *c, node_id parent, const char *name, enum node_kind kind,
           mode_t mode, const char *link, const struct caller *who, struct node *ret)
{
    struct error err = ERROR_INIT;
    struct making m = {
        .parent = parent,
        .name = name,
        .link = kind == NODE_LINK ? link : NULL,
        .who = who,
        .node = {.parent = parent,
                 .kind = kind,
                 .mode = mode,
                 .uid = who ? who->uid : c->settings.uid,
                 .gid = who ? who->gid : c->settings.gid},
    };
    int rc = IN_TRANSACTION(c, &err, make_node(c, &m, &err));
    if (rc == 0)
        *ret = m.node;
    return rc;
}

/* ---- changing ---- */

/* Whether the file may be written without a check: under its present name, or unlinked. */
static int
may_write_plainly(struct sql *q, const struct node *n, struct error *err)
{
    if (n->parent == 0)
        return 0;
    AUTO_BUF struct buf name = BUF_INIT(256);
    enum place place;
    int rc = node_place(q, n->parent, &place, err);
    if (rc == 0)
        rc = sql_one_str(q, err, &name, "SELECT name FROM node WHERE id = ?1", "i",
                         (int64_t)n->id);
    if (rc < 0)
        return rc;
    if (name_is_engine_file(place, buf_z(&name)))
        return -EACCES;
    return name_kind(place, buf_z(&name)) == TEXT_PLAIN ? 0 : -EPERM;
}

static int
write_plain(struct catalog *c, node_id id, struct str text, struct error *err)
{
    struct node n;
    int rc = node_get(&c->writer, id, &n, err);
    if (rc == 0 && n.kind != NODE_FILE)
        rc = n.kind == NODE_DIR ? -EISDIR : -EINVAL;
    if (rc == 0)
        rc = may_write_plainly(&c->writer, &n, err);
    if (rc == 0)
        rc = node_set_data(&c->writer, id, text, err);
    return rc == 0 ? bytes_room(c, err) : rc;
}

int
ctree_write(struct catalog *c, node_id id, struct str text)
{
    struct error err = ERROR_INIT;
    if (text.n > CATALOG_FILE_MAX)
        return -EFBIG;
    return IN_TRANSACTION(c, &err, write_plain(c, id, text, &err));
}

/* Nanoseconds in 64 bits reach from 1677 to 2262; what lies beyond is moved to the edge. */
static int64_t
to_ns(struct timespec t)
{
    const int64_t edge = 9223372035;
    int64_t sec = t.tv_sec < -edge ? -edge : t.tv_sec > edge ? edge : t.tv_sec;
    return sec * 1000000000 + t.tv_nsec;
}

static int
set_attributes(struct catalog *c, node_id id, unsigned what, const struct node *to,
               struct node *n, struct error *err)
{
    int rc = node_get(&c->writer, id, n, err);
    if (rc < 0)
        return rc;
    if (what & TREE_MODE)
        n->mode = to->mode & 07777;
    if (what & TREE_UID)
        n->uid = to->uid;
    if (what & TREE_GID)
        n->gid = to->gid;
    if (what & TREE_MTIME)
        n->mtime = to->mtime;
    rc = sql_exec(&c->writer, err,
                  "UPDATE node SET mode = ?2, uid = ?3, gid = ?4, mtime = ?5, ctime = ?6"
                  " WHERE id = ?1",
                  "iiiiii", (int64_t)id, (int64_t)n->mode, (int64_t)n->uid, (int64_t)n->gid,
                  to_ns(n->mtime), now_ns());
    if (rc == 0 && what & TREE_ATIME)
        rc = sql_exec(&c->writer, err, "UPDATE node SET atime = ?2 WHERE id = ?1", "ii",
                      (int64_t)id, to_ns(to->atime));
    return rc == 0 ? node_get(&c->writer, id, n, err) : rc;
}

int
ctree_set(struct catalog *c, node_id id, unsigned what, const struct node *to, struct node *ret)
{
    struct error err = ERROR_INIT;
    struct node n;
    int rc = IN_TRANSACTION(c, &err, set_attributes(c, id, what, to, &n, &err));
    if (rc == 0)
        *ret = n;
    return rc;
}

/* ---- removing ---- */

static int
unlink_name(struct catalog *c, node_id parent, const char *name, bool with_refused,
            const struct caller *who, struct error *err)
{
    struct sql *q = &c->writer;
    struct node n;
    enum place place;
    int rc = node_find(q, parent, name, &n, err);
    if (rc == 0 && n.kind == NODE_DIR)
        return -EISDIR;
    if (rc == 0)
        rc = node_place(q, parent, &place, err);
    if (rc == 0 && name_is_refused_text(place, name))
        rc = doc_forget_refusal(c, parent, name, err);
    else if (rc == 0 && name_kind(place, name) != TEXT_PLAIN)
        rc = doc_unlink(c, &n, name, with_refused, who, err);
    if (rc == 0)
        rc = note_plain(c, place, parent, name, err);
    if (rc == 0)
        rc = node_unlink(q, n.id, err);
    return rc == 0 ? node_touch_dir(q, parent, err) : rc;
}

int
ctree_unlink(struct catalog *c, node_id parent, const char *name, bool with_refused,
             const struct caller *who)
{
    struct error err = ERROR_INIT;
    return IN_TRANSACTION(c, &err, unlink_name(c, parent, name, with_refused, who, &err));
}

int
ask_busy(struct catalog *c, node_id parent, const char *name, const char *what)
{
    struct node n = {0};
    if (parent == NODE_DRIVERS)
        return ctree_lookup(c, parent, name, &n) == 0 && n.kind == NODE_DIR
                   ? driver_busy(c, name, what)
                   : 0;
    if (parent != NODE_SYNCS || !c->settings.busy || !name_is_sync(name) ||
        ctree_lookup(c, parent, name, &n) < 0 || n.kind != NODE_DIR)
        return 0;
    return c->settings.busy(c->settings.arg, n.id) ? -EBUSY : 0;
}

int
remove_dir(struct catalog *c, const struct node *n, const struct caller *who, struct error *err)
{
    struct sql *q = &c->writer;
    enum place place;
    int rc = node_is_empty(q, n->id, err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOTEMPTY;
    rc = node_place(q, n->id, &place, err);
    if (rc == 0 && (place == PLACE_SYNC || place == PLACE_DRIVER))
        rc = doc_drop_all(c, n->id, place, err);
    if (rc == 0 && place == PLACE_SYNC)
        rc = sync_remove(c, n->id, who, err);
    if (rc == 0 && place == PLACE_DRIVER)
        rc = note_changed(c, NODE_DRIVERS, err);
    return rc == 0 ? node_unlink(q, n->id, err) : rc;
}

static int
rmdir_name(struct catalog *c, node_id parent, const char *name, const struct caller *who,
           struct error *err)
{
    struct node n;
    if (parent == ROOT)
        return -EPERM;
    int rc = node_find(&c->writer, parent, name, &n, err);
    if (rc == 0 && n.kind != NODE_DIR)
        return -ENOTDIR;
    if (rc == 0)
        rc = remove_dir(c, &n, who, err);
    return rc == 0 ? node_touch_dir(&c->writer, parent, err) : rc;
}

int
ctree_rmdir(struct catalog *c, node_id parent, const char *name, const struct caller *who)
{
    struct error err = ERROR_INIT;
    int rc = ask_busy(c, parent, name, "removed");
    return rc < 0 ? rc : IN_TRANSACTION(c, &err, rmdir_name(c, parent, name, who, &err));
}

void
ctree_forget(struct catalog *c, node_id id)
{
    struct error err = ERROR_INIT;
    struct node n = {0};
    if (ctree_get(c, id, &n) < 0 || n.parent != 0)
        return; /* most often: no need to write anything */
    (void)IN_TRANSACTION(c, &err,
                         sql_exec(&c->writer, &err,
                                  "DELETE FROM node WHERE id = ?1 AND parent IS NULL", "i",
                                  (int64_t)id));
}
