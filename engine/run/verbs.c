/* Writes to `trigger`: verbs, what each may do now, and the tickets of those who wait. */
#include <stdio.h>

#include "base/cleanup.h"
#include "run/engine_private.h"
#include "run/scheduler.h"

enum action {
    DO_JOB,   /* start a job; block unless told otherwise */
    DO_START, /* start a job, do not wait */
    DO_WAIT,
    DO_CANCEL,
    DO_RESET,
    DO_PAUSE,
    DO_RESUME,
};

static const struct verb_entry {
    const char *name;
    enum action action;
    enum verb verb;
    bool argument;
    const char *help;
} verbs[] = {
    {"run", DO_JOB, VERB_RUN, false, "send what changed; returns when the run has ended"},
    {"start", DO_START, VERB_RUN, false, "the same, returns at once"},
    {"wait", DO_WAIT, 0, false, "wait for what is running; its result"},
    {"plan", DO_JOB, VERB_PLAN, false, "fill pending/ with what a run would do; sends nothing"},
    {"approve", DO_JOB, VERB_APPROVE, true,
     "send exactly what pending/ holds; with a plan id: only if the source still gives it"},
    {"full", DO_JOB, VERB_FULL, false, "send every row"},
    {"retry", DO_JOB, VERB_RETRY, false, "send only what was rejected or not sent before"},
    {"send", DO_JOB, VERB_SEND, true,
     "send the row of that name in pending/, to see how it goes"},
    {"cancel", DO_CANCEL, 0, false, "stop what is running"},
    {"pause", DO_PAUSE, 0, false, "do not run by schedule until \"resume\""},
    {"resume", DO_RESUME, 0, false, "run by schedule again"},
    {"baseline", DO_JOB, VERB_BASELINE, false, "take the model as delivered; sends nothing"},
    {"reset", DO_RESET, 0, false, "forget what was delivered: the next run is full"},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

/* Whether that verb would be taken now. */
static bool
would_work(const struct verb_entry *v, const struct sync_view *view, bool running)
{
    switch (v->action) {
    case DO_WAIT:
    case DO_CANCEL:
        return running;
    case DO_RESET:
        return !running;
    case DO_PAUSE:
        return !view->record.schedule.paused;
    case DO_RESUME:
        return view->record.schedule.paused;
    default:
        break;
    }
    if (running || !view->ready)
        return false;
    if (v->verb == VERB_APPROVE)
        return view->record.plan != NULL;
    if (v->verb == VERB_RETRY)
        return view->record.rejected_rows > 0 || view->record.unsent_run;
    return true;
}

void
verbs_help(const struct sync_view *view, bool running, struct buf *out)
{
    buf_adds(out, "# write one of these verbs:\n");
    for (size_t i = 0; i < VERBS; i++)
        if (would_work(&verbs[i], view, running))
            buf_addf(out, "# %-9s %s\n", verbs[i].name, verbs[i].help);
}

/* ---- reading the text ---- */

static bool
next_word(struct str *text, struct str *word)
{
    while (text->n && strchr(" \t\r\n", *text->p)) {
        text->p++;
        text->n--;
    }
    *word = (struct str){text->p, 0};
    while (text->n && !strchr(" \t\r\n", *text->p)) {
        text->p++;
        text->n--;
        word->n++;
    }
    return word->n > 0;
}

/* The text without comment lines. */
static void
strip_comments(struct str text, struct buf *out)
{
    while (text.n) {
        const char *newline = memchr(text.p, '\n', text.n);
        size_t n = newline ? (size_t)(newline - text.p) + 1 : text.n;
        size_t blank = 0;
        while (blank < n && (text.p[blank] == ' ' || text.p[blank] == '\t'))
            blank++;
        if (blank < n && text.p[blank] != '#')
            buf_add(out, text.p, n);
        text.p += n;
        text.n -= n;
    }
}

static int
unknown_verb(struct str word, struct error *err)
{
    AUTO_BUF struct buf names = BUF_INIT(512);
    for (size_t i = 0; i < VERBS; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", verbs[i].name);
    return error_set(err, ERR_CONFIG, EINVAL, "unknown verb \"%.*s\"; allowed: %s",
                     (int)(word.n < 64 ? word.n : 64), word.p, buf_z(&names));
}

/* 1: a verb; 0: nothing but comments; negative: refused. */
static int
parse(struct str text, const struct verb_entry **verb, struct str *argument, struct error *err)
{
    struct str word, more;
    if (!next_word(&text, &word))
        return 0;
    *verb = NULL;
    for (size_t i = 0; i < VERBS && !*verb; i++)
        if (str_is(word, verbs[i].name))
            *verb = &verbs[i];
    if (!*verb)
        return unknown_verb(word, err);
    bool has_argument = next_word(&text, argument);
    if (has_argument && !(*verb)->argument)
        return error_set(err, ERR_CONFIG, EINVAL, "\"%s\" takes no argument", (*verb)->name);
    if (!has_argument && (*verb)->verb == VERB_SEND && (*verb)->action == DO_JOB)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "\"send\" wants a row: its file's name in pending/");
    if (has_argument && next_word(&text, &more))
        return error_set(err, ERR_CONFIG, EINVAL, "one verb a write; \"%.*s\" is too much",
                         (int)(more.n < 64 ? more.n : 64), more.p);
    return 1;
}

/* ---- carrying out ---- */

static char *
command_of(pid_t pid)
{
    AUTO_FREE char *path = NULL;
    if (pid <= 0 || asprintf(&path, "/proc/%d/comm", pid) < 0)
        return NULL;
    AUTO_FCLOSE FILE *f = fopen(path, "re");
    char name[64] = "";
    if (!f || !fgets(name, sizeof name, f))
        return NULL;
    name[strcspn(name, "\n")] = '\0';
    return strdup(name);
}

static struct job *
make_job(struct engine *e, const struct sync_view *view, node_id id, enum verb verb,
         struct str argument, const struct caller *who)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    run_init(&job->run);
    job->name = strdup(view->name);
    job->command = command_of(who->pid);
    job->asked = argument.n ? strndup(argument.p, argument.n) : NULL;
    job->run.catalog = e->catalog;
    job->run.state_fd = e->state_fd;
    job->run.name = job->name;
    job->run.verb = verb;
    if (verb == VERB_SEND)
        job->run.row_asked = job->asked;
    else
        job->run.plan_asked = job->asked;
    job->run.who = *who;
    job->run.command = job->command;
    job->run.sort_memory = e->settings.sort_memory;
    job->run.dir = id;
    job->run.started = clock_now();
    if (!job->name || (argument.n && !job->asked)) {
        job_free(job);
        return NULL;
    }
    return job;
}

static struct ticket *
make_ticket(struct engine *e, verb_done_fn done, void *arg)
{
    struct ticket *t = calloc(1, sizeof *t);
    if (t)
        *t = (struct ticket){.engine = e, .done = done, .arg = arg};
    return t;
}

/* The lock must be held. */
static void
attach(struct ticket *t, struct job *job)
{
    t->job = job;
    t->next = job->tickets;
    job->tickets = t;
}

/* Takes the job over. ticket: of one who waits for it, or NULL. */
static int
queue_job(struct engine *e, const struct sync_view *view, node_id id, struct job *job,
          struct ticket *ticket, struct error *err)
{
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, id);
    if (!s || s->job || e->stopping) {
        bool running = s && s->job;
        pthread_mutex_unlock(&e->lock);
        job_free(job);
        return running
                   ? error_set(err, ERR_CONFIG, EBUSY,
                               "\"%s\" is running already; \"wait\" waits for it", view->name)
                   : error_set(err, ERR_CONFIG, ENOENT, "the sync is gone");
    }
    job->sync = s;
    if (ticket)
        attach(ticket, job);
    work_queue(e, job);
    pthread_mutex_unlock(&e->lock);
    return ticket ? -EINPROGRESS : 0;
}

static int
start_job(struct engine *e, const struct sync_view *view, node_id id,
          const struct verb_entry *verb, struct str argument, bool wait,
          const struct caller *who, struct ticket *ticket, struct error *err)
{
    if (!view->ready)
        return error_set(err, ERR_CONFIG, ENOEXEC, "not ready: %s", view->reasons);
    struct job *job = make_job(e, view, id, verb->verb, argument, who);
    if (!job)
        return error_no_memory(err);
    return queue_job(e, view, id, job, wait ? ticket : NULL, err);
}

int
verbs_start_scheduled(struct engine *e, const struct sync_view *view, node_id id,
                      const struct caller *who, struct error *err)
{
    if (!view->ready)
        return error_set(err, ERR_CONFIG, ENOEXEC, "not ready: %s", view->reasons);
    struct job *job = make_job(e, view, id, VERB_RUN, (struct str){0}, who);
    if (job)
        job->command = strdup("schedule");
    if (!job || !job->command) {
        job_free(job);
        return error_no_memory(err);
    }
    job->run.command = job->command;
    return queue_job(e, view, id, job, NULL, err);
}

static int
wait_for_job(struct engine *e, node_id id, struct ticket *ticket, struct error *err)
{
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, id);
    int result = s ? s->last_result : 0;
    bool running = s && s->job;
    if (running)
        attach(ticket, s->job);
    pthread_mutex_unlock(&e->lock);
    if (running)
        return -EINPROGRESS;
    return result ? error_set(err, ERR_REMOTE, result, "the last one had failed") : 0;
}

static int
cancel_job(struct engine *e, node_id id, struct error *err)
{
    pthread_mutex_lock(&e->lock);
    struct sync *s = registry_find(e, id);
    int rc = s && s->job ? work_cancel(e, s->job, err) : 0;
    pthread_mutex_unlock(&e->lock);
    return rc;
}

/* Within a transaction: see wait_for_writers in run.c. *record: what is left of it. */
static int
forget_state(struct engine *e, node_id id, struct sync_record *record, struct error *err)
{
    if (registry_busy(e, id))
        return error_set(err, ERR_CONFIG, EBUSY, "a run is active; cancel it first");
    int rc = ledger_load_sync(e->catalog, id, record, err);
    if (rc < 0 && rc != -EUCLEAN) /* a damaged record is mended by forgetting what it said */
        return rc;
    error_clear(err);
    record->reset = "reset";
    record->segments = NULL;
    record->nsegments = 0;
    record->meta = NULL;
    record->plan = NULL;
    record->live_rows = record->rejected_rows = record->rejected_run = record->unsent_run = 0;
    record->due_full = NULL;
    record->last_done = record->last_run; /* what is sent from here on is due anew: due.h */
    rc = ledger_store_sync(e->catalog, record, err);
    return rc < 0 ? rc : ledger_drop_unresolved(e->catalog, record->uid, err);
}

/* In one transaction: no kill leaves a run that could bring back what was forgotten. */
static int
reset_state(struct engine *e, node_id id, const struct caller *who, struct error *err)
{
    struct sync_record record = {.model_rows = -1};
    int rc = catalog_begin(e->catalog, err);
    if (rc < 0)
        return rc;
    rc = forget_state(e, id, &record, err);
    if (rc == 0)
        rc = catalog_commit(e->catalog, err);
    else
        catalog_rollback(e->catalog);
    AUTO_BUF struct buf line = BUF_INIT(256);
    buf_addf(&line, "reset by uid=%u pid=%d", who->uid, who->pid);
    if (rc == 0) {
        catalog_log(e->catalog, record.uid, buf_z(&line));
        registry_set_error(e, id, NULL, false);
    }
    sync_record_done(&record);
    registry_refresh(e, id);
    return rc;
}

static int
carry_out(struct engine *e, const struct sync_view *view, node_id id,
          const struct verb_entry *verb, struct str argument, bool nowait,
          const struct caller *who, struct ticket *ticket, struct error *err)
{
    switch (verb->action) {
    case DO_WAIT:
        return wait_for_job(e, id, ticket, err);
    case DO_CANCEL:
        return cancel_job(e, id, err);
    case DO_RESET:
        return reset_state(e, id, who, err);
    case DO_PAUSE:
    case DO_RESUME:
        return scheduler_pause(e, id, verb->action == DO_PAUSE, who, err);
    default:
        break;
    }
    return start_job(e, view, id, verb, argument, verb->action == DO_JOB && !nowait, who,
                     ticket, err);
}

/* A definition that could not be read a while ago, for want of memory or of a sound disk, is
 * read again before anything is refused for it. */
static struct sync_view *
look(struct engine *e, node_id sync)
{
    struct sync_view *view = registry_view(e, sync);
    if (!view || view->ready)
        return view;
    sync_view_unref(view);
    registry_refresh(e, sync);
    return registry_view(e, sync);
}

int
sync_trigger(struct engine *e, node_id sync, struct str text, bool nowait,
             const struct caller *who, verb_done_fn done, void *arg, struct ticket **ret,
             struct error *err)
{
    AUTO_BUF struct buf command = BUF_INIT(4096);
    strip_comments(text, &command);
    if (command.full)
        return error_set(err, ERR_CONFIG, EINVAL, "a command has at most 4096 bytes");
    if (command.failed)
        return error_no_memory(err);
    struct sync_view *view = look(e, sync);
    if (!view)
        return error_set(err, ERR_CONFIG, ENOENT, "the sync is gone");
    struct ticket *ticket = make_ticket(e, done, arg);
    const struct verb_entry *verb = NULL;
    struct str argument = {0};
    int rc = ticket ? parse(buf_str(&command), &verb, &argument, err) : error_no_memory(err);
    if (rc == 1)
        rc = carry_out(e, view, sync, verb, argument, nowait, who, ticket, err);
    if (rc == -EINPROGRESS)
        *ret = ticket;
    else
        free(ticket);
    /* `wait` was not refused: it tells the result of a verb that has said why already. */
    if (rc < 0 && rc != -EINPROGRESS && !(verb && verb->action == DO_WAIT)) {
        AUTO_BUF struct buf message = BUF_INIT(4096);
        buf_addf(&message, "trigger: %s\n", err->text);
        registry_set_error(e, sync, buf_z(&message), true);
        registry_refresh(e, sync);
    }
    sync_view_unref(view);
    return rc;
}

void
ticket_drop(struct ticket *t)
{
    if (!t)
        return;
    struct engine *e = t->engine;
    pthread_mutex_lock(&e->lock);
    if (t->calling && pthread_equal(t->caller, pthread_self())) {
        t->dropped = true; /* from within `done`: the worker frees it */
        pthread_mutex_unlock(&e->lock);
        return;
    }
    while (t->calling)
        pthread_cond_wait(&e->calls, &e->lock);
    if (t->job)
        for (struct ticket **at = &t->job->tickets; *at; at = &(*at)->next)
            if (*at == t) {
                *at = t->next;
                break;
            }
    pthread_mutex_unlock(&e->lock);
    free(t);
}
