/*
 * The rows behind directories in syncs/. A removed sync's row waits under its name, so that a
 * checkout that deletes and recreates a directory finds its delivered state again.
 */
#include "catalog/catalog_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

int
sync_uid(struct sql *q, node_id dir, struct buf *out, struct error *err)
{
    return sql_one_str(q, err, out, "SELECT uid FROM sync WHERE node = ?1", "i", (int64_t)dir);
}

static int
make_uid(char text[33], struct error *err)
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return error_set_errno(err, ERR_INTERNAL, errno, "no random bytes");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* What was removed before that is picked up no more. */
static int64_t
oldest_kept(void)
{
    return clock_now() - INT64_C(86400000000) * CATALOG_REMOVED_DAYS;
}

/* The newest row that a sync of that name left behind; 0 and its uid, or -ENOENT. */
static int
find_removed(struct sql *q, const char *name, struct buf *uid, struct error *err)
{
    return sql_one_str(q, err, uid,
                       "SELECT uid FROM sync WHERE node IS NULL AND name = ?1"
                       " AND removed_at >= ?2 ORDER BY removed_at DESC LIMIT 1",
                       "ti", name, oldest_kept());
}

int
sync_make(struct catalog *c, node_id dir, const char *name, const struct caller *who,
          struct error *err)
{
    struct sql *q = &c->writer;
    AUTO_BUF struct buf uid = BUF_INIT(64);
    int64_t count = 0;
    int rc = sql_one_int(q, err, &count, "SELECT count(node) FROM sync", "");
    if (rc == 0 && count >= CATALOG_SYNCS)
        return -EDQUOT;
    if (rc == 0)
        rc = find_removed(q, name, &uid, err);
    bool again = rc == 0;
    if (again) {
        rc = sql_exec(q, err,
                      "UPDATE sync SET node = ?2, removed_at = NULL, trigger_mode = NULL,"
                      " trigger_uid = NULL, trigger_gid = NULL WHERE uid = ?1",
                      "si", buf_str(&uid), (int64_t)dir);
    } else if (rc == -ENOENT) {
        char text[33];
        rc = make_uid(text, err);
        if (rc == 0)
            rc = sql_exec(q, err,
                          "INSERT INTO sync(uid, node, name, sum)"
                          " VALUES(?1, ?2, ?3, checksum(?1, 0, '{}'))",
                          "tit", text, (int64_t)dir, name);
    }
    if (rc == 0)
        rc = log_audit(c, dir, who, err, "made the sync%s",
                       again ? " again, with the delivered state it had" : "");
    return rc == 0 ? note_changed(c, dir, err) : rc;
}

int
sync_remove(struct catalog *c, node_id dir, const struct caller *who, struct error *err)
{
    int rc = log_audit(c, dir, who, err, "removed the sync");
    if (rc == 0)
        rc = sql_exec(&c->writer, err,
                      "UPDATE sync SET node = NULL, removed_at = ?2 WHERE node = ?1", "ii",
                      (int64_t)dir, clock_now());
    return rc == 0 ? note_changed(c, dir, err) : rc;
}

int
sync_rename(struct catalog *c, node_id dir, const char *name, const struct caller *who,
            struct error *err)
{
    int rc = sql_exec(&c->writer, err, "UPDATE sync SET name = ?2 WHERE node = ?1", "it",
                      (int64_t)dir, name);
    if (rc == 0)
        rc = log_audit(c, dir, who, err, "renamed the sync to %s", name);
    return rc == 0 ? note_changed(c, dir, err) : rc;
}

int
catalog_sync_uid(struct catalog *c, node_id dir, struct buf *out)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, sync_uid(q, dir, out, &err));
}

int
catalog_expired_sync(struct catalog *c, struct buf *out)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err,
                   sql_one_str(q, &err, out,
                               "SELECT uid FROM sync WHERE node IS NULL AND removed_at < ?1"
                               " ORDER BY removed_at LIMIT 1",
                               "i", oldest_kept()));
}

int
catalog_drop_sync(struct catalog *c, const char *uid)
{
    struct error err = ERROR_INIT;
    return IN_TRANSACTION(c, &err,
                          sql_exec(&c->writer, &err,
                                   "DELETE FROM sync WHERE uid = ?1 AND node IS NULL", "t",
                                   uid));
}

/* ---- who may pull the trigger ---- */

static int
trigger_attributes_of(struct sql *q, node_id dir, struct node *ret, struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    int rc = sql_select(q, &r, err,
                        "SELECT coalesce(trigger_mode, node.mode & ?2),"
                        " coalesce(trigger_uid, node.uid), coalesce(trigger_gid, node.gid)"
                        " FROM sync JOIN node ON node.id = sync.node WHERE sync.node = ?1",
                        "ii", (int64_t)dir, INT64_C(0666));
    if (rc == 0)
        rc = sql_next(&r, err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    *ret = (struct node){.mode = (mode_t)sql_int(&r, 0),
                         .uid = (uid_t)sql_int(&r, 1),
                         .gid = (gid_t)sql_int(&r, 2)};
    return 0;
}

int
catalog_trigger_attributes(struct catalog *c, node_id dir, struct node *ret)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, trigger_attributes_of(q, dir, ret, &err));
}

int
catalog_set_trigger_attributes(struct catalog *c, node_id dir, unsigned what,
                               const struct node *to)
{
    struct error err = ERROR_INIT;
    return IN_TRANSACTION(c, &err,
                          sql_exec(&c->writer, &err,
                                   "UPDATE sync SET trigger_mode = iif(?2, ?3, trigger_mode),"
                                   " trigger_uid = iif(?4, ?5, trigger_uid),"
                                   " trigger_gid = iif(?6, ?7, trigger_gid) WHERE node = ?1",
                                   "iiiiiii", (int64_t)dir, (int64_t)(what & TREE_MODE),
                                   (int64_t)(to->mode & 0777), (int64_t)(what & TREE_UID),
                                   (int64_t)to->uid, (int64_t)(what & TREE_GID),
                                   (int64_t)to->gid));
}

/* ---- definitions ---- */

/* 1 and the row with the text, 0 when there is none. */
static int
find_text(struct sql *q, struct sql_rows *r, node_id dir, const char *name, struct error *err)
{
    int rc = sql_select(q, r, err,
                        "SELECT doc.text, " INTACT_DOC " FROM doc"
                        " JOIN node ON node.id = doc.node WHERE doc.dir = ?1"
                        " AND doc.name = ?2 AND node.parent = ?1 AND node.name = ?2",
                        "it", (int64_t)dir, name);
    if (rc == 0)
        rc = sql_next(r, err);
    return rc == 1 && !sql_int(r, 1) ? doc_damaged(q, dir, name, err) : rc;
}

int
text_in_force(struct sql *q, node_id dir, const char *name, struct arena *arena,
              struct str *ret, struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    int rc = find_text(q, &r, dir, name, err);
    if (rc <= 0)
        return rc;
    struct str s = sql_str(&r, 0);
    *ret = (struct str){arena_strndup(arena, s.p, s.n), s.n};
    return ret->p ? 0 : error_no_memory(err);
}

static int
has_refused(struct sql *q, node_id dir, const char *name, bool *ret, struct error *err)
{
    char rej[256];
    struct node n;
    snprintf(rej, sizeof rej, "%s.rej", name);
    int rc = node_find(q, dir, rej, &n, err);
    *ret = rc == 0;
    return rc == -ENOENT ? 0 : rc;
}

static int
read_texts(struct sql *q, node_id dir, struct sync_texts *ret, struct arena *arena,
           bool rejected[3], struct error *err)
{
    static const char *const names[] = {"config.json", "mappings.csv", "mode"};
    struct str *const texts[] = {&ret->config, &ret->mappings, &ret->mode};
    *ret = (struct sync_texts){0};
    enum place place;
    int rc = node_place(q, dir, &place, err);
    if (rc == 0 && place != PLACE_SYNC)
        return -ENOENT;
    for (size_t i = 0; rc == 0 && i < 3; i++) {
        rc = text_in_force(q, dir, names[i], arena, texts[i], err);
        if (rc == 0)
            rc = has_refused(q, dir, names[i], &rejected[i], err);
    }
    return rc;
}

int
catalog_sync_texts(struct catalog *c, node_id dir, struct sync_texts *ret, struct arena *arena,
                   bool rejected[3], struct error *err)
{
    return READING(c, q, err, read_texts(q, dir, ret, arena, rejected, err));
}

static int
read_schedule(struct sql *q, node_id dir, struct str *ret, struct arena *arena, bool *rejected,
              struct error *err)
{
    int rc = text_in_force(q, dir, "schedule", arena, ret, err);
    return rc == 0 ? has_refused(q, dir, "schedule", rejected, err) : rc;
}

int
catalog_sync_schedule(struct catalog *c, node_id dir, struct str *ret, struct arena *arena,
                      bool *rejected, struct error *err)
{
    *ret = (struct str){0};
    return READING(c, q, err, read_schedule(q, dir, ret, arena, rejected, err));
}

int
connection_in_force(struct sql *q, const char *name, struct buf *out, struct error *err)
{
    char file[256];
    if (snprintf(file, sizeof file, "%s.json", name) >= (int)sizeof file)
        return -ENOENT;
    AUTO_ROWS struct sql_rows r = {0};
    int rc = find_text(q, &r, NODE_CONNECTIONS, file, err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    return sql_add(&r, 0, out, err);
}

int
catalog_connection_text(struct catalog *c, const char *name, struct buf *out, struct error *err)
{
    return READING(c, q, err, connection_in_force(q, name, out, err));
}
