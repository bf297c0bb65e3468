/*
 * From a model row to what is kept and sent: the identifier's key and the packed record.
 *
 * Made once a run from the definition and the source's schema; used by the one thread that
 * reads the source.
 */
#pragma once

#include "base/arena.h"
#include "data/chg.h"
#include "define/define.h"
#include "driver.h"

struct mapper;

/* schema: the model's columns. *ret_meta (in the mapper, borrowed): fields with sources, types,
 * native names; key and key classes from the identifier. ERR_CONFIG when a column is missing,
 * with the columns there are. source_driver: its name (static). */
int mapper_create(const struct definition *def, const struct schema *schema,
                  const char *source_driver, struct mapper **ret, struct error *err);
struct mapper *mapper_free(struct mapper *m); /* NULL-safe, returns NULL */

const struct chg_meta *mapper_meta(const struct mapper *m);
/* The columns to read and the identifier's order; borrowed. */
const struct projection *mapper_projection(const struct mapper *m);
/* nfields columns as a destination needs them to create a table; borrowed. */
const struct column *mapper_fields(const struct mapper *m);

/* Without identifier: the fields that make a record's fingerprint, by number; all of them until
 * this is called. Taken in the order of their names, so that reordering mappings changes
 * nothing. `use` is borrowed. */
void mapper_identify_by(struct mapper *m, const bool *use);
enum { FINGERPRINT_BYTES = 32 };
/* Appends the fingerprint of a packed record of this mapping; use: as above, NULL:
 * all fields. From one thread, which need not be the one that maps rows. */
int mapper_fingerprint(struct mapper *m, const bool *use, struct str record, struct buf *key,
                       struct error *err);

enum mapped {
    MAPPED_OK,
    MAPPED_NULL_KEY, /* the identifier, or a part of it, is NULL: key starts with that NULL */
    MAPPED_BAD,      /* an expression failed: *why says so; key is good, the record lacks it */
    MAPPED_NO_EVENT, /* its event has no name: *why says so; key and record are good */
};

/* The code under which such a row is refused. Static. */
const char *mapped_code(enum mapped kind);

/* values: one model row (projection.n values). Appends to key and record. Without identifier
 * the key is the record's fingerprint. *why is only written from MAPPED_BAD on. */
int mapper_row(struct mapper *m, const struct value *values, struct buf *key,
               struct buf *record, enum mapped *ret, struct error *why, struct error *err);
