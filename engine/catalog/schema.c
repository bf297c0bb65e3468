/*
 * The tables, and how an older catalogue becomes a newer one.
 *
 * The format's number is PRAGMA user_version. A new format is one more function in
 * `upgrades`; what stands there already is never changed, for catalogues in the field went
 * through it.
 */
#include "catalog/catalog_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    APPLICATION_ID = 0x5245544C,    /* "RETL" */
    CHECK_BYTES = 64 * 1024 * 1024, /* larger ones would make the start slow */
};

#define NODE_ATTRIBUTES                                                                        \
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"                                                  \
    "  parent INTEGER,"                                                                        \
    "  name TEXT NOT NULL,"                                                                    \
    "  kind INTEGER NOT NULL,"                                                                 \
    "  mode INTEGER NOT NULL,"                                                                 \
    "  uid INTEGER NOT NULL,"                                                                  \
    "  gid INTEGER NOT NULL,"                                                                  \
    "  mtime INTEGER NOT NULL,"                                                                \
    "  ctime INTEGER NOT NULL,"
#define NODE_TRIGGERS                                                                          \
    "CREATE TRIGGER node_made AFTER INSERT ON node BEGIN"                                      \
    "  UPDATE quota SET nodes = nodes + 1, bytes = bytes + length(NEW.data); END;"             \
    "CREATE TRIGGER node_gone AFTER DELETE ON node BEGIN"                                      \
    "  UPDATE quota SET nodes = nodes - 1, bytes = bytes - length(OLD.data); END;"             \
    "CREATE TRIGGER node_written AFTER UPDATE OF data ON node BEGIN"                           \
    "  UPDATE quota SET bytes = bytes + length(NEW.data) - length(OLD.data); END;"

static const char tree_tables[] =
    /* parent NULL: unlinked, but somebody may hold it open. data stands last, so that reading
     * attributes never walks through it. Times in nanoseconds. */
    "CREATE TABLE node(" NODE_ATTRIBUTES "  data BLOB NOT NULL,"
    "  UNIQUE(parent, name));"
    /* One row: what the limits are about. */
    "CREATE TABLE quota(nodes INTEGER NOT NULL, bytes INTEGER NOT NULL);"
    "INSERT INTO quota VALUES(0, 0);" NODE_TRIGGERS
    "UPDATE sqlite_sequence SET seq = 1023 WHERE name = 'node';"
    "INSERT INTO sqlite_sequence(name, seq) SELECT 'node', 1023"
    "  WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'node');";

static const char sync_tables[] =
    /* node NULL: removed, its delivered state kept under its name for a while. */
    "CREATE TABLE sync("
    "  uid TEXT PRIMARY KEY,"
    "  node INTEGER UNIQUE,"
    "  name TEXT NOT NULL,"
    "  removed_at INTEGER,"
    "  last_run INTEGER NOT NULL DEFAULT 0,"
    "  data TEXT NOT NULL DEFAULT '{}');"
    "CREATE INDEX sync_removed ON sync(name) WHERE node IS NULL;"
    "CREATE TABLE run("
    "  sync TEXT NOT NULL REFERENCES sync(uid) ON DELETE CASCADE ON UPDATE CASCADE,"
    "  number INTEGER NOT NULL,"
    "  phase TEXT NOT NULL,"
    "  token TEXT,"
    "  started INTEGER NOT NULL,"
    "  ended INTEGER,"
    "  summary TEXT NOT NULL DEFAULT '{}',"
    "  config BLOB,"
    "  mappings BLOB,"
    "  mode BLOB,"
    "  PRIMARY KEY(sync, number)) WITHOUT ROWID;"
    /* Rows removed by hand from the file that pending/ or rejected/ shows. */
    "CREATE TABLE left_out("
    "  sync TEXT NOT NULL REFERENCES sync(uid) ON DELETE CASCADE ON UPDATE CASCADE,"
    "  file TEXT NOT NULL,"
    "  row INTEGER NOT NULL,"
    "  at INTEGER NOT NULL,"
    "  PRIMARY KEY(sync, file, row)) WITHOUT ROWID;"
    "CREATE TABLE sync_log("
    "  sync TEXT NOT NULL REFERENCES sync(uid) ON DELETE CASCADE ON UPDATE CASCADE,"
    "  number INTEGER NOT NULL,"
    "  at INTEGER NOT NULL,"
    "  line TEXT NOT NULL,"
    "  PRIMARY KEY(sync, number)) WITHOUT ROWID;"
    "CREATE TABLE error_log("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  at INTEGER NOT NULL,"
    "  place TEXT NOT NULL,"
    "  text TEXT NOT NULL);";

static const char doc_tables[] =
    /* What was accepted last under a name. It is in force while that node stands there; else it
     * is a tombstone, with the attributes the node had when it left. */
    "CREATE TABLE doc("
    "  dir INTEGER NOT NULL,"
    "  name TEXT NOT NULL,"
    "  node INTEGER NOT NULL,"
    "  mode INTEGER NOT NULL,"
    "  uid INTEGER NOT NULL,"
    "  gid INTEGER NOT NULL,"
    "  mtime INTEGER NOT NULL,"
    "  text BLOB NOT NULL,"
    "  PRIMARY KEY(dir, name));"
    "CREATE TABLE doc_error("
    "  dir INTEGER NOT NULL,"
    "  name TEXT NOT NULL,"
    "  at INTEGER NOT NULL,"
    "  text TEXT NOT NULL,"
    "  PRIMARY KEY(dir, name)) WITHOUT ROWID;"
    /* sync NULL: of connections/. */
    "CREATE TABLE history("
    "  id INTEGER PRIMARY KEY,"
    "  sync TEXT REFERENCES sync(uid) ON DELETE CASCADE ON UPDATE CASCADE,"
    "  name TEXT NOT NULL,"
    "  number INTEGER NOT NULL,"
    "  at INTEGER NOT NULL,"
    "  accepted INTEGER NOT NULL,"
    "  uid INTEGER NOT NULL,"
    "  text BLOB NOT NULL);"
    "CREATE INDEX history_of ON history(sync, name, number);";

static int
make_top(struct catalog *c, node_id id, const char *name, struct error *err)
{
    return sql_exec(
        &c->writer, err,
        "INSERT INTO node(id, parent, name, kind, mode, uid, gid, mtime, ctime, data)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, x'')",
        "iitiiiii", (int64_t)id, (int64_t)ROOT, name, (int64_t)NODE_DIR, INT64_C(0755),
        (int64_t)c->settings.uid, (int64_t)c->settings.gid, now_ns());
}

static int
make_format_1(struct catalog *c, struct error *err)
{
    int rc = sql_script(&c->writer, err, tree_tables);
    if (rc == 0)
        rc = sql_script(&c->writer, err, sync_tables);
    if (rc == 0)
        rc = sql_script(&c->writer, err, doc_tables);
    if (rc == 0)
        rc = make_top(c, NODE_CONNECTIONS, "connections", err);
    if (rc == 0)
        rc = make_top(c, NODE_SYNCS, "syncs", err);
    return rc;
}

static int
make_format_2(struct catalog *c, struct error *err)
{
    return make_top(c, NODE_CONFIG, "config", err);
}

/* A time of access, before data; and what of `trigger` does not follow its directory. */
static const char format_3[] =
    "CREATE TABLE node_3(" NODE_ATTRIBUTES "  atime INTEGER," /* NULL: never set */
    "  data BLOB NOT NULL,"
    "  UNIQUE(parent, name));"
    "INSERT INTO node_3 SELECT id, parent, name, kind, mode, uid, gid, mtime, ctime, NULL, data"
    "  FROM node;"
    "UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'node')"
    "  WHERE name = 'node_3';"
    "DROP TABLE node;"
    "ALTER TABLE node_3 RENAME TO node;" NODE_TRIGGERS
    "ALTER TABLE sync ADD COLUMN trigger_mode INTEGER;"
    "ALTER TABLE sync ADD COLUMN trigger_uid INTEGER;"
    "ALTER TABLE sync ADD COLUMN trigger_gid INTEGER;";

/* Checksums: see intact.h. What stands there by then must be taken for good. */
static const char format_4[] = "ALTER TABLE node ADD COLUMN sum INTEGER;"
                               "ALTER TABLE doc ADD COLUMN sum INTEGER;"
                               "ALTER TABLE history ADD COLUMN sum INTEGER;"
                               "ALTER TABLE sync ADD COLUMN sum INTEGER;"
                               "ALTER TABLE run ADD COLUMN sum INTEGER;"
                               "ALTER TABLE run ADD COLUMN texts_sum INTEGER;"
                               "ALTER TABLE left_out ADD COLUMN sum INTEGER;"
                               "UPDATE node SET sum = checksum(id, data);"
                               "UPDATE doc SET sum = checksum(dir, name, text);"
                               "UPDATE history SET sum = checksum(sync, name, number, text);"
                               "UPDATE sync SET sum = checksum(uid, last_run, data);"
                               "UPDATE run SET sum = checksum(sync, number, phase, summary),"
                               "  texts_sum = checksum(sync, number, config, mappings, mode);"
                               "UPDATE left_out SET sum = checksum(sync, file, row);";

/* What users keep in config/ gives way. */
static int
make_format_5(struct catalog *c, struct error *err)
{
    int rc = sql_exec(&c->writer, err,
                      "UPDATE OR IGNORE node SET name = 'drivers.before'"
                      " WHERE parent = ?1 AND name = 'drivers'",
                      "i", (int64_t)NODE_CONFIG);
    return rc == 0 ? make_top(c, NODE_DRIVERS, "drivers", err) : rc;
}

/* upgrades[n] makes format n + 1 out of format n; an empty file has format 0. */
static const struct {
    int (*make)(struct catalog *c, struct error *err);
    const char *script; /* or all that there is to it */
} upgrades[] = {
    {.make = make_format_1}, {.make = make_format_2}, {.script = format_3},
    {.script = format_4},    {.make = make_format_5},
};
_Static_assert(sizeof upgrades / sizeof *upgrades == CATALOG_FORMAT, "one upgrade a format");

static int
upgrade(struct catalog *c, int64_t from, struct error *err)
{
    int rc = 0;
    for (int64_t format = from; rc == 0 && format < CATALOG_FORMAT; format++)
        rc = upgrades[format].make ? upgrades[format].make(c, err)
                                   : sql_script(&c->writer, err, upgrades[format].script);
    char stamp[128];
    snprintf(stamp, sizeof stamp, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             APPLICATION_ID, CATALOG_FORMAT);
    return rc == 0 ? sql_script(&c->writer, err, stamp) : rc;
}

static int
whole_check(struct catalog *c, struct error *err)
{
    struct stat st;
    if (stat(c->path, &st) < 0 || st.st_size > CHECK_BYTES)
        return 0;
    AUTO_BUF struct buf verdict = BUF_INIT(512);
    int rc = sql_one_str(&c->writer, err, &verdict, "PRAGMA integrity_check(1)", "");
    if (rc == 0 && strcmp(buf_z(&verdict), "ok") != 0)
        rc = error_set(err, ERR_INTERNAL, EIO, "the catalogue is damaged: %s", buf_z(&verdict));
    return rc;
}

int
schema_prepare(struct catalog *c, struct error *err)
{
    struct sql *q = &c->writer;
    int64_t application = 0, format = 0, tables = 0;
    int rc = sql_one_int(q, err, &tables, "SELECT count(*) FROM sqlite_schema", "");
    if (rc == 0)
        rc = sql_one_int(q, err, &application, "PRAGMA application_id", "");
    if (rc == 0)
        rc = sql_one_int(q, err, &format, "PRAGMA user_version", "");
    if (rc < 0)
        return error_wrap(err, "\"%s\"", c->path);
    if (tables > 0 && application != APPLICATION_ID)
        return error_set(err, ERR_INTERNAL, EIO, "\"%s\" belongs to another program", c->path);
    if (format > CATALOG_FORMAT)
        return error_set(err, ERR_INTERNAL, EPROTONOSUPPORT,
                         "state was written by a newer retlfs (format %" PRId64
                         ", this one knows %d)",
                         format, CATALOG_FORMAT);
    if (format < 0 || (tables > 0 && format == 0))
        return error_set(err, ERR_INTERNAL, EIO, "\"%s\" is damaged: no format", c->path);
    rc = whole_check(c, err);
    if (rc == 0)
        rc = sql_script(q, err, "PRAGMA journal_mode = WAL");
    if (rc == 0 && format < CATALOG_FORMAT)
        rc = IN_TRANSACTION(c, err, upgrade(c, format, err));
    return rc < 0 ? error_wrap(err, "\"%s\"", c->path) : 0;
}
