/*
 * /control: the whole mount in one verb. `check` is the gate at the end of a deployment: git
 * and shells do not always tell that a file was refused, so the last command asks.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "run/engine_private.h"

enum { REASONS_MAX = 1024 * 1024, COMMAND_MAX = 4096 };

static const struct control_verb {
    const char *name, *help;
} control_verbs[] = {
    {"check",
     "fails while a sync is not ready or an edit stands refused; says why in error_log"},
    {"reload", "judges every definition anew"},
};
enum { VERB_CHECK, VERB_RELOAD, CONTROL_VERBS };
_Static_assert(sizeof control_verbs / sizeof *control_verbs == CONTROL_VERBS, "verbs");

/* ---- what stands in the way ---- */

/* As `retlfs check` says it: "syncs/a/config.json:3:1: error: …", "syncs/a: error: …". */
static void
add_sync_lines(struct buf *out, const char *name, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        bool of_file = strncmp(text, "error:", strlen("error:")) != 0;
        buf_addf(out, "syncs/%s%s%.*s\n", name, of_file ? "/" : ": ", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static bool
add_sync_reasons(struct engine *e, node_id id, struct buf *out)
{
    struct sync_view *v = registry_view(e, id);
    if (!v || v->ready) {
        sync_view_unref(v);
        return false;
    }
    AUTO_BUF struct buf prefix = BUF_INIT(512);
    buf_addf(&prefix, "syncs/%s/", v->name);
    catalog_refused_texts(e->catalog, id, buf_z(&prefix), out);
    add_sync_lines(out, v->name, v->reasons);
    sync_view_unref(v);
    return true;
}

/* How many things stand in the way, each told in *out as far as there is room. */
static size_t
add_reasons(struct engine *e, struct buf *out)
{
    AUTO_FREE node_id *ids = NULL;
    size_t faults = 0, before = out->n;
    catalog_refused_texts(e->catalog, NODE_CONNECTIONS, "", out);
    drivers_refused(e, out);
    faults += out->n > before || out->failed;
    size_t n = registry_list(e, &ids);
    for (size_t i = 0; i < n; i++)
        faults += add_sync_reasons(e, ids[i], out);
    return faults;
}

/* ---- verbs ---- */

static int
check(struct engine *e, const struct caller *who, struct error *err)
{
    AUTO_BUF struct buf reasons = BUF_INIT(REASONS_MAX);
    if (add_reasons(e, &reasons) == 0)
        return 0;
    AUTO_BUF struct buf text = BUF_INIT(REASONS_MAX + 256);
    buf_addf(&text, "check by uid=%u pid=%d: not everything is ready\n", who->uid, who->pid);
    buf_add(&text, reasons.p, reasons.n);
    catalog_error_log(e->catalog, "control", buf_z(&text));
    return error_set(err, ERR_CONFIG, EBADMSG, "not everything is ready: see error_log");
}

static int
refuse(struct engine *e, struct str word, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT(512);
    buf_addf(&text, "unknown verb \"%.*s\"; allowed:", (int)(word.n < 64 ? word.n : 64),
             word.p ? word.p : "");
    for (size_t i = 0; i < CONTROL_VERBS; i++)
        buf_addf(&text, "%s %s", i ? "," : "", control_verbs[i].name);
    catalog_error_log(e->catalog, "control", buf_z(&text));
    return error_set(err, ERR_CONFIG, EINVAL, "%s", buf_z(&text));
}

static struct str
trim(struct str s)
{
    while (s.n && strchr(" \t\r\n", *s.p)) {
        s.p++;
        s.n--;
    }
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The text but for comments and blank lines. */
static struct str
command_in(struct str text, struct buf *space)
{
    while (text.n) {
        const char *newline = memchr(text.p, '\n', text.n);
        size_t n = newline ? (size_t)(newline - text.p) + 1 : text.n;
        struct str line = trim((struct str){text.p, n});
        if (line.n && *line.p != '#')
            buf_add(space, text.p, n);
        text = (struct str){text.p + n, text.n - n};
    }
    return trim(buf_str(space));
}

int
engine_control(struct engine *e, struct str text, const struct caller *who, struct error *err)
{
    AUTO_BUF struct buf space = BUF_INIT(COMMAND_MAX);
    struct str word = command_in(text, &space);
    if (space.failed && !space.full)
        return error_no_memory(err);
    if (space.full)
        return error_set(err, ERR_CONFIG, EINVAL, "a command has at most 4096 bytes");
    if (word.n == 0)
        return 0;
    if (str_is(word, control_verbs[VERB_CHECK].name))
        return check(e, who, err);
    if (!str_is(word, control_verbs[VERB_RELOAD].name))
        return refuse(e, word, err);
    registry_changed(e, NODE_DRIVERS);
    return 0;
}

int
engine_control_show(struct engine *e, struct buf *out, struct timespec *changed)
{
    AUTO_BUF struct buf reasons = BUF_INIT(REASONS_MAX);
    pthread_mutex_lock(&e->lock);
    *changed = e->changed;
    pthread_mutex_unlock(&e->lock);
    buf_adds(out, "# write one of these verbs:\n");
    for (size_t i = 0; i < CONTROL_VERBS; i++)
        buf_addf(out, "# %-9s %s\n", control_verbs[i].name, control_verbs[i].help);
    size_t faults = add_reasons(e, &reasons);
    buf_addf(out, "# check says now: %s\n",
             faults ? "not everything is ready" : "all is ready");
    for (const char *line = buf_z(&reasons); *line;) {
        size_t n = strcspn(line, "\n");
        buf_addf(out, "#   %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    return out->failed ? -ENOMEM : 0;
}
