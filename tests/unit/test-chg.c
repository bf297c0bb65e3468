/* Change files against arrays in memory: everything written comes back, every damage is told.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/fileio.h"
#include "data/chg_format.h"
#include "random.h"
#include "tap.h"

static int dir;
static struct arena arena = ARENA_INIT;

#define TEXT(z) ((char *)(z))

static struct chg_field fields[] = {
    {TEXT("email_id"), TEXT("column:email"), V_TEXT, TEXT("text")},
    {TEXT("n"), TEXT("column:n"), V_INT, NULL},
    {TEXT("full \"name\""), TEXT("expression:a || b"), V_NULL, NULL},
    {TEXT("at"), TEXT("column:at"), V_TIMESTAMPTZ, TEXT("timestamptz")},
};
enum { FIELDS = sizeof fields / sizeof *fields };
static const struct chg_meta meta = {
    .fields = fields,
    .nfields = FIELDS,
    .key = (size_t[]){0, 1},
    .key_names = (char *[]){TEXT("email"), TEXT("n")},
    .key_class = (enum key_class[]){KEY_TEXT, KEY_INT},
    .nkey = 2,
    .source_driver = TEXT("postgres"),
};

/* ---- making entries ---- */

static struct str
keep(struct buf *b)
{
    struct str s = {arena_strndup(&arena, buf_z(b), b->n), b->n};
    buf_clear(b);
    return s;
}

static struct value
text(const char *z)
{
    return (struct value){z, (uint32_t)strlen(z), V_TEXT};
}

static struct str
make_record(const char *email, const char *n)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    struct value v = text(email);
    record_add(&out, &v);
    v = text(n);
    v.type = V_INT;
    record_add(&out, &v);
    char *long_text = malloc(4000);
    size_t length = random_below(random_below(40) ? 30 : 4000);
    for (size_t i = 0; i < length; i++)
        long_text[i] = "abc \"\\\n,\xC3\xBC"[random_below(9)];
    v = (struct value){long_text, (uint32_t)length, V_TEXT};
    if (random_below(10) == 0)
        v = (struct value){.type = random_below(2) ? V_NULL : V_ABSENT};
    record_add(&out, &v);
    v = text(random_below(2) ? "2024-01-31 13:05:00.25+00" : "infinity");
    v.type = V_TIMESTAMPTZ;
    record_add(&out, &v);
    free(long_text);
    return keep(&out);
}

static struct str
make_key(const char *email, const char *n)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    struct value v = text(email);
    key_add(&out, KEY_TEXT, &v);
    v = text(n);
    v.type = *n ? V_INT : V_NULL;
    key_add(&out, KEY_INT, &v);
    return keep(&out);
}

static struct entry
make_entry(size_t i, size_t key_bytes)
{
    char email[2000], n[24];
    int at = snprintf(email, sizeof email, "user%08zu/%s@x,y", i / 4, i % 3 ? "" : ".%");
    for (; (size_t)at < key_bytes; at++)
        email[at] = 'k';
    email[at] = '\0';
    snprintf(n, sizeof n, "%zu", i);
    struct entry e = {.op = (enum entry_op)(1 + random_below(4)), .key = make_key(email, n)};
    e.seq = random_below(5) ? i : random_next() >> random_below(64);
    if (e.op != ENTRY_DELETE)
        e.after = make_record(email, n);
    if (e.op == ENTRY_DELETE || e.op == ENTRY_UPDATE)
        e.before = random_below(10) && e.after.n ? e.after : make_record(email, n);
    if (random_below(4) == 0)
        e.note = random_below(2) ? (struct str){"23505\0not \"unique\"", 18} : STR("forced");
    e.tries = (uint32_t)random_below(3);
    if (random_below(3) == 0)
        e.due = (struct due){1 + (random_next() >> random_below(64)) / 2, random_below(70000)};
    return e;
}

static int
compare_keys(const void *a, const void *b)
{
    return key_compare(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static struct entry *
make_entries(size_t n, size_t key_bytes)
{
    struct entry *e = calloc(n + 1, sizeof *e);
    for (size_t i = 0; i < n; i++)
        e[i] = make_entry(i, key_bytes);
    qsort(e, n, sizeof *e, compare_keys);
    return e;
}

enum { ALL_VIEWS = (1 << CHG_VIEWS) - 1 };

static struct chg *
write_file(const char *name, const struct entry *e, size_t n, unsigned views)
{
    struct error err = ERROR_INIT;
    struct chg_writer *w;
    struct chg *c = NULL;
    int rc = chg_create(dir, name, &meta, views, &w, &err);
    if (rc < 0) {
        printf("# %s\n", err.text);
        return NULL;
    }
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = chg_add(w, &e[i], &err);
    struct chg_totals totals = {0};
    if (rc == 0)
        rc = chg_finish(w, true, &totals, NULL, &err);
    if (rc == 0)
        rc = chg_open(dir, name, &c, &err);
    if (rc < 0)
        printf("# %s\n", err.text);
    return rc < 0 || totals.entries != n ? NULL : c;
}

static bool
same_entry(const struct entry *a, const struct entry *b)
{
    return a->op == b->op && a->seq == b->seq && a->tries == b->tries &&
           a->due.run == b->due.run && a->due.copy == b->due.copy &&
           str_equal(a->key, b->key) && str_equal(a->after, b->after) &&
           str_equal(a->before, b->before) && str_equal(a->note, b->note);
}

/* Whether the cursor gives exactly e[from..n). */
static bool
gives(struct chg_cursor *cur, const struct entry *e, size_t from, size_t n, size_t at_most)
{
    struct error err = ERROR_INIT;
    struct entry got;
    for (size_t i = from; i < n && i < from + at_most; i++)
        if (chg_next(cur, &got, &err) != 1 || !same_entry(&got, &e[i]))
            return false;
    return n > from + at_most || chg_next(cur, &got, &err) == 0;
}

/* ---- tests ---- */

static void
test_round_trip(struct chg *c, const struct entry *e, size_t n)
{
    struct error err = ERROR_INIT;
    struct chg_cursor *cur;
    CHECK(chg_cursor_open(c, &cur, &err) == 0);
    CHECK_MSG(gives(cur, e, 0, n, n), "all entries come back");
    CHECK(chg_verify(c, &err) == 0);
    CHECK(chg_get_totals(c).entries == n);
    CHECK(chg_meta_same_fields(chg_get_meta(c), &meta));
    CHECK_TEXT(chg_get_meta(c)->fields[3].native, "timestamptz");
    CHECK(chg_get_meta(c)->fields[1].native == NULL);
    CHECK_TEXT(chg_get_meta(c)->key_names[1], "n");

    bool ok = true;
    for (int i = 0; i < 300 && n > 0; i++) {
        struct str key = e[random_below(n)].key;
        char bytes[64];
        if (random_below(2)) { /* a key that may not be there */
            key.n = key.n < sizeof bytes ? key.n : sizeof bytes;
            memcpy(bytes, key.p, key.n);
            bytes[random_below(key.n)] ^= (char)(1 << random_below(8));
            key.p = bytes;
        }
        size_t want = 0;
        while (want < n && key_compare(e[want].key, key) < 0)
            want++;
        ok = ok && chg_seek(cur, key, &err) == 0 && gives(cur, e, want, n, 20);
    }
    CHECK_MSG(ok, "seeks land on the first entry not before the key");
    chg_cursor_close(cur);

    struct str keys[7];
    size_t samples = chg_sample_keys(c, &arena, keys, 7);
    for (size_t i = 1; i < samples; i++)
        ok = ok && key_compare(keys[i - 1], keys[i]) < 0;
    CHECK_MSG(ok && samples <= 7, "samples ascend");
}

static void
test_view(struct chg *c, enum chg_view view, const struct entry *e, size_t n)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf want = BUF_INIT(BUF_NO_MAX), got = BUF_INIT(BUF_NO_MAX);
    chg_render_head(&meta, view, &want);
    for (size_t i = 0; i < n; i++)
        chg_render(&meta, view, &e[i], &want);
    bool ok = chg_view_size(c, view) == want.n;
    CHECK_MSG(ok, "size of the view");
    while (got.n < want.n && chg_view_read(c, view, got.n, 10000, &got, &err) == 0)
        ;
    CHECK_MSG(str_equal(buf_str(&got), buf_str(&want)), "the view read in pieces");
    for (int i = 0; i < 100; i++) {
        uint64_t at = random_below(want.n + 10), length = random_below(3000);
        uint64_t from = at < want.n ? at : want.n;
        uint64_t to = at + length < want.n ? at + length : want.n;
        buf_clear(&got);
        ok = ok && chg_view_read(c, view, at, length, &got, &err) == 0 &&
             str_equal(buf_str(&got),
                       (struct str){buf_z(&want) + from, to > from ? to - from : 0});
    }
    CHECK_MSG(ok, "the view read at random");
}

static void
test_filenames(struct chg *c, const struct entry *e, size_t n)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    struct entry got;
    bool found = true, bounded = true;
    for (int i = 0; i < 200 && n > 0; i++) {
        const struct entry *want = &e[random_below(n)];
        buf_clear(&name);
        chg_entry_filename(&meta, want, &name);
        bounded = bounded && name.n <= 200 && !strchr(buf_z(&name), '/');
        found = found &&
                chg_find_filename(c, CHG_ALL_OPS, buf_z(&name), &arena, &got, &err) == 1 &&
                same_entry(&got, want) && chg_is_filename(&meta, buf_z(&name));
        buf_adds(&name, "~2");
        found = found && !chg_is_filename(&meta, buf_z(&name)) &&
                chg_find_filename(c, CHG_ALL_OPS, buf_z(&name), &arena, &got, &err) == 0;
    }
    CHECK_MSG(found, "entries are found by their file names");
    CHECK_MSG(bounded, "file names are short and have no slash");
    CHECK(chg_find_filename(c, CHG_ALL_OPS, "nobody,1", &arena, &got, &err) == 0);
    CHECK(chg_find_filename(c, CHG_ALL_OPS, "", &arena, &got, &err) == 0);
    CHECK(chg_find_filename(c, CHG_ALL_OPS, "a~", &arena, &got, &err) == 0);
    CHECK(chg_find_filename(c, CHG_ALL_OPS, "user,1~1", &arena, &got, &err) == 0);
    static const char *const never[] = {"",      "a",     "a,1,",  "a~",    "user,1~1", ".a,1",
                                        "a b,1", "%2f,1", "%41,1", "%zz,1", "a/b,1"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        CHECK_MSG(!chg_is_filename(&meta, never[i]), never[i]);
    CHECK(chg_is_filename(&meta, "nobody,1") && chg_is_filename(&meta, "%2F,NULL"));
}

/* A cursor over some ops, and look-ups among them. */
static void
test_ops(struct chg *c, const struct entry *e, size_t n)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    struct entry got;
    for (unsigned ops = 0; ops <= CHG_ALL_OPS; ops += CHG_OP(ENTRY_INSERT)) {
        struct chg_cursor *cur = NULL;
        bool same = chg_cursor_open(c, &cur, &err) == 0, found = true;
        chg_cursor_only(cur, ops);
        for (size_t i = 0; same && i < n; i++) {
            bool wanted = CHG_OP(e[i].op) & ops;
            if (wanted)
                same = chg_next(cur, &got, &err) == 1 && same_entry(&got, &e[i]);
            if (i % 97 == 0) {
                buf_clear(&name);
                chg_entry_filename(&meta, &e[i], &name);
                found = found && chg_find_filename(c, ops, buf_z(&name), &arena, &got, &err) ==
                                     (wanted ? 1 : 0);
            }
        }
        CHECK_MSG(same && chg_next(cur, &got, &err) == 0, "a cursor gives some ops only");
        CHECK_MSG(found, "names are looked up among some ops only");
        chg_cursor_close(cur);
    }
}

/* The only update stands last: no block before it is unpacked on the way there. */
static void
test_skip(void)
{
    enum { N = 6000 };
    struct error err = ERROR_INIT;
    struct entry *e = make_entries(N, 0), got;
    for (size_t i = 0; i < N; i++)
        e[i].op = i + 1 < N ? ENTRY_INSERT : ENTRY_UPDATE;
    struct chg *c = write_file("skip", e, N, 0);
    struct chg_cursor *cur = NULL;
    if (CHECK(c && c->nblocks > 2 && chg_cursor_open(c, &cur, &err) == 0)) {
        uint64_t first = c->blocks[0].offset;
        c->blocks[0].offset = c->size; /* reading it would fail */
        chg_cursor_only(cur, CHG_OP(ENTRY_UPDATE));
        CHECK(chg_next(cur, &got, &err) == 1 && same_entry(&got, &e[N - 1]));
        CHECK(chg_next(cur, &got, &err) == 0);
        c->blocks[0].offset = first;
    }
    chg_cursor_close(cur);
    chg_unref(c);
    free(e);
}

static int
find_by_name(struct chg *c, unsigned ops, const struct entry *want)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    struct entry got;
    chg_entry_filename(&meta, want, &name);
    int rc = chg_find_filename(c, ops, buf_z(&name), &arena, &got, &err);
    return rc == 1 && !same_entry(&got, want) ? -1 : rc;
}

/* Look-ups that go on from the last one, in the same block, back, and over blocks that were
 * passed over. */
static void
test_finders(void)
{
    enum { N = 6000 };
    struct entry *e = make_entries(N, 0);
    for (size_t i = 0; i < N; i++)
        e[i].op = i > 0 ? ENTRY_INSERT : ENTRY_UPDATE;
    struct chg *c = write_file("finders", e, N, 0);
    const unsigned insert = CHG_OP(ENTRY_INSERT), update = CHG_OP(ENTRY_UPDATE);
    CHECK(c && c->nblocks > 2 && !(c->blocks[c->nblocks - 1].ops & update));
    CHECK(find_by_name(c, update, &e[1]) == 0);
    CHECK(find_by_name(c, insert, &e[N - 1]) == 1);
    CHECK(find_by_name(c, update, &e[0]) == 1);
    bool found = true;
    for (size_t i = 1; i < N; i++)
        found = found && find_by_name(c, insert, &e[i]) == 1 &&
                find_by_name(c, insert, &e[i]) == 1 && find_by_name(c, update, &e[i]) == 0;
    CHECK_MSG(found, "in order, each again, and none that is of another kind");
    for (size_t i = N - 1; i > N - 500; i--)
        found = found && find_by_name(c, insert, &e[i]) == 1;
    CHECK_MSG(found, "backwards");
    for (int i = 0; i < 500; i++)
        found = found && find_by_name(c, CHG_ALL_OPS, &e[random_below(N)]) == 1;
    CHECK_MSG(found, "at random");
    chg_unref(c);
    free(e);
}

static void
test_random_files(void)
{
    static const struct {
        size_t n, key_bytes;
    } sizes[] = {{0, 0}, {1, 0}, {500, 0}, {6000, 0}, {1500, 900}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct entry *e = make_entries(sizes[i].n, sizes[i].key_bytes);
        struct chg *c = write_file("random", e, sizes[i].n, ALL_VIEWS);
        if (CHECK(c != NULL)) {
            test_round_trip(c, e, sizes[i].n);
            for (enum chg_view v = 0; v < CHG_VIEWS; v++)
                test_view(c, v, e, sizes[i].n);
            test_filenames(c, e, sizes[i].n);
            test_ops(c, e, sizes[i].n);
        }
        chg_unref(c);
        free(e);
    }
}

/* The line of a change in VIEW_SENT. */
static void
render_sent(const struct entry *e, const char *outcome, struct buf *out)
{
    size_t before = out->n;
    chg_render(&meta, VIEW_JSONL, e, out);
    if (out->n == before)
        return;
    out->n -= strlen("}\n");
    buf_addf(out, ",\"outcome\":\"%s\"%*s}\n", outcome, (int)(9 - strlen(outcome)), "");
}

static void
test_outcomes(void)
{
    enum { N = 5000 };
    struct entry *e = make_entries(N, 0), *refused = calloc(N, sizeof *refused);
    AUTO_BUF struct buf want = BUF_INIT(BUF_NO_MAX), got = BUF_INIT(BUF_NO_MAX);
    struct error err = ERROR_INIT;
    struct entry *unsent = calloc(N, sizeof *unsent);
    size_t nrefused = 0, nunsent = 0, some[3] = {0};
    for (size_t i = 0; i < N; i++) {
        const char *outcome = "delivered";
        int which = -1;
        if (random_below(50) == 0 && e[i].op != ENTRY_PRESENT) {
            bool is_unknown = random_below(3) == 0;
            refused[nrefused] = e[i];
            refused[nrefused++].note =
                is_unknown ? (struct str){"unknown\0who knows", 17} : STR("unknown_field\0no");
            outcome = is_unknown ? "unknown" : "rejected";
            which = is_unknown;
        } else if (random_below(50) == 0) { /* refused before it could be a change */
            refused[nrefused] = e[i];
            refused[nrefused++].op = ENTRY_PRESENT;
        }
        if (random_below(50) == 0 && e[i].op != ENTRY_PRESENT) { /* refused before, perhaps */
            unsent[nunsent++] = (struct entry){.op = e[i].op, .key = e[i].key};
            outcome = "not_sent";
            which = 2;
        }
        if (which >= 0)
            some[which] = i;
        render_sent(&e[i], outcome, &want);
    }
    struct chg *c = write_file("sent", e, N, VIEW_BIT(VIEW_SENT));
    struct chg *r = write_file("refused", refused, nrefused, VIEW_BIT(VIEW_REJECTED));
    struct chg *u = write_file("unsent", unsent, nunsent, 0);
    if (CHECK(c && r && u && some[0] > 0 && some[1] > 0 && some[2] > 0)) {
        chg_set_outcomes(c, "delivered", r, u);
        CHECK(chg_view_size(c, VIEW_SENT) == want.n);
        while (got.n < want.n && chg_view_read(c, VIEW_SENT, got.n, 7777, &got, &err) == 0)
            ;
        CHECK_MSG(str_equal(buf_str(&got), buf_str(&want)), "each change tells how it ended");
        bool ok = true;
        for (int i = 0; i < 100; i++) {
            uint64_t at = random_below(want.n - 300);
            buf_clear(&got);
            ok = ok && chg_view_read(c, VIEW_SENT, at, 300, &got, &err) == 0 && got.n == 300 &&
                 memcmp(got.p, want.p + at, 300) == 0;
        }
        CHECK_MSG(ok, "also from any offset");
        buf_clear(&got);
        CHECK(chg_outcome(c, &e[some[0]], &got, &err) == 0);
        CHECK(chg_outcome(c, &e[some[1]], &got, &err) == 0);
        CHECK(chg_outcome(c, &e[some[2]], &got, &err) == 0);
        CHECK_TEXT(buf_z(&got), "rejectedunknownnot_sent");
    }
    chg_unref(c);
    chg_unref(r);
    chg_unref(u);
    c = write_file("jsonl", e, N, VIEW_BIT(VIEW_JSONL));
    if (CHECK(c != NULL)) {
        chg_set_outcomes(c, "delivered", NULL, NULL);
        CHECK(chg_view_size(c, VIEW_SENT) == chg_view_size(c, VIEW_JSONL));
        buf_clear(&got);
        CHECK(chg_view_read(c, VIEW_SENT, 0, 100, &got, &err) == 0 && got.n == 100);
    }
    chg_unref(c);
    free(e);
    free(refused);
    free(unsent);
}

static void
check_view_text(enum chg_view view, const struct entry *e, const char *want)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    chg_render(&meta, view, e, &out);
    CHECK_TEXT(buf_z(&out), want);
}

static void
test_texts(void)
{
    AUTO_BUF struct buf b = BUF_INIT(BUF_NO_MAX);
    struct value after[] = {text("a@x"), text("7"), text("Ann"), {.type = V_NULL}};
    struct value before[] = {text("a@x"), text("7"), text("An\n"), {.type = V_ABSENT}};
    after[1].type = before[1].type = V_INT;
    for (int i = 0; i < FIELDS; i++)
        record_add(&b, &after[i]);
    struct str new = keep(&b);
    for (int i = 0; i < FIELDS; i++)
        record_add(&b, &before[i]);
    struct str old = keep(&b);
    struct entry e = {.op = ENTRY_UPDATE,
                      .key = make_key("a@x", "7"),
                      .after = new,
                      .before = old,
                      .note = STR("full: reset")};
    check_view_text(VIEW_JSONL, &e,
                    "{\"op\":\"update\",\"id\":{\"email\":\"a@x\",\"n\":7},"
                    "\"before\":{\"email_id\":\"a@x\",\"n\":7,\"full \\\"name\\\"\":\"An\\n\"},"
                    "\"after\":{\"email_id\":\"a@x\",\"n\":7,\"full \\\"name\\\"\":\"Ann\","
                    "\"at\":null},\"changed\":[\"full \\\"name\\\"\",\"at\"],"
                    "\"why\":\"full: reset\"}\n");
    check_view_text(VIEW_DIFF, &e,
                    "@@ update email=a@x n=7 @@ full: reset\n"
                    "-full \\\"name\\\": \"An\\n\"\n+full \\\"name\\\": \"Ann\"\n+at: null\n");
    check_view_text(VIEW_UPDATES_CSV, &e, "a@x,7,Ann,\n");
    check_view_text(VIEW_INSERTS_CSV, &e, "");
    e.note = (struct str){"23505\0duplicate key", 19};
    e.tries = 2;
    check_view_text(
        VIEW_REJECTED, &e,
        "{\"id\":{\"email\":\"a@x\",\"n\":7},\"op\":\"update\",\"reason\":"
        "\"duplicate key\",\"code\":\"23505\",\"tries\":2,\"record\":"
        "{\"email_id\":\"a@x\",\"n\":7,\"full \\\"name\\\"\":\"Ann\",\"at\":null}}\n");
    e.note = (struct str){0};
    e.before = new;
    check_view_text(VIEW_DIFF, &e, "@@ update email=a@x n=7 @@\n (resent unchanged)\n");
    e = (struct entry){.op = ENTRY_DELETE, .key = e.key, .before = old};
    check_view_text(VIEW_DELETES_CSV, &e, "a@x,7,\"An\n\",\n");
    check_view_text(VIEW_JSONL, &e,
                    "{\"op\":\"delete\",\"id\":{\"email\":\"a@x\",\"n\":7},\"before\":{"
                    "\"email_id\":\"a@x\",\"n\":7,\"full \\\"name\\\"\":\"An\\n\"}}\n");
    e = (struct entry){.op = ENTRY_PRESENT, .key = make_key("a@x", ""), .note = STR("\0no id")};
    check_view_text(
        VIEW_REJECTED, &e,
        "{\"id\":{\"email\":\"a@x\",\"n\":null},\"op\":\"none\",\"reason\":\"no id\","
        "\"code\":\"\",\"tries\":0,\"record\":null}\n");
    check_view_text(VIEW_JSONL, &e, "");
    chg_render_head(&meta, VIEW_INSERTS_CSV, &b);
    CHECK_TEXT(buf_z(&b), "email_id,n,\"full \"\"name\"\"\",at\n");
    buf_clear(&b);
    chg_entry_filename(&meta, &e, &b);
    CHECK_TEXT(buf_z(&b), "a@x,NULL");
}

static void
test_equal_names(void)
{
    struct error err = ERROR_INIT;
    struct entry e[] = {make_entry(1, 0), make_entry(5, 0), make_entry(5, 0), make_entry(5, 0)};
    struct chg *c = write_file("equal", e, 4, 0);
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    chg_entry_filename(&meta, &e[2], &name);
    buf_adds(&name, "~2");
    struct entry got;
    CHECK(chg_find_filename(c, CHG_ALL_OPS, buf_z(&name), &arena, &got, &err) == 1 &&
          same_entry(&got, &e[2]));
    name.p[name.n - 1] = '3';
    CHECK(chg_find_filename(c, CHG_ALL_OPS, buf_z(&name), &arena, &got, &err) == 1 &&
          same_entry(&got, &e[3]));
    name.p[name.n - 1] = '4';
    CHECK(chg_find_filename(c, CHG_ALL_OPS, buf_z(&name), &arena, &got, &err) == 0);
    chg_unref(c);
}

/* Whole records instead of keys: the names are hex, cut when they are long. */
static void
test_no_identifier(void)
{
    struct error err = ERROR_INIT;
    struct chg_meta none = meta;
    none.nkey = 0;
    struct chg_writer *w;
    CHECK(chg_create(dir, "none", &none, VIEW_BIT(VIEW_JSONL), &w, &err) == 0);
    char key[300];
    memset(key, 'k', sizeof key);
    struct entry e = {.op = ENTRY_INSERT, .after = make_record("a", "1")};
    for (int i = 0; i < 50; i++) {
        e.key = (struct str){key, i < 10 ? 1 + (size_t)i : 120 + (size_t)i};
        chg_add(w, &e, &err);
    }
    CHECK(chg_finish(w, false, NULL, NULL, &err) == 0);
    struct chg *c;
    CHECK(chg_open(dir, "none", &c, &err) == 0);
    bool ok = true;
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    for (int i = 0; i < 50; i++) {
        struct entry got;
        e.key.n = i < 10 ? 1 + (size_t)i : 120 + (size_t)i;
        buf_clear(&name);
        chg_entry_filename(&none, &e, &name);
        ok = ok && chg_find_filename(c, CHG_ALL_OPS, buf_z(&name), &arena, &got, &err) == 1 &&
             got.key.n == e.key.n;
    }
    CHECK_MSG(ok, "entries without identifier are found by their hex names");
    chg_unref(c);
}

static void
test_digest(void)
{
    struct error err = ERROR_INIT;
    uint8_t digests[4][32];
    struct entry e[] = {make_entry(1, 0), make_entry(9, 0)};
    for (int i = 0; i < 4; i++) {
        struct chg_writer *w;
        CHECK(chg_create(dir, "digest", &meta, CHG_DIGEST, &w, &err) == 0);
        struct entry second = e[1];
        second.seq += (uint64_t)i;
        second.note = STR("not counted");
        second.op = i == 2 ? ENTRY_PRESENT : ENTRY_DELETE;
        if (i == 3)
            second.after = (struct str){0}, second.before = STR("x");
        chg_add(w, &e[0], &err);
        chg_add(w, &second, &err);
        CHECK(chg_finish(w, false, NULL, digests[i], &err) == 0);
    }
    CHECK(memcmp(digests[0], digests[1], 32) == 0);
    CHECK(memcmp(digests[0], digests[2], 32) != 0);
    CHECK(memcmp(digests[0], digests[3], 32) != 0);
}

static void
test_refusals(void)
{
    struct error err = ERROR_INIT;
    struct chg_writer *w;
    struct entry first = make_entry(9, 0), second = make_entry(1, 0);
    CHECK(chg_create(dir, "refused", &meta, 0, &w, &err) == 0);
    CHECK(chg_add(w, &first, &err) == 0);
    CHECK(chg_add(w, &second, &err) < 0 && err.kind == ERR_INTERNAL);
    chg_discard(w);
    CHECK(faccessat(dir, "refused", F_OK, 0) < 0);
    chg_discard(NULL);
    struct chg *c;
    CHECK(chg_open(dir, "refused", &c, &err) == -ENOENT);
    CHECK(chg_create(dir, "refused", &meta, 0, &w, &err) == 0);
    CHECK(chg_finish(w, false, NULL, (uint8_t[32]){0}, &err) < 0);
    CHECK(faccessat(dir, "refused", F_OK, 0) < 0);
}

/* A row of many megabytes has a block of its own, between small ones. */
static void
test_huge(void)
{
    struct entry e[3] = {make_entry(1, 0), make_entry(5, 0), make_entry(9, 0)};
    AUTO_BUF struct buf big = BUF_INIT(BUF_NO_MAX);
    char *bytes = malloc(20 << 20);
    for (size_t i = 0; i < 20 << 20; i++)
        bytes[i] = (char)(i * i >> 7);
    record_add(&big, &(struct value){bytes, 20 << 20, V_BYTES});
    for (int i = 1; i < FIELDS; i++)
        record_add(&big, &(struct value){.type = V_NULL});
    e[1].op = ENTRY_INSERT;
    e[1].after = buf_str(&big);
    struct chg *c = write_file("huge", e, 3, VIEW_BIT(VIEW_JSONL));
    struct error err = ERROR_INIT;
    struct chg_cursor *cur;
    CHECK(c && chg_cursor_open(c, &cur, &err) == 0 && gives(cur, e, 0, 3, 3));
    chg_cursor_close(cur);
    CHECK(chg_verify(c, &err) == 0);
    chg_unref(c);
    free(bytes);
}

/* ---- damage ---- */

static void
put_file(const char *name, struct str bytes)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file_write_all(fd, bytes.p, bytes.n, &err) < 0)
        printf("# %s\n", err.text);
}

/* True: reading it whole failed with words that name the file, or gave just what was written.
 */
static bool
noticed(const struct entry *e, size_t n, bool *failed)
{
    struct error err = ERROR_INIT;
    struct chg *c = NULL;
    struct chg_cursor *cur = NULL;
    struct arena scratch = ARENA_INIT;
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    int rc = chg_open(dir, "damaged", &c, &err);
    if (rc == 0)
        rc = chg_verify(c, &err);
    bool same = rc == 0;
    if (c && chg_cursor_open(c, &cur, &err) == 0) {
        struct error second = ERROR_INIT;
        struct entry got;
        for (size_t i = 0; same && i < n; i++)
            same = chg_next(cur, &got, &second) == 1 && same_entry(&got, &e[i]);
        chg_view_read(c, VIEW_JSONL, 0, 1 << 20, &out, &second);
        chg_find_filename(c, CHG_ALL_OPS, "user00000001,5", &scratch, &got, &second);
    }
    *failed = rc < 0;
    chg_cursor_close(cur);
    chg_unref(c);
    arena_done(&scratch);
    return rc < 0 ? strstr(err.text, "\"damaged\"") && err.kind == ERR_INTERNAL : same;
}

static void
test_damage(void)
{
    enum { N = 12 };
    struct entry *e = make_entries(N, 0);
    for (int i = 0; i < N; i++)
        e[i].tries = 0;
    struct chg *c = write_file("whole", e, N, ALL_VIEWS);
    chg_unref(c);
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf bytes = BUF_INIT(BUF_NO_MAX);
    file_read_whole(dir, "whole", &bytes, &err);
    bool flips = true, cuts = true, failed;
    size_t harmless = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        uint8_t mask = (uint8_t)(1 << random_below(8));
        bytes.p[i] ^= (char)mask;
        put_file("damaged", buf_str(&bytes));
        if (!noticed(e, N, &failed)) {
            printf("# byte %zu mask %u\n", i, mask);
            flips = false;
        }
        harmless += !failed;
        bytes.p[i] ^= (char)mask;
    }
    for (size_t i = 0; i < bytes.n; i += 1 + random_below(3)) {
        put_file("damaged", (struct str){bytes.p, i});
        cuts = cuts && noticed(e, N, &failed) && failed;
    }
    CHECK_MSG(flips, "every flipped bit is told or changes nothing");
    CHECK_MSG(harmless <= bytes.n / 50, "hardly a bit is without meaning");
    CHECK_MSG(cuts, "every cut is told");
    printf("# %zu of %zu flips were harmless\n", harmless, bytes.n);
    free(e);
}

int
main(void)
{
    char path[] = "/tmp/retlfs-chg-XXXXXX";
    struct error err = ERROR_INIT;
    random_start();
    if (!mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY)) < 0)
        return EXIT_FAILURE;
    test_outcomes();
    test_texts();
    test_random_files();
    test_skip();
    test_finders();
    test_equal_names();
    test_no_identifier();
    test_digest();
    test_refusals();
    test_huge();
    test_damage();
    close(dir);
    file_remove_tree(AT_FDCWD, path, &err);
    arena_done(&arena);
    return tap_done();
}
