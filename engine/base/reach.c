/* What definitions may reach: see reach.h. */
#include "base/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"

struct allowed {
    char *path; /* as it was given, without slashes at its end */
    int fd;
};

static struct {
    bool limited, command;
    VEC(struct allowed) paths;
    const char *const *env; /* borrowed */
    size_t nenv;
} rules;

void
reach_limit(void)
{
    rules.limited = true;
}

bool
reach_is_limited(void)
{
    return rules.limited;
}

int
reach_allow_path(const char *dir, struct error *err)
{
    if (dir[0] != '/')
        return error_set(err, ERR_CONFIG, EINVAL, "allow_path=%s: an absolute path is expected",
                         dir);
    size_t n = strlen(dir);
    while (n > 0 && dir[n - 1] == '/')
        n--;
    struct allowed a = {strndup(dir, n), open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (a.fd < 0) {
        free(a.path);
        return error_set_errno(err, ERR_CONFIG, errno, "allow_path=%s", dir);
    }
    if (!a.path || !VEC_PUSH(&rules.paths, a)) {
        close(a.fd);
        free(a.path);
        return error_no_memory(err);
    }
    return 0;
}

void
reach_allow_command(void)
{
    rules.command = true;
}

bool
reach_may_command(void)
{
    return !rules.limited || rules.command;
}

/* ---- the environment ---- */

static bool
is_one_of(const char *name, size_t n, const char *const *names, size_t nnames)
{
    for (size_t i = 0; i < nnames; i++)
        if (strncmp(names[i], name, n) == 0 && !names[i][n])
            return true;
    return false;
}

static bool
is_harmless(const char *name, size_t n)
{
    static const char *const harmless[] = {
        "PATH",     "HOME",       "USER",        "LOGNAME",  "LANG",          "TZ",
        "TMPDIR",   "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "ALL_PROXY"};
    return (n > 3 && strncmp(name, "LC_", 3) == 0) ||
           is_one_of(name, n, harmless, sizeof harmless / sizeof *harmless);
}

int
reach_forget_environment(const char *const *keep, size_t n, struct error *err)
{
    rules.env = keep;
    rules.nenv = n;
    for (char **at = environ; at && *at;) {
        size_t length = strcspn(*at, "=");
        if (is_harmless(*at, length) || is_one_of(*at, length, keep, n)) {
            at++;
            continue;
        }
        AUTO_FREE char *name = strndup(*at, length);
        if (!name)
            return error_no_memory(err);
        if (unsetenv(name) < 0) /* moves the rest up; a nameless entry cannot be taken out */
            at++;
    }
    return 0;
}

bool
reach_may_env(const char *name)
{
    return !rules.limited || is_one_of(name, strlen(name), rules.env, rules.nenv);
}

/* ---- paths ---- */

/* The allowed directory that the path begins with, and what follows it. */
static const struct allowed *
find(const char *path, const char **rest)
{
    VEC_EACH (&rules.paths, a) {
        size_t n = strlen(a->path);
        if (strncmp(path, a->path, n) != 0 || (path[n] && path[n] != '/'))
            continue;
        path += n;
        path += strspn(path, "/");
        *rest = *path ? path : ".";
        return a;
    }
    return NULL;
}

int
reach_check(const char *path, struct error *err)
{
    const char *rest;
    return !rules.limited || find(path, &rest) ? 0 : reach_fail(err, -EXDEV, path);
}

int
reach_open(const char *path, int flags, mode_t mode)
{
    if (!rules.limited) {
        int fd = open(path, flags | O_CLOEXEC, mode);
        return fd < 0 ? -errno : fd;
    }
    const char *rest;
    const struct allowed *a = find(path, &rest);
    if (!a)
        return -EXDEV;
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                           .mode = flags & O_CREAT ? mode : 0,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd;
    do /* EAGAIN: something was renamed above it just now */
        fd = syscall(SYS_openat2, a->fd, rest, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR));
    return fd < 0 ? -errno : (int)fd;
}

int
reach_stat(const char *path, bool follow, struct stat *ret)
{
    if (!rules.limited)
        return (follow ? stat(path, ret) : lstat(path, ret)) < 0 ? -errno : 0;
    AUTO_CLOSE int fd = reach_open(path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0);
    if (fd < 0)
        return fd;
    return fstat(fd, ret) < 0 ? -errno : 0;
}

static void *
glob_opendir(const char *path)
{
    int fd = reach_open(path, O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        errno = fd < 0 ? -fd : errno;
        if (fd >= 0)
            close(fd);
    }
    return dir;
}

static int
glob_lstat(const char *path, struct stat *ret)
{
    int r = reach_stat(path, false, ret);
    errno = -r;
    return r < 0 ? -1 : 0;
}

static int
glob_stat(const char *path, struct stat *ret)
{
    int r = reach_stat(path, true, ret);
    errno = -r;
    return r < 0 ? -1 : 0;
}

static struct dirent *
glob_readdir(void *dir)
{
    return readdir(dir);
}

static void
glob_closedir(void *dir)
{
    closedir(dir);
}

int
reach_glob(const char *pattern, int flags, glob_t *ret)
{
    if (!rules.limited)
        return glob(pattern, flags, NULL, ret);
    const char *rest;
    if (!find(pattern, &rest))
        return GLOB_ABORTED;
    ret->gl_opendir = glob_opendir;
    ret->gl_readdir = glob_readdir;
    ret->gl_closedir = glob_closedir;
    ret->gl_lstat = glob_lstat;
    ret->gl_stat = glob_stat;
    return glob(pattern, flags | GLOB_ALTDIRFUNC, NULL, ret);
}

/* The name the kernel has for an open descriptor. */
static int
name_of(int fd, char **ret)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    AUTO_FREE char *name = malloc(PATH_MAX);
    if (!name)
        return -ENOMEM;
    ssize_t n = readlink(link, name, PATH_MAX - 1);
    if (n < 0)
        return -errno;
    name[n] = '\0';
    *ret = TAKE(name);
    return 0;
}

int
reach_resolve(const char *path, char **ret)
{
    *ret = NULL;
    if (!rules.limited) {
        *ret = strdup(path);
        return *ret ? 0 : -ENOMEM;
    }
    AUTO_CLOSE int fd = reach_open(path, O_PATH, 0);
    if (fd >= 0)
        return name_of(fd, ret);
    const char *name = strrchr(path, '/') + 1;
    struct stat st;
    if (fd != -ENOENT || !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        reach_stat(path, false, &st) == 0) /* a link to nowhere */
        return fd;
    AUTO_FREE char *parent = strndup(path, (size_t)(name - path));
    if (!parent)
        return -ENOMEM;
    AUTO_CLOSE int dir = reach_open(parent, O_PATH | O_DIRECTORY, 0);
    AUTO_FREE char *real = NULL;
    int r = dir < 0 ? dir : name_of(dir, &real);
    if (r == 0 && asprintf(ret, "%s/%s", real, name) < 0) {
        *ret = NULL;
        r = -ENOMEM;
    }
    return r;
}

int
reach_fail(struct error *err, int r, const char *path)
{
    if (r == -EXDEV && rules.limited)
        return error_set(err, ERR_CONFIG, EACCES,
                         "\"%s\" leads out of what definitions may reach on this mount "
                         "(-o allow_path=DIR)",
                         path);
    return error_set_errno(err, ERR_CONFIG, -r, "cannot open \"%s\"", path);
}
