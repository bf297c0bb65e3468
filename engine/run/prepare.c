/*
 * What stands before a run's first row: the definition as it is now, the two connections, the
 * mapping of the model's columns, and whether (and why) every row must be sent.
 */
#include "run/run.h"

#include <jansson.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "run/ledger_json.h"

enum { PARSE_TRIES = 16 };

/* ---- what the delivered state hangs on ---- */

/* NULL: memory is out. */
static json_t *
json_names(const char *const *names, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, json_string_nocheck(names[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

const char *
run_place(const struct connection *connection, struct arena *arena, struct error *err)
{
    AUTO_BUF struct buf place = BUF_INIT(BUF_NO_MAX);
    const struct driver *driver = connection->driver;
    if (!driver->place || driver->place(connection->options, &place, err) < 0)
        return NULL;
    const char *copy = arena_strdup(arena, buf_z(&place));
    if (!copy)
        error_no_memory(err);
    return copy;
}

const char *
run_signature(const struct definition *def, const char *place, struct arena *arena)
{
    const char **fields = arena_alloc(arena, (def->nidentifier + 1) * sizeof *fields);
    for (size_t i = 0; fields && i < def->nidentifier; i++)
        fields[i] = def->mappings[def->key[i]].field;
    json_auto_t *signature = json_object();
    const struct {
        const char *name;
        json_t *value;
    } members[] = {
        {"destination", json_string_nocheck(def->dest_connection)},
        {"place", ledger_text_to_json(place)},
        {"object", def->object ? json_string_nocheck(def->object) : json_null()},
        {"part", ledger_text_to_json(def->dest_part)},
        {"type", json_string(sync_type_name(def->type))},
        {"identifier", json_names(def->identifier, def->nidentifier)},
        {"key", fields ? json_names(fields, def->nidentifier) : NULL},
    };
    bool whole = true; /* what lacks a member would be that of another destination */
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        whole = json_object_set_new(signature, members[i].name, members[i].value) == 0 && whole;
    if (!whole)
        return NULL;
    AUTO_FREE char *text = json_write(signature, JSON_COMPACT | JSON_SORT_KEYS);
    return text ? arena_strdup(arena, text) : NULL;
}

/* "a, b" of a JSON list of names, or the string itself. */
static void
describe_json(const json_t *value, struct buf *out)
{
    size_t i;
    json_t *item;
    if (json_is_string(value))
        buf_adds(out, json_string_value(value));
    else if (json_array_size(value) == 0)
        buf_adds(out, "none");
    json_array_foreach(value, i, item)
        buf_addf(out, "%s%s", i ? ", " : "", json_string_value(item));
}

static void add_reason(struct buf *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
add_reason(struct buf *out, const char *format, ...)
{
    if (out->n)
        buf_adds(out, "; ");
    va_list ap;
    va_start(ap, format);
    buf_vaddf(out, format, ap);
    va_end(ap);
}

/* Of one destination: where its connection points now. What was written down without a place,
 * or is said by no driver, is not compared. */
static bool
other_place(const json_t *was, const json_t *is)
{
    const json_t *a = json_object_get(was, "place"), *b = json_object_get(is, "place");
    return json_is_string(a) && json_is_string(b) && !json_equal(a, b);
}

/* What was written down before there was such a member is of records, in the whole object. */
static json_t *
member_of(const json_t *signature, const char *member)
{
    static const char records[] = "records";
    json_t *value = json_object_get(signature, member);
    if (value)
        return json_incref(value);
    return strcmp(member, "type") == 0 ? json_string(records) : json_null();
}

static bool
same_member(const json_t *a, const json_t *b, const char *member)
{
    json_auto_t *x = member_of(a, member), *y = member_of(b, member);
    return json_equal(x, y);
}

static void
describe_change(const json_t *was, const json_t *is, const char *member, struct buf *out)
{
    json_auto_t *x = member_of(was, member), *y = member_of(is, member);
    describe_json(x, out);
    buf_adds(out, " → ");
    describe_json(y, out);
}

const char *
run_other_place(const char *signature, const char *other, struct arena *arena)
{
    json_auto_t *a = NULL, *b = NULL;
    AUTO_BUF struct buf change = BUF_INIT(4096);
    if (ledger_parse(signature, &a) == -ENOMEM || ledger_parse(other, &b) == -ENOMEM)
        return "out of memory";
    if (!other_place(a, b))
        return NULL;
    describe_change(a, b, "place", &change);
    const char *text = arena_strdup(arena, buf_z(&change));
    return text ? text : "out of memory";
}

/* "identifier changed: a → b" and the like. 1: the two signatures differ. */
static int
compare_signatures(const char *before, const char *now, struct buf *out)
{
    static const struct {
        const char *member, *words;
    } parts[] = {
        {"identifier", "identifier changed"},
        {"key", "field of the identifier changed"},
        {"destination", "destination changed"},
        {"place", "destination changed"}, /* under the same name */
        {"object", "object changed"},
        {"part", "destination changed"}, /* within the object */
        {"type", "type changed"},
    };
    json_auto_t *a = NULL, *b = NULL;
    int differ = 0, rc = ledger_parse(before, &a);
    bool renamed = false;
    if (rc == 0)
        rc = ledger_parse(now, &b);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *member = parts[i].member;
        bool place = strcmp(member, "place") == 0;
        if (place ? renamed || !other_place(a, b) : same_member(a, b, member))
            continue;
        differ = 1;
        renamed = renamed || strcmp(member, "destination") == 0;
        AUTO_BUF struct buf change = BUF_INIT(4096);
        describe_change(a, b, member, &change);
        add_reason(out, "%s: %s", parts[i].words, buf_z(&change));
    }
    return differ;
}

bool
run_same_object(const char *signature, const char *other)
{
    json_auto_t *a = NULL, *b = NULL;
    if (ledger_parse(signature, &a) < 0 || ledger_parse(other, &b) < 0)
        return true; /* rather held than created twice */
    bool renamed =
        !json_equal(json_object_get(a, "destination"), json_object_get(b, "destination"));
    return !(renamed && other_place(a, b)) && same_member(a, b, "object") &&
           same_member(a, b, "part") && same_member(a, b, "type");
}

/* ---- mapping changes ---- */

static const char *
bare_source(const char *source)
{
    const char *colon = strchr(source, ':');
    return colon ? colon + 1 : source;
}

static bool
same_source(const struct chg_field *field, const struct mapping *map)
{
    const char *kind = map->column ? "column:" : "expression:";
    return strncmp(field->source, kind, strlen(kind)) == 0 &&
           strcmp(bare_source(field->source), map->column ? map->column : map->expression) == 0;
}

/* Appends "mapping added: column → field" for every mapping that is new or stands for something
 * else now; a removed one is no reason, nor is another order. */
static void
compare_mappings(const struct chg_meta *before, const struct definition *def, struct buf *out)
{
    for (size_t i = 0; i < def->nmappings; i++) {
        const struct mapping *map = &def->mappings[i];
        const char *source = map->column ? map->column : map->expression;
        const struct chg_field *was = NULL;
        for (size_t f = 0; f < before->nfields && !was; f++)
            if (strcmp(before->fields[f].name, map->field) == 0)
                was = &before->fields[f];
        if (!was)
            add_reason(out, "mapping added: %s → %s", source, map->field);
        else if (!same_source(was, map))
            add_reason(out, "mapping updated: %s → %s (was %s)", source, map->field,
                       bare_source(was->source));
    }
}

/* A mapped column whose type is another than when it was delivered. */
static void
compare_types(const struct chg_meta *before, const struct chg_meta *now, struct buf *out)
{
    for (size_t i = 0; i < now->nfields; i++)
        for (size_t f = 0; f < before->nfields; f++) {
            const struct chg_field *was = &before->fields[f], *is = &now->fields[i];
            if (strcmp(was->name, is->name) != 0 || strcmp(was->source, is->source) != 0 ||
                was->type == is->type)
                continue;
            add_reason(out, "mapping updated: %s → %s (type %s, was %s)",
                       bare_source(is->source), is->name, value_type_name(is->type),
                       value_type_name(was->type));
        }
}

bool
run_creates(const struct definition *def)
{
    return def->mode == MODE_INSERT || def->mode == MODE_ADD || def->type == TYPE_EVENTS;
}

/* All that is known without the model's types. */
static int
find_reasons(const struct sync_record *before, const struct definition *def, const char *place,
             struct buf *why)
{
    AUTO_ARENA struct arena scratch = ARENA_INIT;
    int rc = 0;
    if (before->reset) {
        add_reason(why, "%s", before->reset);
    } else if (!before->signature) {
        add_reason(why, "first run");
    } else {
        const char *signature = run_signature(def, place, &scratch);
        rc = signature ? compare_signatures(before->signature, signature, why) : -ENOMEM;
        if (before->due_full)
            add_reason(why, "%s", before->due_full);
        if (def->mode == MODE_FULL)
            add_reason(why, "mode full");
        if (mode_updates(def->mode) && before->meta)
            compare_mappings(before->meta, def, why);
    }
    return rc < 0 ? rc : 0;
}

const char *
run_why_full(const struct sync_record *before, const struct definition *def, const char *place,
             struct arena *arena)
{
    AUTO_BUF struct buf why = BUF_INIT(64 * 1024);
    find_reasons(before, def, place, &why);
    return why.n ? arena_strdup(arena, buf_z(&why)) : NULL;
}

/* An identifier of another type may be written another way: what was delivered would seem to
 * have left the model, and the delete of the old form would hit the new one. */
static bool
key_types_differ(const struct chg_meta *before, const struct chg_meta *now)
{
    for (size_t i = 0; i < now->nkey && i < before->nkey; i++)
        if (now->key_class[i] != before->key_class[i] ||
            now->fields[now->key[i]].type != before->fields[before->key[i]].type)
            return true;
    return false;
}

void
run_set_fresh(struct run *run, bool fresh)
{
    run->fresh = fresh;
    if (!fresh)
        return;
    run->previous_rejected = chg_unref(run->previous_rejected);
    run->previous_unsent = chg_unref(run->previous_unsent);
}

int
run_decide_fresh(struct run *run, struct error *err)
{
    const struct sync_record *before = &run->before;
    AUTO_BUF struct buf ignored = BUF_INIT(64 * 1024); /* find_reasons tells it */
    int rc = before->reset || !before->signature
                 ? 1
                 : compare_signatures(before->signature, run->signature, &ignored);
    if (rc < 0)
        return error_no_memory(err);
    run_set_fresh(run, rc == 1 || (before->meta && key_types_differ(before->meta, run->meta)));
    return rc;
}

/* With the model's types known: whether the delivered state still counts, and the last reasons.
 */
static int
decide_full(struct run *run, struct error *err)
{
    struct sync_record *before = &run->before;
    AUTO_BUF struct buf why = BUF_INIT(64 * 1024);
    int rc = find_reasons(before, run->def, run->place, &why);
    if (rc < 0 && rc != -ENOMEM)
        return error_set(err, ERR_INTERNAL, EUCLEAN,
                         "the ledger's record of the sync is damaged");
    run->signature = run_signature(run->def, run->place, &run->arena);
    if (rc < 0 || !run->signature)
        return error_no_memory(err);
    rc = run_decide_fresh(run, err);
    if (rc < 0)
        return rc;
    if (rc == 0 && run->fresh)
        add_reason(&why, "type of the identifier changed");
    else if (!run->fresh && before->meta && mode_updates(run->def->mode))
        compare_types(before->meta, run->meta, &why);
    if (run->rows == VERB_FULL)
        add_reason(&why, "asked for");
    if (why.failed && why.n == 0) /* a reason that was not told would be none */
        return error_no_memory(err);
    if (run->rows == VERB_SEND) {
        run->due_full = arena_strdup(&run->arena, buf_z(&why));
        if (!run->due_full)
            return error_no_memory(err);
        buf_clear(&why);
    }
    if (run->rows == VERB_RETRY) {
        if (run->fresh)
            return error_set(err, ERR_CONFIG, EINVAL,
                             "nothing to retry: the next run sends every row (%s)",
                             buf_z(&why));
        buf_clear(&why); /* what is due for other reasons stays due */
    }
    run->why_full = why.n ? arena_strdup(&run->arena, buf_z(&why)) : NULL;
    return why.n && !run->why_full ? error_no_memory(err) : 0;
}

/* ---- definition and connections ---- */

/* The definition's options were filled by the tables of `driver`: if another stands behind the
 * name meanwhile, they are not for it. */
static int
load_connection(struct run *run, const char *name, const struct driver *driver,
                struct connection **ret, bool *changed, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    int rc = catalog_connection_text(run->catalog, name, &text, err);
    if (rc == -ENOENT)
        return error_set(err, ERR_CONFIG, ENOEXEC, "connection \"%s\" does not exist", name);
    if (rc < 0)
        return error_wrap(err, "connection \"%s\"", name);
    struct complaint complaint = {0};
    const struct world world = catalog_world(run->catalog);
    rc = connection_parse(&world, name, buf_str(&text), ret, &complaint);
    if (rc == -ENOMEM)
        return error_no_memory(err);
    if (rc < 0)
        return error_set(err, ERR_CONFIG, ENOEXEC, "connections/%s.json:%u: %s", name,
                         complaint.line, complaint.text);
    *changed = (*ret)->driver != driver;
    if (*changed)
        return error_set(err, ERR_CONFIG, EBUSY, "connection \"%s\" is being changed", name);
    rc = connection_resolve(*ret, &run->cancelled, err);
    return rc < 0 ? error_wrap(err, "connection \"%s\"", name) : 0;
}

/* Of what a plan was made from. */
static int
digest_texts(struct run *run, struct error *err)
{
    AUTO_BUF struct buf all = BUF_INIT(BUF_NO_MAX);
    const struct str texts[] = {run->texts.config, run->texts.mappings, run->texts.mode,
                                str_of(run->place ? run->place : "")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        buf_add_varint(&all, texts[i].n);
        buf_add(&all, texts[i].p, texts[i].n);
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (all.failed || !EVP_Digest(all.p, all.n, digest, &n, EVP_sha256(), NULL))
        return error_no_memory(err);
    for (unsigned i = 0; i < 32; i++)
        snprintf(run->texts_digest + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

static int
collect_secrets(struct run *run, struct error *err)
{
    const struct connection *const both[] = {run->source_connection, run->dest_connection};
    run->redactor = redactor_create();
    int rc = run->redactor ? 0 : -ENOMEM;
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; rc == 0 && k < both[i]->nsecrets; k++) {
            const char *options = both[i]->options;
            rc = redactor_add(
                run->redactor,
                *(char *const *)(const void *)(options + both[i]->secrets[k].offset));
        }
    return rc < 0 ? error_no_memory(err) : 0;
}

/* *changed: an edit came in between. */
static int
parse_all(struct run *run, bool *changed, struct error *err)
{
    AUTO_FREE struct complaints *complaints = calloc(1, sizeof *complaints);
    *changed = false;
    if (!complaints)
        return error_no_memory(err);
    struct world world = catalog_world(run->catalog);
    int rc = definition_parse(&world, &run->texts, &run->def, complaints);
    if (rc == -ENOMEM)
        return error_no_memory(err);
    if (!run->def) {
        AUTO_BUF struct buf line = BUF_INIT(2048);
        if (complaints->n)
            complaint_line(&complaints->items[0], &line);
        return error_set(err, ERR_CONFIG, ENOEXEC, "not ready: %s", buf_z(&line));
    }
    const struct definition *def = run->def;
    rc = load_connection(run, def->source_connection, def->source_driver,
                         &run->source_connection, changed, err);
    return rc < 0 ? rc
                  : load_connection(run, def->dest_connection, def->dest_driver,
                                    &run->dest_connection, changed, err);
}

int
run_prepare_texts(struct run *run, struct error *err)
{
    bool changed;
    int rc = parse_all(run, &changed, err);
    for (int tries = 0; changed && tries < PARSE_TRIES; tries++) {
        run->source_connection = connection_free(run->source_connection);
        run->dest_connection = connection_free(run->dest_connection);
        run->def = definition_free(run->def);
        *err = (struct error)ERROR_INIT;
        rc = parse_all(run, &changed, err);
    }
    if (rc == 0)
        rc = collect_secrets(run, err);
    if (rc < 0)
        return rc;
    run->place = run_place(run->dest_connection, &run->arena, err);
    if (!run->place && err->kind)
        return error_wrap(err, "connection \"%s\"", run->def->dest_connection);
    return digest_texts(run, err);
}

int
run_prepare_definition(struct run *run, struct error *err)
{
    static const char *const names[] = {"config.json", "mappings.csv", "mode"};
    bool rejected[3] = {false};
    int rc =
        catalog_sync_texts(run->catalog, run->dir, &run->texts, &run->arena, rejected, err);
    if (rc == -ENOENT)
        return error_set(err, ERR_CONFIG, ENOEXEC, "the sync is gone");
    if (rc < 0)
        return error_wrap(err, "not ready");
    for (size_t i = 0; i < 3; i++)
        if (rejected[i])
            return error_set(err, ERR_CONFIG, ENOEXEC,
                             "not ready: %s.rej holds a refused edit: mend %s or remove %s.rej",
                             names[i], names[i], names[i]);
    return run_prepare_texts(run, err);
}

static void
set_cancel_handle(struct run *run, void **slot, void *handle)
{
    pthread_mutex_lock(&run->lock);
    *slot = handle;
    pthread_mutex_unlock(&run->lock);
}

int
run_open_source(struct run *run, struct error *err)
{
    const struct definition *def = run->def;
    const struct driver *driver = run->source_connection->driver;
    const struct model model = {
        .sync = run->name,
        .table = def->table,
        .query = def->query,
        .options = def->source_options,
        .cancelled = &run->cancelled,
    };
    int rc = driver->source_open(run->source_connection->options, &model, &run->source, err);
    if (rc < 0)
        return error_wrap(err, "source \"%s\"", def->source_connection);
    set_cancel_handle(run, &run->cancel_source, run->source);
    rc = run_go_on(run, err); /* asked for before there was a handle to cancel */
    if (rc < 0)
        return rc;

    struct schema schema = {0};
    rc = driver->source_describe(run->source, &schema, err);
    if (rc == 0)
        rc = mapper_create(def, &schema, driver->name, &run->mapper, err);
    if (rc == 0) {
        run->meta = chg_meta_copy(&run->arena, mapper_meta(run->mapper));
        if (run->meta)
            run->meta->nested = run->dest_connection->driver->traits & TRAIT_NESTED;
        rc = run->meta ? decide_full(run, err) : error_no_memory(err);
    }
    if (rc < 0)
        return error_wrap(err, "source \"%s\"", def->source_connection);

    /* Which of several rows is the last is the query's own order: leave it as it comes. */
    bool want_order = run->meta->nkey > 0 && !def->duplicates_last && run->ordered;
    struct source_plan plan = {.rows = -1};
    rc = driver->source_plan(run->source, mapper_projection(run->mapper), want_order, &plan,
                             err);
    if (rc < 0)
        return error_wrap(err, "source \"%s\"", def->source_connection);
    run->ordered = want_order && plan.ordered;
    run->guessed = run->ordered && plan.guessed;
    atomic_store(&run->progress.total, plan.rows);
    atomic_store(&run->progress.total_exact, plan.rows_exact);
    return 0;
}

/* The mapped fields as a destination needs them to make its table. */
static int
target_fields(struct run *run, struct target *target, struct error *err)
{
    const struct chg_meta *meta = run->meta;
    bool same_system = strcmp(meta->source_driver, run->dest_connection->driver->name) == 0;
    struct column *fields = arena_alloc(&run->arena, (meta->nfields + 1) * sizeof *fields);
    if (!fields)
        return error_no_memory(err);
    for (size_t i = 0; i < meta->nfields; i++)
        fields[i] = (struct column){
            .name = meta->fields[i].name,
            .type = meta->fields[i].type,
            .native = same_system ? meta->fields[i].native : NULL,
        };
    target->fields = fields;
    target->nfields = meta->nfields;
    target->key = meta->key;
    target->nkey = meta->nkey;
    return 0;
}

int
run_open_destination(struct run *run, struct error *err)
{
    const struct definition *def = run->def;
    struct target target = {
        .sync = run->name,
        .sync_uid = run->before.uid,
        .object = def->object,
        .options = def->dest_options,
        .type = def->type,
        .event = def->event,
        .event_field = def->event_field,
        .mode = def->mode,
        .create = def->create,
        .cancelled = &run->cancelled,
    };
    int rc = target_fields(run, &target, err);
    if (rc < 0)
        return rc;
    const struct driver *driver = run->dest_connection->driver;
    rc = driver->dest_open(run->dest_connection->options, &target, &run->destination, err);
    if (rc < 0)
        return error_wrap(err, "destination \"%s\"", def->dest_connection);
    set_cancel_handle(run, &run->cancel_destination, run->destination);
    return run_go_on(run, err); /* asked for before there was a handle to cancel */
}

void
run_close_handles(struct run *run)
{
    set_cancel_handle(run, &run->cancel_source, NULL);
    set_cancel_handle(run, &run->cancel_destination, NULL);
    if (run->source)
        run->source_connection->driver->source_close(run->source);
    if (run->destination)
        run->dest_connection->driver->dest_close(run->destination);
    run->source = run->destination = NULL;
}
