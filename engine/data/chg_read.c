/*
 * Reading change files: see chg.h and chg_format.h. The file's content is not trusted: header,
 * index and footer are held by a SHA-256, blocks by their own checksums, and still every length
 * is checked where it is used.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd_errors.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "data/chg_format.h"

int
chg_damaged(const struct chg *c, uint64_t offset, struct error *err)
{
    return error_set(err, ERR_INTERNAL, EIO, "\"%s\" is damaged at byte %llu", c->name,
                     (unsigned long long)offset);
}

int
chg_read_piece(const struct chg *c, uint64_t offset, uint64_t n, struct buf *out,
               struct error *err)
{
    char *to = buf_room(out, n);
    if (!to)
        return error_no_memory(err);
    if (file_read_at(c->fd, to, n, (off_t)offset, err) < 0)
        return error_wrap(err, "\"%s\"", c->name);
    out->n += n;
    return 0;
}

/* No four bytes of zstd become more than 128 KiB, so a wild n asks for no wild memory. */
int
chg_unpack(const struct chg *c, ZSTD_DCtx *dctx, struct str packed, uint64_t offset, uint64_t n,
           struct buf *out, struct error *err)
{
    buf_clear(out);
    if (n > CHG_BLOCK_MAX || n >> 15 > packed.n)
        return chg_damaged(c, offset, err);
    char *to = buf_room(out, n);
    if (!to)
        return error_no_memory(err);
    size_t got = ZSTD_decompressDCtx(dctx, to, n, packed.p, packed.n);
    if (ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation)
        return error_no_memory(err);
    if (got != n)
        return chg_damaged(c, offset, err);
    out->n = n;
    return 0;
}

/* ---- opening ---- */

struct footer {
    uint64_t index_offset, index_packed, index_unpacked;
};

int
chg_read_header(const struct chg *c, struct buf *header, struct error *err)
{
    char head[CHG_HEADER_BYTES];
    if (c->size < sizeof head)
        return error_set(err, ERR_INTERNAL, EIO, "\"%s\" is cut short", c->name);
    if (file_read_at(c->fd, head, sizeof head, 0, err) < 0)
        return error_wrap(err, "\"%s\"", c->name);
    if (memcmp(head, CHG_MAGIC, CHG_MAGIC_BYTES) != 0)
        return chg_damaged(c, 0, err);
    uint32_t version = get_u32(head + CHG_MAGIC_BYTES);
    if (version != CHG_VERSION && version != CHG_VERSION_UNRECORDED)
        return error_set(err, ERR_INTERNAL, EPROTONOSUPPORT,
                         "\"%s\" has format %u, this program knows %d", c->name, version,
                         CHG_VERSION);
    uint32_t meta_n = get_u32(head + CHG_MAGIC_BYTES + 8);
    if (meta_n > CHG_META_MAX || sizeof head + meta_n > c->size)
        return chg_damaged(c, CHG_MAGIC_BYTES + 8, err);
    return chg_read_piece(c, 0, sizeof head + meta_n, header, err);
}

/* Reads header and packed index, and holds them against the footer's hash. */
static int
read_frame(struct chg *c, struct buf *header, struct buf *packed, struct footer *ret,
           struct error *err)
{
    char foot[CHG_FOOTER_BYTES];
    if (c->size < CHG_HEADER_BYTES + sizeof foot)
        return error_set(err, ERR_INTERNAL, EIO, "\"%s\" is cut short", c->name);
    uint64_t foot_at = c->size - sizeof foot;
    int rc = chg_read_header(c, header, err);
    if (rc < 0)
        return rc;
    if (file_read_at(c->fd, foot, sizeof foot, (off_t)foot_at, err) < 0)
        return error_wrap(err, "\"%s\"", c->name);
    if (memcmp(foot + 56, CHG_MAGIC, CHG_MAGIC_BYTES) != 0)
        return error_set(err, ERR_INTERNAL, EIO, "\"%s\" is cut short", c->name);
    *ret = (struct footer){get_u64(foot), get_u64(foot + 8), get_u64(foot + 16)};
    if (ret->index_offset > foot_at || ret->index_packed != foot_at - ret->index_offset ||
        ret->index_offset < header->n)
        return chg_damaged(c, foot_at, err);

    rc = chg_read_piece(c, ret->index_offset, ret->index_packed, packed, err);
    if (rc < 0)
        return rc;
    uint8_t hash[32];
    if (!chg_hash(buf_str(header), buf_str(packed), (struct str){foot, 24}, hash))
        return error_set(err, ERR_INTERNAL, EIO, "cannot compute a SHA-256");
    return memcmp(hash, foot + 24, sizeof hash) == 0 ? 0 : chg_damaged(c, foot_at, err);
}

/* One block of the index; false: cut. views: where this block's ends of views go. */
static bool
parse_block(struct chg *c, const char **p, const char *end, size_t i, uint64_t *offset,
            uint64_t *views)
{
    struct chg_block *b = &c->blocks[i];
    uint64_t packed, entries, ops, key;
    if (!varint_read(p, end, &packed) || !varint_read(p, end, &b->unpacked) ||
        !varint_read(p, end, &entries) || !varint_read(p, end, &ops) ||
        !varint_read(p, end, &key) || packed > c->size || entries == 0 || ops > CHG_ALL_OPS ||
        entries > UINT32_MAX || key >> 1 > CHG_KEY_KEPT || key >> 1 > (uint64_t)(end - *p))
        return false;
    b->offset = *offset;
    b->entries = (uint32_t)entries;
    b->ops = (uint8_t)ops;
    b->key = *p;
    b->key_n = (uint16_t)(key >> 1);
    b->key_cut = key & 1;
    *p += b->key_n;
    *offset += packed;
    for (unsigned v = 0; v < c->nviews; v++) {
        uint64_t n;
        if (!varint_read(p, end, &n))
            return false;
        views[v] += n;
        c->view_ends[i * c->nviews + v] = views[v];
    }
    return *offset <= c->size;
}

static int
parse_index(struct chg *c, uint64_t data_offset, uint64_t index_offset, struct error *err)
{
    const char *p = c->index.p, *end = p + c->index.n;
    uint64_t nblocks = 0, views[CHG_VIEWS] = {0}, offset = data_offset;
    bool ok = varint_read(&p, end, &nblocks) && varint_read(&p, end, &c->totals.bytes);
    for (int op = 0; op < c->nops; op++) {
        ok = ok && varint_read(&p, end, &c->totals.by_op[op]);
        c->totals.entries += c->totals.by_op[op];
    }
    if (!ok || nblocks > c->index.n) /* each takes several bytes */
        return chg_damaged(c, index_offset, err);
    c->nblocks = nblocks;
    c->blocks = calloc(nblocks + 1, sizeof *c->blocks);
    c->view_ends = calloc(nblocks * c->nviews + 1, sizeof *c->view_ends);
    if (!c->blocks || !c->view_ends)
        return error_no_memory(err);
    for (enum chg_view v = 0; v < CHG_VIEWS; v++)
        if (c->views & VIEW_BIT(v))
            views[chg_view_slot(c->views, v)] = c->view_heads[v];
    uint64_t entries = 0, bytes = 0;
    for (size_t i = 0; i < nblocks; i++) {
        if (!parse_block(c, &p, end, i, &offset, views))
            return chg_damaged(c, index_offset, err);
        entries += c->blocks[i].entries;
        bytes += c->blocks[i].unpacked;
    }
    c->blocks[nblocks].offset = offset;
    if (p != end || offset != index_offset || entries != c->totals.entries ||
        bytes != c->totals.bytes)
        return chg_damaged(c, index_offset, err);
    return 0;
}

static int
unpack_index(struct chg *c, const struct buf *packed, const struct footer *foot,
             struct error *err)
{
    ZSTD_DCtx *dctx = ZSTD_createDCtx();
    if (!dctx)
        return error_no_memory(err);
    int rc = chg_unpack(c, dctx, buf_str(packed), foot->index_offset, foot->index_unpacked,
                        &c->index, err);
    ZSTD_freeDCtx(dctx);
    return rc;
}

int
chg_take_header(struct chg *c, struct str header, struct error *err)
{
    c->nops = get_u32(header.p + CHG_MAGIC_BYTES) == CHG_VERSION ? ENTRY_OPS : ENTRY_RECORDED;
    c->views = get_u32(header.p + CHG_MAGIC_BYTES + 4);
    c->nviews = (unsigned)__builtin_popcount(c->views);
    struct chg_meta *meta = NULL;
    struct str packed = {header.p + CHG_HEADER_BYTES, header.n - CHG_HEADER_BYTES};
    int rc = chg_meta_unpack(&c->arena, packed, &meta);
    c->meta = meta;
    if (rc == -ENOMEM)
        return error_no_memory(err);
    return rc < 0 || c->views & ~(unsigned)CHG_VIEW_MASK
               ? chg_damaged(c, CHG_MAGIC_BYTES + 4, err)
               : 0;
}

static int
open_parts(struct chg *c, struct error *err)
{
    AUTO_BUF struct buf header = BUF_INIT(BUF_NO_MAX), packed = BUF_INIT(BUF_NO_MAX);
    struct footer foot = {0};
    int rc = read_frame(c, &header, &packed, &foot, err);
    if (rc == 0)
        rc = chg_take_header(c, buf_str(&header), err);
    if (rc < 0)
        return rc;
    if (!chg_renderer_init(&c->renderer, &c->arena, c->meta))
        return error_no_memory(err);
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    for (enum chg_view v = 0; v < CHG_VIEWS; v++) {
        buf_clear(&text);
        chg_render_head(c->meta, v, &text);
        c->view_heads[v] = text.n;
        if (text.failed)
            return error_no_memory(err);
    }
    rc = unpack_index(c, &packed, &foot, err);
    return rc < 0 ? rc : parse_index(c, header.n, foot.index_offset, err);
}

int
chg_open_file(int dirfd, const char *name, struct chg **ret, struct error *err)
{
    struct chg *c = calloc(1, sizeof *c);
    if (!c)
        return error_no_memory(err);
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->lock, NULL);
    c->view_block = SIZE_MAX;
    c->fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int rc = 0;
    if (c->fd < 0 || fstat(c->fd, &st) < 0)
        rc = error_set_errno(err, ERR_INTERNAL, errno, "cannot open \"%s\"", name);
    else if (!(c->name = strdup(name)))
        rc = error_no_memory(err);
    else
        c->size = (uint64_t)st.st_size;
    if (rc < 0)
        chg_unref(c);
    else
        *ret = c;
    return rc;
}

int
chg_open(int dirfd, const char *name, struct chg **ret, struct error *err)
{
    struct chg *c = NULL;
    int rc = chg_open_file(dirfd, name, &c, err);
    if (rc == 0)
        rc = open_parts(c, err);
    if (rc < 0)
        chg_unref(c);
    else
        *ret = c;
    return rc;
}

struct chg *
chg_ref(struct chg *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

struct chg *
chg_unref(struct chg *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
        return NULL;
    chg_cursor_close(c->view_cursor);
    for (int i = 0; i < CHG_FINDERS; i++)
        chg_cursor_close(c->finders[i]);
    chg_unref(c->refused);
    chg_unref(c->unsent);
    pthread_mutex_destroy(&c->lock);
    if (c->fd >= 0)
        close(c->fd);
    free(c->name);
    free(c->blocks);
    free(c->view_ends);
    buf_done(&c->index);
    buf_done(&c->view_text);
    arena_done(&c->arena);
    free(c);
    return NULL;
}

const struct chg_meta *
chg_get_meta(const struct chg *c)
{
    return c->meta;
}

struct chg_totals
chg_get_totals(const struct chg *c)
{
    return c->totals;
}

uint64_t
chg_file_size(const struct chg *c)
{
    return c->size;
}

/* ---- cursors ---- */

int
chg_cursor_open_uncounted(struct chg *c, struct chg_cursor **ret, struct error *err)
{
    struct chg_cursor *cur = calloc(1, sizeof *cur);
    if (cur)
        cur->dctx = ZSTD_createDCtx();
    if (!cur || !cur->dctx) {
        free(cur);
        return error_no_memory(err);
    }
    cur->file = c;
    cur->ops = CHG_ALL_OPS;
    *ret = cur;
    return 0;
}

int
chg_cursor_open(struct chg *c, struct chg_cursor **ret, struct error *err)
{
    int rc = chg_cursor_open_uncounted(c, ret, err);
    if (rc < 0)
        return rc;
    chg_ref(c);
    (*ret)->counted = true;
    posix_fadvise(c->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

struct chg_cursor *
chg_cursor_close(struct chg_cursor *cur)
{
    if (!cur)
        return NULL;
    ZSTD_freeDCtx(cur->dctx);
    buf_done(&cur->packed);
    buf_done(&cur->unpacked);
    if (cur->counted)
        chg_unref(cur->file);
    free(cur);
    return NULL;
}

void
chg_cursor_only(struct chg_cursor *cur, unsigned ops)
{
    cur->ops = ops;
    if (cur->peeked && !(CHG_OP(cur->peek.op) & ops))
        cur->peeked = false;
}

bool
chg_cursor_has_block(const struct chg_cursor *cur, size_t block)
{
    return cur->p && block + 1 == cur->next_block;
}

void
chg_cursor_to_block(struct chg_cursor *cur, size_t block)
{
    cur->peeked = false;
    cur->at = (struct str){0};
    if (chg_cursor_has_block(cur, block)) {
        cur->p = cur->unpacked.p;
        cur->left = cur->file->blocks[block].entries;
        cur->seq = UINT64_MAX;
        return;
    }
    cur->next_block = block;
    cur->left = 0;
    cur->p = cur->end = NULL;
}

uint64_t
chg_cursor_offset(const struct chg_cursor *cur)
{
    return cur->file->blocks[cur->next_block - 1].offset;
}

/* 1: the next block is there; 0: no more. */
static int
load_block(struct chg_cursor *cur, struct error *err)
{
    const struct chg *c = cur->file;
    size_t block = cur->next_block;
    while (block < c->nblocks && !(c->blocks[block].ops & cur->ops))
        block++;
    if (block >= c->nblocks)
        return 0;
    cur->next_block = block + 1;
    cur->p = cur->end = NULL;
    cur->at = (struct str){0};
    const struct chg_block *b = &c->blocks[block];
    buf_clear(&cur->packed);
    int rc = chg_read_piece(c, b->offset, b[1].offset - b->offset, &cur->packed, err);
    if (rc < 0)
        return rc;
    rc = chg_unpack(c, cur->dctx, buf_str(&cur->packed), b->offset, b->unpacked, &cur->unpacked,
                    err);
    if (rc < 0)
        return rc;
    cur->p = cur->unpacked.p;
    cur->end = cur->p + cur->unpacked.n;
    cur->left = b->entries;
    cur->seq = UINT64_MAX;
    return 1;
}

static inline bool
get_bytes(struct chg_cursor *cur, struct str *ret)
{
    uint64_t n;
    if (!varint_read(&cur->p, cur->end, &n) || n > (uint64_t)(cur->end - cur->p))
        return false;
    *ret = (struct str){cur->p, n};
    cur->p += n;
    return true;
}

bool
chg_parse_entry(struct chg_cursor *cur, struct entry *e)
{
    if (cur->p >= cur->end)
        return false;
    uint8_t head = (uint8_t)*cur->p++;
    *e = (struct entry){.op = head & HEAD_OP, .seq = cur->seq + 1};
    if (e->op < ENTRY_INSERT || e->op > ENTRY_RECORDED)
        return false;
    if (head & HEAD_SEQ && !varint_read(&cur->p, cur->end, &e->seq))
        return false;
    cur->seq = e->seq;
    if (!get_bytes(cur, &e->key) || (head & HEAD_AFTER && !get_bytes(cur, &e->after)) ||
        (head & HEAD_BEFORE && !get_bytes(cur, &e->before)))
        return false;
    if (head & HEAD_NOTE) {
        uint64_t tries;
        if (!varint_read(&cur->p, cur->end, &tries) || tries > UINT32_MAX ||
            !get_bytes(cur, &e->note))
            return false;
        e->tries = (uint32_t)tries;
    }
    if (head & HEAD_DUE) {
        uint64_t copy;
        if (!varint_read(&cur->p, cur->end, &e->due.run) ||
            !varint_read(&cur->p, cur->end, &copy) || copy > UINT32_MAX)
            return false;
        e->due.copy = (uint32_t)copy;
    }
    cur->at = e->key;
    return true;
}

int
chg_next(struct chg_cursor *cur, struct entry *e, struct error *err)
{
    if (cur->peeked) {
        cur->peeked = false;
        *e = cur->peek;
        return 1;
    }
    do {
        if (cur->left == 0) {
            if (cur->p != cur->end)
                return chg_damaged(cur->file, chg_cursor_offset(cur), err);
            int rc = load_block(cur, err);
            if (rc <= 0)
                return rc;
        }
        cur->left--;
        if (!chg_parse_entry(cur, e))
            return chg_damaged(cur->file, chg_cursor_offset(cur), err);
    } while (!(CHG_OP(e->op) & cur->ops));
    return 1;
}

/* Whether the block surely starts before the key. Where the first key was cut, only a
 * difference within what was kept is sure; so a seek starts rather too early than too late. */
static bool
starts_before(const struct chg_block *b, struct str key)
{
    if (!b->key_cut)
        return key_compare((struct str){b->key, b->key_n}, key) < 0;
    size_t n = b->key_n < key.n ? b->key_n : key.n;
    return n > 0 && memcmp(b->key, key.p, n) < 0;
}

size_t
chg_block_of(const struct chg *c, struct str key)
{
    size_t low = 0, high = c->nblocks; /* blocks [0, low) start before, [high, …) do not */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (starts_before(&c->blocks[middle], key))
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

int
chg_seek(struct chg_cursor *cur, struct str key, struct error *err)
{
    size_t block = chg_block_of(cur->file, key);
    bool ahead = chg_cursor_has_block(cur, block) && cur->at.p && key_compare(cur->at, key) < 0;
    if (!ahead)
        chg_cursor_to_block(cur, block);
    cur->peeked = false;
    struct entry e;
    int rc;
    while ((rc = chg_next(cur, &e, err)) > 0) {
        if (key_compare(e.key, key) < 0)
            continue;
        cur->peek = e;
        cur->peeked = true;
        return 0;
    }
    return rc;
}

size_t
chg_sample_keys(const struct chg *c, struct arena *arena, struct str *keys, size_t max)
{
    size_t n = 0;
    for (size_t i = 1; i <= max && c->nblocks > 1; i++) {
        size_t at = (size_t)((double)c->nblocks * (double)i / (double)(max + 1));
        const struct chg_block *b = &c->blocks[at];
        struct str key = {b->key, b->key_n};
        if (at == 0 || (n > 0 && key_compare(keys[n - 1], key) >= 0))
            continue;
        key.p = arena_strndup(arena, key.p, key.n);
        if (!key.p)
            break;
        keys[n++] = key;
    }
    return n;
}
