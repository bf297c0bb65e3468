/*
 * explain/: a name is looked up, never listed. Asking is reading explain/NAME, with the name
 * that the row has in pending/ and rejected/; whether there is such a name shows when the
 * answer is made.
 */
#include "nodes.h"

static int
show(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    return sync_explain(e, at->sync, at->name, out, changed);
}

static int
find(struct engine *e, const struct place *dir, const char *name, uint64_t *number)
{
    *number = 0;
    return 0;
}

static int
next(struct engine *e, const struct place *dir, struct listing *it, struct buf *name)
{
    return 0;
}

static const struct item answer = {"", ITEM_TEXT, ITEM_PASSING, .show = show};

const struct dir nodes_explain = {.child = &answer, .find = find, .next = next};
