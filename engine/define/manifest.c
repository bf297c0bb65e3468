/*
 * drivers/NAME/connector.json: what it means is its maker's to say (driver.h), which names the
 * place of a fault by a JSON pointer; the line of that place is found here.
 */
#include "define/json_text.h"
#include "define/parse.h"

#include <stdio.h>
#include <string.h>

enum { KEY_MAX = 256 };

/* A key as it stands in a pointer: 0 and how much of `at` it is, or 0. */
static size_t
key_length(const char *at, const char *key)
{
    const char *p = at;
    for (; *key; key++) {
        if (*key == '~' || *key == '/') {
            if (p[0] == '~' && p[1] == (*key == '~' ? '0' : '1'))
                p += 2;
            else if (*p == *key)
                p++; /* not all who complain take that care */
            else
                return 0;
        } else if (*p++ != *key) {
            return 0;
        }
    }
    return *p == '/' || *p == ':' || *p == '\0' ? (size_t)(p - at) : 0;
}

/* The child that `at` (behind the slash) names, the longest key that does: a key may hold what
 * ends a pointer. *n is the length of its name; 0: none. */
static struct json_node
step_in(const struct json_node *from, const char *at, size_t *n)
{
    struct json_node none = {.file = from->file};
    const char *key, *best = NULL;
    json_t *value;
    *n = 0;
    if (json_is_array(from->json)) {
        size_t digits = strspn(at, "0123456789"), index = 0;
        for (size_t i = 0; i < digits && index < 1000000; i++)
            index = index * 10 + (size_t)(at[i] - '0');
        *n = digits;
        return digits ? json_item(from, index) : none;
    }
    json_object_foreach(from->json, key, value)
    {
        size_t length = key_length(at, key);
        if (length > *n) {
            *n = length;
            best = key;
        }
    }
    return best ? json_get(from, best) : none;
}

/* Splits "/a/0: words" into the node and the words. What is not there is told of what should
 * hold it. A place within a place ("/calls/0: /answer: words") is followed too. */
static struct json_node
locate(const struct json_node *root, const char **text)
{
    struct json_node here = *root;
    const char *at = *text;
    while (*at == '/') {
        size_t n = 0;
        struct json_node child = step_in(&here, at + 1, &n);
        if (!child.json)
            break;
        here = child;
        at += 1 + n;
        if (at[0] == ':' && at[1] == ' ' && at[2] == '/')
            at += 2;
    }
    const char *words = at[0] == ':' && at[1] == ' ' ? at : strstr(at, ": ");
    *text = words ? words + 2 : at;
    return here;
}

static int
tell(const struct json_node *root, struct error *err, struct complaint *c)
{
    const char *text = err->text;
    if (err->errnum == ENOMEM)
        return complain_memory(c, root->file);
    struct json_node at = locate(root, &text);
    const char *hint = strstr(text, "; ");
    struct str what = {text, hint ? (size_t)(hint - text) : strlen(text)};
    bool key = str_is(what, "no such member");
    return complain(c, root->file, key ? at.key_at : at.at, hint ? hint + 2 : NULL, "%.*s",
                    (int)what.n, what.p);
}

static enum text_verdict
make(const struct text_file *f, const char *name, bool final, const struct driver **ret,
     struct complaint *c)
{
    struct json_node root;
    struct error err = ERROR_INIT;
    enum text_verdict v = json_open(f, final, &root, c);
    if (v != TEXT_OK)
        return v;
    if (!driver_maker)
        complain(c, f, AT_FILE, NULL, "this build has no connectors");
    else if (driver_maker->make(name, f->text, ret, &err) < 0)
        tell(&root, &err, c);
    json_decref(root.json);
    return *ret ? TEXT_OK : TEXT_BROKEN;
}

enum text_verdict
manifest_check(const struct text_file *f, bool final, struct complaint *c)
{
    AUTO_DRIVER const struct driver *d = NULL;
    return make(f, "connector", final, &d, c);
}

int
manifest_make(const char *name, struct str text, const struct driver **ret,
              struct complaint *complaint)
{
    char file[sizeof complaint->file];
    snprintf(file, sizeof file, "drivers/%s/connector.json", name);
    struct text_file f = {.name = file, .text = text};
    *ret = NULL;
    if (text.n > text_max(TEXT_CONNECTOR))
        return complain(complaint, &f, AT_FILE, NULL, "larger than %zu bytes",
                        text_max(TEXT_CONNECTOR));
    if (make(&f, name, true, ret, complaint) == TEXT_OK)
        return 0;
    return complaint->no_memory ? -ENOMEM : -EINVAL;
}
