/*
 * What takes long at the end of a run can be cancelled half way, and then leaves nothing
 * behind: merging and carrying on the delivered state, plans, rejected rows, large sorts.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "data/state.h"
#include "run/left_out.h"
#include "run/plan.h"
#include "run/refusals.h"
#include "tap.h"

static int dir;
static atomic_bool yes = true;
static struct chg_field fields[] = {
    {.name = (char[]){"id"}, .source = (char[]){"column:id"}, .type = V_TEXT}};
static size_t key[] = {0};
static enum key_class key_class[] = {KEY_TEXT};
static char *key_names[] = {(char[]){"id"}};
static struct chg_meta meta = {.fields = fields,
                               .nfields = 1,
                               .key = key,
                               .nkey = 1,
                               .key_names = key_names,
                               .key_class = key_class,
                               .source_driver = (char[]){"memory"}};

/* A change file of a few inserts. */
static struct chg *
make_changes(const char *name)
{
    struct error err = ERROR_INIT;
    struct chg_writer *w = NULL;
    struct chg *c = NULL;
    CHECK(chg_create(dir, name, &meta, 0, &w, &err) == 0);
    for (uint64_t i = 0; i < 3; i++) {
        char id = (char)('a' + i);
        struct value v = {.p = &id, .n = 1, .type = V_TEXT};
        AUTO_BUF struct buf record = BUF_INIT(64);
        record_add(&record, &v);
        struct entry e = {
            .op = ENTRY_INSERT, .seq = i, .key = {&id, 1}, .after = buf_str(&record)};
        CHECK(chg_add(w, &e, &err) == 0);
    }
    CHECK(chg_finish(w, false, NULL, NULL, &err) == 0);
    if (chg_open(dir, name, &c, &err) < 0)
        printf("Bail out! %s\n", err.text);
    return c;
}

static bool
is_cancelled(int rc, const struct error *err, const char *name)
{
    return rc == -ECANCELED && err->kind == ERR_CANCELLED && faccessat(dir, name, F_OK, 0) < 0;
}

static void
test_state(struct chg *changes)
{
    struct error err = ERROR_INIT;
    const struct state state = {.segments = &changes, .n = 1};
    int rc = state_merge(&state, &meta, &yes, dir, "merged", NULL, &err);
    CHECK(is_cancelled(rc, &err, "merged"));
    error_clear(&err);
    rc = state_apply(changes, NULL, NULL, &yes, dir, "applied", NULL, &err);
    CHECK(is_cancelled(rc, &err, "applied"));
}

static void
test_run_files(struct chg *changes)
{
    struct error err = ERROR_INIT;
    struct chg *ret = NULL, *unsent = NULL;
    char id[PLAN_ID_LENGTH + 1];
    uint64_t foreign;
    int rc = plan_write(changes, NULL, NULL, 0, &yes, dir, "plan", &ret, id, &foreign, &err);
    CHECK(is_cancelled(rc, &err, "plan") && !ret);

    error_clear(&err);
    struct left_out none = {0};
    rc = left_out_filter(&none, ROWS_PENDING, changes, 0, &yes, dir, "rest", &ret, &err);
    CHECK(is_cancelled(rc, &err, "rest") && !ret);

    error_clear(&err);
    struct refusals *refusals = NULL;
    struct refused_counts counts;
    CHECK(refusals_create(dir, &refusals, &err) == 0);
    const struct refusing refusing = {.early = refusals,
                                      .changes = changes,
                                      .previous = changes,
                                      .meta = &meta,
                                      .dirfd = dir,
                                      .rejected = "rejected",
                                      .unsent = "unsent",
                                      .cancelled = &yes};
    rc = refusals_write(&refusing, &ret, &unsent, &counts, &err);
    CHECK(is_cancelled(rc, &err, "rejected") && !ret && !unsent);
    refusals_free(refusals);
}

/* Rows that all belong behind the last cut, so that one partition must be divided again. */
static void
test_sorter(void)
{
    struct error err = ERROR_INIT;
    struct sorter *s = NULL;
    atomic_bool cancelled = false;
    CHECK(sorter_create(dir, NULL, 0, 0, &s, &err) == 0);
    sorter_cancel_by(s, &cancelled);
    int rc = 0;
    for (uint32_t i = 0; i < 20000 && rc == 0; i++) {
        uint32_t big = __builtin_bswap32(i);
        struct str k = {(const char *)&big, sizeof big};
        rc = sorter_add(s, k, k, &err);
    }
    CHECK(rc == 0 && sorter_finish(s, &err) == 0);
    struct str k, data;
    CHECK(sorter_next(s, &k, &data, &err) == 1);
    atomic_store(&cancelled, true);
    while ((rc = sorter_next(s, &k, &data, &err)) == 1)
        ;
    CHECK(rc == -ECANCELED && err.kind == ERR_CANCELLED);
    sorter_free(s);
}

/* The file that a disk takes long to take. */
static void
test_sync(void)
{
    struct error err = ERROR_INIT;
    atomic_bool no = false;
    AUTO_CLOSE int fd = openat(dir, "large", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    AUTO_FREE char *zeros = calloc(1, 1 << 20);
    int rc = fd < 0 || !zeros ? -ENOMEM : 0;
    for (int i = 0; i < 40 && rc == 0; i++)
        rc = file_write_all(fd, zeros, 1 << 20, &err);
    CHECK(rc == 0 && file_sync_data(fd, "large", &no, &err) == 0);
    CHECK(file_sync_data(fd, "large", &yes, &err) == -ECANCELED && err.kind == ERR_CANCELLED);
    unlinkat(dir, "large", 0);
}

int
main(void)
{
    char path[] = "/tmp/retlfs-test-cancel-XXXXXX";
    if (!mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        perror(path);
        return 1;
    }
    struct chg *changes = make_changes("changes");
    test_state(changes);
    test_run_files(changes);
    test_sorter();
    test_sync();
    chg_unref(changes);
    close(dir);
    struct error err = ERROR_INIT;
    file_remove_tree(AT_FDCWD, path, &err);
    return tap_done();
}
