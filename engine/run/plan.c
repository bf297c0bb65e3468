/* Plans: see plan.h. */
#include "run/plan.h"

#include "base/cleanup.h"

static const char FOREIGN[] = "foreign: this sync never delivered it";

bool
plan_is_foreign(const struct entry *e)
{
    return e->op == ENTRY_DELETE && str_is(e->note, FOREIGN);
}

bool
plan_is_unsure(const struct entry *e)
{
    return str_is(e->note, PLAN_UNSURE);
}

bool
plan_is_unsure_gone(const struct entry *e)
{
    return e->op == ENTRY_DELETE && str_is(e->note, PLAN_UNSURE_GONE);
}

struct merge {
    struct chg_writer *out;
    struct chg_cursor *changes;
    struct entry change;
    bool more_changes;
    struct sorter *foreign;
    struct entry row;
    bool more_rows;
    struct buf resent; /* the note of rows sent again unchanged */
    uint64_t seq;
    uint64_t foreign_rows;
    struct buf last_foreign; /* its key */
    const atomic_bool *cancelled;
};

static int
next_change(struct merge *m, struct error *err)
{
    int rc = chg_next(m->changes, &m->change, err);
    m->more_changes = rc == 1;
    return rc < 0 ? rc : 0;
}

/* The next foreign identifier. Several rows may have it where nothing makes it unique; one
 * delete is for all of them. */
static int
next_foreign(struct merge *m, struct error *err)
{
    m->more_rows = false;
    if (!m->foreign)
        return 0;
    m->row = (struct entry){.op = ENTRY_DELETE, .note = str_of(FOREIGN)};
    int rc;
    do
        rc = sorter_next(m->foreign, &m->row.key, &m->row.before, err);
    while (rc == 1 && str_equal(m->row.key, buf_str(&m->last_foreign)));
    if (rc != 1)
        return rc;
    m->more_rows = true;
    buf_clear(&m->last_foreign);
    buf_add(&m->last_foreign, m->row.key.p, m->row.key.n);
    return m->last_foreign.failed ? error_no_memory(err) : 0;
}

void
plan_resent(const char *why_full, struct buf *out)
{
    buf_addf(out, "resent: %s",
             why_full ? why_full : "the destination did not take it last time");
}

struct str
plan_reason(const struct entry *e, struct str resent)
{
    if (e->note.n)
        return e->note;
    switch (e->op) {
    case ENTRY_INSERT:
        return e->before.n ? STR("created again") : STR("new");
    case ENTRY_UPDATE:
        if (e->before.n == 0)
            return STR("new");
        return str_equal(e->after, e->before) ? resent : STR("changed");
    case ENTRY_DELETE:
        return STR("left the model");
    case ENTRY_RECORDED:
        return STR("entered: only what leaves is sent");
    default:
        return STR("");
    }
}

static int
add(struct merge *m, const struct entry *e, struct error *err)
{
    if (e->op == ENTRY_PRESENT)
        return 0;
    struct entry copy = *e;
    copy.seq = m->seq++;
    copy.note = plan_reason(e, buf_str(&m->resent));
    return chg_add(m->out, &copy, err);
}

static int
merge(struct merge *m, struct error *err)
{
    int rc = next_change(m, err);
    if (rc == 0)
        rc = next_foreign(m, err);
    while (rc == 0 && (m->more_changes || m->more_rows) &&
           (rc = cancel_check(m->cancelled, err)) == 0) {
        int order = !m->more_rows      ? -1
                    : !m->more_changes ? 1
                                       : key_compare(m->change.key, m->row.key);
        if (order <= 0) {
            rc = add(m, &m->change, err);
            if (rc == 0 && order == 0)
                rc = next_foreign(m, err);
            if (rc == 0)
                rc = next_change(m, err);
        } else {
            m->foreign_rows++;
            rc = add(m, &m->row, err);
            if (rc == 0)
                rc = next_foreign(m, err);
        }
    }
    return rc;
}

static void
hex_id(const uint8_t *digest, char *id)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < PLAN_ID_LENGTH / 2; i++) {
        id[2 * i] = digits[digest[i] >> 4];
        id[2 * i + 1] = digits[digest[i] & 15];
    }
    id[PLAN_ID_LENGTH] = '\0';
}

int
plan_write(struct chg *changes, struct sorter *foreign, const char *why_full, unsigned views,
           const atomic_bool *cancelled, int dirfd, const char *name, struct chg **ret,
           char *id, uint64_t *foreign_rows, struct error *err)
{
    struct merge m = {.foreign = foreign, .cancelled = cancelled};
    uint8_t digest[32];
    plan_resent(why_full, &m.resent);
    int rc = chg_create(dirfd, name, chg_get_meta(changes), views | (id ? CHG_DIGEST : 0),
                        &m.out, err);
    if (rc == 0)
        rc = chg_cursor_open(changes, &m.changes, err);
    if (rc == 0)
        rc = merge(&m, err);
    chg_cursor_close(m.changes);
    buf_done(&m.last_foreign);
    buf_done(&m.resent);
    if (rc < 0) {
        chg_discard(m.out);
        return rc;
    }
    chg_cancel_by(m.out, cancelled);
    rc = chg_finish(m.out, true, NULL, id ? digest : NULL, err);
    if (rc < 0)
        return rc;
    if (id)
        hex_id(digest, id);
    *foreign_rows = m.foreign_rows;
    return chg_open(dirfd, name, ret, err);
}
