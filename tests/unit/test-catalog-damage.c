/*
 * A bit that turns in the catalogue where SQLite does not see it: what it was part of is not
 * believed, is told by name, and is mended by writing it again. All else goes on.
 */
#include "catalog-fake.h"

static struct error why; /* the last thing that was not believed */

static node_id
make_sync(const char *name)
{
    node_id s = dir(NODE_SYNCS, name);
    CHECK(put(s, "config.json", good_config) == 0);
    CHECK(put(s, "mappings.csv", good_mappings) == 0);
    CHECK(put(s, "mode", "upsert\n") == 0);
    CHECK(put(s, "schedule", "every 1h\n") == 0);
    return s;
}

static void
damage(const char *sql)
{
    tamper(sql);
    open_state();
}

static int
texts_of(node_id s)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct sync_texts texts;
    bool rejected[3];
    why = (struct error)ERROR_INIT;
    return catalog_sync_texts(c, s, &texts, &arena, rejected, &why);
}

static int
schedule_of(node_id s)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct str text;
    bool rejected;
    why = (struct error)ERROR_INIT;
    return catalog_sync_schedule(c, s, &text, &arena, &rejected, &why);
}

static int
read_file(node_id s, const char *name)
{
    struct node n;
    AUTO_BUF struct buf text = BUF_INIT(CATALOG_FILE_MAX);
    int rc = ctree_lookup(c, s, name, &n);
    return rc < 0 ? rc : ctree_read(c, n.id, &text);
}

/* What is in force. */
static void
test_definitions(void)
{
    static const struct {
        const char *name, *text, *sql;
    } files[] = {
        {"config.json", good_config,
         "UPDATE doc SET text = CAST(replace(text, 'email', 'elail') AS BLOB)"
         " WHERE name = 'config.json' AND dir = (SELECT node FROM sync WHERE name = 'hurt')"},
        {"mappings.csv", good_mappings,
         "UPDATE doc SET text = CAST(substr(text, 2) AS BLOB)"
         " WHERE name = 'mappings.csv' AND dir = (SELECT node FROM sync WHERE name = 'hurt')"},
        /* the checksum itself */
        {"mode", "upsert\n",
         "UPDATE doc SET sum = sum + 1"
         " WHERE name = 'mode' AND dir = (SELECT node FROM sync WHERE name = 'hurt')"},
        /* a good text, but another's */
        {"mode", "upsert\n",
         "UPDATE doc SET (text, sum) = (SELECT text, sum FROM doc WHERE name = 'mode'"
         "  AND dir = (SELECT node FROM sync WHERE name = 'whole'))"
         " WHERE name = 'mode' AND dir = (SELECT node FROM sync WHERE name = 'hurt')"},
    };
    node_id whole = make_sync("whole"), hurt = make_sync("hurt");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        CHECK(texts_of(hurt) == 0);
        damage(files[i].sql);
        CHECK(texts_of(hurt) == -EUCLEAN);
        char want[128];
        snprintf(want, sizeof want,
                 "syncs/hurt/%s is damaged in the catalogue: write the file again",
                 files[i].name);
        CHECK_TEXT(why.text, want);
        CHECK(texts_of(whole) == 0);
        CHECK(put(hurt, files[i].name, files[i].text) == 0);
        CHECK(texts_of(hurt) == 0);
    }
    damage("UPDATE doc SET text = x'6f6666' WHERE name = 'schedule'"
           " AND dir = (SELECT node FROM sync WHERE name = 'hurt')");
    CHECK(texts_of(hurt) == 0 && schedule_of(hurt) == -EUCLEAN && schedule_of(whole) == 0);
    CHECK(put(hurt, "schedule", "every 1h\n") == 0 && schedule_of(hurt) == 0);
}

static void
test_connections(void)
{
    CHECK(put(NODE_CONNECTIONS, "shop.json", good_connection) == 0);
    CHECK(put(NODE_CONNECTIONS, "crm.json", good_connection) == 0);
    damage("UPDATE doc SET text = CAST(replace(text, '/x', '/y') AS BLOB)"
           " WHERE name = 'shop.json'");
    struct world world = catalog_world(c);
    struct complaint complaint;
    AUTO_BUF struct buf text = BUF_INIT(4096);
    why = (struct error)ERROR_INIT;
    CHECK(catalog_connection_text(c, "shop", &text, &why) == -EUCLEAN && text.n == 0);
    CHECK(!world.driver_of(world.arg, "shop"));
    CHECK(world.fault_of(world.arg, "shop", &complaint));
    CHECK_TEXT(complaint.text,
               "connections/shop.json is damaged in the catalogue: write the file again");
    CHECK(world.driver_of(world.arg, "crm") == &fake_driver);
    CHECK(put(NODE_CONNECTIONS, "shop.json", good_connection) == 0);
    CHECK(world.driver_of(world.arg, "shop") == &fake_driver);
}

/* The users' files: what they show is not what is in force, and is checked by itself. */
static void
test_files(void)
{
    node_id s = make_sync("files");
    CHECK(put(s, "README", "as it was\n") == 0);
    CHECK(put(s, "other", "as it was\n") == 0);
    damage("UPDATE node SET data = x'00' || data WHERE name IN ('README', 'config.json')");
    CHECK(read_file(s, "README") == -EIO && read_file(s, "config.json") == -EIO);
    CHECK_TEXT(get(s, "other"), "as it was\n");
    CHECK(texts_of(s) == 0);
    CHECK(mv(s, "config.json", s, "config.json~") == 0);    /* needs no look at it … */
    CHECK(mv(s, "config.json~", s, "config.json") == -EIO); /* … but this does */
    CHECK(put(s, "config.json", good_config) == 0 && put(s, "README", "as it is\n") == 0);
    CHECK_TEXT(get(s, "config.json"), good_config);
    CHECK_TEXT(get(s, "README"), "as it is\n");
}

/* What was accepted last is not put back as if it were. */
static void
test_tombstone(void)
{
    struct node n = {0};
    node_id s = make_sync("tombstone");
    CHECK(put(s, "next", "bogus\n") == 0);
    CHECK(ctree_unlink(c, s, "mode", false, &me) == 0);
    damage("UPDATE doc SET text = x'6d6972726f72' WHERE name = 'mode'"
           " AND dir = (SELECT node FROM sync WHERE name = 'tombstone')");
    CHECK(mv(s, "next", s, "mode") == -EUCLEAN);
    CHECK(!exists(s, "mode"));
    CHECK(make(s, "mode", NODE_FILE, NULL) == 0 && ctree_lookup(c, s, "mode", &n) == 0);
    CHECK(cdoc_abandon(c, s, "mode", n.id) == -EUCLEAN);
    CHECK(put(s, "mode", "upsert\n") == 0 && texts_of(s) == 0);
}

static int
history_text(node_id s, const char *name, uint64_t number)
{
    usec_t at;
    AUTO_BUF struct buf uid = BUF_INIT(64);
    AUTO_BUF struct buf text = BUF_INIT(4096);
    CHECK(catalog_sync_uid(c, s, &uid) == 0);
    return catalog_history_text(c, buf_z(&uid), name, number, &text, &at);
}

static void
test_history(void)
{
    node_id s = make_sync("history");
    CHECK(put(s, "mode", "insert\n") == 0);
    damage("UPDATE history SET text = x'6d6972726f72' WHERE name = 'mode' AND number = 1");
    CHECK(history_text(s, "mode", 1) == -EIO && history_text(s, "mode", 2) == 0);
}

int
main(void)
{
    make_state();
    test_definitions();
    test_connections();
    test_files();
    test_tombstone();
    test_history();
    drop_state();
    return tap_done();
}
