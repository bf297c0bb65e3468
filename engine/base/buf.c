/* Byte buffer: see buf.h. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

char *
buf_room(struct buf *b, size_t more)
{
    if (b->failed)
        return NULL;
    if (more > SIZE_MAX - b->n - 1 || (b->max && b->n + more > b->max)) {
        b->failed = b->full = true;
        return NULL;
    }
    size_t need = b->n + more + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need)
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        if (b->max && cap - 1 > b->max) /* then what fits into it is never too much */
            cap = b->max + 1;
        char *p = realloc(b->p, cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->n;
}

void
buf_add_growing(struct buf *b, const void *p, size_t n)
{
    char *to = buf_room(b, n);
    if (!to)
        return;
    if (n > 0)
        memcpy(to, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void
buf_vaddf(struct buf *b, const char *format, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    char *to = n < 0 ? NULL : buf_room(b, (size_t)n);
    if (to) {
        vsnprintf(to, (size_t)n + 1, format, again);
        b->n += (size_t)n;
    } else {
        b->failed = true;
    }
    va_end(again);
}

void
buf_addf(struct buf *b, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    buf_vaddf(b, format, ap);
    va_end(ap);
}

void
buf_add_int(struct buf *b, int64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t left = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (v < 0)
        digits[--at] = '-';
    buf_add(b, digits + at, sizeof digits - at);
}

void
buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = b->full = false;
    if (b->p)
        b->p[0] = '\0';
}

void
buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max = b->max};
}

char *
buf_take(struct buf *b)
{
    if (!b->p)
        buf_room(b, 0);
    char *p = b->failed ? NULL : b->p;
    if (p)
        p[b->n] = '\0';
    else
        free(b->p);
    *b = (struct buf){.max = b->max};
    return p;
}
