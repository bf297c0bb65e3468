/* A small hash table of names: see keys.h. */
#include "jsonl/keys.h"

#include <stdlib.h>
#include <string.h>

static uint64_t
hash(struct str s)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001B3);
    return h ^ h >> 32;
}

static size_t
slot_of(const struct keys *k, struct str name)
{
    size_t mask = k->nslots - 1, at = hash(name) & mask;
    for (; k->slots[at]; at = (at + 1) & mask) {
        const struct key *key = &k->list.p[k->slots[at] - 1];
        if (str_equal((struct str){key->name, key->n}, name))
            break;
    }
    return at;
}

ptrdiff_t
keys_find(const struct keys *k, struct str name)
{
    return k->nslots ? (ptrdiff_t)k->slots[slot_of(k, name)] - 1 : -1;
}

static bool
grow(struct keys *k)
{
    size_t n = k->nslots ? k->nslots * 2 : 64;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    free(k->slots);
    k->slots = slots;
    k->nslots = n;
    for (size_t i = 0; i < k->list.n; i++)
        slots[slot_of(k, (struct str){k->list.p[i].name, k->list.p[i].n})] = (uint32_t)i + 1;
    return true;
}

ptrdiff_t
keys_add(struct keys *k, struct str name, struct arena *arena)
{
    ptrdiff_t at = keys_find(k, name);
    if (at >= 0)
        return at;
    if (k->list.n * 2 >= k->nslots && !grow(k))
        return -1;
    struct key key = {.name = arena_strndup(arena, name.p, name.n), .n = name.n};
    if (!key.name || !VEC_PUSH(&k->list, key))
        return -1;
    k->slots[slot_of(k, name)] = (uint32_t)k->list.n;
    return (ptrdiff_t)k->list.n - 1;
}

void
keys_done(struct keys *k)
{
    VEC_DONE(&k->list);
    free(k->slots);
    *k = (struct keys){0};
}
