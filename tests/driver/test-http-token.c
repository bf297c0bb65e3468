/* OAuth tokens from a server in this process: shared, renewed, exchanged, refused. */
#include "http/token.h"

#include <pthread.h>
#include <sched.h>

#include "base/clock.h"
#include "http-peer.h"
#include "http/sign.h"
#include "rfc7515.h"
#include "unit/tap.h"

enum { CROWD = 8 };

static int port;
static struct error err;

/* ---- the server ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct peer_request last;          /* what came last */
static atomic_int asked, asking, refresh; /* requests, threads, the refresh token in force */
static atomic_bool down;

static void
respond(int fd, const char *status, const char *body)
{
    char text[8192];
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", status,
             strlen(body), body);
    peer_say(fd, text);
}

static void
give(int fd, int number, const char *more)
{
    char text[256];
    snprintf(text, sizeof text, "{\"access_token\": \"T%d\"%s}", number, more);
    respond(fd, "200 OK", text);
}

/* Each refresh token is good once. */
static void
exchange(int fd, const struct peer_request *r)
{
    char good[64], more[64];
    int now = atomic_load(&refresh);
    snprintf(good, sizeof good, "refresh_token=R%d&", now);
    if (!strstr(peer_body(r), good)) {
        respond(fd, "400 Bad Request", "{\"error\": \"invalid_grant\"}");
        return;
    }
    atomic_fetch_add(&refresh, 1);
    snprintf(more, sizeof more, ", \"refresh_token\": \"R%d\"", now + 1);
    give(fd, now, more);
}

static void
repeat(int fd, const struct peer_request *r, const char *status)
{
    char text[4096];
    const char *basic = strstr(r->bytes, "Basic ");
    int n = basic ? (int)strcspn(basic, "\r") : 0;
    snprintf(
        text, sizeof text,
        "{\"error\": \"invalid_grant\", \"error_description\": \"not s/cret-1 as in %s %.*s\"}",
        peer_body(r), n, basic ? basic : "");
    respond(fd, status, text);
}

static const struct {
    const char *path, *status, *body;
} said[] = {
    {"/garbage", "200 OK", "<html>"},
    {"/nothing", "200 OK", "{}"},
    {"/header", "200 OK", "{\"access_token\": \"a\\r\\nX-Evil: b\"}"},
    {"/number", "200 OK", "{\"access_token\": 7}"},
    {"/instance", "200 OK",
     "{\"access_token\": \"T\", \"instance_url\": \"http://there\", \"id_token\": \"I\"}"},
    {"/github", "200 OK", "{\"error\": \"bad_verification_code\"}"},
    {"/google", "400 Bad Request", "{\"error\": {\"code\": 400, \"message\": \"bad key\"}}"},
    {"/moved", "302 Found", ""},
    {"/gone", "404 Not Found", "{\"message\": \"no such thing\"}"},
    {"/down", "503 Service Unavailable", "later"},
    {"/crowd-denied", "400 Bad Request", "{\"error\": \"invalid_grant\"}"},
    {"/busy", "429 Too Many Requests", "{\"error\": \"slow down\"}"},
};

static bool
answer(int fd, const struct peer_request *r)
{
    char path[64] = "";
    sscanf(r->bytes, "%*s %63s", path);
    pthread_mutex_lock(&lock);
    last = *r;
    pthread_mutex_unlock(&lock);
    int number = atomic_fetch_add(&asked, 1);
    if (strcmp(path, "/half") == 0)
        peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\": \"T");
    else if (strcmp(path, "/rotate") == 0)
        exchange(fd, r);
    else if (strcmp(path, "/repeat") == 0)
        repeat(fd, r, "400 Bad Request");
    else if (strcmp(path, "/hour") == 0 && !atomic_load(&down))
        give(fd, number, ", \"expires_in\": 3600");
    else if (strcmp(path, "/hour") == 0)
        respond(fd, "500 Internal Server Error", "");
    else if (strcmp(path, "/text") == 0)
        give(fd, number, ", \"expires_in\": \"60\"");
    else if (strcmp(path, "/same") == 0)
        give(fd, 0, "");
    else if (strcmp(path, "/first-silent") == 0 && number == 0)
        peer_wait(fd);
    else if (strncmp(path, "/crowd", 6) == 0)
        while (atomic_load(&asking) < CROWD)
            sched_yield();
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (strcmp(path, said[i].path) == 0)
            respond(fd, said[i].status, said[i].body);
    if (strcmp(path, "/ok") == 0 || strcmp(path, "/crowd") == 0 ||
        strcmp(path, "/first-silent") == 0)
        give(fd, number, "");
    return false;
}

/* ---- the client ---- */

static char url[64];

/* Credentials that no test had before, for that path. */
static struct token_credentials
credentials(const char *path)
{
    static char ids[256][16];
    static size_t n;
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    snprintf(ids[n], sizeof ids[n], "client %zu", n);
    atomic_store(&asked, 0);
    error_clear(&err);
    return (struct token_credentials){
        .url = url, .grant = TOKEN_CLIENT, .client_id = ids[n++], .client_secret = "s/cret-1"};
}

static struct token *
open_token(const struct token_credentials *c)
{
    struct token *t = NULL;
    CHECK(token_open(c, &t, &err) == 0);
    return t;
}

/* The access token, or the error's text. */
static const char *
get(struct token *t)
{
    static struct token_lease lease = TOKEN_LEASE_INIT;
    static char text[ERROR_TEXT_MAX];
    error_clear(&err);
    int rc = token_get(t, NULL, &lease, &err);
    snprintf(text, sizeof text, "%s", rc < 0 ? err.text : buf_z(&lease.access));
    token_lease_done(&lease);
    return text;
}

/* Of a token that was never asked for. */
static const char *
get_once(const struct token_credentials *c)
{
    struct token *t = open_token(c);
    const char *text = get(t);
    token_close(t);
    return text;
}

/* ---- what is sent ---- */

static bool
sent(const char *what)
{
    pthread_mutex_lock(&lock);
    bool there =
        strcmp(peer_body(&last), what) == 0 || (*what == '\n' && strstr(last.bytes, what));
    if (!there)
        printf("# %s\n", last.bytes);
    pthread_mutex_unlock(&lock);
    return there;
}

static void
test_grants(void)
{
    struct token_credentials c = credentials("/ok");
    const char *const extra[] = {"audience", "https://x", NULL};
    c.client_id = "me & you";
    c.scope = "a b";
    c.extra = extra;
    CHECK_TEXT(get_once(&c), "T0");
    CHECK(sent("grant_type=client_credentials&scope=a%20b&client_id=me%20%26%20you&"
               "client_secret=s%2Fcret-1&audience=https%3A%2F%2Fx"));
    c.basic = true;
    c.scope = NULL;
    c.extra = NULL;
    CHECK_TEXT(get_once(&c), "T1");
    CHECK(sent("grant_type=client_credentials"));
    CHECK(sent("\nAuthorization: Basic bWUlMjAlMjYlMjB5b3U6cyUyRmNyZXQtMQ==\r\n"));
    CHECK(sent("\nContent-Type: application/x-www-form-urlencoded\r\n"));

    c = credentials("/ok");
    c.grant = TOKEN_PASSWORD;
    c.client_id = "me";
    c.username = "u@x";
    c.password = "p+w";
    CHECK_TEXT(get_once(&c), "T0");
    CHECK(sent("grant_type=password&username=u%40x&password=p%2Bw&client_id=me&"
               "client_secret=s%2Fcret-1"));

    c = credentials("/ok");
    c.grant = TOKEN_REFRESH;
    c.client_id = "me";
    c.refresh_token = "r";
    CHECK_TEXT(get_once(&c), "T0");
    CHECK(sent("grant_type=refresh_token&refresh_token=r&client_id=me&"
               "client_secret=s%2Fcret-1"));
}

static usec_t now = INT64_C(1700000000000000);

/* Who asks for a token looks at the clock, having noted how many were fetched before. */
static usec_t
test_clock(void)
{
    static _Thread_local bool counted;
    if (!counted)
        atomic_fetch_add(&asking, 1);
    counted = true;
    return now;
}

static void
test_jwt(void)
{
    struct token_credentials c = credentials("/ok");
    struct buf expected = BUF_INIT(4096);
    c.grant = TOKEN_JWT;
    c.client_id = "me";
    c.client_secret = NULL;
    c.username = "u@x";
    c.audience = "https://login";
    c.private_key = rfc7515_key;
    c.key_id = "k1";
    CHECK_TEXT(get_once(&c), "T0");
    buf_adds(&expected, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"
                        "assertion=");
    CHECK(sign_jwt(STR("{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"k1\"}"),
                   STR("{\"iss\":\"me\",\"sub\":\"u@x\",\"aud\":\"https://login\","
                       "\"iat\":1700000000,\"exp\":1700000180}"),
                   str_of(rfc7515_key), &expected, &err) == 0);
    CHECK(sent(buf_z(&expected)));
    buf_done(&expected);
    c = credentials("/ok");
    c.grant = TOKEN_JWT;
    c.private_key = "no key";
    CHECK_TEXT(get_once(&c), "the private key cannot be read: it is not PEM, or encrypted");
    CHECK(err.kind == ERR_CONFIG && atomic_load(&asked) == 0);
}

static void
test_missing(void)
{
    struct token *t;
    struct token_credentials c = credentials("/ok");
    c.url = "https://user:pass@host/token";
    CHECK(token_open(&c, &t, &err) < 0 && err.kind == ERR_CONFIG);
    CHECK_TEXT(err.text, "the token URL has a user in it");
    c.url = "gopher://host/";
    CHECK(token_open(&c, &t, &err) < 0);
    CHECK_TEXT(err.text, "a token of this grant needs a token URL, of https or http");
    c = credentials("/ok");
    c.grant = TOKEN_REFRESH;
    CHECK(token_open(&c, &t, &err) < 0);
    CHECK_TEXT(err.text, "a token of this grant needs a refresh token");
    c.grant = TOKEN_JWT;
    CHECK(token_open(&c, &t, &err) < 0);
    CHECK_TEXT(err.text, "a token of this grant needs a private key");
}

/* ---- what comes back ---- */

static const char *
get_from(const char *path, enum error_kind kind)
{
    struct token_credentials c = credentials(path);
    const char *text = get_once(&c);
    CHECK_MSG(err.kind == kind, path);
    return text;
}

static void
test_answers(void)
{
    static const char none[] =
        "the token server answered HTTP 200, but with no token that can be read";
    CHECK_TEXT(get_from("/garbage", ERR_REMOTE), none);
    CHECK_TEXT(get_from("/nothing", ERR_REMOTE), none);
    CHECK_TEXT(get_from("/header", ERR_REMOTE), none);
    CHECK_TEXT(get_from("/number", ERR_REMOTE), none);
    CHECK_TEXT(get_from("/github", ERR_AUTH),
               "the token server answered HTTP 200: bad_verification_code");
    CHECK_TEXT(get_from("/google", ERR_AUTH), "the token server answered HTTP 400: bad key");
    CHECK_TEXT(get_from("/moved", ERR_REMOTE), "the token server answered HTTP 302");
    CHECK_TEXT(get_from("/gone", ERR_REMOTE),
               "the token server answered HTTP 404: no such thing");
    CHECK_TEXT(get_from("/down", ERR_UNREACHABLE), "the token server answered HTTP 503");
    CHECK_TEXT(get_from("/busy", ERR_UNREACHABLE),
               "the token server answered HTTP 429: slow down");
    CHECK(strncmp(get_from("/half", ERR_UNREACHABLE),
                  "no answer from the token server: ", 33) == 0);
    struct token_credentials c = credentials("/");
    c.url = "http://127.0.0.1:1/"; /* nobody listens */
    CHECK(strncmp(get_once(&c), "no answer from the token server: ", 33) == 0);
    CHECK(err.kind == ERR_UNREACHABLE);
}

static void
test_told(void)
{
    struct token_credentials c = credentials("/instance");
    struct token *t = open_token(&c);
    struct token_lease lease = TOKEN_LEASE_INIT;
    CHECK(token_get(t, NULL, &lease, &err) == 0);
    CHECK_TEXT(buf_z(&lease.told), "{\"instance_url\":\"http://there\"}");
    token_lease_done(&lease);
    token_close(t);
}

/* A server that says back all that it was told. */
static void
test_secrets_hidden(void)
{
    struct token_credentials c = credentials("/repeat");
    c.client_id = "me";
    c.grant = TOKEN_REFRESH;
    c.refresh_token = "r~fre*sh";
    CHECK_TEXT(get_once(&c), "the token server answered HTTP 400: invalid_grant: not *** as in "
                             "grant_type=refresh_token&refresh_token=***&client_id=me&"
                             "client_secret=*** ");
    c.basic = true;
    CHECK_TEXT(get_once(&c), "the token server answered HTTP 400: invalid_grant: not *** as in "
                             "grant_type=refresh_token&refresh_token=*** Basic ***");
    c = credentials("/repeat");
    c.grant = TOKEN_JWT;
    c.private_key = rfc7515_key;
    c.client_secret = NULL;
    CHECK_TEXT(
        get_once(&c),
        "the token server answered HTTP 400: invalid_grant: not s/cret-1 as in grant_type="
        "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=*** ");
    CHECK(err.kind == ERR_AUTH);
}

/* ---- sharing ---- */

struct asker {
    const struct token_credentials *c;
    pthread_t thread;
    struct token_lease lease;
    struct error err;
};

static void *
ask_too(void *arg)
{
    struct asker *a = arg;
    struct token *t = NULL;
    if (token_open(a->c, &t, &a->err) == 0)
        token_get(t, NULL, &a->lease, &a->err);
    token_close(t);
    return NULL;
}

/* All ask before the server answers. How many got T0, and were denied. */
static void
ask_together(const struct token_credentials *c, int *good, int *denied)
{
    struct asker askers[CROWD] = {0};
    atomic_store(&asking, 0);
    *good = *denied = 0;
    for (int i = 0; i < CROWD; i++) {
        askers[i].c = c;
        CHECK(pthread_create(&askers[i].thread, NULL, ask_too, &askers[i]) == 0);
    }
    for (int i = 0; i < CROWD; i++) {
        pthread_join(askers[i].thread, NULL);
        *good += str_is(buf_str(&askers[i].lease.access), "T0");
        *denied += askers[i].err.kind == ERR_AUTH;
        token_lease_done(&askers[i].lease);
    }
}

static void
test_crowd(void)
{
    int good, denied;
    struct token_credentials c = credentials("/crowd-denied");
    ask_together(&c, &good, &denied);
    CHECK_MSG(denied == CROWD && atomic_load(&asked) == 1, "eight ask, one is denied for all");
    c = credentials("/crowd");
    ask_together(&c, &good, &denied);
    CHECK_MSG(good == CROWD && atomic_load(&asked) == 1, "eight ask, one fetches");
    struct token *t = open_token(&c);
    CHECK_TEXT(get(t), "T0");
    CHECK_MSG(atomic_load(&asked) == 1, "and it is remembered when all are gone");
    token_close(t);

    char other[16] = "another secret";
    c.client_secret = other;
    t = open_token(&c);
    CHECK_TEXT(get(t), "T1");
    token_close(t);
}

struct cancelling {
    struct token *t;
    atomic_bool cancelled;
    int rc;
    struct error err;
    struct token_lease lease;
};

static void *
get_cancelled(void *arg)
{
    struct cancelling *c = arg;
    c->rc = token_get(c->t, &c->cancelled, &c->lease, &c->err);
    return NULL;
}

/* Who fetches is cancelled: who waits fetches. */
static void
test_cancel(void)
{
    struct token_credentials c = credentials("/first-silent");
    struct cancelling one = {.t = open_token(&c)}, two = {.t = open_token(&c)};
    pthread_t first, second;
    usec_t until = clock_monotonic() + 60000000;
    CHECK(pthread_create(&first, NULL, get_cancelled, &one) == 0);
    while (atomic_load(&asked) == 0 && clock_monotonic() < until)
        sched_yield();
    CHECK(pthread_create(&second, NULL, get_cancelled, &two) == 0);
    atomic_store(&one.cancelled, true);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    CHECK(one.rc == -ECANCELED && one.err.kind == ERR_CANCELLED);
    CHECK(two.rc == 0 && str_is(buf_str(&two.lease.access), "T1"));
    CHECK(atomic_load(&asked) == 2);
    token_lease_done(&one.lease);
    token_lease_done(&two.lease);
    token_close(one.t);
    token_close(two.t);
}

/* ---- over time ---- */

static void
test_expiry(void)
{
    struct token_credentials c = credentials("/hour");
    struct token *t = open_token(&c);
    usec_t begin = now;
    CHECK_TEXT(get(t), "T0");
    now = begin + 3299 * INT64_C(1000000);
    CHECK_TEXT(get(t), "T0");
    now = begin + 3300 * INT64_C(1000000);
    CHECK_TEXT(get(t), "T1"); /* five minutes before */
    begin = now;
    atomic_store(&down, true);
    now = begin + 3300 * INT64_C(1000000);
    CHECK_TEXT(get(t), "T1"); /* still good though it cannot be renewed */
    CHECK_TEXT(get(t), "T1");
    CHECK_MSG(atomic_load(&asked) == 3, "the server is left alone for a while");
    now += 10000000;
    CHECK_TEXT(get(t), "T1");
    CHECK(atomic_load(&asked) == 4);
    now = begin + 3600 * INT64_C(1000000);
    CHECK_TEXT(get(t), "the token server answered HTTP 500");
    CHECK(err.kind == ERR_UNREACHABLE);
    atomic_store(&down, false);
    CHECK_TEXT(get(t), "T5");
    token_close(t);

    c = credentials("/text");
    t = open_token(&c);
    CHECK_TEXT(get(t), "T0");
    now += 53999999;
    CHECK_TEXT(get(t), "T0");
    now += 1;
    CHECK_TEXT(get(t), "T1"); /* a tenth before */
    token_close(t);
}

/* Ten calls with the same token are answered 401. */
static void
test_refused(const char *path)
{
    enum { CALLS = 10 };
    struct token_credentials c = credentials(path);
    struct token *t = open_token(&c);
    struct token_lease leases[CALLS] = {TOKEN_LEASE_INIT};
    for (int i = 0; i < CALLS; i++)
        CHECK(token_get(t, NULL, &leases[i], &err) == 0);
    CHECK(atomic_load(&asked) == 1);
    for (int i = 0; i < CALLS; i++) {
        token_refused(t, &leases[i]);
        get(t);
        token_lease_done(&leases[i]);
    }
    CHECK_MSG(atomic_load(&asked) == 2, "one of them renews it");
    token_close(t);
}

static void
test_rotation(void)
{
    struct token_credentials c = credentials("/rotate");
    c.grant = TOKEN_REFRESH;
    c.refresh_token = "R0";
    for (int i = 0; i < 3; i++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "T%d", i);
        struct token *t = open_token(&c);
        struct token_lease lease = TOKEN_LEASE_INIT;
        CHECK(token_get(t, NULL, &lease, &err) == 0);
        CHECK_TEXT(buf_z(&lease.access), wanted);
        token_refused(t, &lease);
        token_lease_done(&lease);
        token_close(t);
    }
    atomic_fetch_add(&refresh, 1); /* somebody else has exchanged it */
    struct token *t = open_token(&c);
    CHECK_TEXT(get(t), "the token server answered HTTP 400: invalid_grant");
    CHECK(err.kind == ERR_AUTH && err.errnum == EACCES);
    token_close(t);
}

/* What nobody uses is not kept forever. */
static void
test_forgetting(void)
{
    struct token_credentials c = credentials("/ok"), other = c;
    CHECK_TEXT(get_once(&c), "T0");
    CHECK_TEXT(get_once(&c), "T0");
    char id[32];
    other.client_id = id;
    for (int i = 0; i < 64; i++) {
        struct token *t = NULL;
        snprintf(id, sizeof id, "other %d", i);
        if (token_open(&other, &t, &err) < 0)
            break;
        token_close(t);
    }
    CHECK_TEXT(get_once(&c), "T1");
}

int
main(void)
{
    port = peer_start(answer);
    if (port < 0)
        tap_skip_all("no loopback");
    clock_replace(test_clock);
    test_grants();
    test_jwt();
    test_missing();
    test_answers();
    test_told();
    test_secrets_hidden();
    test_crowd();
    test_cancel();
    test_expiry();
    test_refused("/ok");
    test_refused("/same");
    test_rotation();
    test_forgetting();
    return tap_done();
}
