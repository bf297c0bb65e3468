/* The delivered state against an array with one cell a key. */
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "data/state.h"
#include "random.h"
#include "tap.h"

enum {
    KEYS = 700,
    FIELDS = 3,
};

static int dir;

/* Field sets as they come to be when mappings change: another order, one more, one less. */
static const char *const field_sets[][FIELDS] = {
    {"id", "name", "mail"},
    {"id", "mail", "name"},
    {"id", "name", NULL},
    {"id", "phone", "name"},
};
enum { SETS = sizeof field_sets / sizeof *field_sets };

#define TEXT(z) ((char *)(z))

static struct chg_field field_store[SETS][FIELDS];
static struct chg_meta metas[SETS];
static char *key_name = TEXT("id");
static size_t key_field;
static enum key_class key_class = KEY_INT;

static void
make_metas(void)
{
    for (int s = 0; s < SETS; s++) {
        struct chg_meta *m = &metas[s];
        *m = (struct chg_meta){.fields = field_store[s],
                               .key = &key_field,
                               .nkey = 1,
                               .key_names = &key_name,
                               .key_class = &key_class};
        for (; m->nfields < FIELDS && field_sets[s][m->nfields]; m->nfields++)
            m->fields[m->nfields].name = TEXT(field_sets[s][m->nfields]);
    }
}

/* What the state must hold: for each key the text it was written with, by which field set. */
struct cell {
    bool live, recorded;
    int set;
    char text[32];
};

static void
make_key(struct buf *out, int key)
{
    char digits[12];
    struct value v = {digits, (uint32_t)snprintf(digits, sizeof digits, "%d", key), V_INT};
    buf_clear(out);
    key_add(out, KEY_INT, &v);
}

/* Each field's value is its name and the text. */
static void
make_record(struct buf *out, const struct cell *cell, int want)
{
    buf_clear(out);
    const struct chg_meta *have = &metas[cell->set], *as = &metas[want];
    for (size_t i = 0; i < as->nfields; i++) {
        char value[64];
        struct value v = {.type = V_ABSENT};
        for (size_t k = 0; k < have->nfields; k++)
            if (strcmp(have->fields[k].name, as->fields[i].name) == 0)
                v = (struct value){value,
                                   (uint32_t)snprintf(value, sizeof value, "%s %s",
                                                      as->fields[i].name, cell->text),
                                   V_TEXT};
        record_add(out, &v);
    }
}

static bool
state_is(const struct state *s, const struct cell *cells, int want, int from)
{
    struct error err = ERROR_INIT;
    struct state_cursor *cur;
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX), record = BUF_INIT(BUF_NO_MAX);
    if (state_cursor_open(s, &metas[want], &cur, &err) < 0)
        return false;
    bool same = true;
    struct entry e;
    if (from > 0) {
        make_key(&key, from);
        state_next(cur, &e, &err); /* a cursor that has moved can be sent anywhere */
        same = state_seek(cur, buf_str(&key), &err) == 0;
    }
    for (int k = from; k < KEYS && same; k++) {
        if (!cells[k].live)
            continue;
        make_key(&key, k);
        make_record(&record, &cells[k], want);
        same = state_next(cur, &e, &err) == 1 &&
               e.op == (cells[k].recorded ? ENTRY_RECORDED : ENTRY_INSERT) && e.before.n == 0 &&
               str_equal(e.key, buf_str(&key)) && str_equal(e.after, buf_str(&record));
    }
    same = same && state_next(cur, &e, &err) == 0 && state_next(cur, &e, &err) == 0;
    state_cursor_close(cur);
    if (!same)
        printf("# %s\n", err.text);
    return same;
}

/* A run: sends changes to random keys, has some refused; what was delivered goes to cells. */
static bool
run(struct cell *cells, int number, int set, const char *segment)
{
    struct error err = ERROR_INIT;
    struct chg_writer *sent, *rejected;
    struct chg *s = NULL, *r = NULL;
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX), record = BUF_INIT(BUF_NO_MAX);
    AUTO_BUF struct buf before = BUF_INIT(BUF_NO_MAX);
    chg_create(dir, "sent", &metas[set], VIEW_BIT(VIEW_JSONL), &sent, &err);
    chg_create(dir, "rejected", &metas[set], 0, &rejected, &err);
    uint64_t density = 1 + random_below(30), delivered = 0;
    for (int k = 0; k < KEYS; k++) {
        make_key(&key, k);
        struct entry e = {.key = buf_str(&key), .seq = (uint64_t)k, .op = ENTRY_PRESENT};
        bool refused = random_below(7) == 0;
        for (int i = refused ? (int)random_below(3) : 0; i > 0; i--)
            chg_add(rejected, &e, &err); /* twice, and also what was never sent */
        if (refused)
            chg_add(rejected, &e, &err);
        if (random_below(density) != 0)
            continue;
        struct cell next = {.live = random_below(4) != 0, .set = set};
        snprintf(next.text, sizeof next.text, "%d/%d", number, k);
        make_record(&before, &cells[k], set);
        make_record(&record, &next, set);
        e.op = !next.live ? ENTRY_DELETE : cells[k].live ? ENTRY_UPDATE : ENTRY_INSERT;
        if (e.op != ENTRY_INSERT)
            e.before = buf_str(&before);
        if (next.live)
            e.after = buf_str(&record);
        next.recorded = e.op == ENTRY_INSERT && random_below(3) == 0;
        if (next.recorded)
            e.op = ENTRY_RECORDED;
        if (random_below(10) == 0)
            e.op = ENTRY_PRESENT; /* nothing was sent: nothing may come of it */
        chg_add(sent, &e, &err);
        if (!refused && e.op != ENTRY_PRESENT) {
            cells[k] = next;
            delivered++;
        }
    }
    struct chg_totals totals = {0};
    bool ok = chg_finish(sent, false, NULL, NULL, &err) == 0 &&
              chg_finish(rejected, false, NULL, NULL, &err) == 0 &&
              chg_open(dir, "sent", &s, &err) == 0 &&
              chg_open(dir, "rejected", &r, &err) == 0 &&
              state_apply(s, r, NULL, NULL, dir, segment, &totals, &err) == 0 &&
              totals.entries == delivered;
    if (!ok)
        printf("# %s\n", err.text);
    chg_unref(s);
    chg_unref(r);
    return ok;
}

static void
test_runs(void)
{
    struct error err = ERROR_INIT;
    static struct cell cells[KEYS];
    char names[12][24];
    const char *list[12];
    struct state s;
    memset(cells, 0, sizeof cells);
    for (int n = 0; n < 12; n++) {
        snprintf(names[n], sizeof names[n], "segment%d", n);
        list[n] = names[n];
        bool ok = run(cells, n, (int)random_below(SETS), names[n]);
        ok = ok && state_open(dir, list, (size_t)n + 1, &s, &err) == 0;
        for (int want = 0; want < SETS && ok; want++)
            ok = state_is(&s, cells, want, 0) &&
                 state_is(&s, cells, want, (int)random_below(KEYS));
        CHECK_MSG(ok, "the state after a run");
        CHECK(state_wants_merge(&s) == (n + 1 > 8));
        state_done(&s);
    }
    CHECK(state_open(dir, list, 12, &s, &err) == 0);
    uint64_t live = 0, want_live = 0;
    for (int k = 0; k < KEYS; k++)
        want_live += cells[k].live;
    CHECK(state_merge(&s, &metas[1], NULL, dir, "merged", &live, &err) == 0 &&
          live == want_live);
    state_done(&s);
    /* merged in field set 1, "phone" is gone, the rest is as it was */
    const char *merged = "merged";
    CHECK(state_open(dir, &merged, 1, &s, &err) == 0);
    CHECK(chg_get_totals(s.segments[0]).entries == live);
    CHECK(chg_verify(s.segments[0], &err) == 0);
    struct state_cursor *cur;
    struct entry e;
    AUTO_BUF struct buf record = BUF_INIT(BUF_NO_MAX);
    CHECK(state_cursor_open(&s, &metas[1], &cur, &err) == 0);
    bool same = true;
    for (int k = 0; k < KEYS && same; k++) {
        if (!cells[k].live)
            continue;
        make_record(&record, &cells[k], 1);
        same = state_next(cur, &e, &err) == 1 && str_equal(e.after, buf_str(&record)) &&
               (e.op == ENTRY_RECORDED) == cells[k].recorded;
    }
    CHECK_MSG(same && state_next(cur, &e, &err) == 0, "the merged state");
    state_cursor_close(cur);
    state_done(&s);
}

static void
test_edges(void)
{
    struct error err = ERROR_INIT;
    struct state s;
    struct state_cursor *cur;
    struct entry e;
    CHECK(state_open(dir, NULL, 0, &s, &err) == 0);
    CHECK(!state_wants_merge(&s));
    CHECK(state_cursor_open(&s, &metas[0], &cur, &err) == 0);
    CHECK(state_next(cur, &e, &err) == 0);
    state_cursor_close(cur);
    state_done(&s);
    const char *names[] = {"merged", "missing"};
    CHECK(state_open(dir, names, 2, &s, &err) == -ENOENT && strstr(err.text, "missing"));
    CHECK(state_cursor_close(NULL) == NULL);
}

int
main(void)
{
    char path[] = "/tmp/retlfs-state-XXXXXX";
    struct error err = ERROR_INIT;
    random_start();
    make_metas();
    if (!mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY)) < 0)
        return EXIT_FAILURE;
    for (int i = 0; i < 5; i++)
        test_runs();
    test_edges();
    close(dir);
    file_remove_tree(AT_FDCWD, path, &err);
    return tap_done();
}
