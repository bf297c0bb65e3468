/*
 * Growing byte buffer with a mandatory cap and sticky failure: append as often as you like,
 * look at `failed` once at the end. Always NUL-terminated once anything was appended, but
 * contents may hold NULs: `n` is the length.
 */
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that somebody else owns; no NUL assumed. */
struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

static inline struct str
str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}

static inline bool
str_equal(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
str_is(struct str a, const char *z)
{
    return str_equal(a, str_of(z));
}

struct buf {
    char *p;
    size_t n, cap, max;
    bool failed; /* out of memory or over max: contents end where it happened */
    bool full;   /* it was max */
};

enum {
    BUF_NO_MAX = 0
}; /* for buffers bounded by what is put in (a row, a file already read) */

#define BUF_INIT(max_bytes)                                                                    \
    {                                                                                          \
        .max = (max_bytes)                                                                     \
    }

/* Room for `more` bytes after n, not yet counted in n; NULL (and failed) when impossible. */
char *buf_room(struct buf *b, size_t more);

/* buf_add's, where there is no room yet, or never will be. */
void buf_add_growing(struct buf *b, const void *p, size_t n);

static inline void
buf_add(struct buf *b, const void *p, size_t n)
{
    if (n >= b->cap - b->n || b->failed) {
        buf_add_growing(b, p, n);
        return;
    }
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

static inline void
buf_adds(struct buf *b, const char *z)
{
    buf_add(b, z, strlen(z));
}

void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *b, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* In decimal. For what is written once a row: printf would take longer than all the rest. */
void buf_add_int(struct buf *b, int64_t v);
static inline void
buf_addc(struct buf *b, char c)
{
    if (b->n + 1 < b->cap && !b->failed) {
        b->p[b->n++] = c;
        b->p[b->n] = '\0';
        return;
    }
    buf_add(b, &c, 1);
}

static inline struct str
buf_str(const struct buf *b)
{
    return (struct str){b->p ? b->p : "", b->n};
}

/* The text as a C string ("" when empty); borrowed. */
static inline const char *
buf_z(const struct buf *b)
{
    return b->p ? b->p : "";
}

/* Why it failed. */
static inline int
buf_errno(const struct buf *b)
{
    return b->full ? EFBIG : ENOMEM;
}

/* n = 0, memory kept, failure forgotten. */
void buf_clear(struct buf *b);
/* Frees; the buffer may be used again. */
void buf_done(struct buf *b);
/* Hands the malloc'd text over (never NULL unless failed); the buffer is empty afterwards. */
char *buf_take(struct buf *b);

enum { VARINT_MAX = 10 };

/* Writes a LEB128 number, VARINT_MAX bytes at most; returns its end. */
static inline char *
varint_write(char *to, uint64_t v)
{
    while (v >= 0x80) {
        *to++ = (char)(v | 0x80);
        v >>= 7;
    }
    *to++ = (char)v;
    return to;
}

/* The length, and then the bytes. */
static inline char *
varint_write_str(char *to, struct str s)
{
    to = varint_write(to, s.n);
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

static inline void
buf_add_varint(struct buf *b, uint64_t v)
{
    char bytes[VARINT_MAX];
    buf_add(b, bytes, (size_t)(varint_write(bytes, v) - bytes));
}

/* Reads a LEB128 number at *p, before end; advances *p. False: it does not fit or is cut. */
static inline bool
varint_read(const char **p, const char *end, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && *p < end; shift += 7) {
        uint8_t b = (uint8_t) * (*p)++;
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}
