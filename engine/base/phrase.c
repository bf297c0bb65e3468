/* Texts with fields in braces: see phrase.h. */
#include "base/phrase.h"

static struct str
take(struct str *at, size_t n)
{
    struct str taken = {at->p, n};
    at->p += n;
    at->n -= n;
    return taken;
}

static size_t
find(struct str in, char c)
{
    const char *found = in.n ? memchr(in.p, c, in.n) : NULL;
    return found ? (size_t)(found - in.p) : in.n;
}

static enum phrase_kind
take_field(struct str *at, struct phrase *ret)
{
    size_t close = find(*at, '}');
    if (close == at->n || memchr(at->p + 1, '{', close - 1))
        return PHRASE_BROKEN;
    struct str inside = take(at, close + 1);
    inside = (struct str){inside.p + 1, close - 1};
    ret->text = take(&inside, find(inside, '|'));
    ret->otherwise = inside.n ? (struct str){inside.p + 1, inside.n - 1} : inside;
    return ret->text.n ? PHRASE_FIELD : PHRASE_BROKEN;
}

enum phrase_kind
phrase_next(struct str *at, struct phrase *ret)
{
    if (at->n == 0)
        return PHRASE_END;
    if (at->p[0] != '{') {
        ret->text = take(at, find(*at, '{'));
        return PHRASE_TEXT;
    }
    if (at->n == 1 || at->p[1] != '{')
        return take_field(at, ret);
    ret->text = take(at, 1);
    take(at, 1);
    return PHRASE_TEXT;
}
