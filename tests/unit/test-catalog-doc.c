/* Checked files and syncs in the catalogue: what is in force, what is refused and kept, and
 * what outlives its name. */
#include "catalog-fake.h"

#include <sys/prctl.h>

static struct complaint complaint;

static node_id
id_of(node_id parent, const char *name)
{
    struct node n = {0};
    ctree_lookup(c, parent, name, &n);
    return n.id;
}

static int
commit(node_id sync, const char *name, const char *text, pid_t pid)
{
    struct caller who = {.uid = 1000, .gid = 100, .pid = pid};
    return cdoc_commit(c, sync, name, id_of(sync, name), str_of(text), &who, &complaint);
}

static const char *
log_of(node_id sync)
{
    static struct buf text = BUF_INIT(BUF_NO_MAX);
    AUTO_BUF struct buf uid = BUF_INIT(64);
    usec_t changed;
    buf_clear(&text);
    if (catalog_sync_uid(c, sync, &uid) < 0 ||
        catalog_log_text(c, buf_z(&uid), &text, &changed) < 0)
        return "(none)";
    return buf_z(&text);
}

static const char *
error_log(void)
{
    static struct buf text = BUF_INIT(BUF_NO_MAX);
    usec_t changed;
    buf_clear(&text);
    catalog_error_log_text(c, &text, &changed);
    return buf_z(&text);
}

static void
test_accept_and_refuse(void)
{
    node_id s = dir(NODE_SYNCS, "edit");
    struct node n;
    ntold = 0;
    CHECK(make(s, "config.json", NODE_FILE, NULL) == 0);
    CHECK_TEXT(config_in_force(s), "(none)");
    CHECK(put(s, "config.json", good_config) == 0);
    CHECK(was_told(s));
    CHECK_TEXT(config_in_force(s), good_config);
    CHECK_TEXT(get(s, "config.json"), good_config);
    CHECK(strstr(log_of(s), " uid=1000 pid=") && strstr(log_of(s), " comm=") &&
          !strstr(log_of(s), " comm=unknown"));
    CHECK(strstr(log_of(s), "edited config.json (accepted, ") != NULL);
    CHECK_TEXT(error_of(s), "");
    CHECK(ctree_write(c, id_of(s, "config.json"), STR("x")) == -EPERM);

    CHECK(put(s, "config.json", bad_config) == -EINVAL);
    CHECK(was_told(s));
    CHECK_TEXT(config_in_force(s), good_config);
    CHECK_TEXT(get(s, "config.json"), good_config);
    CHECK_TEXT(get(s, "config.json.rej"), bad_config);
    CHECK(ctree_lookup(c, s, "config.json.rej", &n) == 0 && n.mode == 0644 && n.uid == 1000);
    CHECK(ctree_write(c, n.id, STR("x")) == -EACCES);
    CHECK(mv(s, "config.json.rej", s, "x") == -EPERM);
    CHECK(strncmp(error_of(s), "config.json:1:", 14) == 0);
    CHECK(strstr(error_log(), " syncs/edit/config.json\n  config.json:1:") != NULL);
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct sync_texts texts;
    bool rejected[3];
    struct error err = ERROR_INIT;
    CHECK(catalog_sync_texts(c, s, &texts, &arena, rejected, &err) == 0 && rejected[0] &&
          !rejected[1] && !rejected[2] && !texts.mappings.p && !texts.mode.p);

    /* Another file's good edit leaves that reason alone; its own wipes it. */
    CHECK(put(s, "mode", "bogus\n") == -EINVAL);
    CHECK(strncmp(error_of(s), "mode:1", 6) == 0);
    CHECK(put(s, "mode", "upsert") == 0);
    CHECK(!exists(s, "mode.rej"));
    CHECK(strncmp(error_of(s), "config.json:1:", 14) == 0);
    reopen();
    CHECK_TEXT(get(s, "config.json.rej"), bad_config);
    CHECK(put(s, "config.json", good_config) == 0);
    CHECK(!exists(s, "config.json.rej"));
    CHECK_TEXT(error_of(s), "");

    CHECK(put(s, "config.json", bad_config) == -EINVAL);
    ntold = 0;
    CHECK(ctree_unlink(c, s, "config.json.rej", false, &me) == 0);
    CHECK(was_told(s));
    CHECK_TEXT(error_of(s), "");
    CHECK_TEXT(config_in_force(s), good_config);

    complaint = (struct complaint){.file = "mode", .text = "nothing was written"};
    CHECK(cdoc_note(c, s, &complaint) == 0);
    CHECK(strstr(error_of(s), "nothing was written") != NULL);
    CHECK(put(s, "mode", "insert\n") == 0);
    CHECK_TEXT(error_of(s), "");
}

/* vim: f → f~, a new f is refused, f~ → f. The reason must stay for the user to read. */
static void
test_editor_restores(void)
{
    node_id s = dir(NODE_SYNCS, "vim");
    put(s, "config.json", good_config);
    CHECK(mv(s, "config.json", s, "config.json~") == 0);
    CHECK_TEXT(config_in_force(s), "(none)");
    CHECK(make(s, "config.json", NODE_FILE, NULL) == 0);
    CHECK(put(s, "config.json", bad_config) == -EINVAL);
    CHECK(cdoc_abandon(c, s, "config.json", id_of(s, "config.json")) == 0);
    CHECK_TEXT(config_in_force(s), good_config);
    CHECK(ctree_unlink(c, s, "config.json", false, &me) == 0);
    CHECK(mv(s, "config.json~", s, "config.json") == 0);
    CHECK_TEXT(config_in_force(s), good_config);
    CHECK_TEXT(get(s, "config.json.rej"), bad_config);
    CHECK(strncmp(error_of(s), "config.json:1:", 14) == 0);
    /* The same bytes by another process are a decision. */
    CHECK(commit(s, "config.json", good_config, me.pid + 1) == 0);
    CHECK(!exists(s, "config.json.rej"));
    /* And other bytes by the same process are one, too. */
    CHECK(put(s, "mode", "upsert\n") == 0);
    CHECK(put(s, "mode", "bogus\n") == -EINVAL);
    CHECK(put(s, "mode", "upsert\n") == 0 && exists(s, "mode.rej"));
    CHECK(put(s, "mode", "insert\n") == 0 && !exists(s, "mode.rej"));
}

static void
test_tombstones(void)
{
    node_id s = dir(NODE_SYNCS, "tomb");
    struct node n, m;
    put(s, "config.json", good_config);
    n.mode = 0640;
    n.mtime = (struct timespec){1000, 5};
    ctree_set(c, id_of(s, "config.json"), TREE_MODE | TREE_MTIME, &n, &m);
    CHECK(ctree_unlink(c, s, "config.json", false, &me) == 0);
    CHECK(was_told(s));
    CHECK(strstr(log_of(s), "removed config.json") != NULL);
    CHECK_TEXT(config_in_force(s), "(none)");
    /* tar, git: a new file whose text is refused; the old one comes back as it was. */
    CHECK(make(s, "config.json", NODE_FILE, NULL) == 0);
    CHECK_TEXT(config_in_force(s), "(none)");
    CHECK(put(s, "config.json", bad_config) == -EINVAL);
    CHECK(cdoc_abandon(c, s, "config.json", id_of(s, "config.json")) == 0);
    CHECK_TEXT(config_in_force(s), good_config);
    CHECK_TEXT(get(s, "config.json"), good_config);
    CHECK(ctree_lookup(c, s, "config.json", &n) == 0 && n.mode == 0640 &&
          n.mtime.tv_sec == 1000 && n.mtime.tv_nsec == 5);
    /* Abandoning what is accepted changes nothing. */
    CHECK(cdoc_abandon(c, s, "config.json", n.id) == 0);
    CHECK_TEXT(config_in_force(s), good_config);
    /* Without anything accepted the name vanishes. */
    node_id made;
    CHECK(make(s, "mode", NODE_FILE, &made) == 0);
    CHECK(cdoc_abandon(c, s, "mode", made) == 0);
    CHECK(!exists(s, "mode") && ctree_get(c, made, &n) == 0);
    ctree_forget(c, made);
    /* A handle whose file was unlinked or replaced writes into nothing. */
    node_id old = id_of(s, "config.json");
    CHECK(ctree_unlink(c, s, "config.json", false, &me) == 0);
    CHECK(cdoc_commit(c, s, "config.json", old, STR("{"), &me, &complaint) == 0);
    CHECK(put(s, "config.json", good_config) == 0);
    CHECK(cdoc_commit(c, s, "config.json", old, STR("{"), &me, &complaint) == 0);
    CHECK_TEXT(config_in_force(s), good_config);
    CHECK_TEXT(get(s, "config.json.rej"), bad_config); /* of the edit before, not this one */
    CHECK(mv(s, "config.json", s, "x") == 0 && put(s, "mode", "upsert") == 0);
    CHECK(cdoc_commit(c, s, "config.json", id_of(s, "mode"), STR("{"), &me, &complaint) ==
          -ESTALE);
}

static void
test_rename_onto(void)
{
    node_id s = dir(NODE_SYNCS, "onto");
    put(s, "config.json", good_config);
    CHECK(put(s, "tmp", bad_config) == 0);
    CHECK(mv(s, "tmp", s, "config.json") == -EBADMSG);
    CHECK_TEXT(get(s, "tmp"), bad_config);
    CHECK_TEXT(get(s, "config.json.rej"), bad_config);
    CHECK_TEXT(config_in_force(s), good_config);
    char other[1024];
    snprintf(other, sizeof other, "%s\n", good_config);
    CHECK(put(s, "tmp", other) == 0);
    node_id tmp = id_of(s, "tmp");
    CHECK(mv(s, "tmp", s, "config.json") == 0);
    CHECK_TEXT(config_in_force(s), other);
    CHECK(id_of(s, "config.json") == tmp && !exists(s, "config.json.rej"));
    /* From one checked name to another: checked as what it becomes. */
    CHECK(put(s, "mode", "upsert\n") == 0);
    CHECK(mv(s, "mode", s, "config.json") == -EBADMSG);
    CHECK_TEXT(get(s, "mode"), "upsert\n");
    /* A mode that the present destination cannot do is refused as well. */
    CHECK(put(NODE_CONNECTIONS, "crm.json", good_connection) == 0);
    CHECK(put(s, "mode", "mirror\n") == -EINVAL);
    CHECK(put(s, "mode", "insert\n") == 0);
    CHECK(ctree_unlink(c, NODE_CONNECTIONS, "crm.json", false, &me) == 0);
    CHECK(put(s, "mode", "mirror\n") == 0); /* nobody knows any more */
}

static void
test_connections(void)
{
    struct world world = catalog_world(c);
    struct node node;
    CHECK(world.driver_of(world.arg, "shop") == NULL);
    ntold = 0;
    CHECK(put(NODE_CONNECTIONS, "shop.json", good_connection) == 0);
    CHECK(was_told(NODE_CONNECTIONS));
    CHECK(world.driver_of(world.arg, "shop") == &fake_driver);
    CHECK(put(NODE_CONNECTIONS, "shop.json", "{ \"driver\": 5 }") == -EINVAL);
    CHECK(world.driver_of(world.arg, "shop") == &fake_driver);
    CHECK(ctree_lookup(c, NODE_CONNECTIONS, "shop.json.rej", &node) == 0 && node.mode == 0600 &&
          node.uid == 7);
    AUTO_BUF struct buf kept = BUF_INIT(4096);
    CHECK(ctree_read(c, node.id, &kept) == 0);
    CHECK_TEXT(buf_z(&kept), "{ \"driver\": *** }");
    CHECK(strstr(error_log(), " connections/shop.json\n") != NULL);
    CHECK(put(NODE_CONNECTIONS, "notes.txt", "plain") == 0);
    CHECK(make(NODE_CONNECTIONS, "draft.json", NODE_FILE, NULL) == 0);
    AUTO_BUF struct buf text = BUF_INIT(4096);
    struct error err = ERROR_INIT;
    CHECK(catalog_connection_text(c, "draft", &text, &err) == -ENOENT);
    CHECK(catalog_connection_text(c, "shop", &text, &err) == 0);
    CHECK_TEXT(buf_z(&text), good_connection);
    CHECK(mv(NODE_CONNECTIONS, "shop.json", NODE_CONNECTIONS, "store.json") == 0);
    CHECK(!world.driver_of(world.arg, "shop"));
    CHECK(world.driver_of(world.arg, "store") == &fake_driver);
    CHECK(catalog_error_log_clear(c) == 0);
    CHECK_TEXT(error_log(), "");
}

/* ---- syncs ---- */

static void
uid_of(node_id sync, char uid[64])
{
    AUTO_BUF struct buf text = BUF_INIT(64);
    uid[0] = '\0';
    if (catalog_sync_uid(c, sync, &text) == 0)
        snprintf(uid, 64, "%s", buf_z(&text));
}

static usec_t later;

static usec_t
now_later(void)
{
    return later;
}

static void
test_syncs(void)
{
    char first[64], again[64];
    node_id s = dir(NODE_SYNCS, "sync");
    uid_of(s, first);
    CHECK(strlen(first) == 32);
    put(s, "mode", "upsert");
    put(s, "config.json", bad_config);
    CHECK(ctree_rmdir(c, NODE_SYNCS, "sync", &me) == -ENOTEMPTY);
    ctree_unlink(c, s, "mode", false, &me);
    ctree_unlink(c, s, "config.json", false, &me);
    CHECK(exists(s, "config.json.rej")); /* does not count */
    busy_dir = s;
    CHECK(ctree_rmdir(c, NODE_SYNCS, "sync", &me) == -EBUSY);
    CHECK(mv(NODE_SYNCS, "sync", NODE_SYNCS, "renamed") == -EBUSY);
    busy_dir = 0;
    ntold = 0;
    CHECK(ctree_rmdir(c, NODE_SYNCS, "sync", &me) == 0);
    CHECK(was_told(s));
    uid_of(s, again);
    CHECK_TEXT(again, "");
    CHECK(make(s, "x", NODE_FILE, NULL) == -ENOENT);

    /* The same name finds what it had. */
    node_id t = dir(NODE_SYNCS, "sync");
    uid_of(t, again);
    CHECK(t != s);
    CHECK_TEXT(again, first);
    CHECK_TEXT(config_in_force(t), "(none)");
    CHECK_TEXT(error_of(t), "");
    CHECK(strstr(log_of(t), "made the sync again") != NULL);

    /* A rename keeps it, and keeps what is in force. */
    put(t, "config.json", good_config);
    CHECK(mv(NODE_SYNCS, "sync", NODE_SYNCS, "bad name") == -EINVAL);
    CHECK(mv(NODE_SYNCS, "sync", NODE_SYNCS, "renamed") == 0);
    uid_of(t, again);
    CHECK_TEXT(again, first);
    CHECK_TEXT(config_in_force(t), good_config);
    node_id fresh = dir(NODE_SYNCS, "sync");
    uid_of(fresh, again);
    CHECK(strcmp(again, first) != 0);

    /* After 30 days the state is as good as gone. */
    ctree_unlink(c, t, "config.json", false, &me);
    CHECK(ctree_rmdir(c, NODE_SYNCS, "renamed", &me) == 0);
    later = clock_now() + INT64_C(31) * 86400 * 1000000;
    clock_replace(now_later);
    uid_of(dir(NODE_SYNCS, "renamed"), again);
    AUTO_BUF struct buf expired = BUF_INIT(64);
    CHECK(catalog_expired_sync(c, &expired) == 0);
    CHECK_TEXT(buf_z(&expired), first);
    CHECK(catalog_drop_sync(c, first) == 0);
    CHECK(catalog_drop_sync(c, again) == 0); /* not removed: stays */
    CHECK(catalog_expired_sync(c, &expired) == -ENOENT);
    clock_replace(NULL);
    uid_of(id_of(NODE_SYNCS, "renamed"), again);
    CHECK(strlen(again) == 32 && strcmp(again, first) != 0);
}

/* Directories that become syncs and stop being ones. */
static void
test_conversions(void)
{
    char uid[64], again[64];
    node_id d = dir(NODE_SYNCS, ".new");
    put(d, "config.json", good_config);
    put(d, "mappings.csv", "nonsense");
    CHECK(mv(NODE_SYNCS, ".new", NODE_SYNCS, "conv") == -EBADMSG);
    CHECK(exists(NODE_SYNCS, ".new") && strstr(error_log(), "syncs/conv/mappings.csv"));
    put(d, "mappings.csv", good_mappings);
    CHECK(mv(NODE_SYNCS, ".new", NODE_SYNCS, "conv") == 0);
    uid_of(d, uid);
    CHECK(strlen(uid) == 32);
    CHECK_TEXT(config_in_force(d), good_config);
    put(d, "config.json", bad_config);
    CHECK(mv(NODE_SYNCS, "conv", NODE_SYNCS, ".old") == 0);
    CHECK(!exists(d, "config.json.rej"));
    CHECK_TEXT(config_in_force(d), "(none)");
    CHECK(put(d, "config.json", "anything") == 0);
    uid_of(dir(NODE_SYNCS, "conv"), again);
    CHECK_TEXT(again, uid);
    put(d, "status", "x");
    put(d, "config.json", good_config);
    CHECK(mv(NODE_SYNCS, ".old", NODE_SYNCS, "conv2") == -EPERM);
    /* Over an empty sync: that one is removed, this one takes the name. */
    node_id e = dir(NODE_SYNCS, "empty"), f = dir(NODE_SYNCS, "taker");
    uid_of(f, uid);
    CHECK(mv(NODE_SYNCS, "taker", NODE_SYNCS, "empty") == 0);
    uid_of(f, again);
    CHECK_TEXT(again, uid);
    uid_of(e, again);
    CHECK_TEXT(again, "");
}

static void
test_logs(void)
{
    struct error err = ERROR_INIT;
    char uid[64];
    node_id s = dir(NODE_SYNCS, "logs");
    uid_of(s, uid);
    CHECK(catalog_log(c, uid, "two\nlines") == 0);
    CHECK(strstr(log_of(s), "Z two?lines\n") != NULL);
    CHECK(catalog_log(c, uid,
                      "red \xC2\x9B"
                      "31m \xFF caf\xC3\xA9") == 0);
    CHECK(strstr(log_of(s), "Z red ??31m ? caf\xC3\xA9\n") != NULL);
    char comm[16] = "";
    prctl(PR_GET_NAME, comm);
    prctl(PR_SET_NAME, "a\tuid=0 \xC2\x9B");
    CHECK(put(s, "mode", "upsert\n") == 0);
    prctl(PR_SET_NAME, comm);
    CHECK(strstr(log_of(s), " comm=a?uid=0??? edited mode ") != NULL);
    size_t start = strlen(log_of(s));
    catalog_begin(c, &err);
    for (int i = 0; i < CATALOG_LOG_LINES; i++)
        catalog_log(c, uid, "a");
    catalog_commit(c, &err);
    CHECK(strlen(log_of(s)) > start && strstr(log_of(s), "made the sync") != NULL);
    catalog_begin(c, &err);
    for (int i = 0; i < 1000; i++)
        catalog_log(c, uid, "b");
    catalog_commit(c, &err);
    CHECK(strstr(log_of(s), "made the sync") == NULL);
    size_t lines = 0;
    for (const char *at = log_of(s); *at; at++)
        lines += *at == '\n';
    CHECK(lines >= CATALOG_LOG_LINES && lines < CATALOG_LOG_LINES + 1000);
    catalog_begin(c, &err);
    for (int i = 0; i < CATALOG_ERROR_LOG + 5; i++)
        catalog_error_log(c, i < 5 ? "old" : "new", "text\nmore");
    catalog_commit(c, &err);
    CHECK(!strstr(error_log(), "old") && strstr(error_log(), "Z new\n  text\n  more\n"));
}

static void
test_history(void)
{
    struct error err = ERROR_INIT;
    struct sql *q;
    int64_t n = 0, top = 0;
    node_id s = dir(NODE_SYNCS, "history-of");
    catalog_begin(c, &err);
    for (int i = 0; i < CATALOG_HISTORY + 20; i++)
        put(s, "mode", i % 2 ? "upsert" : i % 4 ? "insert" : "bogus");
    catalog_commit(c, &err);
    CHECK(catalog_read(c, &q, &err) == 0);
    sql_one_int(q, &err, &n,
                "SELECT count(*) FROM history JOIN sync ON sync = sync.uid WHERE node = ?1",
                "i", (int64_t)s);
    sql_one_int(q, &err, &top,
                "SELECT max(number) FROM history JOIN sync ON sync = sync.uid"
                " WHERE node = ?1 AND NOT accepted",
                "i", (int64_t)s);
    catalog_read_end(c, q);
    CHECK(n <= CATALOG_HISTORY && n > 60);
    CHECK(top > 0);
}

int
main(void)
{
    make_state();
    test_accept_and_refuse();
    test_editor_restores();
    test_tombstones();
    test_rename_onto();
    test_connections();
    test_syncs();
    test_conversions();
    test_logs();
    test_history();
    drop_state();
    return tap_done();
}
