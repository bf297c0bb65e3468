/*
 * history/ of a sync: every text of its checked files that was ever accepted or refused, as
 * FILE/000007 and FILE/000008.rej.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "nodes.h"

/* By `which` of the directories' children. */
static const char *const files[] = {"config.json", "mappings.csv", "mode", "schedule"};

static void
add_name(const struct history_text *text, struct buf *out)
{
    buf_addf(out, "%06" PRIu64 "%s", text->number, text->accepted ? "" : ".rej");
}

static int
find(struct engine *e, const struct place *dir, const char *name, uint64_t *number)
{
    uint64_t n = 0;
    const char *p = name;
    for (; *p >= '0' && *p <= '9' && p - name < 18; p++)
        n = n * 10 + (uint64_t)(*p - '0');
    struct history_text text;
    int r = n == 0 ? 0 : sync_history_next(e, dir->sync, dir->item->name, n - 1, &text);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    AUTO_BUF struct buf its_name = BUF_INIT(64);
    add_name(&text, &its_name); /* each text has one name only */
    *number = text.number;
    return strcmp(buf_z(&its_name), name) == 0 ? 0 : -ENOENT;
}

static int
next(struct engine *e, const struct place *dir, struct listing *it, struct buf *name)
{
    struct history_text text;
    int r = sync_history_next(e, dir->sync, dir->item->name, it->number, &text);
    if (r <= 0)
        return r;
    it->number = text.number;
    add_name(&text, name);
    return 1;
}

static int
show_text(struct engine *e, const struct place *at, struct buf *out, struct timespec *changed)
{
    return sync_history_read(e, at->sync, files[at->item->which], at->number, out, changed);
}

#define TEXT_ITEM(which_)                                                                      \
    {                                                                                          \
        "", ITEM_TEXT, ITEM_PASSING, which_, .show = show_text                                 \
    }
static const struct item texts[] = {TEXT_ITEM(0), TEXT_ITEM(1), TEXT_ITEM(2), TEXT_ITEM(3)};

#define TEXTS_DIR(which_)                                                                      \
    {                                                                                          \
        .child = &texts[which_], .find = find, .next = next                                    \
    }
static const struct dir dirs[] = {TEXTS_DIR(0), TEXTS_DIR(1), TEXTS_DIR(2), TEXTS_DIR(3)};

/* There while it holds anything. */
#define FILE_ITEM(which_, name_)                                                               \
    {                                                                                          \
        name_, ITEM_DIR, ITEM_PASSING, .dir = &dirs[which_]                                    \
    }
static const struct item file_items[] = {FILE_ITEM(0, "config.json"),
                                         FILE_ITEM(1, "mappings.csv"), FILE_ITEM(2, "mode"),
                                         FILE_ITEM(3, "schedule")};
const struct dir nodes_history = {file_items, sizeof file_items / sizeof *file_items};
