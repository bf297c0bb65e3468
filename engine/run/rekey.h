/*
 * `insert` without identifier under another mapping.
 *
 * Without identifier a record is known by all its fields, so another mapping makes every record
 * another one; yet a mapping change must not create everything a second time. So rows of the
 * model and records of the delivered state are matched by the fields that both mappings share,
 * as multisets; what matches is known under its new form from then on, what does not is new.
 */
#pragma once

#include "run/diff.h"

/* Whether the state was made with other fields, or others behind them. */
bool rekey_needed(const struct chg_meta *before, const struct chg_meta *now);

/* In place of diff_run. settings->reader must be made after mapper_identify_by with
 * rekey_shared's answer. Writes the delivered state under its new keys as NAME (fsynced). */
int rekey_run(const struct diff_settings *settings, struct mapper *mapper, const bool *shared,
              int dirfd, const char *name, size_t sort_memory, struct diff_counts *counts,
              struct error *err);
/* For each field of `now`: whether `before` has the same. In arena. */
const bool *rekey_shared(const struct chg_meta *before, const struct chg_meta *now,
                         struct arena *arena);
