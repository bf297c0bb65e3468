/*
 * Runs through the whole engine (catalogue, diff, ledger, waiters) against drivers in memory:
 * what SEMANTICS asks for and real systems rarely show.
 */
#include <glob.h>
#include <sys/prctl.h>

#include "engine-in-memory.h"

static node_id sync_id;

static const char TWO[] = "column,field\nid,id\nname,name\n";

static void
test_upsert(void)
{
    fake_clear();
    fake_add("b", "Bo", "Bonn");
    fake_add("a", "Al", "Aa");
    sync_id = make_sync("upsert", "\"id\"", THREE, "upsert", "");
    CHECK(shows(sync_id, SYNC_STATUS, "next_run: full: first run"));
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(fake.ntarget == 2 && lines(sent(sync_id, 0)) == 2);
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 0);
    CHECK(fake.begun == 1);
    snprintf(fake.model[0].cells[1], FAKE_TEXT, "Bob");
    fake.model[1] = fake.model[--fake.nmodel];
    fake_add("c", "Cy", "Cork");
    CHECK(trigger(sync_id, "plan") == 0);
    CHECK(shows(sync_id, SYNC_PENDING_SUMMARY, "inserts: 1\nupdates: 1\ndeletes: 0"));
    CHECK(fake.ntarget == 2);
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 2 && fake.ntarget == 3);
    CHECK_TEXT(fake_find("b")->cells[1], "Bob");
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 3"));

    /* upsert → mirror keeps the state and finds what left meanwhile */
    put(sync_id, "mode", "mirror\n");
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1 &&
          strstr(sent(sync_id, 0), "\"op\":\"delete\",\"id\":{\"id\":\"a\"}"));
    CHECK(!fake_find("a") && fake.ntarget == 2);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 2"));
}

static void
test_mapping_changes(void)
{
    fake_clear();
    fake_add("a", "Al", "Aa");
    fake_add("b", "Bo", "Bonn");
    sync_id = make_sync("mapping", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(sync_id, "run") == 0);
    put(sync_id, "mappings.csv", "column,field\n\n# reordered\nname,name\nid,id\ncity,city\n");
    put(sync_id, "mappings.csv", TWO);
    CHECK(shows(sync_id, SYNC_STATUS, "next_run: incremental"));
    snprintf(fake.model[0].cells[2], FAKE_TEXT, "elsewhere");
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 0);
    put(sync_id, "mappings.csv", THREE);
    CHECK(shows(sync_id, SYNC_STATUS, "next_run: full: mapping added: city → city (2 rows)"));
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 2);
    CHECK(shows(sync_id, SYNC_STATUS, "last_full: mapping added: city → city"));
    put(sync_id, "mappings.csv",
        "column,field,expression\nid,id\nname,name\n,city,upper(city)\n");
    CHECK(shows(sync_id, SYNC_STATUS, "mapping updated: upper(city) → city (was city)"));
    CHECK(trigger(sync_id, "run") == 0);
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
    sync_id = make_sync("rejected", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(fake.ntarget == 49 && !fake_find("k25"));
    CHECK(shows(sync_id, SYNC_STATUS, "rejected: 1"));
    CHECK(shows(sync_id, SYNC_ERROR, "1 row was rejected: rejected/ says why"));
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
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(lines(sent(sync_id, 0)) == 1);
    snprintf(fake.model[3].cells[1], FAKE_TEXT, "other");
    fake.reject_id = NULL;
    CHECK(trigger(sync_id, "retry") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1 && fake.ntarget == 50);
    CHECK_TEXT(fake_find("k25")->cells[1], "mended");
    CHECK_TEXT(fake_find("k03")->cells[1], "n");
    CHECK(shows(sync_id, SYNC_STATUS, "rejected: 0"));
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 50"));
}

static void
test_identifiers(void)
{
    fake_clear();
    fake_add("a", "first", "");
    fake_add("", "nobody", "");
    fake_add("b", "alone", "");
    fake_add("a", "second", "");
    sync_id = make_sync("identifiers", "\"id\"", TWO, "mirror", "");
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(fake.ntarget == 1 && fake_find("b"));
    CHECK(shows(sync_id, SYNC_STATUS, "rejected: 3"));
    configure(sync_id, "\"id\"", "t", ", \"duplicates\": \"last\"");
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(fake.ntarget == 2);
    CHECK_TEXT(fake_find("a")->cells[1], "second");
    CHECK(shows(sync_id, SYNC_STATUS, "rejected: 1"));
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
    sync_id = make_sync("guards", "\"id\"", THREE, "mirror", "");
    CHECK(trigger(sync_id, "run") == 0);
    fake.nmodel = 100;
    snprintf(fake.model[0].cells[1], FAKE_TEXT, "new");
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(shows(sync_id, SYNC_ERROR, "held: 100 of 200 delivered records would be deleted"));
    CHECK(shows(sync_id, SYNC_STATUS, "state: held"));
    CHECK(fake.ntarget == 200);
    CHECK_TEXT(fake_find("k000")->cells[1], "n");
    CHECK(shows(sync_id, SYNC_PENDING_SUMMARY, "updates: 1\ndeletes: 100"));
    CHECK(trigger(sync_id, "approve nonsense") == ESTALE);
    CHECK(trigger(sync_id, "approve") == 0);
    CHECK(fake.ntarget == 100);
    CHECK_TEXT(fake_find("k000")->cells[1], "new");
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 100"));
    CHECK(trigger(sync_id, "approve") == ESTALE);
    fake.nmodel = 0;
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(shows(sync_id, SYNC_ERROR, "held: the model is empty: 100 records would be deleted"));
    CHECK(fake.ntarget == 100);
}

/* Its name is a line of status, and a text in JSON. */
static void
test_stray_file(void)
{
    static const char note[] = "read?me? is not a file that this engine reads";
    node_id s = make_sync("stray", "\"id\"", THREE, "upsert", "");
    struct node node;
    CHECK(tree_make(engine, s, "read\nme\xff", NODE_FILE, 0644, NULL, &me, &node) == 0);
    CHECK(comes(s, SYNC_STATUS, note) && shows(s, SYNC_STATUS_JSON, note));
}

/* Few records, so that no share of them would hold the run. */
static void
test_nothing_usable(void)
{
    fake_clear();
    fake_add("a", "Al", "Aa");
    fake_add("b", "Bo", "Bonn");
    sync_id = make_sync("unusable", "\"id\"", THREE, "mirror", "");
    CHECK(trigger(sync_id, "run") == 0);
    for (size_t i = 0; i < 2; i++)
        fake.model[i].cells[0][0] = '\0'; /* a join went wrong */
    CHECK(trigger(sync_id, "run") == EIO && fake.ntarget == 2);
    CHECK(shows(sync_id, SYNC_ERROR,
                "held: every row of the model was refused: 2 records would be deleted"));
}

/* Another type of the identifier: what was delivered has not left the model. */
static void
test_identifier_type(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "y");
    sync_id =
        make_sync("retyped", "\"city\"", "column,field\ncity,id\nname,name\n", "mirror", "");
    CHECK(trigger(sync_id, "run") == 0 && fake.ntarget == 2);
    fake.bytes = true;
    CHECK(trigger(sync_id, "run") == 0 && fake.ntarget == 2 && fake.deletes == 0);
    CHECK(shows(sync_id, SYNC_STATUS, "last_full: type of the identifier changed"));
    put(sync_id, "mode", "insert");
    fake.bytes = false;
    CHECK(trigger(sync_id, "run") == EIO && fake.ntarget == 2);
    CHECK(shows(sync_id, SYNC_ERROR, "held: mode insert would create 2 records again"));
}

static void
test_foreign(void)
{
    fake_clear();
    fake_add("a", "Al", "Aa");
    fake.target[0] = (struct fake_row){{"x", "stranger", ""}};
    fake.target[1] = (struct fake_row){{"a", "old", ""}};
    fake.ntarget = 2;
    sync_id = make_sync("foreign", "\"id\"", THREE, "mirror", "");
    CHECK(trigger(sync_id, "plan") == 0);
    CHECK(shows(sync_id, SYNC_PENDING_SUMMARY, "foreign_deletes: 1"));
    CHECK(shows(sync_id, SYNC_PENDING_SUMMARY, "guard: held: 1 rows"));
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(fake.ntarget == 2);
    CHECK(trigger(sync_id, "approve") == 0);
    CHECK(fake.ntarget == 1 && !fake_find("x"));
    CHECK_TEXT(fake_find("a")->cells[1], "Al");
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 1"));

    fake.target[1] = (struct fake_row){{"y", "stranger", ""}};
    fake.target[2] = (struct fake_row){{"y", "another", ""}};
    fake.ntarget = 3;
    CHECK(trigger(sync_id, "run") == 0); /* incremental: nobody is asked */
    CHECK(fake.ntarget == 3);
    configure(sync_id, "\"id\"", "t", ", \"foreign\": \"delete\"");
    CHECK(trigger(sync_id, "full") == 0);
    CHECK(fake.ntarget == 1 && fake_find("a"));
    CHECK(lines(sent(sync_id, 0)) == 2);
}

static void
test_insert(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    sync_id = make_sync("insert", NULL, TWO, "insert", "");
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(fake.ntarget == 3);
    fake_add("a", "Al", "x");
    fake_add("c", "Cy", "y");
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(fake.ntarget == 5 && lines(sent(sync_id, 0)) == 2);
    /* another mapping creates nothing a second time; what is new comes in the new form */
    put(sync_id, "mappings.csv", THREE);
    fake_add("d", "Di", "z");
    CHECK(trigger(sync_id, "plan") == 0);
    CHECK(shows(sync_id, SYNC_PENDING_SUMMARY, "inserts: 1\n"));
    CHECK(trigger(sync_id, "approve") == 0);
    CHECK(fake.ntarget == 6);
    CHECK_TEXT(fake_find("d")->cells[2], "z");
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 0);
    snprintf(fake.model[5].cells[2], FAKE_TEXT, "changed");
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1 && fake.ntarget == 7);
    CHECK(trigger(sync_id, "full") == EIO);
    CHECK(shows(sync_id, SYNC_ERROR, "held: mode insert would create"));
    CHECK(fake.ntarget == 7);
    CHECK(trigger(sync_id, "approve") == 0);
    CHECK(fake.ntarget == 13);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 7"));
    /* another object is another place: nothing stands there twice */
    configure(sync_id, NULL, "other", "");
    fake.ntarget = 0;
    CHECK(shows(sync_id, SYNC_STATUS, "next_run: full: object changed: t → other"));
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(fake.ntarget == 6);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 6"));
}

static void
test_update(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    fake.target[0] = (struct fake_row){{"a", "old", ""}};
    fake.ntarget = 1;
    sync_id = make_sync("update", "\"id\"", THREE, "update", "");
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(fake.ntarget == 1);
    CHECK_TEXT(fake_find("a")->cells[1], "Al");
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 1\nrejected: 1"));
    fake.target[fake.ntarget++] = (struct fake_row){{"b", "other", ""}};
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1);
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
    sync_id = make_sync("failures", "\"id\"", THREE, "mirror", ", \"foreign\": \"keep\"");
    fake.fail_at = 20;
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(shows(sync_id, SYNC_ERROR, "the source broke") && fake.ntarget == 0);
    CHECK(shows(sync_id, SYNC_STATUS, "state: failed"));
    fake.fail_at = 0;
    fake.replay_once = true;
    fake.ordered = true; /* a lie: rows come backwards */
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(fake.ntarget == 40);
    fake.replay_once = fake.ordered = false;

    /* the answer to the commit is lost: it happened */
    fake.nmodel = 39;
    fake.lose_commit = fake.commit_happened = true;
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(fake.ntarget == 39);
    /* …and it did not */
    fake.nmodel = 38;
    fake.commit_happened = false;
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(fake.ntarget == 39);
    fake.lose_commit = false;
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1 && fake.ntarget == 38);

    /* cancel while the source blocks */
    atomic_store(&fake.block, true);
    CHECK(trigger(sync_id, "start") == 0);
    CHECK(trigger(sync_id, "run") == EBUSY);
    CHECK(trigger(sync_id, "cancel") == 0);
    CHECK(trigger(sync_id, "wait") == ECANCELED);
    atomic_store(&fake.block, false);
    CHECK(trigger(sync_id, "run") == 0);

    /* state survives the daemon */
    reopen_engine();
    struct node node;
    tree_lookup(engine, NODE_SYNCS, "failures", &node);
    sync_id = node.id;
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 38"));
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 0);
    CHECK(trigger(sync_id, "reset") == 0);
    CHECK(shows(sync_id, SYNC_STATUS, "next_run: full: reset"));
    CHECK(trigger(sync_id, "baseline") == 0);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 38"));
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 0);
    CHECK(trigger(sync_id, "frobnicate") == EINVAL);
    CHECK(strstr(last_error.text, "allowed: run, start, wait") != NULL);
    CHECK(trigger(sync_id, "# run\n") == 0);
}

static void
test_refused_again(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    fake_add("c", "Cy", "x");
    sync_id = make_sync("again", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(sync_id, "run") == 0);
    /* refused when all was sent again unchanged: still due */
    fake.reject_id = "b";
    CHECK(trigger(sync_id, "full") == EIO);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 3\nrejected: 1"));
    fake.reject_id = NULL;
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1 && strstr(sent(sync_id, 0), "\"id\":\"b\""));
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 0);
    /* a driver that says it twice hides no other refusal */
    fake.says_twice = true;
    fake.reject_id = "a";
    fake.reject_nth = 3;
    CHECK(trigger(sync_id, "full") == EIO);
    CHECK(shows(sync_id, SYNC_STATUS, "rejected: 2"));
    fake.reject_id = NULL;
    fake.reject_nth = 0;
    CHECK(trigger(sync_id, "retry") == 0);
    CHECK(lines(sent(sync_id, 0)) == 2);
}

static void
test_multiset(void)
{
    fake_clear();
    for (int i = 0; i < 3; i++)
        fake_add("a", "Al", "x");
    sync_id = make_sync("multiset", NULL, THREE, "insert", "");
    fake.reject_nth = 2;
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(fake.ntarget == 2);
    fake.reject_nth = 0;
    fake.nmodel = 2; /* two in the model, two delivered */
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 0 && fake.ntarget == 2);
    fake.nmodel = 3;
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1 && fake.ntarget == 3);
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(fake.ntarget == 3);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 3"));
    /* the one that is missing is what a retry sends */
    fake_add("a", "Al", "x");
    fake_add("a", "Al", "x");
    fake.reject_nth = 1;
    CHECK(trigger(sync_id, "run") == EIO);
    fake.reject_nth = 0;
    CHECK(trigger(sync_id, "retry") == 0);
    CHECK(fake.ntarget == 5);
    /* another type behind a field is another mapping: nothing is created twice */
    fake.bytes = true;
    fake_add("b", "Bo", "x");
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 1 && fake.ntarget == 6);
    CHECK(trigger(sync_id, "full") == EIO);
    CHECK(trigger(sync_id, "approve") == 0);
    CHECK(fake.ntarget == 12);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 6"));
}

static void
test_held(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    sync_id = make_sync("held", NULL, THREE, "insert", "");
    CHECK(trigger(sync_id, "run") == 0);
    /* `approve` with the id of a full plan plans a full run again */
    CHECK(trigger(sync_id, "full") == EIO);
    char *id = strstr(shown(sync_id, SYNC_STATUS), "pending: plan ");
    char verb[64];
    snprintf(verb, sizeof verb, "approve %.12s", id ? id + strlen("pending: plan ") : "");
    CHECK(trigger(sync_id, verb) == 0);
    CHECK(fake.ntarget == 4);
    /* what sends nothing needs no guard */
    configure(sync_id, NULL, "elsewhere", "");
    CHECK(trigger(sync_id, "baseline") == 0);
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(lines(sent(sync_id, 0)) == 0 && fake.ntarget == 4);

    /* a held retry leaves due what was due */
    fake_clear();
    for (int i = 0; i < 9; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        fake_add(key, "n", "c");
    }
    sync_id = make_sync("due", "\"id\"", TWO, "mirror", "");
    CHECK(trigger(sync_id, "run") == 0);
    fake.nmodel = 8;
    fake.reject_id = "k8";
    CHECK(trigger(sync_id, "run") == EIO);
    fake.reject_id = NULL;
    configure(sync_id, "\"id\"", "t", ", \"max_deletes\": 0");
    put(sync_id, "mappings.csv", THREE);
    CHECK(trigger(sync_id, "retry") == EIO);
    CHECK(shows(sync_id, SYNC_STATUS, "state: held"));
    CHECK(trigger(sync_id, "approve") == 0);
    CHECK(fake.ntarget == 8);
    CHECK(shows(sync_id, SYNC_STATUS, "next_run: full: mapping added"));
}

/* A kill between the plan's file and its record: another plan's rows are not sent. */
static void
test_torn_plan(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    sync_id = make_sync("torn", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(sync_id, "plan") == 0);
    AUTO_BUF struct buf pattern = BUF_INIT(256);
    AUTO_BUF struct buf kept = BUF_INIT(256);
    buf_addf(&pattern, "%s/syncs/*/plan", directory);
    buf_addf(&kept, "%s/kept", directory);
    glob_t plans;
    CHECK(glob(buf_z(&pattern), 0, NULL, &plans) == 0 && plans.gl_pathc == 1);
    CHECK(link(plans.gl_pathv[0], buf_z(&kept)) == 0);
    fake.nmodel = 1;
    CHECK(trigger(sync_id, "plan") == 0);
    CHECK(rename(buf_z(&kept), plans.gl_pathv[0]) == 0);
    globfree(&plans);
    CHECK(trigger(sync_id, "approve") == ESTALE);
    CHECK(fake.ntarget == 0);
    CHECK(trigger(sync_id, "plan") == 0);
    CHECK(trigger(sync_id, "approve") == 0);
    CHECK(fake.ntarget == 1);
}

/* The answer to a commit is lost and the destination with it; the files change meanwhile. */
static void
test_unresolved(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    sync_id = make_sync("unresolved", "\"id\"", TWO, "upsert", "");
    fake.lose_commit = fake.commit_happened = fake.lose_peer = true;
    CHECK(trigger(sync_id, "start") == 0);
    CHECK(comes(sync_id, SYNC_STATUS, "phase: committing"));
    CHECK(trigger(sync_id, "cancel") == 0); /* stops the asking */
    CHECK(trigger(sync_id, "wait") == EIO);
    CHECK(shows(sync_id, SYNC_STATUS, "state: unresolved"));
    put(sync_id, "mappings.csv", THREE);
    reopen_engine();
    CHECK(trigger(sync_id, "run") == EIO);
    CHECK(shows(sync_id, SYNC_ERROR, "the outcome of run 1 is not known yet"));
    fake.lose_commit = fake.lose_peer = fake.unreachable = false;
    fake_add("b", "Bo", "x");
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(shows(sync_id, SYNC_STATUS, "last_full: mapping added: city"));
    CHECK(strstr(sent(sync_id, 0), "\"op\":\"update\",\"id\":{\"id\":\"a\"}") != NULL);
    CHECK(shows(sync_id, SYNC_STATUS, "delivered: 2"));
}

static void
test_waiting(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    sync_id = make_sync("first", "\"id\"", THREE, "upsert", "");
    node_id first = sync_id;
    sync_id = make_sync("second", "\"id\"", THREE, "upsert", "");
    node_id second = sync_id;
    atomic_store(&fake.block, true);
    sync_id = first;
    CHECK(trigger(sync_id, "start") == 0);
    CHECK(comes(sync_id, SYNC_STATUS, "phase: reading"));
    sync_id = second;
    CHECK(trigger(sync_id, "start") == 0);
    CHECK(shows(sync_id, SYNC_STATUS, "state: queued"));
    /* what waits its turn need not wait for it to be cancelled */
    CHECK(trigger(sync_id, "cancel") == 0);
    CHECK(trigger(sync_id, "wait") == ECANCELED);
    CHECK(shows(sync_id, SYNC_ERROR, "run: cancelled"));
    sync_id = first;
    CHECK(trigger(sync_id, "cancel") == 0);
    CHECK(trigger(sync_id, "wait") == ECANCELED);
    atomic_store(&fake.block, false);

    /* `wait` after the end repeats the result, and leaves the reason alone */
    fake.fail_at = 1;
    CHECK(trigger(sync_id, "start") == 0);
    CHECK(comes(sync_id, SYNC_STATUS, "state: failed"));
    CHECK(trigger(sync_id, "wait") == EIO);
    CHECK(shows(sync_id, SYNC_ERROR, "the source broke"));
    fake.fail_at = 0;

    /* a caller may call itself anything */
    prctl(PR_SET_NAME, "\xff\"\xd0");
    me.pid = getpid();
    CHECK(trigger(sync_id, "run") == 0);
    CHECK(fake.ntarget == 1);
}

int
main(void)
{
    begin();
    test_torn_plan(); /* while there is no other plan */
    test_upsert();
    test_mapping_changes();
    test_rejected();
    test_identifiers();
    test_guards();
    test_nothing_usable();
    test_identifier_type();
    test_foreign();
    test_insert();
    test_update();
    test_failures();
    test_refused_again();
    test_multiset();
    test_held();
    test_stray_file();
    test_unresolved();
    test_waiting();
    return end();
}
