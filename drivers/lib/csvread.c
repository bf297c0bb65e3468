/*
 * Splitting CSV: see csvread.h. The window is looked at in blocks of 64 bytes, each of which
 * becomes one word with a bit for every byte that matters, so plain bytes cost next to nothing.
 * A record that does not end within the window is parsed again from its start once the window
 * has grown; the window doubles, so that is cheap even for a huge cell.
 */
#include "lib/csvread.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/utf8.h"

enum { BLOCK = 64, STEP = 16, MORE = 2, CELLS_MAX = 65536 };

/* Bits for the bytes of p[0..64) that are one of delimiter, quote, CR, LF, NUL. */
static uint64_t
mark_block(const struct csv_reader *r, const char *p, bool *high)
{
    uint64_t marks = 0, above = 0;
#ifdef __SSE2__
    const __m128i delimiter = _mm_set1_epi8(r->delimiter), quote = _mm_set1_epi8(r->quote);
    const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n'), nul = _mm_setzero_si128();
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, delimiter), _mm_cmpeq_epi8(v, quote));
        hit = _mm_or_si128(hit, _mm_or_si128(_mm_cmpeq_epi8(v, cr), _mm_cmpeq_epi8(v, lf)));
        hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, nul));
        marks |= (uint64_t)(unsigned)_mm_movemask_epi8(hit) << i;
        above |= (uint64_t)(unsigned)_mm_movemask_epi8(v);
    }
#else
    for (unsigned i = 0; i < BLOCK; i++) {
        char c = p[i];
        bool hit = c == r->delimiter || c == r->quote || c == '\r' || c == '\n' || c == '\0';
        marks |= (uint64_t)hit << i;
        above |= (unsigned char)c & 0x80;
    }
#endif
    *high = above != 0;
    return marks;
}

static void
load_block(struct csv_reader *r, size_t at)
{
    const struct feed *f = &r->feed;
    r->block = at;
    r->marks = 0;
    r->block_high = false;
    if (at < f->end) {
        r->marks = mark_block(r, f->p + at, &r->block_high);
        if (f->end - at < BLOCK)
            r->marks &= (UINT64_C(1) << (f->end - at)) - 1;
    }
    r->high |= r->block_high;
}

/* The next byte that matters, or NULL at the end of the window. */
static inline const char *
next_mark(struct csv_reader *r)
{
    while (!r->marks) {
        if (r->feed.end - r->block <= BLOCK)
            return NULL;
        load_block(r, r->block + BLOCK);
    }
    const char *p = r->feed.p + r->block + __builtin_ctzll(r->marks);
    r->marks &= r->marks - 1;
    return p;
}

static int
complain(struct csv_reader *r, uint64_t line, struct error *err, const char *what)
{
    return error_set(err, ERR_DATA, EINVAL, "%s:%llu: %s", r->feed.file->path,
                     (unsigned long long)line, what);
}

static inline int
add_cell(struct csv_reader *r, const char *p, const char *end, bool quoted, bool escaped,
         struct error *err)
{
    struct csv_cell cell = {p, (uint32_t)(end - p), quoted, escaped};
    if (r->cells.n == CELLS_MAX)
        return error_set(err, ERR_LIMIT, E2BIG, "%s:%llu: more than %d cells",
                         r->feed.file->path, (unsigned long long)r->line, CELLS_MAX);
    if (!VEC_PUSH(&r->cells, cell))
        return error_no_memory(err);
    return 0;
}

/* After the opening quote at p[-1]; *close is the closing quote. 0, MORE or -errno. */
static int
quoted_cell(struct csv_reader *r, const char *p, const char **close, struct error *err)
{
    uint64_t began = r->next_line;
    bool escaped = false;
    for (;;) {
        const char *q = next_mark(r);
        if (!q && !r->feed.eof)
            return MORE;
        if (!q)
            return complain(r, began, err, "the quoted cell that begins here never ends");
        if (*q == '\n')
            r->next_line++;
        else if (*q == '\0')
            return complain(r, r->next_line, err, "NUL byte");
        if (*q != r->quote)
            continue;
        bool last = q + 1 == r->feed.p + r->feed.end;
        if (last && !r->feed.eof)
            return MORE;
        if (last || q[1] != r->quote) {
            *close = q;
            return add_cell(r, p, q, true, escaped, err);
        }
        escaped = true;
        next_mark(r); /* its twin */
    }
}

/* The mark p (NULL: the end of the file) ends a cell. 1: and the record, *ret is where the next
 * begins; 0: only the cell; MORE; -errno. */
static int
cell_end(struct csv_reader *r, const char *p, const char **ret, struct error *err)
{
    const char *end = r->feed.p + r->feed.end;
    if (!p) {
        *ret = end;
        return 1;
    }
    if (*p == r->delimiter)
        return 0;
    if (*p == '\r') {
        if (p + 1 == end && !r->feed.eof)
            return MORE;
        if (p + 1 == end || p[1] != '\n')
            return complain(r, r->next_line, err,
                            "carriage return without newline in an unquoted cell");
        p = next_mark(r);
    } else if (*p != '\n') {
        return complain(r, r->next_line, err,
                        *p == '\0' ? "NUL byte" : "quote inside an unquoted cell");
    }
    r->next_line++;
    *ret = p + 1;
    return 1;
}

/* Parses the record at feed.pos. 1: whole, feed.pos is after it; MORE; -errno. */
static int
parse(struct csv_reader *r, struct error *err)
{
    const char *start = r->feed.p + r->feed.pos, *next = NULL;
    r->cells.n = 0;
    for (;;) {
        const char *p = next_mark(r);
        int rc;
        if (p == start && *p == r->quote) {
            const char *close = NULL;
            rc = quoted_cell(r, start + 1, &close, err);
            if (rc)
                return rc;
            p = next_mark(r);
            const char *after = p ? p : r->feed.p + r->feed.end;
            if (after != close + 1)
                return complain(r, r->next_line, err, "text after the closing quote");
            if (!p && !r->feed.eof)
                return MORE;
        } else {
            if (!p && !r->feed.eof)
                return MORE;
            rc = add_cell(r, start, p ? p : r->feed.p + r->feed.end, false, false, err);
            if (rc)
                return rc;
        }
        rc = cell_end(r, p, &next, err);
        if (rc == 1)
            break;
        if (rc)
            return rc;
        start = p + 1;
    }
    r->feed.pos = (size_t)(next - r->feed.p);
    return 1;
}

/* Makes one quote of two at `to`, where the cell then is; returns where it ends. STEP bytes
 * more than the cell has may be written. */
static char *
unescape(struct csv_cell *cell, char quote, char *to)
{
    const char *from = cell->p, *end = from + cell->n;
    cell->p = to;
#ifdef __SSE2__
    const __m128i quotes = _mm_set1_epi8(quote);
    for (;;) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)from);
        unsigned hits = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, quotes));
        _mm_storeu_si128((__m128i *)(void *)to, v);
        unsigned n = hits ? (unsigned)__builtin_ctz(hits) : STEP;
        if (from + n == end) { /* the closing one */
            to += n;
            break;
        }
        to += hits ? n + 1 : n;
        from += hits ? n + 2 : n;
    }
#else
    for (; from < end; from++) {
        *to++ = *from;
        if (*from == quote)
            from++;
    }
#endif
    cell->n = (uint32_t)(to - cell->p);
    cell->escaped = false;
    return to;
}

static int
unescape_all(struct csv_reader *r, struct error *err)
{
    size_t room = 0;
    VEC_EACH (&r->cells, c)
        room += c->escaped ? (size_t)c->n + STEP : 0;
    if (room == 0)
        return 0;
    buf_clear(&r->plain);
    char *to = buf_room(&r->plain, room);
    if (!to)
        return error_no_memory(err);
    VEC_EACH (&r->cells, c)
        if (c->escaped)
            to = unescape(c, r->quote, to);
    return 0;
}

static int
recode(struct csv_reader *r, struct error *err)
{
    size_t most = 0;
    VEC_EACH (&r->cells, c)
        most += 2 * (size_t)c->n;
    buf_clear(&r->utf8);
    if (!buf_room(&r->utf8, most + 1)) /* once: cells point into it */
        return error_no_memory(err);
    VEC_EACH (&r->cells, c) {
        size_t from = r->utf8.n;
        for (size_t i = 0; i < c->n; i++) {
            unsigned char b = (unsigned char)c->p[i];
            if (b >= 0x80)
                buf_addc(&r->utf8, (char)(0xC0 | b >> 6));
            buf_addc(&r->utf8, (char)(b >= 0x80 ? 0x80 | (b & 0x3F) : b));
        }
        c->p = buf_z(&r->utf8) + from;
        c->n = (uint32_t)(r->utf8.n - from);
    }
    return 0;
}

/* The first line of the record with a byte that is no UTF-8. */
static int
bad_utf8(struct csv_reader *r, const char *p, size_t at, struct error *err)
{
    uint64_t line = r->line;
    for (size_t i = 0; i < at; i++)
        line += p[i] == '\n';
    return complain(r, line, err, "not valid UTF-8");
}

int
csv_reader_next(struct csv_reader *r, struct error *err)
{
    r->line = r->next_line;
    r->high = r->block_high;
    for (;;) {
        struct feed *f = &r->feed;
        size_t from = f->pos;
        if (f->pos == f->end && f->eof)
            return 0;
        int rc = f->pos == f->end ? MORE : parse(r, err);
        if (rc < 0)
            return rc;
        if (rc == 1) {
            if (r->high && !r->latin1) {
                size_t n = f->pos - from, at = utf8_check(f->p + from, n);
                if (at < n)
                    return bad_utf8(r, f->p + from, at, err);
            }
            rc = unescape_all(r, err);
            if (!rc && r->high && r->latin1)
                rc = recode(r, err);
            return rc ? rc : 1;
        }
        rc = feed_more(f, err);
        if (rc)
            return rc;
        r->next_line = r->line;
        r->high = false;
        load_block(r, f->pos);
    }
}

static void
begin_at(struct csv_reader *r, size_t pos)
{
    r->feed.pos = pos;
    r->next_line = 1;
    r->high = false;
    load_block(r, pos);
}

int
csv_reader_open(struct csv_reader *r, const struct files *files, size_t i, struct error *err)
{
    int rc = feed_open(&r->feed, files, i, err);
    if (!rc)
        rc = feed_more(&r->feed, err);
    if (rc)
        return rc;
    const struct feed *f = &r->feed;
    bool marked = !r->latin1 && f->end >= 3 && memcmp(f->p, "\xEF\xBB\xBF", 3) == 0;
    begin_at(r, marked ? 3 : 0); /* byte order mark */
    return 0;
}

int
csv_reader_seek(struct csv_reader *r, off_t offset, struct error *err)
{
    int rc = feed_seek(&r->feed, offset, err);
    if (!rc)
        begin_at(r, 0);
    return rc;
}

void
csv_reader_skip(struct csv_reader *r)
{
    const struct feed *f = &r->feed;
    const char *end = memchr(f->p + f->pos, '\n', f->end - f->pos);
    begin_at(r, end ? (size_t)(end - f->p) + 1 : f->end);
}

void
csv_reader_done(struct csv_reader *r)
{
    feed_done(&r->feed);
    VEC_DONE(&r->cells);
    buf_done(&r->utf8);
    buf_done(&r->plain);
}
