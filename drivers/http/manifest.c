/* Members of a manifest: see manifest.h. */
#include "http/manifest.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/words.h"
#include "http/pointer.h"

const char *
manifest_below(struct manifest_place *place, const char *where, const char *name)
{
    snprintf(place->text, sizeof place->text, "%s/%s", where, name);
    return place->text;
}

int
manifest_wrong(struct error *err, const char *where, const char *what)
{
    return error_set(err, ERR_CONFIG, EINVAL, "%s: %s", *where ? where : "/", what);
}

static int
wrong_member(struct error *err, const char *where, const char *name, const char *what)
{
    return error_set(err, ERR_CONFIG, EINVAL, "%s/%s: %s", where, name, what);
}

static int
unknown_member(struct error *err, const char *where, const char *name, const char *const *known)
{
    struct words words = {.n = 0};
    char hint[ERROR_TEXT_MAX];
    for (size_t i = 0; known[i]; i++)
        words_add(&words, known[i]);
    words_hint(&words, name, "known", hint, sizeof hint);
    return error_set(err, ERR_CONFIG, EINVAL, "%s/%s: no such member; %s", where, name, hint);
}

int
manifest_members(const json_t *object, const char *where, const char *const *known,
                 struct error *err)
{
    const char *name;
    json_t *value;
    if (!json_is_object(object))
        return manifest_wrong(err, where, "must be an object");
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        const char *const *k = known;
        while (*k && strcmp(*k, name) != 0)
            k++;
        if (!*k)
            return unknown_member(err, where, name, known);
    }
    return 0;
}

int
manifest_text(const json_t *object, const char *where, const char *name, const char **ret,
              struct error *err)
{
    const json_t *value = json_object_get(object, name);
    if (!value)
        return 0;
    *ret = json_string_value(value);
    return *ret ? 0 : wrong_member(err, where, name, "must be a string");
}

int
manifest_pointer(const json_t *object, const char *where, const char *name, const char **ret,
                 struct error *err)
{
    int rc = manifest_text(object, where, name, ret, err);
    if (rc < 0 || !json_object_get(object, name) || pointer_good(*ret))
        return rc;
    return wrong_member(err, where, name, "is no JSON pointer, such as \"/errors/0/message\"");
}

int
manifest_bool(const json_t *object, const char *where, const char *name, bool *ret,
              struct error *err)
{
    const json_t *value = json_object_get(object, name);
    if (!value)
        return 0;
    *ret = json_is_true(value);
    return json_is_boolean(value) ? 0 : wrong_member(err, where, name, "must be true or false");
}

int
manifest_number(const json_t *object, const char *where, const char *name, json_int_t least,
                json_int_t most, json_int_t *ret, struct error *err)
{
    const json_t *value = json_object_get(object, name);
    if (!value)
        return 0;
    *ret = json_integer_value(value);
    if (json_is_integer(value) && *ret >= least && *ret <= most)
        return 0;
    return error_set(err, ERR_CONFIG, EINVAL, "%s/%s: must be a whole number from %lld to %lld",
                     where, name, (long long)least, (long long)most);
}

int
manifest_word(const json_t *object, const char *where, const char *name,
              const char *const *words, size_t n, int *ret, struct error *err)
{
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    if (!value)
        return 0;
    struct words known = {.n = 0};
    AUTO_BUF struct buf list = BUF_INIT(1024);
    for (size_t i = 0; i < n; i++) {
        if (text && words[i] && strcmp(text, words[i]) == 0) {
            *ret = (int)i;
            return 0;
        }
        if (!words[i])
            continue;
        words_add(&known, words[i]);
        buf_addf(&list, "%s%s", list.n ? ", " : "must be one of ", words[i]);
    }
    const char *nearest = words_nearest(&known, text ? text : "");
    if (nearest)
        buf_addf(&list, "; did you mean \"%s\"?", nearest);
    return wrong_member(err, where, name, buf_z(&list));
}
