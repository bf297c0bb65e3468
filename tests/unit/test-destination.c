/*
 * Where a destination's connection points: edited under the same name it is another
 * destination, of which nothing is known, and nothing is delivered there twice unasked.
 */
#include "engine-in-memory.h"

enum { MANY = 2000 };

static void
point(const char *connection, const char *where)
{
    AUTO_BUF struct buf text = BUF_INIT(256);
    buf_addf(&text, "{\"driver\": \"fake\", \"where\": \"%s\"}", where);
    put(NODE_CONNECTIONS, connection, buf_z(&text));
}

static void
start_with_two(void)
{
    fake_clear();
    fake_add("a", "Al", "x");
    fake_add("b", "Bo", "x");
    point("f.json", "here");
}

static void
test_another_place(void)
{
    start_with_two();
    node_id s = make_sync("moved", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(s, "run") == 0 && fake.ntarget == 2);
    point("f.json", "there");
    fake.ntarget = 0;
    CHECK(shows(s, SYNC_STATUS, "next_run: full: destination changed: here → there (2 rows)"));
    CHECK(trigger(s, "retry") == EIO);
    CHECK(trigger(s, "run") == 0 && fake.ntarget == 2);
    CHECK(shows(s, SYNC_STATUS, "last_full: destination changed: here → there"));
    CHECK(shows(s, SYNC_STATUS, "next_run: incremental"));
    reopen_engine();
    CHECK(shows(s, SYNC_STATUS, "next_run: incremental"));

    /* there and back again before a run: nothing happened */
    point("f.json", "here");
    point("f.json", "there");
    CHECK(trigger(s, "run") == 0 && lines(sent(s, 0)) == 0);

    /* a mirror deletes nothing for having delivered it elsewhere */
    put(s, "mode", "mirror");
    fake.nmodel = 1;
    point("f.json", "here");
    fake.ntarget = 0;
    CHECK(trigger(s, "run") == 0 && lines(sent(s, 0)) == 1 && fake.deletes == 0);
}

static void
test_plan(void)
{
    start_with_two();
    node_id s = make_sync("planned", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(s, "plan") == 0);
    point("f.json", "there");
    CHECK(trigger(s, "approve") == ESTALE && fake.ntarget == 0);
    CHECK(trigger(s, "plan") == 0 && trigger(s, "approve") == 0 && fake.ntarget == 2);
}

static void
test_insert(void)
{
    start_with_two();
    node_id s = make_sync("inserted", NULL, THREE, "insert", "");
    CHECK(trigger(s, "run") == 0 && fake.ntarget == 2);
    /* perhaps the same server under another name: a person must say */
    point("f.json", "there");
    CHECK(trigger(s, "run") == EIO && fake.ntarget == 2);
    CHECK(shows(s, SYNC_ERROR,
                "held: mode insert would create 2 records again (destination "
                "changed: here → there)"));
    point("f.json", "here");
    CHECK(trigger(s, "run") == 0 && lines(sent(s, 0)) == 0);
    /* another connection to the same place is no other place */
    static const char to_g[] = "{\"source\": {\"connection\": \"m\", \"table\": \"t\"},"
                               " \"destination\": {\"connection\": \"g\", \"object\": \"t\"}}";
    point("g.json", "here");
    put(s, "config.json", to_g);
    CHECK(trigger(s, "run") == EIO && fake.ntarget == 2);
    point("g.json", "there");
    CHECK(trigger(s, "run") == 0 && fake.ntarget == 4);
}

static void
test_unresolved(void)
{
    start_with_two();
    node_id s = make_sync("asked", NULL, THREE, "insert", "");
    fake.lose_commit = fake.commit_happened = fake.lose_peer = true;
    CHECK(trigger(s, "start") == 0);
    CHECK(comes(s, SYNC_STATUS, "phase: committing"));
    CHECK(trigger(s, "cancel") == 0 && trigger(s, "wait") == EIO);
    fake.lose_commit = fake.lose_peer = fake.unreachable = false;
    /* another place knows nothing of the run: its no is no answer */
    char token[sizeof fake.token];
    memcpy(token, fake.token, sizeof token);
    point("f.json", "there");
    fake.token[0] = '\0';
    CHECK(trigger(s, "run") == EIO && fake.ntarget == 2);
    CHECK(shows(s, SYNC_ERROR, "connection \"f\" points elsewhere since (here → there)"));
    point("f.json", "here");
    memcpy(fake.token, token, sizeof token);
    CHECK(trigger(s, "run") == 0 && fake.ntarget == 2);
    CHECK(shows(s, SYNC_STATUS, "delivered: 2"));
}

/* Several blocks between reading and sending. */
static void
add_many(void)
{
    for (int i = 0; i < MANY; i++) {
        char id[FAKE_TEXT];
        snprintf(id, sizeof id, "%0150d", i);
        fake_add(id, id, id);
    }
}

/* What such a destination was sent cannot be taken back. */
/* `remove` to a destination that keeps what it was sent: nothing goes before the guard's word,
 * and what is only recorded never does. */
static void
test_members(void)
{
    start_with_two();
    put(NODE_CONNECTIONS, "f.json", "{\"driver\": \"calls\"}");
    node_id s = make_sync("members", "\"id\"", THREE, "remove",
                          ", \"type\": \"audience\", \"max_deletes\": 0");
    CHECK(trigger(s, "run") == 0 && fake.begun == 0 && fake.ntarget == 0);
    CHECK(lines(sent(s, 0)) == 2 && strstr(sent(s, 0), "\"outcome\":\"recorded\" }"));
    CHECK(shows(s, SYNC_STATUS, "last_recorded: 2"));
    fake_add("c", "Cy", "Cork");
    fake.model[0] = fake.model[--fake.nmodel]; /* a leaves, c enters */
    fake.target[fake.ntarget++] = (struct fake_row){{"a", "Al", "Aa"}};
    CHECK(trigger(s, "run") == EIO && shows(s, SYNC_STATUS, "state: held"));
    CHECK(fake.ntarget == 1);
    CHECK(shows(s, SYNC_PENDING_SUMMARY, "deletes: 1\nrecorded: 1\n"));
    CHECK(trigger(s, "approve") == 0 && fake.ntarget == 0 && fake.deletes == 1);
    CHECK(fake.upserts == 0 && fake.inserts == 0);
    CHECK(shows(s, SYNC_STATUS, "delivered: 2"));
    /* now they are added, though nothing of them changed */
    put(s, "mode", "upsert\n");
    CHECK(trigger(s, "run") == 0 && fake.ntarget == 2 && fake.upserts == 2);
    CHECK(shows(s, SYNC_STATUS, "delivered: 2"));
}

static void
test_not_atomic(void)
{
    start_with_two();
    put(NODE_CONNECTIONS, "f.json", "{\"driver\": \"calls\"}");
    node_id s = make_sync("calls", "\"id\"", THREE, "mirror", ", \"max_deletes\": 0");
    CHECK(trigger(s, "run") == 0 && fake.ntarget == 2);
    CHECK(trigger(s, "run") == 0 && lines(sent(s, 0)) == 0);
    /* held: nothing of it was sent, then all of it */
    snprintf(fake.model[0].cells[1], FAKE_TEXT, "new");
    fake.nmodel = 1;
    CHECK(trigger(s, "run") == EIO && shows(s, SYNC_STATUS, "state: held"));
    CHECK_TEXT(fake_find("a")->cells[1], "Al");
    CHECK(trigger(s, "approve") == 0 && fake.ntarget == 1);
    CHECK_TEXT(fake_find("a")->cells[1], "new");
    CHECK(shows(s, SYNC_STATUS, "delivered: 1"));
    /* on a full run foreign rows hold it likewise */
    fake.target[fake.ntarget++] = (struct fake_row){{"x", "stranger", ""}};
    snprintf(fake.model[0].cells[1], FAKE_TEXT, "newer");
    CHECK(trigger(s, "full") == EIO && shows(s, SYNC_ERROR, "held: 1 rows at the destination"));
    CHECK_TEXT(fake_find("a")->cells[1], "new");
    CHECK(fake.ntarget == 2);
    configure(s, "\"id\"", "t", ", \"foreign\": \"delete\"");
    CHECK(trigger(s, "full") == 0 && fake.ntarget == 1);
    CHECK_TEXT(fake_find("a")->cells[1], "newer");
    CHECK(shows(s, SYNC_STATUS, "delivered: 1"));

    /* a source that fails half way has created nothing that the next run creates again */
    fake_clear();
    add_many();
    fake.ordered = true; /* then rows could go out while others are read */
    s = make_sync("creates", "\"id\"", THREE, "insert", "");
    fake.fail_at = MANY;
    CHECK(trigger(s, "run") == EIO);
    CHECK(fake.ntarget == 0);
    fake.fail_at = 0;
    CHECK(trigger(s, "run") == 0 && fake.ntarget == MANY);

    /* nor one whose rows are out of the order they seemed to be in, and so not seen to have
     * the same identifier before one of them was sent */
    fake_clear();
    add_many();
    fake_add(fake.model[0].cells[0], "another", "x");
    fake.ordered = fake.guessed = true;
    s = make_sync("guesses", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(s, "run") == EIO && shows(s, SYNC_STATUS, "rejected: 2"));
    CHECK(fake.ntarget == MANY - 1 && !fake_find(fake.model[0].cells[0]));
    CHECK(shows(s, SYNC_LOG, "not in the order they seemed to be in: sorting here instead"));
}

/* What is cancelled sends no more, though much may be queued. */
static void
test_cancelled(void)
{
    fake_clear();
    put(NODE_CONNECTIONS, "f.json", "{\"driver\": \"calls\"}");
    add_many();
    fake.nmodel = 3 * MANY / 4; /* then all is read, and the last blocks wait */
    node_id s = make_sync("cancelled", "\"id\"", THREE, "upsert", "");
    atomic_store(&fake.hold, true);
    CHECK(trigger(s, "start") == 0);
    CHECK(comes(s, SYNC_STATUS, "phase: sending"));
    CHECK(trigger(s, "cancel") == 0);
    atomic_store(&fake.hold, false);
    CHECK(trigger(s, "wait") == ECANCELED);
    CHECK(fake.ntarget > 0 && fake.ntarget < fake.nmodel);
}

static void *
approve(void *arg)
{
    char verb[64];
    node_id *s = arg;
    char *id = strstr(shown(*s, SYNC_STATUS), "pending: plan ");
    snprintf(verb, sizeof verb, "approve %.12s", id ? id + strlen("pending: plan ") : "");
    return (void *)(intptr_t)trigger(*s, verb);
}

/* A run that plans anew first: whoever cancels it means that too. */
static void
test_cancelled_within(void)
{
    fake_clear();
    put(NODE_CONNECTIONS, "f.json", "{\"driver\": \"fake\"}");
    fake_add("a", "Al", "x");
    node_id s = make_sync("within", "\"id\"", THREE, "upsert", "");
    CHECK(trigger(s, "plan") == 0);
    atomic_store(&fake.block, true);
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, approve, &s);
    for (int i = 0; i < 5000 && atomic_load(&fake.open) == 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    CHECK(atomic_load(&fake.open) > 0);
    CHECK(trigger(s, "cancel") == 0);
    pthread_join(thread, &result);
    CHECK((intptr_t)result == ECANCELED && fake.ntarget == 0);
    atomic_store(&fake.block, false);
    CHECK((intptr_t)approve(&s) == 0 && fake.ntarget == 1);
}

int
main(void)
{
    begin();
    test_another_place();
    test_plan();
    test_insert();
    test_unresolved();
    test_members();
    test_not_atomic();
    test_cancelled();
    test_cancelled_within();
    return end();
}
