/* Packing of bodies (RFC 1952). */
#pragma once

#include "base/buf.h"

struct gzip;

/* NULL when memory is out. */
struct gzip *gzip_create(void);
/* Appends the bytes packed; out->failed tells memory. */
void gzip_pack(struct gzip *g, struct str bytes, struct buf *out);
struct gzip *gzip_free(struct gzip *g); /* NULL-safe, returns NULL */
