/* The journal of a run that sends by calls: what was told last holds, whatever was cut off. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "run/journal.h"
#include "tap.h"

enum { ROWS = 1000, MEMORY = 1 << 20 };

static int dir;
static struct change changes[ROWS];
static const struct proof none;

/* "seq:kind(code|why) …" */
static struct buf said = BUF_INIT(1 << 20);

static int
take(void *arg, uint64_t seq, const struct outcome *o, const struct proof *proof,
     struct error *err)
{
    buf_addf(&said, "%s%llu:%c", said.n ? " " : "", (unsigned long long)seq, "?DURTS"[o->kind]);
    if (o->code || o->why)
        buf_addf(&said, "(%s|%s)", o->code ? o->code : "", o->why ? o->why : "");
    if (proof->run)
        buf_addf(&said, "@%llu.%llu.%llu.%llu", (unsigned long long)proof->run,
                 (unsigned long long)proof->line, (unsigned long long)proof->at,
                 (unsigned long long)proof->row);
    return 0;
}

static const char *
read_back(void)
{
    static struct error err;
    err = (struct error)ERROR_INIT;
    buf_clear(&said);
    return journal_read(dir, "journal", MEMORY, take, NULL, &err) == 0 ? buf_z(&said)
                                                                       : err.text;
}

static void
write_some(void)
{
    struct journal *j = NULL;
    struct error err = ERROR_INIT;
    const struct proof proof = {.run = 300, .line = 2, .at = 4097, .row = 9};
    const struct outcome out[] = {{.kind = ROW_DONE},
                                  {.kind = ROW_REJECTED, .code = "E1", .why = "no"},
                                  {.kind = ROW_RETRY}};
    bool good = journal_create(dir, "journal", &j, &err) == 0 &&
                journal_sending(j, changes + 5, 3, &err) == 0 && journal_keep(j, &err) == 0 &&
                journal_sending(j, changes, 2, &err) == 0 && journal_keep(j, &err) == 0 &&
                journal_told(j, changes + 5, out, 3, &proof, &err) == 0 &&
                journal_keep(j, &err) == 0 && journal_sending(j, changes + 7, 1, &err) == 0 &&
                journal_sync(j, &err) == 0;
    CHECK_MSG(good, err.text);
    journal_free(j);
}

static void
test_last_word(void)
{
    write_some();
    CHECK_TEXT(read_back(), "0:? 1:? 5:D@300.2.4097.9 6:R(E1|no)@300.2.4097.10 7:?");
}

/* Cut anywhere, it is what was there before; a turned bit ends it. */
static void
test_damage(void)
{
    struct stat st;
    write_some();
    CHECK(fstatat(dir, "journal", &st, 0) == 0);
    int fd = openat(dir, "journal", O_RDWR);
    static const char *const states[] = {
        "", "5:? 6:? 7:?", "0:? 1:? 5:? 6:? 7:?",
        "0:? 1:? 5:D@300.2.4097.9 6:R(E1|no)@300.2.4097.10 7:T@300.2.4097.11",
        "0:? 1:? 5:D@300.2.4097.9 6:R(E1|no)@300.2.4097.10 7:?"};
    bool good = true;
    size_t at = 4;
    for (off_t n = st.st_size - 1; n >= 0; n--) {
        CHECK(ftruncate(fd, n) == 0);
        const char *got = read_back();
        while (at > 0 && strcmp(got, states[at]) != 0)
            at--;
        good = good && strcmp(got, states[at]) == 0;
    }
    CHECK_MSG(good && at == 0, "each cut leaves what was whole before it");
    for (off_t n = 0; n < st.st_size; n++) {
        char c;
        write_some();
        close(fd);
        fd = openat(dir, "journal", O_RDWR);
        CHECK(pread(fd, &c, 1, n) == 1);
        c ^= 0x10;
        CHECK(pwrite(fd, &c, 1, n) == 1);
        bool one = false;
        for (size_t i = 0; i < 4; i++)
            one = one || strcmp(read_back(), states[i]) == 0;
        good = good && one;
    }
    CHECK_MSG(good, "a turned bit ends it, and tells nothing wrong");
    close(fd);
}

/* Each row on its way twice, told in another order than sent. */
static void
test_many(void)
{
    struct journal *j = NULL;
    struct error err = ERROR_INIT;
    bool good = journal_create(dir, "journal", &j, &err) == 0;
    for (size_t i = 0; good && i < ROWS; i += 10)
        good = journal_sending(j, changes + i, 10, &err) == 0;
    const struct outcome done[10] = {{.kind = ROW_DONE}, {.kind = ROW_DONE}, {.kind = ROW_DONE},
                                     {.kind = ROW_DONE}, {.kind = ROW_DONE}, {.kind = ROW_DONE},
                                     {.kind = ROW_DONE}, {.kind = ROW_DONE}, {.kind = ROW_DONE},
                                     {.kind = ROW_DONE}};
    for (size_t i = ROWS; good && i > 0; i -= 10)
        if (i % 30)
            good = journal_told(j, changes + i - 10, done, 10, &none, &err) == 0;
    CHECK(good && journal_keep(j, &err) == 0);
    journal_free(j);
    size_t unknown = 0, all = 0;
    for (const char *p = read_back(); *p; p++) {
        unknown += *p == '?';
        all += *p == ':';
    }
    CHECK(all == ROWS && unknown == ROWS / 30 * 10);
}

static bool
truncate_journal(off_t size)
{
    AUTO_CLOSE int fd = openat(dir, "journal", O_RDWR);
    return fd >= 0 && ftruncate(fd, size) == 0;
}

/* What is gathered is one entry: all of it or nothing. */
static void
test_gathered(void)
{
    struct journal *j = NULL;
    struct error err = ERROR_INIT;
    struct stat st;
    const struct outcome out[] = {{.kind = ROW_DONE}, {.kind = ROW_REJECTED, .code = "E1"}};
    CHECK(journal_create(dir, "journal", &j, &err) == 0);
    CHECK(journal_sending(j, changes, 3, &err) == 0);
    CHECK(journal_told(j, changes + 1, out, 2, &none, &err) == 0);
    CHECK_MSG(fstatat(dir, "journal", &st, 0) == 0 && st.st_size == 0, "nothing is kept yet");
    CHECK(journal_keep(j, &err) == 0);
    CHECK_TEXT(read_back(), "0:? 1:D 2:R(E1|)");
    CHECK(journal_told(j, changes, out, 1, &none, &err) == 0);
    CHECK(journal_keep(j, &err) == 0 && journal_keep(j, &err) == 0);
    CHECK(fstatat(dir, "journal", &st, 0) == 0);
    journal_free(j);
    CHECK_TEXT(read_back(), "0:D 1:D 2:R(E1|)");
    CHECK(truncate_journal(st.st_size - 1));
    CHECK_TEXT(read_back(), "0:? 1:D 2:R(E1|)");
    CHECK(truncate_journal(20));
    CHECK_TEXT(read_back(), "");
}

int
main(void)
{
    char path[] = "/tmp/retlfs-journal.XXXXXX";
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < ROWS; i++)
        changes[i].seq = i;
    if (!mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY)) < 0)
        return EXIT_FAILURE;
    test_last_word();
    test_damage();
    test_many();
    test_gathered();
    CHECK(strstr((journal_read(dir, "none", MEMORY, take, NULL, &err), err.text),
                 "cannot read \"none\""));
    buf_done(&said);
    unlinkat(dir, "journal", 0);
    close(dir);
    rmdir(path);
    return tap_done();
}
