/*
 * Options of a destination that name mapped fields: texts with fields in braces, wherever they
 * stand in the option, and objects whose members are fields.
 */
#pragma once

#include "define/json_text.h"

/* Judges the form of all texts in an option. 0, or -EINVAL with a complaint. */
int phrases_check(const struct json_node *v, struct complaint *c);
/* Whether the fields that option o names at v are all mapped. 0, -EINVAL or -ENOMEM. */
int phrases_check_fields(const struct option *o, const struct json_node *v,
                         const struct definition *d, struct complaint *c);
