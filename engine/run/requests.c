/* Evidence: see requests.h. */
#include "run/requests.h"

#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/value.h"

enum {
    LINES_MAX = 10000,
    FILE_MAX = 8 << 20,
    BODY_SHOWN = 4096,
    TEXT_SHOWN = 2048,     /* of an address or a header */
    HEADERS_SHOWN = 48,    /* a side; so that no line is longer than REQUEST_LINE_MAX */
    LOOKED_AT = 64 * 1024, /* of a text, for secrets: more than the longest, encoded */
};

struct requests {
    struct requests_settings set;
    int fd;
    uint64_t calls, lines, bytes, left_out;
    const struct call_answer *answer; /* at hand; NULL: none */
    struct proof proof;               /* of it, once it is written; run 0: it is not */
    struct buf line, text;
};

struct requests *
requests_create(const struct requests_settings *settings)
{
    struct requests *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    *q = (struct requests){.set = *settings, .fd = -1};
    unlinkat(settings->dirfd, settings->name, 0);
    return q;
}

/* ---- a line ---- */

/* As a JSON string, without secrets, and so much of it as is shown. */
static void
add_text(struct requests *q, struct str text, size_t shown)
{
    const struct transcript *t = q->answer->transcript;
    if (text.n > LOOKED_AT)
        text.n = LOOKED_AT;
    buf_clear(&q->text);
    redact(q->set.redactor, t->secrets, text, &q->text);
    size_t n = q->text.n < shown ? q->text.n : shown;
    while (n > 0 && n < q->text.n && utf8_continues(q->text.p[n]))
        n--;
    json_quote(&q->line, buf_z(&q->text), n);
    q->line.failed |= q->text.failed;
}

static bool
is_one_of(struct str name, const char *const *names)
{
    for (; *names; names++)
        if (strlen(*names) == name.n && strncasecmp(*names, name.p, name.n) == 0)
            return true;
    return false;
}

/* "name: value"; of those that are there to bear secrets not even what is not known to be one.
 */
static void
add_header(struct requests *q, struct str header)
{
    static const char *const bearers[] = {"authorization",
                                          "proxy-authorization",
                                          "cookie",
                                          "set-cookie",
                                          "x-api-key",
                                          "api-key",
                                          NULL};
    const char *colon = header.n ? memchr(header.p, ':', header.n) : NULL;
    struct str name = {header.p, colon ? (size_t)(colon - header.p) : header.n};
    AUTO_BUF struct buf masked = BUF_INIT(4096);
    if (is_one_of(name, bearers)) {
        buf_add(&masked, name.p, name.n);
        buf_adds(&masked, ": ***");
        header = buf_str(&masked);
    }
    add_text(q, header, TEXT_SHOWN);
}

static void
add_body(struct requests *q, struct str body)
{
    buf_addf(&q->line, "],\"bytes\":%zu,\"body\":", body.n);
    add_text(q, body, BODY_SHOWN);
    buf_addc(&q->line, '}');
}

static void
add_request(struct requests *q, const struct transcript *t)
{
    buf_adds(&q->line, "{\"method\":");
    add_text(q, str_of(t->method), TEXT_SHOWN);
    buf_adds(&q->line, ",\"address\":");
    add_text(q, str_of(t->address), TEXT_SHOWN);
    buf_adds(&q->line, ",\"headers\":[");
    for (size_t i = 0; t->headers && t->headers[i] && i < HEADERS_SHOWN; i++) {
        if (i > 0)
            buf_addc(&q->line, ',');
        add_header(q, str_of(t->headers[i]));
    }
    add_body(q, t->body);
}

static void
add_answer(struct requests *q, const struct transcript *t)
{
    if (t->status == 0) {
        buf_adds(&q->line, "null");
        return;
    }
    buf_addf(&q->line, "{\"status\":%d,\"headers\":[", t->status);
    struct str head = t->answer_head;
    for (size_t i = 0; head.n && i < HEADERS_SHOWN; i++) {
        const char *newline = memchr(head.p, '\n', head.n);
        size_t n = newline ? (size_t)(newline - head.p) : head.n;
        if (i > 0)
            buf_addc(&q->line, ',');
        add_header(q, (struct str){head.p, n});
        head.p += n + (newline ? 1 : 0);
        head.n -= n + (newline ? 1 : 0);
    }
    add_body(q, t->answer);
}

static void
add_exchange(struct requests *q, const struct transcript *t)
{
    buf_adds(&q->line, "\"request\":");
    add_request(q, t);
    buf_adds(&q->line, ",\"answer\":");
    add_answer(q, t);
}

static const char *
fate_name(enum call_fate fate)
{
    static const char *const names[] = {
        [CALL_UNKNOWN] = "unknown",   [CALL_ANSWERED] = "answered",   [CALL_FAILED] = "failed",
        [CALL_REFUSED] = "refused",   [CALL_TOO_LARGE] = "too_large", [CALL_DENIED] = "denied",
        [CALL_HOPELESS] = "hopeless", [CALL_PREPARED] = "prepared",
    };
    return names[fate];
}

static void
make_line(struct requests *q)
{
    const struct call_answer *a = q->answer;
    const struct transcript *t = a->transcript;
    buf_clear(&q->line);
    buf_adds(&q->line, "{\"time\":\"");
    clock_format(clock_now(), &q->line);
    buf_addf(&q->line,
             "\",\"rows\":%zu,\"tries\":%u,\"milliseconds\":%lld.%03lld,\"fate\":\"%s\"",
             a->call->batch.n, a->call->tries, (long long)t->us / 1000, (long long)t->us % 1000,
             fate_name(a->fate));
    if (a->fate != CALL_ANSWERED) {
        buf_adds(&q->line, ",\"error\":");
        add_text(q, str_of(a->error.text), TEXT_SHOWN);
    }
    if (a->before) {
        buf_adds(&q->line, ",\"look_up\":{");
        add_exchange(q, a->before);
        buf_adds(&q->line, "},");
    } else {
        buf_addc(&q->line, ',');
    }
    add_exchange(q, t);
    buf_adds(&q->line, "}\n");
}

/* ---- the file ---- */

static int
put_line(struct requests *q, struct error *err)
{
    if (q->line.failed)
        return error_no_memory(err);
    if (q->fd < 0)
        q->fd =
            openat(q->set.dirfd, q->set.name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (q->fd < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot write \"%s\"", q->set.name);
    return file_write_all(q->fd, q->line.p, q->line.n, err);
}

static void
keep(struct requests *q)
{
    struct error err = ERROR_INIT;
    const struct call_answer *a = q->answer;
    if (!a || !a->transcript || q->proof.run)
        return;
    make_line(q);
    if (q->lines >= LINES_MAX || q->line.n > REQUEST_LINE_MAX ||
        q->bytes + q->line.n > FILE_MAX || q->left_out > 0 || put_line(q, &err) < 0) {
        if (err.kind)
            log_error("sync=%s run=%llu evidence is lost: %s", q->set.sync,
                      (unsigned long long)q->set.run, err.text);
        q->left_out++;
        q->answer = NULL; /* once is enough */
        return;
    }
    q->proof = (struct proof){.run = q->set.run, .line = ++q->lines, .at = q->bytes};
    q->bytes += q->line.n;
}

void
requests_answered(struct requests *q, const struct call_answer *a)
{
    q->answer = a;
    q->proof = (struct proof){0};
    bool whole = a && a->fate != CALL_PREPARED; /* else it comes again, with what follows */
    if (whole && q->calls++ < q->set.first)
        keep(q);
}

void
requests_prove(struct requests *q, struct proof *ret)
{
    keep(q);
    *ret = q->proof;
}

struct requests *
requests_free(struct requests *q)
{
    if (!q)
        return NULL;
    if (q->left_out > 0 && q->fd >= 0) {
        struct error ignored = ERROR_INIT;
        buf_clear(&q->line);
        buf_addf(&q->line, "{\"left_out\":%llu}\n", (unsigned long long)q->left_out);
        put_line(q, &ignored);
    }
    if (q->fd >= 0)
        close(q->fd);
    buf_done(&q->line);
    buf_done(&q->text);
    free(q);
    return NULL;
}
