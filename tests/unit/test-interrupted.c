/*
 * A run that the destination has committed, and of which the catalogue has lost that it ended:
 * whatever there is no memory for, nothing is sent again before somebody has been asked.
 */
#include "engine-in-memory.h"

#include <glob.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "catalog/intact.h"
#include "failing-memory.h"

/* The catalogue as it was before the run's end. */
static void
forget_the_end(void)
{
    static const char statement[] =
        "UPDATE sync SET data = json_set(data, '$.last_done', 0,"
        "  '$.segments', json('[]'));"
        "UPDATE sync SET sum = checksum(uid, last_run, data);"
        "UPDATE run SET phase = 'active', sum = checksum(sync, number, 'active', summary)";
    AUTO_BUF struct buf path = BUF_INIT(256);
    sqlite3 *db = NULL;
    engine_close(engine);
    buf_addf(&path, "%s/catalogue.db", directory);
    CHECK(sqlite3_open(buf_z(&path), &db) == SQLITE_OK && checksum_define(db) == SQLITE_OK);
    if (!CHECK(sqlite3_exec(db, statement, NULL, NULL, NULL) == SQLITE_OK))
        printf("# %s\n", sqlite3_errmsg(db));
    sqlite3_close(db);
    open_engine();
}

/* Whether the run's segment, by which it is suspected, is still there. */
static bool
has_segment(void)
{
    AUTO_BUF struct buf pattern = BUF_INIT(256);
    glob_t found;
    buf_addf(&pattern, "%s/syncs/*/state-1", directory);
    bool has = glob(buf_z(&pattern), 0, NULL, &found) == 0;
    globfree(&found);
    return has;
}

static void
test_no_memory(node_id s)
{
    unsigned wrong = 0, n = 0;
    do {
        memory_fail_at(++n, false);
        int result = trigger(s, "run");
        memory_fail_at(0, false);
        if (result != 0 && fake.ntarget == 1 && has_segment())
            continue;
        if (wrong++ < 5)
            printf("# allocation %u: %s\n", n, strerror(result));
    } while (atomic_load(&memory_calls) >=
             n); /* else the run ended before it came to that one */
    printf("# %u allocations\n", n - 1);
    CHECK(n > 100 && wrong == 0);
}

int
main(void)
{
    begin();
    fake_add("a", "Al", "x");
    node_id s = make_sync("s", "\"id\"", THREE, "insert", "");
    CHECK(trigger(s, "run") == 0 && fake.ntarget == 1);
    CHECK(has_segment());
    forget_the_end();
    CHECK(trigger(s, "run") == EIO && fake.ntarget == 1);
    CHECK(shows(s, SYNC_ERROR, "the destination has committed run 1, and the catalogue has"));
    test_no_memory(s);
    CHECK(trigger(s, "baseline") == 0 && trigger(s, "run") == 0 && fake.ntarget == 1);
    return end();
}
