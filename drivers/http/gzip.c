/* Packing of bodies: see gzip.h. */
#include "http/gzip.h"

#include <stdlib.h>
#include <zlib.h>

struct gzip {
    z_stream stream; /* kept, since it takes a quarter of a MiB to begin one */
};

struct gzip *
gzip_create(void)
{
    enum { WINDOW = 15, WITH_GZIP_HEAD = 16, MEMORY = 8 };
    struct gzip *g = calloc(1, sizeof *g);
    /* The fastest level: rows repeat themselves so much that others gain little. */
    if (g && deflateInit2(&g->stream, Z_BEST_SPEED, Z_DEFLATED, WINDOW + WITH_GZIP_HEAD, MEMORY,
                          Z_DEFAULT_STRATEGY) != Z_OK) {
        free(g);
        return NULL;
    }
    return g;
}

void
gzip_pack(struct gzip *g, struct str bytes, struct buf *out)
{
    enum { STEP = 1 << 30 }; /* zlib counts in unsigned int */
    z_stream *z = &g->stream;
    size_t left = bytes.n;
    int rc = Z_OK;
    z->next_in = (Bytef *)(uintptr_t)bytes.p;
    do {
        z->avail_in = (uInt)(left < STEP ? left : STEP);
        left -= z->avail_in;
        size_t room = deflateBound(z, z->avail_in);
        z->next_out = (Bytef *)buf_room(out, room);
        if (!z->next_out)
            break;
        z->avail_out = (uInt)room;
        rc = deflate(z, left ? Z_NO_FLUSH : Z_FINISH);
        out->n += room - z->avail_out;
    } while (rc == Z_OK && left);
    out->failed |= rc != Z_STREAM_END;
    deflateReset(z);
}

struct gzip *
gzip_free(struct gzip *g)
{
    if (g)
        deflateEnd(&g->stream);
    free(g);
    return NULL;
}
