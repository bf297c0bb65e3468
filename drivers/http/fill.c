/* Text templates: see fill.h. */
#include "http/fill.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "base/value.h"
#include "http/connector_private.h"
#include "http/form.h"
#include "http/manifest.h"
#include "http/pointer.h"

enum { NAME_MAX_BYTES = 200, IDENTITY_LEAST = 16, IDENTITY_MOST = 64 };

/* ---- pieces ---- */

struct piece {
    struct str text;
    bool name; /* text stood between braces */
};

/* The next one at *p; false at the end. A brace that is not closed is a name that is none. */
static bool
next_piece(const char **p, struct piece *ret)
{
    const char *at = *p;
    if (!*at)
        return false;
    if (at[0] == '{' && at[1] == '{') {
        *ret = (struct piece){.text = {at, 1}};
        *p = at + 2;
    } else if (at[0] != '{') {
        *ret = (struct piece){.text = {at, strcspn(at, "{")}};
        *p = at + ret->text.n;
    } else {
        size_t n = strcspn(at + 1, "{}");
        bool closed = at[1 + n] == '}';
        *ret = (struct piece){.text = {at + 1, closed ? n : 0}, .name = true};
        *p = at + 1 + n + closed;
    }
    return true;
}

/* ---- names ---- */

enum name_kind {
    NAME_NONE,
    NAME_OPTION,
    NAME_OBJECT,
    NAME_IDENTIFIER,
    NAME_KEY,
    NAME_KEYS,
    NAME_KEYS_JSON,
    NAME_IDENTITY,
    NAME_TOKEN
};

struct name {
    enum name_kind kind;
    char text[NAME_MAX_BYTES]; /* the option, or the pointer */
    size_t digits;
};

static struct name
parse_name(struct str s)
{
    struct name n = {.kind = NAME_NONE};
    if (s.n == 0 || s.n >= sizeof n.text || memchr(s.p, '\0', s.n))
        return n;
    memcpy(n.text, s.p, s.n);
    if (n.text[0] != '@') {
        n.kind = NAME_OPTION;
    } else if (strcmp(n.text, "@object") == 0) {
        n.kind = NAME_OBJECT;
    } else if (strcmp(n.text, "@identifier") == 0) {
        n.kind = NAME_IDENTIFIER;
    } else if (strcmp(n.text, "@key") == 0) {
        n.kind = NAME_KEY;
    } else if (strcmp(n.text, "@keys") == 0) {
        n.kind = NAME_KEYS;
    } else if (strcmp(n.text, "@keys:json") == 0) {
        n.kind = NAME_KEYS_JSON;
    } else if (strncmp(n.text, "@identity:", 10) == 0) {
        char *end;
        n.digits = strtoul(n.text + 10, &end, 10);
        if (*end == '\0' && n.digits >= IDENTITY_LEAST && n.digits <= IDENTITY_MOST)
            n.kind = NAME_IDENTITY;
    } else if (strncmp(n.text, "@token:", 7) == 0 && pointer_good(n.text + 7)) {
        memmove(n.text, n.text + 7, s.n - 6);
        n.kind = NAME_TOKEN;
    }
    return n;
}

int
fill_check(const char *template, const char *where, const struct connector *c, unsigned *names,
           struct error *err)
{
    static const unsigned of_kind[] = {
        [NAME_OBJECT] = FILL_OBJECT, [NAME_IDENTIFIER] = FILL_IDENTIFIER,
        [NAME_KEY] = FILL_ROW,       [NAME_KEYS] = FILL_ROWS,
        [NAME_IDENTITY] = FILL_ROW,  [NAME_KEYS_JSON] = FILL_ROWS,
        [NAME_TOKEN] = FILL_TOKEN};
    struct piece piece;
    while (next_piece(&template, &piece)) {
        struct name n = piece.name ? parse_name(piece.text) : (struct name){.kind = NAME_NONE};
        if (piece.name && piece.text.n == 0)
            return manifest_wrong(err, where,
                                  "\"{\" begins a name, which \"}\" ends; \"{{\" is a {");
        bool known = n.kind == NAME_OPTION ? connector_find_option(c, n.text) != NULL
                                           : n.kind != NAME_NONE;
        if (piece.name && !known)
            return error_set(err, ERR_CONFIG, EINVAL,
                             "%s: nothing is called \"%.*s\"; known: the options, @object, "
                             "@identifier, @key, @keys, @keys:json, @identity:N (16 to 64), "
                             "@token:/pointer",
                             where, (int)piece.text.n, piece.text.p);
        if (piece.name)
            *names |= of_kind[n.kind];
    }
    return 0;
}

/* ---- values ---- */

static int
add_json(const json_t *value, struct buf *out)
{
    if (!value || json_is_null(value))
        return FILL_UNSET;
    if (json_is_string(value)) {
        buf_add(out, json_string_value(value), json_string_length(value));
        return 0;
    }
    AUTO_FREE char *dump = json_write(value, JSON_ENCODE_ANY | JSON_COMPACT);
    buf_adds(out, dump ? dump : "");
    out->failed |= !dump;
    return 0;
}

static int
add_text(const char *text, struct buf *out)
{
    buf_adds(out, text ? text : "");
    return text ? 0 : FILL_UNSET;
}

static void
add_key(const struct fill_values *v, const struct change *c, struct buf *out)
{
    for (size_t i = 0; i < v->nkey; i++) {
        if (i)
            buf_addc(out, '|');
        buf_add(out, c->key[i].p ? c->key[i].p : "", c->key[i].n);
    }
}

static int
add_keys(const struct fill_values *v, bool json, struct buf *out, struct error *err)
{
    AUTO_BUF struct buf key = BUF_INIT(out->max);
    for (size_t i = 0; i < v->call->batch.n; i++) {
        if (i)
            buf_addc(out, ',');
        buf_clear(&key);
        add_key(v, &v->call->batch.changes[i], &key);
        out->failed |= key.failed;
        if (out->failed)
            return 0;
        if (json)
            json_quote(out, buf_z(&key), key.n);
        else if (memchr(buf_z(&key), ',', key.n))
            return error_set(err, ERR_DATA, EINVAL, "an identifier with a comma would be two");
        else
            buf_add(out, buf_z(&key), key.n);
    }
    return 0;
}

static void
add_identity(const unsigned char identity[32], size_t digits, struct buf *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < digits; i++)
        buf_addc(out, hex[identity[i / 2] >> (i % 2 ? 0 : 4) & 15]);
}

static int
add_value(const struct fill_values *v, const struct name *n, struct buf *out, struct error *err)
{
    switch (n->kind) {
    case NAME_NONE:
        return error_set(err, ERR_INTERNAL, EINVAL, "a template that was not checked");
    case NAME_OPTION:
        return connector_option_text(v->connector, &v->use, n->text, out) ? 0 : FILL_UNSET;
    case NAME_OBJECT:
        return add_text(v->use.object, out);
    case NAME_IDENTIFIER:
        return add_text(v->use.identifier, out);
    case NAME_TOKEN:
        return add_json(pointer_get(v->token, n->text), out);
    default:
        break;
    }
    if (!v->call || v->call->batch.n == 0)
        return FILL_UNSET;
    if (n->kind == NAME_KEYS || n->kind == NAME_KEYS_JSON)
        return add_keys(v, n->kind == NAME_KEYS_JSON, out, err);
    if (n->kind == NAME_KEY)
        add_key(v, &v->call->batch.changes[0], out);
    else
        add_identity(v->call->identities[0], n->digits, out);
    return 0;
}

static int
no_room(const struct buf *b, struct error *err)
{
    return b->full ? error_set(err, ERR_LIMIT, EFBIG, "a text of the request is too long")
                   : error_no_memory(err);
}

int
fill_plain(const char *template, const struct fill_values *v, struct buf *out,
           struct error *err)
{
    struct piece piece;
    int rc = 0;
    while (rc == 0 && next_piece(&template, &piece)) {
        struct name n = piece.name ? parse_name(piece.text) : (struct name){.kind = NAME_NONE};
        if (piece.name)
            rc = add_value(v, &n, out, err);
        else
            buf_add(out, piece.text.p, piece.text.n);
    }
    return rc == 0 && out->failed ? no_room(out, err) : rc;
}

/* ---- paths ---- */

struct path {
    struct buf *out;
    bool in_query;
    size_t segment;  /* where in *out the one at hand begins */
    struct str name; /* the last one in it; n = 0: none */
};

/* A segment that is left: nobody writes dots in a template, so they came from values. */
static int
end_segment(struct path *p, struct error *err)
{
    struct str segment = buf_str(p->out);
    if (p->out->failed)
        return 0;
    segment.p += p->segment;
    segment.n -= p->segment;
    if (!p->in_query && p->name.n > 0 && (str_is(segment, ".") || str_is(segment, "..")))
        return error_set(err, ERR_DATA, EINVAL, "\"%.*s\" is \"%.*s\", which is no name",
                         (int)p->name.n, p->name.p, (int)segment.n, segment.p);
    p->name.n = 0;
    return 0;
}

static int
path_literal(struct path *p, struct str text, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < text.n; i++) {
        char c = text.p[i];
        if (c == '/' || c == '?' || c == '#')
            rc = end_segment(p, err);
        if (c == '{' || c == '}')
            form_encode(p->out, (struct str){&c, 1});
        else
            buf_addc(p->out, c);
        p->in_query = p->in_query || c == '?';
        if (c == '/')
            p->segment = p->out->n;
    }
    return rc;
}

static int
path_value(struct path *p, struct str name, const struct fill_values *v, struct error *err)
{
    struct name n = parse_name(name);
    AUTO_BUF struct buf raw = BUF_INIT(p->out->max);
    int rc = add_value(v, &n, &raw, err);
    if (rc == 0 && raw.failed)
        return no_room(&raw, err);
    if (rc == 0 && raw.n == 0 && !p->in_query)
        return error_set(err, ERR_DATA, EINVAL, "\"%.*s\" is empty", (int)name.n, name.p);
    form_encode(p->out, buf_str(&raw));
    p->name = name;
    return rc;
}

int
fill_path(const char *template, const struct fill_values *v, struct buf *out, struct error *err)
{
    struct path p = {.out = out, .segment = out->n};
    struct piece piece;
    int rc = 0;
    while (rc == 0 && next_piece(&template, &piece))
        rc =
            piece.name ? path_value(&p, piece.text, v, err) : path_literal(&p, piece.text, err);
    if (rc == 0)
        rc = end_segment(&p, err);
    return rc == 0 && out->failed ? no_room(out, err) : rc;
}
