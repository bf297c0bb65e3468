/* An HTTP server within a test: see http-peer.h. */
#include "http-peer.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener;
static peer_answer_fn answers;
atomic_int peer_accepted, peer_requests;

const char *
peer_body(const struct peer_request *r)
{
    const char *end = strstr(r->bytes, "\r\n\r\n");
    return end ? end + 4 : "";
}

bool
peer_read(int fd, struct peer_request *r)
{
    r->n = 0;
    for (;;) {
        ssize_t n = recv(fd, r->bytes + r->n, sizeof r->bytes - 1 - r->n, 0);
        if (n <= 0)
            return false;
        r->n += (size_t)n;
        r->bytes[r->n] = '\0';
        const char *end = strstr(r->bytes, "\r\n\r\n");
        const char *length = strcasestr(r->bytes, "content-length:");
        if (!end)
            continue;
        size_t body = r->n - (size_t)(end + 4 - r->bytes);
        if (body >= (length && length < end ? strtoul(length + 15, NULL, 10) : 0))
            return true;
    }
}

void
peer_send(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;
    for (ssize_t sent; n > 0 && (sent = send(fd, p, n, MSG_NOSIGNAL)) > 0; n -= (size_t)sent)
        p += sent;
}

void
peer_say(int fd, const char *text)
{
    peer_send(fd, text, strlen(text));
}

void
peer_reset(int fd)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void
peer_wait(int fd)
{
    char c;
    while (recv(fd, &c, 1, 0) > 0) {
    }
}

static void *
serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    struct peer_request r;
    while (peer_read(fd, &r)) {
        atomic_fetch_add(&peer_requests, 1);
        if (!answers(fd, &r))
            break;
    }
    close(fd);
    return NULL;
}

static void *
accept_all(void *arg)
{
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
        pthread_t thread;
        atomic_fetch_add(&peer_accepted, 1);
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

int
peer_start(peer_answer_fn answer)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    pthread_t thread;
    answers = answer;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, n) < 0 || listen(listener, 64) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) < 0 ||
        pthread_create(&thread, NULL, accept_all, NULL) != 0)
        return -1;
    pthread_detach(thread);
    return ntohs(at.sin_port);
}
