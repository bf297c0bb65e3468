/* Records in other fields: see reshape.h. */
#include "data/reshape.h"

#include <stdlib.h>

static bool
same_names(const struct chg_meta *a, const struct chg_meta *b)
{
    if (a->nfields != b->nfields)
        return false;
    for (size_t i = 0; i < a->nfields; i++)
        if (strcmp(a->fields[i].name, b->fields[i].name) != 0)
            return false;
    return true;
}

static size_t
find_field(const struct chg_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->nfields; i++)
        if (strcmp(meta->fields[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

int
reshape_init(struct reshape *r, const struct chg_meta *have, const struct chg_meta *want,
             struct error *err)
{
    *r = (struct reshape){.nhave = have->nfields, .nwant = want->nfields};
    if (same_names(have, want))
        return 0;
    r->fields = calloc(want->nfields + 1, sizeof *r->fields);
    r->values = calloc(have->nfields + 1, sizeof *r->values);
    if (!r->fields || !r->values)
        return error_no_memory(err);
    for (size_t i = 0; i < want->nfields; i++)
        r->fields[i] = find_field(have, want->fields[i].name);
    return 0;
}

int
reshape_record(struct reshape *r, struct str *record, struct buf *space, struct error *err)
{
    static const struct value absent = {.type = V_ABSENT};
    if (!r->fields || record->n == 0)
        return 0;
    if (!record_unpack(*record, r->values, r->nhave))
        return error_set(err, ERR_INTERNAL, EIO, "a record that was kept is damaged");
    buf_clear(space);
    for (size_t i = 0; i < r->nwant; i++)
        record_add(space, r->fields[i] == SIZE_MAX ? &absent : &r->values[r->fields[i]]);
    if (space->failed)
        return error_no_memory(err);
    *record = buf_str(space);
    return 0;
}

void
reshape_done(struct reshape *r)
{
    free(r->fields);
    free(r->values);
    *r = (struct reshape){0};
}
