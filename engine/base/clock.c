/* Clock: see clock.h. */
#include "base/clock.h"

#include <errno.h>
#include <time.h>

static usec_t (*replacement)(void);

static usec_t
read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (usec_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

usec_t
clock_now(void)
{
    return replacement ? replacement() : read_clock(CLOCK_REALTIME);
}

usec_t
clock_monotonic(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

void
clock_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool
clock_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, usec_t until)
{
    struct timespec ts = {until / 1000000, until % 1000000 * 1000};
    return pthread_cond_timedwait(cond, lock, &ts) != ETIMEDOUT;
}

void
clock_replace(usec_t (*now)(void))
{
    replacement = now;
}

void
clock_format(usec_t t, struct buf *out)
{
    if (t == 0) {
        buf_adds(out, "never");
        return;
    }
    time_t seconds = (time_t)(t / 1000000);
    struct tm tm;
    char text[64];
    bool known =
        gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0;
    buf_adds(out, known ? text : "unknown");
}
