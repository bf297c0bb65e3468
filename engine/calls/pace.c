/*
 * The pace of calls: see pace.h. A window remembers in a ring when its last calls began: the
 * oldest of them must lie behind the window before another may begin.
 */
#include "calls/pace.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static const usec_t DAY = 86400 * 1000000LL;

struct window {
    struct pace_window is;
    usec_t *began; /* of the last is.calls ones; 0: none yet */
    size_t next;   /* the oldest */
};

struct pace {
    struct pace *following;
    char *name;
    unsigned users;
    struct window windows[PACE_WINDOWS_MAX];
    size_t n;
    usec_t closed_until;
    struct {
        bool known;
        uint64_t remaining;
        usec_t until;
    } peer;         /* as it counts itself */
    usec_t idle_at; /* when it has no say any more */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards every pace */
static struct pace *paces;

static void
drop_windows(struct window *windows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(windows[i].began);
}

static struct pace *
pace_free(struct pace *p)
{
    drop_windows(p->windows, p->n);
    free(p->name);
    free(p);
    return NULL;
}

/* ---- windows ---- */

static struct pace_window
bounded(struct pace_window w)
{
    if (w.calls > PACE_CALLS_MAX) {
        w.length = (usec_t)((double)w.length * PACE_CALLS_MAX / (double)w.calls) + 1;
        w.calls = PACE_CALLS_MAX;
    }
    return w;
}

static bool
same_windows(const struct pace *p, const struct pace_window *windows, size_t n)
{
    bool same = p->n == n;
    for (size_t i = 0; same && i < n; i++) {
        struct pace_window w = bounded(windows[i]);
        same = p->windows[i].is.calls == w.calls && p->windows[i].is.length == w.length;
    }
    return same;
}

static void
began(struct window *w, usec_t at)
{
    w->began[w->next] = at;
    w->next = (w->next + 1) % w->is.calls;
}

/* What the window that looks back furthest knows, told to another, oldest first. */
static void
remember(struct window *w, const struct pace *p)
{
    const struct window *from = NULL;
    for (size_t i = 0; i < p->n; i++)
        if (!from || p->windows[i].is.length > from->is.length)
            from = &p->windows[i];
    for (size_t i = 0; from && i < from->is.calls; i++) {
        usec_t at = from->began[(from->next + i) % from->is.calls];
        if (at)
            began(w, at);
    }
}

static bool
set_windows(struct pace *p, const struct pace_window *windows, size_t n)
{
    struct window fresh[PACE_WINDOWS_MAX];
    if (n > PACE_WINDOWS_MAX)
        n = PACE_WINDOWS_MAX;
    if (same_windows(p, windows, n))
        return true;
    for (size_t i = 0; i < n; i++) {
        fresh[i] = (struct window){.is = bounded(windows[i])};
        fresh[i].began = calloc(fresh[i].is.calls, sizeof *fresh[i].began);
        if (!fresh[i].began) {
            drop_windows(fresh, i);
            return false;
        }
        remember(&fresh[i], p);
    }
    drop_windows(p->windows, p->n);
    memcpy(p->windows, fresh, n * sizeof *fresh);
    p->n = n;
    return true;
}

/* ---- those that are known ---- */

/* Drops what nobody uses and what could make nobody wait. */
static void
sweep(usec_t now)
{
    for (struct pace **at = &paces; *at;) {
        struct pace *p = *at;
        if (p->users > 0 || p->idle_at > now) {
            at = &p->following;
            continue;
        }
        *at = p->following;
        pace_free(p);
    }
}

static struct pace *
find(const char *name)
{
    for (struct pace *p = paces; p; p = p->following)
        if (strcmp(p->name, name) == 0)
            return p;
    struct pace *p = calloc(1, sizeof *p);
    if (!p || !(p->name = strdup(name))) {
        free(p);
        return NULL;
    }
    p->following = paces;
    paces = p;
    return p;
}

struct pace *
pace_get(const char *name, const struct pace_window *windows, size_t n)
{
    pthread_mutex_lock(&lock);
    sweep(clock_monotonic());
    struct pace *p = find(name);
    if (p && set_windows(p, windows, n))
        p->users++;
    else
        p = NULL; /* the next sweep takes what was made */
    pthread_mutex_unlock(&lock);
    return p;
}

static struct pace *
pace_of_scope(const char *connection, const struct limits *limits,
              const struct pace_scope *scope)
{
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    if (!scope->name)
        return pace_get(connection, limits->windows, limits->nwindows);
    buf_addf(&name, "%s\n%s", connection, scope->name);
    return name.failed ? NULL : pace_get(buf_z(&name), scope->windows, scope->nwindows);
}

bool
paces_get(const char *connection, const struct limits *limits, struct call_paces *ret)
{
    bool good = true;
    *ret = (struct call_paces){.of = {NULL}};
    for (enum operation op = 0; op <= OP_DELETE; op++) {
        const struct call_limits *of = &limits->of[op];
        ret->of[op] = pace_of_scope(connection, limits, &of->scope);
        if (of->prepared)
            ret->before[op] = pace_of_scope(connection, limits, &of->before);
        if (of->makes)
            ret->making[op] = pace_of_scope(connection, limits, &of->making);
        good = good && ret->of[op] && (!of->prepared || ret->before[op]) &&
               (!of->makes || ret->making[op]);
    }
    return good;
}

void
paces_put(struct call_paces *p)
{
    for (size_t i = 0; i <= OP_DELETE; i++) {
        pace_put(p->of[i]);
        pace_put(p->before[i]);
        pace_put(p->making[i]);
    }
}

struct pace *
pace_put(struct pace *p)
{
    if (!p)
        return NULL;
    pthread_mutex_lock(&lock);
    p->users--;
    sweep(clock_monotonic());
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* ---- calls ---- */

static void
not_before(usec_t *wait, usec_t now, usec_t then)
{
    if (then - now > *wait)
        *wait = then - now;
}

static void
matters_until(struct pace *p, usec_t then)
{
    if (then > p->idle_at)
        p->idle_at = then;
}

static bool
peer_counts(const struct pace *p, usec_t now)
{
    return p->peer.known && now < p->peer.until;
}

usec_t
pace_closed(struct pace *p, usec_t now)
{
    usec_t wait = 0;
    pthread_mutex_lock(&lock);
    not_before(&wait, now, p->closed_until);
    pthread_mutex_unlock(&lock);
    return wait;
}

usec_t
pace_ask(struct pace *p, usec_t now)
{
    usec_t wait = 0;
    pthread_mutex_lock(&lock);
    not_before(&wait, now, p->closed_until);
    if (peer_counts(p, now) && p->peer.remaining == 0)
        not_before(&wait, now, p->peer.until);
    for (size_t i = 0; i < p->n; i++) {
        const struct window *w = &p->windows[i];
        if (w->began[w->next])
            not_before(&wait, now, w->began[w->next] + w->is.length);
    }
    if (wait == 0) {
        p->peer.remaining -= peer_counts(p, now);
        for (size_t i = 0; i < p->n; i++) {
            began(&p->windows[i], now);
            matters_until(p, now + p->windows[i].is.length);
        }
    }
    pthread_mutex_unlock(&lock);
    return wait;
}

static usec_t
at_most_a_day(usec_t wait)
{
    return wait < DAY ? wait : DAY;
}

/* Calls that are under way were counted by us and perhaps not yet by the peer, whose answers
 * come in any order: of two counts for the same time the smaller holds. */
static void
take_count(struct pace *p, usec_t now, const struct pace_hint *hint)
{
    bool same_time = peer_counts(p, now);
    if (!same_time || hint->remaining < p->peer.remaining)
        p->peer.remaining = hint->remaining;
    usec_t until = now + at_most_a_day(hint->reset);
    if (!same_time || until > p->peer.until)
        p->peer.until = until;
    p->peer.known = true;
    matters_until(p, p->peer.until);
}

void
pace_tell(struct pace *p, usec_t now, const struct pace_hint *hint)
{
    pthread_mutex_lock(&lock);
    usec_t until = now + at_most_a_day(hint->wait);
    if (hint->wait > 0 && until > p->closed_until) {
        p->closed_until = until;
        matters_until(p, p->closed_until);
    }
    if (hint->counted)
        take_count(p, now, hint);
    pthread_mutex_unlock(&lock);
}
