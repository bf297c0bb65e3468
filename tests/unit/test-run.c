/*
 * Runs through the whole engine (catalogue, diff, ledger, waiters) against drivers in memory:
 * what SEMANTICS asks for and real systems rarely show.
 */
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "engine.h"
#include "fake_drivers.h"
#include "tap.h"

static char directory[] = "/tmp/retlfs-test-run-XXXXXX";
static struct engine *engine;
static node_id sync_id;
static struct caller me = {.uid = 0, .gid = 0, .pid = 1};

static void
open_engine(void)
{
    struct error err = ERROR_INIT;
    const struct engine_settings settings = {.state_dir = directory, .runs_at_once = 1};
    if (engine_open(&settings, &engine, &err) < 0 || engine_start(engine, &err) < 0) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
}

static void
reopen_engine(void)
{
    engine_close(engine);
    open_engine();
}

static void
put(node_id parent, const char *name, const char *text)
{
    struct node node;
    struct complaint complaint = {0};
    if (tree_lookup(engine, parent, name, &node) < 0)
        tree_make(engine, parent, name, NODE_FILE, 0644, NULL, &me, &node);
    if (doc_commit(engine, parent, name, node.id, str_of(text), &me, &complaint) < 0)
        printf("# %s refused: %s\n", name, complaint.text);
}

static void
make_sync(const char *name, const char *identifier, const char *mappings, const char *mode,
          const char *more)
{
    struct node node;
    AUTO_BUF struct buf config = BUF_INIT(4096);
    tree_make(engine, NODE_SYNCS, name, NODE_DIR, 0755, NULL, &me, &node);
    sync_id = node.id;
    buf_addf(&config,
             "{\"source\": {\"connection\": \"m\", \"table\": \"t\"},"
             " \"destination\": {\"connection\": \"f\", \"object\": \"t\"}%s%s%s}",
             identifier ? ", \"identifier\": " : "", identifier ? identifier : "", more);
    put(sync_id, "config.json", buf_z(&config));
    put(sync_id, "mappings.csv", mappings);
    put(sync_id, "mode", mode);
}

/* ---- triggering ---- */

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t told;
    int result; /* -1: not yet */
};

static void
done(void *arg, int errnum)
{
    struct waiting *w = arg;
    pthread_mutex_lock(&w->lock);
    w->result = errnum;
    pthread_cond_signal(&w->told);
    pthread_mutex_unlock(&w->lock);
}

static struct error last_error;

static int
trigger(const char *verb)
{
    struct waiting w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, -1};
    struct ticket *ticket = NULL;
    error_clear(&last_error);
    int rc =
        sync_trigger(engine, sync_id, str_of(verb), false, &me, done, &w, &ticket, &last_error);
    if (rc != -EINPROGRESS)
        return -rc;
    pthread_mutex_lock(&w.lock);
    while (w.result < 0)
        pthread_cond_wait(&w.told, &w.lock);
    pthread_mutex_unlock(&w.lock);
    ticket_drop(ticket);
    /* Who was told may begin again at once: nothing of the run may still hold a table. */
    CHECK(atomic_load(&fake.open) == 0 || atomic_load(&fake.block));
    return w.result;
}

static char *
shown(enum sync_text which)
{
    static char text[8192];
    AUTO_BUF struct buf out = BUF_INIT(1 << 20);
    struct timespec changed;
    sync_show(engine, sync_id, which, &out, &changed);
    snprintf(text, sizeof text, "%s", buf_z(&out));
    return text;
}

static bool
shows(enum sync_text which, const char *words)
{
    char *text = shown(which);
    if (strstr(text, words))
        return true;
    printf("# not there: %s\n# in: %s\n", words, text);
    return false;
}

/* Waits for what another thread is about to make of a text. */
static bool
comes(enum sync_text which, const char *words)
{
    for (int i = 0; i < 5000 && !strstr(shown(which), words); i++)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    return shows(which, words);
}

static void
configure(const char *object, const char *more)
{
    AUTO_BUF struct buf config = BUF_INIT(4096);
    buf_addf(&config,
             "{\"source\": {\"connection\": \"m\", \"table\": \"t\"},"
             " \"destination\": {\"connection\": \"f\", \"object\": \"%s\"}%s}",
             object, more);
    put(sync_id, "config.json", buf_z(&config));
}

/* The run's changes.jsonl (0: the last run). */
static char *
sent(uint64_t run)
{
    static char text[65536];
    struct chg *c = NULL;
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf out = BUF_INIT(1 << 20);
    if (run_changes(engine, sync_id, run ? run : run_last(engine, sync_id), &c) == 0)
        chg_view_read(c, VIEW_SENT, 0, 1 << 20, &out, &err);
    chg_unref(c);
    snprintf(text, sizeof text, "%s", buf_z(&out));
    return text;
}

static size_t
lines(const char *text)
{
    size_t n = 0;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

static const char THREE[] = "column,field\nid,id\nname,name\ncity,city\n";
static const char TWO[] = "column,field\nid,id\nname,name\n";

/* ---- tests ---- */

static void
test_upsert(void)
{
    fake_clear();
    fake_add("b", "Bo", "Bonn");
    fake_add("a", "Al", "Aa");
    make_sync("upsert", "\"id\"", THREE, "upsert", "");
    CHECK(shows(SYNC_STATUS, "next_run: full: first run"));
    CHECK(trigger("run") == 0);
    CHECK(fake.ntarget == 2 && lines(sent(0)) == 2);
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 0);
    CHECK(fake.begun == 1);
    snprintf(fake.model[0].cells[1], FAKE_TEXT, "Bob");
    fake.model[1] = fake.model[--fake.nmodel];
    fake_add("c", "Cy", "Cork");
    CHECK(trigger("plan") == 0);
    CHECK(shows(SYNC_PENDING_SUMMARY, "inserts: 1\nupdates: 1\ndeletes: 0"));
    CHECK(fake.ntarget == 2);
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 2 && fake.ntarget == 3);
    CHECK_TEXT(fake_find("b")->cells[1], "Bob");
    CHECK(shows(SYNC_STATUS, "delivered: 3"));

    /* upsert → mirror keeps the state and finds what left meanwhile */
    put(sync_id, "mode", "mirror\n");
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 1 && strstr(sent(0), "\"op\":\"delete\",\"id\":{\"id\":\"a\"}"));
    CHECK(!fake_find("a") && fake.ntarget == 2);
    CHECK(shows(SYNC_STATUS, "delivered: 2"));
}

static void
test_mapping_changes(void)
{
    fake_clear();
    fake_add("a", "Al", "Aa");
    fake_add("b", "Bo", "Bonn");
    make_sync("mapping", "\"id\"", THREE, "upsert", "");
    CHECK(trigger("run") == 0);
    put(sync_id, "mappings.csv", "column,field\n\n# reordered\nname,name\nid,id\ncity,city\n");
    put(sync_id, "mappings.csv", TWO);
    CHECK(shows(SYNC_STATUS, "next_run: incremental"));
    snprintf(fake.model[0].cells[2], FAKE_TEXT, "elsewhere");
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 0);
    put(sync_id, "mappings.csv", THREE);
    CHECK(shows(SYNC_STATUS, "next_run: full: mapping added: city → city (2 rows)"));
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 2);
    CHECK(shows(SYNC_STATUS, "last_full: mapping added: city → city"));
    put(sync_id, "mappings.csv",
        "column,field,expression\nid,id\nname,name\n,city,upper(city)\n");
    CHECK(shows(SYNC_STATUS, "mapping updated: upper(city) → city (was city)"));
    CHECK(trigger("run") == 0);
    CHECK_TEXT(fake_find("a")->cells[2], "ELSEWHERE");
}

static void
test_rejected(void)
{
    fake_clear();
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "k%02d", i);
        fake_add(id, "n", "c");
    }
    fake.reject_id = "k25";
    make_sync("rejected", "\"id\"", THREE, "upsert", "");
    CHECK(trigger("run") == EIO);
    CHECK(fake.ntarget == 49 && !fake_find("k25"));
    CHECK(shows(SYNC_STATUS, "rejected: 1"));
    CHECK(shows(SYNC_ERROR, "1 row was rejected: rejected/ says why"));
    struct chg *c = NULL;
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf text = BUF_INIT(1 << 20);
    CHECK(sync_rejected(engine, sync_id, &c) == 0);
    chg_view_read(c, VIEW_REJECTED, 0, 1 << 20, &text, &err);
    CHECK(strstr(buf_z(&text),
                 "\"reason\":\"refused by the test\",\"code\":\"bad\",\"tries\":1"));
    chg_unref(c);
    /* tried again with its then current value, alone */
    snprintf(fake.model[25].cells[1], FAKE_TEXT, "mended");
    CHECK(trigger("run") == EIO);
    CHECK(lines(sent(0)) == 1);
    snprintf(fake.model[3].cells[1], FAKE_TEXT, "other");
    fake.reject_id = NULL;
    CHECK(trigger("retry") == 0);
    CHECK(lines(sent(0)) == 1 && fake.ntarget == 50);
    CHECK_TEXT(fake_find("k25")->cells[1], "mended");
    CHECK_TEXT(fake_find("k03")->cells[1], "n");
    CHECK(shows(SYNC_STATUS, "rejected: 0"));
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 1);
    CHECK(shows(SYNC_STATUS, "delivered: 50"));
}

static void
test_identifiers(void)
{
    fake_clear();
    fake_add("a", "first", "");
    fake_add("", "nobody", "");
    fake_add("b", "alone", "");
    fake_add("a", "second", "");
    make_sync("identifiers", "\"id\"", TWO, "mirror", "");
    CHECK(trigger("run") == EIO);
    CHECK(fake.ntarget == 1 && fake_find("b"));
    CHECK(shows(SYNC_STATUS, "rejected: 3"));
    struct node node;
    tree_lookup(engine, NODE_SYNCS, "identifiers", &node);
    put(sync_id, "config.json",
        "{\"source\": {\"connection\": \"m\", \"table\": \"t\"}, \"destination\": "
        "{\"connection\": "
        "\"f\", \"object\": \"t\"}, \"identifier\": \"id\", \"duplicates\": \"last\"}");
    CHECK(trigger("run") == EIO);
    CHECK(fake.ntarget == 2);
    CHECK_TEXT(fake_find("a")->cells[1], "second");
    CHECK(shows(SYNC_STATUS, "rejected: 1"));
}

static void
test_guards(void)
{
    fake_clear();
    char id[16];
    for (int i = 0; i < 200; i++) {
        snprintf(id, sizeof id, "k%03d", i);
        fake_add(id, "n", "c");
    }
    make_sync("guards", "\"id\"", THREE, "mirror", "");
    CHECK(trigger("run") == 0);
    fake.nmodel = 100;
    snprintf(fake.model[0].cells[1], FAKE_TEXT, "new");
    CHECK(trigger("run") == EIO);
    CHECK(shows(SYNC_ERROR, "held: 100 of 200 delivered records would be deleted"));
    CHECK(shows(SYNC_STATUS, "state: held"));
    CHECK(fake.ntarget == 200);
    CHECK_TEXT(fake_find("k000")->cells[1], "n");
    CHECK(shows(SYNC_PENDING_SUMMARY, "updates: 1\ndeletes: 100"));
    CHECK(trigger("approve nonsense") == ESTALE);
    CHECK(trigger("approve") == 0);
    CHECK(fake.ntarget == 100);
    CHECK_TEXT(fake_find("k000")->cells[1], "new");
    CHECK(shows(SYNC_STATUS, "delivered: 100"));
    CHECK(trigger("approve") == ESTALE);
    fake.nmodel = 0;
    CHECK(trigger("run") == EIO);
    CHECK(shows(SYNC_ERROR, "held: the model is empty: 100 records would be deleted"));
    CHECK(fake.ntarget == 100);
}

static void
test_foreign(void)
{
    fake_clear();
    fake_add("a", "Al", "Aa");
    fake.target[0] = (struct fake_row){{"x", "stranger", ""}};
    fake.target[1] = (struct fake_row){{"a", "old", ""}};
    fake.ntarget = 2;
    make_sync("foreign", "\"id\"", THREE, "mirror", "");
    CHECK(trigger("plan") == 0);
    CHECK(shows(SYNC_PENDING_SUMMARY, "foreign_deletes: 1"));
    CHECK(shows(SYNC_PENDING_SUMMARY, "guard: held: 1 rows"));
    CHECK(trigger("run") == EIO);
    CHECK(fake.ntarget == 2);
    CHECK(trigger("approve") == 0);
    CHECK(fake.ntarget == 1 && !fake_find("x"));
    CHECK_TEXT(fake_find("a")->cells[1], "Al");
    CHECK(shows(SYNC_STATUS, "delivered: 1"));

    fake.target[1] = (struct fake_row){{"y", "stranger", ""}};
    fake.target[2] = (struct fake_row){{"y", "another", ""}};
    fake.ntarget = 3;
    CHECK(trigger("run") == 0); /* incremental: nobody is asked */
    CHECK(fake.ntarget == 3);
    put(sync_id, "config.json",
        "{\"source\": {\"connection\": \"m\", \"table\": \"t\"}, \"destination\": "
        "{\"connection\": "
        "\"f\", \"object\": \"t\"}, \"identifier\": \"id\", \"foreign\": \"delete\"}");
    CHECK(trigger("full") == 0);
    CHECK(fake.ntarget == 1 && fake_find("a"));
    CHECK(lines(sent(0)) == 2);
}

static void
test_insert(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    make_sync("insert", NULL, TWO, "insert", "");
    CHECK(trigger("run") == 0);
    CHECK(fake.ntarget == 3);
    fake_add("a", "Al", "x");
    fake_add("c", "Cy", "y");
    CHECK(trigger("run") == 0);
    CHECK(fake.ntarget == 5 && lines(sent(0)) == 2);
    /* another mapping creates nothing a second time; what is new comes in the new form */
    put(sync_id, "mappings.csv", THREE);
    fake_add("d", "Di", "z");
    CHECK(trigger("plan") == 0);
    CHECK(shows(SYNC_PENDING_SUMMARY, "inserts: 1\n"));
    CHECK(trigger("approve") == 0);
    CHECK(fake.ntarget == 6);
    CHECK_TEXT(fake_find("d")->cells[2], "z");
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 0);
    snprintf(fake.model[5].cells[2], FAKE_TEXT, "changed");
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 1 && fake.ntarget == 7);
    CHECK(trigger("full") == EIO);
    CHECK(shows(SYNC_ERROR, "held: mode insert would create"));
    CHECK(fake.ntarget == 7);
    CHECK(trigger("approve") == 0);
    CHECK(fake.ntarget == 13);
    CHECK(shows(SYNC_STATUS, "delivered: 7"));
    /* another object is another place: nothing stands there twice */
    put(sync_id, "config.json",
        "{\"source\": {\"connection\": \"m\", \"table\": \"t\"}, \"destination\": "
        "{\"connection\": "
        "\"f\", \"object\": \"other\"}}");
    fake.ntarget = 0;
    CHECK(shows(SYNC_STATUS, "next_run: full: object changed: t → other"));
    CHECK(trigger("run") == 0);
    CHECK(fake.ntarget == 6);
    CHECK(shows(SYNC_STATUS, "delivered: 6"));
}

static void
test_update(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    fake.target[0] = (struct fake_row){{"a", "old", ""}};
    fake.ntarget = 1;
    make_sync("update", "\"id\"", THREE, "update", "");
    CHECK(trigger("run") == EIO);
    CHECK(fake.ntarget == 1);
    CHECK_TEXT(fake_find("a")->cells[1], "Al");
    CHECK(shows(SYNC_STATUS, "delivered: 1\nrejected: 1"));
    fake.target[fake.ntarget++] = (struct fake_row){{"b", "other", ""}};
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 1);
    CHECK_TEXT(fake_find("b")->cells[1], "Bo");
}

static void
test_failures(void)
{
    fake_clear();
    for (int i = 0; i < 40; i++) {
        char id[16];
        snprintf(id, sizeof id, "k%02d", 39 - i);
        fake_add(id, "n", "c");
    }
    make_sync("failures", "\"id\"", THREE, "mirror", ", \"foreign\": \"keep\"");
    fake.fail_at = 20;
    CHECK(trigger("run") == EIO);
    CHECK(shows(SYNC_ERROR, "the source broke") && fake.ntarget == 0);
    CHECK(shows(SYNC_STATUS, "state: failed"));
    fake.fail_at = 0;
    fake.replay_once = true;
    fake.ordered = true; /* a lie: rows come backwards */
    CHECK(trigger("run") == 0);
    CHECK(fake.ntarget == 40);
    fake.replay_once = fake.ordered = false;

    /* the answer to the commit is lost: it happened */
    fake.nmodel = 39;
    fake.lose_commit = fake.commit_happened = true;
    CHECK(trigger("run") == 0);
    CHECK(fake.ntarget == 39);
    /* …and it did not */
    fake.nmodel = 38;
    fake.commit_happened = false;
    CHECK(trigger("run") == EIO);
    CHECK(fake.ntarget == 39);
    fake.lose_commit = false;
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 1 && fake.ntarget == 38);

    /* cancel while the source blocks */
    atomic_store(&fake.block, true);
    CHECK(trigger("start") == 0);
    CHECK(trigger("run") == EBUSY);
    CHECK(trigger("cancel") == 0);
    CHECK(trigger("wait") == ECANCELED);
    atomic_store(&fake.block, false);
    CHECK(trigger("run") == 0);

    /* state survives the daemon */
    reopen_engine();
    struct node node;
    tree_lookup(engine, NODE_SYNCS, "failures", &node);
    sync_id = node.id;
    CHECK(shows(SYNC_STATUS, "delivered: 38"));
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 0);
    CHECK(trigger("reset") == 0);
    CHECK(shows(SYNC_STATUS, "next_run: full: reset"));
    CHECK(trigger("baseline") == 0);
    CHECK(shows(SYNC_STATUS, "delivered: 38"));
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 0);
    CHECK(trigger("frobnicate") == EINVAL);
    CHECK(strstr(last_error.text, "allowed: run, start, wait") != NULL);
    CHECK(trigger("# run\n") == 0);
}

static void
test_refused_again(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    fake_add("c", "Cy", "x");
    make_sync("again", "\"id\"", THREE, "upsert", "");
    CHECK(trigger("run") == 0);
    /* refused when all was sent again unchanged: still due */
    fake.reject_id = "b";
    CHECK(trigger("full") == EIO);
    CHECK(shows(SYNC_STATUS, "delivered: 3\nrejected: 1"));
    fake.reject_id = NULL;
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 1 && strstr(sent(0), "\"id\":\"b\""));
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 0);
    /* a driver that says it twice hides no other refusal */
    fake.says_twice = true;
    fake.reject_id = "a";
    fake.reject_nth = 3;
    CHECK(trigger("full") == EIO);
    CHECK(shows(SYNC_STATUS, "rejected: 2"));
    fake.reject_id = NULL;
    fake.reject_nth = 0;
    CHECK(trigger("retry") == 0);
    CHECK(lines(sent(0)) == 2);
}

static void
test_multiset(void)
{
    fake_clear();
    for (int i = 0; i < 3; i++)
        fake_add("a", "Al", "x");
    make_sync("multiset", NULL, THREE, "insert", "");
    fake.reject_nth = 2;
    CHECK(trigger("run") == EIO);
    CHECK(fake.ntarget == 2);
    fake.reject_nth = 0;
    fake.nmodel = 2; /* two in the model, two delivered */
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 0 && fake.ntarget == 2);
    fake.nmodel = 3;
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 1 && fake.ntarget == 3);
    CHECK(trigger("run") == 0);
    CHECK(fake.ntarget == 3);
    CHECK(shows(SYNC_STATUS, "delivered: 3"));
    /* the one that is missing is what a retry sends */
    fake_add("a", "Al", "x");
    fake_add("a", "Al", "x");
    fake.reject_nth = 1;
    CHECK(trigger("run") == EIO);
    fake.reject_nth = 0;
    CHECK(trigger("retry") == 0);
    CHECK(fake.ntarget == 5);
    /* another type behind a field is another mapping: nothing is created twice */
    fake.bytes = true;
    fake_add("b", "Bo", "x");
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 1 && fake.ntarget == 6);
    CHECK(trigger("full") == EIO);
    CHECK(trigger("approve") == 0);
    CHECK(fake.ntarget == 12);
    CHECK(shows(SYNC_STATUS, "delivered: 6"));
}

static void
test_held(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    make_sync("held", NULL, THREE, "insert", "");
    CHECK(trigger("run") == 0);
    /* `approve` with the id of a full plan plans a full run again */
    CHECK(trigger("full") == EIO);
    char *id = strstr(shown(SYNC_STATUS), "pending: plan ");
    char verb[64];
    snprintf(verb, sizeof verb, "approve %.12s", id ? id + strlen("pending: plan ") : "");
    CHECK(trigger(verb) == 0);
    CHECK(fake.ntarget == 4);
    /* what sends nothing needs no guard */
    configure("elsewhere", "");
    CHECK(trigger("baseline") == 0);
    CHECK(trigger("run") == 0);
    CHECK(lines(sent(0)) == 0 && fake.ntarget == 4);

    /* a held retry leaves due what was due */
    fake_clear();
    for (int i = 0; i < 9; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        fake_add(key, "n", "c");
    }
    make_sync("due", "\"id\"", TWO, "mirror", "");
    CHECK(trigger("run") == 0);
    fake.nmodel = 8;
    fake.reject_id = "k8";
    CHECK(trigger("run") == EIO);
    fake.reject_id = NULL;
    configure("t", ", \"identifier\": \"id\", \"max_deletes\": 0");
    put(sync_id, "mappings.csv", THREE);
    CHECK(trigger("retry") == EIO);
    CHECK(shows(SYNC_STATUS, "state: held"));
    CHECK(trigger("approve") == 0);
    CHECK(fake.ntarget == 8);
    CHECK(shows(SYNC_STATUS, "next_run: full: mapping added"));
}

/* A kill between the plan's file and its record: another plan's rows are not sent. */
static void
test_torn_plan(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    make_sync("torn", "\"id\"", THREE, "upsert", "");
    CHECK(trigger("plan") == 0);
    AUTO_BUF struct buf pattern = BUF_INIT(256);
    AUTO_BUF struct buf kept = BUF_INIT(256);
    buf_addf(&pattern, "%s/syncs/*/plan", directory);
    buf_addf(&kept, "%s/kept", directory);
    glob_t plans;
    CHECK(glob(buf_z(&pattern), 0, NULL, &plans) == 0 && plans.gl_pathc == 1);
    CHECK(link(plans.gl_pathv[0], buf_z(&kept)) == 0);
    fake.nmodel = 1;
    CHECK(trigger("plan") == 0);
    CHECK(rename(buf_z(&kept), plans.gl_pathv[0]) == 0);
    globfree(&plans);
    CHECK(trigger("approve") == ESTALE);
    CHECK(fake.ntarget == 0);
    CHECK(trigger("plan") == 0);
    CHECK(trigger("approve") == 0);
    CHECK(fake.ntarget == 1);
}

/* The answer to a commit is lost and the destination with it; the files change meanwhile. */
static void
test_unresolved(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    make_sync("unresolved", "\"id\"", TWO, "upsert", "");
    fake.lose_commit = fake.commit_happened = fake.lose_peer = true;
    CHECK(trigger("start") == 0);
    CHECK(comes(SYNC_STATUS, "phase: committing"));
    CHECK(trigger("cancel") == 0); /* stops the asking */
    CHECK(trigger("wait") == EIO);
    CHECK(shows(SYNC_STATUS, "state: unresolved"));
    put(sync_id, "mappings.csv", THREE);
    reopen_engine();
    CHECK(trigger("run") == EIO);
    CHECK(shows(SYNC_ERROR, "the outcome of run 1 is not known yet"));
    fake.lose_commit = fake.lose_peer = fake.unreachable = false;
    fake_add("b", "Bo", "x");
    CHECK(trigger("run") == 0);
    CHECK(shows(SYNC_STATUS, "last_full: mapping added: city"));
    CHECK(strstr(sent(0), "\"op\":\"update\",\"id\":{\"id\":\"a\"}") != NULL);
    CHECK(shows(SYNC_STATUS, "delivered: 2"));
}

static void
test_waiting(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    make_sync("first", "\"id\"", THREE, "upsert", "");
    node_id first = sync_id;
    make_sync("second", "\"id\"", THREE, "upsert", "");
    node_id second = sync_id;
    atomic_store(&fake.block, true);
    sync_id = first;
    CHECK(trigger("start") == 0);
    CHECK(comes(SYNC_STATUS, "phase: reading"));
    sync_id = second;
    CHECK(trigger("start") == 0);
    CHECK(shows(SYNC_STATUS, "state: queued"));
    /* what waits its turn need not wait for it to be cancelled */
    CHECK(trigger("cancel") == 0);
    CHECK(trigger("wait") == ECANCELED);
    CHECK(shows(SYNC_ERROR, "run: cancelled"));
    sync_id = first;
    CHECK(trigger("cancel") == 0);
    CHECK(trigger("wait") == ECANCELED);
    atomic_store(&fake.block, false);

    /* `wait` after the end repeats the result, and leaves the reason alone */
    fake.fail_at = 1;
    CHECK(trigger("start") == 0);
    CHECK(comes(SYNC_STATUS, "state: failed"));
    CHECK(trigger("wait") == EIO);
    CHECK(shows(SYNC_ERROR, "the source broke"));
    fake.fail_at = 0;

    /* a caller may call itself anything */
    prctl(PR_SET_NAME, "\xff\"\xd0");
    me.pid = getpid();
    CHECK(trigger("run") == 0);
    CHECK(fake.ntarget == 1);
}

int
main(void)
{
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    open_engine();
    put(NODE_CONNECTIONS, "m.json", "{\"driver\": \"memory\"}");
    put(NODE_CONNECTIONS, "f.json", "{\"driver\": \"fake\"}");
    test_torn_plan(); /* while there is no other plan */
    test_upsert();
    test_mapping_changes();
    test_rejected();
    test_identifiers();
    test_guards();
    test_foreign();
    test_insert();
    test_update();
    test_failures();
    test_refused_again();
    test_multiset();
    test_held();
    test_unresolved();
    test_waiting();
    engine_close(engine);
    struct error err = ERROR_INIT;
    file_remove_tree(AT_FDCWD, directory, &err);
    return tap_done();
}
