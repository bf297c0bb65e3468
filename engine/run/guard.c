/*
 * Guards stand before harm: a run that would delete more than it should, or rows that are not
 * this sync's, or everything because the model came back empty, is held before it sends
 * anything; `approve` lets exactly that plan through.
 */
#include "run/run.h"

#include <inttypes.h>

enum { FREE_DELETES = 100 }; /* the default bound is for syncs that delivered more than this */
static const double DEFAULT_SHARE = 0.2;

/* Whether the deletes are more than the definition lets go; *bound: how many it lets go. */
static bool
too_many(const struct definition *def, uint64_t deletes, uint64_t delivered, uint64_t *bound)
{
    if (def->max_deletes_set && def->max_deletes_rows >= 0) {
        *bound = (uint64_t)def->max_deletes_rows;
        return deletes > *bound;
    }
    if (!def->max_deletes_set && delivered <= FREE_DELETES)
        return false;
    double share = def->max_deletes_set ? def->max_deletes_share : DEFAULT_SHARE;
    *bound = (uint64_t)(share * (double)delivered);
    return (double)deletes > share * (double)delivered;
}

const char *
run_guard(const struct definition *def, const struct diff_counts *counts, uint64_t deletes,
          uint64_t foreign, struct arena *arena)
{
    if (!mode_deletes(def->mode))
        return NULL;
    /* Rows without a usable identifier are no model either. */
    if (counts->rows == counts->refused && deletes + foreign > 0)
        return arena_printf(arena, "%s: %" PRIu64 " records would be deleted",
                            counts->rows ? "every row of the model was refused"
                                         : "the model is empty",
                            deletes + foreign);
    uint64_t bound;
    if (too_many(def, deletes, counts->delivered, &bound))
        return arena_printf(arena,
                            "%llu of %llu delivered records would be deleted; max_deletes lets "
                            "%llu go",
                            (unsigned long long)deletes, (unsigned long long)counts->delivered,
                            (unsigned long long)bound);
    if (foreign > 0 && def->foreign == FOREIGN_HOLD)
        return arena_printf(
            arena,
            "%llu rows at the destination were never delivered by this sync and "
            "would be deleted (\"foreign\": \"delete\" lets them go, \"keep\" "
            "leaves them alone)",
            (unsigned long long)foreign);
    return NULL;
}
