/* The keys that objects have: each once, numbered in the order of their first appearance. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/vec.h"

struct key {
    const char *name; /* in the arena */
    size_t n;
    uint64_t seen; /* number of the last row that had it */
};

struct keys {
    VEC(struct key) list;
    uint32_t *slots; /* index + 1 into list; 0: free */
    size_t nslots;   /* a power of two */
};

/* The number of that key, or -1. */
ptrdiff_t keys_find(const struct keys *k, struct str name);
/* The same, and a new one gets the next number; -1: out of memory. */
ptrdiff_t keys_add(struct keys *k, struct str name, struct arena *arena);
void keys_done(struct keys *k);
