/* Ways: see way.h. */
#include "http/way.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/fill.h"
#include "http/form.h"
#include "http/gzip.h"
#include "http/sign.h"

enum {
    ADDRESS_MAX = 16 * 1024,
    LINES_MAX = 256 * 1024,
    PACKED_LEAST = 1024, /* smaller bodies are not worth it */
    FORM_MAX = 32,
};

/* A member of a form. */
struct part {
    const char *name;
    const char *text;  /* a template; NULL: */
    struct body *body; /* …of JSON */
};

struct way {
    struct way_settings set;
    struct fill_values values; /* but for the call */
    const struct connector_call *call;
    struct body *body; /* NULL: none */
    struct part form[FORM_MAX];
    size_t nform;
    struct gzip *gzip; /* NULL: bodies are not packed */
};

/* ---- opening ---- */

struct body_options {
    const struct way *way;
    json_t *kept; /* array: owns what was looked up until the body is compiled */
    bool failed;  /* memory was out: then an option that is set looks as if it were not */
};

static const json_t *
body_option(void *arg, const char *name)
{
    struct body_options *o = arg;
    const struct way_settings *set = &o->way->set;
    json_t *value;
    if (connector_option(set->connector, &set->use, name, &value) == 0 &&
        (!value || json_array_append_new(o->kept, value) == 0))
        return value;
    o->failed = true;
    return NULL;
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
field_nulls(const struct way *w)
{
    const struct target *t = w->set.target;
    const struct option_fields *set = connector_nulls(w->set.connector, w->set.use.destination);
    unsigned char *nulls = malloc(t->nfields + 1);
    for (size_t i = 0; nulls && i < t->nfields; i++) {
        nulls[i] = (unsigned char)w->call->nulls;
        for (size_t j = 0; set && j < set->n; j++)
            if (strcmp(set->fields[j], t->fields[i].name) == 0)
                nulls[i] = (unsigned char)null_policy(set->words[j]);
    }
    return nulls;
}

static int
open_body(const struct way *w, const json_t *template, struct body **ret, struct error *err)
{
    struct body_options o = {.way = w, .kept = json_array()};
    AUTO_FREE unsigned char *nulls = field_nulls(w);
    if (!o.kept || !nulls) {
        json_decref(o.kept);
        return error_no_memory(err);
    }
    const struct target *t = w->set.target;
    const struct body_settings settings = {
        .fields = t->fields,
        .nfields = t->nfields,
        .key = t->key,
        .nkey = t->nkey,
        .object = t->object,
        .events = t->type == TYPE_EVENTS,
        .event = t->event,
        .event_field = t->event_field,
        .nulls = w->call->nulls,
        .field_nulls = nulls,
        .markup = w->call->markup,
        .strings = w->call->strings,
        .changed_only = w->call->changed_only,
        .changed_whole = w->call->changed_whole,
        .looked_up = w->call->look_up != NULL,
        .row_bytes = w->call->row_bytes,
        .option = body_option,
        .arg = &o,
    };
    int rc = body_compile(template, &settings, ret, err);
    json_decref(o.kept);
    return o.failed ? error_no_memory(err) : rc;
}

static int
open_form(struct way *w, struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)w->call->form, name, value)
    {
        if (w->nform == FORM_MAX)
            return error_set(err, ERR_CONFIG, EINVAL, "a form of more than %d parts", FORM_MAX);
        struct part *part = &w->form[w->nform++];
        *part = (struct part){.name = name, .text = json_string_value(value)};
        int rc = part->text ? 0 : open_body(w, value, &part->body, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- addresses ---- */

static int
add_query(const struct fill_values *v, const json_t *query, struct buf *out, struct error *err)
{
    AUTO_BUF struct buf pairs = BUF_INIT(ADDRESS_MAX);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)query, name, value)
    {
        AUTO_BUF struct buf text = BUF_INIT(ADDRESS_MAX);
        int rc = fill_plain(json_string_value(value), v, &text, err);
        if (rc < 0)
            return rc;
        if (rc == 0)
            form_add(&pairs, name, buf_str(&text));
    }
    if (pairs.n > 0)
        buf_addf(out, "%c%s", !out->failed && strchr(buf_z(out), '?') ? '&' : '?',
                 buf_z(&pairs));
    out->failed |= pairs.failed;
    return 0;
}

static int
write_address(const struct way *w, const struct fill_values *v, struct request *r,
              struct error *err)
{
    r->address.max = ADDRESS_MAX;
    buf_clear(&r->address);
    const char *start = w->call->url ? w->call->url : w->set.connector->url;
    int rc = fill_plain(start, v, &r->address, err);
    if (rc == 0)
        rc = fill_path(w->call->path, v, &r->address, err);
    if (rc == FILL_UNSET)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "the address \"%s%s\" wants something that is not set", start,
                         w->call->path);
    if (rc == 0)
        rc = add_query(v, w->call->query, &r->address, err);
    if (rc < 0)
        return rc;
    r->url = buf_z(&r->address);
    if (r->address.failed)
        return r->address.full ? error_set(err, ERR_LIMIT, EFBIG, "the address is too long")
                               : error_no_memory(err);
    for (const char *p = r->url; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            return error_set(err, ERR_CONFIG, EINVAL,
                             "the address \"%s%s\" becomes one with a blank or a control "
                             "character, which none can have",
                             start, w->call->path);
    if (w->set.auth && !auth_may_go(w->set.auth, r->url))
        return error_set(err, ERR_CONFIG, EINVAL,
                         "a token that came by https is not sent to an address without it");
    return 0;
}

/* ---- headers ---- */

/* Begins a line. */
static int
begin_line(struct request *r, struct error *err)
{
    if (r->nlines == WAY_HEADERS_MAX)
        return error_set(err, ERR_CONFIG, EINVAL, "more than %d headers", WAY_HEADERS_MAX);
    r->at[r->nlines++] = r->lines.n;
    return 0;
}

/* What would be two lines is none. */
static int
end_line(struct request *r, struct error *err)
{
    if (r->lines.failed)
        return error_no_memory(err);
    size_t at = r->at[r->nlines - 1];
    const char *line = buf_z(&r->lines) + at;
    size_t name = strcspn(line, ":");
    for (size_t i = 0; i < r->lines.n - at; i++)
        if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
            return error_set(err, ERR_DATA, EINVAL,
                             "the header %.*s would hold a control "
                             "character",
                             (int)name, line);
    buf_addc(&r->lines, '\0');
    return 0;
}

static int
add_header(struct request *r, const char *name, const char *template,
           const struct fill_values *v, struct error *err)
{
    size_t before = r->lines.n;
    int rc = begin_line(r, err);
    buf_addf(&r->lines, "%s: ", name);
    if (rc == 0)
        rc = fill_plain(template, v, &r->lines, err);
    if (rc == FILL_UNSET) {
        r->lines.n = before;
        r->nlines--;
        return 0;
    }
    return rc == 0 ? end_line(r, err) : rc;
}

static int
add_headers(struct request *r, const json_t *headers, const struct fill_values *v,
            struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)headers, name, value)
    {
        int rc = add_header(r, name, json_string_value(value), v, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
add_auth(const struct way *w, const atomic_bool *cancelled, struct request *r,
         struct error *err)
{
    if (!w->set.auth)
        return 0;
    int rc = begin_line(r, err);
    if (rc == 0)
        rc = auth_line(w->set.auth, cancelled, &r->lines, err);
    r->token = auth_token(w->set.auth);
    if (rc == 0 && (rc = end_line(r, err)) < 0 && err->kind == ERR_DATA)
        err->kind = ERR_AUTH; /* no row's fault */
    return rc;
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
add_signature(const struct way *w, const struct call *call, struct request *r,
              struct error *err)
{
    if (!w->set.secret)
        return 0;
    char name[33];
    int64_t now = clock_now() / 1000000;
    int rc = call_name(call, name) < 0 ? error_no_memory(err) : begin_line(r, err);
    buf_addf(&r->lines, "webhook-id: %s", name);
    if (rc == 0)
        rc = end_line(r, err);
    if (rc == 0)
        rc = begin_line(r, err);
    buf_addf(&r->lines, "webhook-timestamp: %lld", (long long)now);
    if (rc == 0)
        rc = end_line(r, err);
    if (rc == 0)
        rc = begin_line(r, err);
    buf_adds(&r->lines, "webhook-signature: ");
    if (rc == 0)
        rc = sign_standard(w->set.secret, str_of(name), now, r->body, &r->lines, err);
    return rc == 0 ? end_line(r, err) : rc;
}

static int
add_line(struct request *r, const char *line, struct error *err)
{
    int rc = begin_line(r, err);
    buf_adds(&r->lines, line);
    return rc == 0 ? end_line(r, err) : rc;
}

static int
write_headers(const struct way *w, const struct fill_values *v, struct request *r,
              struct error *err)
{
    int rc = 0;
    if (w->call->body || w->call->form)
        rc = add_header(r, "Content-Type", w->call->type, v, err);
    if (rc == 0 && r->packed.n > 0)
        rc = add_line(r, "Content-Encoding: gzip", err);
    if (rc == 0)
        rc = add_headers(r, w->set.connector->headers, v, err);
    if (rc == 0)
        rc = add_headers(r, w->call->headers, v, err);
    if (rc == 0)
        rc = add_signature(w, v->call, r, err);
    for (size_t i = 0; rc == 0 && i < r->nlines; i++)
        r->headers[i] = buf_z(&r->lines) + r->at[i];
    r->headers[r->nlines] = NULL;
    return rc;
}

/* ---- bodies ---- */

static int
damaged(const struct buf *out, struct error *err)
{
    return out->failed ? error_no_memory(err)
                       : error_set(err, ERR_INTERNAL, EIO, "a delivered record is damaged");
}

/* Rows from `first` on of which too much was written are told from the others. */
static int
check_over(const struct way *w, const struct body *b, const struct call *call, size_t first,
           struct error *err)
{
    size_t n;
    const size_t *over = body_over(b, &n);
    for (size_t i = 0; i < n; i++)
        call->out[first + over[i]] =
            (struct outcome){.kind = ROW_REJECTED, .code = "too_large"};
    return n == 0 ? 0
                  : error_set(err, ERR_DATA, EFBIG,
                              "the row has more than the %zu bytes that one may have",
                              w->call->row_bytes);
}

static int
write_lines(const struct way *w, const struct call *call, struct buf *out, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; i < call->batch.n; i++) {
        if (!body_write(w->body, &call->batch.changes[i], 1, call->identities + i, out))
            return damaged(out, err);
        buf_addc(out, '\n');
        int over = check_over(w, w->body, call, i, err);
        rc = rc < 0 ? rc : over;
    }
    return rc;
}

static int
write_json(const struct way *w, struct body *b, const struct call *call, struct buf *out,
           struct error *err)
{
    bool good = body_write(b, call->batch.changes, call->batch.n, call->identities, out);
    return good ? check_over(w, b, call, 0, err) : damaged(out, err);
}

static int
write_part(const struct way *w, const struct part *part, const struct fill_values *v,
           struct buf *out, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    int rc = part->text ? fill_plain(part->text, v, &text, err)
                        : write_json(w, part->body, v->call, &text, err);
    if (rc == 0)
        form_add(out, part->name, buf_str(&text));
    return rc < 0 ? rc : 0;
}

static int
write_body(const struct way *w, const struct fill_values *v, struct request *r,
           struct error *err)
{
    const struct connector_call *c = w->call;
    int rc = 0;
    buf_clear(&r->plain);
    buf_clear(&r->packed);
    if (w->body)
        rc = c->lines ? write_lines(w, v->call, &r->plain, err)
                      : write_json(w, w->body, v->call, &r->plain, err);
    for (size_t i = 0; rc == 0 && i < w->nform; i++)
        rc = write_part(w, &w->form[i], v, &r->plain, err);
    if (rc == 0 && r->plain.failed)
        rc = error_no_memory(err);
    if (rc == 0 && r->plain.n > c->bytes && v->call->batch.n > 1)
        rc = error_set(err, ERR_LIMIT, EFBIG, "%zu bytes, where %zu are allowed", r->plain.n,
                       c->bytes);
    r->body = buf_str(&r->plain);
    if (rc < 0 || !w->gzip || r->plain.n <= PACKED_LEAST)
        return rc;
    gzip_pack(w->gzip, r->body, &r->packed);
    r->body = buf_str(&r->packed);
    return r->packed.failed ? error_no_memory(err) : 0;
}

/* ---- all of it ---- */

/* What no call would get right is known before the first one. */
static int
try_texts(const struct way *w, struct error *err)
{
    if (w->call->names & (FILL_ROW | FILL_ROWS | FILL_TOKEN))
        return 0;
    struct request r = {.lines = BUF_INIT(LINES_MAX)};
    int rc = write_address(w, &w->values, &r, err);
    if (rc == 0)
        rc = add_headers(&r, w->set.connector->headers, &w->values, err);
    if (rc == 0)
        rc = add_headers(&r, w->call->headers, &w->values, err);
    if (rc < 0 && err->kind == ERR_DATA)
        err->kind = ERR_CONFIG;
    request_done(&r);
    return rc;
}

int
way_open(const struct way_settings *settings, const struct connector_call *call,
         struct way **ret, struct error *err)
{
    struct way *w = calloc(1, sizeof *w);
    if (!w)
        return error_no_memory(err);
    w->set = *settings;
    w->call = call;
    w->values = (struct fill_values){
        .connector = settings->connector, .use = settings->use, .nkey = settings->target->nkey};
    int rc = call->body ? open_body(w, call->body, &w->body, err) : open_form(w, err);
    if (rc == 0 && call->gzip && !(w->gzip = gzip_create()))
        rc = error_no_memory(err);
    w->set.target = NULL;
    if (rc == 0)
        rc = try_texts(w, err);
    if (rc < 0) {
        way_close(w);
        return rc;
    }
    *ret = w;
    return 0;
}

struct way *
way_close(struct way *w)
{
    if (!w)
        return NULL;
    body_free(w->body);
    for (size_t i = 0; i < w->nform; i++)
        body_free(w->form[i].body);
    gzip_free(w->gzip);
    free(w);
    return NULL;
}

const struct connector_call *
way_call(const struct way *w)
{
    return w->call;
}

void
way_limits(const struct way *w, enum operation op, struct limits *ret)
{
    const struct connector_call *call = w->call;
    ret->of[op] = (struct call_limits){.rows = call->rows,
                                       .bytes = call->bytes,
                                       .overhead = w->body ? body_overhead(w->body) : 0,
                                       .repeatable = call->repeatable,
                                       .scope = call->scope};
    if (call->parallel && call->parallel < ret->parallel)
        ret->parallel = call->parallel;
}

int
way_write(struct way *w, const struct call *call, const atomic_bool *cancelled,
          struct request *r, struct error *err)
{
    struct fill_values v = w->values;
    v.call = call;
    r->nlines = 0;
    r->lines.max = LINES_MAX;
    buf_clear(&r->lines);
    int rc = write_body(w, &v, r, err);
    if (rc == 0)
        rc = add_auth(w, cancelled, r, err); /* first, for what its server told */
    if (w->set.auth)
        v.token = auth_told(w->set.auth);
    if (rc == 0)
        rc = write_address(w, &v, r, err);
    return rc == 0 ? write_headers(w, &v, r, err) : rc;
}

void
request_done(struct request *r)
{
    buf_done(&r->address);
    buf_done(&r->lines);
    buf_done(&r->plain);
    buf_done(&r->packed);
}
