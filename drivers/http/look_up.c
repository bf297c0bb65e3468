/* Look-ups: see look_up.h. */
#include "http/look_up.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "base/value.h"
#include "http/pointer.h"

/* What the entries say of a row. */
struct finding {
    const char *id; /* NULL: none was found */
    bool number;    /* the peer writes it as one */
    bool several;   /* or it is another row's too */
    bool alike;     /* another row differs from it in the case of letters alone */
};

struct reading {
    const struct connector_look_up *look;
    struct call *call;
    const json_t *body;
    const char *key; /* pointer within an entry */
    json_t *exact;   /* the rows' numbers by their identifiers */
    json_t *folded;  /* …in small letters; -1: of several */
    json_t *by_id;   /* …by what was found for them */
    struct finding *findings;
    bool stray;        /* an entry names no row, or one again */
    bool none;         /* an entry of "failed" says "there is none"… */
    const json_t *odd; /* …or something else */
    struct found *found;
};

static const char *
keep(struct reading *r, const char *text)
{
    return arena_strdup(&r->found->arena, text);
}

/* ---- names ---- */

/* A string or a whole number as text; NULL: it is neither, or empty. */
static const char *
text_of(const json_t *value, char number[24])
{
    if (json_is_integer(value)) {
        snprintf(number, 24, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return number;
    }
    return json_string_length(value) > 0 ? json_string_value(value) : NULL;
}

static void
fold(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] |= 32;
}

static bool
add_row(struct reading *r, size_t row)
{
    const struct value *key = &r->call->batch.changes[row].key[0];
    const char *p = key->p ? key->p : "";
    AUTO_FREE char *small = malloc(key->n + 1);
    if (!small)
        return false;
    memcpy(small, p, key->n);
    fold(small, key->n);
    const json_t *other = json_object_getn(r->folded, small, key->n);
    json_int_t number = (json_int_t)row, first = json_integer_value(other);
    r->findings[row].alike = other != NULL;
    if (other && first >= 0)
        r->findings[first].alike = true;
    return json_object_setn_new_nocheck(r->exact, p, key->n, json_integer(number)) == 0 &&
           json_object_setn_new_nocheck(r->folded, small, key->n,
                                        json_integer(other ? -1 : number)) == 0;
}

static bool
name_rows(struct reading *r)
{
    size_t n = r->call->batch.n;
    r->exact = json_object();
    r->folded = json_object();
    r->by_id = json_object();
    r->findings = calloc(n, sizeof *r->findings);
    bool good = r->exact && r->folded && r->by_id && r->findings;
    for (size_t i = 0; good && i < n; i++)
        good = add_row(r, i);
    return good;
}

/* The row that has the identifier; -1: none, or nobody knows which. -2: memory is out. */
static json_int_t
row_named(const struct reading *r, const char *name)
{
    const json_t *row = json_object_get(r->exact, name);
    if (row)
        return json_integer_value(row);
    AUTO_FREE char *small = strdup(name);
    if (!small)
        return -2;
    fold(small, strlen(small));
    row = json_object_get(r->folded, small);
    return row ? json_integer_value(row) : -1;
}

/* The pointer to the identifier within an entry, whose name may be anything. */
static bool
fill_key(const struct fill_values *values, const char *template, struct buf *out)
{
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    struct fill_values v = *values;
    struct error ignored = ERROR_INIT;
    for (const char *p = v.use.identifier; p && *p; p++) {
        if (*p == '~' || *p == '/')
            buf_adds(&name, *p == '~' ? "~0" : "~1");
        else
            buf_addc(&name, *p);
    }
    v.use.identifier = buf_z(&name);
    return fill_plain(template, &v, out, &ignored) == 0 && !name.failed;
}

/* ---- entries ---- */

/* 0; 1: it makes no sense; -ENOMEM. */
static int
read_entry(struct reading *r, const json_t *entry)
{
    char key_number[24], id_number[24];
    const json_t *at = pointer_get(entry, r->look->id);
    const char *id = text_of(at, id_number);
    const char *key = text_of(pointer_get(entry, r->key), key_number);
    if (!id)
        return 1;
    json_int_t row = key ? row_named(r, key) : -1;
    if (row < 0) {
        r->stray = true;
        return row == -2 ? -ENOMEM : 0;
    }
    struct finding *f = &r->findings[row];
    if (f->id) {
        f->several = f->several || strcmp(f->id, id) != 0;
        r->stray = true;
        return 0;
    }
    f->id = keep(r, id);
    f->number = json_is_integer(at);
    const json_t *other = json_object_get(r->by_id, id);
    if (other) {
        f->several = r->findings[json_integer_value(other)].several = true;
        return f->id ? 0 : -ENOMEM;
    }
    return f->id && json_object_set_new(r->by_id, id, json_integer(row)) == 0 ? 0 : -ENOMEM;
}

static bool
is_fine(const struct reading *r, const json_t *entry)
{
    const json_t *code = r->look->code ? pointer_get(entry, r->look->code) : NULL;
    bool fine = false;
    for (size_t i = 0; code && i < json_array_size(r->look->fine); i++)
        fine = fine || json_equal(json_array_get(r->look->fine, i), code);
    return fine;
}

static int
read_entries(struct reading *r)
{
    const json_t *list = pointer_get(r->body, r->look->list);
    const json_t *failed = r->look->failed ? pointer_get(r->body, r->look->failed) : NULL;
    int rc = json_is_array(list) && (!failed || json_is_array(failed)) ? 0 : 1;
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        rc = read_entry(r, json_array_get(list, i));
    for (size_t i = 0; i < json_array_size(failed) && !r->odd; i++) {
        if (is_fine(r, json_array_get(failed, i)))
            r->none = true;
        else
            r->odd = json_array_get(failed, i);
    }
    return rc;
}

/* ---- what becomes of the rows ---- */

static struct outcome
reject(const char *code, const char *why)
{
    return (struct outcome){.kind = ROW_REJECTED, .code = code, .why = why};
}

/* The vendor's words of why rows were not looked up. */
static struct outcome
reject_odd(struct reading *r)
{
    char number[24];
    const char *code =
        text_of(r->look->code ? pointer_get(r->odd, r->look->code) : NULL, number);
    struct outcome out = reject(code ? keep(r, code) : NULL, NULL);
    const char *words =
        json_string_value(r->look->words ? pointer_get(r->odd, r->look->words) : NULL);
    out.why = words ? keep(r, words) : "it could not be looked up";
    return out;
}

/* Of a row of which nothing was found. */
static struct outcome
absent(struct reading *r, size_t row)
{
    if (r->odd)
        return reject_odd(r);
    if ((r->stray || r->findings[row].alike) && r->call->batch.n > 1)
        r->found->unclear = true;
    if (r->stray)
        return reject("look_up", "the look-up found a record that has another identifier than "
                                 "the one asked for");
    if (r->look->absent)
        return (struct outcome){.kind = ROW_ABSENT};
    if (r->call->batch.changes[row].op == OP_DELETE)
        return (struct outcome){.kind = ROW_UNCHANGED};
    return reject("no_match", r->look->why ? r->look->why : "nothing has this identifier");
}

/* row: its number in the call, once what is absent has left it. */
static void
add_part(struct reading *r, size_t from, size_t row, struct change *changes, struct value *keys,
         unsigned char (*identities)[32])
{
    const struct finding *f = &r->findings[from];
    size_t at = r->found->part.batch.n++;
    r->found->rows[at] = row;
    changes[at] = r->call->batch.changes[from];
    keys[2 * at] = (struct value){
        .p = f->id, .n = (uint32_t)strlen(f->id), .type = f->number ? V_INT : V_TEXT};
    keys[2 * at + 1] = changes[at].key[0];
    changes[at].key = &keys[2 * at];
    memcpy(identities[at], r->call->identities[from], 32);
}

/* 1: the answer does not tell. */
static int
decide(struct reading *r)
{
    struct found *found = r->found;
    struct arena *arena = &found->arena;
    size_t n = r->call->batch.n;
    struct change *changes = arena_alloc(arena, n * sizeof *changes);
    struct value *keys = arena_alloc(arena, 2 * n * sizeof *keys);
    unsigned char(*identities)[32] = arena_alloc(arena, n * sizeof *identities);
    found->rows = arena_alloc(arena, n * sizeof *found->rows);
    found->part.out = arena_alloc(arena, n * sizeof *found->part.out);
    found->out = arena_alloc(arena, n * sizeof *found->out);
    if (!changes || !keys || !identities || !found->rows || !found->part.out || !found->out)
        return -ENOMEM;
    found->part.batch = (struct batch){.changes = changes, .number = r->call->batch.number};
    found->part.identities = identities;
    found->part.tries = r->call->tries;
    bool silent = r->look->failed && !r->none && !r->odd && !r->stray;
    size_t row = 0; /* as add_part wants it */
    for (size_t i = 0; i < n; i++) {
        struct outcome *out = &found->out[row];
        *out = (struct outcome){.kind = ROW_UNKNOWN};
        if (r->findings[i].several)
            *out = reject("look_up", "more than one record was found, or one that is "
                                     "another row's too");
        else if (r->findings[i].id)
            add_part(r, i, row, changes, keys, identities);
        else if (silent && !r->findings[i].alike)
            return 1;
        else
            *out = absent(r, i);
        if (out->kind == ROW_ABSENT)
            r->call->out[i] = *out;
        else
            row++;
    }
    return 0;
}

int
look_up_read(const struct connector_look_up *look, const struct fill_values *values,
             const struct exchange *x, struct call *call, struct found **ret)
{
    AUTO_BUF struct buf key = BUF_INIT(BUF_NO_MAX);
    struct reading r = {.look = look, .call = call, .found = calloc(1, sizeof *r.found)};
    bool no_memory = false;
    json_t *body =
        x->cut ? NULL : json_parse(buf_str(&x->body_back), JSON_DECODE_ANY, NULL, &no_memory);
    r.body = body;
    int rc = body ? 0 : 1;
    if (!r.found || no_memory || !fill_key(values, look->key, &key))
        rc = -ENOMEM;
    r.key = buf_z(&key);
    if (rc == 0 && !name_rows(&r))
        rc = -ENOMEM;
    if (rc == 0)
        rc = read_entries(&r);
    if (rc == 0)
        rc = decide(&r);
    json_decref(r.exact);
    json_decref(r.folded);
    json_decref(r.by_id);
    json_decref(body);
    free(r.findings);
    *ret = rc == 0 ? r.found : look_up_free(r.found);
    return rc;
}

void
look_up_spread(const struct found *f, struct call *call, bool all)
{
    size_t known = 0;
    for (size_t i = 0; all && i < call->batch.n; i++)
        if (call->out[i].kind != ROW_ABSENT)
            call->out[i] = f->out[known++];
    for (size_t i = 0; i < f->part.batch.n; i++)
        call->out[f->rows[i]] = f->part.out[i];
}

struct found *
look_up_free(struct found *f)
{
    if (!f)
        return NULL;
    request_done(&f->request);
    exchange_done(&f->x);
    arena_done(&f->arena);
    free(f);
    return NULL;
}
