/*
 * Option tables: see options.h. A secret is only written down here, never read: its member
 * stays NULL until connection_resolve.
 */
#include "define/options.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "base/reach.h"
#include "base/words.h"
#include "define/phrases.h"

#define ALLOWED_SECRET                                                                         \
    "{\"env\": \"NAME\"}, {\"file\": \"/PATH\"} or {\"command\": [\"PROGRAM\", \"ARGUMENT\"]}"

bool
option_choices(const struct option *o, struct arena *arena, struct words *words)
{
    char *at = arena_strdup(arena, o->choices ? o->choices : "");
    for (char *bar; at; at = bar) {
        bar = strchr(at, '|');
        if (bar)
            *bar++ = '\0';
        words_add(words, at);
    }
    return words->n > 0;
}

json_t *
option_default(const struct option *o)
{
    if (!o->default_text)
        return NULL;
    bool bare = o->type == OPT_BOOL || o->type == OPT_INT || o->type == OPT_TYPES ||
                o->type == OPT_JSON || o->type == OPT_FIELDS;
    struct buf text = BUF_INIT(0);
    buf_addf(&text, bare ? "%s" : "\"%s\"", o->default_text);
    bool no_memory = text.failed;
    json_t *json = NULL;
    if (no_memory)
        json_build_fail();
    else
        json = json_parse(buf_str(&text), JSON_DECODE_ANY, NULL, &no_memory);
    buf_done(&text);
    /* a lone quote or backslash is meant as it stands */
    return json || bare || no_memory ? json : json_pack("s", o->default_text);
}

/* ---- one value ---- */

struct filling {
    char *base; /* the driver's struct */
    struct arena *arena;
    struct secret_list *secrets;
    struct complaint *c;
};

static void *
member(const struct filling *f, const struct option *o)
{
    return f->base + o->offset;
}

static int
wrong_kind(const struct filling *f, const struct option *o, const struct json_node *v,
           const char *wanted)
{
    return complain(f->c, v->file, v->at, NULL, "\"%s\" must be %s, not %s", o->name, wanted,
                    json_kind(v->json));
}

static int
set_string(const struct filling *f, const struct option *o, const struct json_node *v)
{
    const char *text = json_string_value(v->json);
    if (!text)
        return wrong_kind(f, o, v, "a string");
    if (!*text && o->flags & (OPTION_REQUIRED | OPTION_PATH))
        return complain(f->c, v->file, v->at, o->help, "\"%s\" is empty", o->name);
    if (*text && *text != '/' && o->flags & OPTION_PATH)
        return complain(f->c, v->file, v->at, "the daemon's working directory is /",
                        "\"%s\" must be an absolute path", o->name);
    struct error err = ERROR_INIT;
    if (*text && o->flags & OPTION_PATH && reach_check(text, &err))
        return complain(f->c, v->file, v->at, NULL, "\"%s\": %s", o->name, err.text);
    char *copy = arena_strdup(f->arena, text);
    if (!copy)
        return complain_memory(f->c, v->file);
    *(char **)member(f, o) = copy;
    return 0;
}

static int
set_enum(const struct filling *f, const struct option *o, const struct json_node *v)
{
    const char *text = json_string_value(v->json);
    if (!text)
        return wrong_kind(f, o, v, "a string");
    struct words choices = {.n = 0};
    if (!option_choices(o, f->arena, &choices))
        return complain_memory(f->c, v->file);
    for (size_t i = 0; i < choices.n; i++)
        if (strcmp(choices.items[i], text) == 0) {
            *(const char **)member(f, o) = choices.items[i];
            return 0;
        }
    char hint[ERROR_TEXT_MAX];
    words_hint(&choices, text, "allowed", hint, sizeof hint);
    return complain(f->c, v->file, v->at, hint, "\"%s\" cannot be \"%s\"", o->name, text);
}

static int
set_char(const struct filling *f, const struct option *o, const struct json_node *v)
{
    const char *text = json_string_value(v->json);
    if (!text || json_string_length(v->json) != 1 || (unsigned char)text[0] >= 0x80)
        return complain(f->c, v->file, v->at, o->help,
                        "\"%s\" must be a string of one ASCII character", o->name);
    *(char *)member(f, o) = text[0];
    return 0;
}

static int
set_types(const struct filling *f, const struct option *o, const struct json_node *v)
{
    if (!json_is_object(v->json))
        return wrong_kind(f, o, v, "an object of \"column\": \"type\"");
    size_t n = json_object_size(v->json);
    struct option_types *types = member(f, o);
    types->columns = arena_alloc(f->arena, n * sizeof *types->columns);
    types->types = arena_alloc(f->arena, n * sizeof *types->types);
    if (!types->columns || !types->types)
        return complain_memory(f->c, v->file);
    const char *column;
    json_t *type;
    json_object_foreach(v->json, column, type)
    {
        const char *name = json_string_value(type);
        int parsed = name ? value_type_parse(str_of(name)) : -1;
        if (parsed < 0) {
            struct words known = {.n = 0};
            for (int t = V_NULL; t <= V_JSON; t++)
                words_add(&known, value_type_name((enum value_type)t));
            char hint[ERROR_TEXT_MAX];
            words_hint(&known, name ? name : "", "allowed", hint, sizeof hint);
            struct json_node at = json_get(v, column);
            return complain(f->c, v->file, at.at, hint, "\"%s\" of \"%s\" is no type", column,
                            o->name);
        }
        types->columns[types->n] = arena_strdup(f->arena, column);
        types->types[types->n] = (enum value_type)parsed;
        if (!types->columns[types->n++])
            return complain_memory(f->c, v->file);
    }
    return 0;
}

static int
set_json(const struct filling *f, const struct option *o, const struct json_node *v)
{
    AUTO_FREE char *text = json_write(v->json, JSON_COMPACT | JSON_ENCODE_ANY);
    char *copy = text ? arena_strdup(f->arena, text) : NULL;
    if (!copy)
        return complain_memory(f->c, v->file);
    *(char **)member(f, o) = copy;
    return 0;
}

static int
set_fields(const struct filling *f, const struct option *o, const struct json_node *v)
{
    if (!json_is_object(v->json))
        return wrong_kind(f, o, v, "an object of \"field\": \"word\"");
    size_t n = json_object_size(v->json);
    struct words choices = {.n = 0};
    struct option_fields *set = arena_alloc(f->arena, sizeof *set);
    const char **texts = arena_alloc(f->arena, (2 * n + 1) * sizeof *texts);
    if (!set || !texts || !option_choices(o, f->arena, &choices))
        return complain_memory(f->c, v->file);
    *set = (struct option_fields){.fields = texts, .words = texts + n};
    const char *field;
    json_t *word;
    json_object_foreach(v->json, field, word)
    {
        size_t i = 0;
        while (i < choices.n && (!json_is_string(word) ||
                                 strcmp(choices.items[i], json_string_value(word)) != 0))
            i++;
        if (i == choices.n) {
            char hint[ERROR_TEXT_MAX];
            words_hint(&choices, "", "allowed", hint, sizeof hint);
            return complain(f->c, v->file, json_get(v, field).at, hint,
                            "\"%s\" of \"%s\" cannot be this", field, o->name);
        }
        set->fields[set->n] = arena_strdup(f->arena, field);
        set->words[set->n] = choices.items[i];
        if (!set->fields[set->n++])
            return complain_memory(f->c, v->file);
    }
    *(struct option_fields **)member(f, o) = set;
    return 0;
}

/* ---- secrets ---- */

static int
secret_path(const struct filling *f, const struct json_node *v, const char **ret)
{
    const char *text = json_string_value(v->json);
    if (!text || !*text)
        return complain(f->c, v->file, v->at, "allowed: " ALLOWED_SECRET,
                        "expected a string here");
    *ret = arena_strdup(f->arena, text);
    return *ret ? 0 : complain_memory(f->c, v->file);
}

static int
secret_command(const struct filling *f, const struct json_node *v, const char ***ret)
{
    size_t n = json_array_size(v->json); /* 0 for what is no array */
    if (n == 0)
        return complain(f->c, v->file, v->at,
                        "it is run without a shell: {\"command\": [\"PROGRAM\", \"ARGUMENT\"]}",
                        "\"command\" must be an array of strings");
    const char **argv = arena_alloc(f->arena, (n + 1) * sizeof *argv);
    if (!argv)
        return complain_memory(f->c, v->file);
    for (size_t i = 0; i < n; i++) {
        const char *word = json_string_value(json_array_get(v->json, i));
        if (!word || (i == 0 && !*word))
            return complain(f->c, v->file, json_item(v, i).at, NULL,
                            "\"command\" must be an array of strings");
        if (!(argv[i] = arena_strdup(f->arena, word)))
            return complain_memory(f->c, v->file);
    }
    *ret = argv;
    return 0;
}

static int
refuse_plain_secret(const struct json_node *v, struct complaint *c)
{
    return complain(c, v->file, v->at, NULL,
                    "a password in plain text is refused: give " ALLOWED_SECRET);
}

static int
set_secret(const struct filling *f, const struct option *o, const struct json_node *v)
{
    if (!f->secrets)
        return complain(f->c, v->file, v->at, NULL, "\"%s\" belongs in the connection",
                        o->name);
    if (!json_is_object(v->json))
        return refuse_plain_secret(v, f->c);
    struct secret secret = {.offset = o->offset, .option = o->name};
    struct json_node env = json_get(v, "env"), file = json_get(v, "file"),
                     command = json_get(v, "command");
    if (json_object_size(v->json) != 1 || !(env.json || file.json || command.json))
        return complain(f->c, v->file, v->at, "allowed: " ALLOWED_SECRET,
                        "\"%s\" must say where to find it in one way", o->name);
    int rc;
    if (env.json)
        rc = secret_path(f, &env, &secret.env);
    else if (file.json)
        rc = secret_path(f, &file, &secret.file);
    else
        rc = secret_command(f, &command, &secret.command);
    if (rc == 0 && secret.file && secret.file[0] != '/')
        rc = complain(f->c, v->file, file.at, "the daemon's working directory is /",
                      "the file of \"%s\" must be an absolute path", o->name);
    struct error err = ERROR_INIT;
    if (rc == 0 && secret.file && reach_check(secret.file, &err))
        rc = complain(f->c, v->file, file.at, NULL, "\"%s\": %s", o->name, err.text);
    if (rc == 0 && secret.command && !reach_may_command())
        rc = complain(f->c, v->file, command.at, NULL,
                      "\"%s\": commands are not allowed on this mount (-o allow_command)",
                      o->name);
    if (rc == 0)
        f->secrets->p[f->secrets->n++] = secret;
    return rc;
}

static int
set_option(const struct filling *f, const struct option *o, const struct json_node *v)
{
    if (o->flags & OPTION_PHRASE && phrases_check(v, f->c))
        return -EINVAL;
    switch (o->type) {
    case OPT_STRING:
        return set_string(f, o, v);
    case OPT_BOOL:
        if (!json_is_boolean(v->json))
            return wrong_kind(f, o, v, "true or false");
        *(bool *)member(f, o) = json_is_true(v->json);
        return 0;
    case OPT_INT:
        if (!json_is_integer(v->json))
            return wrong_kind(f, o, v, "an integer");
        *(int64_t *)member(f, o) = json_integer_value(v->json);
        return 0;
    case OPT_ENUM:
        return set_enum(f, o, v);
    case OPT_CHAR:
        return set_char(f, o, v);
    case OPT_SECRET:
        return set_secret(f, o, v);
    case OPT_TYPES:
        return set_types(f, o, v);
    case OPT_JSON:
        return set_json(f, o, v);
    case OPT_FIELDS:
        return set_fields(f, o, v);
    case OPT_FIXED:
        *(const char **)member(f, o) = o->default_text;
        return 0;
    }
    return complain(f->c, v->file, v->at, NULL, "\"%s\" has no known type", o->name);
}

static bool
is_secret_of_some_driver(const char *key)
{
    for (const struct driver *const *d = drivers; *d; d++)
        for (const struct option *o = (*d)->options; o && o->name; o++)
            if (o->type == OPT_SECRET && strcmp(o->name, key) == 0)
                return true;
    return false;
}

int
options_refuse_plain_secrets(const struct json_node *object, struct complaint *c)
{
    const char *key;
    json_t *value;
    json_object_foreach(object->json, key, value)
    {
        if (!json_is_string(value) || !is_secret_of_some_driver(key))
            continue;
        struct json_node v = json_get(object, key);
        return refuse_plain_secret(&v, c);
    }
    return 0;
}

/* ---- the table ---- */

static bool
in_table(const struct option *table, const char *key)
{
    for (; table && table->name; table++)
        if (table->type != OPT_FIXED && strcmp(table->name, key) == 0)
            return true;
    return false;
}

int
options_check_keys(const struct json_node *object, const char *const *own,
                   const struct option *const *tables, size_t ntables, struct complaint *c)
{
    struct words known = {.n = 0};
    for (size_t i = 0; own[i]; i++)
        words_add(&known, own[i]);
    for (size_t i = 0; i < ntables; i++)
        for (const struct option *o = tables[i]; o && o->name; o++)
            if (o->type != OPT_FIXED && !words_have(&known, o->name))
                words_add(&known, o->name);
    const char *key;
    json_t *value;
    json_object_foreach(object->json, key, value)
    {
        bool good = words_have(&known, key);
        for (size_t i = 0; i < ntables && !good; i++)
            good = in_table(tables[i], key);
        if (good)
            continue;
        char hint[ERROR_TEXT_MAX];
        words_hint(&known, key, "allowed", hint, sizeof hint);
        return complain(c, object->file, json_get(object, key).key_at, hint,
                        "unknown key \"%s\"", key);
    }
    return 0;
}

static int
set_default(const struct filling *f, const struct option *o, const struct json_node *object)
{
    if (!o->default_text)
        return 0;
    json_t *json = option_default(o);
    if (!json)
        return complain_memory(f->c, object->file);
    struct json_node v = {object->file, json, object->at, object->at};
    int rc = set_option(f, o, &v);
    json_decref(json);
    return rc;
}

int
options_fill(const struct json_node *object, const char *const *own, const struct option *table,
             size_t size, struct arena *arena, struct secret_list *secrets, void **ret,
             struct complaint *c)
{
    *ret = NULL;
    int rc = options_check_keys(object, own, &table, 1, c);
    if (rc || !table)
        return rc;

    size_t n = 0;
    while (table[n].name)
        n++;
    struct filling f = {.arena = arena, .secrets = secrets, .c = c};
    f.base = arena_alloc(arena, size ? size : 1);
    if (secrets)
        *secrets = (struct secret_list){.p = arena_alloc(arena, n * sizeof *secrets->p)};
    if (!f.base || (secrets && !secrets->p))
        return complain_memory(c, object->file);
    for (const struct option *o = table; o->name; o++) {
        struct json_node v = json_get(object, o->name);
        if (v.json && o->type != OPT_FIXED)
            rc = set_option(&f, o, &v);
        else if (o->flags & OPTION_REQUIRED)
            rc = complain(c, object->file, object->at, o->help, "\"%s\" is missing", o->name);
        else
            rc = set_default(&f, o, object);
        if (rc)
            return rc;
    }
    *ret = f.base;
    return 0;
}

/* ---- where rows go ---- */

static void
add_value(struct buf *out, const struct option *o, const char *at)
{
    if (o->type == OPT_BOOL)
        buf_adds(out, *(const bool *)at ? "true" : "false");
    else if (o->type == OPT_INT)
        buf_add_int(out, *(const int64_t *)(const void *)at);
    else
        buf_adds(out, *(char *const *)(const void *)at);
}

static bool
is_set(const struct option *o, const char *at)
{
    bool text = o->type == OPT_STRING || o->type == OPT_ENUM;
    return !text || *(char *const *)(const void *)at;
}

bool
options_part(const struct option *table, const void *filled, struct arena *arena,
             const char **ret)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    for (const struct option *o = table; o && o->name; o++) {
        const char *at = (const char *)filled + o->offset;
        if (!(o->flags & OPTION_PLACE) || !is_set(o, at))
            continue;
        buf_addf(&out, "%s%s=", out.n ? " " : "", o->name);
        add_value(&out, o, at);
    }
    *ret = out.n ? arena_strdup(arena, buf_z(&out)) : NULL;
    return !out.failed && (!out.n || *ret);
}
