/* JSON pointers (RFC 6901) into jansson's values. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* "" is the value itself; NULL when there is nothing. Borrowed. */
const json_t *pointer_get(const json_t *root, const char *pointer);
/* Whether the text can be a pointer. */
bool pointer_good(const char *pointer);
