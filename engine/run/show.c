/*
 * The engine's texts as the mount shows them. `key: value` lines in a stable order for people,
 * JSON for programs; only absolute times, so that a text changes only when something happened.
 */
#include <inttypes.h>
#include <jansson.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "base/utf8.h"
#include "run/engine_private.h"

/* ---- what happens now ---- */

struct activity { /* a snapshot of a running job; verb NULL: idle */
    const char *verb;
    enum run_phase phase;
    uint64_t rows, changes, sent;
    int64_t total; /* -1: unknown */
    bool total_exact;
    usec_t started;
    double rate;          /* rows a second */
    int64_t seconds_left; /* -1: unknown */
};

static void
look_at_job(struct engine *e, node_id id, struct activity *a)
{
    *a = (struct activity){.total = -1, .seconds_left = -1};
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, id);
    struct job *job = s ? s->job : NULL;
    if (job) {
        struct run *run = &job->run;
        a->verb = verb_name(run->verb);
        a->phase = (enum run_phase)atomic_load(&run->phase);
        a->rows = atomic_load(&run->progress.rows_read);
        a->changes = atomic_load(&run->progress.changes);
        a->sent = atomic_load(&run->progress.sent);
        a->total = atomic_load(&run->progress.total);
        a->total_exact = atomic_load(&run->progress.total_exact);
        a->started = run->started;
    }
    pthread_mutex_unlock(&e->lock);
    double seconds = a->verb ? (double)(clock_now() - a->started) / 1e6 : 0;
    if (a->rows > 0 && seconds > 0.01)
        a->rate = (double)a->rows / seconds;
    if (a->rate > 0 && a->total > 0 && a->phase == PHASE_READING)
        a->seconds_left = a->total > (int64_t)a->rows
                              ? (int64_t)((double)(a->total - (int64_t)a->rows) / a->rate)
                              : 0;
}

static const char *
state_word(const struct sync_view *v, const struct activity *a)
{
    if (a->verb)
        return a->phase == PHASE_QUEUED ? "queued" : "running";
    if (!v->ready)
        return "draft";
    if (v->last.number == 0)
        return "ready";
    switch (v->last.outcome) {
    case RUN_ACTIVE: /* nobody works on it: its end could not be written */
    case RUN_FAILED:
        return "failed";
    case RUN_HELD:
        return v->record.plan ? "held" : "ready";
    case RUN_UNRESOLVED:
        return "unresolved";
    default:
        return "ready";
    }
}

/* ---- status ---- */

static void
key_values(struct buf *out, const char *key, const char *lines)
{
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        buf_addf(out, "%s: %.*s\n", key, (int)n, lines);
        lines += n + (lines[n] == '\n');
    }
}

/* A line, whatever stands in the text. */
static void
key_text(struct buf *out, const char *key, const char *text)
{
    buf_addf(out, "%s: ", key);
    size_t at = out->n;
    buf_adds(out, text);
    if (!out->failed)
        utf8_clean(out->p + at);
    buf_addc(out, '\n');
}

static void
add_activity(struct buf *out, const struct activity *a)
{
    if (!a->verb)
        return;
    buf_addf(out, "doing: %s\nphase: %s\nrows: %" PRIu64, a->verb, run_phase_name(a->phase),
             a->rows);
    if (a->total >= 0)
        buf_addf(out, " of %s%" PRId64, a->total_exact ? "" : "about ", a->total);
    buf_addf(out, "\nchanges: %" PRIu64 "\nsent: %" PRIu64 "\nrate: %.0f rows/s\n", a->changes,
             a->sent, a->rate);
    if (a->seconds_left >= 0)
        buf_addf(out, "time_left: %" PRId64 " s\n", a->seconds_left);
    buf_adds(out, "started: ");
    clock_format(a->started, out);
    buf_addc(out, '\n');
}

static void
add_last_run(struct buf *out, const struct run_record *r)
{
    if (r->number == 0) {
        buf_adds(out, "last_run: none\n");
        return;
    }
    buf_addf(out, "last_run: %" PRIu64 " %s ", r->number, run_outcome_name(r->outcome));
    clock_format(r->ended, out);
    buf_addf(out,
             "\nlast_sent: %" PRIu64 " inserts, %" PRIu64 " updates, %" PRIu64
             " deletes, %" PRIu64 " rejected, %" PRIu64 " not sent\n",
             r->inserts, r->updates, r->deletes + r->foreign, r->rejected, r->not_sent);
    if (r->recorded)
        buf_addf(out, "last_recorded: %" PRIu64 "\n", r->recorded);
    if (r->why_full)
        buf_addf(out, "last_full: %s\n", r->why_full);
}

static void
add_next_run(struct buf *out, const struct sync_view *v)
{
    buf_addf(out, "next_run: %s", v->why_full ? "full: " : "incremental");
    if (v->why_full) {
        buf_adds(out, v->why_full);
        uint64_t rows =
            v->record.model_rows >= 0 ? (uint64_t)v->record.model_rows : v->record.live_rows;
        if (rows)
            buf_addf(out, " (%" PRIu64 " rows)", rows);
    }
    buf_addc(out, '\n');
}

static void
add_schedule(struct buf *out, const struct sync_view *v)
{
    const struct schedule_record *r = &v->record.schedule;
    buf_addf(out, "schedule: %s\n", v->schedule);
    if (r->paused || v->next_start) {
        buf_adds(out, "next_scheduled: ");
        if (r->paused)
            buf_adds(out, "paused");
        else
            clock_format(v->next_start, out);
        buf_addc(out, '\n');
    }
    if (r->skipped)
        buf_addf(out, "skipped: %" PRIu64 "\n", r->skipped);
}

static void
show_status(const struct sync_view *v, const struct activity *a, struct buf *out)
{
    const struct sync_record *r = &v->record;
    buf_addf(out, "state: %s\n", state_word(v, a));
    key_values(out, "reason", v->reasons);
    if (v->ready &&
        (v->last.outcome == RUN_FAILED || v->last.outcome == RUN_HELD ||
         v->last.outcome == RUN_UNRESOLVED || v->last.not_sent) &&
        v->last.error && !a->verb)
        key_values(out, "reason", v->last.error);
    if (v->last.number && v->last.outcome == RUN_ACTIVE && !a->verb)
        key_values(out, "reason", "the end of the last run could not be written");
    key_values(out, "note", v->notes);
    add_activity(out, a);
    buf_addf(out, "mode: %s\nsource: %s\n", v->mode, v->source);
    key_text(out, "destination", v->destination);
    if (v->ready)
        add_next_run(out, v);
    add_schedule(out, v);
    buf_addf(out, "delivered: %" PRIu64 "\nrejected: %" PRIu64 "\n", r->live_rows,
             r->rejected_rows);
    if (r->plan)
        buf_addf(out, "pending: plan %s%s\n", r->plan->id, r->plan->held ? ", held" : "");
    else
        buf_adds(out, "pending: none\n");
    add_last_run(out, &v->last);
    buf_adds(out, "last_ok: ");
    clock_format(r->last_ok, out);
    buf_addc(out, '\n');
}

static json_t *
json_text(const char *text)
{
    return text && *text ? json_string_nocheck(text) : json_null();
}

/* NULL: memory is out. */
static json_t *
json_lines(const char *lines)
{
    json_t *list = json_array();
    while (list && *lines) {
        size_t n = strcspn(lines, "\n");
        if (json_array_append_new(list, json_stringn_nocheck(lines, n)) < 0) {
            json_decref(list);
            return NULL;
        }
        lines += n + (lines[n] == '\n');
    }
    return list;
}

static json_t *
json_time(usec_t t)
{
    AUTO_BUF struct buf text = BUF_INIT(64);
    clock_format(t, &text);
    return t ? json_string_nocheck(buf_z(&text)) : json_null();
}

static json_t *
json_count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* A text that lacked what there was no memory for would be another one. */
static void
put(json_t *to, const char *name, json_t *value, struct buf *out)
{
    if (json_object_set_new(to, name, value) < 0)
        out->failed = true;
}

static json_t *
json_activity(const struct activity *a, struct buf *out)
{
    if (!a->verb)
        return json_null();
    json_t *json = json_object();
    put(json, "verb", json_string(a->verb), out);
    put(json, "phase", json_string(run_phase_name(a->phase)), out);
    put(json, "rows", json_count(a->rows), out);
    put(json, "total", a->total >= 0 ? json_integer(a->total) : json_null(), out);
    put(json, "total_exact", json_boolean(a->total_exact), out);
    put(json, "changes", json_count(a->changes), out);
    put(json, "sent", json_count(a->sent), out);
    put(json, "rows_per_second", json_real(a->rate), out);
    put(json, "seconds_left",
        a->seconds_left >= 0 ? json_integer(a->seconds_left) : json_null(), out);
    put(json, "started", json_time(a->started), out);
    return json;
}

static void
dump_json(json_t *json, struct buf *out)
{
    AUTO_FREE char *text = json_write(json, JSON_INDENT(2));
    if (text)
        buf_addf(out, "%s\n", text);
    else
        out->failed = true;
    json_decref(json);
}

static void
show_status_json(const struct sync_view *v, const struct activity *a, struct buf *out)
{
    const struct sync_record *r = &v->record;
    json_t *json = json_object(), *last = json_object();
    put(json, "name", json_string_nocheck(v->name), out);
    put(json, "state", json_string(state_word(v, a)), out);
    put(json, "reasons", json_lines(v->reasons), out);
    put(json, "notes", json_lines(v->notes), out);
    put(json, "running", json_activity(a, out), out);
    put(json, "mode", json_text(v->mode), out);
    put(json, "source", json_text(v->source), out);
    put(json, "destination", json_text(v->destination), out);
    put(json, "next_full", json_text(v->ready ? v->why_full : NULL), out);
    put(json, "schedule", json_text(v->schedule), out);
    put(json, "next_scheduled", json_time(v->next_start), out);
    put(json, "paused", json_boolean(r->schedule.paused), out);
    put(json, "skipped", json_count(r->schedule.skipped), out);
    put(json, "model_rows", r->model_rows >= 0 ? json_integer(r->model_rows) : json_null(),
        out);
    put(json, "delivered", json_count(r->live_rows), out);
    put(json, "rejected", json_count(r->rejected_rows), out);
    put(json, "plan", json_text(r->plan ? r->plan->id : NULL), out);
    put(json, "held", json_text(r->plan ? r->plan->held : NULL), out);
    put(last, "run", json_count(v->last.number), out);
    put(last, "outcome", json_string(run_outcome_name(v->last.outcome)), out);
    put(last, "rejected", json_count(v->last.rejected), out);
    put(last, "not_sent", json_count(v->last.not_sent), out);
    put(last, "ended", json_time(v->last.ended), out);
    put(last, "error", json_text(v->last.error), out);
    if (v->last.number == 0) {
        json_decref(last);
        last = json_null();
    }
    put(json, "last_run", last, out);
    put(json, "last_ok", json_time(r->last_ok), out);
    dump_json(json, out);
}

/* ---- pending/summary ---- */

/* changed: the time of the text, later when rows were removed from pending/ since. */
static uint64_t
count_left_out(struct engine *e, node_id sync, struct timespec *changed)
{
    struct rows *rows = NULL;
    struct timespec newest;
    if (sync_rows(e, sync, ROWS_PENDING, &rows) < 0)
        return 0;
    uint64_t n = rows_left_out_count(rows, &newest);
    if (newest.tv_sec > changed->tv_sec ||
        (newest.tv_sec == changed->tv_sec && newest.tv_nsec > changed->tv_nsec))
        *changed = newest;
    rows_unref(rows);
    return n;
}

static void
show_summary(const struct sync_view *v, uint64_t left_out, struct buf *out)
{
    const struct plan_record *p = v->record.plan;
    if (!p) {
        buf_adds(out, "plan: none; write \"plan\" to trigger\n");
        if (v->ready)
            add_next_run(out, v);
        return;
    }
    buf_addf(out, "plan: %s\nmade: ", p->id);
    clock_format(p->made, out);
    buf_addf(out, "\nkind: %s%s\n", p->why_full ? "full: " : "incremental",
             p->why_full ? p->why_full : "");
    buf_addf(out,
             "model: %" PRIu64 " rows\ninserts: %" PRIu64 "\nupdates: %" PRIu64
             "\ndeletes: %" PRIu64 "\n",
             p->counts.rows, p->inserts, p->updates, p->deletes);
    if (p->foreign)
        buf_addf(out, "foreign_deletes: %" PRIu64 "\n", p->foreign);
    if (p->recorded)
        buf_addf(out, "recorded: %" PRIu64 "\n", p->recorded);
    if (left_out)
        buf_addf(out, "left_out: %" PRIu64 "\n", left_out);
    buf_addf(out, "unchanged: %" PRIu64 "\nrefused: %" PRIu64 "\n", p->counts.unchanged,
             p->counts.refused);
    buf_addf(out, "guard: %s%s\n", p->held ? "held: " : "pass", p->held ? p->held : "");
    buf_addf(out, "approve: echo \"approve %s\" > trigger\n", p->id);
}

/* ---- error ---- */

/* The newest of what stands: a complaint about a file, why a verb failed, why the last run
 * (perhaps another daemon's) did. */
static int
show_error(struct engine *e, node_id id, const struct sync_view *v, struct buf *out)
{
    usec_t complaint_at = 0, verb_at = 0;
    AUTO_BUF struct buf complaint = BUF_INIT(64 * 1024);
    AUTO_BUF struct buf verb = BUF_INIT(64 * 1024);
    if (catalog_error_text(e->catalog, id, &complaint, &complaint_at) < 0)
        complaint_at = 0;
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, id);
    bool spoken = s && s->error_at > 0; /* this daemon has run a verb: it knows better */
    if (s && s->error) {
        buf_adds(&verb, s->error);
        verb_at = s->error_at;
    }
    pthread_mutex_unlock(&e->lock);
    if (!spoken && v->trouble) {
        buf_addf(&verb, "%s\n", v->trouble);
    } else if (!spoken && v->last.error) {
        buf_addf(&verb, "%s: %s\n", v->last.verb, v->last.error);
        verb_at = v->last.ended;
    }
    if (complaint_at > verb_at)
        buf_add(out, complaint.p, complaint.n);
    else
        buf_add(out, verb.p, verb.n);
    return 0;
}

/* ---- files ---- */

int
sync_show(struct engine *e, node_id sync, enum sync_text which, struct buf *out,
          struct timespec *changed)
{
    struct sync_view *v = registry_view(e, sync);
    if (!v)
        return -ENOENT;
    struct activity a;
    look_at_job(e, sync, &a);
    *changed = v->changed;
    usec_t at = 0;
    int rc = 0;
    switch (which) {
    case SYNC_STATUS:
        show_status(v, &a, out);
        break;
    case SYNC_STATUS_JSON:
        show_status_json(v, &a, out);
        break;
    case SYNC_ERROR:
        rc = show_error(e, sync, v, out);
        break;
    case SYNC_LOG:
        rc = catalog_log_text(e->catalog, v->record.uid, out, &at);
        if (at)
            *changed = (struct timespec){at / 1000000, at % 1000000 * 1000};
        break;
    case SYNC_MODES:
        if (v->dest_driver)
            sync_modes_text(v->dest_driver, v->type, mode_parse(str_of(v->mode)), out);
        else
            buf_adds(out, "# no destination yet: config.json names none that exists\n");
        break;
    case SYNC_TRIGGER:
        verbs_help(v, a.verb != NULL, out);
        break;
    case SYNC_PENDING_SUMMARY:
        show_summary(v, count_left_out(e, sync, changed), out);
        break;
    }
    sync_view_unref(v);
    return rc < 0 ? rc : out->failed ? -ENOMEM : 0;
}

static void
status_line(struct engine *e, node_id id, struct buf *out)
{
    struct sync_view *v = registry_view(e, id);
    if (!v)
        return;
    struct activity a;
    look_at_job(e, id, &a);
    buf_addf(out, "%-24s %-8s %-10s last=", v->name, *v->mode ? v->mode : "-",
             state_word(v, &a));
    if (v->last.number)
        buf_addf(out, "%" PRIu64 ",%s,", v->last.number, run_outcome_name(v->last.outcome));
    clock_format(v->last.ended, out);
    buf_addf(out, " delivered=%" PRIu64 " rejected=%" PRIu64, v->record.live_rows,
             v->record.rejected_rows);
    if (v->record.schedule.paused || v->next_start) {
        buf_adds(out, " next=");
        if (v->record.schedule.paused)
            buf_adds(out, "paused");
        else
            clock_format(v->next_start, out);
    }
    buf_addc(out, '\n');
    sync_view_unref(v);
}

int
engine_show(struct engine *e, enum root_text which, struct buf *out, struct timespec *changed)
{
    pthread_mutex_lock(&e->lock);
    *changed = e->changed;
    pthread_mutex_unlock(&e->lock);
    if (which == ROOT_ERROR_LOG) {
        usec_t at = 0;
        int rc = catalog_error_log_text(e->catalog, out, &at);
        if (at) /* else it was cleared, perhaps long ago */
            *changed = (struct timespec){at / 1000000, at % 1000000 * 1000};
        return rc;
    }
    if (which == ROOT_METRICS) {
        metrics_show(e, out);
        return out->failed ? -ENOMEM : 0;
    }
    AUTO_FREE node_id *ids = NULL;
    size_t n = registry_list(e, &ids);
    for (size_t i = 0; i < n; i++)
        status_line(e, ids[i], out);
    return out->failed ? -ENOMEM : 0;
}

void
engine_clear_error_log(struct engine *e)
{
    catalog_error_log_clear(e->catalog);
}
