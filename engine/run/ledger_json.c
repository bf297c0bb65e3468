/* Records as JSON: see ledger_json.h. One table says which number of a struct has which name.
 */
#include "run/ledger_json.h"

#include <stddef.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "base/utf8.h"

struct number {
    const char *name;
    size_t offset;
};

#define NUMBER(type, name_, member)                                                            \
    {                                                                                          \
        name_, offsetof(type, member)                                                          \
    }

static const struct number count_numbers[] = {
    NUMBER(struct diff_counts, "rows", rows),
    NUMBER(struct diff_counts, "unchanged", unchanged),
    NUMBER(struct diff_counts, "held_back", held_back),
    NUMBER(struct diff_counts, "superseded", superseded),
    NUMBER(struct diff_counts, "left", gone),
    NUMBER(struct diff_counts, "known", delivered),
    NUMBER(struct diff_counts, "retried", retried),
    NUMBER(struct diff_counts, "refused", refused),
    {NULL, 0},
};

static const struct number run_numbers[] = {
    NUMBER(struct run_record, "run", number),
    NUMBER(struct run_record, "inserts", inserts),
    NUMBER(struct run_record, "updates", updates),
    NUMBER(struct run_record, "deletes", deletes),
    NUMBER(struct run_record, "foreign_deletes", foreign),
    NUMBER(struct run_record, "recorded", recorded),
    NUMBER(struct run_record, "delivered", delivered),
    NUMBER(struct run_record, "rejected", rejected),
    NUMBER(struct run_record, "not_sent", not_sent),
    NUMBER(struct run_record, "dropped", dropped),
    NUMBER(struct run_record, "left_out", left_out),
    {NULL, 0},
};

static const struct number plan_numbers[] = {
    NUMBER(struct plan_record, "made", made),
    NUMBER(struct plan_record, "inserts", inserts),
    NUMBER(struct plan_record, "updates", updates),
    NUMBER(struct plan_record, "deletes", deletes),
    NUMBER(struct plan_record, "foreign_deletes", foreign),
    NUMBER(struct plan_record, "recorded", recorded),
    {NULL, 0},
};

static const struct number sync_numbers[] = {
    NUMBER(struct sync_record, "last_done", last_done),
    NUMBER(struct sync_record, "last_ok", last_ok),
    NUMBER(struct sync_record, "live_rows", live_rows),
    NUMBER(struct sync_record, "model_rows", model_rows),
    NUMBER(struct sync_record, "rejected_run", rejected_run),
    NUMBER(struct sync_record, "rejected_rows", rejected_rows),
    NUMBER(struct sync_record, "unsent_run", unsent_run),
    {NULL, 0},
};

static const struct number schedule_numbers[] = {
    NUMBER(struct schedule_record, "since", since),
    NUMBER(struct schedule_record, "asked_run", asked_run),
    NUMBER(struct schedule_record, "skipped", skipped),
    {NULL, 0},
};

static const struct number total_numbers[] = {
    NUMBER(struct sync_totals, "inserts", inserts),
    NUMBER(struct sync_totals, "updates", updates),
    NUMBER(struct sync_totals, "deletes", deletes),
    NUMBER(struct sync_totals, "foreign_deletes", foreign),
    NUMBER(struct sync_totals, "recorded", recorded),
    NUMBER(struct sync_totals, "delivered", delivered),
    NUMBER(struct sync_totals, "rejected", rejected),
    NUMBER(struct sync_totals, "not_sent", not_sent),
    NUMBER(struct sync_totals, "dropped", dropped),
    NUMBER(struct sync_totals, "unchanged", unchanged),
    NUMBER(struct sync_totals, "held_back", held_back),
    NUMBER(struct sync_totals, "retried", retried),
    NUMBER(struct sync_totals, "runs_succeeded", runs[RUN_SUCCEEDED]),
    NUMBER(struct sync_totals, "runs_partial", runs[RUN_PARTIAL]),
    NUMBER(struct sync_totals, "runs_failed", runs[RUN_FAILED]),
    NUMBER(struct sync_totals, "runs_cancelled", runs[RUN_CANCELLED]),
    NUMBER(struct sync_totals, "runs_held", runs[RUN_HELD]),
    {NULL, 0},
};

/* Memory was out since begin_whole(): a record that lacks a part would be taken for a whole
 * one, and a sync without its signature for one that never ran. */
static _Thread_local bool lost;

static void
put(json_t *to, const char *name, json_t *value)
{
    if (json_object_set_new(to, name, value) < 0)
        lost = true;
}

static void
append(json_t *to, json_t *value)
{
    if (json_array_append_new(to, value) < 0)
        lost = true;
}

static void
begin_whole(void)
{
    lost = false;
}

static json_t *
whole(json_t *json)
{
    if (!lost)
        return json;
    json_decref(json);
    return NULL;
}

static void
put_numbers(json_t *to, const void *from, const struct number *numbers)
{
    for (; numbers->name; numbers++) {
        uint64_t v;
        memcpy(&v, (const char *)from + numbers->offset, sizeof v);
        put(to, numbers->name, json_integer((json_int_t)v));
    }
}

static void
get_numbers(const json_t *from, void *to, const struct number *numbers)
{
    for (; numbers->name; numbers++) {
        uint64_t v = (uint64_t)json_integer_value(json_object_get(from, numbers->name));
        memcpy((char *)to + numbers->offset, &v, sizeof v);
    }
}

int
ledger_parse(const char *text, json_t **ret)
{
    bool no_memory;
    *ret = json_parse(str_of(text), 0, NULL, &no_memory);
    if (*ret)
        return 0;
    return no_memory ? -ENOMEM : -EUCLEAN;
}

/* Jansson writes no bytes that are not UTF-8, and a peer's words or a process's name may hold
 * some: an end that cannot be written down would be no end. */
static json_t *
readable(const char *text)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    struct str rest = str_of(text);
    bool cut;
    for (size_t n; rest.n; rest.p += n, rest.n -= n) {
        n = utf8_span(rest, &cut);
        buf_add(&out, rest.p, n);
        if (n == 0) {
            buf_addc(&out, '?');
            n = 1;
        }
    }
    return out.failed ? NULL : json_stringn_nocheck(buf_z(&out), out.n);
}

json_t *
ledger_text_to_json(const char *text)
{
    json_t *json = text ? json_string(text) : json_null();
    return json ? json : readable(text);
}

static void
put_text(json_t *to, const char *name, const char *text)
{
    put(to, name, ledger_text_to_json(text));
}

/* In arena; NULL when it is not there. */
static const char *
get_text(const json_t *from, const char *name, struct arena *arena)
{
    const char *text = json_string_value(json_object_get(from, name));
    const char *copy = arena_strdup(arena, text);
    if (text && !copy)
        lost = true;
    return copy;
}

/* ---- the mapping a state was made with ---- */

static json_t *
meta_to_json(const struct chg_meta *meta)
{
    json_t *fields = json_array(), *key = json_array();
    for (size_t i = 0; i < meta->nfields; i++) {
        const struct chg_field *f = &meta->fields[i];
        json_t *field = json_object();
        put_text(field, "name", f->name);
        put_text(field, "source", f->source);
        put(field, "type", json_integer(f->type));
        put_text(field, "native", f->native);
        append(fields, field);
    }
    for (size_t i = 0; i < meta->nkey; i++) {
        json_t *part = json_object();
        put_text(part, "name", meta->key_names[i]);
        put(part, "field", json_integer((json_int_t)meta->key[i]));
        put(part, "class", json_integer(meta->key_class[i]));
        append(key, part);
    }
    json_t *json = json_object();
    put(json, "fields", fields);
    put(json, "key", key);
    put_text(json, "source_driver", meta->source_driver);
    if (meta->nested)
        put(json, "nested", json_true());
    return json;
}

static struct chg_meta *
meta_from_json(const json_t *json, struct arena *arena)
{
    const json_t *fields = json_object_get(json, "fields"), *key = json_object_get(json, "key");
    struct chg_meta *meta = arena_alloc(arena, sizeof *meta);
    lost = lost || !meta;
    if (!meta)
        return NULL;
    meta->nfields = json_array_size(fields);
    meta->nkey = json_array_size(key);
    meta->fields = arena_alloc(arena, (meta->nfields + 1) * sizeof *meta->fields);
    meta->key = arena_alloc(arena, (meta->nkey + 1) * sizeof *meta->key);
    meta->key_names = arena_alloc(arena, (meta->nkey + 1) * sizeof *meta->key_names);
    meta->key_class = arena_alloc(arena, (meta->nkey + 1) * sizeof *meta->key_class);
    meta->source_driver = (char *)get_text(json, "source_driver", arena);
    meta->nested = json_is_true(json_object_get(json, "nested"));
    if (!meta->fields || !meta->key || !meta->key_names || !meta->key_class) {
        lost = true;
        return NULL;
    }
    for (size_t i = 0; i < meta->nfields; i++) {
        const json_t *field = json_array_get(fields, i);
        meta->fields[i] = (struct chg_field){
            .name = (char *)get_text(field, "name", arena),
            .source = (char *)get_text(field, "source", arena),
            .type = (enum value_type)json_integer_value(json_object_get(field, "type")),
            .native = (char *)get_text(field, "native", arena),
        };
        if (!meta->fields[i].name || !meta->fields[i].source)
            return NULL;
    }
    for (size_t i = 0; i < meta->nkey; i++) {
        const json_t *part = json_array_get(key, i);
        meta->key[i] = (size_t)json_integer_value(json_object_get(part, "field"));
        meta->key_names[i] = (char *)get_text(part, "name", arena);
        meta->key_class[i] = (enum key_class)json_integer_value(json_object_get(part, "class"));
        if (!meta->key_names[i] || meta->key[i] >= meta->nfields)
            return NULL;
    }
    return meta;
}

/* ---- syncs ---- */

json_t *
schedule_record_to_json(const struct schedule_record *r)
{
    begin_whole();
    json_t *json = json_object();
    put_text(json, "text", r->text);
    put_numbers(json, r, schedule_numbers);
    put(json, "paused", json_boolean(r->paused));
    return whole(json);
}

static void
schedule_record_from_json(const json_t *json, struct arena *arena, struct schedule_record *r)
{
    r->text = get_text(json, "text", arena);
    get_numbers(json, r, schedule_numbers);
    r->paused = json_is_true(json_object_get(json, "paused"));
}

static json_t *
plan_to_json(const struct plan_record *plan)
{
    json_t *json = json_object();
    put_text(json, "id", plan->id);
    put_text(json, "texts", plan->texts);
    put_text(json, "segments", plan->segments);
    put_text(json, "verb", plan->verb);
    put_text(json, "mode", plan->mode);
    put_text(json, "full", plan->why_full);
    put_text(json, "held", plan->held);
    put(json, "fresh", json_boolean(plan->fresh));
    put(json, "rekeyed", json_boolean(plan->rekeyed));
    put_numbers(json, plan, plan_numbers);
    put_numbers(json, &plan->counts, count_numbers);
    return json;
}

static struct plan_record *
plan_from_json(const json_t *json, struct arena *arena)
{
    struct plan_record *plan = arena_alloc(arena, sizeof *plan);
    lost = lost || !plan;
    if (!plan)
        return NULL;
    plan->id = get_text(json, "id", arena);
    plan->texts = get_text(json, "texts", arena);
    plan->segments = get_text(json, "segments", arena);
    plan->verb = get_text(json, "verb", arena);
    plan->mode = get_text(json, "mode", arena);
    plan->why_full = get_text(json, "full", arena);
    plan->held = get_text(json, "held", arena);
    plan->fresh = json_is_true(json_object_get(json, "fresh"));
    plan->rekeyed = json_is_true(json_object_get(json, "rekeyed"));
    get_numbers(json, plan, plan_numbers);
    get_numbers(json, &plan->counts, count_numbers);
    return plan->id && plan->texts && plan->segments ? plan : NULL;
}

json_t *
sync_record_to_json(const struct sync_record *record)
{
    begin_whole();
    json_t *json = json_object();
    put_text(json, "signature", record->signature);
    put_text(json, "reset", record->reset);
    put_text(json, "due_full", record->due_full);
    json_t *segments = json_array();
    for (size_t i = 0; i < record->nsegments; i++)
        append(segments, json_string_nocheck(record->segments[i]));
    put(json, "segments", segments);
    put(json, "meta", record->meta ? meta_to_json(record->meta) : json_null());
    put(json, "plan", record->plan ? plan_to_json(record->plan) : json_null());
    put_numbers(json, record, sync_numbers);
    json_t *totals = json_object();
    put_numbers(totals, &record->totals, total_numbers);
    put(json, "totals", totals);
    return whole(json);
}

int
sync_record_from_json(const json_t *json, struct sync_record *record, struct error *err)
{
    struct arena *arena = &record->arena;
    begin_whole();
    record->signature = get_text(json, "signature", arena);
    record->reset = get_text(json, "reset", arena);
    record->due_full = get_text(json, "due_full", arena);
    const json_t *segments = json_object_get(json, "segments");
    record->nsegments = json_array_size(segments);
    record->segments = arena_alloc(arena, (record->nsegments + 1) * sizeof *record->segments);
    bool good = record->segments != NULL;
    for (size_t i = 0; good && i < record->nsegments; i++) {
        const char *name = json_string_value(json_array_get(segments, i));
        record->segments[i] = arena_strdup(arena, name);
        good = record->segments[i] != NULL;
        lost = lost || (name && !good);
    }
    lost = lost || !record->segments;
    const json_t *meta = json_object_get(json, "meta"), *plan = json_object_get(json, "plan");
    record->meta = json_is_object(meta) ? meta_from_json(meta, arena) : NULL;
    record->plan = json_is_object(plan) ? plan_from_json(plan, arena) : NULL;
    good = good && !json_is_object(meta) == !record->meta &&
           !json_is_object(plan) == !record->plan;
    if (lost)
        return error_no_memory(err);
    if (!good)
        return error_set(err, ERR_INTERNAL, EUCLEAN,
                         "the ledger's record of the sync is damaged");
    record->model_rows = -1;
    if (json_object_get(json, "model_rows"))
        get_numbers(json, record, sync_numbers);
    schedule_record_from_json(json_object_get(json, "schedule"), arena, &record->schedule);
    get_numbers(json_object_get(json, "totals"), &record->totals, total_numbers);
    return lost ? error_no_memory(err) : 0;
}

/* ---- runs ---- */

static const char *const outcomes[] = {
    [RUN_ACTIVE] = "active",      [RUN_SUCCEEDED] = "succeeded", [RUN_PARTIAL] = "partial",
    [RUN_FAILED] = "failed",      [RUN_CANCELLED] = "cancelled", [RUN_HELD] = "held",
    [RUN_UNRESOLVED] = "unknown",
};

const char *
run_outcome_name(enum run_outcome outcome)
{
    return outcomes[outcome];
}

static void
put_time(json_t *to, const char *name, usec_t t)
{
    AUTO_BUF struct buf text = BUF_INIT(64);
    clock_format(t, &text);
    put(to, name, t ? json_string_nocheck(buf_z(&text)) : json_null());
}

json_t *
run_record_to_json(const struct run_record *r)
{
    begin_whole();
    json_t *json = json_object(), *by = json_object();
    put_numbers(json, r, run_numbers);
    put_text(json, "verb", r->verb);
    put_text(json, "mode", r->mode);
    put_text(json, "outcome", outcomes[r->outcome]);
    put_time(json, "started", r->started);
    put_time(json, "ended", r->ended);
    put(json, "seconds",
        r->ended ? json_real((double)(r->ended - r->started) / 1e6) : json_null());
    put_text(json, "full", r->why_full);
    put(json, "cut", json_boolean(r->cut));
    put_numbers(json, &r->counts, count_numbers);
    put_text(json, "error", r->error);
    put_text(json, "plan", r->plan);
    put_text(json, "plan_verb", r->plan_verb);
    put(by, "uid", json_integer((json_int_t)r->who.uid));
    put(by, "pid", json_integer((json_int_t)r->who.pid));
    put_text(by, "command", r->command);
    put(json, "by", by);
    put(json, "started_usec", json_integer(r->started));
    put(json, "ended_usec", json_integer(r->ended));
    put_text(json, "token", r->token);
    return whole(json);
}

int
run_record_from_json(const json_t *json, struct arena *arena, struct run_record *r)
{
    *r = (struct run_record){0};
    begin_whole();
    get_numbers(json, r, run_numbers);
    get_numbers(json, &r->counts, count_numbers);
    r->verb = get_text(json, "verb", arena);
    r->mode = get_text(json, "mode", arena);
    r->why_full = get_text(json, "full", arena);
    r->cut = json_is_true(json_object_get(json, "cut"));
    r->error = get_text(json, "error", arena);
    r->plan = get_text(json, "plan", arena);
    r->plan_verb = get_text(json, "plan_verb", arena);
    r->token = get_text(json, "token", arena);
    r->started = json_integer_value(json_object_get(json, "started_usec"));
    r->ended = json_integer_value(json_object_get(json, "ended_usec"));
    const json_t *by = json_object_get(json, "by");
    r->who.uid = (uid_t)json_integer_value(json_object_get(by, "uid"));
    r->who.pid = (pid_t)json_integer_value(json_object_get(by, "pid"));
    r->command = get_text(by, "command", arena);
    const char *outcome = json_string_value(json_object_get(json, "outcome"));
    for (size_t i = 0; outcome && i < sizeof outcomes / sizeof *outcomes; i++)
        if (strcmp(outcome, outcomes[i]) == 0)
            r->outcome = (enum run_outcome)i;
    if (lost)
        return -ENOMEM;
    return outcome ? 0 : -EIO;
}
