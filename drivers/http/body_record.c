/*
 * What stands for fields in a body's template (body.h): records, by the dotted names of their
 * fields, and fields that need not be there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "http/body_private.h"

enum { NUMBERS_MAX = 1000 };
static const size_t NEXT_PART = SIZE_MAX;

static bool
is_key(const struct body_settings *set, size_t field)
{
    for (size_t i = 0; i < set->nkey; i++)
        if (set->key[i] == field)
            return true;
    return false;
}

/* ---- the record: fields by their dotted names ---- */

struct path {
    const char *rest; /* of the name, below what is open */
    size_t field;
};

/* Where the members of a record are to go. */
struct place {
    bool array;                      /* elements, not members */
    bool within;                     /* …or within an element: NULL stands there too */
    bool omit;                       /* what is NULL is left out */
    bool whole;                      /* all of it is sent, or nothing… */
    const struct field_group *group; /* …that is, unless all of these stand there already */
    int depth;
};

struct part {
    const char *p;
    size_t n;
};

static struct part
first_part(const char *rest)
{
    return (struct part){rest, strcspn(rest, ".")};
}

static bool
same_part(struct part a, struct part b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

static bool
part_number(struct part part, size_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < part.n; i++) {
        if (part.p[i] < '0' || part.p[i] > '9' || *ret > NUMBERS_MAX)
            return false;
        *ret = *ret * 10 + (size_t)(part.p[i] - '0');
    }
    return part.n > 0;
}

static int add_members(struct compiler *c, struct path *paths, size_t n, struct place at);

static int
name_clash(struct compiler *c, size_t field, const char *why)
{
    return error_set(c->err, ERR_CONFIG, EINVAL, "field \"%s\" %s", c->set->fields[field].name,
                     why);
}

/* *ret: NULL when one of them is the identifier's, which is always sent. */
static int
make_group(struct compiler *c, const struct path *paths, size_t n,
           const struct field_group **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < n; i++)
        if (is_key(c->set, paths[i].field))
            return 0;
    struct field_group *group =
        arena_alloc(&c->body->arena, sizeof *group + n * sizeof *group->fields);
    if (!group)
        return error_no_memory(c->err);
    group->n = n;
    for (size_t i = 0; i < n; i++)
        group->fields[i] = paths[i].field;
    *ret = group;
    return 0;
}

/* paths[0..n) begin with the same part and go on below it. */
static int
add_below(struct compiler *c, struct path *paths, size_t n, struct place at)
{
    size_t number, elements = 0;
    for (size_t i = 0; i < n; i++) {
        struct part part = first_part(paths[i].rest);
        if (paths[i].rest[part.n] == '\0')
            return name_clash(c, paths[i].field, "is a value, and has fields below it");
        paths[i].rest += part.n + 1;
        part = first_part(paths[i].rest);
        if (part.n == 0)
            return name_clash(c, paths[i].field, "has an empty part");
        elements += part_number(part, &number);
    }
    if (elements != 0 && elements != n)
        return name_clash(c, paths[0].field, "makes its parent both an array and an object");
    struct place below = at;
    below.array = elements != 0;
    below.within = at.within || elements != 0;
    below.depth++;
    int rc = body_open(c, elements ? '[' : '{', true);
    if (rc == 0 && !at.whole && (elements || c->set->changed_whole)) {
        below.whole = true;
        rc = make_group(c, paths, n, &below.group);
    }
    if (rc == 0)
        rc = add_members(c, paths, n, below);
    return rc == 0 ? body_close(c) : rc;
}

static int
add_leaf(struct compiler *c, const struct path *path, struct place at)
{
    struct step step = {.kind = STEP_FIELD,
                        .field = path->field,
                        .omit = at.omit && !at.within,
                        .group = at.group};
    int rc = at.whole ? 0 : make_group(c, path, 1, &step.group);
    return rc == 0 ? body_add(c, step) : rc;
}

/* Members in the order in which the mappings name them first; elements must come in theirs. */
static int
add_members(struct compiler *c, struct path *paths, size_t n, struct place at)
{
    if (at.depth > BODY_DEPTH_MAX)
        return name_clash(c, paths[0].field, "is nested too deep");
    size_t expected = 0, number;
    while (n > 0) {
        struct part part = first_part(paths[0].rest);
        size_t same = 0;
        /* Those that share the first part are brought together, the others keep their order. */
        for (size_t i = 0; i < n; i++)
            if (same_part(first_part(paths[i].rest), part)) {
                struct path moved = paths[i];
                memmove(paths + same + 1, paths + same, (i - same) * sizeof *paths);
                paths[same++] = moved;
            }
        if (at.array && (!part_number(part, &number) || number != expected++))
            return name_clash(c, paths[0].field,
                              "is an element out of turn: they are 0, 1, 2 …");
        int rc = at.array ? 0 : body_name(c, part.p, part.n);
        if (rc == 0 && same == 1 && paths[0].rest[part.n] == '\0')
            rc = add_leaf(c, paths, at);
        else if (rc == 0)
            rc = add_below(c, paths, same, at);
        if (rc < 0)
            return rc;
        paths += same;
        n -= same;
    }
    return 0;
}

/* ---- which fields ---- */

enum selection { SELECT_ALL, SELECT_REST, SELECT_OTHERS, SELECT_KEY };

static bool
selected(const struct compiler *c, enum selection which, size_t field)
{
    switch (which) {
    case SELECT_ALL:
        return true;
    case SELECT_REST:
        return !is_key(c->set, field);
    case SELECT_OTHERS:
        return !c->used[field];
    case SELECT_KEY:
        return is_key(c->set, field);
    }
    return false;
}

/* The paths of the fields, to be freed; NULL: out of memory. */
static struct path *
select_paths(struct compiler *c, enum selection which, size_t *n)
{
    struct path *paths = calloc(c->set->nfields + 1, sizeof *paths);
    *n = 0;
    for (size_t i = 0; paths && i < c->set->nfields; i++)
        if (selected(c, which, i))
            paths[(*n)++] = (struct path){c->set->fields[i].name, i};
    return paths;
}

int
body_record(struct compiler *c, const json_t *which)
{
    static const struct {
        const char *word;
        enum selection selection;
        bool omit;
    } words[] = {{"all", SELECT_ALL, false},
                 {"rest", SELECT_REST, false},
                 {"others", SELECT_OTHERS, false},
                 {"values", SELECT_OTHERS, true},
                 {"key", SELECT_KEY, false}};
    const char *word = json_string_value(which);
    size_t w = 0, n;
    while (w < sizeof words / sizeof *words && !(word && strcmp(words[w].word, word) == 0))
        w++;
    if (w == sizeof words / sizeof *words)
        return body_wrong(c, "\"@record\" is \"all\", \"rest\", \"others\", \"values\" or "
                             "\"key\"");
    if (!c->in_rows)
        return body_wrong(c, "no row here");
    AUTO_FREE struct path *paths = select_paths(c, words[w].selection, &n);
    return paths ? add_members(c, paths, n, (struct place){.omit = words[w].omit})
                 : error_no_memory(c->err);
}

/* ---- a field by its name ---- */

/* Whether the field is `name`, or below it. */
static bool
is_named(const char *field, const char *name)
{
    size_t n = strlen(name);
    return strncmp(field, name, n) == 0 && (field[n] == '\0' || field[n] == '.');
}

static void
mark_name(struct compiler *c, const json_t *name)
{
    for (size_t i = 0; json_is_string(name) && i < c->set->nfields; i++)
        if (is_named(c->set->fields[i].name, json_string_value(name)))
            c->used[i] = true;
}

static void
mark_action(struct compiler *c, const char *name, const json_t *value)
{
    if (strcmp(name, "@field") == 0 || strcmp(name, "@field?") == 0 ||
        strcmp(name, "@string?") == 0)
        mark_name(c, value);
    else if (strcmp(name, "@time") == 0)
        mark_name(c, json_object_get(value, "field"));
    else if (strcmp(name, "@event") == 0 && c->set->events && !c->set->event)
        c->used[c->set->event_field] = true;
    else if (strcmp(name, "@key") == 0 || strcmp(name, "@key_text") == 0)
        for (size_t i = 0; i < c->set->nkey; i++)
            c->used[c->set->key[i]] = true;
}

void
body_mark_used(struct compiler *c, const json_t *template)
{
    json_t *t = (json_t *)(uintptr_t) template, *member;
    const char *name;
    size_t i;
    json_array_foreach(t, i, member) body_mark_used(c, member);
    json_object_foreach(t, name, member)
    {
        mark_action(c, name, member);
        body_mark_used(c, member);
    }
}

/* {"@field?": "context"}: the field, or the object of those below it. */
static int
add_if_mapped(struct compiler *c, const json_t *value, int depth)
{
    const char *name = json_string_value(value);
    if (!name || !*name || strchr(name, '.'))
        return body_wrong(c, "\"@field?\" wants a field's name, without dots");
    AUTO_FREE struct path *paths = calloc(c->set->nfields + 1, sizeof *paths);
    if (!paths)
        return error_no_memory(c->err);
    size_t n = 0;
    for (size_t i = 0; i < c->set->nfields; i++)
        if (is_named(c->set->fields[i].name, name))
            paths[n++] = (struct path){c->set->fields[i].name, i};
    if (n == 1 && strcmp(paths[0].rest, name) == 0)
        return body_add(
            c, (struct step){.kind = STEP_FIELD, .field = paths[0].field, .omit = true});
    return n ? add_below(c, paths, n, (struct place){.whole = true, .depth = depth})
             : body_add(c, (struct step){.kind = STEP_NOTHING});
}

/* One field as it is, if there is one. */
static int
add_exact(struct compiler *c, const json_t *name, struct step step)
{
    if (!json_is_string(name))
        return body_wrong(c, "wants a field's name");
    for (size_t i = 0; i < c->set->nfields; i++)
        if (strcmp(c->set->fields[i].name, json_string_value(name)) == 0) {
            step.field = i;
            return body_add(c, step);
        }
    return body_add(c, (struct step){.kind = STEP_NOTHING});
}

static int
add_time(struct compiler *c, const json_t *value)
{
    static const char *const units[] = {
        [NOW_SECONDS] = "seconds", [NOW_MILLISECONDS] = "milliseconds", [NOW_ISO] = "iso"};
    const char *as = json_string_value(json_object_get(value, "as"));
    for (int i = 0; as && i <= NOW_ISO; i++)
        if (strcmp(units[i], as) == 0)
            return add_exact(c, json_object_get(value, "field"),
                             (struct step){.kind = STEP_TIME, .unit = (enum body_now)i});
    return body_wrong(c,
                      "\"@time\" wants \"field\", and \"as\": \"seconds\", \"milliseconds\" or "
                      "\"iso\"");
}

static int
add_event(struct compiler *c, const json_t *value)
{
    const char *word = json_string_value(value), *name = c->set->event;
    if (!word || strcmp(word, "name") != 0)
        return body_wrong(c, "\"@event\" is \"name\"");
    if (!c->set->events)
        return body_wrong(c, "rows are no events here");
    if (!name)
        return body_add(c, (struct step){.kind = STEP_STRING, .field = c->set->event_field});
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    json_quote(&text, name, strlen(name));
    return body_text(c, STEP_TEXT, &text);
}

/* ---- what is NULL ---- */

/* The fields of paths[0..n) that make one member of the record, as numbers; those of an array
 * are a value, whatever they hold. */
static size_t *
part_fields(struct compiler *c, const struct path *paths, size_t n, size_t *used)
{
    size_t *fields = arena_alloc(&c->body->arena, (n + 1) * sizeof *fields), number;
    *used = 0;
    for (size_t i = 0; fields && i < n; i++) {
        struct part part = first_part(paths[i].rest), first = first_part(paths[0].rest);
        const char *below = paths[i].rest + part.n;
        if (!same_part(part, first))
            continue;
        if (*below && part_number(first_part(below + 1), &number)) {
            *used = 0;
            return fields;
        }
        fields[(*used)++] = paths[i].field;
    }
    return fields;
}

/* A step for the member whose first path is paths[0]: its name, if all of it is NULL. */
static int
add_null_part(struct compiler *c, const struct path *paths, size_t n, const json_t *each)
{
    struct step step = {.kind = STEP_NULL_PART};
    step.fields = part_fields(c, paths, n, &step.nfields);
    if (!step.fields)
        return error_no_memory(c->err);
    if (step.nfields == 0)
        return 0;
    struct part part = first_part(paths[0].rest);
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    json_quote(&text, part.p, part.n);
    if (each) {
        AUTO_FREE char *dump = json_write(each, JSON_COMPACT | JSON_ENCODE_ANY);
        buf_addf(&text, ":%s", dump ? dump : "");
        text.failed |= !dump;
    }
    char *copy = text.failed ? NULL : arena_strndup(&c->body->arena, buf_z(&text), text.n);
    step.text = (struct str){copy, text.n};
    return copy ? body_add(c, step) : error_no_memory(c->err);
}

static bool
begins_part(const struct path *paths, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (same_part(first_part(paths[j].rest), first_part(paths[i].rest)))
            return false;
    return true;
}

/* {"@nulls": "names"}, {"@nulls": {"each": "-"}} */
static int
add_nulls(struct compiler *c, const json_t *value)
{
    const char *word = json_string_value(value);
    const json_t *each = json_object_get(value, "each");
    if (!each && !(word && strcmp(word, "names") == 0))
        return body_wrong(c, "\"@nulls\" is \"names\", or has \"each\"");
    size_t n;
    AUTO_FREE struct path *paths = select_paths(c, SELECT_OTHERS, &n);
    int rc = paths ? body_open(c, each ? '{' : '[', true) : error_no_memory(c->err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (begins_part(paths, i))
            rc = add_null_part(c, paths + i, n - i, each);
    return rc == 0 ? body_close(c) : rc;
}

/* T only for a row of which some member is NULL. */
static int
add_with_nulls(struct compiler *c, const json_t *value, int depth)
{
    size_t n, used, all = 0;
    AUTO_FREE struct path *paths = select_paths(c, SELECT_OTHERS, &n);
    size_t *fields = arena_alloc(&c->body->arena, (2 * n + 1) * sizeof *fields);
    if (!paths || !fields)
        return error_no_memory(c->err);
    for (size_t i = 0; i < n; i++) {
        if (!begins_part(paths, i))
            continue;
        const size_t *part = part_fields(c, paths + i, n - i, &used);
        if (!part)
            return error_no_memory(c->err);
        memcpy(fields + all, part, used * sizeof *part);
        all += used;
        if (used)
            fields[all++] = NEXT_PART;
    }
    size_t at = c->body->steps.n;
    int rc =
        body_add(c, (struct step){.kind = STEP_WITH_NULLS, .fields = fields, .nfields = all});
    if (rc == 0)
        rc = body_value(c, value, depth + 1);
    if (rc == 0)
        c->body->steps.p[at].field = c->body->steps.n;
    return rc;
}

bool
body_any_null(const struct step *s, const struct value *(*value)(void *arg, size_t field),
              void *arg)
{
    bool all = true, some = false;
    for (size_t i = 0; i < s->nfields; i++) {
        if (s->fields[i] != NEXT_PART) {
            all = all && value(arg, s->fields[i])->type == V_NULL;
            some = true;
            continue;
        }
        if (all)
            return true;
        all = true;
        some = false;
    }
    return some && all;
}

int
body_field_action(struct compiler *c, const char *name, const json_t *value, int depth,
                  bool *known)
{
    *known = true;
    if (strcmp(name, "@field?") == 0)
        return add_if_mapped(c, value, depth);
    if (strcmp(name, "@string?") == 0)
        return add_exact(c, value, (struct step){.kind = STEP_STRING});
    if (strcmp(name, "@time") == 0)
        return add_time(c, value);
    if (strcmp(name, "@event") == 0)
        return add_event(c, value);
    if (strcmp(name, "@nulls") == 0)
        return add_nulls(c, value);
    if (strcmp(name, "@with_nulls") == 0)
        return add_with_nulls(c, value, depth);
    *known = false;
    return 0;
}
