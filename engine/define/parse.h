/* The three files of a sync, each by itself; definition.c puts them together. */
#pragma once

#include "define/complaint.h"

/* Fills what config.json says into d (its arena holds it all, and it holds drivers). TEXT_OK,
 * or another verdict with a complaint (with TEXT_INCOMPLETE only when final). What depends on
 * connections is judged as far as `world` knows them. */
enum text_verdict config_parse(const struct world *world, const struct text_file *f, bool final,
                               struct definition *d, struct complaint *c);

/* Parses mappings.csv into the arena. Not final: *ret is what the finished lines hold. */
enum text_verdict mappings_parse(const struct text_file *f, bool final, struct arena *arena,
                                 struct mapping **ret, size_t *n, struct complaint *c);

/* d: the destination's driver when it is known, else NULL; type: what the sync is, SYNC_TYPES
 * when that is not known. */
enum text_verdict mode_check(const struct driver *d, enum sync_type type,
                             const struct text_file *f, bool final, enum mode *ret,
                             struct complaint *c);

/* A reference; NULL when the world does not know it. */
const struct driver *world_driver(const struct world *world, const char *connection);

/* Letters, digits, '_', '-' and '.', not first: the x of connections/x.json. */
bool connection_name_good(struct str name);

/* A driver that is not known may be one that a user is about to write: then nothing is said of
 * its options, but for secrets in plain text. */
enum text_verdict connection_check(const struct world *world, const struct text_file *f,
                                   bool final, struct complaint *c);

enum text_verdict manifest_check(const struct text_file *f, bool final, struct complaint *c);
