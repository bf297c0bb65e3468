/*
 * Renames: the way in which most editors and tools put a text in force, and by which
 * directories become syncs, change their name, or are syncs no longer.
 */
#include "catalog/catalog_private.h"

#include <stdio.h>
#include <string.h>

struct move {
    node_id from, to;
    const char *name, *new_name;
    const struct caller *who;
    struct complaint *complaint;
    enum place from_place, to_place;
    struct node node;
    struct node replaced; /* id 0: nothing */
    bool same;            /* both names are the same node: nothing to do */
    bool refused;         /* by a check: the text was kept, nothing moves */
    bool unfit;           /* a directory holds a text that no sync may have: to be told after */
    enum place after;     /* what a directory becomes */
};

/* ---- what forbids it ---- */

static int
check_names(struct catalog *c, struct move *m, bool noreplace, struct error *err)
{
    struct sql *q = &c->writer;
    struct node dir;
    if (m->from == ROOT || m->to == ROOT)
        return -EPERM;
    int rc = name_check(m->new_name);
    if (rc == 0)
        rc = node_dir(q, m->from, &dir, err);
    if (rc == 0)
        rc = node_dir(q, m->to, &dir, err);
    if (rc == 0)
        rc = node_place(q, m->from, &m->from_place, err);
    if (rc == 0)
        rc = node_place(q, m->to, &m->to_place, err);
    if (rc == 0)
        rc = node_find(q, m->from, m->name, &m->node, err);
    if (rc < 0)
        return rc;
    rc = node_find(q, m->to, m->new_name, &m->replaced, err);
    if (rc == -ENOENT)
        return 0;
    if (rc == 0 && noreplace)
        return -EEXIST;
    m->same = rc == 0 && m->replaced.id == m->node.id;
    return rc;
}

static int
check_kinds(struct catalog *c, const struct move *m, struct error *err)
{
    if (name_is_engine_file(m->from_place, m->name))
        return -EPERM;
    int rc = may_stand(m->to_place, m->new_name, m->node.kind);
    if (rc < 0 || m->replaced.id == 0)
        return rc;
    if (m->replaced.kind == NODE_DIR) {
        if (m->node.kind != NODE_DIR)
            return -EISDIR;
        rc = node_is_empty(&c->writer, m->replaced.id, err);
        return rc == 0 ? -ENOTEMPTY : rc < 0 ? rc : 0;
    }
    return m->node.kind == NODE_DIR ? -ENOTDIR : 0;
}

/* How many nodes move, and how many levels of directories. */
static int
measure(struct sql *q, const struct node *n, int64_t *nodes, int64_t *levels, struct error *err)
{
    *nodes = 1;
    *levels = 0;
    if (n->kind != NODE_DIR)
        return 0;
    AUTO_ROWS struct sql_rows r = {0};
    int rc = sql_select(q, &r, err,
                        "WITH RECURSIVE part(id, kind, level) AS (SELECT ?1, ?2, 1 UNION ALL"
                        "  SELECT node.id, node.kind, level + 1 FROM part"
                        "  JOIN node ON node.parent = part.id)"
                        " SELECT count(*), max(CASE kind WHEN ?2 THEN level END) FROM part",
                        "ii", (int64_t)n->id, (int64_t)NODE_DIR);
    if (rc == 0)
        rc = sql_next(&r, err);
    if (rc < 0)
        return rc;
    *nodes = sql_int(&r, 0);
    *levels = sql_int(&r, 1);
    return 0;
}

static int
check_room(struct catalog *c, const struct move *m, struct error *err)
{
    struct position from = {0}, to = {0};
    int64_t nodes, levels;
    struct sql *q = &c->writer;
    int rc = node_position(q, m->from, 0, &from, err);
    if (rc == 0)
        rc = node_position(q, m->to, m->node.id, &to, err);
    if (rc == 0 && to.below)
        return -EINVAL; /* into itself */
    if (rc < 0 || m->from == m->to)
        return rc;
    rc = measure(q, &m->node, &nodes, &levels, err);
    if (rc == 0 && from.root == to.root && from.top == to.top)
        nodes = 0;
    if (rc == 0 && m->replaced.id && nodes > 0)
        nodes--;
    return rc == 0 ? node_room(c, m->to, nodes, levels, err) : rc;
}

/* ---- doing it ---- */

static int
check_text(struct catalog *c, struct move *m, struct buf *text, struct error *err)
{
    int rc = node_data(&c->writer, m->node.id, text, err);
    if (rc < 0)
        return rc;
    rc = doc_judge(c, m->to, m->new_name, buf_str(text), m->complaint);
    if (rc != -EINVAL)
        return rc;
    m->refused = true;
    rc = doc_refuse_text(c, m->to, m->new_name, buf_str(text), m->who, m->complaint, err);
    return rc == 0 && m->replaced.id == 0 ? doc_put_back(c, m->to, m->new_name, m->who, err)
                                          : rc;
}

static int
place_node(struct catalog *c, struct move *m, struct error *err)
{
    struct sql *q = &c->writer;
    int rc = 0;
    if (m->replaced.id && m->node.kind == NODE_DIR)
        rc = remove_dir(c, &m->replaced, m->who, err);
    else if (m->replaced.id)
        rc = node_unlink(q, m->replaced.id, err);
    if (rc == 0)
        rc =
            sql_exec(q, err, "UPDATE node SET parent = ?2, name = ?3, ctime = ?4 WHERE id = ?1",
                     "iiti", (int64_t)m->node.id, (int64_t)m->to, m->new_name, now_ns());
    if (rc == 0)
        rc = node_touch_dir(q, m->from, err);
    if (rc == 0 && m->from != m->to)
        rc = node_touch_dir(q, m->to, err);
    if (rc == 0)
        rc = note_plain(c, m->from_place, m->from, m->name, err);
    return rc == 0 ? note_plain(c, m->to_place, m->to, m->new_name, err) : rc;
}

static int
move_file(struct catalog *c, struct move *m, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    bool leaves = name_kind(m->from_place, m->name) != TEXT_PLAIN;
    bool checked = name_kind(m->to_place, m->new_name) != TEXT_PLAIN;
    int rc = checked ? check_text(c, m, &text, err) : 0;
    if (rc < 0 || m->refused)
        return rc;
    if (leaves)
        rc = doc_leave(c, &m->node, m->name, m->who, err);
    if (rc == 0)
        rc = place_node(c, m, err);
    if (rc == 0 && checked)
        rc = doc_accept(c, m->to, m->new_name, m->node.id, buf_str(&text), m->who, err);
    return rc;
}

static int
adopt_file(struct catalog *c, struct move *m, const struct named_node *child, struct error *err)
{
    if (may_stand(m->after, child->name, child->node.kind) < 0)
        return -EPERM;
    if (name_kind(m->after, child->name) == TEXT_PLAIN)
        return 0;
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    int rc = node_data(&c->writer, child->node.id, &text, err);
    if (rc < 0)
        return rc;
    struct str s = buf_str(&text);
    rc = doc_judge(c, m->node.id, child->name, s, m->complaint);
    m->unfit = rc == -EINVAL;
    if (rc < 0)
        return m->unfit ? -EBADMSG : rc;
    return doc_accept(c, m->node.id, child->name, child->node.id, s, m->who, err);
}

/* A plain directory becomes a sync or a driver: its texts are checked as if written now, all or
 * nothing. In order of name, so that `mode` is checked against the config.json that came with
 * it. */
static int
adopt_files(struct catalog *c, struct move *m, struct error *err)
{
    struct named_node page[NODE_PAGE];
    char last[256] = "";
    for (;;) {
        int n = node_page(&c->writer, m->node.id, last, page, err);
        int rc = n < 0 ? n : 0;
        for (int i = 0; rc == 0 && i < n; i++)
            rc = adopt_file(c, m, &page[i], err);
        if (rc < 0 || n < NODE_PAGE)
            return rc;
        memcpy(last, page[n - 1].name, sizeof last);
    }
}

/* It is no longer what it was. */
static int
leave_meaning(struct catalog *c, struct move *m, enum place before, struct error *err)
{
    if (before != PLACE_SYNC && before != PLACE_DRIVER)
        return 0;
    int rc = doc_drop_all(c, m->node.id, before, err);
    return rc == 0 && before == PLACE_SYNC ? sync_remove(c, m->node.id, m->who, err) : rc;
}

static enum place
place_after(const struct move *m)
{
    if (m->to_place == PLACE_SYNCS && name_is_sync(m->new_name))
        return PLACE_SYNC;
    if (m->to_place == PLACE_DRIVERS && driver_name_good(m->new_name))
        return PLACE_DRIVER;
    return PLACE_PLAIN;
}

static int
move_dir(struct catalog *c, struct move *m, struct error *err)
{
    enum place before;
    int rc = node_place(&c->writer, m->node.id, &before, err);
    if (rc == 0)
        rc = place_node(c, m, err);
    m->after = place_after(m);
    if (rc == 0 && (before == PLACE_DRIVER || m->after == PLACE_DRIVER))
        rc = note_changed(c, NODE_DRIVERS, err);
    if (rc == 0 && before == PLACE_SYNC && m->after == PLACE_SYNC)
        return sync_rename(c, m->node.id, m->new_name, m->who, err);
    if (rc < 0 || before == m->after)
        return rc;
    rc = leave_meaning(c, m, before, err);
    if (rc == 0 && m->after == PLACE_SYNC)
        rc = sync_make(c, m->node.id, m->new_name, m->who, err);
    return rc == 0 && m->after != PLACE_PLAIN ? adopt_files(c, m, err) : rc;
}

static int
move(struct catalog *c, struct move *m, bool noreplace, struct error *err)
{
    int rc = check_names(c, m, noreplace, err);
    if (rc < 0 || m->same)
        return rc;
    rc = check_kinds(c, m, err);
    if (rc == 0)
        rc = check_room(c, m, err);
    if (rc < 0)
        return rc;
    return m->node.kind == NODE_DIR ? move_dir(c, m, err) : move_file(c, m, err);
}

static void
tell_unfit(struct catalog *c, const struct move *m)
{
    AUTO_BUF struct buf text = BUF_INIT(8192);
    AUTO_BUF struct buf place = BUF_INIT(600);
    complaint_render(m->complaint, &text);
    buf_addf(&place, "%s/%s/%s", m->after == PLACE_DRIVER ? "drivers" : "syncs", m->new_name,
             m->complaint->file);
    catalog_error_log(c, buf_z(&place), buf_z(&text));
}

int
ctree_rename(struct catalog *c, node_id parent, const char *name, node_id new_parent,
             const char *new_name, bool noreplace, const struct caller *who,
             struct complaint *complaint)
{
    struct error err = ERROR_INIT;
    struct move m = {.from = parent,
                     .to = new_parent,
                     .name = name,
                     .new_name = new_name,
                     .who = who,
                     .complaint = complaint};
    int rc = ask_busy(c, parent, name, "renamed");
    if (rc == 0)
        rc = ask_busy(c, new_parent, new_name, "replaced");
    if (rc == 0)
        rc = IN_TRANSACTION(c, &err, move(c, &m, noreplace, &err));
    if (m.unfit)
        tell_unfit(c, &m);
    return rc == 0 && m.refused ? -EBADMSG : rc;
}
