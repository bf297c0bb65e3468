/* The scheduler: see scheduler.h. */
#include "run/scheduler.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/vec.h"
#include "define/schedule.h"

#define SECOND INT64_C(1000000)
#define LOOK_AGAIN (60 * SECOND) /* at the latest: the wall clock may have been set */
#define CLOCK_SET_BACK (3600 * SECOND)
#define COLLECT_AGAIN (3600 * SECOND)
#define SPREAD_MAX (30 * SECOND)
enum { SPREAD_SHARE = 10 };

/* ---- what a view says ---- */

/* Syncs that are due together start one after the other: each has its own delay, always the
 * same, so that a text that names the next start tells the truth. */
static usec_t
delay_of(const char *uid, usec_t interval)
{
    usec_t spread = interval / SPREAD_SHARE < SPREAD_MAX ? interval / SPREAD_SHARE : SPREAD_MAX;
    uint64_t h = UINT64_C(14695981039346656037);
    for (; *uid; uid++)
        h = (h ^ (unsigned char)*uid) * UINT64_C(1099511628211);
    return spread > 0 ? (usec_t)((h >> 16) % (uint64_t)spread) : 0;
}

static void
add_note(struct buf *notes, const struct complaint *c)
{
    if (notes->n)
        buf_addc(notes, '\n');
    complaint_line(c, notes);
}

static void
plan_next(struct sync_view *v, const struct schedule *s)
{
    const struct schedule_record *r = &v->record.schedule;
    v->schedule_new = !r->text || strcmp(r->text, v->schedule) != 0;
    if (s->kind == SCHEDULE_OFF || r->paused)
        return;
    v->next_due = schedule_next(s, v->schedule_new ? clock_now() : r->since);
    usec_t following = v->next_due ? schedule_next(s, v->next_due) : 0;
    if (v->next_due)
        v->next_start = v->next_due + delay_of(v->record.uid, following - v->next_due);
}

static void
not_ready(struct sync_view *v, const char *before, const char *reason)
{
    v->ready = false;
    if (v->reasons)
        v->reasons = arena_printf(&v->arena, "%s%s%s%s", v->reasons, *v->reasons ? "\n" : "",
                                  before, reason);
}

void
scheduler_describe(struct engine *e, node_id id, struct sync_view *v, struct buf *notes)
{
    struct str text = {0};
    bool rejected = false;
    struct error err = ERROR_INIT;
    v->schedule = "off";
    int rc = catalog_sync_schedule(e->catalog, id, &text, &v->arena, &rejected, &err);
    if (rc < 0 && err.kind)
        not_ready(v, "error: ", err.text);
    if (rc < 0)
        return;
    if (rejected)
        not_ready(v, "",
                  "schedule.rej holds a refused edit: mend schedule or remove schedule.rej");
    if (!text.p) /* no file is no change: what tools take away for a moment comes back */
        return;
    struct schedule schedule;
    struct complaint c;
    struct text_file f = {.name = "schedule", .text = text};
    if (schedule_check(&f, true, &v->arena, &schedule, &c) != TEXT_OK) {
        add_note(notes, &c); /* it was good once: its time zone is gone, for one */
        return;
    }
    while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
        text.n--;
    while (text.n && strchr(" \t\r\n", *text.p)) {
        text.p++;
        text.n--;
    }
    if (text.n)
        v->schedule = arena_strndup(&v->arena, text.p, text.n);
    if (v->schedule)
        plan_next(v, &schedule);
}

void
scheduler_look_at(struct engine *e, const struct sync_view *v)
{
    if (v->schedule_new || (v->next_start && v->next_start < e->look_at)) {
        e->look_now = true;
        pthread_cond_signal(&e->due);
    }
}

/* ---- what is due ---- */

/* Asked for by a daemon that died before the run began. */
static bool
never_began(const struct sync_view *v)
{
    return v->next_start && v->record.schedule.asked_run > v->record.last_run;
}

/* Whether there is something to do or to write down for it now. */
static bool
wants(const struct engine *e, const struct sync_view *v, usec_t now)
{
    return v->schedule_new || (v->next_start && v->next_start <= now) ||
           (v->next_start && v->record.schedule.since > now + CLOCK_SET_BACK) ||
           (e->first_look && never_began(v));
}

/* Into the sync's log. */
static void
tell(struct engine *e, const struct sync_view *v, const char *what, const char *why)
{
    AUTO_BUF struct buf line = BUF_INIT(4096);
    buf_adds(&line, "scheduled run of ");
    clock_format(v->next_due, &line);
    buf_addf(&line, " %s: %.*s", what, (int)strcspn(why, "\n"), why);
    catalog_log(e->catalog, v->record.uid, buf_z(&line));
}

/* A run was due: asks for it, or says why not. */
static int
ask_for_run(struct engine *e, node_id id, const struct sync_view *v, struct schedule_record *r,
            struct error *err)
{
    struct node node = {0};
    if (!v->ready) {
        tell(e, v, "not started", v->reasons);
        return ledger_store_schedule(e->catalog, v->record.uid, r, err);
    }
    bool busy = registry_busy(e, id);
    if (!busy) {
        r->asked_run = v->record.last_run + 1;
        int rc = ledger_store_schedule(e->catalog, v->record.uid, r, err);
        if (rc < 0)
            return rc;
        ctree_get(e->catalog, id, &node);
        const struct caller owner = {.uid = node.uid, .gid = node.gid};
        rc = verbs_start_scheduled(e, v, id, &owner, err);
        if (rc != -EBUSY) /* somebody was faster: then it is as if it had been busy before */
            return rc;
        error_clear(err);
        r->asked_run = v->record.schedule.asked_run;
    }
    r->skipped++;
    tell(e, v, "skipped", "one is going on");
    return ledger_store_schedule(e->catalog, v->record.uid, r, err);
}

static int
settle(struct engine *e, node_id id, const struct sync_view *v, usec_t now, struct error *err)
{
    struct schedule_record r = v->record.schedule;
    bool due = v->next_start && v->next_start <= now;
    bool again = e->first_look && never_began(v);
    r.text = v->schedule;
    r.since = now;
    if (v->schedule_new)
        return ledger_store_schedule(e->catalog, v->record.uid, &r, err);
    if (again && !due && registry_busy(e, id))
        return 0; /* it waits its turn by now */
    if (again || due)
        return ask_for_run(e, id, v, &r, err);
    return ledger_store_schedule(e->catalog, v->record.uid, &r, err);
}

/* False: it could not be written down. */
static bool
attend(struct engine *e, node_id id)
{
    struct error err = ERROR_INIT;
    pthread_mutex_lock(&e->schedules);
    usec_t now = clock_now();
    struct sync_view *v = registry_view(e, id);
    int rc = 0;
    if (v && wants(e, v, now)) {
        rc = settle(e, id, v, now, &err);
        if (rc == 0)
            registry_refresh(e, id);
        else
            log_error("sync=%s schedule: %s", v->name, err.text);
    }
    sync_view_unref(v);
    pthread_mutex_unlock(&e->schedules);
    return rc == 0;
}

/* Runs of a sync that no longer runs grow too old as well. */
static void
collect_at_times(struct engine *e, usec_t now)
{
    pthread_mutex_lock(&e->schedules);
    if (now >= e->collect_at || e->collect_at > now + COLLECT_AGAIN) {
        e->collect_at = now + COLLECT_AGAIN;
        collect_old_runs(e);
    }
    pthread_mutex_unlock(&e->schedules);
}

usec_t
scheduler_tick(struct engine *e)
{
    VEC(node_id) ids = {0};
    usec_t now = clock_now(), next = INT64_MAX;
    bool complete = true;
    collect_at_times(e, now);
    pthread_mutex_lock(&e->lock);
    for (struct sync *s = e->syncs; s; s = s->next)
        if (!s->gone && wants(e, s->view, now))
            complete &= VEC_PUSH(&ids, s->id);
    pthread_mutex_unlock(&e->lock);
    VEC_EACH (&ids, id)
        complete &= attend(e, *id);
    VEC_DONE(&ids);
    pthread_mutex_lock(&e->lock);
    e->first_look = !complete && e->first_look;
    for (struct sync *s = e->syncs; s; s = s->next)
        if (!s->gone && s->view->next_start && s->view->next_start < next)
            next = s->view->next_start;
    if (!complete) /* the disk is full, perhaps: not at once again */
        next = now + LOOK_AGAIN;
    e->look_at = next;
    pthread_mutex_unlock(&e->lock);
    return next;
}

/* ---- the thread ---- */

static void
wait_until(struct engine *e, usec_t when)
{
    usec_t left = when - clock_now();
    left = left < 0 ? 0 : left > LOOK_AGAIN ? LOOK_AGAIN : left;
    clock_cond_wait(&e->due, &e->lock, clock_monotonic() + left);
}

static void *
scheduler(void *arg)
{
    struct engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->unscheduled) {
        e->look_now = false;
        pthread_mutex_unlock(&e->lock);
        usec_t next = scheduler_tick(e);
        pthread_mutex_lock(&e->lock);
        if (!e->unscheduled && !e->look_now)
            wait_until(e, next);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

void
scheduler_init(struct engine *e)
{
    clock_cond_init(&e->due);
    pthread_mutex_init(&e->schedules, NULL);
}

void
scheduler_done(struct engine *e)
{
    pthread_mutex_destroy(&e->schedules);
    pthread_cond_destroy(&e->due);
}

int
scheduler_start(struct engine *e, struct error *err)
{
    e->first_look = true;
    int rc = pthread_create(&e->scheduler, NULL, scheduler, e);
    if (rc != 0)
        return error_set_errno(err, ERR_INTERNAL, rc, "cannot start the scheduler's thread");
    e->scheduling = true;
    return 0;
}

void
scheduler_stop(struct engine *e)
{
    if (!e->scheduling)
        return;
    pthread_mutex_lock(&e->lock);
    e->unscheduled = true;
    pthread_cond_signal(&e->due);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->scheduler, NULL);
    e->scheduling = false;
}

/* ---- verbs ---- */

int
scheduler_pause(struct engine *e, node_id id, bool pause, const struct caller *who,
                struct error *err)
{
    pthread_mutex_lock(&e->schedules);
    struct sync_view *v = registry_view(e, id);
    int rc = v ? 0 : error_set(err, ERR_CONFIG, ENOENT, "the sync is gone");
    if (rc == 0 && v->record.schedule.paused != pause) {
        struct schedule_record r = v->record.schedule;
        r.paused = pause;
        r.since = clock_now(); /* what was due meanwhile stays undone */
        rc = ledger_store_schedule(e->catalog, v->record.uid, &r, err);
        AUTO_BUF struct buf line = BUF_INIT(256);
        buf_addf(&line, "%s by uid=%u pid=%d", pause ? "paused" : "resumed", who->uid,
                 who->pid);
        if (rc == 0) {
            catalog_log(e->catalog, v->record.uid, buf_z(&line));
            registry_refresh(e, id);
        }
    }
    sync_view_unref(v);
    pthread_mutex_unlock(&e->schedules);
    return rc;
}
