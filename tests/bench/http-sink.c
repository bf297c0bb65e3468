/*
 * What calls are measured against: a server that takes every POST, answers after a given time,
 * and knows of each row whether it came, and how often. One thread, and no more work than that,
 * so that it is not what is measured.
 *
 *   http-sink [MILLISECONDS]    prints its port
 *
 *   POST /…        answered with 200 after so long; `{"id":N` begins a row in the body
 *   GET /counts    what came since the last time, as JSON
 *   GET /body      the last body
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

enum { READ_BYTES = 256 * 1024, HEAD_MAX = 64 * 1024, EVENTS = 64, IDS = 1 << 27 };

struct peer {
    int fd; /* -1: it has gone, with answers still due */
    unsigned due;
    struct buf in;
};

/* An answer that has to wait; all wait alike, so that they go in the order in which they came.
 */
struct answer {
    struct answer *next;
    struct peer *peer;
    usec_t at;
};

static int epoll;
static usec_t delay;
static struct answer *first, **last = &first;
static struct buf body;
static unsigned char came[IDS / 8];
static struct {
    unsigned long long requests, bytes, rows, twice, strange;
} counts;

static const char taken[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

static void
fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* ---- what came ---- */

static void
count_row(unsigned long id)
{
    counts.rows++;
    if (id >= IDS) {
        counts.strange++;
        return;
    }
    unsigned char bit = (unsigned char)(1 << id % 8);
    counts.twice += (came[id / 8] & bit) != 0;
    came[id / 8] |= bit;
}

static void
count_rows(const char *p, const char *end)
{
    static const char begin[] = "{\"id\":";
    while ((p = memmem(p, (size_t)(end - p), begin, sizeof begin - 1))) {
        unsigned long id = 0;
        for (p += sizeof begin - 1; p < end && *p >= '0' && *p <= '9'; p++)
            id = id * 10 + (unsigned long)(*p - '0');
        count_row(id);
    }
}

static void
show_counts(struct buf *out)
{
    buf_addf(out,
             "{\"requests\": %llu, \"bytes\": %llu, \"rows\": %llu, \"twice\": %llu, "
             "\"strange\": %llu}\n",
             counts.requests, counts.bytes, counts.rows, counts.twice, counts.strange);
    memset(&counts, 0, sizeof counts);
    memset(came, 0, sizeof came);
}

/* ---- peers ---- */

static void
peer_close(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    if (p->due > 0)
        return;
    buf_done(&p->in);
    free(p);
}

/* Answers are small: what does not fit into the socket's buffer is of a peer that reads none.
 */
static void
send_answer(struct peer *p, const char *text, size_t n)
{
    if (p->fd >= 0 && send(p->fd, text, n, MSG_NOSIGNAL) != (ssize_t)n)
        shutdown(p->fd, SHUT_RDWR);
}

static void
show(struct peer *p, struct str text)
{
    struct buf out = BUF_INIT(BUF_NO_MAX);
    buf_addf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", text.n);
    buf_add(&out, text.p, text.n);
    send_answer(p, out.p, out.n);
    buf_done(&out);
}

static void
take_post(struct peer *p, const char *at, size_t n)
{
    counts.requests++;
    counts.bytes += n;
    count_rows(at, at + n);
    buf_clear(&body);
    buf_add(&body, at, n);
    if (delay == 0) {
        send_answer(p, taken, sizeof taken - 1);
        return;
    }
    struct answer *a = malloc(sizeof *a);
    if (!a)
        fail("malloc");
    *a = (struct answer){.peer = p, .at = clock_monotonic() + delay};
    p->due++;
    *last = a;
    last = &a->next;
}

/* The length that a head announces. */
static size_t
body_length(const char *head, const char *end)
{
    static const char name[] = "\r\ncontent-length:";
    for (const char *p = head; p + sizeof name < end; p++)
        if (*p == '\r' && strncasecmp(p, name, sizeof name - 1) == 0)
            return strtoul(p + sizeof name - 1, NULL, 10);
    return 0;
}

/* Takes the first request out of what was read; false: it is not whole. */
static bool
take_request(struct peer *p, size_t *at)
{
    const char *head = p->in.p + *at, *all = p->in.p + p->in.n;
    size_t some = (size_t)(all - head);
    const char *end = memmem(head, some < HEAD_MAX ? some : HEAD_MAX, "\r\n\r\n", 4);
    if (!end)
        return false;
    size_t n = body_length(head, end + 2);
    if (n > (size_t)(all - end) - 4)
        return false;
    struct buf text = BUF_INIT(BUF_NO_MAX);
    if (strncmp(head, "GET /counts", 11) == 0) {
        show_counts(&text);
        show(p, buf_str(&text));
    } else if (strncmp(head, "GET /body", 9) == 0) {
        show(p, buf_str(&body));
    } else {
        take_post(p, end + 4, n);
    }
    buf_done(&text);
    *at += (size_t)(end - head) + 4 + n;
    return true;
}

static void
peer_read(struct peer *p)
{
    char *room = buf_room(&p->in, READ_BYTES);
    if (!room)
        fail("malloc");
    ssize_t n = read(p->fd, room, READ_BYTES);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        peer_close(p);
        return;
    }
    p->in.n += (size_t)n;
    size_t at = 0;
    while (at < p->in.n && take_request(p, &at))
        ;
    memmove(p->in.p, p->in.p + at, p->in.n - at);
    p->in.n -= at;
}

static void
watch(int fd, struct peer *p)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

static void
take_peer(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct peer *p = calloc(1, sizeof *p);
    if (!p)
        fail("malloc");
    p->fd = fd;
    watch(fd, p);
}

/* ---- all of it ---- */

static int
listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (void *)&address, n) < 0 || listen(fd, 128) < 0 ||
        getsockname(fd, (void *)&address, &n) < 0)
        fail("listen");
    printf("%d\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    return fd;
}

/* Sends what is due; milliseconds until more is, -1: nothing waits. */
static int
send_due(void)
{
    usec_t now = clock_monotonic();
    for (struct answer *a; (a = first); free(a)) {
        if (a->at > now)
            return (int)((a->at - now + 999) / 1000);
        first = a->next;
        last = first ? last : &first;
        a->peer->due--;
        send_answer(a->peer, taken, sizeof taken - 1);
        if (a->peer->fd < 0)
            peer_close(a->peer);
    }
    return -1;
}

int
main(int argc, char **argv)
{
    delay = argc > 1 ? strtol(argv[1], NULL, 10) * 1000 : 0;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        fail("epoll_create1");
    int listener = listen_somewhere();
    watch(listener, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll, events, EVENTS, send_due());
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            if (p)
                peer_read(p);
            else
                take_peer(listener);
        }
    }
}
