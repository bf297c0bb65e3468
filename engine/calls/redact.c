/* Redaction: see redact.h. A text is read in each of the ways in which a secret may stand in
 * it; what was found is marked in the text itself. */
#include "calls/redact.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/value.h"
#include "base/vec.h"

enum {
    WORD_MIN = 8,
    BASE64_MIN = 4,
    CUT_MIN = 4, /* so much of a secret, at the end of a text, is taken for one */
    DEPTH = 2,   /* encodings within one another */
};
static const char MASK[] = "***";

struct redactor {
    VEC(char *) secrets;
};

struct redactor *
redactor_create(void)
{
    return calloc(1, sizeof(struct redactor));
}

static int
add_copy(struct redactor *r, const char *p, size_t n)
{
    char *copy = strndup(p, n);
    if (copy && VEC_PUSH(&r->secrets, copy))
        return 0;
    free(copy);
    return -ENOMEM;
}

int
redactor_add(struct redactor *r, const char *secret)
{
    static const char blanks[] = " \t\r\n";
    if (!secret || !*secret)
        return 0;
    int rc = add_copy(r, secret, strlen(secret));
    const char *rest = secret + strcspn(secret, blanks); /* behind a header's scheme */
    rest += strspn(rest, blanks);
    if (rc == 0 && strlen(rest) >= WORD_MIN)
        rc = add_copy(r, rest, strlen(rest));
    for (const char *p = secret; rc == 0 && *p;) {
        p += strspn(p, blanks);
        size_t n = strcspn(p, blanks);
        if (n >= WORD_MIN && n < strlen(secret))
            rc = add_copy(r, p, n);
        p += n;
    }
    return rc;
}

struct redactor *
redactor_free(struct redactor *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->secrets.n; i++) {
        explicit_bzero(r->secrets.p[i], strlen(r->secrets.p[i]));
        free(r->secrets.p[i]);
    }
    VEC_DONE(&r->secrets);
    free(r);
    return NULL;
}

/* ---- a text in its readings ---- */

/* What a text, or what was read of one, reads as. */
struct view {
    char *plain;
    uint32_t *from, *to; /* of each byte, what it stands for in the text itself */
    size_t n;
};

struct search {
    const struct redactor *r;
    const char *const *more;
    struct str text;
    bool *marked; /* bytes of the text */
    bool any, failed;
};

static bool
view_make(struct search *s, struct view *v, size_t n)
{
    *v = (struct view){malloc(n + 1), malloc((n + 1) * sizeof *v->from),
                       malloc((n + 1) * sizeof *v->to), 0};
    s->failed |= !v->plain || !v->from || !v->to;
    return !s->failed;
}

static void
view_done(struct view *v)
{
    if (v->plain)
        explicit_bzero(v->plain, v->n);
    free(v->plain);
    free(v->from);
    free(v->to);
}

static void
put(struct view *v, char c, uint32_t from, uint32_t to)
{
    v->plain[v->n] = c;
    v->from[v->n] = from;
    v->to[v->n++] = to;
}

static void
mark(struct search *s, const struct view *v, size_t at, size_t n)
{
    memset(s->marked + v->from[at], true, v->to[at + n - 1] - v->from[at]);
    s->any = true;
}

/* At its end the text may have been cut, and a secret with it. */
static void
search_end(struct search *s, const struct view *v, const char *secret, size_t n)
{
    for (size_t some = n - 1; some >= CUT_MIN; some--)
        if (some <= v->n && memcmp(v->plain + v->n - some, secret, some) == 0) {
            mark(s, v, v->n - some, some);
            return;
        }
}

static void
search_for(struct search *s, const struct view *v, const char *secret)
{
    size_t n = strlen(secret);
    const char *p = v->plain, *end = p + v->n;
    for (; n > 0 && (p = memmem(p, (size_t)(end - p), secret, n)); p++)
        mark(s, v, (size_t)(p - v->plain), n);
    if (n > CUT_MIN)
        search_end(s, v, secret, n);
}

static void
search_all(struct search *s, const struct view *v)
{
    for (size_t i = 0; s->r && i < s->r->secrets.n; i++)
        search_for(s, v, s->r->secrets.p[i]);
    for (const char *const *m = s->more; m && *m; m++)
        search_for(s, v, *m);
}

/* What %41 and + mean; false: none is there. */
static bool
read_percent(const struct view *v, struct view *out)
{
    const char *p = v->plain;
    bool any = false;
    for (size_t i = 0, step; i < v->n; i += step) {
        int high = p[i] == '%' && i + 2 < v->n ? hex_digit(p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(p[i + 2]) : -1;
        step = low >= 0 ? 3 : 1;
        char c = low >= 0 ? (char)(high << 4 | low) : p[i] == '+' ? ' ' : p[i];
        any = any || low >= 0 || p[i] == '+';
        put(out, c, v->from[i], v->to[i + step - 1]);
    }
    return any;
}

/* \uXXXX at p; -1: it is none. */
static int
code_unit(const char *p, const char *end)
{
    int unit = 0;
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static void
put_utf8(struct view *v, int c, uint32_t from, uint32_t to)
{
    if (c < 0x80) {
        put(v, (char)c, from, to);
        return;
    }
    if (c >= 0x10000) {
        put(v, (char)(0xF0 | c >> 18), from, to);
        put(v, (char)(0x80 | (c >> 12 & 0x3F)), from, to);
    } else if (c >= 0x800) {
        put(v, (char)(0xE0 | c >> 12), from, to);
    }
    put(v, (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3F) : 0xC0 | c >> 6), from, to);
    put(v, (char)(0x80 | (c & 0x3F)), from, to);
}

/* What JSON's escapes mean; false: none is there. */
static bool
read_json(const struct view *v, struct view *out)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *p = v->plain, *end = p + v->n;
    bool any = false;
    for (size_t step; p < end; p += step) {
        const char *letter = *p == '\\' && end - p > 1 && p[1] ? strchr(letters, p[1]) : NULL;
        int unit = code_unit(p, end), second = unit >= 0 ? code_unit(p + 6, end) : -1;
        bool pair = (unit & ~0x3FF) == 0xD800 && (second & ~0x3FF) == 0xDC00;
        step = letter ? 2 : unit < 0 ? 1 : pair ? 12 : 6;
        uint32_t from = v->from[p - v->plain], to = v->to[p - v->plain + (ptrdiff_t)step - 1];
        any = any || step > 1;
        if (unit >= 0)
            put_utf8(out, pair ? 0x10000 + ((unit & 0x3FF) << 10 | (second & 0x3FF)) : unit,
                     from, to);
        else
            put(out, letter ? meant[letter - letters] : *p, from, to);
    }
    return any;
}

static int
base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

/* A run of base64 may have begun before what looks like it: a path's "/", say. What is found in
 * one stands for all of it. */
static void
search_run(struct search *s, const struct view *v, size_t at, size_t n, struct view *out)
{
    for (size_t shift = 0; shift < 4 && shift < n; shift++) {
        unsigned bits = 0, have = 0;
        out->n = 0;
        for (size_t i = at + shift; i < at + n; i++) {
            bits = bits << 6 | (unsigned)base64_digit(v->plain[i]);
            have += 6;
            if (have >= 8) {
                have -= 8;
                put(out, (char)(bits >> have), v->from[at], v->to[at + n - 1]);
            }
        }
        search_all(s, out);
    }
}

static void
search_base64(struct search *s, const struct view *v)
{
    struct view out;
    if (view_make(s, &out, v->n))
        for (size_t i = 0, n; i < v->n; i += n + 1) {
            for (n = 0; i + n < v->n && base64_digit(v->plain[i + n]) >= 0;)
                n++;
            if (n >= BASE64_MIN)
                search_run(s, v, i, n, &out);
        }
    view_done(&out);
}

/* As it is, in base64, and in each encoding within another, some deep. */
static void
search_view(struct search *s, const struct view *v, unsigned deep)
{
    static bool (*const readings[])(const struct view *, struct view *) = {read_percent,
                                                                           read_json};
    search_all(s, v);
    search_base64(s, v);
    for (size_t i = 0; deep > 0 && i < sizeof readings / sizeof *readings; i++) {
        struct view out;
        if (view_make(s, &out, v->n) && readings[i](v, &out))
            search_view(s, &out, deep - 1);
        view_done(&out);
    }
}

static void
search_text(struct search *s)
{
    struct view v;
    if (view_make(s, &v, s->text.n)) {
        for (size_t i = 0; i < s->text.n; i++)
            put(&v, s->text.p[i], (uint32_t)i, (uint32_t)i + 1);
        search_view(s, &v, DEPTH);
    }
    view_done(&v);
}

static void
add_masked(const struct search *s, struct buf *out)
{
    for (size_t i = 0; i < s->text.n; i++) {
        if (!s->marked[i])
            buf_addc(out, s->text.p[i]);
        else if (i == 0 || !s->marked[i - 1])
            buf_adds(out, MASK);
    }
}

void
redact(const struct redactor *r, const char *const *more, struct str text, struct buf *out)
{
    struct search s = {.r = r, .more = more, .text = text};
    if (text.n == 0 || ((!r || r->secrets.n == 0) && (!more || !*more))) {
        buf_add(out, text.p ? text.p : "", text.n);
        return;
    }
    AUTO_FREE bool *marked = s.marked = calloc(text.n, sizeof *marked);
    if (marked && text.n < UINT32_MAX)
        search_text(&s);
    if (!marked || text.n >= UINT32_MAX || s.failed)
        out->failed = true;
    else if (s.any)
        add_masked(&s, out);
    else
        buf_add(out, text.p, text.n);
}

void
redact_error(const struct redactor *r, const char *const *more, struct error *err)
{
    AUTO_BUF struct buf out = BUF_INIT(4 * ERROR_TEXT_MAX);
    if (err->kind == ERR_NONE)
        return;
    redact(r, more, str_of(err->text), &out);
    if (out.failed)
        buf_clear(&out);
    snprintf(err->text, sizeof err->text, "%s",
             out.failed || (out.n == 0 && *err->text) ? "(not told: out of memory)"
                                                      : buf_z(&out));
}
