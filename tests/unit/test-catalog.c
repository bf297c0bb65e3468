/* The catalogue as a place: its lock, its format, what survives a kill, and the tree in it. */
#include "catalog-fake.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "catalog/catalog_private.h"

/* ---- opening ---- */

static void
test_lock(void)
{
    struct catalog *other = NULL;
    struct error err = ERROR_INIT;
    char want[64];
    CHECK(try_open(&other, &err) == -EBUSY);
    snprintf(want, sizeof want, "in use by another retlfs (pid %ld)", (long)getpid());
    CHECK(strstr(err.text, want) != NULL);
    CHECK_TEXT(get(NODE_SYNCS, "x"), "(missing)"); /* the first one goes on */
    reopen();
}

/* A state of the first format gets what the later ones added. */
static void
test_upgrade(void)
{
    struct node n;
    struct error err = ERROR_INIT;
    node_id kept = dir(NODE_SYNCS, "kept");
    CHECK(put(kept, "mode", "upsert\n") == 0);
    CHECK(make(NODE_CONFIG, "README.md", NODE_FILE, NULL) == 0);
    CHECK(dir(NODE_CONFIG, "syncs-to-be") >= NODE_FIRST_FREE);
    tamper(
        "DELETE FROM node WHERE parent = 18 OR id IN (18, 19); ALTER TABLE node DROP COLUMN "
        "atime;"
        "ALTER TABLE sync DROP COLUMN trigger_mode; ALTER TABLE sync DROP COLUMN trigger_uid;"
        "ALTER TABLE sync DROP COLUMN trigger_gid; ALTER TABLE node DROP COLUMN sum;"
        "ALTER TABLE doc DROP COLUMN sum; ALTER TABLE history DROP COLUMN sum;"
        "ALTER TABLE sync DROP COLUMN sum; ALTER TABLE run DROP COLUMN sum;"
        "ALTER TABLE run DROP COLUMN texts_sum; ALTER TABLE left_out DROP COLUMN sum;"
        "UPDATE sqlite_sequence SET seq = 5000 WHERE name = 'node'; PRAGMA user_version = 1");
    CHECK(try_open(&c, &err) == 0);
    CHECK(dir(NODE_SYNCS, "made-later") == 5001);
    CHECK(ctree_get(c, NODE_CONFIG, &n) == 0 && n.kind == NODE_DIR);
    CHECK(ctree_lookup(c, NODE_SYNCS, "kept", &n) == 0 && n.id == kept);
    struct sync_texts texts;
    bool rejected[3];
    AUTO_ARENA struct arena arena = ARENA_INIT;
    CHECK(catalog_sync_texts(c, kept, &texts, &arena, rejected, &err) == 0);
    CHECK_TEXT(texts.mode.p, "upsert\n");
    CHECK_TEXT(get(kept, "mode"), "upsert\n");
    CHECK(ctree_lookup(c, NODE_CONFIG, "README.md", &n) == -ENOENT);
    CHECK(ctree_rmdir(c, 1, "config", &me) == -EPERM);
    CHECK(ctree_get(c, NODE_DRIVERS, &n) == 0 && n.kind == NODE_DIR);

    node_id users = dir(NODE_CONFIG, "x");
    tamper("DELETE FROM node WHERE id = 19; UPDATE node SET name = 'drivers' WHERE name = 'x';"
           "PRAGMA user_version = 4");
    CHECK(try_open(&c, &err) == 0);
    CHECK(ctree_lookup(c, NODE_CONFIG, "drivers.before", &n) == 0 && n.id == users);
    CHECK(ctree_get(c, NODE_DRIVERS, &n) == 0);
    fresh_state();
}

static void
overwrite(off_t at, size_t n)
{
    AUTO_CLOSE int fd = openat(state_fd, "catalogue.db", O_WRONLY | O_CLOEXEC);
    char junk[8192];
    memset(junk, 'x', sizeof junk);
    c = catalog_close(c);
    if (pwrite(fd, junk, n, at) != (ssize_t)n)
        printf("# cannot overwrite\n");
}

static void
test_refused_states(void)
{
    struct error err = ERROR_INIT;
    tamper("PRAGMA user_version = 99");
    CHECK(try_open(&c, &err) == -EPROTONOSUPPORT);
    CHECK(strstr(err.text, "newer retlfs (format 99, this one knows 5)") != NULL);
    fresh_state();

    tamper("PRAGMA application_id = 5");
    CHECK(try_open(&c, &err) == -EIO);
    CHECK(strstr(err.text, "belongs to another program") != NULL);
    fresh_state();

    overwrite(0, 100);
    CHECK(try_open(&c, &err) == -EIO);
    CHECK(strstr(err.text, "damaged") != NULL);
    fresh_state();

    overwrite(4096, 8192);
    CHECK(try_open(&c, &err) == -EIO);
    CHECK(strstr(err.text, "damaged") != NULL);
    fresh_state();

    struct stat st;
    CHECK(fstatat(state_fd, "catalogue.db", &st, 0) == 0 && (st.st_mode & 077) == 0);
    CHECK(exists(ROOT, "syncs") && exists(ROOT, "connections"));
}

/* A daemon forks after it has opened its state. */
static void
test_fork(void)
{
    node_id id = dir(NODE_SYNCS, "forked");
    catalog_suspend(c);
    pid_t child = fork();
    if (child == 0) {
        int rc = put(id, "config.json", good_config);
        char pid[16] = {0}, want[16];
        snprintf(want, sizeof want, "%ld\n", (long)getpid());
        AUTO_CLOSE int fd = openat(state_fd, "lock", O_RDONLY | O_CLOEXEC);
        rc |= read(fd, pid, sizeof pid - 1) <= 0 || strcmp(pid, want) != 0;
        catalog_suspend(c);
        _exit(rc == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    CHECK_TEXT(get(id, "config.json"), good_config);
}

/* ---- what was told to be kept is kept ---- */

static void
commit_forever(node_id id, node_id config, int pipe_fd)
{
    struct complaint complaint;
    char text[1024];
    for (uint64_t i = 1;; i++) {
        snprintf(text, sizeof text, "%s%*s", good_config, (int)(i % 100), "");
        if (cdoc_commit(c, id, "config.json", config, str_of(text), &me, &complaint) < 0)
            _exit(1);
        if (write(pipe_fd, &i, sizeof i) != (ssize_t)sizeof i)
            _exit(1);
    }
}

static void
test_kill(void)
{
    node_id id = dir(NODE_SYNCS, "killed"), config;
    make(id, "config.json", NODE_FILE, &config);
    for (int round = 0; round < 5; round++) {
        int ends[2];
        catalog_close(c);
        if (pipe(ends) < 0)
            exit(1);
        pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            open_state();
            commit_forever(id, config, ends[1]);
        }
        close(ends[1]);
        uint64_t acknowledged = 0, i;
        while (read(ends[0], &i, sizeof i) == (ssize_t)sizeof i) {
            acknowledged = i;
            if (i == 20 + (uint64_t)round)
                kill(child, SIGKILL);
        }
        waitpid(child, NULL, 0);
        close(ends[0]);
        open_state();
        size_t pad = strlen(get(id, "config.json")) - strlen(good_config);
        CHECK(acknowledged >= 20 && acknowledged < 99);
        CHECK(pad == acknowledged || pad == acknowledged + 1);
        CHECK_TEXT(config_in_force(id), get(id, "config.json"));
    }
}

static void
test_transactions(void)
{
    struct error err = ERROR_INIT;
    struct sql *q;
    int64_t n = 0;
    node_id id = dir(NODE_SYNCS, "tx");
    ntold = 0;
    CHECK(catalog_begin(c, &err) == 0);
    CHECK(put(id, "config.json", good_config) == 0);
    CHECK(mv(id, "nothing", id, "x") == -ENOENT); /* a part that fails takes nothing along */
    CHECK_TEXT(get(id, "config.json"), good_config);
    CHECK(ntold == 0);
    catalog_rollback(c);
    CHECK_TEXT(get(id, "config.json"), "(missing)");
    CHECK(!was_told(id));

    CHECK(catalog_begin(c, &err) == 0);
    CHECK(put(id, "mode", "upsert\n") == 0);
    CHECK(sql_exec(catalog_sql(c), &err, "UPDATE sync SET last_run = ?1 WHERE node = ?2", "ii",
                   INT64_C(5), (int64_t)id) == 0);
    CHECK(catalog_commit(c, &err) == 0);
    CHECK(was_told(id));
    CHECK(catalog_read(c, &q, &err) == 0);
    CHECK(sql_one_int(q, &err, &n, "SELECT last_run FROM sync WHERE node = ?1", "i",
                      (int64_t)id) == 0);
    CHECK(sql_exec(q, &err, "DELETE FROM sync", "") < 0); /* the reader only reads */
    catalog_read_end(c, q);
    CHECK(n == 5);
    CHECK(sql_select(catalog_sql(c), &(struct sql_rows){0}, &err, "SELEC", "") < 0);
}

/* ---- many at once ---- */

enum { ROUNDS = 60 };
static node_id shared_sync;
static atomic_int faults;

static void *
edit_and_ask(void *arg)
{
    struct complaint complaint;
    struct node n, made;
    struct world world = catalog_world(c);
    struct caller who = {.uid = 1, .pid = getpid()};
    char name[16];
    snprintf(name, sizeof name, "f%ld", (long)(intptr_t)arg);
    for (int i = 0; i < ROUNDS; i++) {
        AUTO_ARENA struct arena arena = ARENA_INIT;
        struct sync_texts texts;
        bool rejected[3];
        int rc = ctree_lookup(c, shared_sync, "mode", &n);
        rc |= cdoc_commit(c, shared_sync, "mode", n.id, i % 2 ? STR("upsert") : STR("insert\n"),
                          &who, &complaint);
        rc |= ctree_make(c, shared_sync, name, NODE_FILE, 0600, NULL, &who, &made);
        rc |= ctree_write(c, made.id, STR("text"));
        struct error err = ERROR_INIT;
        rc |= catalog_sync_texts(c, shared_sync, &texts, &arena, rejected, &err);
        rc |= texts.mode.n == 0 || texts.mode.n > 7;
        world.driver_of(world.arg, "shop");
        rc |=
            ctree_rename(c, shared_sync, name, shared_sync, "common", false, &who, &complaint);
        if (rc != 0)
            atomic_fetch_add(&faults, 1);
    }
    return NULL;
}

static void
test_threads(void)
{
    pthread_t threads[4];
    shared_sync = dir(NODE_SYNCS, "shared");
    put(shared_sync, "mode", "upsert");
    for (intptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, edit_and_ask, (void *)i);
    for (int i = 0; i < ROUNDS; i++)
        if (put(NODE_CONNECTIONS, "shop.json", good_connection) < 0)
            atomic_fetch_add(&faults, 1);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK(faults == 0);
    CHECK_TEXT(get(shared_sync, "common"), "text");
    ntold = 0;
}

/* ---- the tree ---- */

static int
join_names(void *arg, const char *name, const struct node *n)
{
    buf_addf(arg, "%s%c", name, n->kind == NODE_DIR ? '/' : n->kind == NODE_LINK ? '@' : ' ');
    return 0;
}

static int
count_names(void *arg, const char *name, const struct node *n)
{
    size_t *count = arg;
    return ++*count == 100 ? 42 : 0;
}

static void
test_tree(void)
{
    AUTO_BUF struct buf names = BUF_INIT(4096);
    struct node n, m;
    node_id a = dir(NODE_SYNCS, "a"), sub = dir(a, "sub"), id;
    CHECK(a >= NODE_FIRST_FREE);
    CHECK(was_told(a));
    CHECK(make(a, "plain", NODE_FILE, &id) == 0);
    CHECK(make(a, "plain", NODE_FILE, NULL) == -EEXIST);
    CHECK(make(a, ".#plain", NODE_LINK, NULL) == 0);
    CHECK(make(id, "x", NODE_FILE, NULL) == -ENOTDIR);
    CHECK(make(999999, "x", NODE_FILE, NULL) == -ENOENT);
    CHECK(make(ROOT, "x", NODE_DIR, NULL) == -EPERM);
    CHECK(ctree_list(c, a, NULL, join_names, &names) == 0);
    CHECK_TEXT(buf_z(&names), ".#plain@plain sub/");
    buf_clear(&names);
    CHECK(ctree_list(c, a, "plain", join_names, &names) == 0);
    CHECK_TEXT(buf_z(&names), "sub/");
    CHECK_TEXT(get(a, ".#plain"), "to");

    CHECK(ctree_get(c, id, &n) == 0 && n.parent == a && n.uid == 1000 && n.gid == 100 &&
          n.mode == 0644 && n.size == 0 && n.kind == NODE_FILE);
    CHECK(ctree_write(c, id, STR("hello")) == 0);
    CHECK_TEXT(get(a, "plain"), "hello");
    n.mode = 0600;
    n.mtime = (struct timespec){-5, 123456789};
    CHECK(ctree_set(c, id, TREE_MODE | TREE_MTIME, &n, &m) == 0);
    CHECK(m.mode == 0600 && m.mtime.tv_sec == -5 && m.mtime.tv_nsec == 123456789 &&
          m.size == 5 && m.uid == 1000);
    n.mtime = (struct timespec){INT64_MAX, 999999999};
    CHECK(ctree_set(c, id, TREE_MTIME, &n, &m) == 0 && m.mtime.tv_sec > 9000000000);
    CHECK(ctree_write(c, sub, STR("x")) == -EISDIR);
    CHECK(ctree_set(c, 999999, TREE_MODE, &n, &m) == -ENOENT);

    /* Unlinked, it lives on until it is forgotten. */
    CHECK(ctree_unlink(c, a, "sub", false, &me) == -EISDIR);
    CHECK(ctree_unlink(c, a, "plain", false, &me) == 0);
    CHECK(ctree_unlink(c, a, "plain", false, &me) == -ENOENT);
    CHECK(!exists(a, "plain"));
    CHECK(ctree_write(c, id, STR("still")) == 0);
    buf_clear(&names);
    CHECK(ctree_read(c, id, &names) == 0 && str_is(buf_str(&names), "still"));
    CHECK(ctree_name(c, id, &names) == -ENOENT);
    ctree_forget(c, sub); /* linked: stays */
    CHECK(exists(a, "sub"));
    ctree_forget(c, id);
    CHECK(ctree_get(c, id, &n) == -ENOENT);
    CHECK(ctree_rmdir(c, a, ".#plain", &me) == -ENOTDIR);
    CHECK(ctree_rmdir(c, NODE_SYNCS, "a", &me) == -ENOTEMPTY);
    CHECK(ctree_rmdir(c, ROOT, "syncs", &me) == -EPERM);

    node_id old = id;
    CHECK(make(a, "gone", NODE_FILE, &id) == 0 && id > old);
    ctree_unlink(c, a, "gone", false, &me);
    reopen(); /* nobody can hold it open any more */
    CHECK(ctree_get(c, id, &n) == -ENOENT);
    CHECK(ctree_get(c, sub, &n) == 0);
}

static void
test_names(void)
{
    static const char *const odd[] = {
        "with space", "caf\xC3\xA9", "new\nline", "100%", "-rf", "'\"\\",
        "\xFF\xFE",   "a;DROP",      ".f.swp",    "4913", "f~",  "#f#",
    };
    node_id a = dir(NODE_SYNCS, "names");
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        AUTO_BUF struct buf name = BUF_INIT(256);
        struct node n;
        CHECK(put(a, odd[i], odd[i]) == 0);
        CHECK(ctree_lookup(c, a, odd[i], &n) == 0 && ctree_name(c, n.id, &name) == 0 &&
              strcmp(buf_z(&name), odd[i]) == 0);
        CHECK(strcmp(get(a, odd[i]), odd[i]) == 0);
    }
    size_t count = 0;
    CHECK(ctree_list(c, a, NULL, count_names, &count) == 0 &&
          count == sizeof odd / sizeof *odd);
    char longest[258];
    memset(longest, 'x', sizeof longest);
    longest[255] = '\0';
    CHECK(put(a, longest, "255") == 0);
    CHECK_TEXT(get(a, longest), "255");
    longest[255] = 'x';
    longest[256] = '\0';
    CHECK(make(a, longest, NODE_FILE, NULL) == -ENAMETOOLONG);
    CHECK(make(a, "", NODE_FILE, NULL) == -EINVAL);
    CHECK(make(a, "..", NODE_FILE, NULL) == -EINVAL);
    CHECK(make(a, "a/b", NODE_FILE, NULL) == -EINVAL);

    static const char *const engine[] = {
        "trigger",  "status", "status.json", "error",   "log",      "modes",          "pending",
        "rejected", "runs",   "explain",     "history", "mode.rej", "config.json.rej"};
    for (size_t i = 0; i < sizeof engine / sizeof *engine; i++) {
        CHECK(make(a, engine[i], NODE_FILE, NULL) == -EPERM);
        CHECK(mv(a, "4913", a, engine[i]) == -EPERM);
    }
    CHECK(make(a, "mode", NODE_DIR, NULL) == -EPERM);
    CHECK(make(a, "config.json", NODE_LINK, NULL) == -EPERM);
    CHECK(make(a, "foo.rej", NODE_FILE, NULL) == 0);
    CHECK(make(NODE_CONNECTIONS, "x.json.rej", NODE_FILE, NULL) == -EPERM);
    CHECK(make(NODE_CONNECTIONS, "status", NODE_FILE, NULL) == 0);

    CHECK(make(NODE_SYNCS, "bad name", NODE_DIR, NULL) == -EINVAL);
    CHECK(make(NODE_SYNCS, "caf\xC3\xA9", NODE_DIR, NULL) == -EINVAL);
    CHECK(make(NODE_SYNCS, "-x", NODE_DIR, NULL) == -EINVAL);
    CHECK(make(NODE_SYNCS, "a.b@c+d-e_1", NODE_DIR, NULL) == 0);
    CHECK(make(NODE_SYNCS, "README.md", NODE_FILE, NULL) == 0);
    AUTO_BUF struct buf uid = BUF_INIT(64);
    static const char *const driver_files[] = {"README", "modes", "options.json", "error",
                                               "connector.json.rej"};
    node_id mine = dir(NODE_DRIVERS, "mine");
    for (size_t i = 0; i < sizeof driver_files / sizeof *driver_files; i++)
        CHECK(make(mine, driver_files[i], NODE_FILE, NULL) == -EPERM);
    CHECK(make(mine, "connector.json", NODE_DIR, NULL) == -EPERM);
    CHECK(make(mine, "trigger", NODE_FILE, NULL) == 0);
    CHECK(make(NODE_DRIVERS, "bad name", NODE_DIR, NULL) == -EINVAL);
    CHECK(make(NODE_DRIVERS, "db", NODE_DIR, NULL) == -EPERM); /* is built in */
    CHECK(mv(NODE_DRIVERS, "mine", NODE_DRIVERS, "db") == -EPERM);
    CHECK(make(NODE_DRIVERS, "connector.schema.json", NODE_FILE, NULL) == -EPERM);
    CHECK(make(NODE_DRIVERS, "README.md", NODE_FILE, NULL) == 0);
    CHECK(cdoc_kind(c, mine, "connector.json") == TEXT_CONNECTOR);
    CHECK(cdoc_kind(c, mine, "config.json") == TEXT_PLAIN);
    CHECK(cdoc_kind(c, a, "connector.json") == TEXT_PLAIN);
    node_id dot = dir(NODE_SYNCS, ".git");
    CHECK(dot != 0 && catalog_sync_uid(c, dot, &uid) == -ENOENT);
    CHECK(cdoc_kind(c, dot, "config.json") == TEXT_PLAIN);
    CHECK(cdoc_kind(c, a, "config.json") == TEXT_CONFIG);
    CHECK(cdoc_kind(c, NODE_CONNECTIONS, "a.json") == TEXT_CONNECTION);
}

static void
test_limits(void)
{
    struct error err = ERROR_INIT;
    node_id a = dir(NODE_SYNCS, "limits"), deep, id = 0;
    char name[32];
    int rc = 0;
    catalog_begin(c, &err); /* one fsync for all */
    for (int i = 0; rc == 0 && i < CATALOG_SYNC_NODES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        rc = make(a, name, NODE_FILE, &id);
    }
    CHECK(rc == 0);
    CHECK(make(a, "more", NODE_FILE, NULL) == -EDQUOT);
    node_id b = dir(NODE_SYNCS, "other");
    CHECK(make(b, "more", NODE_FILE, NULL) == 0);
    CHECK(mv(b, "more", a, "more") == -EDQUOT);
    CHECK(mv(b, "more", a, "f0") == 0);
    CHECK(mv(a, "f1", a, "renamed") == 0);
    for (rc = 0, deep = b; rc == 0; deep = id)
        rc = make(deep, "d", NODE_DIR, &id);
    CHECK(rc == -ENAMETOOLONG);
    size_t count = 0;
    CHECK(ctree_list(c, a, NULL, count_names, &count) == 42 && count == 100);
    catalog_rollback(c);

    AUTO_BUF struct buf big = BUF_INIT(BUF_NO_MAX);
    a = dir(NODE_SYNCS, "limits2");
    make(a, "big", NODE_FILE, &id);
    memset(buf_room(&big, CATALOG_FILE_MAX + 1), 'x', CATALOG_FILE_MAX + 1);
    CHECK(ctree_write(c, id, (struct str){big.p, CATALOG_FILE_MAX + 1}) == -EFBIG);
    CHECK(ctree_write(c, id, (struct str){big.p, CATALOG_FILE_MAX}) == 0);
    settings.bytes_max = CATALOG_FILE_MAX + 10000;
    reopen();
    CHECK(put(a, "small", "x") == 0);
    make(a, "big2", NODE_FILE, &id);
    CHECK(ctree_write(c, id, (struct str){big.p, 10001}) == -EDQUOT);
    CHECK_TEXT(get(a, "big2"), "");
    CHECK(ctree_unlink(c, a, "big", false, &me) == 0);
    reopen(); /* purges it */
    CHECK(ctree_write(c, id, (struct str){big.p, 10001}) == 0);
    settings.bytes_max = 0;
    reopen();

    catalog_begin(c, &err);
    for (int i = 0; (rc = make(NODE_SYNCS, name, NODE_DIR, NULL)) == 0 || rc == -EEXIST; i++)
        snprintf(name, sizeof name, "s%d", i);
    CHECK(rc == -EDQUOT);
    catalog_rollback(c);
}

static void
test_rename(void)
{
    struct complaint complaint;
    node_id a = dir(NODE_SYNCS, "ra"), x = dir(a, "x"), y = dir(x, "y");
    put(a, "f", "F");
    put(a, "g", "G");
    CHECK(mv(a, "none", a, "h") == -ENOENT);
    CHECK(ctree_rename(c, a, "f", a, "g", true, &me, &complaint) == -EEXIST);
    CHECK(mv(a, "f", a, "f") == 0);
    CHECK(mv(a, "f", a, "g") == 0);
    CHECK_TEXT(get(a, "g"), "F");
    CHECK(!exists(a, "f"));
    CHECK(mv(a, "g", a, "x") == -EISDIR);
    CHECK(mv(a, "x", a, "g") == -ENOTDIR);
    CHECK(mv(a, "x", y, "z") == -EINVAL);
    CHECK(mv(a, "x", x, "z") == -EINVAL);
    CHECK(dir(a, "full") && put(y, "in", "I") == 0);
    CHECK(mv(a, "full", x, "y") == -ENOTEMPTY);
    CHECK(mv(x, "y", a, "full") == 0);
    CHECK_TEXT(get(y, "in"), "I");
    CHECK(mv(a, "g", ROOT, "g") == -EPERM);
    CHECK(mv(ROOT, "syncs", a, "s") == -EPERM);
    CHECK(mv(a, "g", a, "") == -EINVAL);
    CHECK(mv(a, "g", 999999, "g") == -ENOENT);
    CHECK(make(a, "l", NODE_LINK, NULL) == 0);
    CHECK(mv(a, "l", a, "config.json") == -EPERM);
    struct node before, after;
    ctree_get(c, x, &before);
    CHECK(mv(a, "g", x, "g") == 0);
    ctree_get(c, x, &after);
    CHECK(after.mtime.tv_sec > before.mtime.tv_sec ||
          after.mtime.tv_nsec > before.mtime.tv_nsec);
}

int
main(void)
{
    make_state();
    test_lock();
    test_upgrade();
    test_refused_states();
    test_fork();
    test_kill();
    test_transactions();
    test_threads();
    test_tree();
    test_names();
    test_limits();
    test_rename();
    drop_state();
    return tap_done();
}
