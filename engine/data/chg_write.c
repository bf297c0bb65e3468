/*
 * Writing change files: see chg.h and chg_format.h. Entries gather in a block; a full block is
 * compressed and written at once. The index grows in memory and goes last.
 */
#include "data/chg_format.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"

enum { DIGEST_PIECE = 64 * 1024 };

struct chg_writer {
    int fd, dirfd;
    char *name;
    unsigned views;
    struct arena arena;
    const struct chg_meta *meta;
    struct chg_renderer renderer;
    ZSTD_CCtx *cctx;
    struct buf header, block, packed, index, last_key, text, digest_piece;
    EVP_MD_CTX *digest;
    const atomic_bool *cancelled;
    bool kept;
    uint64_t offset; /* bytes in the file */
    uint64_t seq;    /* of the entry before */
    uint64_t nblocks;
    struct chg_totals totals;

    uint32_t block_entries;
    unsigned block_ops;
    struct buf block_key; /* as it goes to the index: length, bytes */
    uint64_t block_views[CHG_VIEWS];
};

static struct chg_writer *
writer_free(struct chg_writer *w, bool remove)
{
    if (remove && !w->kept && w->fd >= 0)
        unlinkat(w->dirfd, w->name, 0);
    if (w->fd >= 0)
        close(w->fd);
    if (w->dirfd >= 0)
        close(w->dirfd);
    free(w->name);
    arena_done(&w->arena);
    ZSTD_freeCCtx(w->cctx);
    EVP_MD_CTX_free(w->digest);
    struct buf *const bufs[] = {&w->header,   &w->block, &w->packed,       &w->index,
                                &w->last_key, &w->text,  &w->digest_piece, &w->block_key};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_done(bufs[i]);
    free(w);
    return NULL;
}

static int
write_bytes(struct chg_writer *w, struct str bytes, struct error *err)
{
    int rc = file_write_all(w->fd, bytes.p, bytes.n, err);
    if (rc < 0)
        return error_wrap(err, "\"%s\"", w->name);
    w->offset += bytes.n;
    return 0;
}

static int
write_header(struct chg_writer *w, struct error *err)
{
    char head[CHG_HEADER_BYTES] = CHG_MAGIC;
    AUTO_BUF struct buf meta = BUF_INIT(CHG_META_MAX);
    chg_meta_pack(w->meta, &meta);
    put_u32(head + CHG_MAGIC_BYTES, CHG_VERSION);
    put_u32(head + CHG_MAGIC_BYTES + 4, w->views);
    put_u32(head + CHG_MAGIC_BYTES + 8, (uint32_t)meta.n);
    buf_add(&w->header, head, sizeof head);
    buf_add(&w->header, meta.p, meta.n);
    if (meta.failed || w->header.failed)
        return error_no_memory(err);
    return write_bytes(w, buf_str(&w->header), err);
}

/* All that needs memory. */
static bool
writer_prepare(struct chg_writer *w, const char *name, const struct chg_meta *meta, bool digest)
{
    w->name = strdup(name);
    w->meta = chg_meta_copy(&w->arena, meta);
    w->cctx = ZSTD_createCCtx();
    if (!w->name || !w->meta || !w->cctx ||
        !chg_renderer_init(&w->renderer, &w->arena, w->meta))
        return false;
    ZSTD_CCtx_setParameter(w->cctx, ZSTD_c_compressionLevel, 1);
    ZSTD_CCtx_setParameter(w->cctx, ZSTD_c_checksumFlag, 1);
    if (!digest)
        return true;
    w->digest = EVP_MD_CTX_new();
    return w->digest && EVP_DigestInit_ex(w->digest, EVP_sha256(), NULL) == 1;
}

int
chg_create(int dirfd, const char *name, const struct chg_meta *meta, unsigned views,
           struct chg_writer **ret, struct error *err)
{
    struct chg_writer *w = calloc(1, sizeof *w);
    if (!w)
        return error_no_memory(err);
    *w = (struct chg_writer){.fd = -1, .dirfd = -1, .views = views & CHG_VIEW_MASK};
    w->seq = UINT64_MAX;
    int rc = 0;
    if (!writer_prepare(w, name, meta, views & CHG_DIGEST)) {
        rc = error_no_memory(err);
        goto fail;
    }
    w->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    if (dirfd == AT_FDCWD)
        w->dirfd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->dirfd < 0 || (unlinkat(w->dirfd, name, 0) < 0 && errno != ENOENT) ||
        (w->fd = openat(w->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0) {
        rc = error_set_errno(err, ERR_INTERNAL, errno, "cannot create \"%s\"", name);
        goto fail;
    }
    rc = write_header(w, err);
    if (rc < 0)
        goto fail;
    *ret = w;
    return 0;
fail:
    writer_free(w, true);
    return rc;
}

void
chg_discard(struct chg_writer *w)
{
    if (w)
        writer_free(w, true);
}

void
chg_keep(struct chg_writer *w)
{
    w->kept = true;
}

void
chg_leave(struct chg_writer *w)
{
    if (w)
        writer_free(w, false);
}

/* Compresses `bytes` into w->packed. */
static int
pack(struct chg_writer *w, struct str bytes, struct error *err)
{
    buf_clear(&w->packed);
    size_t bound = ZSTD_compressBound(bytes.n);
    char *to = buf_room(&w->packed, bound);
    if (!to)
        return error_no_memory(err);
    size_t n = ZSTD_compress2(w->cctx, to, bound, bytes.p, bytes.n);
    if (ZSTD_isError(n))
        return error_set(err, ERR_INTERNAL, ENOMEM, "cannot compress \"%s\": %s", w->name,
                         ZSTD_getErrorName(n));
    w->packed.n = n;
    return 0;
}

static int
flush_block(struct chg_writer *w, struct error *err)
{
    if (w->block_entries == 0)
        return 0;
    int rc = pack(w, buf_str(&w->block), err);
    if (rc == 0)
        rc = write_bytes(w, buf_str(&w->packed), err);
    if (rc < 0)
        return rc;
    buf_add_varint(&w->index, w->packed.n);
    buf_add_varint(&w->index, w->block.n);
    buf_add_varint(&w->index, w->block_entries);
    buf_add_varint(&w->index, w->block_ops);
    buf_add(&w->index, w->block_key.p, w->block_key.n);
    for (enum chg_view v = 0; v < CHG_VIEWS; v++)
        if (w->views & VIEW_BIT(v))
            buf_add_varint(&w->index, w->block_views[v]);
    if (w->index.failed)
        return error_no_memory(err);
    w->nblocks++;
    w->totals.bytes += w->block.n;
    w->block_entries = 0;
    w->block_ops = 0;
    memset(w->block_views, 0, sizeof w->block_views);
    if (w->block.n > (1 << 20)) { /* a huge entry's memory is not kept */
        buf_done(&w->block);
        buf_done(&w->packed);
    }
    buf_clear(&w->block);
    return 0;
}

/* The larger the file, the larger its blocks: 100 million rows need some 20,000 of them. */
static size_t
block_target(const struct chg_writer *w)
{
    uint64_t mib = w->totals.bytes >> 20;
    return (size_t)128 * 1024 << ((mib >= 256) + (mib >= 1024) + (mib >= 4096));
}

static void
note_block_key(struct chg_writer *w, struct str key)
{
    bool cut = key.n > CHG_KEY_KEPT;
    size_t kept = cut ? CHG_KEY_KEPT : key.n;
    buf_clear(&w->block_key);
    buf_add_varint(&w->block_key, kept << 1 | cut);
    buf_add(&w->block_key, key.p, kept);
}

/* Bytes that an entry needs at most. */
static uint64_t
entry_bound(const struct entry *e)
{
    return 80 + (uint64_t)e->key.n + e->after.n + e->before.n + e->note.n;
}

static void
put_entry(struct chg_writer *w, const struct entry *e)
{
    char *to = buf_room(&w->block, entry_bound(e));
    if (!to)
        return;
    bool note = e->note.n > 0 || e->tries > 0;
    bool seq = e->seq != w->seq + 1 || w->block_entries == 0;
    *to++ = (char)(e->op | (seq ? HEAD_SEQ : 0) | (e->after.n ? HEAD_AFTER : 0) |
                   (e->before.n ? HEAD_BEFORE : 0) | (note ? HEAD_NOTE : 0) |
                   (e->due.run ? HEAD_DUE : 0));
    if (seq)
        to = varint_write(to, e->seq);
    to = varint_write_str(to, e->key);
    if (e->after.n)
        to = varint_write_str(to, e->after);
    if (e->before.n)
        to = varint_write_str(to, e->before);
    if (note) {
        to = varint_write(to, e->tries);
        to = varint_write_str(to, e->note);
    }
    if (e->due.run) {
        to = varint_write(to, e->due.run);
        to = varint_write(to, e->due.copy);
    }
    w->block.n = (size_t)(to - w->block.p);
}

static int
flush_digest(struct chg_writer *w, struct error *err)
{
    int ok = EVP_DigestUpdate(w->digest, w->digest_piece.p, w->digest_piece.n);
    buf_clear(&w->digest_piece);
    return ok == 1 ? 0 : error_set(err, ERR_INTERNAL, EIO, "cannot compute a SHA-256");
}

/* Op, then key, after and before, each with its length; gathered, for small pieces are dear. */
static int
digest_entry(struct chg_writer *w, const struct entry *e, struct error *err)
{
    char *to = buf_room(&w->digest_piece, entry_bound(e));
    if (!to)
        return error_no_memory(err);
    *to++ = (char)e->op;
    to = varint_write_str(to, e->key);
    to = varint_write_str(to, e->after);
    to = varint_write_str(to, e->before);
    w->digest_piece.n = (size_t)(to - w->digest_piece.p);
    return w->digest_piece.n < DIGEST_PIECE ? 0 : flush_digest(w, err);
}

static void
count_views(struct chg_writer *w, const struct entry *e)
{
    uint64_t line = 0; /* of VIEW_JSONL */
    for (enum chg_view v = 0; v < CHG_VIEWS; v++) {
        if (!(w->views & VIEW_BIT(v)))
            continue;
        if (v == VIEW_SENT && line > 0) { /* plans have both */
            w->block_views[v] += line + CHG_OUTCOME_BYTES;
            continue;
        }
        uint64_t n = chg_entry_size(&w->renderer, v, e, &w->text);
        w->block_views[v] += n;
        line = v == VIEW_JSONL ? n : line;
        if (w->text.failed)
            return;
    }
}

int
chg_add(struct chg_writer *w, const struct entry *e, struct error *err)
{
    if (w->totals.entries > 0 && key_compare(e->key, buf_str(&w->last_key)) < 0)
        return error_set(err, ERR_INTERNAL, EINVAL, "entries of \"%s\" are out of order",
                         w->name);
    uint64_t bound = entry_bound(e);
    if (bound > CHG_BLOCK_MAX / 2)
        return error_set(err, ERR_LIMIT, EFBIG, "a row of %llu bytes is too large",
                         (unsigned long long)bound);
    if (w->block_entries > 0 && w->block.n + bound > block_target(w)) {
        int rc = flush_block(w, err);
        if (rc < 0)
            return rc;
    }
    if (w->block_entries == 0)
        note_block_key(w, e->key);
    put_entry(w, e);
    buf_clear(&w->last_key);
    buf_add(&w->last_key, e->key.p, e->key.n);
    if (w->views)
        count_views(w, e);
    if (w->block.failed || w->block_key.failed || w->last_key.failed || w->text.failed)
        return error_no_memory(err);
    w->block_entries++;
    w->block_ops |= CHG_OP(e->op);
    w->seq = e->seq;
    w->totals.entries++;
    w->totals.by_op[e->op]++;
    return w->digest ? digest_entry(w, e, err) : 0;
}

int
chg_flush(struct chg_writer *w, bool sync, struct error *err)
{
    int rc = flush_block(w, err);
    return rc == 0 && sync ? file_sync_data(w->fd, w->name, w->cancelled, err) : rc;
}

/* Totals and the sizes of the views' heads, then what flush_block gathered. */
static int
write_index(struct chg_writer *w, struct error *err)
{
    AUTO_BUF struct buf index = BUF_INIT(BUF_NO_MAX);
    buf_add_varint(&index, w->nblocks);
    buf_add_varint(&index, w->totals.bytes);
    for (int op = 0; op < ENTRY_OPS; op++)
        buf_add_varint(&index, w->totals.by_op[op]);
    buf_add(&index, w->index.p, w->index.n);
    if (index.failed)
        return error_no_memory(err);
    int rc = pack(w, buf_str(&index), err);
    if (rc < 0)
        return rc;

    char foot[CHG_FOOTER_BYTES];
    put_u64(foot, w->offset);
    put_u64(foot + 8, w->packed.n);
    put_u64(foot + 16, index.n);
    if (!chg_hash(buf_str(&w->header), buf_str(&w->packed), (struct str){foot, 24},
                  (uint8_t *)foot + 24))
        return error_set(err, ERR_INTERNAL, EIO, "cannot compute a SHA-256");
    memcpy(foot + 56, CHG_MAGIC, CHG_MAGIC_BYTES);
    rc = write_bytes(w, buf_str(&w->packed), err);
    return rc < 0 ? rc : write_bytes(w, (struct str){foot, sizeof foot}, err);
}

static int
finish(struct chg_writer *w, bool sync, uint8_t *digest, struct error *err)
{
    int rc = flush_block(w, err);
    if (rc == 0)
        rc = write_index(w, err);
    if (rc == 0 && digest && !w->digest)
        rc = error_set(err, ERR_INTERNAL, EINVAL, "no digest was asked for");
    if (rc == 0 && digest)
        rc = flush_digest(w, err);
    if (rc == 0 && digest && EVP_DigestFinal_ex(w->digest, digest, NULL) != 1)
        rc = error_set(err, ERR_INTERNAL, EIO, "cannot compute a SHA-256");
    return rc == 0 && sync ? file_sync_data(w->fd, w->name, w->cancelled, err) : rc;
}

void
chg_cancel_by(struct chg_writer *w, const atomic_bool *cancelled)
{
    w->cancelled = cancelled;
}

int
chg_finish(struct chg_writer *w, bool sync, struct chg_totals *totals, uint8_t *digest,
           struct error *err)
{
    int rc = finish(w, sync, digest, err);
    if (rc == 0 && totals)
        *totals = w->totals;
    writer_free(w, rc < 0);
    return rc;
}
