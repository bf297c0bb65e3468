/* connections/NAME.json: a driver and its options. */
#include "define/complaint.h"
#include "define/options.h"
#include "define/parse.h"
#include "define/words.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAME_MAX_BYTES = 64 };

bool
connection_name_good(struct str name)
{
    if (name.n == 0 || name.n > NAME_MAX_BYTES || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i], low = (char)(c | 32);
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-' &&
            c != '.')
            return false;
    }
    return true;
}

static int
find_driver(const struct json_node *root, const struct driver **ret, struct complaint *c)
{
    struct words known = {.n = 0};
    for (const struct driver *const *d = drivers; *d; d++)
        words_add(&known, (*d)->name);
    char hint[ERROR_TEXT_MAX];
    struct json_node v = json_get(root, "driver");
    const char *name = json_string_value(v.json);
    words_hint(&known, name ? name : "", "known", hint, sizeof hint);
    if (!v.json)
        return complain(c, root->file, root->at, hint, "\"driver\" is missing");
    if (!name)
        return complain(c, root->file, v.at, hint, "\"driver\" must be a string, not %s",
                        json_kind(v.json));
    *ret = driver_find(name);
    return *ret ? 0 : complain(c, root->file, v.at, hint, "unknown driver \"%s\"", name);
}

static int
fill(const struct json_node *root, const char *name, struct connection *conn,
     struct complaint *c)
{
    static const char *const own[] = {"driver", NULL};
    int rc = find_driver(root, &conn->driver, c);
    if (rc)
        return rc;
    const struct driver *d = conn->driver;
    struct secret_list secrets = {.n = 0};
    rc = options_fill(root, own, d->options, d->options_size, &conn->arena, &secrets,
                      &conn->options, c);
    if (rc)
        return rc;
    conn->secrets = secrets.p;
    conn->nsecrets = secrets.n;
    conn->name = arena_strdup(&conn->arena, name);
    if (!conn->name)
        return complain_memory(c, root->file);
    struct error err = ERROR_INIT;
    if (d->check && d->check(conn->options, &err))
        return err.errnum == ENOMEM ? complain_memory(c, root->file)
                                    : complain(c, root->file, root->at, NULL, "%s", err.text);
    return 0;
}

static enum text_verdict
parse(const struct text_file *f, const char *name, bool final, struct connection **ret,
      struct complaint *c)
{
    struct json_node root;
    enum text_verdict v = json_open(f, final, &root, c);
    if (v != TEXT_OK)
        return v;
    struct connection *conn = calloc(1, sizeof *conn);
    int rc = conn ? fill(&root, name, conn, c) : complain_memory(c, f);
    json_decref(root.json);
    if (rc) {
        connection_free(conn);
        return TEXT_BROKEN;
    }
    *ret = conn;
    return TEXT_OK;
}

enum text_verdict
connection_check(const struct text_file *f, bool final, struct complaint *c)
{
    struct connection *conn = NULL;
    enum text_verdict v = parse(f, "", final, &conn, c);
    connection_free(conn);
    return v;
}

int
connection_parse(const char *name, struct str text, struct connection **ret,
                 struct complaint *complaint)
{
    char file[sizeof complaint->file];
    snprintf(file, sizeof file, "connections/%s.json", name);
    struct text_file f = {.name = file, .text = text, .secret = true};
    *ret = NULL;
    if (text.n > text_max(TEXT_CONNECTION))
        return complain(complaint, &f, AT_FILE, NULL, "larger than %zu bytes",
                        text_max(TEXT_CONNECTION));
    if (parse(&f, name, true, ret, complaint) == TEXT_OK)
        return 0;
    return complaint->no_memory ? -ENOMEM : -EINVAL;
}

struct connection *
connection_free(struct connection *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->nsecrets; i++) {
        char *value = *(char **)((char *)c->options + c->secrets[i].offset);
        if (value)
            explicit_bzero(value, strlen(value));
    }
    arena_done(&c->arena);
    free(c);
    return NULL;
}
