/*
 * Drives a driver's hooks the way the engine does, for tests: options filled from its tables,
 * a whole source as text, a whole session in one call.
 */
#pragma once

#include "base/arena.h"
#include "driver.h"

/* A struct of that driver with its defaults and then name, value pairs (NULL ends). Lives in
 * the arena. An OPT_TYPES value is "column:type,column:type". */
void *drive_options(const struct option *table, size_t size, struct arena *arena, ...)
    __attribute__((sentinel));

/* Opens, describes, plans and reads all columns (or those listed, "a,b"), closes. The rows as
 * lines "i:1|t:abc|n" (type letter, text), or "error: …" as the last line. Malloc'd. */
struct drive_source {
    const struct driver *driver;
    const void *connection;
    struct model model;
    const char *columns; /* NULL: all */
    const char *order;   /* columns to ask order for, "a,b"; NULL: not asked */
};
char *drive_read(const struct drive_source *s);
/* The columns as "name type native" lines, likewise. */
char *drive_describe(const struct drive_source *s);
/* What source_plan said, as "ordered=0 rows=3 exact=1", and " guessed" behind a guess. */
char *drive_plan(const struct drive_source *s);

/* Appends one value as "i:1". */
void drive_value(struct buf *out, const struct value *v);
/* "i:1|n|t:x" to values; they point into the arena. Returns how many. */
size_t drive_parse(const char *row, struct value *values, size_t max, struct arena *arena);

/* Writes a file, or fails the test program. */
void drive_file(const char *path, const void *p, size_t n);
/* A fresh directory under $TMPDIR, removed at exit. */
const char *drive_directory(void);
