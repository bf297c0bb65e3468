/* Requests and answers: see transfer.h. */
#include "http/transfer.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MAX = 256 * 1024 };

/* An easy handle, used for one request after the other. */
struct exchange_state {
    struct exchange_state *following; /* in the list it stands in */
    struct exchange *x;
    CURL *easy;
    struct curl_slist *headers;
    size_t sent; /* bytes of the body that libcurl has taken */
    size_t answer_max;
    bool left;  /* some of the body has */
    bool began; /* the answer has */
    char why[CURL_ERROR_SIZE];
};

struct transfer {
    struct transfer_settings set;
    CURLM *multi;
    struct exchange_state *idle, *active;
    unsigned n; /* active */
    atomic_bool cancelled, woken;
};

static int
no_memory(struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

static void
init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
transfer_create(const struct transfer_settings *settings, struct transfer **ret,
                struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return no_memory(err);
    t->set = *settings;
    t->multi = curl_multi_init();
    if (!t->multi) {
        free(t);
        return no_memory(err);
    }
    curl_multi_setopt(t->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)settings->parallel);
    curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, (long)settings->parallel);
    *ret = t;
    return 0;
}

/* ---- what libcurl calls ---- */

static size_t
give_body(char *to, size_t size, size_t n, void *arg)
{
    struct exchange_state *s = arg;
    size_t left = s->x->body.n - s->sent, room = size * n;
    size_t some = left < room ? left : room;
    memcpy(to, s->x->body.p + s->sent, some);
    s->sent += some;
    return some;
}

/* Only what may come twice is given twice. */
static int
rewind_body(void *arg, curl_off_t offset, int origin)
{
    struct exchange_state *s = arg;
    s->left = true; /* else there were nothing to give again */
    if (!s->x->repeatable || origin != SEEK_SET || offset < 0 || (size_t)offset > s->x->body.n)
        return CURL_SEEKFUNC_FAIL;
    s->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
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

static struct exchange_state *
take_idle(struct transfer *t)
{
    struct exchange_state *s = t->idle;
    if (s) {
        t->idle = s->following;
        curl_easy_reset(s->easy); /* its connections stay */
        return s;
    }
    s = calloc(1, sizeof *s);
    if (s && !(s->easy = curl_easy_init())) {
        free(s);
        return NULL;
    }
    return s;
}

static void
put_idle(struct transfer *t, struct exchange_state *s)
{
    curl_slist_free_all(s->headers);
    s->headers = NULL;
    s->x = NULL;
    s->following = t->idle;
    t->idle = s;
}

static bool
set_headers(struct exchange_state *s)
{
    /* Waiting for leave to send a body costs a second wherever nobody gives it. */
    static const char *const ours[] = {"Expect:", NULL};
    const char *const *lists[] = {ours, s->x->headers};
    for (size_t i = 0; i < 2; i++)
        for (const char *const *h = lists[i]; h && *h; h++) {
            struct curl_slist *longer = curl_slist_append(s->headers, *h);
            if (!longer)
                return false;
            s->headers = longer;
        }
    return curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->headers) == CURLE_OK;
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

static CURLcode
set_request(const struct transfer *t, struct exchange_state *s)
{
    CURL *e = s->easy;
    CURLcode rc = CURLE_OK;
#define SET(option, value)                                                                     \
    if (rc == CURLE_OK)                                                                        \
    rc = curl_easy_setopt(e, CURLOPT_##option, value)
    SET(URL, s->x->url);
    SET(PROTOCOLS_STR, "http,https");
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(PIPEWAIT, 0L);
    SET(NOSIGNAL, 1L);
    SET(ACCEPT_ENCODING, "");
    SET(USERAGENT, "retlfs/" RETLFS_VERSION);
    SET(ERRORBUFFER, s->why);
    SET(PRIVATE, s);
    SET(CONNECTTIMEOUT_MS, (long)(t->set.connect / 1000));
    SET(TIMEOUT_MS, (long)(t->set.whole / 1000));
    SET(TCP_KEEPALIVE, 1L);
    SET(HEADERFUNCTION, take_head);
    SET(HEADERDATA, s);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, s);
    if (s->x->body.n > 0) {
        SET(POST, 1L);
        SET(READFUNCTION, give_body);
        SET(READDATA, s);
        SET(SEEKFUNCTION, rewind_body);
        SET(SEEKDATA, s);
        SET(POSTFIELDSIZE_LARGE, (curl_off_t)s->x->body.n);
    }
    SET(CUSTOMREQUEST, s->x->method);
#undef SET
    return rc == CURLE_OK ? set_certificates(e) : rc;
}

int
transfer_start(struct transfer *t, struct exchange *x, struct error *err)
{
    if (atomic_load(&t->cancelled))
        return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
    struct exchange_state *s = take_idle(t);
    if (!s)
        return no_memory(err);
    s->x = x;
    s->sent = 0;
    s->began = s->left = false;
    s->why[0] = '\0';
    s->answer_max = t->set.answer_max;
    x->state = s;
    x->why = NULL;
    x->status = 0;
    x->timed_out = x->cancelled = x->cut = false;
    x->head.max = HEAD_MAX;
    x->body_back.max = t->set.answer_max + 1;
    buf_clear(&x->head);
    buf_clear(&x->body_back);
    x->began = clock_monotonic();
    CURLcode rc = set_request(t, s);
    if (rc == CURLE_OK && !set_headers(s))
        rc = CURLE_OUT_OF_MEMORY;
    if (rc == CURLE_OK && curl_multi_add_handle(t->multi, s->easy) != CURLM_OK)
        rc = CURLE_OUT_OF_MEMORY;
    if (rc != CURLE_OK) {
        put_idle(t, s);
        x->state = NULL;
        return rc == CURLE_OUT_OF_MEMORY
                   ? no_memory(err)
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

/* A head that announces a body says nothing that could be acted on. */
static bool
has_left(const struct exchange_state *s)
{
    curl_off_t body = 0;
    long head = 0;
    curl_easy_getinfo(s->easy, CURLINFO_SIZE_UPLOAD_T, &body);
    curl_easy_getinfo(s->easy, CURLINFO_REQUEST_SIZE, &head);
    return s->left || (s->x->body.n > 0 ? body > 0 : head > 0);
}

static void
judge(struct exchange_state *s, CURLcode rc)
{
    struct exchange *x = s->x;
    long status = 0;
    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    if (rc == CURLE_OK || (x->cut && status > 0)) {
        x->end = END_ANSWERED;
        x->status = (int)status;
        return;
    }
    x->end = s->began || has_left(s) ? END_LOST : END_UNSENT;
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
    int running;
    if (atomic_load(&t->cancelled) && t->active) {
        struct exchange *x = break_off(t, t->active, "cancelled");
        x->cancelled = true;
        return x;
    }
    curl_multi_perform(t->multi, &running);
    struct exchange *x = find_ended(t);
    return x ? x : find_late(t, clock_monotonic(), timeout);
}

struct exchange *
transfer_wait(struct transfer *t, usec_t timeout)
{
    usec_t until = clock_monotonic() + timeout;
    for (;;) {
        usec_t left = until - clock_monotonic(), wait = left > 0 ? left : 0;
        struct exchange *x = next_ended(t, &wait);
        if (x || left <= 0 || atomic_exchange(&t->woken, false))
            return x;
        curl_multi_poll(t->multi, NULL, 0, (int)((wait + 999) / 1000), NULL);
    }
}

void
transfer_wake(struct transfer *t)
{
    atomic_store(&t->woken, true);
    curl_multi_wakeup(t->multi);
}

void
transfer_cancel(struct transfer *t)
{
    atomic_store(&t->cancelled, true);
    curl_multi_wakeup(t->multi);
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
        curl_easy_cleanup(s->easy);
        free(s);
    }
    curl_multi_cleanup(t->multi);
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
        if ((size_t)(line - p) > n + 1 && memcmp(p, name, n) == 0 && p[n] == ':')
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
