/* An HTTP server within a test, which says byte for byte what the test wants. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct peer_request {
    char bytes[1 << 20]; /* head and body, NUL-terminated */
    size_t n;
};

/* Answers a request; false closes the connection. Called by a thread for each connection. */
typedef bool (*peer_answer_fn)(int fd, const struct peer_request *r);

extern atomic_int peer_accepted, peer_requests;

/* The port it listens on, on 127.0.0.1, until the test ends; -1 when there is no loopback. */
int peer_start(peer_answer_fn answer);

/* The head and as much of the body as is announced; false when the client is gone. */
bool peer_read(int fd, struct peer_request *r);
void peer_say(int fd, const char *text);
void peer_send(int fd, const void *bytes, size_t n);
/* Closing the connection then resets it. */
void peer_reset(int fd);
/* Waits until the client is gone. */
void peer_wait(int fd);
/* What follows the head; "". */
const char *peer_body(const struct peer_request *r);
