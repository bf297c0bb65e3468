/* Arena: see arena.h. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK_BYTES = 16 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t n, cap;
    alignas(max_align_t) char bytes[];
};

void *
arena_alloc(struct arena *a, size_t n)
{
    size_t size = (n + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (size < n)
        return NULL;
    struct arena_block *b = a->head;
    if (!b || b->cap - b->n < size) {
        size_t cap = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        b = malloc(sizeof *b + cap);
        if (!b)
            return NULL;
        *b = (struct arena_block){.next = a->head, .cap = cap};
        a->head = b;
    }
    void *p = b->bytes + b->n;
    b->n += size;
    return memset(p, 0, size);
}

char *
arena_strndup(struct arena *a, const char *p, size_t n)
{
    char *copy = arena_alloc(a, n + 1);
    if (copy && n > 0)
        memcpy(copy, p, n);
    return copy;
}

char *
arena_strdup(struct arena *a, const char *z)
{
    return z ? arena_strndup(a, z, strlen(z)) : NULL;
}

char *
arena_printf(struct arena *a, const char *format, ...)
{
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    char *text = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(ap);
    return text;
}

void
arena_clear(struct arena *a)
{
    struct arena_block *keep = NULL;
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        if (!keep && b->cap == BLOCK_BYTES)
            keep = b;
        else
            free(b);
    }
    if (keep)
        *keep = (struct arena_block){.cap = BLOCK_BYTES};
    a->head = keep;
}

void
arena_done(struct arena *a)
{
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->head = NULL;
}
