/*
 * A library to preload into the daemon, so that it meets a bad disk, little memory, its own
 * sudden death or another time at a chosen moment. The test steers it through a small file that
 * both have mapped ($FAULT_CONTROL; the layout is that of struct control and of
 * tests/lib/faults.py).
 *
 * Only calls that touch files below $FAULT_BELOW count as file calls. They are told by looking
 * the descriptor up in /proc, which is slow and needs no bookkeeping.
 */
#undef _FILE_OFFSET_BITS /* the calls with and without 64 in their names are wanted */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum counted { COUNT_CHANGES = 1, COUNT_READS = 2, COUNT_MEMORY = 4 };
enum action { ACTION_COUNT, ACTION_FAIL_ONCE, ACTION_FAIL_ON, ACTION_KILL };

struct control {
    atomic_uint counted; /* a set of enum counted; what is not in it always works */
    atomic_uint action;
    atomic_uint errnum;
    atomic_uint reserved;
    atomic_ullong at;   /* the call, from 1, that it happens to */
    atomic_ullong seen; /* calls so far */
    atomic_ullong hits;
    _Atomic int64_t clock_shift; /* seconds */
    char what[512];              /* the call that was hit first */
};

static struct control *control;
static const char *below;
static size_t below_length;

__attribute__((constructor)) static void
attach(void)
{
    const char *path = getenv("FAULT_CONTROL");
    below = getenv("FAULT_BELOW");
    below_length = below ? strlen(below) : 0;
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

/* Whether this call, the next of its kind, is to fail; errno is set. */
static bool
strikes(unsigned kind, const char *call, const char *where)
{
    if (!control || !(atomic_load(&control->counted) & kind))
        return false;
    unsigned long long n = atomic_fetch_add(&control->seen, 1) + 1;
    unsigned action = atomic_load(&control->action);
    unsigned long long at = atomic_load(&control->at);
    if (action == ACTION_COUNT || (action == ACTION_FAIL_ON ? n < at : n != at))
        return false;
    if (atomic_fetch_add(&control->hits, 1) == 0) {
        size_t room = sizeof control->what - 1, used = strnlen(call, room);
        memcpy(control->what, call, used);
        if (where && used + 1 < room) {
            control->what[used++] = ' ';
            size_t more = strnlen(where, room - used);
            memcpy(control->what + used, where, more);
            used += more;
        }
        control->what[used] = '\0';
    }
    if (action == ACTION_KILL)
        kill(getpid(), SIGKILL);
    errno = (int)atomic_load(&control->errnum);
    return true;
}

static bool
is_below(const char *path)
{
    return below_length > 0 && strncmp(path, below, below_length) == 0 &&
           (path[below_length] == '/' || path[below_length] == '\0');
}

/* The path behind a descriptor; false: none. */
static bool
fd_path(int fd, char *path, size_t n)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, n - 1);
    path[length > 0 ? length : 0] = '\0';
    return length > 0;
}

static bool
file_strikes(unsigned kind, const char *call, int fd)
{
    char path[1024];
    int saved = errno;
    if (!control || !(atomic_load(&control->counted) & kind) ||
        !fd_path(fd, path, sizeof path) || !is_below(path)) {
        errno = saved;
        return false;
    }
    errno = saved;
    return strikes(kind, call, path + below_length);
}

static bool
path_strikes(const char *call, int dirfd, const char *name)
{
    char dir[1024], path[2048];
    int saved = errno;
    bool counts = control && (atomic_load(&control->counted) & COUNT_CHANGES);
    if (counts && name[0] == '/') {
        snprintf(path, sizeof path, "%s", name);
    } else if (counts) {
        counts = dirfd != AT_FDCWD && fd_path(dirfd, dir, sizeof dir);
        if (counts)
            snprintf(path, sizeof path, "%s/%s", dir, name);
    }
    errno = saved;
    return counts && is_below(path) && strikes(COUNT_CHANGES, call, path + below_length);
}

/* The real function of that name, found once. */
#define REAL(ret, name, ...)                                                                   \
    static ret (*_Atomic real_##name)(__VA_ARGS__);                                            \
    static ret (*get_##name(void))(__VA_ARGS__)                                                \
    {                                                                                          \
        if (!real_##name)                                                                      \
            real_##name = (ret(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name);                        \
        return real_##name;                                                                    \
    }

#define ON_FD(kind, ret, name, params, args)                                                   \
    REAL(ret, name, FD_TYPES params)                                                           \
    ret name params                                                                            \
    {                                                                                          \
        return file_strikes(kind, #name, fd) ? -1 : get_##name() args;                         \
    }
#define FD_TYPES(...) __VA_ARGS__

ON_FD(COUNT_CHANGES, ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
ON_FD(COUNT_CHANGES, ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at),
      (fd, p, n, at))
ON_FD(COUNT_CHANGES, ssize_t, pwrite64, (int fd, const void *p, size_t n, off64_t at),
      (fd, p, n, at))
ON_FD(COUNT_CHANGES, int, fsync, (int fd), (fd))
ON_FD(COUNT_CHANGES, int, fdatasync, (int fd), (fd))
ON_FD(COUNT_CHANGES, int, ftruncate, (int fd, off_t size), (fd, size))
ON_FD(COUNT_CHANGES, int, ftruncate64, (int fd, off64_t size), (fd, size))
ON_FD(COUNT_READS, ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))
ON_FD(COUNT_READS, ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
ON_FD(COUNT_READS, ssize_t, pread64, (int fd, void *p, size_t n, off64_t at), (fd, p, n, at))

REAL(int, renameat, int, const char *, int, const char *)
int
renameat(int from, const char *name, int to, const char *new)
{
    return path_strikes("renameat", from, name) ? -1 : get_renameat()(from, name, to, new);
}

REAL(int, linkat, int, const char *, int, const char *, int)
int
linkat(int from, const char *name, int to, const char *new, int flags)
{
    return path_strikes("linkat", from, name) ? -1 : get_linkat()(from, name, to, new, flags);
}

REAL(int, mkdirat, int, const char *, mode_t)
int
mkdirat(int dirfd, const char *name, mode_t mode)
{
    return path_strikes("mkdirat", dirfd, name) ? -1 : get_mkdirat()(dirfd, name, mode);
}

#define OPEN_MODE(flags)                                                                       \
    mode_t mode = 0;                                                                           \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                     \
        va_list ap;                                                                            \
        va_start(ap, flags);                                                                   \
        mode = va_arg(ap, mode_t);                                                             \
        va_end(ap);                                                                            \
    }
#define OPEN(name)                                                                             \
    REAL(int, name, const char *, int, ...)                                                    \
    int name(const char *path, int flags, ...)                                                 \
    {                                                                                          \
        OPEN_MODE(flags)                                                                       \
        return path_strikes(#name, AT_FDCWD, path) ? -1 : get_##name()(path, flags, mode);     \
    }
#define OPENAT(name)                                                                           \
    REAL(int, name, int, const char *, int, ...)                                               \
    int name(int dirfd, const char *path, int flags, ...)                                      \
    {                                                                                          \
        OPEN_MODE(flags)                                                                       \
        return path_strikes(#name, dirfd, path) ? -1 : get_##name()(dirfd, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* ---- memory: only where it is asked for, since LeakSanitizer loses sight of what malloc gave
 * to the dynamic linker ---- */

#ifdef INJECT_MEMORY
/* A sanitizer asks where a thread's stack is, and gives up without an answer. */
static __thread bool asked __attribute__((tls_model("initial-exec")));

REAL(int, pthread_getattr_np, pthread_t, pthread_attr_t *)
int
pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
    asked = true;
    int rc = get_pthread_getattr_np()(thread, attr);
    asked = false;
    return rc;
}

static bool
memory_strikes(const char *call)
{
    return !asked && strikes(COUNT_MEMORY, call, NULL);
}

REAL(void *, malloc, size_t)
REAL(void *, realloc, void *, size_t)
REAL(void *, calloc, size_t, size_t)

void *
malloc(size_t n)
{
    return memory_strikes("malloc") ? NULL : get_malloc()(n);
}

void *
realloc(void *p, size_t n)
{
    return memory_strikes("realloc") ? NULL : get_realloc()(p, n);
}

void *
calloc(size_t n, size_t size)
{
    return memory_strikes("calloc") ? NULL : get_calloc()(n, size);
}
#endif

/* ---- time ---- */

REAL(int, clock_gettime, clockid_t, struct timespec *)
int
clock_gettime(clockid_t id, struct timespec *now)
{
    int rc = get_clock_gettime()(id, now);
    if (rc == 0 && control && id == CLOCK_REALTIME)
        now->tv_sec += atomic_load(&control->clock_shift);
    return rc;
}
