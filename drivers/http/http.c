/*
 * The HTTP driver: see http.h. An operation's call is prepared once a session: its address, its
 * headers, its body's template compiled for the fields; a batch is then written into it and
 * sent.
 */
#include "http/http.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "http/form.h"
#include "http/sign.h"

enum { OPERATIONS = OP_DELETE + 1, HEADERS_MAX = 32, SIGNATURE_HEADERS = 3, URL_MAX = 8192 };

/* An operation, ready to be carried out. */
struct way {
    const struct connector_call *call;
    const char *url;
    const char *headers[HEADERS_MAX + 1];
    size_t nheaders;
    struct body *body; /* NULL: none */
};

/* A call under way. */
struct flight {
    struct exchange x;
    struct buf body;
    struct buf signature[SIGNATURE_HEADERS];
    const char *headers[HEADERS_MAX + SIGNATURE_HEADERS + 1];
    struct flight *following; /* idle */
};

struct http_dest {
    const struct connector *connector;
    const void *connection, *options;
    struct arena arena;
    const char *secret; /* that signs; NULL: nothing does */
    struct way ways[OPERATIONS];
    struct transfer *transfer;
    struct flight *flights, *idle;
    struct arena words; /* of the last answer's outcomes */
};

static int
no_memory(struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

/* ---- those that are known ---- */

static VEC(struct connector *) known;

static const struct connector *
find(const void *connection)
{
    const char *name = ((const struct connector_options *)connection)->connector;
    for (size_t i = 0; i < known.n; i++)
        if (strcmp(known.p[i]->driver.name, name) == 0)
            return known.p[i];
    return NULL;
}

static int
unknown(struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOENT, "no connector of that name");
}

/* ---- templates over options ---- */

struct lookup {
    const struct connector *connector;
    const void *connection, *options;
    bool missing; /* one that is not set was asked for */
};

/* form_value_fn */
static bool
option_text(void *arg, struct str name, struct buf *out)
{
    struct lookup *l = arg;
    char text[64];
    if (name.n >= sizeof text)
        return false;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    json_t *value = connector_option(l->connector, l->connection, l->options, text);
    if (json_is_string(value)) {
        buf_add(out, json_string_value(value), json_string_length(value));
    } else if (value) {
        char *dump = json_dumps(value, JSON_ENCODE_ANY);
        buf_adds(out, dump ? dump : "");
        out->failed |= !dump;
        free(dump);
    }
    l->missing |= !value;
    json_decref(value);
    return true;
}

/* As form_expand, but as it is: for headers, and for what begins an address. */
static int
expand_plain(const char *template, struct lookup *l, struct buf *out, struct error *err)
{
    for (const char *p = template; *p; p++) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (*p == '{' && p[1] == '{') {
            buf_addc(out, *p++);
        } else if (*p != '{') {
            buf_addc(out, *p);
        } else if (end && option_text(l, (struct str){p + 1, (size_t)(end - p) - 1}, out)) {
            p = end;
        } else {
            return error_set(err, ERR_CONFIG, EINVAL, "template \"%s\" is not closed",
                             template);
        }
    }
    return out->failed ? no_memory(err) : 0;
}

static int
place(const void *connection, struct buf *out, struct error *err)
{
    const struct connector *c = find(connection);
    struct lookup l = {.connector = c, .connection = connection};
    if (!c)
        return unknown(err);
    return expand_plain(c->place, &l, out, err);
}

/* ---- opening ---- */

static int
add_header(struct http_dest *d, struct way *w, const char *name, const char *template,
           struct error *err)
{
    struct lookup l = {d->connector, d->connection, d->options, false};
    AUTO_BUF struct buf value = BUF_INIT(64 * 1024);
    int rc = expand_plain(template, &l, &value, err);
    if (rc < 0 || l.missing)
        return rc;
    if (value.n && memchr(buf_z(&value), '\n', value.n))
        return error_set(err, ERR_CONFIG, EINVAL, "the header %s would be two lines", name);
    if (w->nheaders == HEADERS_MAX)
        return error_set(err, ERR_CONFIG, EINVAL, "more than %d headers", HEADERS_MAX);
    w->headers[w->nheaders] = arena_printf(&d->arena, "%s: %s", name, buf_z(&value));
    return w->headers[w->nheaders++] ? 0 : no_memory(err);
}

static int
add_headers(struct http_dest *d, struct way *w, const json_t *headers, struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)headers, name, value)
    {
        const char *template = json_string_value(value);
        int rc = template
                     ? add_header(d, w, name, template, err)
                     : error_set(err, ERR_CONFIG, EINVAL, "header %s must be a string", name);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
make_url(struct http_dest *d, struct way *w, struct error *err)
{
    struct lookup l = {d->connector, d->connection, d->options, false};
    AUTO_BUF struct buf url = BUF_INIT(URL_MAX);
    const char *start = w->call->url ? w->call->url : d->connector->url;
    int rc = expand_plain(start, &l, &url, err);
    if (rc == 0)
        rc = form_expand(w->call->path, "path", option_text, &l, &url, err);
    if (rc == 0 && l.missing)
        rc = error_set(err, ERR_CONFIG, EINVAL,
                       "the address \"%s%s\" wants an option that is "
                       "not set",
                       start, w->call->path);
    w->url = rc == 0 ? arena_strdup(&d->arena, buf_z(&url)) : NULL;
    return rc < 0 || w->url ? rc : no_memory(err);
}

struct body_options {
    struct http_dest *dest;
    json_t *kept; /* array: owns what was looked up until the body is compiled */
};

static const json_t *
body_option(void *arg, const char *name)
{
    struct body_options *o = arg;
    json_t *value =
        connector_option(o->dest->connector, o->dest->connection, o->dest->options, name);
    return value && json_array_append_new(o->kept, value) == 0 ? value : NULL;
}

static enum body_nulls
null_policy(const char *word)
{
    return strcmp(word, "omit") == 0    ? NULLS_OMIT
           : strcmp(word, "empty") == 0 ? NULLS_EMPTY
                                        : NULLS_NULL;
}

/* Of each field, as the call and the user's "nulls" say. NULL: memory is out. */
static unsigned char *
field_nulls(struct http_dest *d, const struct connector_call *call, const struct target *t)
{
    const struct option_fields *set = connector_nulls(d->connector, d->options);
    unsigned char *nulls = arena_alloc(&d->arena, t->nfields + 1);
    for (size_t i = 0; nulls && i < t->nfields; i++) {
        nulls[i] = (unsigned char)call->nulls;
        for (size_t j = 0; set && j < set->n; j++)
            if (strcmp(set->fields[j], t->fields[i].name) == 0)
                nulls[i] = (unsigned char)null_policy(set->words[j]);
    }
    return nulls;
}

static int
make_body(struct http_dest *d, struct way *w, const struct target *t, struct error *err)
{
    if (!w->call->body)
        return 0;
    struct body_options o = {d, json_array()};
    const unsigned char *nulls = field_nulls(d, w->call, t);
    if (!o.kept || !nulls) {
        json_decref(o.kept);
        return no_memory(err);
    }
    const struct body_settings settings = {
        .fields = t->fields,
        .nfields = t->nfields,
        .key = t->key,
        .nkey = t->nkey,
        .object = t->object,
        .nulls = w->call->nulls,
        .field_nulls = nulls,
        .markup = w->call->markup,
        .strings = w->call->strings,
        .changed_only = w->call->changed_only,
        .option = body_option,
        .arg = &o,
    };
    int rc = body_compile(w->call->body, &settings, &w->body, err);
    json_decref(o.kept);
    return rc;
}

static int
prepare(struct http_dest *d, enum operation op, const struct target *t, struct error *err)
{
    struct way *w = &d->ways[op];
    w->call = connector_call_for(d->connector, op, d->connection, d->options);
    if (!w->call)
        return error_set(err, ERR_CONFIG, EINVAL, "%s cannot do this in mode %s",
                         d->connector->driver.name, mode_name(t->mode));
    int rc = make_url(d, w, err);
    if (rc == 0 && w->call->body)
        rc = add_header(d, w, "Content-Type", w->call->type, err);
    if (rc == 0)
        rc = add_headers(d, w, d->connector->headers, err);
    if (rc == 0)
        rc = add_headers(d, w, w->call->headers, err);
    return rc == 0 ? make_body(d, w, t, err) : rc;
}

/* What the sender makes of each mode. */
static int
prepare_all(struct http_dest *d, const struct target *t, struct error *err)
{
    enum operation op = t->mode == MODE_INSERT   ? OP_INSERT
                        : t->mode == MODE_UPDATE ? OP_UPDATE
                                                 : OP_UPSERT;
    bool upserts = connector_call_for(d->connector, OP_UPSERT, d->connection, d->options);
    if (t->mode == MODE_FULL && !upserts)
        op = OP_INSERT;
    int rc = prepare(d, op, t, err);
    if (rc == 0 && t->mode == MODE_FULL && !upserts)
        d->ways[OP_UPSERT] = d->ways[OP_INSERT]; /* the engine calls it an upsert */
    return rc == 0 && t->mode == MODE_MIRROR ? prepare(d, OP_DELETE, t, err) : rc;
}

static int
take_secret(struct http_dest *d, struct error *err)
{
    if (!d->connector->signature)
        return 0;
    json_t *secret =
        connector_option(d->connector, d->connection, d->options, d->connector->signature);
    const char *text = json_string_value(secret);
    d->secret = text ? arena_strdup(&d->arena, text) : NULL;
    int rc = text && !d->secret ? no_memory(err) : 0;
    json_decref(secret);
    return rc;
}

static void
dest_close(void *handle)
{
    struct http_dest *d = handle;
    transfer_free(d->transfer);
    bool shared = d->ways[OP_UPSERT].body == d->ways[OP_INSERT].body;
    for (size_t i = 0; i < OPERATIONS; i++)
        if (!(shared && i == OP_UPSERT))
            body_free(d->ways[i].body);
    for (size_t i = 0; d->flights && i < d->connector->transfer.parallel; i++) {
        exchange_done(&d->flights[i].x);
        buf_done(&d->flights[i].body);
        for (size_t j = 0; j < SIGNATURE_HEADERS; j++)
            buf_done(&d->flights[i].signature[j]);
    }
    free(d->flights);
    arena_done(&d->words);
    arena_done(&d->arena);
    free(d);
}

static int
dest_open(const void *connection, const struct target *target, void **ret, struct error *err)
{
    struct http_dest *d = calloc(1, sizeof *d);
    if (!d)
        return no_memory(err);
    d->connector = find(connection);
    d->connection = connection;
    d->options = target->options;
    if (!d->connector) {
        free(d);
        return unknown(err);
    }
    unsigned parallel = d->connector->transfer.parallel;
    d->flights = calloc(parallel, sizeof *d->flights);
    int rc = d->flights ? take_secret(d, err) : no_memory(err);
    if (rc == 0)
        rc = prepare_all(d, target, err);
    if (rc == 0)
        rc = transfer_create(&d->connector->transfer, &d->transfer, err);
    if (rc < 0) {
        dest_close(d);
        return rc;
    }
    for (unsigned i = 0; i < parallel; i++) {
        d->flights[i].following = d->idle;
        d->idle = &d->flights[i];
    }
    *ret = d;
    return 0;
}

/* Of the operations of the mode the smallest. */
static void
dest_limits(void *handle, struct limits *ret)
{
    const struct http_dest *d = handle;
    const struct connector *c = d->connector;
    *ret = (struct limits){.rows = SIZE_MAX,
                           .bytes = SIZE_MAX,
                           .parallel = c->transfer.parallel,
                           .nwindows = c->nwindows,
                           .repeatable = true};
    memcpy(ret->windows, c->windows, sizeof ret->windows);
    for (size_t i = 0; i < OPERATIONS; i++) {
        const struct connector_call *call = d->ways[i].call;
        if (call && call->rows < ret->rows)
            ret->rows = call->rows;
        if (call && call->bytes < ret->bytes)
            ret->bytes = call->bytes;
        ret->repeatable = ret->repeatable && (!call || call->repeatable);
    }
}

/* ---- calls ---- */

static bool
write_lines(struct body *b, const struct call *call, struct buf *out)
{
    for (size_t i = 0; i < call->batch.n; i++) {
        if (!body_write(b, &call->batch.changes[i], 1, call->identities + i, out))
            return false;
        buf_addc(out, '\n');
    }
    return true;
}

/* The call's name: the same whenever the same changes are sent together. */
static int
call_name(const struct call *call, char name[33])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    if (EVP_Digest(call->identities, call->batch.n * sizeof *call->identities, sum, NULL,
                   EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    for (int i = 0; i < 16; i++)
        snprintf(name + 2 * i, 3, "%02x", sum[i]);
    return 0;
}

/* Standard Webhooks: each attempt is signed, with its time. */
static int
sign(const struct http_dest *d, const struct way *w, const struct call *call, struct flight *f,
     struct error *err)
{
    size_t n = w->nheaders;
    memcpy(f->headers, w->headers, n * sizeof *f->headers);
    f->headers[n] = NULL;
    if (!d->secret)
        return 0;
    char name[33];
    int64_t now = clock_now() / 1000000;
    if (call_name(call, name) < 0)
        return no_memory(err);
    struct buf *id = &f->signature[0], *time = &f->signature[1], *sum = &f->signature[2];
    for (size_t i = 0; i < SIGNATURE_HEADERS; i++)
        buf_clear(&f->signature[i]);
    buf_addf(id, "webhook-id: %s", name);
    buf_addf(time, "webhook-timestamp: %lld", (long long)now);
    buf_adds(sum, "webhook-signature: ");
    int rc = sign_standard(d->secret, str_of(name), now, f->x.body, sum, err);
    if (rc == 0 && (id->failed || time->failed || sum->failed))
        rc = no_memory(err);
    for (size_t i = 0; rc == 0 && i < SIGNATURE_HEADERS; i++)
        f->headers[n + i] = buf_z(&f->signature[i]);
    f->headers[n + SIGNATURE_HEADERS] = NULL;
    return rc;
}

static int
dest_call(void *handle, struct call *call, struct error *err)
{
    struct http_dest *d = handle;
    const struct way *w = &d->ways[call->batch.changes[0].op];
    struct flight *f = d->idle;
    if (!f || !w->call)
        return error_set(err, ERR_INTERNAL, EINVAL, "a call that was not agreed upon");
    buf_clear(&f->body);
    bool good =
        !w->body || (w->call->lines ? write_lines(w->body, call, &f->body)
                                    : body_write(w->body, call->batch.changes, call->batch.n,
                                                 call->identities, &f->body));
    if (!good)
        return f->body.failed
                   ? no_memory(err)
                   : error_set(err, ERR_INTERNAL, EIO, "a delivered record is damaged");
    f->x.method = w->call->method;
    f->x.url = w->url;
    f->x.headers = f->headers;
    f->x.body = buf_str(&f->body);
    f->x.repeatable = w->call->repeatable;
    f->x.arg = call;
    int rc = sign(d, w, call, f, err);
    if (rc == 0)
        rc = transfer_start(d->transfer, &f->x, err);
    if (rc < 0)
        return rc;
    d->idle = f->following;
    call->driver = f;
    return 0;
}

static int
dest_answer(void *handle, int64_t timeout, struct call_answer *ret, struct error *err)
{
    struct http_dest *d = handle;
    struct exchange *x = transfer_wait(d->transfer, timeout);
    if (!x)
        return 0;
    struct call *call = x->arg;
    struct flight *f = call->driver;
    const struct connector_call *how = d->ways[call->batch.changes[0].op].call;
    arena_clear(&d->words);
    answer_judge(how->answer ? how->answer : d->connector->answer, x, call, &d->words, ret);
    ret->call = call;
    f->following = d->idle;
    d->idle = f;
    return 1;
}

static void
dest_wake(void *handle)
{
    transfer_wake(((struct http_dest *)handle)->transfer);
}

static void
dest_cancel(void *handle)
{
    transfer_cancel(((struct http_dest *)handle)->transfer);
}

static void
set_hooks(struct driver *d)
{
    d->traits = TRAIT_NESTED;
    d->place = place;
    d->dest_open = dest_open;
    d->dest_limits = dest_limits;
    d->dest_call = dest_call;
    d->dest_answer = dest_answer;
    d->dest_wake = dest_wake;
    d->dest_cancel = dest_cancel;
    d->dest_close = dest_close;
}

int
http_load(const char *manifest, const struct driver **ret, struct error *err)
{
    struct connector *c = NULL;
    int rc = connector_parse(str_of(manifest), &c, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < known.n && rc == 0; i++)
        if (strcmp(known.p[i]->driver.name, c->driver.name) == 0)
            rc = error_set(err, ERR_CONFIG, EEXIST, "a connector \"%s\" is there already",
                           c->driver.name);
    if (rc == 0 && !VEC_PUSH(&known, c))
        rc = no_memory(err);
    if (rc < 0) {
        connector_free(c);
        return rc;
    }
    set_hooks(&c->driver);
    *ret = &c->driver;
    return 0;
}
