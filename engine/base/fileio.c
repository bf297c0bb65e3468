/* State files: see fileio.h. */
#include "base/fileio.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

int
file_write_all(int fd, const void *p, size_t n, struct error *err)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            return error_set_errno(err, ERR_INTERNAL, errno, "cannot write a state file");
        }
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

int
file_read_at(int fd, void *p, size_t n, off_t off, struct error *err)
{
    char *at = p;
    while (n > 0) {
        ssize_t done = pread(fd, at, n, off);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            return error_set_errno(err, ERR_INTERNAL, errno, "cannot read a state file");
        }
        if (done == 0)
            return error_set(err, ERR_INTERNAL, EIO, "state file is cut short at byte %lld",
                             (long long)off);
        at += done;
        off += done;
        n -= (size_t)done;
    }
    return 0;
}

int
file_read_whole(int dirfd, const char *path, struct buf *out, struct error *err)
{
    AUTO_CLOSE int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot open \"%s\"", path);
    for (;;) {
        char *to = buf_room(out, 16384);
        if (!to)
            return error_set(err, ERR_LIMIT, EFBIG, "\"%s\" is larger than %zu bytes", path,
                             out->max);
        ssize_t n = read(fd, to, 16384);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, ERR_INTERNAL, errno, "cannot read \"%s\"", path);
        if (n == 0)
            break;
        out->n += (size_t)n;
    }
    out->p[out->n] = '\0';
    return 0;
}

/* What has not gone out of the file's first n bytes does; where the system has no such call,
 * the fsync that follows does it all. */
static int
write_out(int fd, off_t n, const char *name, const atomic_bool *cancelled, struct error *err)
{
    enum {
        STEP = 16 << 20,
        HOW = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER
    };
    for (off_t at = 0; n - at > STEP; at += STEP) {
        int rc = cancel_check(cancelled, err);
        if (rc < 0)
            return rc;
        if (sync_file_range(fd, at, STEP, HOW) == 0)
            continue;
        /* told once: the fsync would not hear of it again */
        bool lost = errno == EIO || errno == ENOSPC || errno == EDQUOT;
        return lost ? error_set_errno(err, ERR_INTERNAL, errno, "cannot sync \"%s\"", name) : 0;
    }
    return 0;
}

int
file_sync_data(int fd, const char *name, const atomic_bool *cancelled, struct error *err)
{
    struct stat st;
    int rc = fstat(fd, &st) < 0 ? 0 : write_out(fd, st.st_size, name, cancelled, err);
    if (rc == 0 && fsync(fd) < 0)
        rc = error_set_errno(err, ERR_INTERNAL, errno, "cannot sync \"%s\"", name);
    return rc;
}

int
file_sync_dir(int dirfd, struct error *err)
{
    if (fsync(dirfd) < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot sync a state directory");
    return 0;
}

int
file_make_dir(int dirfd, const char *name, struct error *err)
{
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot make directory \"%s\"", name);
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot open directory \"%s\"", name);
    return fd;
}

int
file_remove_tree(int dirfd, const char *name, struct error *err)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot remove \"%s\"", name);
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int errnum = errno;
        if (fd >= 0)
            close(fd);
        return error_set_errno(err, ERR_INTERNAL, errnum, "cannot open directory \"%s\"", name);
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = file_remove_tree(fd, e->d_name, err);
    closedir(dir);
    if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0)
        rc = error_set_errno(err, ERR_INTERNAL, errno, "cannot remove \"%s\"", name);
    return rc;
}
