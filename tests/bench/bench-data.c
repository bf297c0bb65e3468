/*
 * What the data layer costs a row, by hand: bench-data [ROWS]. Rows are like those of a
 * customer table: eight columns, about 155 bytes. Not run by the tests; figures mean something
 * only beside others of the same machine and hour.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fileio.h"
#include "data/sorter.h"
#include "data/state.h"

#define TEXT(z) ((char *)(z))

static struct chg_field fields[] = {
    {TEXT("id"), NULL, V_INT, NULL},          {TEXT("email"), NULL, V_TEXT, NULL},
    {TEXT("first_name"), NULL, V_TEXT, NULL}, {TEXT("last_name"), NULL, V_TEXT, NULL},
    {TEXT("city"), NULL, V_TEXT, NULL},       {TEXT("amount"), NULL, V_DECIMAL, NULL},
    {TEXT("active"), NULL, V_BOOL, NULL},     {TEXT("updated_at"), NULL, V_TIMESTAMPTZ, NULL},
};
static const struct chg_meta meta = {
    .fields = fields,
    .nfields = sizeof fields / sizeof *fields,
    .key = (size_t[]){0},
    .key_names = (char *[]){TEXT("id")},
    .key_class = (enum key_class[]){KEY_INT},
    .nkey = 1,
};

static int dir;
static struct error err;
static usec_t start;

static void
must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "bench-data: %s\n", err.text);
        exit(EXIT_FAILURE);
    }
}

static void
report(const char *what, uint64_t rows)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    usec_t now = clock_monotonic();
    printf("%-44s %7.3f us/row   peak %5ld KiB\n", what, (double)(now - start) / (double)rows,
           use.ru_maxrss);
    start = clock_monotonic();
}

static uint64_t
scatter(uint64_t v)
{
    v *= 0x9E3779B97F4A7C15u;
    return v ^ v >> 29;
}

static void
add_text(struct buf *record, enum value_type type, const char *text, int n)
{
    record_add(record, &(struct value){text, (uint32_t)n, (uint8_t)type});
}

static void
make_row(uint64_t id, uint64_t version, struct buf *key, struct buf *record)
{
    unsigned long long r = scatter(id * 8 + version), n = id;
    char z[96];
    buf_clear(key);
    buf_clear(record);
    struct value v = {z, (uint32_t)snprintf(z, sizeof z, "%llu", n), V_INT};
    key_add(key, KEY_INT, &v);
    record_add(record, &v);
    add_text(record, V_TEXT, z,
             snprintf(z, sizeof z, "customer.%llu.%04llx@mail.example.com", n, r & 0xFFFF));
    add_text(record, V_TEXT, z, snprintf(z, sizeof z, "First%llu", r % 5000));
    add_text(record, V_TEXT, z, snprintf(z, sizeof z, "Lastname-%llu", r % 70000));
    add_text(record, V_TEXT, z,
             snprintf(z, sizeof z, "City of %llu, District %llu", r % 900, r % 7));
    add_text(record, V_DECIMAL, z, snprintf(z, sizeof z, "%llu.%02llu", r % 100000, r % 100));
    record_add(record, &(struct value){r & 1 ? "t" : "f", 1, V_BOOL});
    add_text(
        record, V_TIMESTAMPTZ, z,
        snprintf(z, sizeof z, "2026-11-%02llu 13:05:00.%06llu+00", 1 + r % 28, r % 1000000));
}

/* Every step-th row. The rows are made before the clock runs. */
static void
bench_write(const char *name, uint64_t rows, uint64_t step, unsigned views, const char *what)
{
    struct chg_writer *w;
    AUTO_BUF struct buf all = BUF_INIT(BUF_NO_MAX);
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX), record = BUF_INIT(BUF_NO_MAX);
    usec_t spent = 0;
    must(chg_create(dir, name, &meta, views, &w, &err));
    struct {
        size_t key_n, record_n;
    } sizes[1000];
    for (uint64_t i = 0; i < rows;) {
        size_t n = 0, at = 0;
        buf_clear(&all);
        for (; n < 1000 && i < rows; n++, i += step) {
            make_row(i, step, &key, &record);
            sizes[n].key_n = key.n;
            sizes[n].record_n = record.n;
            buf_add(&all, key.p, key.n);
            buf_add(&all, record.p, record.n);
        }
        usec_t from = clock_monotonic();
        for (size_t k = 0; k < n; k++) {
            struct entry e = {.op = ENTRY_INSERT, .seq = i + k};
            e.key = (struct str){all.p + at, sizes[k].key_n};
            e.after = (struct str){all.p + at + e.key.n, sizes[k].record_n};
            at += sizes[k].key_n + sizes[k].record_n;
            must(chg_add(w, &e, &err));
        }
        spent += clock_monotonic() - from;
    }
    usec_t from = clock_monotonic();
    must(chg_finish(w, true, NULL, views & CHG_DIGEST ? (uint8_t[32]){0} : NULL, &err));
    start = clock_monotonic() - spent - (clock_monotonic() - from);
    report(what, (rows + step - 1) / step);
}

static void
bench_read(const char *name, uint64_t rows)
{
    struct chg *c;
    struct chg_cursor *cur;
    struct entry e;
    must(chg_open(dir, name, &c, &err));
    struct chg_totals totals = chg_get_totals(c);
    printf("%-44s %7.1f MiB of %.1f\n", "file", (double)chg_file_size(c) / (1 << 20),
           (double)totals.bytes / (1 << 20));
    start = clock_monotonic();
    must(chg_cursor_open(c, &cur, &err));
    while (chg_next(cur, &e, &err) > 0)
        ;
    report("read", rows);
    chg_cursor_close(cur);
    must(chg_verify(c, &err));
    report("verify", rows);
    chg_unref(c);
}

static void
bench_view(const char *name, uint64_t rows)
{
    struct chg *c;
    must(chg_open(dir, name, &c, &err));
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    uint64_t size = chg_view_size(c, VIEW_JSONL);
    start = clock_monotonic();
    for (uint64_t at = 0; at < size; at += 128 * 1024) {
        buf_clear(&out);
        must(chg_view_read(c, VIEW_JSONL, at, 128 * 1024, &out, &err));
    }
    report("read changes.jsonl in pieces of 128 KiB", rows);
    chg_unref(c);
}

static void
bench_state(uint64_t rows)
{
    struct state s;
    struct state_cursor *cur;
    struct entry e;
    must(state_open(dir, (const char *[]){"large", "small"}, 2, &s, &err));
    start = clock_monotonic();
    must(state_cursor_open(&s, &meta, &cur, &err));
    while (state_next(cur, &e, &err) > 0)
        ;
    state_cursor_close(cur);
    report("state cursor, two segments", rows);
    must(state_merge(&s, &meta, NULL, dir, "merged", NULL, &err));
    report("state merge", rows);
    state_done(&s);
}

static void
bench_sort(uint64_t rows, bool ordered)
{
    struct sorter *s;
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX), record = BUF_INIT(BUF_NO_MAX);
    struct str k, d;
    start = clock_monotonic();
    for (uint64_t i = 0; i < rows; i++) /* what making the rows costs */
        make_row(ordered ? i : scatter(i) % (4 * rows), 1, &key, &record);
    usec_t making = clock_monotonic() - start;
    start = clock_monotonic();
    must(sorter_create(dir, NULL, 0, 16 << 20, &s, &err));
    for (uint64_t i = 0; i < rows; i++) {
        make_row(ordered ? i : scatter(i) % (4 * rows), 1, &key, &record);
        must(sorter_add(s, buf_str(&key), buf_str(&record), &err));
    }
    start += making;
    report(ordered ? "sort, already in order: add" : "sort in 16 MiB: add", rows);
    must(sorter_finish(s, &err));
    uint64_t n = 0;
    while (sorter_next(s, &k, &d, &err) > 0)
        n++;
    sorter_free(s);
    report("sort: finish and read", rows);
    if (n != rows)
        printf("%llu rows of %llu\n", (unsigned long long)n, (unsigned long long)rows);
}

int
main(int argc, char **argv)
{
    char path[] = "/tmp/retlfs-bench-XXXXXX";
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    if (rows == 0 || !mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY)) < 0)
        return EXIT_FAILURE;
    bench_write("large", rows, 1, 0, "write a segment");
    bench_read("large", rows);
    bench_write("views", rows, 1, VIEW_BIT(VIEW_JSONL), "write, counting changes.jsonl");
    bench_view("views", rows);
    bench_write("plan", rows, 1, CHG_DIGEST | ((1 << CHG_VIEWS) - 1),
                "write, all views and digest");
    bench_write("small", rows, 100, 0, "write one row of a hundred");
    bench_state(rows);
    bench_sort(rows, false);
    bench_sort(rows, true);
    must(file_remove_tree(AT_FDCWD, path, &err));
    return 0;
}
