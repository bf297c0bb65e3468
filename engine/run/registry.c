/*
 * The registry: one view of every sync, made anew whenever its files, its connections or its
 * runs change. Views are never changed in place, so a reader needs the lock only to take a
 * reference.
 */
#include <inttypes.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/utf8.h"
#include "run/engine_private.h"
#include "run/scheduler.h"

struct sync_view *
sync_view_unref(struct sync_view *v)
{
    if (v && atomic_fetch_sub(&v->refs, 1) == 1) {
        driver_unref(v->dest_driver);
        sync_record_done(&v->record);
        arena_done(&v->arena);
        free(v);
    }
    return NULL;
}

struct sync *
registry_find(struct engine *e, node_id id)
{
    struct sync *s = e->syncs;
    while (s && s->id != id)
        s = s->next;
    return s;
}

struct sync_view *
registry_view(struct engine *e, node_id id)
{
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, id);
    struct sync_view *v = s && !s->gone ? s->view : NULL;
    if (v)
        atomic_fetch_add(&v->refs, 1);
    pthread_mutex_unlock(&e->lock);
    return v;
}

size_t
registry_list(struct engine *e, node_id **ret)
{
    VEC(node_id) ids = {0};
    pthread_mutex_lock(&e->lock);
    for (struct sync *s = e->syncs; s; s = s->next)
        if (!s->gone && !VEC_PUSH(&ids, s->id))
            break;
    pthread_mutex_unlock(&e->lock);
    *ret = ids.p;
    return ids.n;
}

void
registry_set_error(struct engine *e, node_id id, const char *text, bool refused)
{
    char *copy = text ? strdup(text) : NULL;
    AUTO_BUF struct buf place = BUF_INIT(512);
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, id);
    if (s) {
        free(s->error);
        s->error = TAKE(copy);
        s->error_at = clock_now();
        s->refused = refused;
        buf_addf(&place, "syncs/%s/trigger", s->view->name);
    }
    pthread_mutex_unlock(&e->lock);
    free(copy);
    if (s && text)
        catalog_error_log(e->catalog, buf_z(&place), text);
}

/* ---- building a view ---- */

static void add_line(struct buf *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line, whatever stands in a file's name. */
static void
add_line(struct buf *out, const char *format, ...)
{
    if (out->n)
        buf_addc(out, '\n');
    size_t at = out->n;
    va_list ap;
    va_start(ap, format);
    buf_vaddf(out, format, ap);
    va_end(ap);
    if (!out->failed)
        utf8_clean(out->p + at);
}

static const char *
trimmed(struct arena *arena, struct str text)
{
    while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
        text.n--;
    return arena_strndup(arena, text.p, text.n);
}

/* The place that a connection points to now; NULL: it cannot be told, for a run to say why. */
static const char *
place_of(struct engine *e, const char *connection, struct arena *arena)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    struct connection *parsed = NULL;
    struct complaint complaint;
    struct error err = ERROR_INIT;
    const struct world world = catalog_world(e->catalog);
    if (catalog_connection_text(e->catalog, connection, &text, &err) < 0 ||
        connection_parse(&world, connection, buf_str(&text), &parsed, &complaint) < 0)
        return NULL;
    const char *place = run_place(parsed, arena, &err);
    connection_free(parsed);
    return place;
}

/* What the definition says, or why it does not say anything yet. */
static void
describe_definition(struct engine *e, node_id id, struct sync_view *v)
{
    static const char *const names[] = {"config.json", "mappings.csv", "mode"};
    struct sync_texts texts = {0};
    bool rejected[3] = {false};
    AUTO_BUF struct buf reasons = BUF_INIT(64 * 1024);
    AUTO_FREE struct complaints *complaints = calloc(1, sizeof *complaints);
    if (v->trouble)
        add_line(&reasons, "error: %s", v->trouble);
    struct error err = ERROR_INIT;
    int rc = complaints ? catalog_sync_texts(e->catalog, id, &texts, &v->arena, rejected, &err)
                        : error_no_memory(&err);
    if (rc < 0) {
        add_line(&reasons, "error: cannot read the definition: %s",
                 err.kind ? err.text : strerror(-rc));
        v->reasons = arena_strdup(&v->arena, buf_z(&reasons));
        return;
    }
    struct definition *def = NULL;
    struct world world = catalog_world(e->catalog);
    if (definition_parse(&world, &texts, &def, complaints) == -ENOMEM && complaints->n == 0)
        add_line(&reasons, "error: out of memory");
    for (size_t i = 0; i < complaints->n; i++) {
        AUTO_BUF struct buf line = BUF_INIT(4096);
        complaint_line(&complaints->items[i], &line);
        add_line(&reasons, "%s", buf_z(&line));
    }
    for (size_t i = 0; i < 3; i++)
        if (rejected[i])
            add_line(&reasons, "%s.rej holds a refused edit: mend %s or remove %s.rej",
                     names[i], names[i], names[i]);
    v->mode = texts.mode.p ? trimmed(&v->arena, texts.mode) : "";
    if (def) {
        v->source = arena_strdup(&v->arena, def->source_connection);
        v->destination = arena_printf(&v->arena, "%s%s%s", def->dest_connection,
                                      def->object ? " " : "", def->object ? def->object : "");
        v->why_full = run_why_full(&v->record, def,
                                   place_of(e, def->dest_connection, &v->arena), &v->arena);
        v->type = def->type;
        v->dest_driver = driver_ref(def->dest_driver);
        v->keep = (struct keep_runs){def->keep_runs, def->keep_days};
    } else if (texts.config.p) {
        const char *connection = config_destination(texts.config, &v->arena, &v->type);
        v->dest_driver = connection ? world.driver_of(world.arg, connection) : NULL;
    }
    definition_free(def);
    v->ready = reasons.n == 0 && !reasons.failed;
    v->reasons = arena_strdup(&v->arena, buf_z(&reasons));
}

static int
note_unknown(void *arg, const char *name, const struct node *n)
{
    struct buf *notes = arg;
    if (n->kind == NODE_FILE && text_kind_in_sync(name) == TEXT_PLAIN && name[0] != '.' &&
        !strchr(name, '~') && !strstr(name, ".rej") && strstr(name, "README") != name)
        add_line(notes, "%s is not a file that this engine reads", name);
    return notes->n > 4096;
}

/* -ENOENT: there is no such sync any more. What cannot be read of one that is there stands in
 * its view as the reason why it is not ready. */
static int
build_view(struct engine *e, node_id id, struct sync_view **ret)
{
    AUTO_BUF struct buf name = BUF_INIT(1024);
    AUTO_BUF struct buf notes = BUF_INIT(16 * 1024);
    struct error err = ERROR_INIT;
    *ret = NULL;
    int rc = ctree_name(e->catalog, id, &name);
    if (rc < 0)
        return rc;
    struct sync_view *v = calloc(1, sizeof *v);
    if (!v)
        return -ENOMEM;
    atomic_store(&v->refs, 1);
    rc = ledger_load_sync(e->catalog, id, &v->record, &err);
    if (rc == -ENOENT) {
        sync_view_unref(v);
        return rc;
    }
    v->name = arena_strdup(&v->arena, buf_z(&name));
    v->mode = v->source = v->destination = v->reasons = "";
    v->trouble = rc < 0 ? arena_strdup(&v->arena, err.text) : NULL;
    describe_definition(e, id, v);
    scheduler_describe(e, id, v, &notes);
    ctree_list(e->catalog, id, NULL, note_unknown, &notes);
    if (ledger_load_run(e->catalog, v->record.uid, 0, &v->arena, &v->last) == -EUCLEAN)
        add_line(&notes, "the ledger's record of the newest run is damaged");
    v->notes = arena_strdup(&v->arena, buf_z(&notes));
    clock_gettime(CLOCK_REALTIME, &v->changed);
    if (!v->name || !v->mode || !v->source || !v->destination || !v->reasons || !v->notes ||
        !v->schedule || !v->trouble != !rc) {
        sync_view_unref(v);
        return -ENOMEM;
    }
    *ret = v;
    return 0;
}

/* ---- keeping the list ---- */

static void
insert_sorted(struct engine *e, struct sync *s)
{
    struct sync **at = &e->syncs;
    while (*at && strcmp((*at)->view->name, s->view->name) < 0)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
}

static void
unlink_sync(struct engine *e, struct sync *s)
{
    for (struct sync **at = &e->syncs; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            return;
        }
}

void
registry_refresh(struct engine *e, node_id id)
{
    struct sync_view *v;
    pthread_mutex_lock(&e->building);
    int rc = build_view(e, id, &v);
    if (rc < 0 && rc != -ENOENT) { /* what was known stays; it is not gone */
        pthread_mutex_unlock(&e->building);
        log_error("cannot look at the sync of inode %" PRIu64 ": %s", id, strerror(-rc));
        return;
    }
    pthread_mutex_lock(&e->lock);
    clock_gettime(CLOCK_REALTIME, &e->changed);
    struct sync *s = registry_find(e, id);
    struct sync_view *old = s ? s->view : NULL;
    if (v && !s) {
        s = calloc(1, sizeof *s);
        if (s)
            s->id = id;
    } else if (s) {
        unlink_sync(e, s);
    }
    if (s && v) {
        s->view = v;
        s->gone = false;
        insert_sorted(e, s);
        scheduler_look_at(e, v);
        v = NULL;
    } else if (s && s->job) { /* removed under a running job: goes with it */
        s->gone = true;
        insert_sorted(e, s);
        old = NULL;
    } else if (s) {
        free(s->error);
        free(s);
    }
    pthread_mutex_unlock(&e->lock);
    pthread_mutex_unlock(&e->building);
    sync_view_unref(v);
    sync_view_unref(old);
    if (e->on_change)
        e->on_change(e->on_change_arg, id);
}

/* A verb was refused for what the files said; now they say something else. */
static void
forget_refusal(struct engine *e, node_id id)
{
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, id);
    if (s && s->refused) {
        free(TAKE(s->error));
        s->refused = false;
    }
    pthread_mutex_unlock(&e->lock);
}

void
registry_changed(void *arg, node_id dir)
{
    struct engine *e = arg;
    if (dir != NODE_CONNECTIONS && dir != NODE_DRIVERS) {
        forget_refusal(e, dir);
        registry_refresh(e, dir);
        return;
    }
    AUTO_FREE node_id *ids = NULL;
    size_t n = registry_list(e, &ids);
    for (size_t i = 0; i < n; i++)
        registry_refresh(e, ids[i]);
}

bool
registry_busy(void *arg, node_id dir)
{
    struct engine *e = arg;
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, dir);
    bool busy = s && s->job;
    pthread_mutex_unlock(&e->lock);
    return busy;
}

struct loading {
    struct engine *engine;
};

static int
load_sync(void *arg, const char *name, const struct node *n)
{
    struct loading *l = arg;
    (void)name;
    if (n->kind == NODE_DIR)
        registry_refresh(l->engine, n->id);
    return 0;
}

int
registry_load(struct engine *e, struct error *err)
{
    struct loading l = {e};
    int rc = ctree_list(e->catalog, NODE_SYNCS, NULL, load_sync, &l);
    return rc < 0 ? error_set_errno(err, ERR_INTERNAL, -rc, "cannot list the syncs") : 0;
}

void
registry_free(struct engine *e)
{
    for (struct sync *s = e->syncs, *next; s; s = next) {
        next = s->next;
        sync_view_unref(s->view);
        free(s->error);
        free(s);
    }
    e->syncs = NULL;
}
