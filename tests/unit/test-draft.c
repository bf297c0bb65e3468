/* The edit of a checked file (fs/draft.c) over the engine of fake_engine.c. */
#include "draft.h"

#include <errno.h>
#include <unistd.h>

#include "fake_engine.h"
#include "tap.h"

static struct engine *engine;
static struct draft_place at;

/* A fresh sync with the file `name`; `text`: what is in force. */
static void
place(const char *name, const char *text)
{
    static int count;
    char dir[32];
    snprintf(dir, sizeof dir, "s%d", count++);
    struct caller me = {.pid = 100};
    struct node sync, file;
    tree_make(engine, NODE_SYNCS, dir, NODE_DIR, 0755, NULL, &me, &sync);
    tree_make(engine, sync.id, name, NODE_FILE, 0644, NULL, &me, &file);
    at = (struct draft_place){.engine = engine,
                              .parent = sync.id,
                              .id = file.id,
                              .name = name,
                              .kind = doc_kind(engine, sync.id, name),
                              .who = me};
    struct complaint c;
    if (text)
        doc_commit(engine, sync.id, name, file.id, str_of(text), &me, &c);
}

static bool
in_force(const char *want)
{
    struct buf got = BUF_INIT(BUF_NO_MAX);
    tree_read(engine, at.id, &got);
    bool same = str_is(buf_str(&got), want);
    buf_done(&got);
    return same;
}

static bool
refused_as(const char *want)
{
    char name[64];
    snprintf(name, sizeof name, "%s.rej", at.name);
    struct node n;
    if (tree_lookup(engine, at.parent, name, &n) < 0)
        return want == NULL;
    struct buf got = BUF_INIT(BUF_NO_MAX);
    tree_read(engine, n.id, &got);
    bool same = want && str_is(buf_str(&got), want);
    buf_done(&got);
    return same;
}

static struct draft
begin(const char *accepted, bool append)
{
    struct draft d;
    draft_open(&d, at.kind, str_of(accepted), 0, append, &at.who);
    return d;
}

static int
put(struct draft *d, uint64_t offset, const char *text)
{
    bool committed;
    return draft_write(d, &at, offset, str_of(text), &committed);
}

static int
flush(struct draft *d)
{
    bool committed;
    return draft_flush(d, &at, &committed);
}

static void
test_whole_text(void)
{
    place("config.json", "{1}");
    struct draft d = begin(NULL, false);
    CHECK_MSG(flush(&d) == 0, "a close before any byte is nothing");
    CHECK(put(&d, 0, "{2") == 0);
    CHECK_MSG(in_force("{1}"), "readers see the old text meanwhile");
    CHECK(put(&d, 2, "}") == 0 && flush(&d) == 0);
    CHECK(in_force("{2}") && refused_as(NULL));
    CHECK(flush(&d) == 0);
    draft_done(&d);
}

static void
test_refusal(void)
{
    place("config.json", "{1}");
    struct draft d = begin(NULL, false);
    CHECK_MSG(put(&d, 0, "{!") == -EINVAL, "the write that decides fails");
    CHECK(refused_as("{!") && in_force("{1}"));
    CHECK_MSG(flush(&d) == -EINVAL, "the close after it too");
    CHECK_MSG(put(&d, 0, "{!") == -EINVAL, "the same bytes again are checked again");
    CHECK(put(&d, 0, "{3}") == 0 && flush(&d) == 0 && in_force("{3}"));
    draft_done(&d);

    d = begin(NULL, false);
    CHECK(put(&d, 0, "{4") == 0);
    CHECK_MSG(flush(&d) == -EINVAL && refused_as("{4"), "half a text is refused by close");
    draft_done(&d);

    d = begin(NULL, false);
    CHECK(put(&d, 0, "{") == 0 && put(&d, 1, "!") == -EINVAL);
    CHECK_MSG(put(&d, 1, "}") == -EINVAL && flush(&d) == -EINVAL,
              "no text with a hole where a piece was refused");
    CHECK(draft_truncate(&d, &at, 0) == 0 && put(&d, 0, "{5}") == 0 && flush(&d) == 0);
    CHECK(in_force("{5}"));
    draft_done(&d);
}

static void
test_other_processes_close(void)
{
    place("config.json", "{1}");
    struct draft d = begin(NULL, false);
    CHECK(put(&d, 0, "{2") == 0);
    at.who.pid = 200;
    CHECK_MSG(flush(&d) == 0 && in_force("{1}"), "a child's close ends nothing");
    at.who.pid = 0;
    CHECK_MSG(flush(&d) == -EINVAL, "a closer that cannot be told is taken for the opener");
    draft_done(&d);

    place("mappings.csv", "column,field\na,b\n");
    d = begin(NULL, false);
    CHECK(put(&d, 0, "column,field\nc,d\n") == 0);
    at.who.pid = 200;
    CHECK_MSG(flush(&d) == 0 && in_force("column,field\na,b\n"), "lines may follow");
    at.who.pid = 100;
    CHECK(put(&d, 17, "e,f\n") == 0 && flush(&d) == 0);
    CHECK(in_force("column,field\nc,d\ne,f\n"));
    draft_done(&d);
}

static void
test_over_old_text(void)
{
    place("mappings.csv", "column,field\na,b\n");
    struct draft d = begin("column,field\na,b\n", true);
    CHECK_MSG(put(&d, 3, "c,d\n") == 0 && flush(&d) == 0, "append ignores the offset");
    CHECK(in_force("column,field\na,b\nc,d\n"));
    draft_done(&d);

    d = begin("column,field\na,b\nc,d\n", false);
    CHECK_MSG(put(&d, 13, "zzz") == 0, "in the middle a write decides nothing");
    CHECK(draft_truncate(&d, &at, 13) == 0 && put(&d, 13, "x,y\n") == 0 && flush(&d) == 0);
    CHECK(in_force("column,field\nx,y\n"));
    draft_done(&d);

    d = begin("column,field\nx,y\n", true);
    at.version = 1;
    CHECK(put(&d, 0, "q,r\n") == 0);
    CHECK_MSG(flush(&d) == -ESTALE && in_force("column,field\nx,y\n"), "changed meanwhile");
    CHECK(refused_as("column,field\nx,y\nq,r\n"));
    draft_done(&d);

    d = begin(NULL, false);
    CHECK(draft_truncate(&d, &at, 0) == 0);
    CHECK_MSG(flush(&d) == -EINVAL, "emptying is an edit, and a bad one");
    draft_done(&d);

    d = begin(NULL, false);
    at.name = NULL;
    at.kind = TEXT_PLAIN;
    CHECK(put(&d, 0, "column,field\nx,y\n") == 0);
    CHECK_MSG(flush(&d) == -ESTALE, "the file was removed meanwhile");
    draft_done(&d);
}

static void
test_mode(void)
{
    place("mode", "upsert\n");
    struct draft d = begin(NULL, false);
    CHECK_MSG(put(&d, 0, "mirror") == 0 && in_force("mirror"), "holds when write returns");
    CHECK_MSG(put(&d, 6, "\n") == 0 && in_force("mirror"), "its newline in another write");
    CHECK(put(&d, 7, "bogus\n") == -EINVAL && refused_as("bogus\n") && flush(&d) == -EINVAL);
    CHECK_MSG(put(&d, 7, "upsert\n") == 0 && in_force("upsert\n"), "one write, one value");
    CHECK(flush(&d) == 0);
    draft_done(&d);
}

static void
test_limits(void)
{
    place("config.json", "{1}");
    struct draft d = begin(NULL, false);
    CHECK(put(&d, text_max(TEXT_CONFIG), "x") == -EFBIG && flush(&d) == -EINVAL);
    CHECK(draft_truncate(&d, &at, UINT64_MAX) == -EFBIG);
    CHECK(in_force("{1}"));
    draft_done(&d);
}

/* A text that nobody can judge now stays a draft, and is judged by the next close. */
static void
test_no_memory(void)
{
    place("config.json", "{1}");
    struct draft d = begin(NULL, false);
    fake_engine_lacks_memory(engine, true);
    CHECK_MSG(put(&d, 0, "{2}") == 0, "a write only looks ahead");
    CHECK(flush(&d) == -ENOMEM && flush(&d) == -ENOMEM);
    CHECK(in_force("{1}") && refused_as(NULL));
    fake_engine_lacks_memory(engine, false);
    CHECK(flush(&d) == 0 && in_force("{2}"));
    draft_done(&d);

    place("mode", "upsert\n");
    d = begin(NULL, false);
    fake_engine_lacks_memory(engine, true);
    CHECK(put(&d, 0, "mirror\n") == -ENOMEM && flush(&d) == -ENOMEM);
    CHECK(in_force("upsert\n") && refused_as(NULL));
    fake_engine_lacks_memory(engine, false);
    CHECK(flush(&d) == 0 && in_force("mirror\n"));
    draft_done(&d);
}

int
main(void)
{
    struct engine_settings settings = {0};
    struct error err = ERROR_INIT;
    engine_open(&settings, &engine, &err);
    test_whole_text();
    test_refusal();
    test_other_processes_close();
    test_over_old_text();
    test_mode();
    test_limits();
    test_no_memory();
    engine_close(engine);
    return tap_done();
}
