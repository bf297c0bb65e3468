/*
 * Checked files: the accepted text, the refused one, and why.
 *
 * The surprising part is the tombstone. Tools unlink or rename a file away before they write
 * the new one, and may fail in between. So what was accepted outlives its name (table doc); it
 * is in force only while the node that carries it stands there.
 */
#include "catalog/catalog_private.h"

#include <stdio.h>
#include <string.h>

/* ---- asking ---- */

enum text_kind
cdoc_kind(struct catalog *c, node_id parent, const char *name)
{
    struct error err = ERROR_INIT;
    enum place place = PLACE_CONNECTIONS;
    if (parent != NODE_CONNECTIONS) {
        if (name_kind(PLACE_SYNC, name) == TEXT_PLAIN &&
            name_kind(PLACE_DRIVER, name) == TEXT_PLAIN)
            return TEXT_PLAIN;
        if (READING(c, q, &err, node_place(q, parent, &place, &err)) < 0)
            return TEXT_PLAIN;
    }
    return name_kind(place, name);
}

/* config_destination of the config.json in force. */
static const char *
destination_of(struct catalog *c, node_id dir, struct arena *arena, enum sync_type *type)
{
    struct error err = ERROR_INIT;
    struct str config = {0};
    if (READING(c, q, &err, text_in_force(q, dir, "config.json", arena, &config, &err)) < 0 ||
        !config.p)
        return NULL;
    return config_destination(config, arena, type);
}

enum text_verdict
cdoc_check(struct catalog *c, node_id parent, const char *name, struct str text, bool final,
           struct complaint *complaint)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    enum text_kind kind = cdoc_kind(c, parent, name);
    struct world world = catalog_world(c);
    *complaint = (struct complaint){0};
    if (kind == TEXT_PLAIN)
        return TEXT_OK;
    char file[sizeof complaint->file];
    snprintf(file, sizeof file, "%s%s", kind == TEXT_CONNECTION ? "connections/" : "", name);
    if (kind == TEXT_MODE)
        world.destination = destination_of(c, parent, &arena, &world.type);
    return text_check(kind, &world, file, text, final, complaint);
}

int
doc_judge(struct catalog *c, node_id dir, const char *name, struct str text,
          struct complaint *complaint)
{
    if (cdoc_check(c, dir, name, text, true, complaint) == TEXT_OK)
        return 0;
    return complaint->no_memory ? -ENOMEM : -EINVAL;
}

/* Asked again within the transaction: the directory may have ceased to be a sync. */
static int
still_checked(struct sql *q, node_id dir, const char *name, struct error *err)
{
    enum place place;
    int rc = node_place(q, dir, &place, err);
    return rc == 0 && name_kind(place, name) == TEXT_PLAIN ? -ESTALE : rc;
}

/* ---- who was refused ---- */

static struct refusal *
find_refusal(struct catalog *c, node_id dir, const char *name)
{
    for (size_t i = 0; i < REFUSALS; i++)
        if (c->refusals[i].dir == dir && strcmp(c->refusals[i].name, name) == 0)
            return &c->refusals[i];
    return NULL;
}

static void
remember_refusal(struct catalog *c, node_id dir, const char *name, const struct caller *who)
{
    struct refusal *r = find_refusal(c, dir, name);
    if (!r)
        r = &c->refusals[c->next_refusal++ % REFUSALS];
    r->dir = dir;
    r->pid = who ? who->pid : 0;
    snprintf(r->name, sizeof r->name, "%s", name);
}

/* ---- the record ---- */

static int
add_history(struct catalog *c, node_id dir, const char *name, bool accepted, struct str text,
            const struct caller *who, struct error *err)
{
    struct sql *q = &c->writer;
    AUTO_BUF struct buf uid = BUF_INIT(64);
    int rc = sync_uid(q, dir, &uid, err);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc == -ENOENT && dir != NODE_CONNECTIONS)
        return 0; /* of a driver: nobody could look at it */
    struct str sync = {rc == 0 ? uid.p : NULL, uid.n}; /* NULL: connections */
    rc = sql_exec(q, err,
                  "INSERT INTO history(sync, name, number, at, accepted, uid, text, sum)"
                  " SELECT ?1, ?2, next, ?3, ?4, ?5, ?6, checksum(?1, ?2, next, ?6)"
                  " FROM (SELECT 1 + coalesce(max(number), 0) AS next FROM history"
                  "  WHERE sync IS ?1 AND name = ?2)",
                  "stiiib", sync, name, clock_now(), (int64_t)accepted,
                  who ? (int64_t)who->uid : INT64_C(-1), text);
    if (rc < 0)
        return rc;
    return sql_exec(q, err,
                    "DELETE FROM history WHERE id IN (SELECT id FROM ("
                    "  SELECT id, row_number() OVER newest AS n,"
                    "    sum(length(text)) OVER newest AS bytes"
                    "  FROM history WHERE sync IS ?1 AND name = ?2"
                    "  WINDOW newest AS (ORDER BY number DESC))"
                    " WHERE n > ?3 OR (n > 1 AND bytes > ?4))",
                    "stii", sync, name, (int64_t)CATALOG_HISTORY,
                    (int64_t)CATALOG_HISTORY_BYTES);
}

static int
set_error(struct catalog *c, node_id dir, const char *name, const char *text, struct error *err)
{
    return sql_exec(&c->writer, err,
                    "INSERT OR REPLACE INTO doc_error(dir, name, at, text)"
                    " VALUES(?1, ?2, ?3, ?4)",
                    "itit", (int64_t)dir, name, clock_now(), text);
}

static int
clear_error(struct catalog *c, node_id dir, const char *name, struct error *err)
{
    return sql_exec(&c->writer, err, "DELETE FROM doc_error WHERE dir = ?1 AND name = ?2", "it",
                    (int64_t)dir, name);
}

/* "syncs/NAME/config.json", "connections/shop.json", "drivers/NAME/connector.json". */
static int
place_text(struct sql *q, node_id dir, const char *name, struct buf *out, struct error *err)
{
    enum place place;
    int rc = node_place(q, dir, &place, err);
    if (rc < 0)
        return rc;
    buf_adds(out, place == PLACE_DRIVER        ? "drivers/"
                  : place == PLACE_CONNECTIONS ? ""
                                               : "syncs/");
    rc = sql_one_str(q, err, out, "SELECT name FROM node WHERE id = ?1", "i", (int64_t)dir);
    buf_addf(out, "/%s", name);
    return rc;
}

int
doc_damaged(struct sql *q, node_id dir, const char *name, struct error *err)
{
    AUTO_BUF struct buf place = BUF_INIT(600);
    int rc = place_text(q, dir, name, &place, err);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    return error_set(err, ERR_INTERNAL, EUCLEAN,
                     "%s is damaged in the catalogue: write the file again", buf_z(&place));
}

/* ---- refusing ---- */

static int
put_rej(struct catalog *c, node_id dir, const char *rej, struct str text, struct error *err)
{
    struct sql *q = &c->writer;
    struct node n, parent;
    int rc = node_find(q, dir, rej, &n, err);
    if (rc == 0)
        return node_set_data(q, n.id, text, err);
    if (rc == -ENOENT)
        rc = node_dir(q, dir, &parent, err);
    if (rc < 0)
        return rc;
    n = (struct node){.parent = dir,
                      .kind = NODE_FILE,
                      .mode = dir == NODE_CONNECTIONS ? 0600 : 0644,
                      .uid = parent.uid,
                      .gid = parent.gid};
    rc = node_insert(q, rej, text, &n, err);
    return rc == 0 ? node_touch_dir(q, dir, err) : rc;
}

int
doc_refuse_text(struct catalog *c, node_id dir, const char *name, struct str text,
                const struct caller *who, const struct complaint *complaint, struct error *err)
{
    AUTO_BUF struct buf why = BUF_INIT(8192);
    AUTO_BUF struct buf place = BUF_INIT(600);
    char rej[256];
    if (snprintf(rej, sizeof rej, "%s.rej", name) >= (int)sizeof rej)
        return -ENAMETOOLONG;
    if (text.n > CATALOG_FILE_MAX)
        text.n = CATALOG_FILE_MAX; /* far beyond what any checked file may have */
    complaint_render(complaint, &why);
    /* A refused connection may hold a password in plain text: its values are not kept, neither
     * here nor in the history. */
    AUTO_BUF struct buf masked = BUF_INIT(CATALOG_FILE_MAX);
    if (dir == NODE_CONNECTIONS) {
        connection_mask(text, &masked);
        text = buf_str(&masked);
    }
    if (why.failed || masked.failed)
        return error_no_memory(err);
    int rc = still_checked(&c->writer, dir, name, err);
    if (rc == 0)
        rc = put_rej(c, dir, rej, text, err);
    if (rc == 0)
        rc = set_error(c, dir, name, buf_z(&why), err);
    if (rc == 0)
        rc = place_text(&c->writer, dir, name, &place, err);
    if (rc == 0)
        rc = error_log_add(c, buf_z(&place), buf_z(&why), err);
    if (rc == 0 && dir != NODE_CONNECTIONS)
        rc = add_history(c, dir, name, false, text, who, err);
    if (rc == 0)
        remember_refusal(c, dir, name, who);
    return rc == 0 ? note_changed(c, dir, err) : rc;
}

int
cdoc_refuse(struct catalog *c, node_id parent, const char *name, struct str text,
            const struct caller *who, const struct complaint *complaint)
{
    struct error err = ERROR_INIT;
    if (cdoc_kind(c, parent, name) == TEXT_PLAIN)
        return -EINVAL;
    return IN_TRANSACTION(c, &err,
                          doc_refuse_text(c, parent, name, text, who, complaint, &err));
}

static int
add_note(struct catalog *c, node_id dir, const struct complaint *complaint, struct error *err)
{
    AUTO_BUF struct buf why = BUF_INIT(8192);
    char rej[sizeof complaint->file + 4];
    struct node n;
    complaint_render(complaint, &why);
    if (dir == NODE_CONNECTIONS)
        return error_log_add(c, complaint->file, buf_z(&why), err);
    snprintf(rej, sizeof rej, "%s.rej", complaint->file);
    int rc = node_find(&c->writer, dir, rej, &n, err);
    if (rc == -ENOENT) /* else the reason of the refused text matters more */
        rc = set_error(c, dir, complaint->file, buf_z(&why), err);
    return rc == 0 ? note_changed(c, dir, err) : rc;
}

int
cdoc_note(struct catalog *c, node_id parent, const struct complaint *complaint)
{
    struct error err = ERROR_INIT;
    return IN_TRANSACTION(c, &err, add_note(c, parent, complaint, &err));
}

static int
drop_refused(struct catalog *c, node_id dir, const char *name, struct error *err)
{
    char rej[256];
    snprintf(rej, sizeof rej, "%s.rej", name);
    int rc = sql_exec(&c->writer, err, "DELETE FROM node WHERE parent = ?1 AND name = ?2", "it",
                      (int64_t)dir, rej);
    if (rc == 0 && sql_changes(&c->writer) > 0)
        rc = node_touch_dir(&c->writer, dir, err);
    struct refusal *known = find_refusal(c, dir, name);
    if (known)
        known->dir = 0;
    return rc == 0 ? clear_error(c, dir, name, err) : rc;
}

int
doc_forget_refusal(struct catalog *c, node_id dir, const char *rej_name, struct error *err)
{
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)(strlen(rej_name) - strlen(".rej")), rej_name);
    struct refusal *known = find_refusal(c, dir, name);
    if (known)
        known->dir = 0;
    int rc = clear_error(c, dir, name, err);
    return rc == 0 ? note_changed(c, dir, err) : rc;
}

int
doc_unlink(struct catalog *c, const struct node *n, const char *name, bool with_refused,
           const struct caller *who, struct error *err)
{
    const struct refusal *refused = find_refusal(c, n->parent, name);
    int rc = doc_leave(c, n, name, who, err);
    if (rc == 0 && with_refused && !(refused && who && refused->pid == who->pid))
        rc = drop_refused(c, n->parent, name, err);
    return rc;
}

/* ---- accepting ---- */

int
doc_accept(struct catalog *c, node_id dir, const char *name, node_id id, struct str text,
           const struct caller *who, struct error *err)
{
    struct sql *q = &c->writer;
    int64_t same = 0;
    int rc =
        sql_one_int(q, err, &same, "SELECT text = ?3 FROM doc WHERE dir = ?1 AND name = ?2",
                    "itb", (int64_t)dir, name, text);
    if (rc == -ENOENT)
        rc = 0;
    if (rc == 0)
        rc = sql_exec(q, err,
                      "INSERT OR REPLACE INTO doc(dir, name, node, mode, uid, gid, mtime,"
                      " text, sum) SELECT ?1, ?2, ?3, mode, uid, gid, mtime, ?4,"
                      " checksum(?1, ?2, ?4) FROM node WHERE id = ?3",
                      "itib", (int64_t)dir, name, (int64_t)id, text);
    /* An editor that was refused puts the old text back: that must not wipe the reason. */
    const struct refusal *refused = same && who ? find_refusal(c, dir, name) : NULL;
    if (rc == 0 && !(refused && refused->pid == who->pid))
        rc = drop_refused(c, dir, name, err);
    if (rc == 0 && !same)
        rc = add_history(c, dir, name, true, text, who, err);
    if (rc == 0)
        rc = log_audit(c, dir, who, err, "edited %s (accepted%s, %zu bytes)", name,
                       same ? " unchanged" : "", text.n);
    return rc == 0 ? note_changed(c, dir, err) : rc;
}

/* The handle's file stands elsewhere by now, or nowhere: then it is a file like any other,
 * unless it took another checked name. */
static int
write_stray(struct catalog *c, node_id id, struct str text)
{
    int rc = ctree_write(c, id, text);
    return rc == -EPERM || rc == -EACCES ? -ESTALE : rc;
}

static int
commit_text(struct catalog *c, node_id parent, const char *name, node_id id, struct str text,
            const struct caller *who, struct error *err)
{
    struct node n;
    int rc = node_find(&c->writer, parent, name, &n, err);
    if (rc == -ENOENT || (rc == 0 && n.id != id))
        return -ESTALE;
    if (rc == 0)
        rc = still_checked(&c->writer, parent, name, err);
    if (rc == 0)
        rc = node_set_data(&c->writer, id, text, err);
    if (rc == 0)
        rc = bytes_room(c, err);
    return rc == 0 ? doc_accept(c, parent, name, id, text, who, err) : rc;
}

int
cdoc_commit(struct catalog *c, node_id parent, const char *name, node_id id, struct str text,
            const struct caller *who, struct complaint *complaint)
{
    struct error err = ERROR_INIT;
    struct node n;
    *complaint = (struct complaint){0};
    int rc = ctree_lookup(c, parent, name, &n);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc == -ENOENT || n.id != id || cdoc_kind(c, parent, name) == TEXT_PLAIN)
        return write_stray(c, id, text);
    if (n.kind != NODE_FILE)
        return -EINVAL;
    rc = doc_judge(c, parent, name, text, complaint);
    if (rc == -EINVAL) {
        int kept = cdoc_refuse(c, parent, name, text, who, complaint);
        return kept < 0 ? kept : rc;
    }
    if (rc < 0)
        return rc;
    rc = IN_TRANSACTION(c, &err, commit_text(c, parent, name, id, text, who, &err));
    return rc == -ESTALE ? write_stray(c, id, text) : rc;
}

/* ---- leaving ---- */

int
doc_leave(struct catalog *c, const struct node *n, const char *name, const struct caller *who,
          struct error *err)
{
    struct sql *q = &c->writer;
    int rc = sql_exec(q, err,
                      "UPDATE doc SET (mode, uid, gid, mtime) ="
                      " (SELECT mode, uid, gid, mtime FROM node WHERE id = ?3)"
                      " WHERE dir = ?1 AND name = ?2 AND node = ?3",
                      "iti", (int64_t)n->parent, name, (int64_t)n->id);
    if (rc == 0 && sql_changes(q) > 0)
        rc = log_audit(c, n->parent, who, err, "removed %s", name);
    return rc == 0 ? note_changed(c, n->parent, err) : rc;
}

/* The node becomes what was accepted last. */
static int
carry_accepted(struct sql *q, node_id dir, const char *name, node_id id, struct error *err)
{
    int64_t intact = 0;
    int rc = sql_one_int(q, err, &intact,
                         "SELECT " INTACT_DOC " FROM doc WHERE dir = ?1 AND name = ?2", "it",
                         (int64_t)dir, name);
    if (rc == 0 && !intact)
        rc = doc_damaged(q, dir, name, err);
    if (rc == 0)
        rc = sql_exec(q, err,
                      "UPDATE node SET (mode, uid, gid, mtime, data, sum) ="
                      " (SELECT mode, uid, gid, mtime, text, checksum(?3, text) FROM doc"
                      "  WHERE dir = ?1 AND name = ?2), ctime = ?4 WHERE id = ?3",
                      "itii", (int64_t)dir, name, (int64_t)id, now_ns());
    if (rc == 0)
        rc = sql_exec(q, err, "UPDATE doc SET node = ?3 WHERE dir = ?1 AND name = ?2", "iti",
                      (int64_t)dir, name, (int64_t)id);
    return rc;
}

int
doc_put_back(struct catalog *c, node_id dir, const char *name, const struct caller *who,
             struct error *err)
{
    struct sql *q = &c->writer;
    struct node n = {.parent = dir, .kind = NODE_FILE};
    int64_t carrier = 0;
    int rc = sql_one_int(q, err, &carrier, "SELECT node FROM doc WHERE dir = ?1 AND name = ?2",
                         "it", (int64_t)dir, name);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    rc = node_insert(q, name, (struct str){0}, &n, err);
    if (rc == 0)
        rc = carry_accepted(q, dir, name, n.id, err);
    if (rc == 0)
        rc = node_touch_dir(q, dir, err);
    return rc == 0 ? log_audit(c, dir, who, err, "put back %s (another was refused)", name)
                   : rc;
}

static int
abandon(struct catalog *c, node_id parent, const char *name, node_id id, struct error *err)
{
    struct sql *q = &c->writer;
    struct node n;
    int64_t carrier = 0;
    int rc = node_find(q, parent, name, &n, err);
    if (rc == -ENOENT || (rc == 0 && n.id != id))
        return 0;
    if (rc == 0)
        rc = sql_one_int(q, err, &carrier, "SELECT node FROM doc WHERE dir = ?1 AND name = ?2",
                         "it", (int64_t)parent, name);
    if (rc == -ENOENT) {
        rc = node_unlink(q, id, err);
        if (rc == 0)
            rc = node_touch_dir(q, parent, err);
    } else if (rc == 0 && carrier != (int64_t)id) {
        rc = carry_accepted(q, parent, name, id, err);
    }
    return rc == 0 ? note_changed(c, parent, err) : rc;
}

int
cdoc_abandon(struct catalog *c, node_id parent, const char *name, node_id id)
{
    struct error err = ERROR_INIT;
    if (cdoc_kind(c, parent, name) == TEXT_PLAIN)
        return -EINVAL;
    return IN_TRANSACTION(c, &err, abandon(c, parent, name, id, &err));
}

static int
drop_refused_nodes(struct catalog *c, node_id dir, enum place place, struct error *err)
{
    struct named_node page[NODE_PAGE];
    char last[256] = "";
    for (;;) {
        int n = node_page(&c->writer, dir, last, page, err);
        int rc = n < 0 ? n : 0;
        for (int i = 0; rc == 0 && i < n; i++)
            if (name_is_refused_text(place, page[i].name))
                rc = sql_exec(&c->writer, err, "DELETE FROM node WHERE id = ?1", "i",
                              (int64_t)page[i].node.id);
        if (rc < 0 || n < NODE_PAGE)
            return rc;
        memcpy(last, page[n - 1].name, sizeof last);
    }
}

int
doc_drop_all(struct catalog *c, node_id dir, enum place place, struct error *err)
{
    int rc = drop_refused_nodes(c, dir, place, err);
    if (rc == 0)
        rc = sql_exec(&c->writer, err, "DELETE FROM doc WHERE dir = ?1", "i", (int64_t)dir);
    if (rc == 0)
        rc = sql_exec(&c->writer, err, "DELETE FROM doc_error WHERE dir = ?1", "i",
                      (int64_t)dir);
    for (size_t i = 0; i < REFUSALS; i++)
        if (c->refusals[i].dir == dir)
            c->refusals[i].dir = 0;
    return rc;
}
