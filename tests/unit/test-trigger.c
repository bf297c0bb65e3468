/* Deferred writes to `trigger` (fs/trigger.c) over the engine of fake_engine.c. */
#include "trigger.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "fake_engine.h"
#include "tap.h"

/* Stands for a request of the kernel. */
struct request {
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool answered;
    int errnum;
    void *watched_with;
};

static void
answer(void *request, int errnum, size_t size)
{
    struct request *r = request;
    pthread_mutex_lock(&r->lock);
    CHECK_MSG(!r->answered, "answered once");
    r->answered = true;
    r->errnum = errnum;
    pthread_cond_signal(&r->told);
    pthread_mutex_unlock(&r->lock);
}

static void
watch(void *request, void *arg)
{
    ((struct request *)request)->watched_with = arg;
}

static void
unwatch(void *request)
{
    ((struct request *)request)->watched_with = NULL;
}

static const struct trigger_request_ops ops = {
    .answer = answer, .watch = watch, .unwatch = unwatch};
static struct engine *engine;
static struct triggers *all;

static void
submit(struct trigger *g, struct request *r, const char *verb, pid_t tid)
{
    *r = (struct request){.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
    struct caller who = {.pid = tid};
    trigger_write(g, str_of(verb), false, &who, tid, r);
}

/* Its errno, waiting up to five seconds; -1: no answer. */
static int
result(struct request *r)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    pthread_mutex_lock(&r->lock);
    while (!r->answered && pthread_cond_timedwait(&r->told, &r->lock, &until) == 0)
        ;
    int errnum = r->answered ? r->errnum : -1;
    pthread_mutex_unlock(&r->lock);
    return errnum;
}

static void
test_answers(void)
{
    struct trigger *g = trigger_open(all, 1);
    struct request a, b;
    submit(g, &a, "# nothing\n", getpid());
    CHECK(a.answered && a.errnum == 0);
    submit(g, &a, "nonsense", getpid());
    CHECK(a.answered && a.errnum == EINVAL);
    submit(g, &a, "run\n", getpid());
    CHECK_MSG(!a.answered, "run waits");
    struct trigger *other = trigger_open(all, 1);
    submit(other, &b, "run\n", getpid());
    CHECK(b.answered && b.errnum == EBUSY);
    submit(g, &b, "run\n", getpid());
    CHECK_MSG(b.answered && b.errnum == EBUSY, "two writers on one descriptor");
    fake_engine_end_runs(engine, EIO);
    CHECK(result(&a) == EIO);
    trigger_close(g);
    trigger_close(other);
}

static void
test_interrupt_and_join(void)
{
    struct trigger *g = trigger_open(all, 1);
    struct request a, b, c;
    unsigned before = fake_engine_runs(engine);
    submit(g, &a, "run\n", getpid());
    trigger_interrupted(a.watched_with); /* but no signal is pending: keeps waiting */
    fake_engine_end_runs(engine, 0);
    CHECK(result(&a) == 0);

    submit(g, &a, "run\n", 0); /* a caller that cannot be looked at */
    trigger_interrupted(a.watched_with);
    CHECK(result(&a) == EINTR);
    submit(g, &b, "run\n", getpid());
    CHECK_MSG(!b.answered, "the repeated write waits for the same run");
    fake_engine_end_runs(engine, EIO);
    CHECK(result(&b) == EIO);
    CHECK(fake_engine_runs(engine) == before + 2);

    submit(g, &a, "run\n", 0);
    trigger_interrupted(a.watched_with);
    CHECK(result(&a) == EINTR);
    fake_engine_end_runs(engine, EIO);
    submit(g, &b, "run\n", getpid());
    CHECK_MSG(result(&b) == EIO, "the end is told although nobody waited then");
    submit(g, &c, "run\n", getpid());
    CHECK_MSG(!c.answered, "and once: the next one is a new run");
    fake_engine_end_runs(engine, 0);
    CHECK(result(&c) == 0 && fake_engine_runs(engine) == before + 4);
    trigger_close(g);
}

static void
test_stop(void)
{
    struct trigger *g = trigger_open(all, 1);
    struct request a, b;
    submit(g, &a, "run\n", getpid());
    triggers_stop(all);
    CHECK(result(&a) == ECANCELED);
    submit(g, &b, "run\n", getpid());
    CHECK(result(&b) == ECANCELED);
    trigger_close(g);
}

int
main(void)
{
    struct engine_settings settings = {0};
    struct error err = ERROR_INIT;
    engine_open(&settings, &engine, &err);
    all = triggers_create(engine, &ops);
    CHECK(triggers_start(all) == 0);
    test_answers();
    test_interrupt_and_join();
    test_stop();
    triggers_free(all);
    engine_close(engine);
    return tap_done();
}
