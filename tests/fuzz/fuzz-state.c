/*
 * Change files, of which the delivered state is made: any content is rows or a clear error.
 * Since nothing gets past the checksums by chance, they are put right first:
 *
 *   'R'  the rest is a file, whose SHA-256 is made to fit
 *   'C'  the rest is its parts (two bytes of length, then the part): meta; views and totals;
 * and for each block what the index says of it, and its entries; they are packed here
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "data/chg_format.h"
#include "data/state.h"
#include "fuzz.h"

enum { FOUND_MAX = 8, READ_MAX = 1 << 16 };

/* ---- making a file ---- */

static void
seal(const struct buf *file, uint64_t header_n, char *foot)
{
    uint64_t offset = get_u64(foot), packed = get_u64(foot + 8);
    if (header_n > file->n || offset > file->n || packed > file->n - offset)
        return;
    MUST(chg_hash((struct str){file->p, header_n}, (struct str){file->p + offset, packed},
                  (struct str){foot, 24}, (uint8_t *)foot + 24));
}

static void
make_raw(struct str rest, struct buf *file)
{
    buf_add(file, rest.p, rest.n);
    if (rest.n < CHG_HEADER_BYTES + CHG_FOOTER_BYTES)
        return;
    uint64_t header_n = CHG_HEADER_BYTES + (uint64_t)get_u32(file->p + CHG_MAGIC_BYTES + 8);
    seal(file, header_n, file->p + file->n - CHG_FOOTER_BYTES);
}

static struct str
take_part(struct str *rest)
{
    if (rest->n < 2) {
        rest->n = 0;
        return (struct str){"", 0};
    }
    size_t n = (uint8_t)rest->p[0] | (size_t)(uint8_t)rest->p[1] << 8;
    n = n < rest->n - 2 ? n : rest->n - 2;
    struct str part = {rest->p + 2, n};
    rest->p += 2 + n;
    rest->n -= 2 + n;
    return part;
}

static void
add_packed(struct buf *file, struct str bytes)
{
    static ZSTD_CCtx *cctx;
    if (!cctx)
        cctx = ZSTD_createCCtx();
    MUST(cctx && !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_checksumFlag, 1)));
    size_t bound = ZSTD_compressBound(bytes.n);
    char *to = buf_room(file, bound);
    MUST(to);
    size_t n = ZSTD_compress2(cctx, to, bound, bytes.p, bytes.n);
    MUST(!ZSTD_isError(n));
    file->n += n;
}

static void
make_composed(struct str rest, struct buf *file)
{
    AUTO_BUF struct buf index = BUF_INIT(BUF_NO_MAX), blocks = BUF_INIT(BUF_NO_MAX);
    char head[CHG_HEADER_BYTES] = CHG_MAGIC, foot[CHG_FOOTER_BYTES];
    struct str meta = take_part(&rest), totals = take_part(&rest);
    unsigned first = totals.n ? (uint8_t)totals.p[0] : 0;
    put_u32(head + CHG_MAGIC_BYTES, first & 0x80 ? CHG_VERSION : CHG_VERSION_UNRECORDED);
    put_u32(head + CHG_MAGIC_BYTES + 4, first & 0x7f);
    put_u32(head + CHG_MAGIC_BYTES + 8, (uint32_t)meta.n);
    buf_add(file, head, sizeof head);
    buf_add(file, meta.p, meta.n);
    uint64_t header_n = file->n, nblocks = 0, bytes = 0;
    for (; rest.n > 0; nblocks++) {
        struct str said = take_part(&rest), entries = take_part(&rest);
        size_t at = file->n;
        add_packed(file, entries);
        buf_add_varint(&blocks, file->n - at);
        buf_add_varint(&blocks, entries.n);
        buf_add(&blocks, said.p, said.n);
        bytes += entries.n;
    }
    buf_add_varint(&index, nblocks);
    buf_add_varint(&index, bytes);
    if (totals.n)
        buf_add(&index, totals.p + 1, totals.n - 1);
    buf_add(&index, blocks.p, blocks.n);
    put_u64(foot, file->n);
    add_packed(file, buf_str(&index));
    put_u64(foot + 8, file->n - get_u64(foot));
    put_u64(foot + 16, index.n);
    memcpy(foot + 56, CHG_MAGIC, CHG_MAGIC_BYTES);
    seal(file, header_n, foot);
    buf_add(file, foot, sizeof foot);
}

/* ---- reading it ---- */

static void
check_names(struct chg *c, const struct entry *e)
{
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct entry found;
    struct error err = ERROR_INIT;
    chg_entry_filename(c->meta, e, &name);
    MUST(!name.failed && name.n > 0 && name.n < 256 && !strchr(name.p, '/'));
    chg_is_filename(c->meta, name.p);
    int rc = chg_find_filename(c, CHG_ALL_OPS, name.p, &arena, &found, &err);
    fuzz_check_error(rc < 0 ? rc : 0, &err);
}

static void
check_views(struct chg *c)
{
    for (enum chg_view v = 0; v < CHG_VIEWS; v++) {
        uint64_t size = chg_view_size(c, v);
        const uint64_t offsets[] = {0, size / 2, size - 1, size};
        for (size_t i = 0; size > 0 && i < 4; i++) {
            AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
            struct error err = ERROR_INIT;
            int rc = chg_view_read(c, v, offsets[i], READ_MAX, &out, &err);
            fuzz_check_error(rc, &err);
            MUST(out.n <= READ_MAX);
            if (rc == 0)
                MUST(out.n == (size - offsets[i] < READ_MAX ? size - offsets[i] : READ_MAX));
        }
    }
}

static void
check_entry(struct chg *c, const struct entry *e)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    for (enum chg_view v = 0; v < CHG_VIEWS; v++)
        chg_render(c->meta, v, e, &out);
    check_names(c, e);
    struct chg_cursor *cur = NULL;
    struct error err = ERROR_INIT;
    struct entry found;
    MUST(chg_cursor_open(c, &cur, &err) == 0);
    int rc = chg_seek(cur, e->key, &err);
    if (rc == 0)
        rc = chg_next(cur, &found, &err);
    fuzz_check_error(rc < 0 ? rc : 0, &err);
    if (rc > 0)
        MUST(key_compare(found.key, e->key) >= 0);
    chg_cursor_close(cur);
}

/* All entries; returns how many, or -1 after an error. */
static int64_t
check_entries(struct chg *c)
{
    struct chg_cursor *cur = NULL;
    struct error err = ERROR_INIT;
    struct entry e;
    int64_t n = 0;
    int rc;
    MUST(chg_cursor_open(c, &cur, &err) == 0);
    for (; (rc = chg_next(cur, &e, &err)) > 0; n++)
        if (n < FOUND_MAX)
            check_entry(c, &e);
    fuzz_check_error(rc, &err);
    chg_cursor_close(cur);
    return rc ? -1 : n;
}

/* As a state of two segments, of which the second hides the first. */
static void
check_state(struct chg *c, const struct chg_meta *want)
{
    struct chg *segments[] = {c, c};
    const struct state s = {segments, 2};
    struct state_cursor *cur = NULL;
    struct error err = ERROR_INIT;
    struct entry e;
    int rc = state_cursor_open(&s, want, &cur, &err);
    while (rc >= 0 && (rc = state_next(cur, &e, &err)) > 0)
        MUST(e.op == ENTRY_INSERT || e.op == ENTRY_RECORDED);
    fuzz_check_error(rc, &err);
    state_cursor_close(cur);
}

static void
check_file(const char *path)
{
    static struct chg_field fields[] = {{.name = (char *)"other"}, {.name = (char *)"a"}};
    static const struct chg_meta other = {.fields = fields, .nfields = 2};
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct error err = ERROR_INIT;
    struct chg *c = NULL, *refused = NULL;
    struct str keys[4];
    int rc = chg_open(AT_FDCWD, path, &c, &err);
    fuzz_check_error(rc, &err);
    if (rc < 0)
        return;
    MUST(chg_open(AT_FDCWD, path, &refused, &err) == 0);
    chg_set_outcomes(c, "delivered", refused, NULL);
    chg_unref(refused);
    rc = chg_verify(c, &err);
    fuzz_check_error(rc, &err);
    int64_t n = check_entries(c);
    if (rc == 0)
        MUST(n == (int64_t)chg_get_totals(c).entries);
    check_views(c);
    chg_sample_keys(c, &arena, keys, 4);
    check_state(c, c->meta);
    check_state(c, &other);
    chg_unref(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO_BUF struct buf file = BUF_INIT(BUF_NO_MAX);
    if (n < 1)
        return 0;
    struct str rest = {(const char *)data + 1, n - 1};
    if (data[0] == 'R')
        make_raw(rest, &file);
    else if (data[0] == 'C')
        make_composed(rest, &file);
    else
        return 0;
    MUST(!file.failed);
    check_file(fuzz_file(buf_str(&file)));
    return 0;
}
