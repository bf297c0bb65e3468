/*
 * Nested records: see nest.h. The names are put in order once, so that what belongs together
 * stands together; a record is then written from front to back, and between two fields only
 * those levels are closed and opened that they do not share.
 */
#include "data/nest.h"

#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

enum { DEPTH_MAX = 32, NUMBERS_MAX = 1000 };

struct nested {
    const char *name;
    size_t field;                   /* its number in the record */
    size_t depth;                   /* of what it stands in, below the record itself */
    size_t shared;                  /* of these with the one before */
    const char *text;               /* "address":{"city": */
    uint32_t starts[DEPTH_MAX + 1]; /* of the part at each depth, within text */
    uint32_t end;
    char brackets[DEPTH_MAX]; /* around the parts below each depth */
};

struct nest {
    size_t n;
    struct nested fields[];
};

/* ---- putting in order ---- */

struct part {
    const char *p;
    size_t n;
};

static struct part
part_at(const char *name, size_t depth)
{
    while (depth-- > 0)
        name += strcspn(name, ".") + 1;
    return (struct part){name, strcspn(name, ".")};
}

static bool
same_part(struct part a, struct part b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static bool
part_number(struct part part, size_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < part.n && *ret <= NUMBERS_MAX; i++) {
        if (part.p[i] < '0' || part.p[i] > '9')
            return false;
        *ret = *ret * 10 + (size_t)(part.p[i] - '0');
    }
    return part.n > 0;
}

static size_t
depth_of(const char *name)
{
    size_t depth = 0;
    for (; *name; name++)
        depth += *name == '.';
    return depth;
}

/* Those that share the first one's part are brought together behind it, each in its order. */
static size_t
gather(struct nested *f, size_t n, size_t depth)
{
    size_t same = 0;
    struct part part = part_at(f[0].name, depth);
    for (size_t i = 0; i < n; i++)
        if (same_part(part_at(f[i].name, depth), part)) {
            struct nested moved = f[i];
            memmove(f + same + 1, f + same, (i - same) * sizeof *f);
            f[same++] = moved;
        }
    return same;
}

/* Orders f[0..n), which share all parts above `depth`; false: they cannot stand side by side.
 */
static bool
arrange(struct nested *f, size_t n, size_t depth)
{
    size_t expected = 0, number;
    bool array = depth > 0 && part_number(part_at(f[0].name, depth), &number);
    while (n > 0) {
        size_t same = gather(f, n, depth);
        struct part part = part_at(f[0].name, depth);
        bool is_number = depth > 0 && part_number(part, &number);
        if (part.n == 0 || is_number != array || (array && number != expected++))
            return false;
        bool leaf = f[0].depth == depth;
        for (size_t i = 0; i < same; i++) {
            if ((f[i].depth == depth) != leaf || (leaf && same > 1))
                return false;
            if (depth > 0)
                f[i].brackets[depth - 1] = array ? '[' : '{';
        }
        if (!leaf && !arrange(f, same, depth + 1))
            return false;
        f += same;
        n -= same;
    }
    return true;
}

/* ---- texts ---- */

static size_t
shared(const struct nested *a, const struct nested *b)
{
    size_t depth = 0, least = a->depth < b->depth ? a->depth : b->depth;
    while (depth < least && same_part(part_at(a->name, depth), part_at(b->name, depth)))
        depth++;
    return depth;
}

static bool
make_text(struct arena *arena, struct nested *f)
{
    AUTO_BUF struct buf text = BUF_INIT(UINT32_MAX);
    for (size_t depth = 0; depth <= f->depth; depth++) {
        struct part part = part_at(f->name, depth);
        f->starts[depth] = (uint32_t)text.n;
        if (depth == 0 || f->brackets[depth - 1] == '{') {
            json_quote(&text, part.p, part.n);
            buf_addc(&text, ':');
        }
        if (depth < f->depth)
            buf_addc(&text, f->brackets[depth]);
    }
    f->end = (uint32_t)text.n;
    f->text = text.failed ? NULL : arena_strndup(arena, buf_z(&text), text.n);
    return f->text != NULL;
}

bool
nest_create(struct arena *arena, const char *const *names, size_t n, const struct nest **ret)
{
    bool deep = false;
    *ret = NULL;
    for (size_t i = 0; i < n; i++)
        deep = deep || strchr(names[i], '.');
    if (!deep || n > NEST_FIELDS_MAX)
        return true;
    struct nest *nest = arena_alloc(arena, sizeof *nest + n * sizeof *nest->fields);
    if (!nest)
        return false;
    nest->n = n;
    for (size_t i = 0; i < n; i++) {
        struct nested *f = &nest->fields[i];
        *f = (struct nested){
            .name = arena_strdup(arena, names[i]), .field = i, .depth = depth_of(names[i])};
        if (!f->name)
            return false;
        if (f->depth > DEPTH_MAX)
            return true;
    }
    if (!arrange(nest->fields, n, 0))
        return true;
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            nest->fields[i].shared = shared(&nest->fields[i - 1], &nest->fields[i]);
        if (!make_text(arena, &nest->fields[i]))
            return false;
    }
    *ret = nest;
    return true;
}

/* ---- writing ---- */

static void
close_levels(const struct nested *f, size_t down_to, struct buf *out)
{
    for (size_t depth = f->depth; depth > down_to; depth--)
        buf_addc(out, f->brackets[depth - 1] == '{' ? '}' : ']');
}

void
nest_write(const struct nest *nest, const struct value *values, struct buf *out)
{
    const struct nested *before = NULL;
    buf_addc(out, '{');
    for (const struct nested *f = nest->fields; f < nest->fields + nest->n; f++) {
        if (values[f->field].type == V_ABSENT)
            continue;
        size_t depth = !before ? 0 : before == f - 1 ? f->shared : shared(before, f);
        if (before) {
            close_levels(before, depth, out);
            buf_addc(out, ',');
        }
        buf_add(out, f->text + f->starts[depth], f->end - f->starts[depth]);
        value_json(out, &values[f->field]);
        before = f;
    }
    if (before)
        close_levels(before, 0, out);
    buf_addc(out, '}');
}
