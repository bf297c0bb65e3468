/*
 * Windows and quotas of a manifest: see connector.h. A quota is what the account may spend in a
 * day; it is learnt from the headers of answers, and the last of it is left to others.
 */
#include <stdio.h>
#include <string.h>

#include "http/connector_private.h"
#include "http/manifest.h"

static int
take_window(const json_t *object, const char *where, const char *const *known,
            struct pace_window *ret, struct error *err)
{
    json_int_t calls = 0, ms = 0;
    int rc = manifest_members(object, where, known, err);
    if (rc == 0)
        rc = manifest_number(object, where, "calls", 1, 1000000000, &calls, err);
    if (rc == 0)
        rc = manifest_number(object, where, "milliseconds", 1, 86400000, &ms, err);
    if (rc == 0 && (!calls || !ms))
        rc = manifest_wrong(err, where, "wants \"calls\" and \"milliseconds\"");
    *ret = (struct pace_window){(uint64_t)calls, ms * 1000};
    return rc;
}

int
connector_take_rate(struct connector *c, struct error *err)
{
    static const char *const known[] = {"calls", "milliseconds", "when", NULL};
    const json_t *list = json_object_get(c->manifest, "rate");
    if ((list && !json_is_array(list)) || json_array_size(list) > CONNECTOR_WINDOWS_MAX)
        return manifest_wrong(err, "/rate", "must be an array of at most 16 windows");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *object = json_array_get(list, i);
        struct connector_window *w = &c->windows[c->nwindows++];
        char where[CONNECTOR_WHERE_MAX];
        snprintf(where, sizeof where, "/rate/%zu", i);
        int rc = take_window(object, where, known, &w->window, err);
        w->when = json_object_get(object, "when");
        if (rc == 0)
            rc = connector_check_when(c, w->when, where, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int
connector_take_call_rate(const json_t *object, const char *where, struct connector_call *call,
                         struct error *err)
{
    static const char *const known[] = {"calls", "milliseconds", NULL};
    const json_t *list = json_object_get(object, "rate");
    struct manifest_place at;
    const char *there = manifest_below(&at, where, "rate");
    size_t n = json_array_size(list);
    if (list && (n == 0 || n > PACE_WINDOWS_MAX))
        return manifest_wrong(err, there, "must be an array of one to four windows");
    for (size_t i = 0; i < n; i++) {
        int rc =
            take_window(json_array_get(list, i), there, known, &call->scope.windows[i], err);
        if (rc < 0)
            return rc;
    }
    call->scope.nwindows = n;
    return 0;
}

void
connector_pace(const struct connector *c, const struct connector_use *use, struct limits *ret)
{
    ret->nwindows = 0;
    for (size_t i = 0; i < c->nwindows && ret->nwindows < PACE_WINDOWS_MAX; i++)
        if (connector_fits(c, c->windows[i].when, use))
            ret->windows[ret->nwindows++] = c->windows[i].window;
}

/* ---- quotas ---- */

int
connector_take_quota(struct connector *c, struct error *err)
{
    static const char *const known[] = {"remaining", "usage", "name", "keep", NULL};
    static const char *const where = "/quota";
    const json_t *object = json_object_get(c->manifest, "quota");
    struct connector_quota *q = &c->quota;
    if (!object)
        return 0;
    int rc = manifest_members(object, where, known, err);
    if (rc == 0)
        rc = manifest_text(object, where, "remaining", &q->remaining, err);
    if (rc == 0)
        rc = manifest_text(object, where, "usage", &q->usage, err);
    if (rc == 0)
        rc = manifest_text(object, where, "name", &q->name, err);
    if (rc == 0)
        rc = manifest_text(object, where, "keep", &q->keep, err);
    if (rc == 0 && (!q->remaining == !q->usage || !q->usage != !q->name))
        return manifest_wrong(
            err, where,
            "wants \"remaining\", a header, or \"usage\", another one, and the "
            "\"name\" that stands in it before \"=\"");
    const struct option *keep = q->keep ? connector_find_option(c, q->keep) : NULL;
    if (rc == 0 && q->keep && (!keep || keep->type != OPT_INT))
        return manifest_wrong(err, where, "\"keep\" must be the name of an integer option");
    return rc;
}

static bool
take_number(struct str *text, uint64_t *ret)
{
    enum { DIGITS_MAX = 18 };
    size_t n = 0;
    for (*ret = 0; n < text->n && n <= DIGITS_MAX && text->p[n] >= '0' && text->p[n] <= '9';
         n++)
        *ret = *ret * 10 + (uint64_t)(text->p[n] - '0');
    text->p += n;
    text->n -= n;
    return n > 0 && n <= DIGITS_MAX;
}

/* Behind "name=", where a name begins: of what follows another one's letters there is none. */
static bool
find_name(struct str *text, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i + n < text->n; i++) {
        bool begins = i == 0 || strchr(" ,;\t", text->p[i - 1]);
        if (!begins || memcmp(text->p + i, name, n) != 0 || text->p[i + n] != '=')
            continue;
        *text = (struct str){text->p + i + n + 1, text->n - i - n - 1};
        return true;
    }
    return false;
}

/* False: the answer says nothing of it. */
static bool
read_left(const struct connector_quota *q, const struct exchange *x, uint64_t *ret)
{
    struct str text = exchange_header(x, q->remaining ? q->remaining : q->usage);
    uint64_t used, all;
    if (q->remaining)
        return take_number(&text, ret) && text.n == 0;
    if (!find_name(&text, q->name) || !take_number(&text, &used) || text.n == 0 ||
        *text.p != '/')
        return false;
    text.p++;
    text.n--;
    if (!take_number(&text, &all))
        return false;
    *ret = all > used ? all - used : 0;
    return true;
}

bool
connector_is_spent(const struct connector *c, const struct connector_use *use,
                   const struct exchange *x, struct buf *why)
{
    const struct connector_quota *q = &c->quota;
    uint64_t left;
    if ((!q->remaining && !q->usage) || !read_left(q, x, &left))
        return false;
    int64_t keep = q->keep ? connector_option_int(c, use, q->keep) : 0;
    if (left > (keep > 0 ? (uint64_t)keep : 0))
        return false;
    buf_addf(why, "of the calls that the account may make in a day %llu are left (%s)",
             (unsigned long long)left, q->remaining ? q->remaining : q->usage);
    if (left > 0)
        buf_addf(why, ": \"%s\" keeps %lld for others", q->keep, (long long)keep);
    return true;
}
