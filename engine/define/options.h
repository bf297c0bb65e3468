/* A driver's option tables put to work: JSON members into the driver's struct. */
#pragma once

#include "define/json_text.h"

/* Where secrets are written down; connections only. */
struct secret_list {
    struct secret *p; /* in the arena; room for all of the table's */
    size_t n;
};

/* Fills a new struct of `size` bytes in the arena from the object's members by the table (NULL:
 * no options) and stores it in *ret (NULL when there is no table). `own` are the keys that
 * belong to the file itself, ended by NULL; any other key is refused. 0, -EINVAL with a
 * complaint, or -ENOMEM with one. */
int options_fill(const struct json_node *object, const char *const *own,
                 const struct option *table, size_t size, struct arena *arena,
                 struct secret_list *secrets, void **ret, struct complaint *c);

/* What the filled struct's OPTION_PLACE members say, "list=vip list_column=name", in the arena;
 * *ret is NULL where none is set. False: out of memory. */
bool options_part(const struct option *table, const void *filled, struct arena *arena,
                  const char **ret);

/* Where the table is not known yet: refuses texts under a key that is a secret of some driver.
 */
int options_refuse_plain_secrets(const struct json_node *object, struct complaint *c);

/* Refuses keys that are neither `own` nor an option in any of the tables. */
int options_check_keys(const struct json_node *object, const char *const *own,
                       const struct option *const *tables, size_t ntables, struct complaint *c);

/* Splits "a|b|c" into the arena's words. False: out of memory. */
struct words;
bool option_choices(const struct option *o, struct arena *arena, struct words *words);
/* The default as JSON, or NULL when the option has none (or memory is out). Owned. */
json_t *option_default(const struct option *o);
