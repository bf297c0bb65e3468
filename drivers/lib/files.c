/* Files of a file source: see files.h. */
#include "lib/files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/reach.h"

enum { WINDOW = 256 * 1024, WINDOW_MAX = 1 << 30 };

static int
stamp(struct file_stamp *f, const char *path, struct error *err)
{
    struct stat st;
    int r = reach_stat(path, true, &st);
    if (r < 0)
        return reach_fail(err, r, path);
    if (S_ISDIR(st.st_mode))
        return error_set(err, ERR_CONFIG, EISDIR, "\"%s\" is a directory", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_CONFIG, EINVAL, "\"%s\" is not a regular file", path);
    *f = (struct file_stamp){.path = strdup(path),
                             .dev = st.st_dev,
                             .ino = st.st_ino,
                             .size = st.st_size,
                             .mtime = st.st_mtim};
    if (!f->path)
        return error_no_memory(err);
    return 0;
}

static bool
same(const struct file_stamp *f, const struct stat *st)
{
    return f->dev == st->st_dev && f->ino == st->st_ino && f->size == st->st_size &&
           f->mtime.tv_sec == st->st_mtim.tv_sec && f->mtime.tv_nsec == st->st_mtim.tv_nsec;
}

static int
changed(const struct file_stamp *f, struct error *err)
{
    return error_set(err, ERR_DATA, EIO, "\"%s\" changed while it was read", f->path);
}

static int
by_path(const void *a, const void *b)
{
    return strcmp(((const struct file_stamp *)a)->path, ((const struct file_stamp *)b)->path);
}

static int
stamp_all(struct files *f, char *const *paths, size_t n, struct error *err)
{
    f->files = calloc(n, sizeof *f->files);
    if (!f->files)
        return error_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        int rc = stamp(&f->files[i], paths[i], err);
        if (rc) {
            files_done(f);
            return rc;
        }
        f->n++;
        f->bytes += f->files[i].size;
    }
    qsort(f->files, n, sizeof *f->files, by_path);
    return 0;
}

int
files_open(struct files *f, const char *pattern, struct error *err)
{
    *f = (struct files){0};
    struct stat st;
    int rc = reach_stat(pattern, false, &st);
    if (rc == 0)
        return stamp_all(f, &(char *){(char *)pattern}, 1, err);
    if (rc == -EXDEV || !strpbrk(pattern, "*?["))
        return reach_fail(err, rc, pattern);

    glob_t found = {0};
    rc = reach_glob(pattern, GLOB_ERR | GLOB_NOSORT, &found);
    if (rc == 0)
        rc = stamp_all(f, found.gl_pathv, found.gl_pathc, err);
    else if (rc == GLOB_NOMATCH)
        rc = error_set(err, ERR_CONFIG, ENOENT, "no file matches \"%s\"", pattern);
    else if (rc == GLOB_NOSPACE)
        rc = error_no_memory(err);
    else
        rc =
            error_set(err, ERR_CONFIG, EACCES, "a directory of \"%s\" cannot be read", pattern);
    globfree(&found);
    return rc;
}

int
files_check(const struct files *f, struct error *err)
{
    for (size_t i = 0; i < f->n; i++) {
        struct stat st;
        if (reach_stat(f->files[i].path, true, &st) < 0 || !same(&f->files[i], &st))
            return changed(&f->files[i], err);
    }
    return 0;
}

void
files_done(struct files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->files[i].path);
    free(f->files);
    *f = (struct files){0};
}

static int
check_open_file(const struct feed *f, struct error *err)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot read \"%s\"", f->file->path);
    return same(f->file, &st) ? 0 : changed(f->file, err);
}

int
feed_open(struct feed *f, const struct files *files, size_t i, struct error *err)
{
    if (f->fd >= 0)
        close(f->fd);
    f->file = &files->files[i];
    f->pos = f->end = 0;
    f->eof = f->look = false;
    /* Not blocking, in case somebody put a pipe in the file's place. */
    f->fd = reach_open(f->file->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (f->fd < 0)
        return reach_fail(err, f->fd, f->file->path);
    return check_open_file(f, err);
}

/* Moves what is unparsed to the front, and makes room when that is much. */
static int
make_room(struct feed *f, struct error *err)
{
    size_t left = f->end - f->pos;
    if (f->pos)
        memmove(f->p, f->p + f->pos, left);
    f->pos = 0;
    f->end = left;
    if (f->p && left <= f->cap / 2)
        return 0;
    size_t cap = f->p ? f->cap * 2 : WINDOW;
    if (cap > WINDOW_MAX)
        return error_set(err, ERR_LIMIT, EFBIG, "\"%s\" has a row of more than 512 MiB",
                         f->file->path);
    char *p = realloc(f->p, cap + FEED_SLACK);
    if (!p)
        return error_no_memory(err);
    f->p = p;
    f->cap = cap;
    return 0;
}

int
feed_more(struct feed *f, struct error *err)
{
    if (f->cancelled && atomic_load_explicit(f->cancelled, memory_order_relaxed))
        return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
    if (f->look)
        return error_set(err, ERR_LIMIT, EFBIG, "\"%s\" goes on", f->file->path);
    int rc = make_room(f, err);
    if (rc)
        return rc;
    while (f->end < f->cap && !f->eof) {
        ssize_t n = read(f->fd, f->p + f->end, f->cap - f->end);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, ERR_REMOTE, errno, "cannot read \"%s\"", f->file->path);
        f->end += (size_t)n;
        f->eof = n == 0;
    }
    memset(f->p + f->end, 0, FEED_SLACK);
    return f->eof ? check_open_file(f, err) : 0;
}

off_t
feed_offset(const struct feed *f)
{
    return lseek(f->fd, 0, SEEK_CUR) - (off_t)(f->end - f->pos);
}

int
feed_seek(struct feed *f, off_t offset, struct error *err)
{
    if (lseek(f->fd, offset, SEEK_SET) < 0)
        return error_set_errno(err, ERR_REMOTE, errno, "cannot read \"%s\"", f->file->path);
    f->pos = f->end = 0;
    f->eof = f->look = false;
    int rc = feed_more(f, err);
    f->look = true;
    return rc;
}

void
feed_done(struct feed *f)
{
    if (f->fd >= 0)
        close(f->fd);
    free(f->p);
    *f = (struct feed)FEED_INIT;
}
