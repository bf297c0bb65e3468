/* Buffers for secrets: they never grow, which would leave copies behind, and are wiped. */
#pragma once

#include <openssl/crypto.h>

#include "base/buf.h"

/* Room for max bytes at once; a buffer that cannot have it is failed. */
static inline void
wipe_init(struct buf *b, size_t max)
{
    *b = (struct buf)BUF_INIT(max);
    buf_room(b, max);
}

/* Frees, like buf_done. */
static inline void
wipe_done(struct buf *b)
{
    if (b->p)
        OPENSSL_cleanse(b->p, b->cap);
    buf_done(b);
}

#define AUTO_WIPE __attribute__((cleanup(wipe_done)))
