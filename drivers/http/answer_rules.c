/* Rules about answers: see answer.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/answer_private.h"
#include "http/manifest.h"
#include "http/pointer.h"

enum { WAIT_MAX = 3600 };

static bool
take_status(const json_t *value, struct answer_condition *c)
{
    int status = 0;
    const char *text = json_string_value(value);
    if (json_is_integer(value))
        status = (int)json_integer_value(value);
    else if (text && text[0] >= '1' && text[0] <= '5' && strcmp(text + 1, "xx") == 0)
        status = text[0] - '0';
    bool good = c->nstatuses < ANSWER_STATUSES_MAX &&
                ((status >= 100 && status <= 599) || (status >= 1 && status <= 5 && text));
    if (good)
        c->statuses[c->nstatuses++] = status;
    return good;
}

static int
take_condition(const json_t *object, const char *where, struct answer_condition *c,
               struct error *err)
{
    const json_t *status = json_object_get(object, "status");
    bool good = true;
    if (json_is_array(status))
        for (size_t i = 0; i < json_array_size(status); i++)
            good = good && take_status(json_array_get(status, i), c);
    else if (status)
        good = take_status(status, c);
    if (!good)
        return manifest_wrong(err, where,
                              "\"status\" is 400, \"4xx\", or up to eight of these");
    int rc = manifest_pointer(object, where, "pointer", &c->pointer, err);
    if (rc == 0)
        rc = manifest_text(object, where, "contains", &c->contains, err);
    if (rc == 0)
        rc = manifest_text(object, where, "text", &c->text, err);
    if (rc == 0)
        rc = manifest_bool(object, where, "some", &c->some, err);
    c->is = json_object_get(object, "is");
    c->is_not = json_object_get(object, "not");
    c->in = json_object_get(object, "in");
    if (rc == 0 && !c->pointer && (c->is || c->is_not || c->in || c->some))
        return manifest_wrong(err, where,
                              "\"is\", \"in\", \"not\" and \"some\" want a \"pointer\"");
    if (rc == 0 && c->in && !json_is_array(c->in))
        return manifest_wrong(err, where, "\"in\" must be an array");
    return rc;
}

static const char *const fates[] = {
    [CALL_UNKNOWN] = "unknown",   [CALL_ANSWERED] = "answered",   [CALL_FAILED] = "failed",
    [CALL_REFUSED] = "refused",   [CALL_TOO_LARGE] = "too_large", [CALL_DENIED] = "denied",
    [CALL_HOPELESS] = "hopeless",
};

static int
take_rules(const json_t *list, struct answer_rules *r, struct error *err)
{
    static const char *const known[] = {"status", "pointer", "is",   "in",   "not", "contains",
                                        "text",   "some",    "fate", "wait", NULL};
    if (list && !json_is_array(list))
        return manifest_wrong(err, "/answer/when", "must be an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *object = json_array_get(list, i);
        char where[48];
        snprintf(where, sizeof where, "/answer/when/%zu", i);
        struct answer_rule rule = {.fate = CALL_UNKNOWN};
        int rc = manifest_members(object, where, known, err);
        if (rc == 0)
            rc = take_condition(object, where, &rule.when, err);
        int fate = -1;
        if (rc == 0)
            rc = manifest_word(object, where, "fate", fates, sizeof fates / sizeof *fates,
                               &fate, err);
        if (rc == 0)
            rc = manifest_number(object, where, "wait", 1, WAIT_MAX, &rule.wait, err);
        if (rc == 0 && fate < 0)
            rc = manifest_wrong(err, where, "wants a \"fate\"");
        rule.fate = (enum call_fate)fate;
        if (rc == 0 && !VEC_PUSH(&r->rules, rule))
            rc = error_no_memory(err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
take_codes(const json_t *object, const char *name, const char *codes[ANSWER_CODES_MAX],
           size_t *n, struct error *err)
{
    const json_t *list = json_object_get(object, name);
    struct manifest_place place;
    const char *where = manifest_below(&place, "/answer/rows", name);
    if (list && !json_is_array(list))
        return manifest_wrong(err, where, "must be an array of codes");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *code = json_string_value(json_array_get(list, i));
        if (!code || *n == ANSWER_CODES_MAX)
            return manifest_wrong(err, where, "holds up to sixteen strings");
        codes[(*n)++] = code;
    }
    return 0;
}

static int
take_lists(const json_t *lists, struct answer_rows *rows, struct error *err)
{
    size_t n = json_array_size(lists);
    if (rows->by != BY_FIELDS && !lists)
        return 0;
    bool good = rows->by == BY_FIELDS && n > 0 && n <= ANSWER_LISTS_MAX;
    for (size_t i = 0; good && i < n; i++) {
        const char *pointer = json_string_value(json_array_get(lists, i));
        good = pointer && pointer_good(pointer);
        rows->lists[rows->nlists++] = pointer;
    }
    return good ? 0
                : manifest_wrong(err, "/answer/rows",
                                 "by fields wants \"lists\", one to four pointers");
}

static int
take_rows(const json_t *object, struct answer_rows *rows, struct error *err)
{
    static const char *const known[] = {
        "by",       "list",   "index", "pointer",         "prefix", "done",  "failed",
        "identity", "digits", "code",  "words",           "retry",  "lists", "count",
        "why",      "key",    "fine",  "failed_identity", NULL};
    static const char *const where = "/answer/rows";
    if (!object)
        return 0;
    const json_t *done = json_object_get(object, "done");
    bool each = json_is_object(done); /* the list has an entry a row */
    static const char *const ways[] = {"all", "index", "pointer", "identity", "fields", "key"};
    int way = -1;
    int rc = manifest_members(object, where, known, err);
    if (rc == 0)
        rc = manifest_word(object, where, "by", ways, sizeof ways / sizeof *ways, &way, err);
    if (rc == 0 && way < 0)
        rc = manifest_wrong(err, where, "wants \"by\"");
    rows->by = (enum rows_by)way;
    const struct {
        const char *name;
        const char **to;
    } pointers[] = {{"list", &rows->list},
                    {"failed", &rows->list},
                    {"index", &rows->index},
                    {"pointer", &rows->pointer},
                    {"identity", &rows->identity},
                    {"key", &rows->identity},
                    {"failed_identity", &rows->failed_identity},
                    {"code", &rows->code},
                    {"words", &rows->words},
                    {"count", &rows->count}};
    for (size_t i = 0; rc == 0 && i < sizeof pointers / sizeof *pointers; i++)
        rc = manifest_pointer(object, where, pointers[i].name, pointers[i].to, err);
    if (rc == 0)
        rc = manifest_text(object, where, "prefix", &rows->prefix, err);
    if (rc == 0)
        rc = manifest_text(object, where, "why", &rows->why, err);
    if (rc == 0 && each)
        rc = take_condition(done, "/answer/rows/done", &rows->is_done, err);
    if (rc == 0 && !each)
        rc = manifest_pointer(object, where, "done", &rows->done, err);
    if (rc == 0)
        rc = take_codes(object, "retry", rows->retry, &rows->nretry, err);
    if (rc == 0)
        rc = take_codes(object, "fine", rows->fine, &rows->nfine, err);
    if (rc == 0)
        rc = take_lists(json_object_get(object, "lists"), rows, err);
    if (rc == 0)
        rc = manifest_number(object, where, "digits", 16, 64, &rows->digits, err);
    if (rc < 0)
        return rc;
    if (!rows->failed_identity)
        rows->failed_identity = rows->identity;
    if (rows->by == BY_INDEX && (!rows->list || !rows->index == !each))
        return manifest_wrong(err, where,
                              "by index wants \"list\", and either \"index\" or \"done\"");
    if (rows->by == BY_POINTER && (!rows->list || !rows->pointer || !rows->prefix))
        return manifest_wrong(err, where,
                              "by pointer wants \"list\", \"pointer\" and \"prefix\"");
    if (rows->by == BY_KEY && !rows->list)
        return manifest_wrong(err, where, "by key wants \"list\"");
    if (rows->by == BY_IDENTITY && (!rows->done || !rows->identity || !rows->digits))
        return manifest_wrong(err, where,
                              "by identity wants \"done\", \"identity\" and \"digits\"");
    return 0;
}

static int
take_pace(const json_t *object, struct answer_rules *r, struct error *err)
{
    static const char *const known[] = {"remaining", "reset", "reset_is", NULL};
    static const char *const units[] = {"seconds", "epoch", "milliseconds"};
    static const char *const where = "/answer/pace";
    int unit = RESET_SECONDS;
    if (!object)
        return 0;
    int rc = manifest_members(object, where, known, err);
    if (rc == 0)
        rc = manifest_text(object, where, "remaining", &r->remaining, err);
    if (rc == 0)
        rc = manifest_text(object, where, "reset", &r->reset, err);
    if (rc == 0)
        rc = manifest_word(object, where, "reset_is", units, 3, &unit, err);
    r->reset_is = (enum reset_is)unit;
    if (rc == 0 && (!r->remaining || !r->reset))
        return manifest_wrong(err, where, "wants \"remaining\" and \"reset\"");
    return rc;
}

int
answer_compile(const json_t *manifest, struct answer_rules **ret, struct error *err)
{
    static const char *const known[] = {"when", "error", "rows", "pace", NULL};
    static const char *const of_error[] = {"code", "words", NULL};
    struct answer_rules *r = calloc(1, sizeof *r);
    if (!r)
        return error_no_memory(err);
    r->manifest = manifest ? json_incref((json_t *)(uintptr_t)manifest) : NULL;
    int rc = manifest ? manifest_members(manifest, "/answer", known, err) : 0;
    const json_t *error = json_object_get(manifest, "error");
    if (rc == 0)
        rc = take_rules(json_object_get(manifest, "when"), r, err);
    if (rc == 0 && error)
        rc = manifest_members(error, "/answer/error", of_error, err);
    if (rc == 0)
        rc = manifest_pointer(error, "/answer/error", "code", &r->code, err);
    if (rc == 0)
        rc = manifest_pointer(error, "/answer/error", "words", &r->words, err);
    if (rc == 0)
        rc = take_rows(json_object_get(manifest, "rows"), &r->rows, err);
    if (rc == 0)
        rc = take_pace(json_object_get(manifest, "pace"), r, err);
    if (rc < 0) {
        answer_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

struct answer_rules *
answer_free(struct answer_rules *r)
{
    if (!r)
        return NULL;
    VEC_DONE(&r->rules);
    json_decref(r->manifest);
    arena_done(&r->arena);
    free(r);
    return NULL;
}
