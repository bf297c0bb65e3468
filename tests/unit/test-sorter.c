/* The sorter against a stable sort in memory, at budgets that make it spill, and split again.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/fileio.h"
#include "base/value.h"
#include "data/sorter.h"
#include "random.h"
#include "tap.h"

static int dir;

struct row {
    struct str key, data;
    size_t at;
};

static int
compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = key_compare(x->key, y->key);
    return c ? c : (x->at > y->at) - (x->at < y->at);
}

enum shape { RANDOM, ASCENDING, DESCENDING, FEW_KEYS, ONE_KEY, SKEWED, PREFIXES };

static struct str
make_key(struct arena *arena, enum shape shape, size_t i, size_t n)
{
    uint64_t v = 0;
    char *p = arena_alloc(arena, 24);
    switch (shape) {
    case RANDOM:
        v = random_next();
        break;
    case ASCENDING:
        v = i;
        break;
    case DESCENDING:
        v = n - i;
        break;
    case FEW_KEYS:
        v = random_below(3);
        break;
    case ONE_KEY:
        break;
    case SKEWED:
        v = random_below(10) ? 7 : random_below(1000);
        break;
    case PREFIXES: /* a, aa, a NUL …: the order's corners */
        v = random_below(20);
        for (size_t k = 0; k < v; k++)
            p[k] = "\0\0\1a"[random_below(4)];
        return (struct str){p, v};
    }
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
    return (struct str){p, 8};
}

/* Gives the rows to a sorter and holds what comes back against qsort. */
static bool
sorts(struct row *rows, size_t n, const struct str *hint, size_t nhint, size_t budget)
{
    struct error err = ERROR_INIT;
    struct sorter *s = NULL;
    int rc = sorter_create(dir, hint, nhint, budget, &s, &err);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = sorter_add(s, rows[i].key, rows[i].data, &err);
    if (rc == 0)
        rc = sorter_finish(s, &err);
    qsort(rows, n, sizeof *rows, compare_rows);
    bool same = rc == 0;
    struct str key, data;
    for (size_t i = 0; i < n && same; i++)
        same = sorter_next(s, &key, &data, &err) == 1 && str_equal(key, rows[i].key) &&
               str_equal(data, rows[i].data);
    same = same && sorter_next(s, &key, &data, &err) == 0 &&
           sorter_next(s, &key, &data, &err) == 0;
    if (!same)
        printf("# %s\n", err.text);
    sorter_free(s);
    return same;
}

static void
test_shape(enum shape shape, size_t n, size_t data_max, size_t budget, size_t nhint)
{
    struct arena arena = ARENA_INIT;
    struct row *rows = calloc(n + 1, sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        rows[i].at = i;
        rows[i].key = make_key(&arena, shape, i, n);
        rows[i].data.n = random_below(data_max);
        char *p = arena_alloc(&arena, rows[i].data.n + 8);
        memset(p, (int)i, rows[i].data.n);
        memcpy(p, &i, 8);
        rows[i].data = (struct str){p, rows[i].data.n + 8};
    }
    struct str hint[50];
    for (size_t i = 0; i < nhint; i++)
        hint[i] = make_key(&arena, ASCENDING, i * n / nhint, n);
    char what[100];
    snprintf(what, sizeof what, "shape %d, %zu rows, data to %zu, budget %zu, hint of %zu",
             shape, n, data_max, budget, nhint);
    CHECK_MSG(sorts(rows, n, nhint ? hint : NULL, nhint, budget), what);
    free(rows);
    arena_done(&arena);
}

/* Rows larger than the budget, and keys. */
static void
test_huge_rows(void)
{
    char *bytes = calloc(1, 3 << 20);
    struct row rows[40];
    for (size_t i = 0; i < 40; i++) {
        rows[i] = (struct row){.key = {bytes, 1 + random_below(20)},
                               .data = {bytes, 1000 * random_below(3000)},
                               .at = i};
    }
    rows[7].key.n = 100000;
    CHECK_MSG(sorts(rows, 40, NULL, 0, 64 * 1024), "rows larger than the budget");
    free(bytes);
}

/* Nothing is left in the directory, and what fits never goes there. */
static void
test_no_files(void)
{
    struct error err = ERROR_INIT;
    struct sorter *s;
    CHECK(sorter_create(-1, NULL, 0, 1 << 20, &s, &err) == 0);
    bool added = true;
    for (int i = 0; i < 1000; i++)
        added = added && sorter_add(s, (struct str){(char *)&i, 4}, STR("x"), &err) == 0;
    CHECK_MSG(added, "a thousand rows fit in a megabyte without a directory");
    int rc = 0;
    for (int i = 0; i < 200000 && rc == 0; i++)
        rc = sorter_add(s, (struct str){(char *)&i, 4}, STR("x"), &err);
    CHECK_MSG(rc < 0 && err.kind == ERR_INTERNAL, "without a directory more is an error");
    sorter_free(s);
    sorter_free(NULL);
}

int
main(void)
{
    char path[] = "/tmp/retlfs-sorter-XXXXXX";
    struct error err = ERROR_INIT;
    random_start();
    if (!mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY)) < 0)
        return EXIT_FAILURE;
    for (enum shape shape = RANDOM; shape <= PREFIXES; shape++) {
        test_shape(shape, 0, 1, 0, 0);
        test_shape(shape, 1, 30, 0, 0);
        test_shape(shape, 1000, 30, 1 << 20, 0); /* in memory */
        test_shape(shape, 5000, 30, 0, 0);       /* spilled */
        test_shape(shape, 60000, 100, 0, 0);     /* split again */
        test_shape(shape, 20000, 100, 0, 50);
        test_shape(shape, 400, 9000, 0, 0); /* rows that span slots */
    }
    test_huge_rows();
    test_no_files();
    CHECK_MSG(rmdir(path) == 0, "no file is left behind");
    file_remove_tree(AT_FDCWD, path, &err);
    close(dir);
    return tap_done();
}
