/*
 * Entries as files: their names, and the way back. A name is made from the key alone and can be
 * read back into it, so finding a file is a look-up by key. Only a name that was cut gives no
 * more than the beginning of the key: then the entries that begin so are looked at.
 */
#include "base/cleanup.h"
#include "base/hex.h"
#include "data/chg_format.h"

enum {
    NAME_MAX_BYTES = 200,
    HASH_DIGITS = 16,
    NAME_KEPT = NAME_MAX_BYTES - 1 - HASH_DIGITS,
};

static void
add_hex(struct buf *out, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        buf_addc(out, digits[p[i] >> 4]);
        buf_addc(out, digits[p[i] & 15]);
    }
}

/* Of a key's component; what key_next says. Nearly all of them are names as they are. */
static int
add_component(const char **p, const char *end, struct buf *out)
{
    size_t start = out->n;
    int rc = key_next(p, end, out);
    if (rc == 0)
        buf_adds(out, "NULL");
    if (rc <= 0 || out->failed || filename_is_plain(out->p + start, out->n - start))
        return rc;
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    buf_add(&text, out->p + start, out->n - start);
    out->n = start;
    filename_part(out, text.p, text.n);
    out->failed |= text.failed;
    return rc;
}

/* False: the key is not made of nkey components. */
static bool
name_of_key(const struct chg_meta *meta, struct str key, struct buf *out)
{
    const char *p = key.p, *end = key.p + key.n;
    for (size_t i = 0; i < meta->nkey; i++) {
        if (i > 0)
            buf_addc(out, ',');
        if (add_component(&p, end, out) < 0)
            return false;
    }
    return p == end && meta->nkey > 0;
}

void
chg_entry_filename(const struct chg_meta *meta, const struct entry *e, struct buf *out)
{
    size_t start = out->n;
    if (!name_of_key(meta, e->key, out)) {
        out->n = start;
        add_hex(out, (const uint8_t *)e->key.p, e->key.n);
        if (e->key.n == 0)
            buf_addc(out, '%');
    }
    if (out->failed || out->n - start <= NAME_MAX_BYTES)
        return;
    uint8_t hash[32];
    struct str whole = {out->p + start, out->n - start};
    if (!chg_hash(whole, (struct str){0}, (struct str){0}, hash)) {
        out->failed = true;
        return;
    }
    out->n = start + NAME_KEPT;
    buf_addc(out, '~');
    add_hex(out, hash, HASH_DIGITS / 2);
}

/* Percent-decoding; stops at the first byte that cannot be (a name cut within "%4E"). */
static void
decode_part(struct str part, struct buf *out)
{
    for (size_t i = 0; i < part.n; i++) {
        char c = part.p[i];
        if (c == '%') {
            int high = i + 1 < part.n ? hex_digit(part.p[i + 1]) : -1;
            int low = i + 2 < part.n ? hex_digit(part.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return;
            c = (char)(high << 4 | low);
            i += 2;
        }
        buf_addc(out, c);
    }
}

static void
decode_hex(struct str name, struct buf *key)
{
    for (size_t i = 0; i + 1 < name.n; i += 2) {
        int high = hex_digit(name.p[i]), low = hex_digit(name.p[i + 1]);
        if (high < 0 || low < 0)
            return;
        buf_addc(key, (char)(high << 4 | low));
    }
}

/* Takes back what a component would have that goes on: only the beginning of a text is known;
 * of an integer, nothing. */
static void
open_component(struct buf *key, size_t start)
{
    enum { TEXT_CLASS = 0x20, TERMINATOR = 2 };
    if (key->failed || key->n <= start)
        return;
    key->n = key->p[start] == TEXT_CLASS ? key->n - TERMINATOR : start;
}

/* The key, or of a cut name its beginning, that stands behind `name`. */
static void
key_of_name(const struct chg_meta *meta, struct str name, bool cut, struct buf *key)
{
    if (meta->nkey == 0) {
        decode_hex(name, key);
        return;
    }
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < meta->nkey; i++) {
        const char *comma = name.n > 0 ? memchr(name.p, ',', name.n) : NULL;
        struct str part = {name.p, comma ? (size_t)(comma - name.p) : name.n};
        size_t start = key->n;
        struct value v = {.type = V_NULL};
        if (!str_is(part, "NULL") || (cut && !comma)) {
            buf_clear(&text);
            decode_part(part, &text);
            v = (struct value){buf_z(&text), (uint32_t)text.n, V_TEXT};
        }
        key_add(key, meta->key_class[i], &v);
        key->failed |= text.failed;
        if (cut && !comma) {
            open_component(key, start);
            return;
        }
        name.p += part.n + (comma ? 1 : 0);
        name.n -= part.n + (comma ? 1 : 0);
    }
}

/* "NAME", "NAME~2", "KEPT~0123456789abcdef", "KEPT~0123456789abcdef~2". */
struct parsed_name {
    struct str base;  /* with the hash */
    struct str plain; /* without */
    uint64_t ordinal; /* from 1 */
    bool cut;
};

static bool
parse_name(const char *name, struct parsed_name *ret)
{
    struct str rest = str_of(name);
    *ret = (struct parsed_name){.base = rest, .plain = rest, .ordinal = 1};
    const char *tilde = strchr(name, '~');
    if (!tilde)
        return true;
    ret->plain.n = (size_t)(tilde - name);
    ret->cut = ret->plain.n == NAME_KEPT && rest.n - NAME_KEPT - 1 >= HASH_DIGITS;
    ret->base.n = ret->plain.n + (ret->cut ? 1 + HASH_DIGITS : 0);
    const char *p = name + ret->base.n;
    if (*p == '\0')
        return ret->cut;
    if (*p++ != '~' || *p < '1' || *p > '9')
        return false;
    for (ret->ordinal = 0; *p; p++) {
        if (*p < '0' || *p > '9' || ret->ordinal > UINT32_MAX)
            return false;
        ret->ordinal = ret->ordinal * 10 + (uint64_t)(*p - '0');
    }
    return ret->ordinal > 1;
}

static bool
copy_str(struct arena *arena, struct str *s)
{
    const char *p = s->n ? arena_strndup(arena, s->p, s->n) : "";
    s->p = p;
    return p;
}

/* 1: *e is the entry of that name, borrowed from the cursor. Walks the entries whose keys begin
 * with `key`, or are `key` when the name was not cut. */
static int
find_from(struct chg_cursor *cur, struct parsed_name name, struct str key, struct entry *e,
          struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    int rc = chg_seek(cur, key, err);
    if (rc < 0)
        return rc;
    while ((rc = chg_next(cur, e, err)) > 0) {
        if (e->key.n < key.n || (!name.cut && e->key.n != key.n) ||
            (key.n > 0 && memcmp(e->key.p, key.p, key.n) != 0))
            return 0;
        buf_clear(&text);
        chg_entry_filename(cur->file->meta, e, &text);
        if (text.failed)
            return error_no_memory(err);
        if (str_equal(buf_str(&text), name.base) && --name.ordinal == 0)
            return 1;
    }
    return rc;
}

bool
chg_is_filename(const struct chg_meta *meta, const char *name)
{
    struct parsed_name parsed;
    if (!parse_name(name, &parsed) || parsed.ordinal > 1)
        return false;
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX), again = BUF_INIT(BUF_NO_MAX);
    key_of_name(meta, parsed.plain, parsed.cut, &key);
    const struct entry e = {.key = buf_str(&key)};
    chg_entry_filename(meta, &e, &again);
    return parsed.cut || (!key.failed && strcmp(buf_z(&again), name) == 0);
}

bool
chg_key_of_filename(const struct chg_meta *meta, const char *name, struct buf *key, bool *whole)
{
    struct parsed_name parsed;
    if (!parse_name(name, &parsed) || parsed.ordinal > 1)
        return false;
    key_of_name(meta, parsed.plain, parsed.cut, key);
    *whole = !parsed.cut;
    return true;
}

/* The one that has the block of this key unpacked, or that was not used for longest; it comes
 * first. NULL: memory is out. */
static struct chg_cursor *
choose_finder(struct chg *c, struct str key, struct error *err)
{
    size_t block = chg_block_of(c, key);
    int i = 0;
    while (i < CHG_FINDERS - 1 && c->finders[i] && !chg_cursor_has_block(c->finders[i], block))
        i++;
    struct chg_cursor *chosen = c->finders[i];
    if (!chosen && chg_cursor_open_uncounted(c, &chosen, err) < 0)
        return NULL;
    memmove(&c->finders[1], &c->finders[0], (size_t)i * sizeof c->finders[0]);
    return c->finders[0] = chosen;
}

int
chg_find_filename(struct chg *c, unsigned ops, const char *name, struct arena *arena,
                  struct entry *e, struct error *err)
{
    struct parsed_name parsed;
    if (!parse_name(name, &parsed))
        return 0;
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX);
    key_of_name(c->meta, parsed.plain, parsed.cut, &key);
    if (key.failed)
        return error_no_memory(err);
    pthread_mutex_lock(&c->lock);
    struct chg_cursor *cur = choose_finder(c, buf_str(&key), err);
    int rc = -ENOMEM;
    if (cur) {
        chg_cursor_only(cur, ops);
        rc = find_from(cur, parsed, buf_str(&key), e, err);
    }
    if (rc > 0 && (!copy_str(arena, &e->key) || !copy_str(arena, &e->after) ||
                   !copy_str(arena, &e->before) || !copy_str(arena, &e->note)))
        rc = error_no_memory(err);
    pthread_mutex_unlock(&c->lock);
    return rc;
}
