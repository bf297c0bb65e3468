/*
 * Secrets, read from where a connection says: an environment variable, a file, the output of a
 * command. Every buffer they pass through is wiped, and no error ever holds a byte of them; a
 * command's stderr is thrown away for the same reason.
 */
#include "define/define.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/reach.h"

enum {
    SECRET_MAX = 64 * 1024,
    COMMAND_SECONDS = 10,
    TICK_MS = 10, /* how soon the end of a command is seen that closed its output before */
};

/* Appends what fd holds now; 1 at its end, 0 when it would block. */
static int
drain(int fd, char *to, size_t *n, struct error *err)
{
    for (;;) {
        ssize_t got = read(fd, to + *n, SECRET_MAX + 1 - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got < 0)
            return error_set_errno(err, ERR_CONFIG, errno, "cannot read it");
        if (got == 0)
            return 1;
        *n += (size_t)got;
        if (*n > SECRET_MAX)
            return error_set(err, ERR_CONFIG, EFBIG, "more than %d bytes", SECRET_MAX);
    }
}

static int
from_file(const char *path, char *to, size_t *n, struct error *err)
{
    /* not to hang on a FIFO */
    AUTO_CLOSE int fd = reach_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0)
        return reach_fail(err, fd, path);
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return error_set(err, ERR_CONFIG, EINVAL, "\"%s\" is not a regular file", path);
    int rc = drain(fd, to, n, err);
    return rc < 0 ? error_wrap(err, "file \"%s\"", path) : 0;
}

static int
from_env(const char *name, char *to, size_t *n, struct error *err)
{
    const char *value = reach_may_env(name) ? getenv(name) : NULL;
    if (!value)
        return error_set(err, ERR_CONFIG, EINVAL, "environment variable \"%s\" is not set%s",
                         name,
                         reach_is_limited() ? ", or not allowed on this mount "
                                              "(-o allow_env=NAME)"
                                            : "");
    *n = strlen(value);
    if (*n > SECRET_MAX)
        return error_set(err, ERR_CONFIG, EFBIG,
                         "environment variable \"%s\" is larger than %d bytes", name,
                         SECRET_MAX);
    memcpy(to, value, *n);
    return 0;
}

/* Starts argv in its own process group with its output in a pipe. 0 or a positive errno. */
static int
start(const char *const *argv, int out, pid_t *ret)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    int rc = posix_spawn_file_actions_init(&files);
    if (rc)
        return rc;
    rc = posix_spawnattr_init(&how);
    if (rc) {
        posix_spawn_file_actions_destroy(&files);
        return rc;
    }
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(&files, out, 1);
    rc = rc ? rc : posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    rc = rc ? rc : posix_spawnattr_setpgroup(&how, 0);
    rc = rc ? rc : posix_spawnattr_setsigmask(&how, &none);
    rc = rc ? rc : posix_spawnattr_setsigdefault(&how, &all);
    rc = rc ? rc
            : posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                 POSIX_SPAWN_SETSIGDEF);
    rc = rc ? rc
            : posix_spawnp(ret, argv[0], &files, &how, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

/* Reads until the process has ended: a grandchild that keeps the pipe open is not waited for.
 * *ended and *status tell of the process, whatever is returned. */
static int
listen_to(pid_t pid, int fd, char *to, size_t *n, const atomic_bool *cancelled, bool *ended,
          int *status, struct error *err)
{
    usec_t deadline = clock_monotonic() + COMMAND_SECONDS * INT64_C(1000000);
    bool open = true;
    for (;;) {
        /* asked before reading, so that all it wrote is there when it has ended */
        *ended = waitpid(pid, status, WNOHANG) == pid;
        int rc = open ? drain(fd, to, n, err) : 0;
        if (rc < 0)
            return rc;
        open = open && rc == 0;
        if (*ended)
            return 0;
        rc = cancel_check(cancelled, err);
        if (rc < 0)
            return rc;
        if (clock_monotonic() > deadline)
            return error_set(err, ERR_CONFIG, ETIMEDOUT, "no end after %d s", COMMAND_SECONDS);
        struct pollfd wait = {.fd = open ? fd : -1, .events = POLLIN};
        poll(&wait, 1, TICK_MS);
    }
}

static int
judge_status(int status, struct error *err)
{
    if (WIFSIGNALED(status))
        return error_set(err, ERR_CONFIG, EINVAL, "killed by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return error_set(err, ERR_CONFIG, EINVAL, "exit status %d", WEXITSTATUS(status));
    return 0;
}

static int
from_command(const char *const *argv, char *to, size_t *n, const atomic_bool *cancelled,
             struct error *err)
{
    int ends[2];
    if (!reach_may_command())
        return error_set(err, ERR_CONFIG, EACCES,
                         "commands are not allowed on this mount (-o allow_command)");
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot make a pipe");
    AUTO_CLOSE int out = ends[0];
    pid_t pid = 0;
    /* the child's end must block, as programs expect */
    int rc = fcntl(ends[1], F_SETFL, 0) < 0 ? errno : start(argv, ends[1], &pid);
    close(ends[1]);
    if (rc)
        return error_set_errno(err, ERR_CONFIG, rc, "command \"%s\"", argv[0]);

    bool ended = false;
    int status = 0;
    rc = listen_to(pid, out, to, n, cancelled, &ended, &status, err);
    if (!ended) {
        kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    rc = rc ? rc : judge_status(status, err);
    return rc ? error_wrap(err, "command \"%s\"", argv[0]) : 0;
}

static int
resolve(struct connection *c, const struct secret *s, char *space, const atomic_bool *cancelled,
        struct error *err)
{
    size_t n = 0;
    int rc;
    if (s->env)
        rc = from_env(s->env, space, &n, err);
    else if (s->file)
        rc = from_file(s->file, space, &n, err);
    else
        rc = from_command(s->command, space, &n, cancelled, err);
    if (rc)
        return rc;
    if (n > 0 && space[n - 1] == '\n')
        n--;
    if (n == 0 || memchr(space, '\0', n))
        return error_set(err, ERR_CONFIG, EINVAL, "%s", n ? "it holds a NUL" : "it is empty");
    char **to = (char **)((char *)c->options + s->offset);
    if (*to)
        explicit_bzero(*to, strlen(*to));
    *to = arena_strndup(&c->arena, space, n);
    return *to ? 0 : error_no_memory(err);
}

int
connection_resolve(struct connection *c, const atomic_bool *cancelled, struct error *err)
{
    if (c->nsecrets == 0)
        return 0;
    AUTO_FREE char *space = malloc(SECRET_MAX + 1);
    if (!space)
        return error_no_memory(err);
    int rc = 0;
    for (size_t i = 0; i < c->nsecrets && rc == 0; i++) {
        rc = resolve(c, &c->secrets[i], space, cancelled, err);
        if (rc)
            error_wrap(err, "connection \"%s\": option \"%s\"", c->name, c->secrets[i].option);
    }
    explicit_bzero(space, SECRET_MAX + 1);
    return rc;
}
