/*
 * Reading and writing JSON with jansson when memory may run out. The library's own loader
 * leaves out the bytes of a string that it had no memory for and says nothing: a path would
 * lose a slash. So does its writer with the key of a member: the text would be no JSON.
 */
#pragma once

#include <jansson.h>

#include "base/buf.h"

/* As json_loadb. NULL: it is no JSON, or memory was out (*no_memory, which may be NULL). */
json_t *json_parse(struct str text, size_t flags, json_error_t *e, bool *no_memory);
/* As json_dumps, the caller's to free. NULL: memory was out, or json is NULL. */
char *json_write(const json_t *json, size_t flags);

/* A tree of many pieces is put together between the first and the last of these, in one thread:
 * false when there was no memory for one of them, which may be missing then, or when somebody
 * had none for what was to become one. */
void json_build_begin(void);
void json_build_fail(void);
bool json_build_whole(void);
