/*
 * The engine of engine.h in memory, for tests of fs/ alone: a stored tree, checks simple enough
 * to see through, and a `run` that ends when a test says so.
 *
 * config.json is an object of balanced braces; `!` in it breaks it, "bad" is a wrong meaning.
 * mappings.csv has lines of one comma. mode is upsert or mirror.
 */
#include "fake_engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

enum { NODES_MAX = 20000 };

struct fake_node {
    struct node n;
    char name[256];
    struct buf text;
    bool used, linked;
    bool accepted; /* checked files: has a text in force */
};

struct ticket {
    struct ticket *next;
    verb_done_fn done;
    void *arg;
    node_id sync;
    bool told;
};

struct engine {
    pthread_mutex_t lock, tell;
    struct fake_node nodes[NODES_MAX]; /* index is the id, from NODE_FIRST_FREE after the two */
    size_t n;
    struct buf error;
    struct ticket *tickets;
    unsigned runs;
    bool lacks_memory;
    void (*changed)(void *arg, node_id sync);
    void *changed_arg;
    uid_t uid;
    gid_t gid;
};

/* ---- tree ---- */

static struct fake_node *
at(struct engine *e, node_id id)
{
    for (size_t i = 0; i < e->n; i++) {
        if (e->nodes[i].used && e->nodes[i].n.id == id)
            return &e->nodes[i];
    }
    return NULL;
}

static struct fake_node *
child(struct engine *e, node_id parent, const char *name)
{
    for (size_t i = 0; i < e->n; i++) {
        struct fake_node *f = &e->nodes[i];
        if (f->used && f->linked && f->n.parent == parent && strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

static struct fake_node *
make(struct engine *e, node_id id, node_id parent, const char *name, enum node_kind kind,
     mode_t mode, uid_t uid, gid_t gid)
{
    static node_id next = NODE_FIRST_FREE;
    size_t slot = 0;
    while (slot < e->n && e->nodes[slot].used)
        slot++;
    if (slot == NODES_MAX)
        return NULL;
    if (slot == e->n)
        e->n++;
    struct fake_node *f = &e->nodes[slot];
    buf_done(&f->text);
    *f = (struct fake_node){.used = true, .linked = true, .text = BUF_INIT(BUF_NO_MAX)};
    f->n = (struct node){.id = id ? id : next++,
                         .parent = parent,
                         .kind = kind,
                         .mode = mode,
                         .uid = uid,
                         .gid = gid};
    clock_gettime(CLOCK_REALTIME, &f->n.mtime);
    f->n.ctime = f->n.mtime;
    snprintf(f->name, sizeof f->name, "%s", name);
    return f;
}

static void
set_text(struct fake_node *f, struct str text)
{
    buf_clear(&f->text);
    buf_add(&f->text, text.p, text.n);
    f->n.size = text.n;
    clock_gettime(CLOCK_REALTIME, &f->n.mtime);
    f->n.ctime = f->n.mtime;
}

#define LOCKED                                                                                 \
    pthread_mutex_t *held_ __attribute__((cleanup(unlock))) = &e->lock;                        \
    pthread_mutex_lock(held_)

static void
unlock(pthread_mutex_t **m)
{
    pthread_mutex_unlock(*m);
}

int
tree_get(struct engine *e, node_id id, struct node *ret)
{
    LOCKED;
    struct fake_node *f = at(e, id);
    if (!f)
        return -ENOENT;
    *ret = f->n;
    return 0;
}

int
tree_lookup(struct engine *e, node_id parent, const char *name, struct node *ret)
{
    LOCKED;
    struct fake_node *f = child(e, parent, name);
    if (!f)
        return -ENOENT;
    *ret = f->n;
    return 0;
}

int
tree_list(struct engine *e, node_id parent, const char *after,
          int (*fn)(void *arg, const char *name, const struct node *n), void *arg)
{
    char last[256] = "";
    if (after)
        snprintf(last, sizeof last, "%s", after);
    while (true) {
        struct fake_node found;
        bool any = false;
        pthread_mutex_lock(&e->lock);
        for (size_t i = 0; i < e->n; i++) {
            struct fake_node *f = &e->nodes[i];
            if (f->used && f->linked && f->n.parent == parent && strcmp(f->name, last) > 0 &&
                (!any || strcmp(f->name, found.name) < 0)) {
                found = *f;
                any = true;
            }
        }
        pthread_mutex_unlock(&e->lock);
        if (!any)
            return 0;
        int r = fn(arg, found.name, &found.n);
        if (r)
            return r < 0 ? r : 0;
        memcpy(last, found.name, sizeof last);
    }
}

int
tree_name(struct engine *e, node_id id, struct buf *out)
{
    LOCKED;
    struct fake_node *f = at(e, id);
    if (!f || !f->linked)
        return -ENOENT;
    buf_adds(out, f->name);
    return 0;
}

int
tree_make(struct engine *e, node_id parent, const char *name, enum node_kind kind, mode_t mode,
          const char *link, const struct caller *who, struct node *ret)
{
    LOCKED;
    if (child(e, parent, name))
        return -EEXIST;
    if (strchr(name, ' '))
        return -EINVAL;
    struct fake_node *f = make(e, 0, parent, name, kind, mode, who->uid, who->gid);
    if (!f)
        return -EDQUOT;
    if (link)
        set_text(f, str_of(link));
    *ret = f->n;
    return 0;
}

int
tree_read(struct engine *e, node_id id, struct buf *out)
{
    LOCKED;
    struct fake_node *f = at(e, id);
    if (!f)
        return -ENOENT;
    buf_add(out, f->text.p, f->text.n);
    return 0;
}

int
tree_write(struct engine *e, node_id id, struct str text)
{
    LOCKED;
    struct fake_node *f = at(e, id);
    if (!f)
        return -ENOENT;
    set_text(f, text);
    return 0;
}

int
tree_set(struct engine *e, node_id id, unsigned what, const struct node *to, struct node *ret)
{
    LOCKED;
    struct fake_node *f = at(e, id);
    if (!f)
        return -ENOENT;
    if (what & TREE_MODE)
        f->n.mode = to->mode;
    if (what & TREE_UID)
        f->n.uid = to->uid;
    if (what & TREE_GID)
        f->n.gid = to->gid;
    if (what & TREE_MTIME)
        f->n.mtime = to->mtime;
    *ret = f->n;
    return 0;
}

int
tree_unlink(struct engine *e, node_id parent, const char *name, bool with_refused,
            const struct caller *who)
{
    LOCKED;
    struct fake_node *f = child(e, parent, name);
    if (!f)
        return -ENOENT;
    f->linked = false;
    return 0;
}

int
tree_rmdir(struct engine *e, node_id parent, const char *name, const struct caller *who)
{
    LOCKED;
    struct fake_node *f = child(e, parent, name);
    if (!f)
        return -ENOENT;
    for (size_t i = 0; i < e->n; i++) {
        struct fake_node *c = &e->nodes[i];
        size_t n = strlen(c->name);
        if (c->used && c->linked && c->n.parent == f->n.id &&
            (n < 4 || strcmp(c->name + n - 4, ".rej") != 0))
            return -ENOTEMPTY;
    }
    f->linked = false;
    return 0;
}

void
tree_forget(struct engine *e, node_id id)
{
    LOCKED;
    struct fake_node *f = at(e, id);
    if (!f || f->linked)
        return;
    f->used = f->accepted; /* an accepted text stays as tombstone */
    if (!f->used)
        buf_done(&f->text);
}

/* ---- checked files ---- */

static enum text_kind
kind_of(struct engine *e, node_id parent, const char *name)
{
    struct fake_node *dir = at(e, parent);
    if (!dir || dir->n.parent != NODE_SYNCS)
        return TEXT_PLAIN;
    return strcmp(name, "config.json") == 0    ? TEXT_CONFIG
           : strcmp(name, "mappings.csv") == 0 ? TEXT_MAPPINGS
           : strcmp(name, "mode") == 0         ? TEXT_MODE
                                               : TEXT_PLAIN;
}

enum text_kind
doc_kind(struct engine *e, node_id parent, const char *name)
{
    LOCKED;
    return kind_of(e, parent, name);
}

size_t
text_max(enum text_kind kind)
{
    return kind == TEXT_MODE ? 64 : 16 * 1048576;
}

static enum text_verdict
check_config(struct str t)
{
    int depth = 0;
    bool closed = false;
    for (size_t i = 0; i < t.n; i++) {
        if (t.p[i] == '!' || (closed && t.p[i] != '\n'))
            return TEXT_BROKEN;
        depth += t.p[i] == '{' ? 1 : t.p[i] == '}' ? -1 : 0;
        if (depth <= 0 && !closed && t.p[i] != '}')
            return TEXT_BROKEN;
        if (depth == 0)
            closed = true;
    }
    if (closed)
        return memmem(t.p, t.n, "bad", 3) ? TEXT_BROKEN : TEXT_OK;
    return TEXT_INCOMPLETE;
}

static enum text_verdict
check_mappings(struct str t, bool final)
{
    unsigned commas = 0, lines = 0;
    for (size_t i = 0; i < t.n; i++) {
        commas += t.p[i] == ',';
        if (t.p[i] == '\n' && commas != 1)
            return TEXT_BROKEN;
        if (t.p[i] == '\n') {
            commas = 0;
            lines++;
        }
    }
    bool open = t.n && t.p[t.n - 1] != '\n';
    if (final && open && commas != 1)
        return TEXT_BROKEN;
    return lines + open >= 2 ? TEXT_OK : TEXT_INCOMPLETE;
}

void
fake_engine_lacks_memory(struct engine *e, bool lacks)
{
    e->lacks_memory = lacks;
}

static enum text_verdict
check_text(struct engine *e, enum text_kind kind, struct str t, bool final, struct complaint *c)
{
    if (kind == TEXT_PLAIN)
        return TEXT_OK;
    c->no_memory = e->lacks_memory;
    if (c->no_memory)
        return TEXT_BROKEN;
    enum text_verdict v = t.n == 0                ? TEXT_INCOMPLETE
                          : kind == TEXT_CONFIG   ? check_config(t)
                          : kind == TEXT_MAPPINGS ? check_mappings(t, final)
                          : str_is(t, "upsert") || str_is(t, "upsert\n") ||
                                  str_is(t, "mirror") || str_is(t, "mirror\n")
                              ? TEXT_OK
                              : TEXT_BROKEN;
    if (v != TEXT_OK)
        snprintf(c->text, sizeof c->text, "not good");
    return v;
}

enum text_verdict
doc_check(struct engine *e, node_id parent, const char *name, struct str text, bool final,
          struct complaint *complaint)
{
    LOCKED;
    return check_text(e, kind_of(e, parent, name), text, final, complaint);
}

static void
refuse(struct engine *e, node_id parent, const char *name, struct str text,
       const struct complaint *c)
{
    char rej[260];
    snprintf(rej, sizeof rej, "%.250s.rej", name);
    struct fake_node *f = child(e, parent, rej);
    if (!f)
        f = make(e, 0, parent, rej, NODE_FILE, 0444, 0, 0);
    if (f)
        set_text(f, text);
    buf_clear(&e->error);
    buf_addf(&e->error, "%s: error: %s\n", name, c->text);
}

int
doc_commit(struct engine *e, node_id parent, const char *name, node_id id, struct str text,
           const struct caller *who, struct complaint *complaint)
{
    LOCKED;
    if (check_text(e, kind_of(e, parent, name), text, true, complaint) != TEXT_OK) {
        if (complaint->no_memory)
            return -ENOMEM;
        refuse(e, parent, name, text, complaint);
        return -EINVAL;
    }
    struct fake_node *f = at(e, id);
    if (!f)
        return -ENOENT;
    set_text(f, text);
    f->accepted = true;
    char rej[260];
    snprintf(rej, sizeof rej, "%.250s.rej", name);
    struct fake_node *r = child(e, parent, rej);
    if (r)
        r->linked = r->used = false;
    buf_clear(&e->error);
    return 0;
}

void
doc_refuse(struct engine *e, node_id parent, const char *name, struct str text,
           const struct caller *who, const struct complaint *complaint)
{
    LOCKED;
    refuse(e, parent, name, text, complaint);
}

void
doc_note(struct engine *e, node_id parent, const struct complaint *complaint)
{
    LOCKED;
    buf_clear(&e->error);
    buf_addf(&e->error, "note: %s\n", complaint->text);
}

void
doc_abandon(struct engine *e, node_id parent, const char *name, node_id id)
{
    LOCKED;
    struct fake_node *f = at(e, id);
    if (f)
        f->linked = false;
    for (size_t i = e->n; i-- > 0;) {
        struct fake_node *old = &e->nodes[i];
        if (old->used && !old->linked && old->accepted && old->n.parent == parent &&
            strcmp(old->name, name) == 0) {
            old->linked = true;
            return;
        }
    }
}

int
tree_rename(struct engine *e, node_id parent, const char *name, node_id new_parent,
            const char *new_name, bool noreplace, const struct caller *who,
            struct complaint *complaint)
{
    LOCKED;
    struct fake_node *f = child(e, parent, name), *old = child(e, new_parent, new_name);
    if (!f)
        return -ENOENT;
    if (old && noreplace)
        return -EEXIST;
    enum text_kind kind = kind_of(e, new_parent, new_name);
    if (check_text(e, kind, buf_str(&f->text), true, complaint) != TEXT_OK) {
        refuse(e, new_parent, new_name, buf_str(&f->text), complaint);
        return -EBADMSG;
    }
    if (old)
        old->linked = false;
    if (f->accepted && kind == TEXT_PLAIN) { /* the accepted text stays behind */
        struct fake_node *tomb = make(e, 0, parent, name, NODE_FILE, f->n.mode, 0, 0);
        if (tomb) {
            set_text(tomb, buf_str(&f->text));
            tomb->linked = false;
            tomb->accepted = true;
        }
    }
    f->accepted = kind != TEXT_PLAIN;
    f->n.parent = new_parent;
    snprintf(f->name, sizeof f->name, "%s", new_name);
    return 0;
}

/* ---- what is shown ---- */

int
sync_show(struct engine *e, node_id sync, enum sync_text which, struct buf *out,
          struct timespec *changed)
{
    LOCKED;
    if (which == SYNC_ERROR)
        buf_add(out, e->error.p, e->error.n);
    else if (which == SYNC_TRIGGER)
        buf_adds(out, "# run start wait\n");
    else
        buf_addf(out, "text: %d\nruns: %u\n", (int)which, e->runs);
    return 0;
}

int
engine_show(struct engine *e, enum root_text which, struct buf *out, struct timespec *changed)
{
    buf_addf(out, "root: %d\n", (int)which);
    return 0;
}

void
engine_clear_error_log(struct engine *e)
{
}

int
run_show(struct engine *e, node_id sync, uint64_t run, enum run_text which, struct buf *out,
         struct timespec *changed)
{
    buf_addf(out, "run %d text %d\n", (int)run, (int)which);
    return 0;
}

int
run_next(struct engine *e, node_id sync, uint64_t after, uint64_t *number)
{
    LOCKED;
    *number = after + 1;
    return after < e->runs ? 1 : 0;
}

uint64_t
run_last(struct engine *e, node_id sync)
{
    LOCKED;
    return e->runs;
}

int
sync_pending(struct engine *e, node_id sync, struct chg **ret)
{
    return -ENOENT;
}

int
sync_rejected(struct engine *e, node_id sync, struct chg **ret)
{
    return -ENOENT;
}

int
run_changes(struct engine *e, node_id sync, uint64_t run, struct chg **ret)
{
    return -ENOENT;
}

int
run_rejected(struct engine *e, node_id sync, uint64_t run, struct chg **ret)
{
    return -ENOENT;
}

/* ---- verbs ---- */

void
fake_engine_end_runs(struct engine *e, int errnum)
{
    pthread_mutex_lock(&e->tell);
    while (true) {
        pthread_mutex_lock(&e->lock);
        struct ticket *t = e->tickets;
        while (t && t->told)
            t = t->next;
        if (t)
            t->told = true;
        pthread_mutex_unlock(&e->lock);
        if (!t)
            break;
        t->done(t->arg, errnum);
    }
    pthread_mutex_unlock(&e->tell);
}

unsigned
fake_engine_runs(struct engine *e)
{
    LOCKED;
    return e->runs;
}

int
sync_trigger(struct engine *e, node_id sync, struct str text, bool nowait,
             const struct caller *who, verb_done_fn done, void *arg, struct ticket **ret,
             struct error *err)
{
    if (text.n && text.p[text.n - 1] == '\n')
        text.n--;
    if (text.n == 0 || text.p[0] == '#')
        return 0;
    if (str_is(text, "end") || str_is(text, "fail")) {
        fake_engine_end_runs(e, str_is(text, "end") ? 0 : EIO);
        return 0;
    }
    if (str_is(text, "poke")) {
        e->runs++;
        if (e->changed)
            e->changed(e->changed_arg, sync);
        return 0;
    }
    if (!str_is(text, "run"))
        return -EINVAL;
    LOCKED;
    for (struct ticket *t = e->tickets; t; t = t->next) {
        if (!t->told)
            return -EBUSY;
    }
    e->runs++;
    if (nowait)
        return 0;
    struct ticket *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    *t = (struct ticket){.next = e->tickets, .done = done, .arg = arg, .sync = sync};
    e->tickets = t;
    *ret = t;
    return -EINPROGRESS;
}

static struct engine *the_engine; /* ticket_drop is given no engine */

void
ticket_drop(struct ticket *t)
{
    struct engine *e = the_engine;
    pthread_mutex_lock(&e->tell);
    pthread_mutex_lock(&e->lock);
    struct ticket **p = &e->tickets;
    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    pthread_mutex_unlock(&e->lock);
    pthread_mutex_unlock(&e->tell);
    free(t);
}

void
engine_on_change(struct engine *e, void (*fn)(void *arg, node_id sync), void *arg)
{
    e->changed = fn;
    e->changed_arg = arg;
}

/* ---- life ---- */

int
engine_open(const struct engine_settings *settings, struct engine **ret, struct error *err)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->tell, NULL);
    e->error = (struct buf)BUF_INIT(BUF_NO_MAX);
    make(e, NODE_CONNECTIONS, 1, "connections", NODE_DIR, 0755, settings->uid, settings->gid);
    make(e, NODE_SYNCS, 1, "syncs", NODE_DIR, 0755, settings->uid, settings->gid);
    *ret = the_engine = e;
    return 0;
}

int
engine_start(struct engine *e, struct error *err)
{
    return 0;
}

void
engine_close(struct engine *e)
{
    for (size_t i = 0; i < e->n; i++)
        buf_done(&e->nodes[i].text);
    buf_done(&e->error);
    free(e);
}

/* ---- the other contracts fs uses ---- */

static const struct driver fake_driver = {
    .name = "fake", .summary = "nothing", .readme = "A driver that does nothing.\n"};
static const struct driver *const all_drivers[] = {&fake_driver, NULL};
const struct driver *const *drivers = all_drivers;

void
driver_options_json(const struct driver *d, struct buf *out)
{
    buf_adds(out, "{}\n");
}

void
driver_modes_text(const struct driver *d, struct buf *out)
{
    buf_adds(out, "upsert\n");
}

int
check_directory(const char *path, struct buf *out, unsigned *checked, struct error *err)
{
    return 0;
}

uint64_t
chg_view_size(const struct chg *c, enum chg_view view)
{
    return 0;
}

int
chg_view_read(struct chg *c, enum chg_view view, uint64_t offset, size_t n, struct buf *out,
              struct error *err)
{
    return 0;
}

struct chg *
chg_unref(struct chg *c)
{
    return NULL;
}

const struct chg_meta *
chg_get_meta(const struct chg *c)
{
    return NULL;
}

int
chg_cursor_open(struct chg *c, struct chg_cursor **ret, struct error *err)
{
    return -ENOENT;
}

int
chg_next(struct chg_cursor *cur, struct entry *e, struct error *err)
{
    return 0;
}

struct chg_cursor *
chg_cursor_close(struct chg_cursor *cur)
{
    return NULL;
}

void
chg_render(const struct chg_meta *meta, enum chg_view view, const struct entry *e,
           struct buf *out)
{
}

void
chg_entry_filename(const struct chg_meta *meta, const struct entry *e, struct buf *out)
{
}

int
chg_find_filename(struct chg *c, unsigned ops, const char *name, struct arena *arena,
                  struct entry *e, struct error *err)
{
    return 0;
}
