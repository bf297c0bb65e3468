/*
 * Memory that lives as long as a batch, a run or a definition, and is freed at once.
 * Pointers stay valid until arena_clear or arena_done. NULL when memory is out.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"

struct arena_block;
struct arena {
    struct arena_block *head;
};

#define ARENA_INIT                                                                             \
    {                                                                                          \
        .head = NULL                                                                           \
    }

/* Zeroed, aligned for any type. */
void *arena_alloc(struct arena *a, size_t n);
/* A NUL-terminated copy of n bytes. */
char *arena_strndup(struct arena *a, const char *p, size_t n);
char *arena_strdup(struct arena *a, const char *z);
char *arena_printf(struct arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Forgets everything but keeps one block for the next use. */
void arena_clear(struct arena *a);
void arena_done(struct arena *a);

#define AUTO_ARENA __attribute__((cleanup(arena_done)))
