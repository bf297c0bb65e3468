/* Typed growing array: VEC(struct x) v = {0}; VEC_PUSH(&v, x) is false when memory is out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define VEC(type)                                                                              \
    struct {                                                                                   \
        type *p;                                                                               \
        size_t n, cap;                                                                         \
    }

static inline bool
vec_grow(void **p, size_t *cap, size_t need, size_t item)
{
    if (need <= *cap)
        return true;
    size_t cap2 = *cap ? *cap * 2 : 8;
    while (cap2 < need)
        cap2 *= 2;
    void *q = reallocarray(*p, cap2, item);
    if (!q)
        return false;
    *p = q;
    *cap = cap2;
    return true;
}

#define VEC_RESERVE(v, need) vec_grow((void **)&(v)->p, &(v)->cap, (need), sizeof *(v)->p)
#define VEC_PUSH(v, item) (VEC_RESERVE((v), (v)->n + 1) && ((v)->p[(v)->n++] = (item), true))
#define VEC_DONE(v) (free((v)->p), (v)->p = NULL, (v)->n = (v)->cap = 0)
#define VEC_EACH(v, it) for (__typeof__((v)->p) it = (v)->p; it < (v)->p + (v)->n; it++)
