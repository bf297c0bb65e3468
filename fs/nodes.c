/* The tables of names, and the small functions that put the engine's words behind them. */
#include "nodes.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "driver.h"
#include "readme.h"

/* ---- texts ---- */

static int
show_readme(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    buf_add(out, readme_text, sizeof readme_text - 1);
    return 0;
}

static int
show_root(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    return engine_show(e, at->item->which, out, changed);
}

static int
show_sync(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    return sync_show(e, at->sync, at->item->which, out, changed);
}

static int
show_run(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    return run_show(e, at->sync, at->number, at->item->which, out, changed);
}

static int
show_last_run(struct engine *e, const struct place *at, struct buf *out,
              struct timespec *changed)
{
    uint64_t last = run_last(e, at->sync);
    if (last == 0)
        return -ENOENT;
    buf_addf(out, "%llu", (unsigned long long)last);
    return 0;
}

static int
show_driver(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    return driver_text(drivers[at->number], at->item->which, out);
}

static int
show_schema(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    buf_adds(out, driver_maker ? driver_maker->schema : "{}\n");
    return 0;
}

static int
show_users_driver(struct engine *e, const struct place *at, struct buf *out,
                  struct timespec *changed)
{
    return driver_show(e, at->sync, at->item->which, out, changed);
}

static int
store_error_log(struct engine *e, struct str text, const struct caller *who)
{
    engine_clear_error_log(e);
    return 0;
}

static int
show_control(struct engine *e, const struct place *at, struct buf *out,
             struct timespec *changed)
{
    return engine_control_show(e, out, changed);
}

static int
store_control(struct engine *e, struct str text, const struct caller *who)
{
    struct error err = ERROR_INIT;
    return engine_control(e, text, who, &err);
}

/* ---- rows ---- */

static int
rows_pending(struct engine *e, const struct place *at, struct chg **ret)
{
    return sync_pending(e, at->sync, ret);
}

static int
rows_rejected(struct engine *e, const struct place *at, struct chg **ret)
{
    return sync_rejected(e, at->sync, ret);
}

static int
rows_run_changes(struct engine *e, const struct place *at, struct chg **ret)
{
    return run_changes(e, at->sync, at->number, ret);
}

static int
rows_run_rejected(struct engine *e, const struct place *at, struct chg **ret)
{
    return run_rejected(e, at->sync, at->number, ret);
}

/* ---- names that are not fixed ---- */

/* Of those built in. A user's own that was there before one of its name was built in hides it.
 */
static bool
is_hidden_driver(struct engine *e, const char *name)
{
    struct node n;
    return tree_lookup(e, NODE_DRIVERS, name, &n) == 0;
}

static int
find_driver(struct engine *e, const struct place *dir, const char *name, uint64_t *number)
{
    for (uint64_t i = 0; drivers[i]; i++) {
        if (strcmp(drivers[i]->name, name) == 0 && !is_hidden_driver(e, name)) {
            *number = i;
            return 0;
        }
    }
    return -ENOENT;
}

static int
next_driver(struct engine *e, const struct place *dir, struct listing *it, struct buf *name)
{
    while (drivers[it->number] && is_hidden_driver(e, drivers[it->number]->name))
        it->number++;
    if (!drivers[it->number])
        return 0;
    buf_adds(name, drivers[it->number++]->name);
    return 1;
}

/* Digits without leading zeros: each run has one name. */
static bool
run_number(const char *name, uint64_t *ret)
{
    uint64_t n = 0;
    size_t len = strlen(name);
    if (len == 0 || len > 18 || name[0] == '0')
        return false;
    for (const char *p = name; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        n = n * 10 + (uint64_t)(*p - '0');
    }
    *ret = n;
    return true;
}

static int
find_run(struct engine *e, const struct place *dir, const char *name, uint64_t *number)
{
    uint64_t wanted, got;
    if (!run_number(name, &wanted))
        return -ENOENT;
    int r = run_next(e, dir->sync, wanted - 1, &got);
    if (r <= 0 || got != wanted)
        return r < 0 ? r : -ENOENT;
    *number = wanted;
    return 0;
}

static int
next_run(struct engine *e, const struct place *dir, struct listing *it, struct buf *name)
{
    uint64_t number;
    int r = run_next(e, dir->sync, it->number, &number);
    if (r <= 0)
        return r;
    it->number = number;
    buf_addf(name, "%llu", (unsigned long long)number);
    return 1;
}

void
nodes_listing_done(struct listing *it)
{
    chg_cursor_close(it->cursor);
    rows_unref(it->rows);
    buf_done(&it->last);
    *it = (struct listing){0};
}

/* ---- the tables ---- */

#define ITEMS(table) .items = (table), .n = sizeof(table) / sizeof *(table)

static const struct item driver_items[] = {
    {"README", ITEM_TEXT, .show = show_driver, .which = DRIVER_README},
    {"modes", ITEM_TEXT, .show = show_driver, .which = DRIVER_MODES},
    {"options.json", ITEM_TEXT, .show = show_driver, .which = DRIVER_OPTIONS},
    {"connector.json", ITEM_TEXT, ITEM_PASSING, DRIVER_MANIFEST, .show = show_driver},
};
static const struct dir driver_dir = {ITEMS(driver_items)};
static const struct item driver_item = {"", ITEM_DIR, .dir = &driver_dir};
static const struct item drivers_items[] = {
    {"connector.schema.json", ITEM_TEXT, .show = show_schema},
};
const struct dir nodes_drivers = {ITEMS(drivers_items), .child = &driver_item,
                                  .find = find_driver, .next = next_driver};

static const struct item users_driver_items[] = {
    {"README", ITEM_TEXT, .show = show_users_driver, .which = DRIVER_README},
    {"modes", ITEM_TEXT, .show = show_users_driver, .which = DRIVER_MODES},
    {"options.json", ITEM_TEXT, .show = show_users_driver, .which = DRIVER_OPTIONS},
    {"error", ITEM_TEXT, .show = show_users_driver, .which = DRIVER_ERROR},
};
const struct dir nodes_driver = {ITEMS(users_driver_items)};

static const struct item pending_items[] = {
    {"summary", ITEM_TEXT, .show = show_sync, .which = SYNC_PENDING_SUMMARY},
    {"diff", ITEM_ROWS, ITEM_PASSING, SYNC_PENDING_SUMMARY, VIEW_DIFF, show_sync, rows_pending},
    {"changes.jsonl", ITEM_ROWS, ITEM_PASSING, SYNC_PENDING_SUMMARY, VIEW_JSONL, show_sync,
     rows_pending},
    {"inserts.csv", ITEM_ROWS, ITEM_PASSING, SYNC_PENDING_SUMMARY, VIEW_INSERTS_CSV, show_sync,
     rows_pending},
    {"updates.csv", ITEM_ROWS, ITEM_PASSING, SYNC_PENDING_SUMMARY, VIEW_UPDATES_CSV, show_sync,
     rows_pending},
    {"deletes.csv", ITEM_ROWS, ITEM_PASSING, SYNC_PENDING_SUMMARY, VIEW_DELETES_CSV, show_sync,
     rows_pending},
    {"insert", ITEM_DIR, ITEM_STEADY, ENTRY_INSERT, .dir = &nodes_inserts},
    {"update", ITEM_DIR, ITEM_STEADY, ENTRY_UPDATE, .dir = &nodes_updates},
    {"delete", ITEM_DIR, ITEM_STEADY, ENTRY_DELETE, .dir = &nodes_deletes},
};
static const struct dir pending_dir = {ITEMS(pending_items)};

static const struct item run_items[] = {
    {"summary.json", ITEM_TEXT, ITEM_MANY, RUN_SUMMARY, .show = show_run},
    {"log", ITEM_TEXT, ITEM_MANY | ITEM_GROWS, RUN_LOG, .show = show_run},
    {"requests.jsonl", ITEM_TEXT, ITEM_MANY | ITEM_PASSING, RUN_REQUESTS, .show = show_run},
    {"changes.jsonl", ITEM_ROWS, ITEM_MANY | ITEM_PASSING, RUN_SUMMARY, VIEW_SENT, show_run,
     rows_run_changes},
    {"rejected.jsonl", ITEM_ROWS, ITEM_MANY | ITEM_ALWAYS, RUN_SUMMARY, VIEW_REJECTED, show_run,
     rows_run_rejected},
    {"config.json", ITEM_TEXT, ITEM_MANY, RUN_CONFIG, .show = show_run},
    {"mappings.csv", ITEM_TEXT, ITEM_MANY, RUN_MAPPINGS, .show = show_run},
    {"mode", ITEM_TEXT, ITEM_MANY, RUN_MODE, .show = show_run},
};
static const struct dir run_dir = {ITEMS(run_items)};
static const struct item run_item = {"", ITEM_DIR, ITEM_MANY, .dir = &run_dir};
static const struct item runs_items[] = {
    {"last", ITEM_LINK, ITEM_PASSING, .show = show_last_run},
};
static const struct dir runs_dir = {ITEMS(runs_items), .child = &run_item, .find = find_run,
                                    .next = next_run};

static const struct item sync_items[] = {
    {"modes", ITEM_TEXT, .show = show_sync, .which = SYNC_MODES},
    {"trigger", ITEM_TRIGGER, .show = show_sync, .which = SYNC_TRIGGER},
    {"status", ITEM_TEXT, ITEM_POLL, SYNC_STATUS, .show = show_sync},
    {"status.json", ITEM_TEXT, ITEM_POLL, SYNC_STATUS_JSON, .show = show_sync},
    {"error", ITEM_TEXT, ITEM_POLL, SYNC_ERROR, .show = show_sync},
    {"log", ITEM_TEXT, ITEM_POLL | ITEM_GROWS, SYNC_LOG, .show = show_sync},
    {"pending", ITEM_DIR, .dir = &pending_dir},
    {"explain", ITEM_DIR, .dir = &nodes_explain},
    {"rejected", ITEM_DIR, ITEM_STEADY, .view = VIEW_REJECTED, .dir = &nodes_rejected},
    {"rejected.jsonl", ITEM_ROWS, ITEM_ALWAYS, SYNC_STATUS, VIEW_REJECTED, show_sync,
     rows_rejected},
    {"runs", ITEM_DIR, .dir = &runs_dir},
    {"history", ITEM_DIR, .dir = &nodes_history},
};
const struct dir nodes_sync = {ITEMS(sync_items)};

static const struct item config_items[] = {
    {"connections", ITEM_STORED, .node = NODE_CONNECTIONS},
    {"drivers", ITEM_STORED, ITEM_UNSEEN, .node = NODE_DRIVERS},
    {"syncs", ITEM_STORED, .node = NODE_SYNCS},
};
const struct dir nodes_config = {ITEMS(config_items)};

static const struct item root_items[] = {
    {"README", ITEM_TEXT, .show = show_readme},
    {"status", ITEM_TEXT, ITEM_POLL, ROOT_STATUS, .show = show_root},
    {"error_log", ITEM_TEXT, ITEM_POLL | ITEM_CLOSED, ROOT_ERROR_LOG, .show = show_root,
     .store = store_error_log},
    {"control", ITEM_TEXT, ITEM_CLOSED, .show = show_control, .store = store_control},
    {"metrics", ITEM_TEXT, .show = show_root, .which = ROOT_METRICS},
    {"drivers", ITEM_STORED, .node = NODE_DRIVERS},
    {"config", ITEM_STORED, .node = NODE_CONFIG},
    {"connections", ITEM_STORED, .node = NODE_CONNECTIONS},
    {"syncs", ITEM_STORED, .node = NODE_SYNCS},
};
static const struct dir root_dir = {ITEMS(root_items)};
const struct item nodes_root = {"/", ITEM_DIR, .dir = &root_dir};

/* ---- questions to them ---- */

const struct item *
nodes_fixed(const struct dir *dir, const char *name)
{
    for (size_t i = 0; i < dir->n; i++) {
        if (strcmp(dir->items[i].name, name) == 0)
            return &dir->items[i];
    }
    return NULL;
}

int
nodes_find(struct engine *e, const struct dir *dir, const struct place *at, const char *name,
           struct place *ret)
{
    *ret = (struct place){.sync = at->sync, .number = at->number};
    ret->item = nodes_fixed(dir, name);
    if (ret->item)
        return nodes_exists(e, ret);
    if (!dir->child)
        return -ENOENT;
    ret->item = dir->child;
    ret->name = name;
    return dir->find(e, at, name, &ret->number);
}

/* Those of runs are the only ones below names that are not fixed. */
static bool
find_directory(const struct dir *dir, const struct place *at, struct buf *out)
{
    size_t n = out->n;
    if (dir->child == at->item)
        return true;
    for (size_t i = 0; i < dir->n; i++, out->n = n) {
        const struct item *item = &dir->items[i];
        if (item == at->item)
            return true;
        buf_addf(out, "/%s", item->name);
        if (item->dir && find_directory(item->dir, at, out))
            return true;
    }
    if (!dir->child || !dir->child->dir)
        return false;
    buf_addf(out, "/%llu", (unsigned long long)at->number);
    return find_directory(dir->child->dir, at, out);
}

bool
nodes_directory(const struct place *at, struct buf *out)
{
    return find_directory(&nodes_sync, at, out);
}

int
nodes_exists(struct engine *e, const struct place *at)
{
    if (!(at->item->flags & ITEM_PASSING))
        return 0;
    if (at->item->kind == ITEM_DIR) {
        AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
        struct listing first = {0};
        int r = at->item->dir->next(e, at, &first, &name);
        nodes_listing_done(&first);
        return r < 0 ? r : r == 0 ? -ENOENT : 0;
    }
    if (at->item->kind == ITEM_ROWS) {
        struct chg *rows = NULL;
        int r = nodes_rows(e, at, &rows);
        if (rows)
            chg_unref(rows);
        return r;
    }
    AUTO_BUF struct buf text = BUF_INIT(NODES_TEXT_MAX);
    struct timespec changed = {0};
    return nodes_text(e, at, &text, &changed);
}

int
nodes_text(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    int r = at->item->show(e, at, out, changed);
    if (r < 0)
        return r;
    return out->failed ? -ENOMEM : 0;
}

int
nodes_rows(struct engine *e, const struct place *at, struct chg **ret)
{
    *ret = NULL;
    int r = at->item->rows(e, at, ret);
    return r == -ENOENT && (at->item->flags & ITEM_ALWAYS) ? 0 : r;
}
