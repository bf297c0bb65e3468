/* Requests over HTTP against a peer in this process that does what the path says. */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http-peer.h"
#include "http/transfer.h"
#include "unit/tap.h"

enum { BIG = 1 << 20, ANSWER_MAX = 64 * 1024 };

static int port;

/* ---- the peer ---- */

static void
say_big(int fd)
{
    static char bytes[BIG];
    memset(bytes, 'x', sizeof bytes);
    peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
    for (size_t sent = 0; sent < sizeof bytes;) {
        ssize_t n = send(fd, bytes + sent, sizeof bytes - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        sent += (size_t)n;
    }
}

/* A proxy that is asked for a tunnel. */
static bool
answer_connect(int fd, const struct peer_request *r)
{
    if (strstr(r->bytes, "refused.example"))
        peer_say(fd, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    else
        peer_say(fd, "HTTP/1.1 200 Connection established\r\n\r\n");
    return false;
}

/* What the path asks for; false closes the connection. */
static bool
answer(int fd, const struct peer_request *r)
{
    char path[64] = "";
    if (strncmp(r->bytes, "CONNECT ", 8) == 0)
        return answer_connect(fd, r);
    sscanf(r->bytes, "%*s %63s", path);
    if (strcmp(path, "/echo") == 0) {
        char text[16384];
        const char *body = peer_body(r);
        snprintf(text, sizeof text,
                 "HTTP/1.1 201 Created\r\nX-Seen:  yes \r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
        peer_say(fd, text);
        return true;
    }
    if (strcmp(path, "/moved") == 0) {
        peer_say(fd, "HTTP/1.1 307 Moved\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n");
        return true;
    }
    if (strcmp(path, "/interim") == 0) {
        peer_say(fd, "HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
                     "HTTP/1.1 204 No Content\r\nX-Late: 1\r\n\r\n");
        return true;
    }
    if (strcmp(path, "/big") == 0) {
        say_big(fd);
        return true;
    }
    if (strcmp(path, "/half") == 0)
        peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\"");
    if (strcmp(path, "/reset") == 0)
        peer_reset(fd);
    if (strcmp(path, "/silent") == 0)
        peer_wait(fd);
    /* Answers one, then drops what comes next on the same connection without a word. */
    if (strcmp(path, "/once") == 0) {
        peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        struct peer_request next;
        if (peer_read(fd, &next))
            atomic_fetch_add(&peer_requests, 1);
    }
    return false;
}

/* ---- the client ---- */

static struct transfer *
client(usec_t first_byte, usec_t whole)
{
    const struct transfer_settings settings = {.parallel = 4,
                                               .connect = 5000000,
                                               .first_byte = first_byte,
                                               .whole = whole,
                                               .answer_max = ANSWER_MAX};
    struct transfer *t = NULL;
    struct error err = ERROR_INIT;
    CHECK(transfer_create(&settings, &t, &err) == 0);
    return t;
}

static char urls[64][64];
static int nurls;

static struct exchange
post(const char *path, const char *body)
{
    char *url = urls[nurls++ % 64];
    snprintf(url, sizeof urls[0], "http://127.0.0.1:%d%s", port, path);
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    return (struct exchange){
        .method = "POST", .url = url, .headers = headers, .body = str_of(body)};
}

static struct exchange *
wait_for(struct transfer *t)
{
    struct exchange *x = NULL;
    for (int i = 0; i < 60 && !x; i++)
        x = transfer_wait(t, 1000000);
    return x;
}

/* One request, to its end. */
static void
make(struct transfer *t, struct exchange *x)
{
    struct error err = ERROR_INIT;
    CHECK(transfer_start(t, x, &err) == 0);
    CHECK(wait_for(t) == x);
}

static void
test_answers(void)
{
    struct transfer *t = client(30000000, 60000000);
    struct exchange x = post("/echo", "{\"a\":1}");
    make(t, &x);
    CHECK(x.end == END_ANSWERED && x.status == 201 && !x.cut);
    CHECK_TEXT(buf_z(&x.body_back), "{\"a\":1}");
    struct str seen = exchange_header(&x, "x-seen");
    CHECK(str_is(seen, "yes"));
    CHECK(exchange_header(&x, "x-see").p == NULL);
    exchange_done(&x);

    x = post("/moved", "{}");
    make(t, &x);
    CHECK_MSG(x.end == END_ANSWERED && x.status == 307, "a redirect is not followed");
    exchange_done(&x);

    x = post("/interim", "{}");
    make(t, &x);
    CHECK(x.status == 204 && x.body_back.n == 0);
    CHECK(exchange_header(&x, "x-early").p == NULL && exchange_header(&x, "x-late").p);
    exchange_done(&x);

    x = post("/big", "{}");
    make(t, &x);
    CHECK(x.end == END_ANSWERED && x.status == 200 && x.cut && x.body_back.n == ANSWER_MAX);
    exchange_done(&x);
    transfer_free(t);
}

/* What is known of a request without an answer. */
static void
test_no_answer(void)
{
    struct transfer *t = client(300000, 60000000);
    struct exchange x = post("/half", "{}");
    make(t, &x);
    CHECK_MSG(x.end == END_LOST && x.why, "half an answer is none");
    exchange_done(&x);

    x = post("/reset", "{}");
    make(t, &x);
    CHECK_MSG(x.end == END_LOST && !x.timed_out, "sent, then reset");
    exchange_done(&x);

    x = post("/silent", "{}");
    make(t, &x);
    CHECK_MSG(x.end == END_LOST && x.timed_out, "sent, and nobody answers");
    exchange_done(&x);

    x = post("/echo", "{}");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    char url[64];
    CHECK(bind(fd, (struct sockaddr *)&at, n) == 0 &&
          getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(at.sin_port)); /* nobody listens */
    x.url = url;
    make(t, &x);
    CHECK_MSG(x.end == END_UNSENT, "no connection: nothing was sent");
    close(fd);
    exchange_done(&x);

    struct error err = ERROR_INIT;
    x.url = "gopher://127.0.0.1/";
    int rc = transfer_start(t, &x, &err);
    CHECK(rc < 0 || (wait_for(t) == &x && x.end == END_BARRED));
    exchange_done(&x);
    transfer_free(t);
}

/* A kept connection that dies under a request: only what may come twice is sent twice. */
static void
test_dead_connection(void)
{
    for (int repeatable = 0; repeatable < 2; repeatable++) {
        struct transfer *t = client(30000000, 60000000);
        struct exchange x = post("/once", "{}");
        make(t, &x);
        CHECK(x.status == 200);
        exchange_done(&x);
        int before = atomic_load(&peer_requests);
        x = post("/echo", "{}");
        x.repeatable = repeatable;
        make(t, &x);
        int came = atomic_load(&peer_requests) - before;
        if (repeatable)
            CHECK_MSG(x.end == END_ANSWERED && x.status == 201 && came == 2, "sent again");
        else
            CHECK_MSG(x.end == END_LOST && came == 1, "not sent again behind our back");
        exchange_done(&x);
        transfer_free(t);
    }
}

/* Many at once, on no more connections than allowed, each answered with its own body. */
static void
test_many(void)
{
    enum { MANY = 200, AT_ONCE = 4 };
    struct transfer *t = client(30000000, 60000000);
    static struct exchange all[MANY];
    static char bodies[MANY][32];
    int started = 0, good = 0, ended = 0, before = atomic_load(&peer_accepted);
    struct error err = ERROR_INIT;
    while (ended < MANY) {
        while (started < MANY && transfer_active(t) < AT_ONCE) {
            snprintf(bodies[started], sizeof bodies[0], "{\"n\":%d}", started);
            all[started] = post("/echo", bodies[started]);
            if (transfer_start(t, &all[started], &err) < 0)
                break;
            started++;
        }
        struct exchange *x = wait_for(t);
        if (!x)
            break;
        ended++;
        good += x->end == END_ANSWERED && str_equal(buf_str(&x->body_back), x->body);
        exchange_done(x);
    }
    CHECK(good == MANY);
    CHECK_MSG(atomic_load(&peer_accepted) - before <= AT_ONCE, "connections are kept");
    transfer_free(t);
}

static void *
cancel_soon(void *arg)
{
    transfer_cancel(arg);
    return NULL;
}

static void *
wake_soon(void *arg)
{
    transfer_wake(arg);
    return NULL;
}

static void
test_cancel(void)
{
    struct transfer *t = client(60000000, 60000000);
    struct exchange x = post("/silent", "{}"), y = post("/silent", "{}");
    struct error err = ERROR_INIT;
    pthread_t thread;
    CHECK(transfer_start(t, &x, &err) == 0 && transfer_start(t, &y, &err) == 0);
    CHECK(pthread_create(&thread, NULL, wake_soon, t) == 0);
    usec_t began = clock_monotonic();
    CHECK_MSG(transfer_wait(t, 30000000) == NULL, "who is woken comes back");
    pthread_join(thread, NULL);
    CHECK(pthread_create(&thread, NULL, cancel_soon, t) == 0);
    struct exchange *one = transfer_wait(t, 30000000), *two = transfer_wait(t, 30000000);
    pthread_join(thread, NULL);
    CHECK(one && two && one != two && one->cancelled && two->cancelled);
    CHECK_MSG(clock_monotonic() - began < 20000000, "without waiting for an answer");
    CHECK(transfer_start(t, &x, &err) < 0 && err.kind == ERR_CANCELLED);
    exchange_done(&x);
    exchange_done(&y);
    transfer_free(t);
}

/* What a proxy says of its tunnel is not the peer's answer: nothing was sent through it. */
static void
test_proxy(void)
{
    static const char *const addresses[] = {"https://refused.example/",
                                            "https://open.example/"};
    char proxy[64];
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", port);
    setenv("https_proxy", proxy, 1);
    struct transfer *t = client(30000000, 60000000);
    for (size_t i = 0; i < 2; i++) {
        struct exchange x = {.method = "POST", .url = addresses[i], .body = STR("{}")};
        make(t, &x);
        CHECK_MSG(x.end == END_UNSENT, x.url);
        exchange_done(&x);
    }
    transfer_free(t);
    unsetenv("https_proxy");
}

/* A handle that could not be given an address does not go where it went before. */
static void
test_bad_address(void)
{
    enum { TOO_LONG = 9000000 };
    struct transfer *t = client(30000000, 60000000);
    struct exchange x = post("/echo", "{}");
    make(t, &x);
    exchange_done(&x);
    char *url = malloc(TOO_LONG + 1);
    memset(url, 'x', TOO_LONG);
    memcpy(url, "http://127.0.0.1/", 17);
    url[TOO_LONG] = '\0';
    x.url = url;
    for (int i = 0; i < 2; i++) {
        struct error err = ERROR_INIT;
        CHECK(transfer_start(t, &x, &err) < 0);
    }
    transfer_free(t);
    exchange_done(&x);
    free(url);
}

int
main(void)
{
    port = peer_start(answer);
    if (port < 0)
        tap_skip_all("no loopback");
    test_answers();
    test_no_answer();
    test_dead_connection();
    test_many();
    test_cancel();
    test_proxy();
    test_bad_address();
    return tap_done();
}
