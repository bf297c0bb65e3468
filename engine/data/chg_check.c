/* Checking change files, and finishing those that were cut off: see chg.h and chg_format.h. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <zstd_errors.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "data/chg_format.h"

enum { PIECE = 1 << 20 };

bool
chg_plausible(const struct chg *c, const struct entry *e, struct str before)
{
    const struct str records[] = {e->after, e->before};
    for (int i = 0; i < 2; i++) {
        if (records[i].n == 0)
            continue;
        const char *p = records[i].p, *end = p + records[i].n;
        struct value v;
        size_t n = 0;
        while (record_next(&p, end, &v))
            n++;
        if (p != end || n != c->meta->nfields)
            return false;
    }
    return key_compare(before, e->key) <= 0;
}

static bool
matches_index(const struct chg_block *b, struct str key)
{
    return (b->key_cut ? key.n > b->key_n : key.n == b->key_n) &&
           (b->key_n == 0 || memcmp(key.p, b->key, b->key_n) == 0);
}

/* The index' first keys and the totals too. */
int
chg_verify(const struct chg *c, struct error *err)
{
    struct chg_cursor *cur = NULL;
    int rc = chg_cursor_open_uncounted((struct chg *)c, &cur, err);
    if (rc < 0)
        return rc;
    AUTO_BUF struct buf last = BUF_INIT(BUF_NO_MAX);
    uint64_t by_op[ENTRY_OPS] = {0};
    struct entry e;
    for (;;) {
        bool first = cur->left == 0;
        rc = chg_next(cur, &e, err);
        if (rc <= 0)
            break;
        if (!chg_plausible(c, &e, buf_str(&last)) ||
            !(c->blocks[cur->next_block - 1].ops & CHG_OP(e.op)) ||
            (first && !matches_index(&c->blocks[cur->next_block - 1], e.key))) {
            rc = chg_damaged(c, chg_cursor_offset(cur), err);
            break;
        }
        by_op[e.op]++;
        buf_clear(&last);
        buf_add(&last, e.key.p, e.key.n);
        if (last.failed) {
            rc = error_no_memory(err);
            break;
        }
    }
    if (rc == 0 && memcmp(by_op, c->totals.by_op, sizeof by_op) != 0)
        rc = chg_damaged(c, c->blocks[c->nblocks].offset, err);
    chg_cursor_close(cur);
    return rc;
}

/* ---- mending ---- */

struct mending {
    struct chg *from;
    struct chg_cursor cur; /* of no file with an index: a block is put in its hands */
    uint64_t at;           /* bytes of the file that were taken */
    uint64_t seq;          /* of the next entry */
    struct buf last_key;
    struct chg_writer *out;
};

/* 1: the block at m->at is in cur.packed, perhaps with more behind it, *n bytes; 0: it is cut,
 * or there is none. */
static int
read_block(struct mending *m, size_t *n, struct error *err)
{
    struct buf *packed = &m->cur.packed;
    uint64_t left = m->from->size - m->at;
    for (uint64_t want = PIECE;; want *= 4) {
        uint64_t some = want < left ? want : left;
        buf_clear(packed);
        int rc = chg_read_piece(m->from, m->at, some, packed, err);
        if (rc < 0)
            return rc;
        *n = ZSTD_findFrameCompressedSize(packed->p, packed->n);
        if (!ZSTD_isError(*n))
            return 1;
        if (some == left || ZSTD_getErrorCode(*n) != ZSTD_error_srcSize_wrong)
            return 0;
    }
}

/* 1: unpacked; 0: it is damaged, as a power failure may leave it. */
static int
unpack_block(struct mending *m, size_t n, struct error *err)
{
    unsigned long long size = ZSTD_getFrameContentSize(m->cur.packed.p, n);
    if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR)
        return 0;
    int rc = chg_unpack(m->from, m->cur.dctx, (struct str){m->cur.packed.p, n}, m->at, size,
                        &m->cur.unpacked, err);
    if (rc == -EIO) {
        error_clear(err);
        return 0;
    }
    return rc < 0 ? rc : 1;
}

static void
rewind_block(struct mending *m)
{
    m->cur.p = m->cur.unpacked.p;
    m->cur.end = m->cur.p + m->cur.unpacked.n;
    m->cur.seq = UINT64_MAX;
}

/* 1: all in it are the entries that follow. An index that nothing refers to yet is a block of
 * something else. */
static int
check_block(struct mending *m, struct error *err)
{
    struct entry e;
    uint64_t seq = m->seq;
    rewind_block(m);
    while (m->cur.p < m->cur.end) {
        if (!chg_parse_entry(&m->cur, &e) || e.seq != seq++ ||
            !chg_plausible(m->from, &e, buf_str(&m->last_key)))
            return 0;
        buf_clear(&m->last_key);
        buf_add(&m->last_key, e.key.p, e.key.n);
        if (m->last_key.failed)
            return error_no_memory(err);
    }
    return 1;
}

static int
copy_block(struct mending *m, struct error *err)
{
    int rc = 0;
    struct entry e;
    rewind_block(m);
    while (rc == 0 && m->cur.p < m->cur.end && chg_parse_entry(&m->cur, &e)) {
        rc = chg_add(m->out, &e, err);
        m->seq = e.seq + 1;
    }
    return rc;
}

static int
copy_blocks(struct mending *m, const atomic_bool *cancelled, struct error *err)
{
    int rc;
    size_t n;
    while ((rc = cancel_check(cancelled, err)) == 0 && (rc = read_block(m, &n, err)) == 1 &&
           (rc = unpack_block(m, n, err)) == 1 && (rc = check_block(m, err)) == 1) {
        rc = copy_block(m, err);
        if (rc < 0)
            return rc;
        m->at += n;
    }
    return rc;
}

/* Into a file of the name TO. */
static int
mend(struct mending *m, int dirfd, const char *to, const atomic_bool *cancelled,
     struct error *err)
{
    AUTO_BUF struct buf header = BUF_INIT(BUF_NO_MAX);
    int rc = chg_read_header(m->from, &header, err);
    if (rc == 0)
        rc = chg_take_header(m->from, buf_str(&header), err);
    m->cur = (struct chg_cursor){.file = m->from, .dctx = ZSTD_createDCtx()};
    m->at = header.n;
    if (rc == 0 && !m->cur.dctx)
        rc = error_no_memory(err);
    if (rc == 0)
        rc = chg_create(dirfd, to, m->from->meta, m->from->views, &m->out, err);
    if (rc == 0)
        rc = copy_blocks(m, cancelled, err);
    ZSTD_freeDCtx(m->cur.dctx);
    buf_done(&m->cur.packed);
    buf_done(&m->cur.unpacked);
    buf_done(&m->last_key);
    if (rc < 0) {
        chg_discard(m->out);
        return rc;
    }
    chg_cancel_by(m->out, cancelled);
    return chg_finish(m->out, true, NULL, NULL, err);
}

/* 1: it has a footer. */
static int
is_finished(const struct chg *c, struct error *err)
{
    char magic[CHG_MAGIC_BYTES];
    if (c->size < CHG_HEADER_BYTES + CHG_FOOTER_BYTES)
        return 0;
    if (file_read_at(c->fd, magic, sizeof magic, (off_t)(c->size - sizeof magic), err) < 0)
        return error_wrap(err, "\"%s\"", c->name);
    return memcmp(magic, CHG_MAGIC, sizeof magic) == 0;
}

int
chg_mend(int dirfd, const char *name, const atomic_bool *cancelled, struct error *err)
{
    struct mending m = {0};
    AUTO_BUF struct buf to = BUF_INIT(4096);
    buf_addf(&to, "%s.mended", name);
    int rc = to.failed ? error_no_memory(err) : chg_open_file(dirfd, name, &m.from, err);
    if (rc == 0 && (rc = is_finished(m.from, err)) == 0)
        rc = mend(&m, dirfd, buf_z(&to), cancelled, err);
    chg_unref(m.from);
    if (rc == 0 && renameat(dirfd, buf_z(&to), dirfd, name) < 0)
        rc = error_set_errno(err, ERR_INTERNAL, errno, "cannot rename \"%s\"", buf_z(&to));
    return rc < 0 ? rc : 0;
}
