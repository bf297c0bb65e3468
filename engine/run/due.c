/* Being due: see due.h. */
#include "run/due.h"

#include "run/mapper.h"

struct due
due_of(const struct chg_meta *meta, const struct entry *e, uint64_t run)
{
    if (e->due.run)
        return e->due;
    struct due due = {.run = run};
    if (meta->nkey == 0) /* equal records are numbered at the end of their keys */
        for (size_t i = FINGERPRINT_BYTES; i < e->key.n; i++)
            due.copy = due.copy << 8 | (uint8_t)e->key.p[i];
    return due;
}

bool
due_same_change(const struct entry *before, const struct entry *now)
{
    return before->op == now->op && str_equal(before->after, now->after) &&
           str_equal(before->before, now->before);
}
