/* Mapping model rows: see mapper.h. */
#include "run/mapper.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct mapper {
    struct arena arena;
    struct chg_meta *meta;
    struct projection projection;
    struct column *fields;
    size_t *from;    /* for each field: position in the projection, or EXPRESSION */
    size_t *which;   /* for an expression: its number */
    size_t *key_at;  /* for each identifier column: position in the projection */
    size_t *by_name; /* field numbers in the order of their names */
    const bool *use; /* fields that make a fingerprint; NULL: all */
    struct expressions *expressions;
    struct value *schema_row; /* what expressions read: one value a schema column */
    size_t *schema_of;        /* for each projected column: its schema column */
    struct value *out;        /* one value a field */
    size_t event;             /* the field that names it, or NO_EVENT */
    EVP_MD_CTX *digest;       /* the reading thread's */
    EVP_MD_CTX *side_digest;  /* mapper_fingerprint's */
};

static const size_t EXPRESSION = SIZE_MAX, NO_EVENT = SIZE_MAX;

static int
unknown_column(const struct schema *schema, const char *column, unsigned line,
               struct error *err)
{
    AUTO_BUF struct buf names = BUF_INIT(600);
    for (size_t i = 0; i < schema->n && !names.failed; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", schema->columns[i].name);
    if (line)
        return error_set(err, ERR_CONFIG, ENOEXEC,
                         "mappings.csv:%u: the model has no column \"%s\"; it has: %s", line,
                         column, buf_z(&names));
    return error_set(err, ERR_CONFIG, ENOEXEC, "the model has no column \"%s\"; it has: %s",
                     column, buf_z(&names));
}

/* The schema's column of that name, or schema->n. */
static size_t
find_column(const struct schema *schema, const char *name)
{
    size_t i = 0;
    while (i < schema->n && strcmp(schema->columns[i].name, name) != 0)
        i++;
    return i;
}

/* Decides which schema columns are read: those mapped, and those that expressions use. */
static int
choose_columns(struct mapper *m, const struct definition *def, const struct schema *schema,
               struct error *err)
{
    AUTO_FREE bool *used = calloc(schema->n ? schema->n : 1, sizeof *used);
    size_t *position = arena_alloc(&m->arena, (schema->n + 1) * sizeof *position);
    if (!used || !position)
        return error_no_memory(err);
    bool any_expression = false;
    for (size_t i = 0; i < def->nmappings; i++) {
        const struct mapping *map = &def->mappings[i];
        if (!map->column) {
            any_expression = true;
            continue;
        }
        size_t at = find_column(schema, map->column);
        if (at == schema->n)
            return unknown_column(schema, map->column, map->line, err);
        used[at] = true;
    }
    if (any_expression) {
        int rc = expressions_compile(schema, def->mappings, def->nmappings, used,
                                     &m->expressions, err);
        if (rc < 0)
            return rc;
    }

    const char **names = arena_alloc(&m->arena, (schema->n + 1) * sizeof *names);
    m->schema_of = arena_alloc(&m->arena, (schema->n + 1) * sizeof *m->schema_of);
    m->schema_row = arena_alloc(&m->arena, (schema->n + 1) * sizeof *m->schema_row);
    if (!names || !m->schema_of || !m->schema_row)
        return error_no_memory(err);
    size_t n = 0;
    for (size_t i = 0; i < schema->n; i++) {
        if (!used[i])
            continue;
        position[i] = n;
        m->schema_of[n] = i;
        names[n++] = schema->columns[i].name;
    }
    m->projection.columns = names;
    m->projection.n = n;

    m->from = arena_alloc(&m->arena, def->nmappings * sizeof *m->from);
    m->which = arena_alloc(&m->arena, def->nmappings * sizeof *m->which);
    if (!m->from || !m->which)
        return error_no_memory(err);
    size_t expressions = 0;
    for (size_t i = 0; i < def->nmappings; i++) {
        const char *column = def->mappings[i].column;
        m->from[i] = column ? position[find_column(schema, column)] : EXPRESSION;
        m->which[i] = column ? 0 : expressions++;
    }
    return 0;
}

static int
describe_fields(struct mapper *m, const struct definition *def, const struct schema *schema,
                const char *source_driver, struct error *err)
{
    struct arena *a = &m->arena;
    struct chg_meta *meta = m->meta = arena_alloc(a, sizeof *meta);
    size_t n = def->nmappings;
    m->fields = arena_alloc(a, n * sizeof *m->fields);
    m->out = arena_alloc(a, n * sizeof *m->out);
    if (!meta || !m->fields || !m->out)
        return error_no_memory(err);
    meta->fields = arena_alloc(a, n * sizeof *meta->fields);
    meta->source_driver = arena_strdup(a, source_driver);
    if (!meta->fields || !meta->source_driver)
        return error_no_memory(err);
    meta->nfields = n;
    for (size_t i = 0; i < n; i++) {
        const struct mapping *map = &def->mappings[i];
        const struct column *column =
            map->column ? &schema->columns[find_column(schema, map->column)] : NULL;
        struct chg_field *f = &meta->fields[i];
        f->name = arena_strdup(a, map->field);
        f->source = column ? arena_printf(a, "column:%s", map->column)
                           : arena_printf(a, "expression:%s", map->expression);
        f->type = column ? column->type : V_NULL;
        f->native = column ? arena_strdup(a, column->native) : NULL;
        if (!f->name || !f->source)
            return error_no_memory(err);
        m->fields[i] = (struct column){.name = f->name, .type = f->type, .native = f->native};
    }
    return 0;
}

static int
describe_key(struct mapper *m, const struct definition *def, struct error *err)
{
    struct arena *a = &m->arena;
    struct chg_meta *meta = m->meta;
    size_t n = meta->nkey = def->nidentifier;
    meta->key = arena_alloc(a, (n + 1) * sizeof *meta->key);
    meta->key_names = arena_alloc(a, (n + 1) * sizeof *meta->key_names);
    meta->key_class = arena_alloc(a, (n + 1) * sizeof *meta->key_class);
    m->key_at = arena_alloc(a, (n + 1) * sizeof *m->key_at);
    if (!meta->key || !meta->key_names || !meta->key_class || !m->key_at)
        return error_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        meta->key[i] = def->key[i];
        meta->key_names[i] = arena_strdup(a, def->identifier[i]);
        if (!meta->key_names[i])
            return error_no_memory(err);
        meta->key_class[i] = key_class_of(meta->fields[def->key[i]].type);
        m->key_at[i] = m->from[def->key[i]];
    }
    m->projection.order = m->key_at;
    m->projection.order_class = meta->key_class;
    m->projection.norder = n;
    return 0;
}

/* Field numbers sorted by name: the fingerprint of a record must not depend on their order. */
static int
order_by_name(struct mapper *m, struct error *err)
{
    size_t n = m->meta->nfields;
    m->by_name = arena_alloc(&m->arena, n * sizeof *m->by_name);
    m->digest = EVP_MD_CTX_new();
    m->side_digest = EVP_MD_CTX_new();
    if (!m->by_name || !m->digest || !m->side_digest)
        return error_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0; at--) {
            size_t before = m->by_name[at - 1];
            if (strcmp(m->meta->fields[before].name, m->meta->fields[i].name) <= 0)
                break;
            m->by_name[at] = before;
        }
        m->by_name[at] = i;
    }
    return 0;
}

int
mapper_create(const struct definition *def, const struct schema *schema,
              const char *source_driver, struct mapper **ret, struct error *err)
{
    struct mapper *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(err);
    m->event = def->event_column ? def->event_field : NO_EVENT;
    int rc = choose_columns(m, def, schema, err);
    if (rc == 0)
        rc = describe_fields(m, def, schema, source_driver, err);
    if (rc == 0)
        rc = describe_key(m, def, err);
    if (rc == 0 && m->meta->nkey == 0)
        rc = order_by_name(m, err);
    if (rc < 0) {
        mapper_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

struct mapper *
mapper_free(struct mapper *m)
{
    if (m) {
        expressions_free(m->expressions);
        EVP_MD_CTX_free(m->digest);
        EVP_MD_CTX_free(m->side_digest);
        arena_done(&m->arena);
        free(m);
    }
    return NULL;
}

const struct chg_meta *
mapper_meta(const struct mapper *m)
{
    return m->meta;
}

const struct projection *
mapper_projection(const struct mapper *m)
{
    return &m->projection;
}

const struct column *
mapper_fields(const struct mapper *m)
{
    return m->fields;
}

/* SHA-256 over the fields in name order, each packed: equal records, equal fingerprints. */
static int
fingerprint(const struct mapper *m, EVP_MD_CTX *digest, const bool *use,
            const struct value *fields, struct buf *key, struct error *err)
{
    AUTO_BUF struct buf packed = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < m->meta->nfields; i++)
        if (!use || use[m->by_name[i]])
            record_add(&packed, &fields[m->by_name[i]]);
    unsigned char *to = (unsigned char *)buf_room(key, EVP_MAX_MD_SIZE);
    unsigned n = 0;
    if (packed.failed || !to)
        return error_no_memory(err);
    if (!EVP_DigestInit_ex(digest, EVP_sha256(), NULL) ||
        !EVP_DigestUpdate(digest, buf_z(&packed), packed.n) ||
        !EVP_DigestFinal_ex(digest, to, &n))
        return error_set(err, ERR_INTERNAL, EIO, "cannot compute a SHA-256");
    key->n += n;
    return 0;
}

void
mapper_identify_by(struct mapper *m, const bool *use)
{
    m->use = use;
}

int
mapper_fingerprint(struct mapper *m, const bool *use, struct str record, struct buf *key,
                   struct error *err)
{
    AUTO_FREE struct value *fields = calloc(m->meta->nfields, sizeof *fields);
    if (!fields)
        return error_no_memory(err);
    if (!record_unpack(record, fields, m->meta->nfields))
        return error_set(err, ERR_INTERNAL, EIO, "a record is damaged");
    return fingerprint(m, m->side_digest, use, fields, key, err);
}

const char *
mapped_code(enum mapped kind)
{
    static const char *const codes[] = {[MAPPED_OK] = "",
                                        [MAPPED_NULL_KEY] = "null_identifier",
                                        [MAPPED_BAD] = "expression",
                                        [MAPPED_NO_EVENT] = "null_event"};
    return codes[kind];
}

int
mapper_row(struct mapper *m, const struct value *values, struct buf *key, struct buf *record,
           enum mapped *ret, struct error *why, struct error *err)
{
    static const struct value null_value = {.type = V_NULL};
    const struct chg_meta *meta = m->meta;
    *ret = MAPPED_OK;
    for (size_t i = 0; i < meta->nkey; i++) {
        const struct value *v = &values[m->key_at[i]];
        if (v->type == V_NULL)
            *ret = MAPPED_NULL_KEY;
        key_add(key, meta->key_class[i], v);
    }
    if (m->expressions)
        for (size_t i = 0; i < m->projection.n; i++)
            m->schema_row[m->schema_of[i]] = values[i];
    for (size_t i = 0; i < meta->nfields; i++) {
        if (m->from[i] != EXPRESSION) {
            m->out[i] = values[m->from[i]];
            continue;
        }
        if (expressions_eval(m->expressions, m->which[i], m->schema_row, &m->out[i], why) < 0) {
            if (why->kind != ERR_DATA) {
                *err = *why;
                return -err->errnum;
            }
            error_wrap(why, "field \"%s\"", meta->fields[i].name);
            m->out[i] = null_value;
            if (*ret == MAPPED_OK)
                *ret = MAPPED_BAD;
        }
    }
    if (m->event != NO_EVENT && m->out[m->event].n == 0 && *ret == MAPPED_OK) {
        error_set(why, ERR_DATA, EINVAL, "field \"%s\", the event's name, is %s",
                  meta->fields[m->event].name,
                  m->out[m->event].type == V_NULL ? "NULL" : "empty");
        *ret = MAPPED_NO_EVENT;
    }
    record_pack(record, m->out, meta->nfields);
    if (meta->nkey == 0) {
        int rc = fingerprint(m, m->digest, m->use, m->out, key, err);
        if (rc < 0)
            return rc;
    }
    return key->failed || record->failed ? error_no_memory(err) : 0;
}
