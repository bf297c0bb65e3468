/*
 * What a change file says of itself, as bytes: lengths and texts one after the other. A text
 * that may be missing has its length + 1, so that NULL is 0 and not "".
 */
#include "data/chg_format.h"

#include <openssl/evp.h>

#include "base/cleanup.h"

static void
put_text(struct buf *out, const char *z)
{
    size_t n = z ? strlen(z) : 0;
    buf_add_varint(out, z ? n + 1 : 0);
    buf_add(out, z, n);
}

void
chg_meta_pack(const struct chg_meta *meta, struct buf *out)
{
    put_text(out, meta->source_driver);
    buf_add_varint(out, meta->nfields);
    for (size_t i = 0; i < meta->nfields; i++) {
        put_text(out, meta->fields[i].name);
        put_text(out, meta->fields[i].source);
        put_text(out, meta->fields[i].native);
        buf_addc(out, (char)meta->fields[i].type);
    }
    buf_add_varint(out, meta->nkey);
    for (size_t i = 0; i < meta->nkey; i++) {
        put_text(out, meta->key_names[i]);
        buf_add_varint(out, meta->key[i]);
        buf_addc(out, (char)meta->key_class[i]);
    }
    if (meta->nested) /* files without it are older */
        buf_addc(out, 1);
}

/* Reads with sticky failure: after a cut everything reads as nothing. */
struct meta_reader {
    const char *p, *end;
    struct arena *arena;
    bool failed;
    bool no_memory; /* that is why */
};

static void
fail_memory(struct meta_reader *r)
{
    r->failed = r->no_memory = true;
}

/* A number below `limit`. */
static size_t
get_number(struct meta_reader *r, uint64_t limit)
{
    uint64_t v;
    if (r->failed || !varint_read(&r->p, r->end, &v) || v >= limit) {
        r->failed = true;
        return 0;
    }
    return v;
}

static char *
get_text(struct meta_reader *r, bool required)
{
    size_t n = get_number(r, (uint64_t)CHG_META_MAX);
    if (r->failed || (n == 0 && required) || n > (size_t)(r->end - r->p) + 1) {
        r->failed = true;
        return NULL;
    }
    if (n == 0)
        return NULL;
    char *text = arena_strndup(r->arena, r->p, n - 1);
    if (!text)
        fail_memory(r);
    else if (memchr(text, '\0', n - 1))
        r->failed = true;
    r->p += n - 1;
    return text;
}

static void *
get_array(struct meta_reader *r, size_t n, size_t item)
{
    /* each item has at least three bytes, so a wild count cannot ask for wild memory */
    if (n > (size_t)(r->end - r->p) / 3) {
        r->failed = true;
        return NULL;
    }
    void *p = arena_alloc(r->arena, n * item);
    if (!p)
        fail_memory(r);
    return p;
}

static void
get_fields(struct meta_reader *r, struct chg_meta *meta)
{
    meta->nfields = get_number(r, CHG_META_MAX);
    meta->fields = get_array(r, meta->nfields, sizeof *meta->fields);
    for (size_t i = 0; i < meta->nfields && !r->failed; i++) {
        struct chg_field *f = &meta->fields[i];
        f->name = get_text(r, true);
        f->source = get_text(r, false);
        f->native = get_text(r, false);
        f->type = get_number(r, V_ABSENT);
    }
}

static void
get_key(struct meta_reader *r, struct chg_meta *meta)
{
    meta->nkey = get_number(r, CHG_META_MAX);
    meta->key = get_array(r, meta->nkey, sizeof *meta->key);
    meta->key_names = get_array(r, meta->nkey, sizeof *meta->key_names);
    meta->key_class = get_array(r, meta->nkey, sizeof *meta->key_class);
    for (size_t i = 0; i < meta->nkey && !r->failed; i++) {
        meta->key_names[i] = get_text(r, true);
        meta->key[i] = get_number(r, meta->nfields);
        meta->key_class[i] = get_number(r, KEY_INT + 1);
    }
}

int
chg_meta_unpack(struct arena *arena, struct str bytes, struct chg_meta **ret)
{
    struct meta_reader r = {.p = bytes.p, .end = bytes.p + bytes.n, .arena = arena};
    struct chg_meta *meta = arena_alloc(arena, sizeof *meta);
    if (!meta)
        return -ENOMEM;
    meta->source_driver = get_text(&r, false);
    get_fields(&r, meta);
    if (!r.failed)
        get_key(&r, meta);
    meta->nested = !r.failed && r.p != r.end && get_number(&r, 2) == 1;
    if (r.failed || r.p != r.end)
        return r.no_memory ? -ENOMEM : -EINVAL;
    *ret = meta;
    return 0;
}

struct chg_meta *
chg_meta_copy(struct arena *arena, const struct chg_meta *meta)
{
    AUTO_BUF struct buf bytes = BUF_INIT(CHG_META_MAX);
    struct chg_meta *copy = NULL;
    chg_meta_pack(meta, &bytes);
    if (!bytes.failed)
        chg_meta_unpack(arena, buf_str(&bytes), &copy);
    return copy;
}

static bool
same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool
chg_meta_same_fields(const struct chg_meta *a, const struct chg_meta *b)
{
    if (a->nfields != b->nfields)
        return false;
    for (size_t i = 0; i < a->nfields; i++)
        if (!same_text(a->fields[i].name, b->fields[i].name) ||
            !same_text(a->fields[i].source, b->fields[i].source) ||
            a->fields[i].type != b->fields[i].type)
            return false;
    return true;
}

bool
chg_hash(struct str a, struct str b, struct str c, uint8_t ret[32])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, a.p, a.n) == 1 && EVP_DigestUpdate(ctx, b.p, b.n) == 1 &&
              EVP_DigestUpdate(ctx, c.p, c.n) == 1 && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}
