/* Users' drivers in the catalogue: what is in force, who holds it, what is damaged. */
#include "catalog-fake.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200, THREADS = 3 };

/* ---- a maker of drivers that says how many are alive ---- */

struct made {
    struct driver driver;
    atomic_uint holders;
    char name[64], manifest[256];
};

static atomic_int alive;

static struct made *
made_of(const struct driver *d)
{
    return (struct made *)(uintptr_t)d;
}

static void
hold(const struct driver *d)
{
    atomic_fetch_add(&made_of(d)->holders, 1);
}

static void
let_go(const struct driver *d)
{
    if (atomic_fetch_sub(&made_of(d)->holders, 1) != 1)
        return;
    atomic_fetch_sub(&alive, 1);
    free(made_of(d));
}

/* A manifest is good unless it holds "bad", and then the fault is at /calls/1/b; for one that
 * holds "much" there is no memory. */
static int
make_driver(const char *name, struct str manifest, const struct driver **ret, struct error *err)
{
    if (memmem(manifest.p, manifest.n, "bad", 3))
        return error_set(err, ERR_CONFIG, EINVAL, "/calls/1/b: is bad; be good");
    bool much = memmem(manifest.p, manifest.n, "much", 4) != NULL;
    struct made *m = much ? NULL : calloc(1, sizeof *m);
    if (!m)
        return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->manifest, sizeof m->manifest, "%.*s", (int)manifest.n, manifest.p);
    m->driver = fake_driver;
    m->driver.name = m->name;
    m->driver.manifest = m->manifest;
    m->driver.hold = hold;
    m->driver.let_go = let_go;
    atomic_init(&m->holders, 1);
    atomic_fetch_add(&alive, 1);
    *ret = &m->driver;
    return 0;
}

static const struct driver_maker maker = {.schema = "{}", .make = make_driver};

/* The manifest behind a user's driver, or why there is none. */
static const char *
behind(const char *name)
{
    static char text[2048];
    AUTO_DRIVER const struct driver *d = NULL;
    struct complaint why = {0};
    const struct world world = catalog_world(c);
    int rc = world.users_driver(world.arg, name, &d, &why);
    AUTO_BUF struct buf line = BUF_INIT(2048);
    if (rc == -EINVAL)
        complaint_line(&why, &line);
    snprintf(text, sizeof text, "%s",
             d               ? d->manifest
             : rc == -ENOENT ? "(none)"
                             : buf_z(&line));
    return text;
}

static const char *
driver_of(const char *connection)
{
    static char name[64];
    const struct world world = catalog_world(c);
    AUTO_DRIVER const struct driver *d = world.driver_of(world.arg, connection);
    snprintf(name, sizeof name, "%s", d ? d->name : "(none)");
    return name;
}

static void
test_in_force(void)
{
    CHECK_TEXT(behind("mine"), "(none)");
    node_id mine = dir(NODE_DRIVERS, "mine");
    CHECK(was_told(NODE_DRIVERS));
    CHECK_TEXT(behind("mine"), "drivers/mine/connector.json: error: it is not written yet");
    CHECK(put(mine, "connector.json", "{\"v\": 1}") == 0);
    CHECK(was_told(NODE_DRIVERS));
    CHECK_TEXT(behind("mine"), "{\"v\": 1}");

    const struct world world = catalog_world(c);
    const struct driver *first = NULL, *again = NULL;
    struct complaint why;
    CHECK(world.users_driver(world.arg, "mine", &first, &why) == 0);
    CHECK(world.users_driver(world.arg, "mine", &again, &why) == 0);
    CHECK(first == again && alive == 1);
    driver_unref(again);
    CHECK(put(mine, "connector.json", "{\"v\": 2}") == 0);
    CHECK_TEXT(behind("mine"), "{\"v\": 2}");
    CHECK(alive == 2); /* the first is held */
    CHECK_TEXT(first->manifest, "{\"v\": 1}");
    driver_unref(first);
    CHECK(alive == 1);

    CHECK(put(mine, "connector.json", "{\"calls\": [1,\n {\"b\": \"bad\"}]}") == -EINVAL);
    CHECK_TEXT(behind("mine"), "{\"v\": 2}");
    AUTO_BUF struct buf error = BUF_INIT(4096);
    usec_t at;
    CHECK(catalog_error_text(c, mine, &error, &at) == 0);
    CHECK_TEXT(buf_z(&error), "connector.json:2:8: error: is bad\n   {\"b\": \"bad\"}]}\n"
                              "         ^\nbe good\n");
    reopen();
    CHECK(alive == 0);
    CHECK_TEXT(behind("mine"), "{\"v\": 2}");
}

static void
test_connections(void)
{
    struct complaint complaint;
    CHECK(put(NODE_CONNECTIONS, "to.json", "{\"driver\": \"mine\", \"path\": \"/x\"}") == 0);
    CHECK_TEXT(driver_of("to"), "mine");
    CHECK(ctree_rename(c, NODE_DRIVERS, "mine", NODE_DRIVERS, "other", false, &me,
                       &complaint) == -EBUSY);
    struct node mine;
    CHECK(ctree_lookup(c, NODE_DRIVERS, "mine", &mine) == 0);
    CHECK(ctree_unlink(c, mine.id, "connector.json", true, &me) == 0);
    CHECK_TEXT(driver_of("to"), "(none)");
    CHECK(ctree_rmdir(c, NODE_DRIVERS, "mine", &me) == -EBUSY);
    AUTO_BUF struct buf log = BUF_INIT(65536);
    usec_t at;
    CHECK(catalog_error_log_text(c, &log, &at) == 0);
    CHECK(strstr(buf_z(&log), "cannot be removed: connections/to.json uses it") != NULL);
    CHECK(put(mine.id, "connector.json", "{\"v\": 3}") == 0);
    CHECK_TEXT(driver_of("to"), "mine");

    /* before its driver is there; but a slip is one */
    CHECK(put(NODE_CONNECTIONS, "early.json", "{\"driver\": \"tomorrow\"}") == 0);
    CHECK(put(NODE_CONNECTIONS, "slip.json", "{\"driver\": \"mien\"}") == -EINVAL);
    CHECK_TEXT(driver_of("early"), "(none)");
    node_id tomorrow = dir(NODE_DRIVERS, "tomorrow");
    CHECK(put(tomorrow, "connector.json", "{}") == 0);
    CHECK_TEXT(driver_of("early"), "(none)"); /* "path" is missing */
    CHECK(put(NODE_CONNECTIONS, "early.json", "{\"driver\": \"tomorrow\", \"path\": \"/\"}") ==
          0);
    CHECK_TEXT(driver_of("early"), "tomorrow");

    CHECK(ctree_unlink(c, NODE_CONNECTIONS, "early.json", true, &me) == 0);
    CHECK(ctree_rename(c, NODE_DRIVERS, "tomorrow", NODE_DRIVERS, "today", false, &me,
                       &complaint) == 0);
    CHECK_TEXT(behind("tomorrow"), "(none)");
    CHECK_TEXT(behind("today"), "{}");
    CHECK(ctree_rename(c, NODE_DRIVERS, "today", NODE_CONFIG, "kept", false, &me, &complaint) ==
          0);
    CHECK_TEXT(behind("today"), "(none)");
    CHECK(put(tomorrow, "connector.json", "{\"bad\": 1}") == 0); /* a file like any other */
    CHECK(ctree_rename(c, NODE_CONFIG, "kept", NODE_DRIVERS, "today", false, &me, &complaint) ==
          -EBADMSG);
    CHECK(put(tomorrow, "connector.json", "{\"v\": 4}") == 0);
    CHECK(ctree_rename(c, NODE_CONFIG, "kept", NODE_DRIVERS, "today", false, &me, &complaint) ==
          0);
    CHECK_TEXT(behind("today"), "{\"v\": 4}");
}

/* A text that there is no memory to judge may be good: it is neither in force nor refused. */
static void
test_no_memory(void)
{
    static const char much[] = "{\"v\": \"much\"}";
    struct node today, file;
    struct complaint complaint;
    CHECK(ctree_lookup(c, NODE_DRIVERS, "today", &today) == 0);
    CHECK(put(today.id, "connector.json", much) == -ENOMEM);
    CHECK(!exists(today.id, "connector.json.rej"));
    CHECK_TEXT(error_of(today.id), "");
    CHECK_TEXT(behind("today"), "{\"v\": 4}");

    CHECK(put(today.id, "new", much) == 0);
    CHECK(mv(today.id, "new", today.id, "connector.json") == -ENOMEM);
    CHECK(exists(today.id, "new") && !exists(today.id, "connector.json.rej"));
    CHECK_TEXT(behind("today"), "{\"v\": 4}");

    node_id kept = dir(NODE_CONFIG, "kept");
    CHECK(ctree_rename(c, today.id, "new", kept, "connector.json", false, &me, &complaint) ==
          0);
    CHECK(mv(NODE_CONFIG, "kept", NODE_DRIVERS, "hoarder") == -ENOMEM);
    CHECK(ctree_lookup(c, kept, "connector.json", &file) == 0);
    CHECK(!exists(NODE_DRIVERS, "hoarder"));
}

static void
test_damage(void)
{
    tamper("UPDATE doc SET text = CAST(replace(text, '3', '9') AS BLOB)"
           " WHERE name = 'connector.json'");
    open_state();
    CHECK_TEXT(behind("mine"), "error: drivers/mine/connector.json is damaged in the catalogue:"
                               " write the file again");
    CHECK_TEXT(driver_of("to"), "(none)");
    CHECK_TEXT(behind("today"), "{\"v\": 4}");
    struct node mine;
    CHECK(ctree_lookup(c, NODE_DRIVERS, "mine", &mine) == 0);
    CHECK(put(mine.id, "connector.json", "{\"v\": 3}") == 0);
    CHECK_TEXT(driver_of("to"), "mine");

    /* of another connection: that is nobody else's trouble */
    CHECK(put(NODE_CONNECTIONS, "a.json", "{\"driver\": \"db\", \"path\": \"/5\"}") == 0);
    tamper("UPDATE doc SET text = CAST(replace(text, '5', '6') AS BLOB)"
           " WHERE name = 'a.json'");
    open_state();
    CHECK(dir(NODE_DRIVERS, "idle") != 0);
    CHECK(ctree_rmdir(c, NODE_DRIVERS, "idle", &me) == 0);
    CHECK(ctree_rmdir(c, NODE_DRIVERS, "mine", &me) == -EBUSY);
}

static void *
ask(void *arg)
{
    const struct world world = catalog_world(c);
    for (int i = 0; i < ROUNDS; i++) {
        AUTO_DRIVER const struct driver *d = world.driver_of(world.arg, "to");
        if (d && strncmp(d->manifest, "{\"v\": ", 6) != 0)
            return arg;
    }
    return NULL;
}

static void
test_threads(void)
{
    pthread_t threads[THREADS];
    struct node mine;
    char text[32];
    CHECK(ctree_lookup(c, NODE_DRIVERS, "mine", &mine) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, ask, &threads);
    int rc = 0;
    for (int i = 0; i < ROUNDS / 4; i++) {
        snprintf(text, sizeof text, "{\"v\": %d}", i);
        rc |= put(mine.id, "connector.json", text);
    }
    CHECK(rc == 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        CHECK(!wrong);
    }
    CHECK_TEXT(behind("mine"), text);
}

int
main(void)
{
    driver_maker = &maker;
    make_state();
    test_in_force();
    test_connections();
    test_no_memory();
    test_damage();
    test_threads();
    drop_state();
    CHECK(alive == 0);
    return tap_done();
}
