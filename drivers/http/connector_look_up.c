/* Look-ups of a manifest: see connector.h. */
#include <stdlib.h>
#include <string.h>

#include "http/connector_private.h"
#include "http/manifest.h"

/* The rules of the connector's answers but for those about rows. */
static int
take_look_up_answers(const struct connector *c, const json_t *object, const char *where,
                     struct connector_call *call, struct error *err)
{
    if (json_object_get(json_object_get(object, "answer"), "rows"))
        return manifest_wrong(err, where,
                              "what was found stands in \"list\": its \"answer\" has no "
                              "\"rows\"");
    json_t *rules = json_object_get(c->manifest, "answer");
    json_t *above = json_copy(rules);
    if (rules && !above)
        return error_no_memory(err);
    json_object_del(above, "rows");
    int rc = connector_take_answers(above, object, where, call, err);
    if (rc == 0 && !call->answer)
        rc = answer_compile(above, &call->answer, err);
    json_decref(above);
    return rc;
}

static int
take_found(const json_t *object, const char *where, struct connector_look_up *look,
           struct error *err)
{
    const struct {
        const char *name;
        const char **to;
    } pointers[] = {{"list", &look->list},     {"key", &look->key},   {"id", &look->id},
                    {"failed", &look->failed}, {"code", &look->code}, {"words", &look->words}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof pointers / sizeof *pointers; i++)
        rc = manifest_pointer(object, where, pointers[i].name, pointers[i].to, err);
    if (rc == 0)
        rc = manifest_text(object, where, "why", &look->why, err);
    if (rc < 0)
        return rc;
    if (!look->list || !look->key || !look->id)
        return manifest_wrong(err, where, "wants \"list\", \"key\" and \"id\"");
    look->fine = json_object_get(object, "fine");
    bool good = !look->fine || json_is_array(look->fine);
    for (size_t i = 0; i < json_array_size(look->fine); i++)
        good = good && json_is_string(json_array_get(look->fine, i));
    if (!good)
        return manifest_wrong(err, where, "\"fine\" must be an array of codes");
    static const char name[] = "{@identifier}";
    for (const char *p = look->key; (p = strchr(p, '{')); p++)
        if (strncmp(p, name, sizeof name - 1) != 0)
            return manifest_wrong(err, where, "in \"key\" stands {@identifier}, no other name");
    return 0;
}

/* ---- what is made of rows of which nothing is found ---- */

/* The call in which they were to be, with what differs; owned by the connector. */
static json_t *
differ(struct connector *c, const json_t *outer, const json_t *absent)
{
    static const char *const not_of_it[] = {"look_up", "changed_only", "changed_whole"};
    static const char *const either[][2] = {
        {"answer", "exceptions"}, {"body", "form"}, {"exceptions", "answer"}, {"form", "body"}};
    json_t *made = json_copy((json_t *)(uintptr_t)outer);
    for (size_t i = 0; i < sizeof not_of_it / sizeof *not_of_it; i++)
        json_object_del(made, not_of_it[i]);
    for (size_t i = 0; i < sizeof either / sizeof *either; i++)
        if (json_object_get(absent, either[i][0]))
            json_object_del(made, either[i][1]);
    bool form = json_object_get(absent, "form") && json_object_get(outer, "body");
    bool body = json_object_get(absent, "body") && json_object_get(outer, "form");
    if (form || body) /* of another type */
        json_object_del(made, "type");
    if (json_object_update(made, (json_t *)(uintptr_t)absent) < 0 ||
        json_array_append(c->made, made) < 0) {
        json_decref(made);
        return NULL;
    }
    json_decref(made);
    return made;
}

static int
take_absent(struct connector *c, const json_t *outer, const char *where,
            struct connector_call *of, struct error *err)
{
    static const char *const known[] = {"url",     "method", "path",       "query",
                                        "headers", "type",   "body",       "form",
                                        "rate",    "answer", "exceptions", NULL};
    struct manifest_place place;
    const json_t *absent = json_object_get(json_object_get(outer, "look_up"), "absent");
    where = manifest_below(&place, where, "absent");
    int rc = manifest_members(absent, where, known, err);
    if (rc < 0)
        return rc;
    bool differs = false;
    static const char *const which[] = {"method", "url", "path", "body", "form"};
    for (size_t i = 0; i < sizeof which / sizeof *which; i++)
        differs = differs || json_object_get(absent, which[i]);
    if (!differs)
        return manifest_wrong(err, where,
                              "wants \"method\", \"url\", \"path\", \"body\" or \"form\": "
                              "else it is the call that changes");
    if (of->operations[TYPE_RECORDS] != 1u << OP_UPSERT || of->operations[TYPE_AUDIENCE])
        return manifest_wrong(err, where, "only upserts make what is not there");
    if (!c->made)
        c->made = json_array();
    json_t *made = differ(c, outer, absent);
    of->look_up->absent = made ? calloc(1, sizeof *of->look_up->absent) : NULL;
    return of->look_up->absent ? connector_take_call(c, made, where, of->look_up->absent, err)
                               : error_no_memory(err);
}

int
connector_take_look_up(struct connector *c, const json_t *object, const char *where,
                       struct connector_call *of, struct error *err)
{
    static const char *const known[] = {"url",    "method",     "path", "query",  "headers",
                                        "type",   "body",       "list", "key",    "id",
                                        "answer", "exceptions", "fine", "why",    "failed",
                                        "code",   "words",      "rate", "absent", NULL};
    const json_t *outer = object;
    if (of->operations[TYPE_RECORDS] & 1u << OP_INSERT || of->operations[TYPE_EVENTS])
        return manifest_wrong(err, where, "\"look_up\" is not for what is inserted");
    struct manifest_place place;
    object = json_object_get(object, "look_up");
    where = manifest_below(&place, where, "look_up");
    struct connector_look_up *look = of->look_up = calloc(1, sizeof *look);
    if (!look)
        return error_no_memory(err);
    struct connector_call *call = &look->call;
    *call = (struct connector_call){.names = c->names,
                                    .gzip = c->gzip,
                                    .repeatable = true,
                                    .rows = of->rows,
                                    .bytes = of->bytes};
    int rc = manifest_members(object, where, known, err);
    if (rc == 0)
        rc = connector_take_request(c, object, where, call, err);
    if (rc == 0)
        rc = connector_check_rows(c, object, where, call, err);
    if (rc == 0)
        rc = take_found(object, where, look, err);
    if (rc == 0)
        rc = take_look_up_answers(c, object, where, call, err);
    return rc == 0 && json_object_get(object, "absent") ? take_absent(c, outer, where, of, err)
                                                        : rc;
}
