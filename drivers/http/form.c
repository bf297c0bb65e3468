/* Percent-encoding, forms and URL templates: see form.h. */
#include "http/form.h"

#include "base/cleanup.h"

void
form_encode(struct buf *out, struct str value)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (letter || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~') {
            buf_addc(out, (char)c);
            continue;
        }
        buf_addc(out, '%');
        buf_addc(out, hex[c >> 4]);
        buf_addc(out, hex[c & 15]);
    }
}

void
form_add(struct buf *out, const char *name, struct str value)
{
    if (out->n > 0)
        buf_addc(out, '&');
    form_encode(out, str_of(name));
    buf_addc(out, '=');
    form_encode(out, value);
}

/* ---- templates ---- */

struct expansion {
    const char *where;
    form_value_fn value;
    void *arg;
    struct buf *out;
    struct error *err;
    bool in_query;
    size_t segment;  /* where in *out the segment at hand begins */
    struct str name; /* the last one in this segment; n = 0: none */
};

static int
no_room(const struct expansion *x, const struct buf *b)
{
    return b->full ? error_set(x->err, ERR_LIMIT, EFBIG, "%s: the URL is too long", x->where)
                   : error_set(x->err, ERR_INTERNAL, ENOMEM, "out of memory");
}

static int
add_value(struct expansion *x, struct str name)
{
    AUTO_BUF struct buf raw = BUF_INIT(x->out->max);
    if (name.n == 0)
        return error_set(x->err, ERR_CONFIG, EINVAL, "%s: \"{}\" names nothing; \"{{\" is a {",
                         x->where);
    if (!x->value(x->arg, name, &raw))
        return error_set(x->err, ERR_CONFIG, EINVAL, "%s: nothing is called \"%.*s\"", x->where,
                         (int)name.n, name.p);
    if (raw.failed)
        return no_room(x, &raw);
    if (raw.n == 0 && !x->in_query)
        return error_set(x->err, ERR_DATA, EINVAL, "%s: \"%.*s\" is empty", x->where,
                         (int)name.n, name.p);
    form_encode(x->out, buf_str(&raw));
    x->name = name;
    return 0;
}

/* A segment that is left: nobody writes dots in a template, so they came from values. */
static int
end_segment(struct expansion *x)
{
    const struct buf *out = x->out;
    struct str segment = {out->failed ? "" : buf_z(out) + x->segment,
                          out->failed ? 0 : out->n - x->segment};
    if (!x->in_query && x->name.n > 0 && (str_is(segment, ".") || str_is(segment, "..")))
        return error_set(x->err, ERR_DATA, EINVAL, "%s: \"%.*s\" is \"%.*s\", which is no name",
                         x->where, (int)x->name.n, x->name.p, (int)segment.n, segment.p);
    x->name.n = 0;
    return 0;
}

static int
add_literal(struct expansion *x, char c)
{
    int rc = c == '/' || c == '?' || c == '#' ? end_segment(x) : 0;
    if (c == '{' || c == '}')
        form_encode(x->out, (struct str){&c, 1});
    else
        buf_addc(x->out, c);
    x->in_query = x->in_query || c == '?';
    if (c == '/')
        x->segment = x->out->n;
    return rc;
}

int
form_expand(const char *template, const char *where, form_value_fn value, void *arg,
            struct buf *out, struct error *err)
{
    struct expansion x = {
        .where = where, .value = value, .arg = arg, .out = out, .err = err, .segment = out->n};
    int rc = 0;
    for (const char *p = template; rc == 0 && *p; p++) {
        if (*p != '{' || p[1] == '{') {
            rc = add_literal(&x, *p);
            p += *p == '{';
            continue;
        }
        size_t n = strcspn(p + 1, "{}");
        if (p[1 + n] != '}')
            return error_set(err, ERR_CONFIG, EINVAL, "%s: \"{\" without \"}\" in \"%s\"",
                             where, template);
        rc = add_value(&x, (struct str){p + 1, n});
        p += n + 1;
    }
    if (rc == 0)
        rc = end_segment(&x);
    return rc == 0 && out->failed ? no_room(&x, out) : rc;
}
