/*
 * Where expressions live: an SQLite database in memory that holds nothing, may do nothing but
 * compute, and knows only functions that give the same answer for the same row.
 */
#pragma once

#include <sqlite3.h>

#include "define/define.h"

struct sandbox;

int sandbox_open(struct sandbox **ret, struct error *err);
struct sandbox *sandbox_close(struct sandbox *s); /* NULL-safe, returns NULL */

/* The columns that an expression reads, in the order of its parameters ?1, ?2 … */
struct sandbox_names {
    const char **p; /* owned strings */
    size_t n;
};
void sandbox_names_done(struct sandbox_names *names);

/* Compiles one expression into a statement of one result column, its column names into *names.
 * Any name it reads is taken for a column. The caller finalises *ret before sandbox_close. */
int sandbox_compile(struct sandbox *s, const char *expression, struct sandbox_names *names,
                    sqlite3_stmt **ret, struct error *err);
/* The same, keeping nothing. */
int sandbox_check(struct sandbox *s, const char *expression, struct error *err);
/* SQLite's words for what went wrong last. */
const char *sandbox_error(struct sandbox *s);
