/* A child that uses the mount for us: see errand.h. */
#include "errand.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

enum errand { ERRAND_TOUCH = 't', ERRAND_LIST = 'l' };
enum { PACKET_MAX = 8192, LISTING = 65536 };

struct errands {
    char *point;
    pthread_mutex_t lock; /* one errand at a time */
    int socket;           /* to the child */
    pid_t child;
};

/* ---- the child ---- */

static void
list_again_and_again(int dir)
{
    static char listing[LISTING];
    while (getdents64(dir, listing, sizeof listing) > 0 && lseek(dir, 0, SEEK_SET) == 0) {
    }
}

/* A packet: what is to be done, the directory, the names; a NUL after each. A failure is a
 * watcher not woken or a name not forgotten, no more. */
static void
run(const char *packet, const char *end)
{
    const char *name = packet + 1;
    bool lists = *packet == ERRAND_LIST;
    int dir = open(name, (lists ? O_RDONLY : O_PATH) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return;
    if (lists)
        list_again_and_again(dir);
    while ((name += strlen(name) + 1) < end)
        (void)utimensat(dir, name, NULL, AT_SYMLINK_NOFOLLOW);
    close(dir);
}

static void
serve(int parent)
{
    static char packet[PACKET_MAX];
    prctl(PR_SET_NAME, "retlfs-errand"); /* as ps(1) and killall(1) see it */
    sigset_t all;
    sigfillset(&all); /* it ends when the daemon has, and not before */
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (parent > 0)
        close_range(0, (unsigned)parent - 1, 0);
    close_range((unsigned)parent + 1, ~0U, 0);
    for (ssize_t n; (n = recv(parent, packet, sizeof packet, 0)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        run(packet, packet + n);
        if (send(parent, "", 1, MSG_NOSIGNAL) < 0)
            break;
    }
    _exit(0);
}

/* ---- the daemon ---- */

static int
start_child(int *socket, pid_t *child)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *child = fork();
    if (*child == 0)
        serve(ends[1]);
    int r = *child < 0 ? -errno : 0;
    close(ends[1]);
    if (r < 0)
        close(ends[0]);
    *socket = ends[0];
    return r;
}

static void
end_child(int socket, pid_t child)
{
    close(socket);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
}

int
errands_start(const char *point, struct errands **ret)
{
    int socket = -1;
    pid_t child = 0;
    int r = start_child(&socket, &child);
    if (r < 0)
        return r;
    struct errands *e = calloc(1, sizeof *e);
    char *copy = strdup(point);
    if (!e || !copy) {
        free(e);
        free(copy);
        end_child(socket, child);
        return -ENOMEM;
    }
    *e = (struct errands){.point = copy, .socket = socket, .child = child};
    pthread_mutex_init(&e->lock, NULL);
    *ret = e;
    return 0;
}

struct errands *
errands_free(struct errands *e)
{
    if (!e)
        return NULL;
    end_child(e->socket, e->child);
    pthread_mutex_destroy(&e->lock);
    free(e->point);
    free(e);
    return NULL;
}

static void
do_errand(struct errands *e, enum errand what, struct str dir, struct str names)
{
    AUTO_BUF struct buf packet = BUF_INIT(PACKET_MAX);
    buf_addc(&packet, (char)what);
    buf_addf(&packet, "%s/%.*s", e->point, (int)dir.n, dir.p);
    buf_addc(&packet, '\0');
    buf_add(&packet, names.p, names.n);
    if (packet.failed)
        return;
    char done;
    pthread_mutex_lock(&e->lock);
    if (send(e->socket, packet.p, packet.n, MSG_NOSIGNAL) >= 0)
        while (recv(e->socket, &done, 1, 0) < 0 && errno == EINTR) {
        }
    pthread_mutex_unlock(&e->lock);
}

void
errands_touch(struct errands *e, struct str dir, struct str names)
{
    do_errand(e, ERRAND_TOUCH, dir, names);
}

void
errands_list(struct errands *e, struct str dir)
{
    do_errand(e, ERRAND_LIST, dir, STR(""));
}

bool
errands_runs(const struct errands *e, pid_t pid)
{
    return pid == e->child;
}
