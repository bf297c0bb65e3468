/* Partitions of rows on disk: see partition.h. */
#include "data/partition.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/fileio.h"

enum {
    SLOT_MIN = 4096,
    SLOT_HEAD = 16, /* number of the next slot, bytes used */
    PARTS_MAX = 256,
};

struct parts {
    int dirfd, fd;
    char *region; /* borrowed */
    size_t slot, max;
    uint64_t nslots;
    struct part *head; /* in key order */

    /* the set that is being written */
    struct part *open[PARTS_MAX];
    struct str from[PARTS_MAX]; /* first key; [0] has none */
    size_t nopen;
    struct arena keys;
    bool spilling;
    struct part *spilled; /* whose rows are in io */

    char *io; /* one slot: of what is read, or spilled */
    struct {
        uint64_t slot, rows;
        const char *p, *end; /* in io */
        bool keep;
        struct buf row; /* one that lies in several slots */
    } in;
};

int
parts_create(int dirfd, char *region, size_t cap, struct parts **ret, struct error *err)
{
    struct parts *p = calloc(1, sizeof *p);
    if (!p)
        return error_no_memory(err);
    p->fd = -1;
    p->dirfd = dirfd;
    p->region = region;
    p->slot = cap / PARTS_MAX / SLOT_MIN * SLOT_MIN;
    if (p->slot < SLOT_MIN)
        p->slot = SLOT_MIN;
    p->max = cap / p->slot < PARTS_MAX ? cap / p->slot : PARTS_MAX;
    *ret = p;
    return 0;
}

struct parts *
parts_free(struct parts *p)
{
    if (!p)
        return NULL;
    while (p->head)
        free(parts_take(p));
    if (p->fd >= 0)
        close(p->fd);
    arena_done(&p->keys);
    buf_done(&p->in.row);
    free(p->io);
    free(p);
    return NULL;
}

/* The file system may not know O_TMPFILE; then a name for a moment. */
static int
open_file(struct parts *p, struct error *err)
{
    p->fd = openat(p->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    for (unsigned i = 0; p->fd < 0 && i < 100; i++) {
        char name[48];
        snprintf(name, sizeof name, ".sort-%ld-%p-%u", (long)getpid(), (void *)p, i);
        p->fd = openat(p->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (p->fd >= 0)
            unlinkat(p->dirfd, name, 0);
        else if (errno != EEXIST)
            break;
    }
    if (p->fd < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot make a file to sort in");
    p->io = malloc(p->slot);
    return p->io ? 0 : error_no_memory(err);
}

/* ---- writing ---- */

static int
open_part(struct parts *p, struct str from, bool equal, struct error *err)
{
    struct part *part = calloc(1, sizeof *part);
    if (!part)
        return error_no_memory(err);
    part->equal = equal;
    part->first_slot = part->write_slot = p->nslots++;
    struct part **link = p->nopen > 0 ? &p->open[p->nopen - 1]->next : &p->head;
    part->next = *link;
    *link = part;
    p->from[p->nopen] = from;
    p->open[p->nopen++] = part;
    return 0;
}

int
parts_begin(struct parts *p, bool spilling, struct error *err)
{
    int rc = p->fd < 0 ? open_file(p, err) : 0;
    if (rc < 0)
        return rc;
    p->nopen = 0;
    p->spilling = spilling;
    arena_clear(&p->keys);
    return open_part(p, (struct str){0}, false, err);
}

int
parts_cut(struct parts *p, struct str key, bool alone, struct error *err)
{
    if (p->nopen + alone >= p->max)
        return 0;
    if (p->nopen > 1 && key_compare(key, p->from[p->nopen - 1]) <= 0)
        return 0;
    char *copy = arena_strndup(&p->keys, key.p, key.n); /* with a NUL behind it */
    if (!copy)
        return error_no_memory(err);
    int rc = open_part(p, (struct str){copy, key.n}, alone, err);
    /* no key lies between a key and the same with a NUL behind it */
    return rc < 0 || !alone ? rc : open_part(p, (struct str){copy, key.n + 1}, false, err);
}

static char *
part_buffer(const struct parts *p, size_t i)
{
    return p->spilling ? p->io : p->region + i * p->slot;
}

/* Writes what is in the buffer as the part's next slot. */
static int
write_slot(struct parts *p, struct part *part, char *buffer, struct error *err)
{
    if (part->fill == 0)
        return 0;
    uint64_t head[2] = {p->nslots++, part->fill};
    memcpy(buffer, head, SLOT_HEAD);
    if (lseek(p->fd, (off_t)(part->write_slot * p->slot), SEEK_SET) < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot sort");
    int rc = file_write_all(p->fd, buffer, SLOT_HEAD + part->fill, err);
    part->write_slot = head[0];
    part->fill = 0;
    return rc;
}

static int
add_bytes(struct parts *p, struct part *part, char *buffer, const void *bytes, size_t n,
          struct error *err)
{
    size_t room = p->slot - SLOT_HEAD;
    for (const char *from = bytes; n > 0;) {
        size_t piece = n < room - part->fill ? n : room - part->fill;
        memcpy(buffer + SLOT_HEAD + part->fill, from, piece);
        part->fill += piece;
        part->bytes += piece;
        from += piece;
        n -= piece;
        int rc = part->fill == room ? write_slot(p, part, buffer, err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The open partition that the key belongs to. */
static size_t
find_part(const struct parts *p, struct str key)
{
    size_t low = 0, high = p->nopen; /* from[low] <= key < from[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (key_compare(p->from[middle], key) <= 0)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int
parts_add(struct parts *p, struct str key, struct str data, struct error *err)
{
    size_t i = find_part(p, key);
    struct part *part = p->open[i];
    char *buffer = part_buffer(p, i);
    if (p->spilling && p->spilled != part) {
        int rc = p->spilled ? write_slot(p, p->spilled, buffer, err) : 0;
        if (rc < 0)
            return rc;
        p->spilled = part;
    }
    uint32_t head[2] = {(uint32_t)key.n, (uint32_t)data.n};
    part->rows++;
    int rc = add_bytes(p, part, buffer, head, ROW_HEAD, err);
    if (rc == 0)
        rc = add_bytes(p, part, buffer, key.p, key.n, err);
    return rc < 0 ? rc : add_bytes(p, part, buffer, data.p, data.n, err);
}

int
parts_end_spill(struct parts *p, struct error *err)
{
    int rc = p->spilled ? write_slot(p, p->spilled, p->io, err) : 0;
    p->spilled = NULL;
    p->spilling = false;
    return rc;
}

int
parts_flush(struct parts *p, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < p->nopen && rc == 0; i++)
        rc = write_slot(p, p->open[i], part_buffer(p, i), err);
    p->nopen = 0;
    return rc;
}

/* ---- reading ---- */

struct part *
parts_first(const struct parts *p)
{
    return p->head;
}

struct part *
parts_take(struct parts *p)
{
    struct part *part = p->head;
    p->head = part->next;
    return part;
}

/* Reads a slot's bytes, at most `max`, and makes *slot the next one's number. */
static int
read_slot(struct parts *p, uint64_t *slot, char *to, size_t max, bool keep, size_t *ret,
          struct error *err)
{
    uint64_t head[2];
    off_t at = (off_t)(*slot * p->slot);
    int rc = file_read_at(p->fd, head, SLOT_HEAD, at, err);
    if (rc == 0 && head[1] > max)
        rc = error_set(err, ERR_INTERNAL, EIO, "a file to sort in is damaged");
    if (rc == 0)
        rc = file_read_at(p->fd, to, head[1], at + SLOT_HEAD, err);
    if (rc < 0)
        return rc;
    if (!keep) /* only to save space: where it cannot be done, it stays until the end */
        (void)!fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)p->slot);
    *slot = head[0];
    *ret = head[1];
    return 0;
}

int
parts_load(struct parts *p, const struct part *part, char *to, struct error *err)
{
    uint64_t slot = part->first_slot;
    for (size_t done = 0, n; done < part->bytes; done += n) {
        int rc = read_slot(p, &slot, to + done, part->bytes - done, false, &n, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void
parts_rewind(struct parts *p, const struct part *part, bool keep)
{
    p->in.slot = part->first_slot;
    p->in.rows = part->rows;
    p->in.p = p->in.end = p->io;
    p->in.keep = keep;
}

/* n bytes behind those in in.row. */
static int
gather(struct parts *p, size_t n, struct error *err)
{
    char *to = buf_room(&p->in.row, n);
    if (!to)
        return error_no_memory(err);
    p->in.row.n += n;
    while (n > 0) {
        if (p->in.p == p->in.end) {
            size_t more;
            int rc =
                read_slot(p, &p->in.slot, p->io, p->slot - SLOT_HEAD, p->in.keep, &more, err);
            if (rc < 0)
                return rc;
            p->in.p = p->io;
            p->in.end = p->io + more;
        }
        size_t here = (size_t)(p->in.end - p->in.p);
        size_t piece = n < here ? n : here;
        memcpy(to, p->in.p, piece);
        p->in.p += piece;
        to += piece;
        n -= piece;
    }
    return 0;
}

int
parts_next(struct parts *p, struct str *key, struct str *data, struct error *err)
{
    if (p->in.rows == 0)
        return 0;
    p->in.rows--;
    uint32_t n[2];
    size_t here = (size_t)(p->in.end - p->in.p);
    if (here >= ROW_HEAD) {
        memcpy(n, p->in.p, ROW_HEAD);
        if (here - ROW_HEAD >= (size_t)n[0] + n[1]) {
            p->in.p = row_read(p->in.p, key, data);
            return 1;
        }
    }
    buf_clear(&p->in.row);
    int rc = gather(p, ROW_HEAD, err);
    if (rc < 0)
        return rc;
    memcpy(n, p->in.row.p, ROW_HEAD);
    rc = gather(p, (size_t)n[0] + n[1], err);
    if (rc < 0)
        return rc;
    row_read(p->in.row.p, key, data);
    return 1;
}
