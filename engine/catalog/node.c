/* Nodes as rows: reading, inserting, where they stand and whether there is room. */
#include "catalog/catalog_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NODE_COLUMNS                                                                           \
    "id, parent, kind, mode, uid, gid, mtime, ctime, length(data), coalesce(atime, mtime)"

int64_t
now_ns(void)
{
    return clock_now() * 1000;
}

static struct timespec
from_ns(int64_t ns)
{
    int64_t sec = ns / 1000000000, rest = ns % 1000000000;
    if (rest < 0) {
        sec--;
        rest += 1000000000;
    }
    return (struct timespec){.tv_sec = sec, .tv_nsec = (long)rest};
}

static void
fill_node(const struct sql_rows *r, struct node *n)
{
    *n = (struct node){
        .id = (node_id)sql_int(r, 0),
        .parent = (node_id)sql_int(r, 1),
        .kind = (enum node_kind)sql_int(r, 2),
        .mode = (mode_t)sql_int(r, 3),
        .uid = (uid_t)sql_int(r, 4),
        .gid = (gid_t)sql_int(r, 5),
        .mtime = from_ns(sql_int(r, 6)),
        .ctime = from_ns(sql_int(r, 7)),
        .size = (uint64_t)sql_int(r, 8),
        .atime = from_ns(sql_int(r, 9)),
    };
}

/* The one row that r is about to give. */
static int
one_node(struct sql_rows *r, struct node *ret, struct error *err)
{
    int rc = sql_next(r, err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    fill_node(r, ret);
    return 0;
}

int
node_get(struct sql *q, node_id id, struct node *ret, struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    int rc = sql_select(q, &r, err, "SELECT " NODE_COLUMNS " FROM node WHERE id = ?1", "i",
                        (int64_t)id);
    return rc < 0 ? rc : one_node(&r, ret, err);
}

int
node_find(struct sql *q, node_id parent, const char *name, struct node *ret, struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    int rc = sql_select(q, &r, err,
                        "SELECT " NODE_COLUMNS " FROM node WHERE parent = ?1 AND name = ?2",
                        "it", (int64_t)parent, name);
    return rc < 0 ? rc : one_node(&r, ret, err);
}

int
node_dir(struct sql *q, node_id id, struct node *ret, struct error *err)
{
    int rc = node_get(q, id, ret, err);
    if (rc == 0 && ret->kind != NODE_DIR)
        return -ENOTDIR;
    return rc == 0 && ret->parent == 0 ? -ENOENT : rc;
}

int
node_page(struct sql *q, node_id parent, const char *after, struct named_node *page,
          struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    int n = 0;
    int rc = sql_select(q, &r, err,
                        "SELECT " NODE_COLUMNS ", name FROM node"
                        " WHERE parent = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
                        "iti", (int64_t)parent, after, (int64_t)NODE_PAGE);
    while (rc == 0 && (rc = sql_next(&r, err)) > 0) {
        fill_node(&r, &page[n].node);
        snprintf(page[n].name, sizeof page[n].name, "%s", sql_text(&r, 10));
        n++;
        rc = 0;
    }
    return rc < 0 ? rc : n;
}

int
node_is_empty(struct sql *q, node_id dir, struct error *err)
{
    enum place place;
    int rc = node_place(q, dir, &place, err);
    AUTO_ROWS struct sql_rows r = {0};
    if (rc == 0)
        rc = sql_select(q, &r, err, "SELECT name FROM node WHERE parent = ?1", "i",
                        (int64_t)dir);
    while (rc == 0 && (rc = sql_next(&r, err)) > 0) {
        if (!name_is_refused_text(place, sql_text(&r, 0)))
            return 0;
        rc = 0;
    }
    return rc < 0 ? rc : 1;
}

int
node_insert(struct sql *q, const char *name, struct str data, struct node *n, struct error *err)
{
    int64_t now = now_ns();
    int rc = sql_exec(q, err,
                      "INSERT INTO node(parent, name, kind, mode, uid, gid, mtime, ctime, data)"
                      " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8)",
                      "itiiiiib", (int64_t)n->parent, name, (int64_t)n->kind,
                      (int64_t)(n->mode & 07777), (int64_t)n->uid, (int64_t)n->gid, now, data);
    if (rc < 0)
        return rc;
    n->id = (node_id)sql_last_id(q);
    rc = sql_exec(q, err, "UPDATE node SET sum = checksum(id, data) WHERE id = ?1", "i",
                  (int64_t)n->id);
    if (rc < 0)
        return rc;
    n->size = data.n;
    n->mtime = n->ctime = n->atime = from_ns(now);
    return 0;
}

int
node_set_data(struct sql *q, node_id id, struct str data, struct error *err)
{
    return sql_exec(q, err,
                    "UPDATE node SET data = ?2, sum = checksum(id, ?2), mtime = ?3, ctime = ?3"
                    " WHERE id = ?1",
                    "ibi", (int64_t)id, data, now_ns());
}

int
node_data(struct sql *q, node_id id, struct buf *out, struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    int rc =
        sql_select(q, &r, err, "SELECT data, name, " INTACT_NODE " FROM node WHERE id = ?1",
                   "i", (int64_t)id);
    if (rc == 0)
        rc = sql_next(&r, err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    if (!sql_int(&r, 2))
        return error_set(err, ERR_INTERNAL, EIO,
                         "\"%s\" (inode %" PRIu64 ") is damaged: write it again",
                         sql_text(&r, 1), id);
    return sql_add(&r, 0, out, err);
}

int
node_unlink(struct sql *q, node_id id, struct error *err)
{
    return sql_exec(q, err, "UPDATE node SET parent = NULL, ctime = ?2 WHERE id = ?1", "ii",
                    (int64_t)id, now_ns());
}

int
node_touch_dir(struct sql *q, node_id dir, struct error *err)
{
    return sql_exec(q, err, "UPDATE node SET mtime = ?2, ctime = ?2 WHERE id = ?1", "ii",
                    (int64_t)dir, now_ns());
}

/* 1 when it is a directory in drivers/ whose name a driver may have, else 0. */
static int
is_driver(struct sql *q, node_id dir, struct error *err)
{
    AUTO_BUF struct buf name = BUF_INIT(256);
    int rc = sql_one_str(q, err, &name,
                         "SELECT name FROM node WHERE id = ?1 AND parent = ?2 AND kind = ?3",
                         "iii", (int64_t)dir, (int64_t)NODE_DRIVERS, (int64_t)NODE_DIR);
    return rc == 0 ? driver_name_good(buf_z(&name)) : rc == -ENOENT ? 0 : rc;
}

int
node_place(struct sql *q, node_id dir, enum place *ret, struct error *err)
{
    int64_t one;
    int rc = 0;
    *ret = PLACE_PLAIN;
    if (dir == NODE_SYNCS)
        *ret = PLACE_SYNCS;
    else if (dir == NODE_CONNECTIONS)
        *ret = PLACE_CONNECTIONS;
    else if (dir == NODE_DRIVERS)
        *ret = PLACE_DRIVERS;
    else if ((rc = sql_one_int(q, err, &one, "SELECT 1 FROM sync WHERE node = ?1", "i",
                               (int64_t)dir)) == 0)
        *ret = PLACE_SYNC;
    else if (rc == -ENOENT && (rc = is_driver(q, dir, err)) > 0)
        *ret = PLACE_DRIVER;
    return rc == -ENOENT || rc > 0 ? 0 : rc;
}

int
node_position(struct sql *q, node_id dir, node_id node, struct position *ret, struct error *err)
{
    *ret = (struct position){0};
    node_id below = 0;
    while (dir != ROOT) {
        int64_t parent = 0;
        ret->below |= dir == node;
        int rc = sql_one_int(q, err, &parent, "SELECT parent FROM node WHERE id = ?1", "i",
                             (int64_t)dir);
        if (rc < 0)
            return rc;
        if (parent == 0)
            return 0; /* unlinked */
        if (parent == ROOT) {
            ret->root = dir;
            ret->top = below;
        }
        below = dir;
        dir = (node_id)parent;
        ret->depth++;
    }
    return 0;
}

static int
count_below(struct sql *q, node_id dir, int64_t *ret, struct error *err)
{
    return sql_one_int(
        q, err, ret,
        "WITH RECURSIVE below(id) AS (SELECT id FROM node WHERE parent = ?1"
        " UNION ALL SELECT node.id FROM below JOIN node ON node.parent = below.id)"
        " SELECT count(*) FROM (SELECT 1 FROM below LIMIT 100000)",
        "i", (int64_t)dir);
}

/* What a directory directly in syncs/, or connections/ or drivers/ as a whole, may hold; 0: no
 * limit of its own. */
static int
limit_of(struct sql *q, const struct position *at, node_id *top, int64_t *ret,
         struct error *err)
{
    *ret = 0;
    *top = at->top;
    if (at->root == NODE_CONNECTIONS || at->root == NODE_DRIVERS) {
        *top = at->root;
        *ret = at->root == NODE_DRIVERS ? CATALOG_DRIVERS : CATALOG_CONNECTIONS;
        return 0;
    }
    if (at->top == 0)
        return 0;
    enum place place;
    int rc = node_place(q, at->top, &place, err);
    if (rc == 0 && place == PLACE_SYNC)
        *ret = CATALOG_SYNC_NODES;
    return rc;
}

int
node_room(struct catalog *c, node_id dir, int64_t more, int64_t levels, struct error *err)
{
    struct sql *q = &c->writer;
    struct position at;
    node_id top = 0;
    int64_t limit = 0, count = 0;
    int rc = node_position(q, dir, 0, &at, err);
    if (rc == 0 && at.depth + levels > CATALOG_DEPTH)
        return -ENAMETOOLONG;
    if (rc == 0)
        rc = limit_of(q, &at, &top, &limit, err);
    if (rc == 0 && limit)
        rc = count_below(q, top, &count, err);
    if (rc == 0 && limit && count + more > limit)
        return -EDQUOT;
    if (rc == 0)
        rc = sql_one_int(q, err, &count, "SELECT nodes FROM quota", "");
    return rc == 0 && count + more > CATALOG_NODES ? -EDQUOT : rc;
}

int
bytes_room(struct catalog *c, struct error *err)
{
    int64_t bytes = 0;
    int rc = sql_one_int(&c->writer, err, &bytes, "SELECT bytes FROM quota", "");
    return rc == 0 && bytes > (int64_t)c->settings.bytes_max ? -EDQUOT : rc;
}
