/*
 * Records of one change file in the fields of another one: names decide.
 */
#pragma once

#include "data/chg.h"

struct reshape {
    size_t nhave, nwant;
    size_t *fields;       /* for each wanted field, which of those there are; SIZE_MAX: none.
                             NULL: the same names in the same order */
    struct value *values; /* a record, unpacked */
};

/* Afterwards reshape_done is to be called, also if it fails. The metas need not outlive it. */
int reshape_init(struct reshape *r, const struct chg_meta *have, const struct chg_meta *want,
                 struct error *err);
/* *record, unless it is empty, in the wanted fields, V_ABSENT where it has no such field: as it
 * is, or in *space, which is cleared. */
int reshape_record(struct reshape *r, struct str *record, struct buf *space, struct error *err);
void reshape_done(struct reshape *r);
