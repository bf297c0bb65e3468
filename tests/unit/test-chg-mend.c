/* Change files that were cut off, at any byte, and finished afterwards: what is in them is a
 * beginning of what was written, no less than what was flushed. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "data/chg_format.h"
#include "random.h"
#include "tap.h"

enum { ENTRIES = 1500, FLUSHES = 8, CUTS = 120 };

static int dir;
static struct chg_field fields[] = {
    {(char *)"id", (char *)"column:id", V_INT, NULL},
    {(char *)"name", (char *)"column:name", V_TEXT, NULL},
};
static const struct chg_meta meta = {
    .fields = fields,
    .nfields = 2,
    .key = (size_t[]){0},
    .key_names = (char *[]){(char *)"id"},
    .key_class = (enum key_class[]){KEY_INT},
    .nkey = 1,
    .source_driver = (char *)"sqlite",
};

/* The entry of that number, the same whenever it is asked for. */
static void
make(size_t i, struct buf *key, struct buf *record, struct entry *e)
{
    char id[24], name[200];
    snprintf(id, sizeof id, "%zu", i);
    memset(name, (int)('a' + i % 26), sizeof name);
    struct value v = {id, (uint32_t)strlen(id), V_INT};
    buf_clear(key);
    buf_clear(record);
    key_add(key, KEY_INT, &v);
    record_add(record, &v);
    v = (struct value){name, (uint32_t)(i * 37 % sizeof name), V_TEXT};
    record_add(record, &v);
    *e = (struct entry){.op = ENTRY_INSERT,
                        .seq = i,
                        .key = buf_str(key),
                        .after = buf_str(record),
                        .note = STR("new")};
}

/* Writes them all, flushing here and there; finished, or left as it is. flushed: after each
 * flush the size of the file, and how many entries are before it. */
static bool
write_file(const char *name, bool finish, uint64_t sizes[FLUSHES], size_t entries[FLUSHES])
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX), record = BUF_INIT(BUF_NO_MAX);
    struct chg_writer *w = NULL;
    struct entry e;
    struct stat st;
    int rc = chg_create(dir, name, &meta, VIEW_BIT(VIEW_SENT), &w, &err);
    size_t n = 0;
    for (size_t i = 0; rc == 0 && i < ENTRIES; i++) {
        make(i, &key, &record, &e);
        rc = chg_add(w, &e, &err);
        if (rc == 0 && n < FLUSHES && (i + 1) % (ENTRIES / FLUSHES) == 0) {
            rc = chg_flush(w, n % 2, &err);
            sizes[n] = fstatat(dir, name, &st, 0) == 0 ? (uint64_t)st.st_size : 0;
            entries[n++] = i + 1;
        }
    }
    if (rc == 0 && finish)
        return chg_finish(w, false, NULL, NULL, &err) == 0 && n == FLUSHES;
    chg_leave(w);
    return rc == 0 && n == FLUSHES;
}

/* How many entries the file holds, if they are the first ones written; else -1. */
static long
holds(const char *name)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX), record = BUF_INIT(BUF_NO_MAX);
    struct chg *c = NULL;
    struct chg_cursor *cur = NULL;
    struct entry e, want;
    long n = 0;
    if (chg_open(dir, name, &c, &err) < 0)
        return -1;
    bool good = chg_verify(c, &err) == 0 && chg_cursor_open(c, &cur, &err) == 0;
    while (good && chg_next(cur, &e, &err) == 1) {
        make((size_t)n, &key, &record, &want);
        good = e.op == want.op && e.seq == want.seq && str_equal(e.key, want.key) &&
               str_equal(e.after, want.after) && str_equal(e.note, want.note);
        n++;
    }
    good = good && chg_get_totals(c).entries == (uint64_t)n &&
           chg_view_size(c, VIEW_SENT) >= (uint64_t)n;
    chg_cursor_close(cur);
    chg_unref(c);
    return good ? n : -1;
}

static bool
write_bytes(const char *name, const char *p, size_t n)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    return fd >= 0 && file_write_all(fd, p, n, &err) == 0;
}

static bool
read_bytes(const char *name, struct buf *text)
{
    struct error err = ERROR_INIT;
    return file_read_whole(dir, name, text, &err) == 0;
}

static int
mend(const char *name)
{
    struct error err = ERROR_INIT;
    return chg_mend(dir, name, NULL, &err);
}

static void
test_left(void)
{
    uint64_t sizes[FLUSHES] = {0};
    size_t entries[FLUSHES] = {0};
    struct chg *c = NULL;
    struct error err = ERROR_INIT;
    CHECK(write_file("left", false, sizes, entries));
    CHECK(chg_open(dir, "left", &c, &err) == -EIO);
    CHECK(mend("left") == 0);
    long n = holds("left");
    CHECK(n >= (long)entries[FLUSHES - 1] && n <= ENTRIES);
    CHECK_MSG(faccessat(dir, "left.mended", F_OK, 0) < 0, "nothing is left beside it");
}

/* Cut at any byte: every flush before the cut counts. */
static void
test_cuts(void)
{
    uint64_t sizes[FLUSHES] = {0};
    size_t entries[FLUSHES] = {0};
    AUTO_BUF struct buf whole = BUF_INIT(BUF_NO_MAX);
    CHECK(write_file("whole", true, sizes, entries));
    CHECK(read_bytes("whole", &whole));
    size_t header = sizes[0], all = whole.n;
    for (int i = 0; i < CUTS; i++) {
        size_t at = i < FLUSHES    ? (size_t)sizes[i]
                    : i < CUTS / 2 ? all - 1 - (size_t)(i - FLUSHES) * 3
                                   : header + random_below(all - header);
        size_t least = 0;
        for (size_t f = 0; f < FLUSHES; f++)
            least = sizes[f] <= at ? entries[f] : least;
        CHECK(write_bytes("cut", whole.p, at));
        CHECK(mend("cut") == 0);
        long n = holds("cut");
        if (!CHECK(n >= (long)least))
            printf("# cut at %zu of %zu: %ld of at least %zu entries\n", at, whole.n, n, least);
    }
}

/* A byte in the middle is another: what stands before its block counts. */
static void
test_damage(void)
{
    uint64_t sizes[FLUSHES] = {0};
    size_t entries[FLUSHES] = {0};
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    CHECK(write_file("damaged", false, sizes, entries));
    CHECK(read_bytes("damaged", &text));
    for (int i = 0; i < CUTS; i++) {
        size_t at = (size_t)sizes[0] + random_below(text.n - (size_t)sizes[0]);
        char was = text.p[at];
        text.p[at] = (char)(was ^ (1 << random_below(8)));
        CHECK(write_bytes("damaged", text.p, text.n));
        text.p[at] = was;
        CHECK(mend("damaged") == 0);
        long n = holds("damaged");
        if (!CHECK(n >= (long)entries[0] && n <= ENTRIES))
            printf("# byte %zu: %ld entries\n", at, n);
    }
}

static void
test_finished(void)
{
    uint64_t sizes[FLUSHES] = {0};
    size_t entries[FLUSHES] = {0};
    AUTO_BUF struct buf before = BUF_INIT(BUF_NO_MAX), after = BUF_INIT(BUF_NO_MAX);
    CHECK(write_file("finished", true, sizes, entries));
    CHECK(read_bytes("finished", &before));
    CHECK(mend("finished") == 0);
    CHECK(read_bytes("finished", &after));
    CHECK_MSG(str_equal(buf_str(&before), buf_str(&after)), "a finished file is left alone");
}

/* What was to be finished, and could not be, is there to be mended if that was wished. */
static void
test_kept(void)
{
    for (int kept = 0; kept < 2; kept++) {
        struct error err = ERROR_INIT;
        AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX), record = BUF_INIT(BUF_NO_MAX);
        struct chg_writer *w = NULL;
        struct entry e;
        struct stat st;
        struct rlimit limit;
        CHECK(chg_create(dir, "kept", &meta, VIEW_BIT(VIEW_SENT), &w, &err) == 0);
        make(0, &key, &record, &e);
        CHECK(chg_add(w, &e, &err) == 0 && chg_flush(w, false, &err) == 0);
        if (kept)
            chg_keep(w);
        CHECK(fstatat(dir, "kept", &st, 0) == 0 && getrlimit(RLIMIT_FSIZE, &limit) == 0);
        const struct rlimit full = {(rlim_t)st.st_size, limit.rlim_max};
        CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
        CHECK(setrlimit(RLIMIT_FSIZE, &full) == 0);
        int rc = chg_finish(w, true, NULL, NULL, &err);
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0 && rc < 0);
        CHECK(mend("kept") == (kept ? 0 : -ENOENT) && holds("kept") == (kept ? 1 : -1));
    }
}

static void
test_no_file(void)
{
    char zeros[200] = {0};
    CHECK(mend("nowhere") == -ENOENT);
    CHECK(write_bytes("empty", NULL, 0));
    CHECK(mend("empty") == -EIO);
    CHECK(write_bytes("zeros", zeros, sizeof zeros));
    CHECK(mend("zeros") == -EIO);
}

int
main(void)
{
    char path[] = "/tmp/retlfs-mend-XXXXXX";
    struct error err = ERROR_INIT;
    random_start();
    if (!mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY)) < 0)
        return EXIT_FAILURE;
    test_left();
    test_cuts();
    test_damage();
    test_finished();
    test_kept();
    test_no_file();
    close(dir);
    file_remove_tree(AT_FDCWD, path, &err);
    return tap_done();
}
