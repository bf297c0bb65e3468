/*
 * retlfs: the command. `retlfs [SOURCE] MOUNTPOINT` serves a mount, in the background unless
 * told otherwise; it returns when the mount is served, or fails with the reason on the caller's
 * stderr. `retlfs check DIR` looks over a directory of definitions.
 *
 * The engine is opened after the fork: a database connection must not cross one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/reach.h"
#include "define/define.h"
#include "driver.h"
#include "engine.h"
#include "errand.h"
#include "mount.h"
#include "options.h"

enum { EXIT_UNREADABLE = 2, CHECK_TEXT_MAX = 64 * 1048576, LARGE_BLOCK = 512 * 1024 };
static const long FUSE_MAGIC = 0x65735546;

static const char help_text[] =
    "usage: retlfs [options] [SOURCE] MOUNTPOINT\n"
    "       retlfs check DIR\n"
    "\n"
    "Serves syncs from warehouses to other systems as files below MOUNTPOINT.\n"
    "End it with: fusermount3 -u MOUNTPOINT\n"
    "\n"
    "  -o state=DIR    where definitions, state and history are kept\n"
    "  -o runs=N       runs that may go on at once (4)\n"
    "  -o allow_path=DIR, allow_env=NAME, allow_command\n"
    "                  what definitions may reach; with allow_other nothing else\n"
    "  -o OPTION,...   allow_other, ro, fsname=… and others of mount.fuse3(8)\n"
    "  -f              stay in the foreground\n"
    "  -d              the same, and print every request\n"
    "  -V, --version   print the version\n"
    "  -h, --help      print this\n"
    "\n"
    "check DIR: validate the definitions in DIR (connections/, syncs/NAME/) without a\n"
    "mount; exit status 0 all good, 1 faults found, 2 DIR cannot be read.\n";

static int
fail(const struct error *err)
{
    fprintf(stderr, "retlfs: %s\n", err->text);
    return EXIT_FAILURE;
}

/* ---- retlfs check DIR ---- */

static int
check(const char *dir)
{
    AUTO_BUF struct buf out = BUF_INIT(CHECK_TEXT_MAX);
    struct error err = ERROR_INIT;
    unsigned files = 0;
    int faults = check_directory(dir, &out, &files, &err);
    if (faults < 0) {
        fail(&err);
        return EXIT_UNREADABLE;
    }
    (void)fwrite(buf_z(&out), 1, out.n, stdout);
    if (fflush(stdout) != 0 || ferror(stdout))
        return EXIT_UNREADABLE;
    fprintf(stderr, "%u files checked, %d faults\n", files, faults);
    return faults ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- paths ---- */

static int
make_path(const char *path, struct error *err)
{
    AUTO_FREE char *copy = strdup(path);
    if (!copy)
        return error_no_memory(err);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            return error_set_errno(err, ERR_CONFIG, errno, "%s", copy);
        *p = '/';
    }
    if (mkdir(copy, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ERR_CONFIG, errno, "%s", copy);
    return 0;
}

/* The state directory as an absolute path: the daemon leaves the working directory. */
static int
find_state(struct options *o, struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT(PATH_MAX);
    const char *home = getenv("HOME"), *xdg = getenv("XDG_STATE_HOME");
    if (o->state_dir)
        buf_adds(&path, o->state_dir);
    else if (geteuid() == 0)
        buf_adds(&path, "/var/lib/retlfs");
    else if (xdg && xdg[0] == '/')
        buf_addf(&path, "%s/retlfs", xdg);
    else if (home && home[0] == '/')
        buf_addf(&path, "%s/.local/state/retlfs", home);
    else
        return error_set(err, ERR_CONFIG, EINVAL,
                         "no place for the state: neither HOME nor -o state=DIR is set");
    if (path.n == 0 || path.failed)
        return error_set(err, ERR_CONFIG, EINVAL, "-o state= needs a directory");
    int r = make_path(buf_z(&path), err);
    if (r < 0)
        return error_wrap(err, "the state directory cannot be made");
    char *real = realpath(buf_z(&path), NULL);
    if (!real)
        return error_set_errno(err, ERR_CONFIG, errno, "%s", buf_z(&path));
    free(o->state_dir);
    o->state_dir = real;
    return 0;
}

/* What a killed daemon leaves: every access fails until it is taken away. */
static void
unmount_stale(const char *path)
{
    fprintf(stderr, "retlfs: %s: clearing away the mount of a daemon that is gone\n", path);
    if (umount2(path, MNT_DETACH) == 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        execlp("fusermount3", "fusermount3", "-u", "-z", "--", path, (char *)NULL);
        execl("/usr/bin/fusermount3", "fusermount3", "-u", "-z", "--", path, (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

static int
find_mountpoint(const char *path, char **ret, struct error *err)
{
    struct stat st;
    if (stat(path, &st) < 0 && (errno == ENOTCONN || errno == ECONNABORTED))
        unmount_stale(path);
    if (stat(path, &st) < 0)
        return error_set_errno(err, ERR_CONFIG, errno, "mount point %s", path);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, ERR_CONFIG, ENOTDIR, "mount point %s is not a directory", path);
    struct statfs fs;
    AUTO_FREE char *real = realpath(path, NULL);
    if (!real || statfs(real, &fs) < 0)
        return error_set_errno(err, ERR_CONFIG, errno, "mount point %s", path);
    AUTO_FREE char *up = NULL;
    struct stat above;
    if (asprintf(&up, "%s/..", real) < 0) {
        up = NULL;
        return error_no_memory(err);
    }
    if (fs.f_type == FUSE_MAGIC && stat(up, &above) == 0 && above.st_dev != st.st_dev)
        return error_set(err, ERR_CONFIG, EBUSY,
                         "%s is busy: a FUSE filesystem is mounted there already", path);
    *ret = TAKE(real);
    return 0;
}

static int
find_fuse(struct error *err)
{
    if (access("/dev/fuse", F_OK) < 0)
        return error_set(err, ERR_CONFIG, ENODEV,
                         "/dev/fuse is missing: is the fuse module loaded?");
    return 0;
}

/* ---- serving ---- */

struct start {
    int pipe; /* to the process that waits for the mount; -1: none does */
};

/* The kernel has said hello: the caller may go on, and its terminal is left alone. */
static void
tell_ready(void *arg)
{
    struct start *start = arg;
    if (start->pipe < 0)
        return;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        for (int fd = 0; fd <= 2; fd++)
            dup2(null, fd);
        if (null > 2)
            close(null);
    }
    log_open(LOG_LEVEL_INFO, true);
    char ok = 1;
    ssize_t n = write(start->pipe, &ok, 1);
    (void)n; /* the caller may have gone */
    close(start->pipe);
    start->pipe = -1;
}

static int
open_engine(const struct options *o, struct engine **ret, struct error *err)
{
    struct engine_settings settings = {
        .state_dir = o->state_dir,
        .runs_at_once = o->runs_at_once,
        .uid = getuid(),
        .gid = getgid(),
    };
    int r = engine_open(&settings, ret, err);
    if (r == -EBUSY) {
        error_wrap(err, "state directory %s", o->state_dir);
        size_t n = strlen(err->text);
        snprintf(err->text + n, sizeof err->text - n, "; another mount needs its own: %s",
                 "-o state=DIR");
    } else if (r < 0) {
        error_wrap(err, "state directory %s", o->state_dir);
    }
    return r;
}

static int
serve_with(const struct options *o, const char *mountpoint, int pipe, struct errands *errands)
{
    struct error err = ERROR_INIT;
    struct engine *engine = NULL;
    struct mount *session = NULL;
    if (open_engine(o, &engine, &err) < 0)
        return fail(&err);
    struct mount_settings settings = {
        .source = o->source,
        .mountpoint = mountpoint,
        .options = buf_z(&o->mount),
        .state_dir = o->state_dir,
        .errands = errands,
        .debug = o->debug,
    };
    if (mount_open(&settings, &session, &err) < 0) {
        engine_close(engine);
        return fail(&err);
    }
    struct start start = {.pipe = pipe};
    int r = mount_serve(session, engine, tell_ready, &start, &err);
    mount_close(session);
    if (r < 0) {
        log_error("%s", err.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int
serve(const struct options *o, const char *mountpoint, int pipe)
{
    struct errands *errands = NULL;
    int r = errands_start(mountpoint, &errands);
    if (r < 0) {
        log_error("could not start a process: %s", strerror(-r));
        return EXIT_FAILURE;
    }
    r = serve_with(o, mountpoint, pipe, errands);
    errands_free(errands);
    return r;
}

/* The caller's side: ends when the mount is served, or with the daemon's exit status. */
static int
wait_for_daemon(pid_t pid, int fd)
{
    char ok;
    ssize_t n;
    while ((n = read(fd, &ok, 1)) < 0 && errno == EINTR)
        ;
    if (n == 1)
        return EXIT_SUCCESS;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

static int
serve_in_background(const struct options *o, const char *mountpoint)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) {
        perror("retlfs: pipe");
        return EXIT_FAILURE;
    }
    pid_t pid = fork();
    if (pid < 0) {
        perror("retlfs: fork");
        return EXIT_FAILURE;
    }
    if (pid > 0) {
        close(fds[1]);
        return wait_for_daemon(pid, fds[0]);
    }
    close(fds[0]);
    setsid();
    if (chdir("/") < 0)
        _exit(EXIT_FAILURE);
    return serve(o, mountpoint, fds[1]);
}

/* Who may write definitions on a shared mount does not borrow the daemon's rights with them. */
static int
limit_reach(const struct options *o, struct error *err)
{
    if (!o->shared && !o->allow_paths.n && !o->allow_env.n && !o->allow_command)
        return 0;
    reach_limit();
    if (o->allow_command)
        reach_allow_command();
    int r = 0;
    for (size_t i = 0; i < o->allow_paths.n && r == 0; i++)
        r = reach_allow_path(o->allow_paths.p[i], err);
    return r ? r
             : reach_forget_environment((const char *const *)o->allow_env.p, o->allow_env.n,
                                        err);
}

/* mount(8) may call us with nothing open: what is opened next must not become stdout. */
static void
open_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            _exit(EXIT_FAILURE);
    }
}

static int
run(struct options *o)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *mountpoint = NULL;
    if (find_fuse(&err) < 0 || find_mountpoint(o->mountpoint, &mountpoint, &err) < 0 ||
        find_state(o, &err) < 0)
        return fail(&err);
    if (limit_reach(o, &err) < 0)
        return fail(&err);
    (void)signal(SIGPIPE, SIG_IGN);
    umask(0);
    /* What a run sorts in goes back to the system when it ends. Left alone, malloc learns to
     * keep blocks of that size, once for each thread that ever ran something. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    log_open(o->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, false);
    return o->foreground ? serve(o, mountpoint, -1) : serve_in_background(o, mountpoint);
}

int
main(int argc, char **argv)
{
    struct options o;
    struct error err = ERROR_INIT;
    open_standard_files();
    if (drivers_load(&err) < 0)
        return fail(&err);
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(argv[2]);
    int r = options_parse(&o, argc, argv, &err), code;
    if (r < 0) {
        code = fail(&err);
    } else if (o.help) {
        fputs(help_text, stdout);
        code = EXIT_SUCCESS;
    } else if (o.version) {
        printf("retlfs %s (libfuse %s)\n", RETLFS_VERSION, mount_library_version());
        code = EXIT_SUCCESS;
    } else {
        code = run(&o);
    }
    options_done(&o);
    return code;
}
