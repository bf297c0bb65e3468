/*
 * `retlfs check DIR`: the same judgement as the mount's, over a directory on disk, so that a
 * repository can be checked before it is deployed. Symbolic links are never followed: what is
 * checked is what the directory itself holds.
 */
#include "define/complaint.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "base/words.h"

enum { FILE_MAX = 16 << 20 }; /* bytes of one file: the largest text_max */

/* A connection, or a user's driver. */
struct known {
    char *name;
    const struct driver *driver; /* a reference; NULL: its own line has said what is wrong */
};

struct check {
    struct buf *out;
    unsigned checked;
    int faults;
    bool have_connections; /* there is a directory of them: a name not in it is missing */
    VEC(struct known) connections, drivers;
};

static const struct driver *
driver_of(void *arg, const char *connection)
{
    struct check *k = arg;
    VEC_EACH (&k->connections, it) {
        if (strcmp(it->name, connection) == 0)
            return driver_ref(it->driver);
    }
    return NULL;
}

/* Its own line has said what is wrong with it. */
static bool
fault_of(void *arg, const char *connection, struct complaint *why)
{
    struct check *k = arg;
    VEC_EACH (&k->connections, it) {
        if (strcmp(it->name, connection) == 0) {
            snprintf(why->text, sizeof why->text, "see connections/%s.json", connection);
            return true;
        }
    }
    return false;
}

static int
users_driver(void *arg, const char *name, const struct driver **ret, struct complaint *why)
{
    struct check *k = arg;
    VEC_EACH (&k->drivers, it) {
        if (strcmp(it->name, name) != 0)
            continue;
        *ret = driver_ref(it->driver);
        *why = (struct complaint){.text = "see there"};
        snprintf(why->file, sizeof why->file, "drivers/%s/connector.json", name);
        return *ret ? 0 : -EINVAL;
    }
    return -ENOENT;
}

static void
users_drivers(void *arg, struct arena *arena, struct words *names)
{
    struct check *k = arg;
    VEC_EACH (&k->drivers, it)
        words_add(names, it->name);
}

static struct world
world_of(struct check *k)
{
    return (struct world){.driver_of = k->have_connections ? driver_of : NULL,
                          .fault_of = fault_of,
                          .users_driver = users_driver,
                          .users_drivers = users_drivers,
                          .arg = k};
}

/* ---- reading ---- */

static int
open_dir(int dirfd, const char *path)
{
    return openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool
is_dir(int dirfd, const char *name)
{
    struct stat st;
    return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static bool
is_there(int dirfd, const char *name)
{
    struct stat st;
    return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int
not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

struct listing {
    struct dirent **entries;
    int n;
};

static void
listing_done(struct listing *l)
{
    for (int i = 0; i < l->n; i++)
        free(l->entries[i]);
    free(l->entries);
}

#define AUTO_LISTING __attribute__((cleanup(listing_done)))

static struct listing
list(int dirfd)
{
    struct listing l = {.n = 0};
    l.n = scandirat(dirfd, ".", &l.entries, not_hidden, by_name);
    return l.n < 0 ? (struct listing){.n = 0} : l;
}

static void
fault(struct check *k, const char *dir, const char *name, const char *text)
{
    k->faults++;
    buf_addf(k->out, "%s/%s: error: %s\n", dir, name, text);
}

/* The text of a regular file, *ret.p = NULL when it is missing. False: it cannot be read, and a
 * fault says so. */
static bool
read_text(struct check *k, const char *dir, int dirfd, const char *name, enum text_kind kind,
          struct buf *space, struct str *ret)
{
    *ret = (struct str){NULL, 0};
    AUTO_CLOSE int fd =
        openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return true;
    k->checked++;
    char reason[128];
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        fault(k, dir, name,
              errno == ELOOP ? "a symbolic link is not followed"
                             : strerror_r(errno, reason, sizeof reason));
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        fault(k, dir, name, "not a regular file");
        return false;
    }
    for (;;) { /* one byte more than allowed, so that the check itself says it is too large */
        size_t left = text_max(kind) + 1 - space->n;
        char *to = buf_room(space, left < 65536 ? left : 65536);
        ssize_t n = to ? read(fd, to, left < 65536 ? left : 65536) : -1;
        if (to && n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fault(k, dir, name,
                  to ? strerror_r(errno, reason, sizeof reason) : "out of memory");
            return false;
        }
        space->n += (size_t)n;
        if (n == 0 || (size_t)n == left)
            break;
    }
    *ret = buf_str(space);
    return true;
}

/* ---- connections ---- */

static void
show(struct check *k, const char *dir, const struct complaint *c)
{
    k->faults++;
    complaint_render_under(dir, c, k->out);
}

static void
check_connection(struct check *k, const char *root, const char *dir, int dirfd,
                 const char *file)
{
    AUTO_BUF struct buf space = BUF_INIT(FILE_MAX + 1);
    struct str text;
    if (!read_text(k, dir, dirfd, file, TEXT_CONNECTION, &space, &text))
        return;
    AUTO_FREE char *name = strndup(file, strlen(file) - strlen(".json"));
    struct complaint c;
    struct connection *conn = NULL;
    struct world world = world_of(k);
    if (name && connection_parse(&world, name, text, &conn, &c))
        show(k, root, &c);
    struct known known = {name, conn ? driver_ref(conn->driver) : NULL};
    if (name && VEC_PUSH(&k->connections, known))
        name = NULL;
    else
        driver_unref(known.driver);
    connection_free(conn);
}

/* ---- users' drivers ---- */

static void
check_driver(struct check *k, const char *root, const char *drivers_dir, const char *name,
             int dirfd)
{
    AUTO_BUF struct buf space = BUF_INIT(FILE_MAX + 1);
    AUTO_FREE char *dir = NULL;
    AUTO_FREE char *copy = strdup(name);
    struct str text = {0};
    struct complaint c;
    struct known known = {.name = copy};
    if (!copy || asprintf(&dir, "%s/%s", drivers_dir, name) < 0)
        return;
    if (!driver_name_good(name) || driver_find(name))
        fault(k, drivers_dir, name,
              driver_find(name) ? "a driver of that name is built in"
                                : "not the name of a driver");
    else if (!is_there(dirfd, "connector.json"))
        fault(k, dir, "connector.json", "is missing");
    else if (read_text(k, dir, dirfd, "connector.json", TEXT_CONNECTOR, &space, &text) &&
             manifest_make(name, text, &known.driver, &c) < 0)
        show(k, root, &c);
    if (VEC_PUSH(&k->drivers, known))
        copy = NULL;
    else
        driver_unref(known.driver);
}

static void
check_drivers(struct check *k, const char *root, int rootfd)
{
    AUTO_CLOSE int dirfd = open_dir(rootfd, "drivers");
    AUTO_FREE char *path = NULL;
    if (dirfd < 0 || asprintf(&path, "%s/drivers", root) < 0)
        return;
    AUTO_LISTING struct listing all = list(dirfd);
    for (int i = 0; i < all.n; i++) {
        const char *name = all.entries[i]->d_name;
        AUTO_CLOSE int fd = open_dir(dirfd, name);
        if (fd >= 0)
            check_driver(k, root, path, name, fd);
    }
}

static void
check_connections(struct check *k, const char *root, int rootfd)
{
    AUTO_CLOSE int dirfd = open_dir(rootfd, "connections");
    if (dirfd < 0)
        return;
    k->have_connections = true;
    AUTO_FREE char *dir = NULL;
    if (asprintf(&dir, "%s/connections", root) < 0)
        return;
    AUTO_LISTING struct listing all = list(dirfd);
    for (int i = 0; i < all.n; i++) {
        const char *name = all.entries[i]->d_name;
        size_t n = strlen(name);
        if (text_kind_in_connections(name) == TEXT_CONNECTION)
            check_connection(k, root, dir, dirfd, name);
        else if (n > 5 && strcmp(name + n - 5, ".json") == 0)
            buf_addf(k->out,
                     "%s/%s: note: not the name of a connection: letters, digits, "
                     "'_', '-' and '.', at most 64\n",
                     dir, name);
    }
}

/* ---- syncs ---- */

/* A file whose name is one slip away from one that would be read. */
static void
note_near_misses(struct check *k, const char *dir, int dirfd)
{
    static const struct words read = {
        .items = {"config.json", "mappings.csv", "mode", "schedule"}, .n = 4};
    static const struct words engine = {.items = {"modes"}, .n = 1};
    AUTO_LISTING struct listing all = list(dirfd);
    for (int i = 0; i < all.n; i++) {
        const char *name = all.entries[i]->d_name;
        size_t n = strlen(name);
        if (n == 0 || name[n - 1] == '~' || words_have(&read, name) ||
            words_have(&engine, name))
            continue;
        const char *nearest = words_nearest(&read, name);
        if (nearest)
            buf_addf(k->out, "%s/%s: note: not a file that is read: did you mean \"%s\"?\n",
                     dir, name, nearest);
    }
}

/* It may be missing: then the sync runs only when it is told to. */
static void
check_schedule(struct check *k, const char *dir, int dirfd)
{
    AUTO_BUF struct buf space = BUF_INIT(FILE_MAX + 1);
    struct str text;
    struct complaint c;
    if (is_there(dirfd, "schedule") &&
        read_text(k, dir, dirfd, "schedule", TEXT_SCHEDULE, &space, &text) &&
        text_check(TEXT_SCHEDULE, NULL, "schedule", text, true, &c) != TEXT_OK)
        show(k, dir, &c);
}

static void
check_sync(struct check *k, const char *dir, int dirfd)
{
    AUTO_BUF struct buf config = BUF_INIT(FILE_MAX + 1);
    AUTO_BUF struct buf mappings = BUF_INIT(FILE_MAX + 1);
    AUTO_BUF struct buf mode = BUF_INIT(FILE_MAX + 1);
    struct sync_texts texts;
    bool readable =
        read_text(k, dir, dirfd, "config.json", TEXT_CONFIG, &config, &texts.config);
    readable &=
        read_text(k, dir, dirfd, "mappings.csv", TEXT_MAPPINGS, &mappings, &texts.mappings);
    readable &= read_text(k, dir, dirfd, "mode", TEXT_MODE, &mode, &texts.mode);

    check_schedule(k, dir, dirfd);

    struct world world = world_of(k);
    struct definition *d = NULL;
    struct complaints *complaints = calloc(1, sizeof *complaints);
    if (!complaints || (readable && definition_parse(&world, &texts, &d, complaints)))
        fault(k, dir, "", "out of memory");
    for (size_t i = 0; complaints && i < complaints->n; i++)
        show(k, dir, &complaints->items[i]);
    free(complaints);
    definition_free(d);
    note_near_misses(k, dir, dirfd);
}

static bool
holds_sync(int dirfd)
{
    return is_there(dirfd, "config.json") || is_there(dirfd, "mappings.csv") ||
           is_there(dirfd, "mode");
}

/* Each directory in dirfd; all: also those without any file of a sync. */
static void
check_syncs(struct check *k, const char *path, int dirfd, bool all)
{
    AUTO_LISTING struct listing names = list(dirfd);
    for (int i = 0; i < names.n; i++) {
        const char *name = names.entries[i]->d_name;
        if (!is_dir(dirfd, name) ||
            (!all && (strcmp(name, "connections") == 0 || strcmp(name, "drivers") == 0)))
            continue;
        AUTO_CLOSE int fd = open_dir(dirfd, name);
        AUTO_FREE char *dir = NULL;
        if (asprintf(&dir, "%s/%s", path, name) < 0)
            continue;
        if (fd < 0)
            fault(k, path, name, "cannot be read");
        else if (all || holds_sync(fd))
            check_sync(k, dir, fd);
    }
}

static void
check_root(struct check *k, const char *root, int rootfd)
{
    if (holds_sync(rootfd)) {
        check_sync(k, root, rootfd);
        return;
    }
    check_drivers(k, root, rootfd);
    check_connections(k, root, rootfd);
    AUTO_CLOSE int syncs = open_dir(rootfd, "syncs");
    AUTO_FREE char *path = NULL;
    if (syncs < 0)
        check_syncs(k, root, rootfd, false);
    else if (asprintf(&path, "%s/syncs", root) >= 0)
        check_syncs(k, path, syncs, true);
}

static void
forget_all(struct known *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(all[i].name);
        driver_unref(all[i].driver);
    }
    free(all);
}

int
check_directory(const char *path, struct buf *out, unsigned *checked, struct error *err)
{
    *checked = 0;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, ERR_CONFIG, errno, "cannot read \"%s\"", path);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    AUTO_FREE char *root = strndup(path, n);
    if (!root)
        return error_no_memory(err);
    struct check k = {.out = out};
    check_root(&k, root, fd);
    forget_all(k.connections.p, k.connections.n);
    forget_all(k.drivers.p, k.drivers.n);
    *checked = k.checked;
    return k.faults;
}
