/* What a table is: its columns, and which of them a unique index covers. */
#pragma once

#include "driver.h"
#include "sqlite/link.h"
#include "sqlite/types.h"

struct table_column {
    struct column column; /* as driver.h has it */
    enum affinity affinity;
    int pk; /* place in the primary key, from 1; 0: none */
};

struct table_index { /* a unique one over whole columns, all compared byte by byte */
    size_t *columns; /* in its order */
    size_t n;
};

struct table {
    const char *schema; /* "main", or as which the file is attached */
    const char *name;   /* as it is written in the database */
    bool exists, view, without_rowid, strict, triggers;
    struct table_column *columns;
    size_t n;
    size_t rowid_alias; /* the INTEGER PRIMARY KEY, or SIZE_MAX */
    const char *rowid;  /* a name of the rowid that no column hides, or NULL */
    struct table_index *indexes;
    size_t nindexes;
};

/* Reads it into the arena; 0 and !exists when there is none. */
int table_load(struct link *l, const char *schema, const char *name, struct arena *arena,
               struct table *ret, struct error *err);
/* As SQLite compares names; SIZE_MAX: there is none. */
size_t table_find(const struct table *t, const char *name);
/* Some unique index, or the rowid, covers exactly these columns. */
bool table_unique(const struct table *t, const size_t *columns, size_t n);
/* "schema"."name" */
void table_add_name(struct buf *sql, const struct table *t);
