/* Calls of a manifest: see connector.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "http/connector_private.h"
#include "http/fill.h"
#include "http/manifest.h"

enum { CALLS_MAX = 64 };

/* False: there is no such operation, or it was there already. */
static bool
add_operation(const char *name, unsigned operations[SYNC_TYPES])
{
    static const struct {
        const char *name;
        enum sync_type type;
        enum operation op;
    } known[] = {{"insert", TYPE_RECORDS, OP_INSERT}, {"upsert", TYPE_RECORDS, OP_UPSERT},
                 {"update", TYPE_RECORDS, OP_UPDATE}, {"delete", TYPE_RECORDS, OP_DELETE},
                 {"add", TYPE_AUDIENCE, OP_UPSERT},   {"remove", TYPE_AUDIENCE, OP_DELETE}};
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++) {
        unsigned *of = &operations[known[i].type], bit = 1u << known[i].op;
        if (strcmp(known[i].name, name) != 0)
            continue;
        bool first = !(*of & bit);
        *of |= bit;
        return first;
    }
    return false;
}

static int
take_operations(const json_t *list, const char *where, unsigned operations[SYNC_TYPES],
                struct error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!add_operation(json_string_value(json_array_get(list, i)), operations))
            return manifest_wrong(
                err, where,
                "\"for\" lists insert, upsert, update, delete, add, remove, once each");
    return json_array_size(list) > 0
               ? 0
               : manifest_wrong(err, where, "wants \"for\", a list of operations");
}

int
connector_take_answer(const json_t *object, const char *where, struct answer_rules **ret,
                      struct error *err)
{
    int rc = answer_compile(json_object_get(object, "answer"), ret, err);
    return rc < 0 && *where ? error_wrap(err, "%s", where) : rc;
}

int
connector_check_texts(const struct connector *c, const json_t *object, const char *where,
                      unsigned *names, struct error *err)
{
    const char *name;
    json_t *value;
    if (object && !json_is_object(object))
        return manifest_wrong(err, where, "must be an object");
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        const char *text = json_string_value(value);
        struct manifest_place place;
        const char *at = manifest_below(&place, where, name);
        int rc = text ? fill_check(text, at, c, names, err)
                      : manifest_wrong(err, at, "must be a string");
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Like texts, but what is no string is a template of JSON. */
static int
check_form(const struct connector *c, const json_t *form, const char *where, unsigned *names,
           struct error *err)
{
    const char *name;
    json_t *value;
    if (form && !json_is_object(form))
        return manifest_wrong(err, where, "must be an object");
    json_object_foreach((json_t *)(uintptr_t)form, name, value)
    {
        struct manifest_place place;
        const char *at = manifest_below(&place, where, name);
        int rc = 0;
        if (json_is_string(value))
            rc = fill_check(json_string_value(value), at, c, names, err);
        else if (!json_is_object(value) && !json_is_array(value))
            rc = manifest_wrong(err, at, "must be a string, an object or an array");
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The rules above with the call's own before them. */
static int
take_exceptions(const json_t *above, const json_t *exceptions, const char *where,
                struct answer_rules **ret, struct error *err)
{
    json_t *all = above ? json_copy((json_t *)(uintptr_t)above) : json_object();
    json_t *when = json_array();
    bool good = all && when && json_array_extend(when, (json_t *)(uintptr_t)exceptions) == 0;
    const json_t *rest = json_object_get(above, "when");
    if (good && rest)
        good = json_array_extend(when, (json_t *)(uintptr_t)rest) == 0;
    good = good && json_object_set(all, "when", when) == 0;
    json_decref(when);
    int rc = good ? answer_compile(all, ret, err) : error_no_memory(err);
    json_decref(all);
    return rc < 0 ? error_wrap(err, "%s", where) : rc;
}

int
connector_take_answers(const json_t *above, const json_t *object, const char *where,
                       struct connector_call *call, struct error *err)
{
    const json_t *exceptions = json_object_get(object, "exceptions");
    const json_t *answer = json_object_get(object, "answer");
    if (exceptions && (answer || !json_is_array(exceptions)))
        return manifest_wrong(err, where, "\"exceptions\" is an array, beside no \"answer\"");
    if (exceptions)
        return take_exceptions(above, exceptions, where, &call->answer, err);
    return answer ? connector_take_answer(object, where, &call->answer, err) : 0;
}

static int
take_objects(const struct connector *c, const json_t *object, const char *where,
             struct connector_call *call, struct error *err)
{
    call->when = json_object_get(object, "when");
    call->query = json_object_get(object, "query");
    call->headers = json_object_get(object, "headers");
    call->body = json_object_get(object, "body");
    call->markup = json_object_get(object, "markup");
    if (call->markup && !json_is_array(call->markup))
        return manifest_wrong(err, where, "\"markup\" must be an array of members' names");
    call->form = json_object_get(object, "form");
    struct manifest_place at;
    int rc = connector_check_when(c, call->when, where, err);
    if (rc == 0)
        rc = connector_check_texts(c, call->query, manifest_below(&at, where, "query"),
                                   &call->names, err);
    if (rc == 0)
        rc = connector_check_texts(c, call->headers, manifest_below(&at, where, "headers"),
                                   &call->names, err);
    if (rc == 0)
        rc = check_form(c, call->form, manifest_below(&at, where, "form"), &call->names, err);
    if (rc == 0 && call->body && call->form)
        rc = manifest_wrong(err, where, "has \"body\" or \"form\", not both");
    return rc;
}

static int
take_texts(const struct connector *c, const json_t *object, const char *where,
           struct connector_call *call, struct error *err)
{
    call->method = "POST";
    call->path = "";
    call->type = call->form ? "application/x-www-form-urlencoded" : "application/json";
    int rc = manifest_text(object, where, "method", &call->method, err);
    if (rc == 0)
        rc = manifest_text(object, where, "path", &call->path, err);
    if (rc == 0)
        rc = manifest_text(object, where, "type", &call->type, err);
    if (rc == 0)
        rc = manifest_text(object, where, "refuse", &call->refuse, err);
    if (rc == 0)
        rc = manifest_text(object, where, "url", &call->url, err);
    struct manifest_place at;
    if (rc == 0 && call->url)
        rc = fill_check(call->url, manifest_below(&at, where, "url"), c, &call->names, err);
    if (rc == 0)
        rc = fill_check(call->path, manifest_below(&at, where, "path"), c, &call->names, err);
    if (rc == 0 &&
        (!*call->method || call->method[strspn(call->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")]))
        rc = manifest_wrong(err, where, "\"method\" must be capital letters");
    return rc;
}

static int
take_needs(const json_t *object, const char *where, struct connector_call *call,
           struct error *err)
{
    call->needs = json_object_get(object, "needs");
    bool good = !call->needs || json_is_array(call->needs);
    for (size_t i = 0; i < json_array_size(call->needs); i++) {
        const json_t *list = json_array_get(call->needs, i);
        good = good && json_array_size(list) > 0;
        for (size_t j = 0; j < json_array_size(list); j++)
            good = good && json_is_string(json_array_get(list, j));
    }
    return good ? 0 : manifest_wrong(err, where, "\"needs\" lists lists of fields");
}

static int
take_event(const json_t *object, const char *where, struct connector_call *call,
           struct error *err)
{
    static const char *const events[] = {"identify", "track"};
    unsigned *operations = call->operations;
    int event = 0;
    int rc = manifest_word(object, where, "event", events, 2, &event, err);
    if (rc < 0 || event == 0)
        return rc;
    unsigned possible = 1u << OP_INSERT | 1u << OP_UPSERT;
    if (operations[TYPE_AUDIENCE] || operations[TYPE_RECORDS] & ~possible)
        return manifest_wrong(err, where, "what happened is inserted or upserted, no more");
    operations[TYPE_EVENTS] = operations[TYPE_RECORDS];
    operations[TYPE_RECORDS] = 0;
    return 0;
}

static int
take_flags(const json_t *object, const char *where, struct connector_call *call,
           struct error *err)
{
    call->repeatable = !(call->operations[TYPE_RECORDS] & 1u << OP_INSERT) &&
                       call->operations[TYPE_EVENTS] == 0;
    int rc = manifest_bool(object, where, "lines", &call->lines, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "strings", &call->strings, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "changed_only", &call->changed_only, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "changed_whole", &call->changed_whole, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "repeatable", &call->repeatable, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "gzip", &call->gzip, err);
    return rc;
}

static int
take_sizes(const json_t *object, const char *where, struct connector_call *call,
           struct error *err)
{
    static const char *const nulls[] = {
        [NULLS_NULL] = "null", [NULLS_OMIT] = "omit", [NULLS_EMPTY] = "empty"};
    json_int_t rows = 1, bytes = 1 << 20, row_bytes = 0, parallel = 0;
    int policy = NULLS_NULL;
    int rc = manifest_number(object, where, "rows", 1, 100000, &rows, err);
    if (rc == 0)
        rc = manifest_number(object, where, "bytes", 1, 1 << 30, &bytes, err);
    if (rc == 0)
        rc = manifest_number(object, where, "row_bytes", 1, 1 << 30, &row_bytes, err);
    if (rc == 0)
        rc = manifest_number(object, where, "parallel", 1, 64, &parallel, err);
    if (rc == 0)
        rc = manifest_word(object, where, "nulls", nulls, 3, &policy, err);
    call->rows = (size_t)rows;
    call->bytes = (size_t)bytes;
    call->row_bytes = (size_t)row_bytes;
    call->parallel = (unsigned)parallel;
    call->nulls = (enum body_nulls)policy;
    return rc;
}

/* Rows of which nothing is said would be lost. */
int
connector_check_rows(const struct connector *c, const json_t *object, const char *where,
                     const struct connector_call *call, struct error *err)
{
    bool all = call->lines || call->names & FILL_ROWS || body_has_rows(call->body) ||
               body_has_rows(call->form);
    if (call->rows > 1 && call->names & FILL_ROW)
        return manifest_wrong(err, where,
                              "names one row in its address or headers, so \"rows\" "
                              "is 1");
    if (call->rows > 1 && !all)
        return manifest_wrong(err, where,
                              "\"rows\" is more than 1, but only one is sent: \"@rows\", "
                              "\"lines\" or {@keys} send all");
    if (call->names & FILL_TOKEN && !c->has_token)
        return manifest_wrong(err, where, "{@token:…} wants an \"auth\" by oauth2");
    if (call->gzip && c->signature)
        return manifest_wrong(err, where, "a body that is signed is not packed");
    if (call->lines && !call->body)
        return manifest_wrong(err, where, "\"lines\" wants a \"body\"");
    if (call->refuse && json_object_size(object) >
                            2u + (call->when != NULL) + (call->operations[TYPE_EVENTS] != 0))
        return manifest_wrong(err, where,
                              "beside \"refuse\" stand \"for\", \"when\" and \"event\" only");
    return 0;
}

/* Calls of one method and path share their windows, whatever they are for. */
static int
take_rate(struct connector *c, const json_t *object, const char *where,
          struct connector_call *call, struct error *err)
{
    int rc = connector_take_call_rate(object, where, call, err);
    if (rc < 0 || call->scope.nwindows == 0)
        return rc;
    AUTO_BUF struct buf name = BUF_INIT(BUF_NO_MAX);
    buf_addf(&name, "%s %s%s", call->method, call->url ? call->url : "", call->path);
    call->scope.name = name.failed ? NULL : arena_strdup(&c->arena, buf_z(&name));
    return call->scope.name ? 0 : error_no_memory(err);
}

int
connector_take_request(struct connector *c, const json_t *object, const char *where,
                       struct connector_call *call, struct error *err)
{
    int rc = take_objects(c, object, where, call, err);
    if (rc == 0)
        rc = take_texts(c, object, where, call, err);
    return rc == 0 ? take_rate(c, object, where, call, err) : rc;
}

int
connector_take_call(struct connector *c, const json_t *object, const char *where,
                    struct connector_call *call, struct error *err)
{
    static const char *const known[] = {
        "for",           "when",     "method",  "path",         "query",      "headers",
        "answer",        "type",     "body",    "form",         "lines",      "nulls",
        "strings",       "rows",     "bytes",   "changed_only", "repeatable", "gzip",
        "url",           "markup",   "refuse",  "exceptions",   "event",      "needs",
        "changed_whole", "parallel", "look_up", "rate",         "row_bytes",  NULL};
    call->names = c->names;
    call->gzip = c->gzip;
    int rc = manifest_members(object, where, known, err);
    if (rc == 0)
        rc = take_operations(json_object_get(object, "for"), where, call->operations, err);
    if (rc == 0)
        rc = connector_take_request(c, object, where, call, err);
    if (rc == 0)
        rc = take_event(object, where, call, err);
    if (rc == 0)
        rc = take_needs(object, where, call, err);
    if (rc == 0)
        rc = take_flags(object, where, call, err);
    if (rc == 0)
        rc = take_sizes(object, where, call, err);
    if (rc == 0)
        rc = connector_check_rows(c, object, where, call, err);
    if (rc == 0)
        rc = connector_take_answers(json_object_get(c->manifest, "answer"), object, where, call,
                                    err);
    const json_t *look_up = json_object_get(object, "look_up");
    return rc == 0 && look_up ? connector_take_look_up(c, object, where, call, err) : rc;
}

void
connector_done_call(struct connector_call *call)
{
    struct connector_look_up *look = call->look_up;
    answer_free(call->answer);
    if (!look)
        return;
    connector_done_call(&look->call);
    if (look->absent)
        connector_done_call(look->absent);
    free(look->absent);
    free(look);
}

int
connector_take_calls(struct connector *c, struct error *err)
{
    const json_t *list = json_object_get(c->manifest, "calls");
    size_t n = json_array_size(list);
    if (n == 0 || n > CALLS_MAX)
        return manifest_wrong(err, "/calls", "must be an array of one to 64 calls");
    c->calls = arena_alloc(&c->arena, n * sizeof *c->calls);
    if (!c->calls)
        return error_no_memory(err);
    memset(c->calls, 0, n * sizeof *c->calls);
    for (size_t i = 0; i < n; i++) {
        char where[CONNECTOR_WHERE_MAX];
        snprintf(where, sizeof where, "/calls/%zu", i);
        c->ncalls = i + 1;
        int rc = connector_take_call(c, json_array_get(list, i), where, &c->calls[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- which call ---- */

static bool
is_plain(const json_t *value)
{
    return json_is_string(value) || json_is_integer(value) || json_is_boolean(value) ||
           json_is_null(value);
}

/* Whether it says what an option must be. */
static bool
can_be(const json_t *value)
{
    bool good = json_is_array(value) ? json_array_size(value) > 0 : is_plain(value);
    for (size_t i = 0; i < json_array_size(value); i++)
        good = good && is_plain(json_array_get(value, i));
    return good;
}

int
connector_check_when(const struct connector *c, const json_t *when, const char *where,
                     struct error *err)
{
    const char *name;
    json_t *value;
    if (when && !json_is_object(when))
        return manifest_wrong(err, where, "\"when\" must be an object");
    json_object_foreach((json_t *)(uintptr_t)when, name, value)
    {
        static const char *const of_sync[] = {"@object", "@identifier", "@mode", "@type"};
        const struct option *o = connector_find_option(c, name);
        bool known = o != NULL;
        for (size_t i = 0; i < sizeof of_sync / sizeof *of_sync; i++)
            known = known || strcmp(name, of_sync[i]) == 0;
        if (!known)
            return error_set(err, ERR_CONFIG, EINVAL,
                             "%s/when: there is no option \"%s\"; known beside them: @object, "
                             "@identifier, @mode, @type",
                             where, name);
        if (o && o->type == OPT_JSON && !json_is_null(value))
            return error_set(err, ERR_CONFIG, EINVAL,
                             "%s/when: of \"%s\", which holds any JSON, only null can be asked",
                             where, name);
        if (!can_be(value))
            return error_set(
                err, ERR_CONFIG, EINVAL,
                "%s/when: \"%s\" must be a text, a whole number, true, false, null "
                "or an array of these",
                where, name);
    }
    return 0;
}

static bool
is(const struct connector *c, const struct connector_use *use, const char *name,
   const json_t *wanted)
{
    const struct {
        const char *name, *value;
    } of_sync[] = {{"@object", use->object},
                   {"@identifier", use->identifier},
                   {"@mode", use->mode},
                   {"@type", sync_type_name(use->type)}};
    const char *text = json_string_value(wanted);
    for (size_t i = 0; i < sizeof of_sync / sizeof *of_sync; i++)
        if (strcmp(name, of_sync[i].name) == 0)
            return text ? of_sync[i].value && strcmp(of_sync[i].value, text) == 0
                        : !of_sync[i].value && json_is_null(wanted);
    return connector_option_is(c, use, name, wanted);
}

static bool
is_one_of(const struct connector *c, const struct connector_use *use, const char *name,
          const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (is(c, use, name, json_array_get(list, i)))
            return true;
    return false;
}

bool
connector_fits(const struct connector *c, const json_t *when, const struct connector_use *use)
{
    const char *name;
    json_t *wanted;
    json_object_foreach((json_t *)(uintptr_t)when, name, wanted)
    {
        if (!(json_is_array(wanted) ? is_one_of : is)(c, use, name, wanted))
            return false;
    }
    return true;
}

const struct connector_call *
connector_call_for(const struct connector *c, enum operation op,
                   const struct connector_use *use)
{
    for (size_t i = 0; i < c->ncalls; i++)
        if (c->calls[i].operations[use->type] & 1u << op &&
            connector_fits(c, c->calls[i].when, use))
            return &c->calls[i];
    return NULL;
}

bool
connector_may_call(const struct connector *c, enum sync_type type, enum operation op)
{
    for (size_t i = 0; i < c->ncalls; i++)
        for (const struct option *o = c->driver.options;
             c->calls[i].operations[type] & 1u << op && o->name; o++)
            if (json_object_get(c->calls[i].when, o->name))
                return true;
    return false;
}

static bool
names_object(const json_t *value)
{
    size_t i;
    const char *name;
    json_t *member;
    json_t *v = (json_t *)(uintptr_t)value;
    if (json_object_get(v, "@object") || json_object_get(v, "@member"))
        return true;
    json_array_foreach(v, i, member) if (names_object(member)) return true;
    json_object_foreach(v, name, member) if (names_object(member)) return true;
    return false;
}

bool
connector_wants_object(const struct connector *c, const struct connector_call *call)
{
    return call->names & FILL_OBJECT || names_object(call->body) || names_object(call->form) ||
           (call->look_up && connector_wants_object(c, &call->look_up->call)) ||
           (call->look_up && call->look_up->absent &&
            connector_wants_object(c, call->look_up->absent));
}
