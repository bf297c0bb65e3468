/* What writer, reader and renderer of change files share; nobody outside data/ needs it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <zstd.h>

#include "data/chg.h"
#include "data/nest.h"

#define CHG_MAGIC "retlfs\r\n" /* no text file, and hurt by any newline conversion */
enum {
    CHG_MAGIC_BYTES = 8,
    CHG_VERSION = 2,
    CHG_VERSION_UNRECORDED = 1,                      /* before there was ENTRY_RECORDED */
    CHG_HEADER_BYTES = CHG_MAGIC_BYTES + 3 * 4,      /* version, views, length of meta */
    CHG_FOOTER_BYTES = 3 * 8 + 32 + CHG_MAGIC_BYTES, /* index: offset, packed, unpacked; hash */
    CHG_META_MAX = 16 << 20,
    CHG_KEY_KEPT = 256, /* longer first keys are cut in the index */
    CHG_VIEW_MASK = (1 << CHG_VIEWS) - 1,
};
/* A block of one huge entry may reach this; a file that says more is damaged. */
#define CHG_BLOCK_MAX ((uint64_t)4 << 30)

/* The first byte of an entry: its op and what follows. */
enum entry_head {
    HEAD_OP = 7,
    HEAD_SEQ = 1 << 3, /* seq is written; without: one more than that of the entry before */
    HEAD_AFTER = 1 << 4,
    HEAD_BEFORE = 1 << 5,
    HEAD_NOTE = 1 << 6, /* tries and note */
    HEAD_DUE = 1 << 7,
};

static inline void
put_u32(char *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (char)(v >> 8 * i);
}

static inline void
put_u64(char *to, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        to[i] = (char)(v >> 8 * i);
}

static inline uint64_t
get_u64(const char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v |= (uint64_t)(uint8_t)p[i] << 8 * i;
    return v;
}

static inline uint32_t
get_u32(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v |= (uint32_t)(uint8_t)p[i] << 8 * i;
    return v;
}

/* --- meta as bytes --- */

void chg_meta_pack(const struct chg_meta *meta, struct buf *out);
/* -EINVAL: the bytes are damaged; -ENOMEM. */
int chg_meta_unpack(struct arena *arena, struct str bytes, struct chg_meta **ret);

/* --- rendering with the names' JSON made once --- */

struct chg_renderer {
    const struct chg_meta *meta;
    struct str *field_json; /* "email": */
    struct str *key_json;
    const struct nest *nest; /* NULL: fields side by side */
    struct str outcome;      /* for VIEW_SENT */
};

/* False: memory is out. meta and arena must outlive it. */
bool chg_renderer_init(struct chg_renderer *r, struct arena *arena,
                       const struct chg_meta *meta);
void chg_render_entry(const struct chg_renderer *r, enum chg_view view, const struct entry *e,
                      struct buf *out);
/* How many bytes that appends. What `scratch` held is gone; it has failed where memory is out.
 */
uint64_t chg_entry_size(const struct chg_renderer *r, enum chg_view view, const struct entry *e,
                        struct buf *scratch);

/* --- reading --- */

struct chg_block {
    uint64_t offset;   /* the next block's is where this one ends */
    uint64_t unpacked; /* bytes */
    uint32_t entries;
    uint8_t ops; /* CHG_OPs of its entries */
    uint16_t key_n;
    bool key_cut; /* the key goes on: what is kept is only a prefix */
    const char *key;
};

/* Cursors kept for look-ups, so that as many readers at different places unpack no block twice.
 */
enum { CHG_FINDERS = 4 };

struct chg_cursor {
    struct chg *file;
    bool counted; /* holds a reference */
    ZSTD_DCtx *dctx;
    struct buf packed, unpacked;
    const char *p, *end; /* in unpacked */
    uint32_t left;       /* entries of this block not yet given */
    size_t next_block;   /* while p is set, the one before it is unpacked */
    unsigned ops;        /* only these are given */
    uint64_t seq;
    struct str at; /* key of the entry read last of this block; p = NULL: of none yet */
    bool peeked;   /* `peek` is to be given before what follows */
    struct entry peek;
};

struct chg {
    atomic_uint refs;
    int fd;
    char *name;
    uint64_t size;
    unsigned views;
    int nops;                    /* of which the index has totals */
    const struct chg_meta *meta; /* arena */
    struct arena arena;
    struct chg_totals totals;
    struct chg_renderer renderer;

    size_t nblocks;
    struct chg_block *blocks; /* nblocks + 1: the last one marks the end */
    struct buf index;         /* the keys' bytes */
    unsigned nviews;
    uint64_t *view_ends; /* [block * nviews + view]: cumulative, head included */
    uint64_t view_heads[CHG_VIEWS];

    const char *outcome; /* of all but those that `refused` holds; NULL: not told */
    struct chg *refused, *unsent;

    pthread_mutex_t lock; /* for the rest: the block that was rendered last */
    struct chg_cursor *view_cursor;
    struct chg_cursor *finders[CHG_FINDERS]; /* the one used last first */
    struct buf view_text;
    size_t view_block; /* SIZE_MAX: none */
    enum chg_view view_kind;
};

/* The place of a view among those that were asked for. */
static inline unsigned
chg_view_slot(unsigned views, enum chg_view view)
{
    return (unsigned)__builtin_popcount(views & (VIEW_BIT(view) - 1));
}

/* What VIEW_SENT has over VIEW_JSONL, for each change. */
#define CHG_OUTCOME_KEY ",\"outcome\":\""
enum { CHG_OUTCOME_BYTES = sizeof CHG_OUTCOME_KEY - 1 + CHG_OUTCOME_MAX + 1 };

/* A cursor that leaves the count alone, for use by the file itself. */
int chg_cursor_open_uncounted(struct chg *c, struct chg_cursor **ret, struct error *err);
/* The next chg_next gives the first entry of that block. */
void chg_cursor_to_block(struct chg_cursor *cur, size_t block);
/* The block in which entries with this key begin, if there are any. */
size_t chg_block_of(const struct chg *c, struct str key);
/* Whether this is the block that the cursor has unpacked. */
bool chg_cursor_has_block(const struct chg_cursor *cur, size_t block);
/* Where the block lies that it has unpacked. */
uint64_t chg_cursor_offset(const struct chg_cursor *cur);
/* Reads the entry at cur->p, which may be the end; false: it is none. */
bool chg_parse_entry(struct chg_cursor *cur, struct entry *e);
/* n bytes at offset appended to *out. */
int chg_read_piece(const struct chg *c, uint64_t offset, uint64_t n, struct buf *out,
                   struct error *err);
/* Uncompresses exactly n bytes, which stand at `offset` in the file, into *out. */
int chg_unpack(const struct chg *c, ZSTD_DCtx *dctx, struct str packed, uint64_t offset,
               uint64_t n, struct buf *out, struct error *err);
/* Reads the header, magic to meta, and checks that it is one. */
int chg_read_header(const struct chg *c, struct buf *header, struct error *err);
/* The views and the meta that it tells of. */
int chg_take_header(struct chg *c, struct str header, struct error *err);
/* Opens the file and looks at nothing in it. */
int chg_open_file(int dirfd, const char *name, struct chg **ret, struct error *err);
/* What reading leaves out: the records of an entry, and its place behind the key before. */
bool chg_plausible(const struct chg *c, const struct entry *e, struct str before);
/* "NAME is damaged at byte OFFSET". */
int chg_damaged(const struct chg *c, uint64_t offset, struct error *err);
/* SHA-256 of two pieces. False: libcrypto failed. */
bool chg_hash(struct str a, struct str b, struct str c, uint8_t ret[32]);
