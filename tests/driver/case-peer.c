/* The peer that plays a case's script: see case.h. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "case.h"
#include "http-peer.h"

enum { ANSWER_MAX = 32 << 20, LARGE = 10 << 20, SHOWN_MAX = 4000 };

static struct http_case *script;
static const struct case_world *world;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over what follows */
static struct buf faults = BUF_INIT(64 * 1024);
static usec_t last_answer;
static atomic_bool failed;

static void
complain(const struct peer_request *r, const char *why)
{
    buf_addf(&faults, "an unexpected request: %s\n%.*s\n", why, SHOWN_MAX, r->bytes);
    failed = true;
}

/* The exchange that the request begins; NULL: none. */
static struct case_exchange *
meet(const struct peer_request *r)
{
    AUTO_BUF struct buf why = BUF_INIT(64 * 1024);
    bool any = false;
    VEC_EACH (&script->exchanges, x) {
        AUTO_BUF struct buf reason = BUF_INIT(64 * 1024);
        if (x->met || (any && script->parallel == 1))
            continue;
        any = true;
        if (!case_fits(world, x, r->bytes, r->n, &reason)) {
            buf_addf(&why, "\nline %u: %s", x->line, buf_z(&reason));
            continue;
        }
        if (clock_monotonic() - last_answer < x->after) {
            buf_addf(&why, "\nline %u: too soon", x->line);
            continue;
        }
        x->met = true;
        return x;
    }
    complain(r, any ? buf_z(&why) : "all that were expected have come");
    return NULL;
}

/* A JSON object of ten megabytes. */
static void
add_large(struct buf *out)
{
    buf_adds(out, "{\"filler\": \"");
    char *room = buf_room(out, LARGE);
    if (room) {
        memset(room, 'x', LARGE);
        out->n += LARGE;
    }
    buf_adds(out, "\"}");
}

static void
say(int fd, const struct case_exchange *x)
{
    AUTO_BUF struct buf body = BUF_INIT(ANSWER_MAX), out = BUF_INIT(ANSWER_MAX);
    if (x->fault == FAULT_LARGE)
        add_large(&body);
    else
        case_expand(world, x->body_back ? x->body_back : "", &body);
    buf_addf(&out, "HTTP/1.1 %d Scripted\r\nContent-Length: %zu\r\n", x->status, body.n);
    for (size_t i = 0; i < x->back.n; i++) {
        buf_addf(&out, "%s: ", x->back.names[i]);
        case_expand(world, x->back.values[i] ? x->back.values[i] : "", &out);
        buf_adds(&out, "\r\n");
    }
    buf_adds(&out, "\r\n");
    bool cut = x->fault == FAULT_HALF || x->fault == FAULT_BROKEN || x->fault == FAULT_STALL;
    buf_add(&out, buf_z(&body), cut ? body.n / 2 : body.n);
    peer_send(fd, buf_z(&out), out.n);
}

/* peer_answer_fn */
static bool
answer(int fd, const struct peer_request *r)
{
    pthread_mutex_lock(&lock);
    const struct case_exchange *x = meet(r);
    last_answer = clock_monotonic();
    pthread_mutex_unlock(&lock);
    if (!x)
        return false;
    if (x->status)
        say(fd, x);
    if (x->fault == FAULT_SILENT || x->fault == FAULT_STALL)
        peer_wait(fd);
    if (x->fault == FAULT_RESET || x->fault == FAULT_BROKEN)
        peer_reset(fd);
    return x->fault == FAULT_NONE || x->fault == FAULT_LARGE;
}

int
case_peer_start(struct http_case *c, struct case_world *w)
{
    script = c;
    world = w;
    w->port = peer_start(answer);
    w->nowhere = 1; /* tcpmux: nobody has it, and no test could bind it */
    return w->port > 0 ? 0 : -1;
}

void
case_peer_faults(struct buf *why)
{
    pthread_mutex_lock(&lock);
    buf_add(why, buf_z(&faults), faults.n);
    VEC_EACH (&script->exchanges, x)
        if (!x->met)
            buf_addf(why, "line %u: this request did not come: %s %s\n", x->line, x->method,
                     x->path);
    pthread_mutex_unlock(&lock);
}

bool
case_peer_failed(void)
{
    return failed;
}
