/* The functions of expressions that are ours: sha256, sha256_once, normalize_… and their try_
 * forms, which give NULL where the others fail. */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>

struct sandbox_functions;

/* Makes them known to the connection; a result code of SQLite. They must outlive it. */
int sandbox_functions_open(sqlite3 *db, struct sandbox_functions **ret);
struct sandbox_functions *sandbox_functions_close(struct sandbox_functions *f); /* NULL-safe */
/* Whether one of them is called so, in small letters. */
bool sandbox_functions_have(const char *name);
