/*
 * Entries that are recorded and not sent: as text, in the state, and that files of the format
 * before there were any can still be read.
 */
#include "data/state.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "data/chg_format.h"
#include "tap.h"

static char email_name[] = "email", email_source[] = "column:email", driver_name[] = "test";
static struct chg_field fields[] = {
    {.name = email_name, .source = email_source, .type = V_TEXT}};
static size_t key_field[] = {0};
static char *key_names[] = {email_name};
static enum key_class key_classes[] = {KEY_TEXT};
static const struct chg_meta meta = {.fields = fields,
                                     .nfields = 1,
                                     .key = key_field,
                                     .key_names = key_names,
                                     .key_class = key_classes,
                                     .nkey = 1,
                                     .source_driver = driver_name};
static struct arena arena;
static int dir;

static struct entry
member(enum entry_op op, const char *email)
{
    AUTO_BUF struct buf key = BUF_INIT(0), record = BUF_INIT(0);
    struct value v = {email, (uint32_t)strlen(email), V_TEXT};
    key_add(&key, KEY_TEXT, &v);
    record_pack(&record, &v, 1);
    struct str packed = {arena_strndup(&arena, record.p, record.n), record.n};
    struct entry e = {.op = op, .key = {arena_strndup(&arena, key.p, key.n), key.n}};
    *(op == ENTRY_DELETE ? &e.before : &e.after) = packed;
    return e;
}

static struct chg *
write_file(const char *name, const struct entry *entries, size_t n)
{
    struct error err = ERROR_INIT;
    struct chg_writer *w;
    struct chg *c = NULL;
    CHECK(chg_create(dir, name, &meta, VIEW_BIT(VIEW_SENT), &w, &err) == 0);
    for (size_t i = 0; i < n; i++) {
        struct entry e = entries[i];
        e.seq = i;
        CHECK(chg_add(w, &e, &err) == 0);
    }
    CHECK(chg_finish(w, false, NULL, NULL, &err) == 0 && chg_open(dir, name, &c, &err) == 0);
    return c;
}

static void
test_texts(void)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf text = BUF_INIT(0);
    struct entry e = member(ENTRY_RECORDED, "a@x");
    chg_render(&meta, VIEW_DIFF, &e, &text);
    CHECK_TEXT(buf_z(&text), "@@ record email=a@x @@\n+email: \"a@x\"\n");
    buf_clear(&text);
    chg_render(&meta, VIEW_INSERTS_CSV, &e, &text);
    CHECK_TEXT(buf_z(&text), "");

    struct entry both[] = {e, member(ENTRY_INSERT, "b@x")};
    struct chg *c = write_file("sent", both, 2);
    CHECK(chg_get_totals(c).by_op[ENTRY_RECORDED] == 1 && chg_verify(c, &err) == 0);
    chg_set_outcomes(c, "delivered", NULL, NULL);
    CHECK(chg_view_read(c, VIEW_SENT, 0, chg_view_size(c, VIEW_SENT), &text, &err) == 0);
    CHECK(text.n == chg_view_size(c, VIEW_SENT));
    CHECK_TEXT(buf_z(&text),
               "{\"op\":\"record\",\"id\":{\"email\":\"a@x\"},\"after\":{\"email\":\"a@x\"},"
               "\"outcome\":\"recorded\" }\n"
               "{\"op\":\"insert\",\"id\":{\"email\":\"b@x\"},\"after\":{\"email\":\"b@x\"},"
               "\"outcome\":\"delivered\"}\n");
    chg_unref(c);
    c = write_file("held", both, 2);
    chg_set_outcomes(c, "held", NULL, NULL);
    buf_clear(&text);
    CHECK(chg_outcome(c, &e, &text, &err) == 0);
    CHECK_TEXT(buf_z(&text), "held");
    chg_unref(c);
}

/* Recorded, then delivered; recorded, then gone; recorded still, through a merge. */
static void
test_state(void)
{
    struct error err = ERROR_INIT;
    struct entry first[] = {member(ENTRY_RECORDED, "a@x"), member(ENTRY_RECORDED, "b@x"),
                            member(ENTRY_RECORDED, "c@x"), member(ENTRY_INSERT, "d@x")};
    struct entry second[] = {member(ENTRY_INSERT, "a@x"), member(ENTRY_DELETE, "b@x")};
    struct chg *sent = write_file("one", first, 4);
    CHECK(state_apply(sent, NULL, NULL, NULL, dir, "state-1", NULL, &err) == 0);
    chg_unref(sent);
    chg_unref(write_file("state-2", second, 2));
    const char *names[] = {"state-1", "state-2"}, *merged = "merged";
    struct state s;
    uint64_t live = 0;
    CHECK(state_open(dir, names, 2, &s, &err) == 0);
    CHECK(state_merge(&s, &meta, NULL, dir, merged, &live, &err) == 0 && live == 3);
    for (int i = 0; i < 2; i++) {
        static const enum entry_op want[] = {ENTRY_INSERT, ENTRY_RECORDED, ENTRY_INSERT};
        struct state_cursor *cur;
        struct entry e;
        CHECK(state_cursor_open(&s, &meta, &cur, &err) == 0);
        for (int k = 0; k < 3; k++)
            CHECK(state_next(cur, &e, &err) == 1 && e.op == want[k]);
        CHECK(state_next(cur, &e, &err) == 0);
        state_cursor_close(cur);
        state_done(&s);
        CHECK(state_open(dir, &merged, 1, &s, &err) == 0);
    }
    state_done(&s);
}

/* ---- the format before ---- */

static void
skip_varint(const char **p, const char *end)
{
    uint64_t ignored;
    CHECK(varint_read(p, end, &ignored));
}

/* The index without the last of its totals, packed again. */
static void
older_index(struct str packed, uint64_t unpacked, struct buf *out, uint64_t *n)
{
    AUTO_FREE char *index = malloc(unpacked);
    AUTO_BUF struct buf older = BUF_INIT(0);
    CHECK(index && ZSTD_decompress(index, unpacked, packed.p, packed.n) == unpacked);
    const char *p = index, *end = index + unpacked;
    for (int i = 0; i < 2 + ENTRY_RECORDED; i++)
        skip_varint(&p, end);
    buf_add(&older, index, (size_t)(p - index));
    skip_varint(&p, end);
    buf_add(&older, p, (size_t)(end - p));
    char *to = buf_room(out, ZSTD_compressBound(older.n));
    size_t packed_n = ZSTD_compress(to, ZSTD_compressBound(older.n), older.p, older.n, 1);
    CHECK(!ZSTD_isError(packed_n));
    out->n += packed_n;
    *n = older.n;
}

static void
make_older(const char *from, const char *name)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf file = BUF_INIT(BUF_NO_MAX), index = BUF_INIT(BUF_NO_MAX);
    CHECK(file_read_whole(dir, from, &file, &err) == 0);
    char foot[CHG_FOOTER_BYTES];
    memcpy(foot, file.p + file.n - sizeof foot, sizeof foot);
    uint64_t at = get_u64(foot), n = 0;
    older_index((struct str){file.p + at, get_u64(foot + 8)}, get_u64(foot + 16), &index, &n);
    file.n = at;
    put_u32(file.p + CHG_MAGIC_BYTES, CHG_VERSION_UNRECORDED);
    put_u64(foot + 8, index.n);
    put_u64(foot + 16, n);
    struct str header = {file.p, CHG_HEADER_BYTES + get_u32(file.p + CHG_MAGIC_BYTES + 8)};
    CHECK(chg_hash(header, buf_str(&index), (struct str){foot, 24}, (uint8_t *)foot + 24));
    buf_add(&file, index.p, index.n);
    buf_add(&file, foot, sizeof foot);
    AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && file_write_all(fd, file.p, file.n, &err) == 0);
}

static void
test_older(void)
{
    struct error err = ERROR_INIT;
    struct entry entries[] = {member(ENTRY_INSERT, "a@x"), member(ENTRY_DELETE, "b@x")};
    chg_unref(write_file("new", entries, 2));
    make_older("new", "old");
    struct chg *c = NULL;
    CHECK(chg_open(dir, "old", &c, &err) == 0);
    if (!c)
        return;
    struct chg_totals totals = chg_get_totals(c);
    CHECK(totals.entries == 2 && totals.by_op[ENTRY_DELETE] == 1 && chg_verify(c, &err) == 0);
    chg_unref(c);
}

int
main(void)
{
    char path[] = "/tmp/test-recorded-XXXXXX";
    if (!mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return 99;
    test_texts();
    test_state();
    test_older();
    static const char *const left[] = {"sent",    "held", "one",    "state-1",
                                       "state-2", "new",  "merged", "old"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        unlinkat(dir, left[i], 0);
    close(dir);
    rmdir(path);
    arena_done(&arena);
    return tap_done();
}
