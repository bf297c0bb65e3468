/* A state directory, a catalogue in it, and one driver, for the tests of catalog/. */
#pragma once

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "catalog/catalog.h"
#include "tap.h"

struct fake_options {
    char *path;
};

static const struct option fake_table[] = {
    {"path", OPT_STRING, OPTION_REQUIRED, offsetof(struct fake_options, path), NULL, NULL,
     "the file to open"},
    {NULL},
};

static inline int
fake_open(const void *connection, const struct target *target, void **ret, struct error *err)
{
    return 0;
}

static const struct driver fake_driver = {
    .name = "db",
    .modes = MODE_BIT(MODE_UPSERT) | MODE_BIT(MODE_INSERT) | MODE_BIT(MODE_FULL),
    .takes_table = true,
    .takes_query = true,
    .options = fake_table,
    .options_size = sizeof(struct fake_options),
    .dest_open = fake_open,
};

static const struct driver *const all_drivers[] = {&fake_driver, NULL};
const struct driver *const *drivers = all_drivers;

const struct driver *
driver_find(const char *name)
{
    return strcmp(name, fake_driver.name) == 0 ? &fake_driver : NULL;
}

static const char good_config[] =
    "{ \"source\": { \"connection\": \"shop\", \"table\": \"t\" },\n"
    "  \"destination\": { \"connection\": \"crm\", \"object\": \"o\" },\n"
    "  \"identifier\": [\"email\"] }\n";
static const char good_mappings[] = "column,field\nemail,email\n";
static const char good_connection[] = "{ \"driver\": \"db\", \"path\": \"/x\" }\n";
static const char bad_config[] = "{ \"source\": 7 }\n";

/* The test's own state. */
static struct catalog *c;
static int state_fd;
static char state_path[] = "/tmp/test-catalog-XXXXXX";
static struct catalog_settings settings;
static struct caller me = {.uid = 1000, .gid = 100};
static node_id told[64];
static atomic_size_t ntold;
static node_id busy_dir;

static inline void
on_changed(void *arg, node_id dir)
{
    size_t at = atomic_fetch_add(&ntold, 1);
    if (at < sizeof told / sizeof *told)
        told[at] = dir;
}

/* Was `dir` told since the last question? */
static inline bool
was_told(node_id dir)
{
    bool found = false;
    for (size_t i = 0; i < ntold && i < sizeof told / sizeof *told; i++)
        found |= told[i] == dir;
    ntold = 0;
    return found;
}

static inline bool
on_busy(void *arg, node_id sync)
{
    return sync == busy_dir;
}

static inline void
on_trouble(void *arg, const struct error *err)
{
    printf("# trouble: %s\n", err->text);
}

static inline int
try_open(struct catalog **ret, struct error *err)
{
    settings.uid = 7;
    settings.gid = 8;
    settings.changed = on_changed;
    settings.busy = on_busy;
    settings.trouble = on_trouble;
    return catalog_open(state_fd, &settings, ret, err);
}

static inline void
open_state(void)
{
    struct error err = ERROR_INIT;
    if (try_open(&c, &err) < 0) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
}

static inline void
reopen(void)
{
    c = catalog_close(c);
    open_state();
}

static inline void
make_state(void)
{
    me.pid = getpid();
    if (!mkdtemp(state_path) ||
        (state_fd = open(state_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        exit(1);
    open_state();
}

/* Runs SQL on the closed catalogue. */
static inline void
tamper(const char *sql)
{
    sqlite3 *db;
    char path[128];
    c = catalog_close(c);
    snprintf(path, sizeof path, "%s/catalogue.db", state_path);
    if (sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        CHECK_TEXT(sqlite3_errmsg(db), "no error");
    sqlite3_close(db);
}

/* An empty state instead of the present one. */
static inline void
fresh_state(void)
{
    c = catalog_close(c);
    unlinkat(state_fd, "catalogue.db", 0);
    unlinkat(state_fd, "catalogue.db-wal", 0);
    unlinkat(state_fd, "catalogue.db-shm", 0);
    open_state();
    ntold = 0;
    busy_dir = 0;
}

static inline void
drop_state(void)
{
    struct error err = ERROR_INIT;
    c = catalog_close(c);
    close(state_fd);
    file_remove_tree(AT_FDCWD, state_path, &err);
}

static inline int
make(node_id parent, const char *name, enum node_kind kind, node_id *id)
{
    struct node n = {0};
    int rc = ctree_make(c, parent, name, kind, kind == NODE_DIR ? 0755 : 0644,
                        kind == NODE_LINK ? "to" : NULL, &me, &n);
    if (id)
        *id = n.id;
    return rc;
}

static inline node_id
dir(node_id parent, const char *name)
{
    node_id id = 0;
    if (make(parent, name, NODE_DIR, &id) < 0)
        printf("# cannot make directory %s\n", name);
    return id;
}

/* Makes the file if need be and writes it, checked or not. */
static inline int
put(node_id parent, const char *name, const char *text)
{
    struct complaint complaint;
    struct node n = {0};
    int rc = ctree_lookup(c, parent, name, &n);
    if (rc == -ENOENT)
        rc = make(parent, name, NODE_FILE, &n.id);
    if (rc < 0)
        return rc;
    return cdoc_kind(c, parent, name) == TEXT_PLAIN
               ? ctree_write(c, n.id, str_of(text))
               : cdoc_commit(c, parent, name, n.id, str_of(text), &me, &complaint);
}

/* The content under a name; "(missing)" when there is none. Good until the next call. */
static inline const char *
get(node_id parent, const char *name)
{
    static struct buf text = BUF_INIT(BUF_NO_MAX);
    struct node n;
    buf_clear(&text);
    if (ctree_lookup(c, parent, name, &n) < 0 || ctree_read(c, n.id, &text) < 0)
        return "(missing)";
    return buf_z(&text);
}

static inline bool
exists(node_id parent, const char *name)
{
    struct node n;
    return ctree_lookup(c, parent, name, &n) == 0;
}

static inline int
mv(node_id from, const char *name, node_id to, const char *new_name)
{
    struct complaint complaint;
    return ctree_rename(c, from, name, to, new_name, false, &me, &complaint);
}

/* The config.json in force; "(none)". Good until the next call. */
static inline const char *
config_in_force(node_id sync)
{
    static char text[4096];
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct sync_texts texts = {0};
    bool rejected[3];
    struct error err = ERROR_INIT;
    if (catalog_sync_texts(c, sync, &texts, &arena, rejected, &err) < 0 || !texts.config.p)
        return "(none)";
    snprintf(text, sizeof text, "%.*s", (int)texts.config.n, texts.config.p);
    return text;
}

static inline const char *
error_of(node_id sync)
{
    static struct buf text = BUF_INIT(BUF_NO_MAX);
    usec_t at;
    buf_clear(&text);
    return catalog_error_text(c, sync, &text, &at) < 0 ? "" : buf_z(&text);
}
