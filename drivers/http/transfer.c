/*
 * Requests and answers: see transfer.h. libcurl is driven by its socket interface: where it is
 * left to look itself, it asks the kernel about every connection each time one is ready.
 */
#include "http/transfer.h"

#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/vec.h"

enum { HEAD_MAX = 256 * 1024 };

/* An easy handle, used for one request after the other. */
struct exchange_state {
    struct exchange_state *following; /* in the list it stands in */
    struct exchange *x;
    CURL *easy;
    struct curl_slist *headers;
    char *url, *method; /* as the easy handle has them */
    size_t answer_max;
    unsigned times; /* a connection stood, and the request was about to be sent */
    bool began;     /* the answer has */
    char why[CURL_ERROR_SIZE];
};

struct transfer {
    struct transfer_settings set;
    CURLM *multi;
    struct exchange_state *idle, *active;
    unsigned n;                 /* active */
    VEC(struct pollfd) sockets; /* the first is `wake` */
    usec_t timer;               /* when libcurl wants to be called; -1: not */
    int wake;                   /* an eventfd */
    atomic_bool cancelled, woken;
};

static void
init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- what libcurl waits for ---- */

/* Waits for these `events` of the socket; 0: for none. */
static bool
watch(struct transfer *t, int fd, short events)
{
    for (size_t i = 0; i < t->sockets.n; i++) {
        if (t->sockets.p[i].fd != fd)
            continue;
        t->sockets.p[i].events = events;
        if (events == 0)
            t->sockets.p[i] = t->sockets.p[--t->sockets.n];
        return true;
    }
    return events == 0 || VEC_PUSH(&t->sockets, ((struct pollfd){.fd = fd, .events = events}));
}

static int
take_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
    static const short events[] = {[CURL_POLL_IN] = POLLIN,
                                   [CURL_POLL_OUT] = POLLOUT,
                                   [CURL_POLL_INOUT] = POLLIN | POLLOUT,
                                   [CURL_POLL_REMOVE] = 0};
    return watch(arg, fd, events[what]) ? 0 : -1;
}

static int
take_timer(CURLM *multi, long ms, void *arg)
{
    struct transfer *t = arg;
    t->timer = ms < 0 ? -1 : clock_monotonic() + ms * 1000;
    return 0;
}

static bool
set_multi(struct transfer *t)
{
    CURLM *m = t->multi;
    long parallel = (long)t->set.parallel;
    return curl_multi_setopt(m, CURLMOPT_MAX_HOST_CONNECTIONS, parallel) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, parallel) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, take_socket) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_SOCKETDATA, t) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, take_timer) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_TIMERDATA, t) == CURLM_OK;
}

int
transfer_create(const struct transfer_settings *settings, struct transfer **ret,
                struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return error_no_memory(err);
    t->set = *settings;
    t->timer = -1;
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc =
        t->wake < 0 ? error_set_errno(err, ERR_INTERNAL, errno, "cannot make an eventfd") : 0;
    t->multi = curl_multi_init();
    if (rc == 0 && (!t->multi || !watch(t, t->wake, POLLIN) || !set_multi(t)))
        rc = error_no_memory(err);
    if (rc < 0) {
        transfer_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

/* Does what is due, and what can be done without waiting longer than that. */
static void
go_on(struct transfer *t, usec_t wait)
{
    int running;
    usec_t now = clock_monotonic();
    if (t->timer >= 0 && t->timer <= now) {
        t->timer = -1;
        curl_multi_socket_action(t->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        return;
    }
    if (t->timer >= 0 && t->timer - now < wait)
        wait = t->timer - now;
    int n = poll(t->sockets.p, t->sockets.n, (int)((wait + 999) / 1000));
    /* From behind: what is dealt with may take its socket, and the last one's place, away. */
    for (size_t i = t->sockets.n; n > 0 && i-- > 0;) {
        if (i >= t->sockets.n || t->sockets.p[i].revents == 0)
            continue;
        const struct pollfd ready = t->sockets.p[i];
        t->sockets.p[i].revents = 0;
        n--;
        uint64_t woken;
        if (ready.fd == t->wake) {
            if (read(t->wake, &woken, sizeof woken) < 0)
                continue;
        } else {
            int what = (ready.revents & POLLIN ? CURL_CSELECT_IN : 0) |
                       (ready.revents & POLLOUT ? CURL_CSELECT_OUT : 0) |
                       (ready.revents & ~(POLLIN | POLLOUT) ? CURL_CSELECT_ERR : 0);
            curl_multi_socket_action(t->multi, ready.fd, what, &running);
        }
    }
}

/* ---- what libcurl calls ---- */

/* Only what may come twice is sent twice. libcurl replaces a kept connection that broke before
 * an answer began, and cannot know whether the request had come to the peer. */
static int
about_to_send(void *arg, char *to, char *from, int to_port, int from_port)
{
    struct exchange_state *s = arg;
    return s->times++ == 0 || s->x->repeatable ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t
take_body(char *p, size_t size, size_t n, void *arg)
{
    struct exchange_state *s = arg;
    struct buf *to = &s->x->body_back;
    size_t room = s->answer_max - to->n, all = size * n;
    s->x->cut = all > room;
    buf_add(to, p, s->x->cut ? room : all);
    return s->x->cut || to->failed ? 0 : all; /* 0 ends the transfer */
}

static void
add_line(struct buf *head, const char *p, size_t n)
{
    size_t name = 0;
    while (name < n && p[name] != ':')
        name++;
    for (size_t i = 0; i < name; i++)
        buf_addc(head, (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 32 : p[i]));
    size_t value = name + 1;
    while (value < n && (p[value] == ' ' || p[value] == '\t'))
        value++;
    while (n > value && (p[n - 1] == '\r' || p[n - 1] == '\n' || p[n - 1] == ' '))
        n--;
    buf_adds(head, ": ");
    if (n > value)
        buf_add(head, p + value, n - value);
    buf_addc(head, '\n');
}

/* A status line begins a head anew: of an interim answer (1xx) nothing stays. */
static size_t
take_head(char *p, size_t size, size_t n, void *arg)
{
    struct exchange_state *s = arg;
    size_t all = size * n;
    s->began = true;
    if (all >= 5 && memcmp(p, "HTTP/", 5) == 0)
        buf_clear(&s->x->head);
    else if (memchr(p, ':', all))
        add_line(&s->x->head, p, all);
    return s->x->head.failed ? 0 : all;
}

/* ---- a request ---- */

static void
state_free(struct exchange_state *s)
{
    curl_easy_cleanup(s->easy);
    curl_slist_free_all(s->headers);
    free(s->url);
    free(s->method);
    free(s);
}

static CURLcode
set_certificates(CURL *easy)
{
    const char *file = getenv("CURL_CA_BUNDLE"), *dir = getenv("SSL_CERT_DIR");
    if (!file || !*file)
        file = getenv("SSL_CERT_FILE");
    CURLcode rc = CURLE_OK;
    if (file && *file)
        rc = curl_easy_setopt(easy, CURLOPT_CAINFO, file);
    if (rc == CURLE_OK && dir && *dir)
        rc = curl_easy_setopt(easy, CURLOPT_CAPATH, dir);
    return rc;
}

#define SET(option, value)                                                                     \
    if (rc == CURLE_OK)                                                                        \
    rc = curl_easy_setopt(s->easy, CURLOPT_##option, value)

/* What is the same for every request. */
static CURLcode
set_all(const struct transfer *t, struct exchange_state *s)
{
    CURLcode rc = CURLE_OK;
    SET(PROTOCOLS_STR, "http,https");
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(PIPEWAIT, 0L);
    SET(NOSIGNAL, 1L);
    SET(ACCEPT_ENCODING, "");
    SET(SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's words are no answer */
    SET(USERAGENT, "retlfs/" RETLFS_VERSION);
    SET(ERRORBUFFER, s->why);
    SET(PRIVATE, s);
    SET(CONNECTTIMEOUT_MS, (long)(t->set.connect / 1000));
    SET(TIMEOUT_MS, (long)(t->set.whole / 1000));
    SET(TCP_KEEPALIVE, 1L);
    SET(PREREQFUNCTION, about_to_send);
    SET(PREREQDATA, s);
    SET(HEADERFUNCTION, take_head);
    SET(HEADERDATA, s);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, s);
    return rc == CURLE_OK ? set_certificates(s->easy) : rc;
}

static struct exchange_state *
take_idle(struct transfer *t)
{
    struct exchange_state *s = t->idle;
    if (s) {
        t->idle = s->following;
        return s;
    }
    s = calloc(1, sizeof *s);
    if (s && (!(s->easy = curl_easy_init()) || set_all(t, s) != CURLE_OK)) {
        state_free(s);
        return NULL;
    }
    return s;
}

static void
put_idle(struct transfer *t, struct exchange_state *s)
{
    s->x = NULL;
    s->following = t->idle;
    t->idle = s;
}

/* Waiting for leave to send a body costs a second wherever nobody gives it. */
static const char no_expect[] = "Expect:";

static bool
has_headers(const struct curl_slist *list, const char *const *headers)
{
    if (!list || strcmp(list->data, no_expect) != 0)
        return false;
    for (list = list->next; list && headers && *headers; list = list->next, headers++)
        if (strcmp(list->data, *headers) != 0)
            return false;
    return !list && !(headers && *headers);
}

static CURLcode
set_headers(struct exchange_state *s)
{
    const char *const *h = s->x->headers;
    if (has_headers(s->headers, h))
        return CURLE_OK;
    curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(s->headers);
    struct curl_slist *list = s->headers = curl_slist_append(NULL, no_expect);
    for (; list && h && *h; h++)
        list = curl_slist_append(s->headers, *h);
    if (list)
        return curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->headers);
    curl_slist_free_all(s->headers);
    s->headers = NULL;
    return CURLE_OUT_OF_MEMORY;
}

/* Gives the handle a text unless it has it. */
static CURLcode
set_text(struct exchange_state *s, CURLoption option, char **has, const char *text)
{
    if (*has && strcmp(*has, text) == 0)
        return CURLE_OK;
    free(*has);
    *has = strdup(text);
    CURLcode rc = *has ? curl_easy_setopt(s->easy, option, text) : CURLE_OUT_OF_MEMORY;
    if (rc != CURLE_OK) { /* what the handle has now is another one */
        free(*has);
        *has = NULL;
    }
    return rc;
}

static CURLcode
set_request(struct exchange_state *s)
{
    CURLcode rc = CURLE_OK;
    if (s->x->body.n > 0) {
        SET(POSTFIELDS, s->x->body.p);
        SET(POSTFIELDSIZE_LARGE, (curl_off_t)s->x->body.n);
    } else {
        SET(HTTPGET, 1L);
    }
    if (rc == CURLE_OK)
        rc = set_text(s, CURLOPT_URL, &s->url, s->x->url);
    if (rc == CURLE_OK)
        rc = set_text(s, CURLOPT_CUSTOMREQUEST, &s->method, s->x->method);
    return rc == CURLE_OK ? set_headers(s) : rc;
}
#undef SET

int
transfer_start(struct transfer *t, struct exchange *x, struct error *err)
{
    if (atomic_load(&t->cancelled))
        return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
    struct exchange_state *s = take_idle(t);
    if (!s)
        return error_no_memory(err);
    s->x = x;
    s->times = 0;
    s->began = false;
    s->why[0] = '\0';
    s->answer_max = t->set.answer_max;
    x->state = s;
    x->why = NULL;
    x->status = 0;
    x->timed_out = x->cancelled = x->cut = x->twice = false;
    x->head.max = HEAD_MAX;
    x->body_back.max = t->set.answer_max + 1;
    buf_clear(&x->head);
    buf_clear(&x->body_back);
    x->began = clock_monotonic();
    CURLcode rc = set_request(s);
    if (rc == CURLE_OK && curl_multi_add_handle(t->multi, s->easy) != CURLM_OK)
        rc = CURLE_OUT_OF_MEMORY;
    if (rc != CURLE_OK) {
        put_idle(t, s);
        x->state = NULL;
        return rc == CURLE_OUT_OF_MEMORY
                   ? error_no_memory(err)
                   : error_set(err, ERR_CONFIG, EINVAL, "cannot send to \"%s\": %s", x->url,
                               curl_easy_strerror(rc));
    }
    s->following = t->active;
    t->active = s;
    t->n++;
    return 0;
}

unsigned
transfer_active(const struct transfer *t)
{
    return t->n;
}

/* ---- its end ---- */

/* A head that announces a body says nothing that could be acted on. Of what was sent before a
 * connection was replaced nobody tells: then something has. */
static bool
has_left(const struct exchange_state *s)
{
    curl_off_t body = 0;
    long head = 0;
    if (s->times != 1)
        return s->times > 1;
    curl_easy_getinfo(s->easy, CURLINFO_SIZE_UPLOAD_T, &body);
    curl_easy_getinfo(s->easy, CURLINFO_REQUEST_SIZE, &head);
    return s->x->body.n > 0 ? body > 0 : head > 0;
}

/* The same whenever it is tried. */
static bool
is_barred(CURLcode rc)
{
    switch (rc) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return true;
    default:
        return false;
    }
}

static void
judge(struct exchange_state *s, CURLcode rc)
{
    struct exchange *x = s->x;
    long status = 0;
    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    x->twice = s->times > 1;
    if (rc == CURLE_OK || (x->cut && status > 0)) {
        x->end = END_ANSWERED;
        x->status = (int)status;
        return;
    }
    x->end = s->began || has_left(s) ? END_LOST : is_barred(rc) ? END_BARRED : END_UNSENT;
    x->timed_out = rc == CURLE_OPERATION_TIMEDOUT;
    x->why = s->why[0] ? s->why : curl_easy_strerror(rc);
    if (x->head.failed || x->body_back.failed)
        x->why = "no memory for the answer";
}

static struct exchange *
end(struct transfer *t, struct exchange_state *s)
{
    struct exchange_state **at = &t->active;
    while (*at != s)
        at = &(*at)->following;
    *at = s->following;
    t->n--;
    struct exchange *x = s->x;
    x->ended = clock_monotonic();
    x->state = NULL;
    curl_multi_remove_handle(t->multi, s->easy);
    put_idle(t, s);
    return x;
}

static struct exchange *
break_off(struct transfer *t, struct exchange_state *s, const char *why)
{
    struct exchange *x = s->x;
    x->end = s->began || has_left(s) ? END_LOST : END_UNSENT;
    x->why = why;
    return end(t, s);
}

/* libcurl has no time-out for the answer's beginning. */
static struct exchange *
find_late(struct transfer *t, usec_t now, usec_t *next)
{
    for (struct exchange_state *s = t->active; s; s = s->following) {
        usec_t left = s->x->began + t->set.first_byte - now;
        if (s->began)
            continue;
        if (left <= 0) {
            struct exchange *x = break_off(t, s, "no answer began in time");
            x->timed_out = true;
            return x;
        }
        if (left < *next)
            *next = left;
    }
    return NULL;
}

static struct exchange *
find_ended(struct transfer *t)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(t->multi, &left));) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct exchange_state *s = NULL;
        CURLcode rc = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
        judge(s, rc);
        return end(t, s);
    }
    return NULL;
}

static struct exchange *
next_ended(struct transfer *t, usec_t *timeout)
{
    if (atomic_load(&t->cancelled) && t->active) {
        struct exchange *x = break_off(t, t->active, "cancelled");
        x->cancelled = true;
        return x;
    }
    struct exchange *x = find_ended(t);
    return x ? x : find_late(t, clock_monotonic(), timeout);
}

struct exchange *
transfer_wait(struct transfer *t, usec_t timeout)
{
    usec_t until = clock_monotonic() + timeout;
    bool looked = false;
    for (;;) {
        usec_t left = until - clock_monotonic(), wait = left > 0 ? left : 0;
        struct exchange *x = next_ended(t, &wait);
        if (x || timeout < 0 || (looked && left <= 0) || atomic_exchange(&t->woken, false))
            return x;
        looked = t->timer < 0 || t->timer > clock_monotonic();
        go_on(t, wait);
    }
}

static void
poke(struct transfer *t)
{
    uint64_t one = 1;
    while (write(t->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void
transfer_wake(struct transfer *t)
{
    atomic_store(&t->woken, true);
    poke(t);
}

void
transfer_cancel(struct transfer *t)
{
    atomic_store(&t->cancelled, true);
    poke(t);
}

struct transfer *
transfer_free(struct transfer *t)
{
    if (!t)
        return NULL;
    while (t->active)
        break_off(t, t->active, "broken off");
    while (t->idle) {
        struct exchange_state *s = t->idle;
        t->idle = s->following;
        state_free(s);
    }
    curl_multi_cleanup(t->multi);
    VEC_DONE(&t->sockets);
    if (t->wake >= 0)
        close(t->wake);
    free(t);
    return NULL;
}

struct str
exchange_header(const struct exchange *x, const char *name)
{
    size_t n = strlen(name);
    const char *p = buf_z(&x->head), *end = p + x->head.n;
    while (p < end) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        if ((size_t)(line - p) > n + 1 && strncasecmp(p, name, n) == 0 && p[n] == ':')
            return (struct str){p + n + 2, (size_t)(line - p) - n - 2};
        p = line + 1;
    }
    return (struct str){NULL, 0};
}

void
exchange_done(struct exchange *x)
{
    buf_done(&x->head);
    buf_done(&x->body_back);
}
