/*
 * /metrics: every sync's numbers in the text form of Prometheus (exposition format 0.0.4). The
 * counters are sums kept in the ledger, so they go on where a daemon before this one stopped;
 * they begin again at 0 only when a sync is made anew.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "run/engine_private.h"

/* The numbers of one sync at one moment. */
struct sample {
    struct buf label; /* its name, escaped */
    struct sync_totals totals;
    uint64_t running, ready, pending, rejected, delivered, state_bytes;
    uint64_t last_duration, last_success; /* microseconds; 0: there was none yet */
};

struct series {
    const char *value; /* of the family's label; NULL: it has none */
    size_t offset;     /* of a uint64_t in struct sample */
};

struct family {
    const char *name, *type, *help;
    const char *label;       /* besides `sync` */
    bool seconds;            /* shown as such; left out while 0 */
    struct series series[8]; /* the last one is none, unless it is the only one */
};

#define AT(member) offsetof(struct sample, member)

static const struct family families[] = {
    {"retlfs_runs_total",
     "counter",
     "Runs that ended, by outcome.",
     "outcome",
     false,
     {{"succeeded", AT(totals.runs[RUN_SUCCEEDED])},
      {"partial", AT(totals.runs[RUN_PARTIAL])},
      {"failed", AT(totals.runs[RUN_FAILED])},
      {"cancelled", AT(totals.runs[RUN_CANCELLED])},
      {"held", AT(totals.runs[RUN_HELD])}}},
    {"retlfs_offered_rows_total",
     "counter",
     "Rows offered to the destination, by operation.",
     "op",
     false,
     {{"insert", AT(totals.inserts)},
      {"update", AT(totals.updates)},
      {"delete", AT(totals.deletes)},
      {"foreign_delete", AT(totals.foreign)}}},
    {"retlfs_rows_total",
     "counter",
     "Rows of runs that came to their end, by outcome.",
     "outcome",
     false,
     {{"delivered", AT(totals.delivered)},
      {"rejected", AT(totals.rejected)},
      {"not_sent", AT(totals.not_sent)},
      {"dropped", AT(totals.dropped)},
      {"unchanged", AT(totals.unchanged)},
      {"held_back", AT(totals.held_back)},
      {"recorded", AT(totals.recorded)}}},
    {"retlfs_retried_rows_total",
     "counter",
     "Rows offered again that the run before had rejected.",
     NULL,
     false,
     {{NULL, AT(totals.retried)}}},
    {"retlfs_pending_rows",
     "gauge",
     "Changes of the plan in pending/.",
     NULL,
     false,
     {{NULL, AT(pending)}}},
    {"retlfs_rejected_rows",
     "gauge",
     "Rows in rejected/.",
     NULL,
     false,
     {{NULL, AT(rejected)}}},
    {"retlfs_delivered_rows",
     "gauge",
     "Records in the delivered state.",
     NULL,
     false,
     {{NULL, AT(delivered)}}},
    {"retlfs_state_bytes",
     "gauge",
     "Size of the delivered state on disk.",
     NULL,
     false,
     {{NULL, AT(state_bytes)}}},
    {"retlfs_last_run_duration_seconds",
     "gauge",
     "How long the last run took.",
     NULL,
     true,
     {{NULL, AT(last_duration)}}},
    {"retlfs_last_success_timestamp_seconds",
     "gauge",
     "When a run last delivered everything (Unix time).",
     NULL,
     true,
     {{NULL, AT(last_success)}}},
    {"retlfs_running",
     "gauge",
     "1 while the sync runs or waits for its turn.",
     NULL,
     false,
     {{NULL, AT(running)}}},
    {"retlfs_ready",
     "gauge",
     "1 when the definition is whole and good.",
     NULL,
     false,
     {{NULL, AT(ready)}}},
};

/* A label's value: UTF-8, with backslash, quote and newline escaped. */
static void
add_escaped(struct buf *out, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t n = utf8_character(text, left);
        if (n == 0)
            buf_adds(out, "\xEF\xBF\xBD");
        else if (*text == '\n')
            buf_adds(out, "\\n");
        else if (*text == '\\' || *text == '"')
            buf_addf(out, "\\%c", *text);
        else
            buf_add(out, text, n);
        n = n ? n : 1;
        text += n;
        left -= n;
    }
}

static uint64_t
state_bytes(struct engine *e, const struct sync_record *r)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < r->nsegments; i++) {
        AUTO_BUF struct buf path = BUF_INIT(BUF_NO_MAX);
        struct stat st;
        buf_addf(&path, "syncs/%s/%s", r->uid, r->segments[i]);
        if (fstatat(e->state_fd, buf_z(&path), &st, 0) == 0)
            sum += (uint64_t)st.st_size;
    }
    return sum;
}

/* False: the sync is gone. */
static bool
take_sample(struct engine *e, node_id id, struct sample *ret)
{
    struct sync_view *v = registry_view(e, id);
    if (!v)
        return false;
    const struct sync_record *r = &v->record;
    const struct plan_record *p = r->plan;
    *ret = (struct sample){
        .totals = r->totals,
        .running = registry_busy(e, id),
        .ready = v->ready,
        .pending = p ? p->inserts + p->updates + p->deletes + p->foreign : 0,
        .rejected = r->rejected_rows,
        .delivered = r->live_rows,
        .state_bytes = state_bytes(e, r),
        .last_success = (uint64_t)r->last_ok,
    };
    if (v->last.ended > v->last.started)
        ret->last_duration = (uint64_t)(v->last.ended - v->last.started);
    add_escaped(&ret->label, v->name);
    sync_view_unref(v);
    return true;
}

static void
add_line(struct buf *out, const struct family *f, const struct series *series,
         const struct sample *s)
{
    uint64_t n;
    memcpy(&n, (const char *)s + series->offset, sizeof n);
    if (f->seconds && n == 0)
        return;
    buf_addf(out, "%s{sync=\"%s\"", f->name, buf_z(&s->label));
    if (f->label)
        buf_addf(out, ",%s=\"%s\"", f->label, series->value);
    if (f->seconds)
        buf_addf(out, "} %" PRIu64 ".%06" PRIu64 "\n", n / 1000000, n % 1000000);
    else
        buf_addf(out, "} %" PRIu64 "\n", n);
}

static void
add_family(struct buf *out, const struct family *f, const struct sample *samples, size_t n)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, f->type);
    for (size_t i = 0; i < n; i++)
        for (const struct series *s = f->series; s == f->series || s->value; s++)
            add_line(out, f, s, &samples[i]);
}

void
metrics_show(struct engine *e, struct buf *out)
{
    AUTO_FREE node_id *ids = NULL;
    size_t n = registry_list(e, &ids), taken = 0;
    AUTO_FREE struct sample *samples = calloc(n + 1, sizeof *samples);
    if (!samples) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++)
        taken += take_sample(e, ids[i], &samples[taken]);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        add_family(out, &families[i], samples, taken);
    for (size_t i = 0; i < taken; i++) {
        out->failed |= samples[i].label.failed;
        buf_done(&samples[i].label);
    }
}
