/* Manifests: see connector.h. */
#include "http/connector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "http/auth.h"
#include "http/connector_private.h"
#include "http/fill.h"
#include "http/manifest.h"

enum { SECONDS_MAX = 3600 };

static int
take_timeouts(struct connector *c, struct error *err)
{
    static const char *const known[] = {"connect", "first_byte", "whole", NULL};
    static const char *const where = "/timeouts";
    const json_t *object = json_object_get(c->manifest, "timeouts");
    json_int_t connect = 10, first_byte = 30, whole = 120, parallel = 1;
    int rc = object ? manifest_members(object, where, known, err) : 0;
    if (rc == 0)
        rc = manifest_number(object, where, "connect", 1, SECONDS_MAX, &connect, err);
    if (rc == 0)
        rc = manifest_number(object, where, "first_byte", 1, SECONDS_MAX, &first_byte, err);
    if (rc == 0)
        rc = manifest_number(object, where, "whole", 1, SECONDS_MAX, &whole, err);
    if (rc == 0)
        rc = manifest_number(c->manifest, "", "parallel", 1, 64, &parallel, err);
    c->transfer = (struct transfer_settings){
        .parallel = (unsigned)parallel,
        .connect = connect * 1000000,
        .first_byte = first_byte * 1000000,
        .whole = whole * 1000000,
        .answer_max = 8 << 20,
    };
    return rc;
}

static unsigned
operations_of(const struct connector *c, enum sync_type type)
{
    unsigned operations = 0;
    for (size_t i = 0; i < c->ncalls; i++)
        operations |= c->calls[i].refuse ? 0 : c->calls[i].operations[type];
    return operations;
}

static unsigned
audience_modes_of(const struct connector *c)
{
    unsigned ops = operations_of(c, TYPE_AUDIENCE), modes = 0;
    bool add = ops & 1u << OP_UPSERT, remove = ops & 1u << OP_DELETE;
    if (add)
        modes |= MODE_BIT(MODE_ADD) | MODE_BIT(MODE_UPSERT);
    if (remove)
        modes |= MODE_BIT(MODE_REMOVE);
    if (add && remove)
        modes |= MODE_BIT(MODE_MIRROR);
    return modes;
}

static unsigned
modes_of(const struct connector *c, enum sync_type type)
{
    unsigned ops = operations_of(c, type), modes = 0;
    bool insert = ops & 1u << OP_INSERT, upsert = ops & 1u << OP_UPSERT;
    if (insert)
        modes |= MODE_BIT(MODE_INSERT);
    if (upsert)
        modes |= MODE_BIT(MODE_UPSERT);
    if (ops & 1u << OP_UPDATE)
        modes |= MODE_BIT(MODE_UPDATE);
    if (upsert && ops & 1u << OP_DELETE)
        modes |= MODE_BIT(MODE_MIRROR);
    if (insert || upsert)
        modes |= MODE_BIT(MODE_FULL);
    return modes;
}

static int
take_readme(struct connector *c, struct error *err)
{
    const json_t *lines = json_object_get(c->manifest, "readme");
    AUTO_BUF struct buf text = BUF_INIT(256 * 1024);
    if (lines && !json_is_array(lines))
        return manifest_wrong(err, "/readme", "must be an array of lines");
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const char *line = json_string_value(json_array_get(lines, i));
        if (!line)
            return manifest_wrong(err, "/readme", "must be an array of lines");
        buf_addf(&text, "%s\n", line);
    }
    c->driver.readme = text.failed ? NULL : arena_strdup(&c->arena, buf_z(&text));
    return c->driver.readme ? 0 : error_no_memory(err);
}

static int
take_name(struct connector *c, const char *given, struct error *err)
{
    const char *name = NULL;
    int rc = manifest_text(c->manifest, "", "name", &name, err);
    if (rc == 0 && name &&
        (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-")]))
        rc = manifest_wrong(err, "/name", "must be a-z, 0-9, \"_\" and \"-\"");
    if (given)
        name = given;
    if (rc == 0 && !name)
        rc = manifest_wrong(err, "", "wants \"name\"");
    size_t n = name ? strlen(name) : 0;
    if (n > CONNECTOR_NAME_MAX)
        rc = manifest_wrong(err, "/name", "is too long");
    if (rc == 0 && name)
        memcpy(c->name, name, n + 1);
    c->driver.name = c->name;
    return rc;
}

static int
take_head(struct connector *c, struct error *err)
{
    static const char *const known[] = {
        "name",  "summary", "readme",   "sources", "connection", "destination", "url",
        "place", "headers", "parallel", "rate",    "timeouts",   "signature",   "auth",
        "gzip",  "answer",  "calls",    "quota",   NULL};
    const json_t *m = c->manifest;
    int rc = manifest_members(m, "", known, err);
    if (rc == 0)
        rc = manifest_text(m, "", "summary", &c->driver.summary, err);
    if (rc == 0)
        rc = manifest_text(m, "", "url", &c->url, err);
    c->place = c->url;
    if (rc == 0)
        rc = manifest_text(m, "", "place", &c->place, err);
    if (rc == 0)
        rc = manifest_text(m, "", "signature", &c->signature, err);
    if (rc == 0)
        rc = manifest_bool(m, "", "gzip", &c->gzip, err);
    if (rc < 0)
        return rc;
    if (!c->driver.summary || !c->url)
        return manifest_wrong(err, "", "wants \"summary\" and \"url\"");
    return 0;
}

/* What names options, which must be known. */
static int
take_texts(struct connector *c, struct error *err)
{
    unsigned of_place = 0;
    c->auth = json_object_get(c->manifest, "auth");
    c->headers = json_object_get(c->manifest, "headers");
    int rc = auth_check(c->auth, c, &c->has_token, err);
    if (rc == 0)
        rc = fill_check(c->url, "/url", c, &c->names, err);
    if (rc == 0)
        rc = connector_check_texts(c, c->headers, "/headers", &c->names, err);
    if (rc == 0)
        rc = fill_check(c->place, "/place", c, &of_place, err);
    if (rc == 0 && of_place)
        rc = manifest_wrong(err, "/place", "is wanted, and may name options only");
    if (rc == 0 && c->signature && !connector_find_option(c, c->signature))
        rc = manifest_wrong(err, "/signature", "must be an option's name");
    return rc;
}

static int
take_manifest(struct connector *c, const char *name, struct error *err)
{
    int rc = take_name(c, name, err);
    if (rc == 0)
        rc = take_head(c, err);
    if (rc == 0)
        rc = take_readme(c, err);
    if (rc == 0)
        rc = connector_take_options(c, "connection", &c->driver.options,
                                    &c->driver.options_size, err);
    if (rc == 0)
        rc = connector_take_options(c, "destination", &c->driver.dest_options,
                                    &c->driver.dest_options_size, err);
    if (rc == 0)
        rc = take_texts(c, err);
    if (rc == 0)
        rc = connector_take_rate(c, err);
    if (rc == 0)
        rc = connector_take_quota(c, err);
    if (rc == 0)
        rc = take_timeouts(c, err);
    if (rc == 0)
        rc = connector_take_answer(c->manifest, "", &c->answer, err);
    if (rc == 0)
        rc = connector_take_calls(c, err);
    c->driver.modes = modes_of(c, TYPE_RECORDS);
    c->driver.event_modes = modes_of(c, TYPE_EVENTS);
    c->driver.audience_modes = audience_modes_of(c);
    return rc;
}

int
connector_parse(const char *name, struct str text, struct connector **ret, struct error *err)
{
    struct connector *c = calloc(1, sizeof *c);
    json_error_t at;
    if (!c)
        return error_no_memory(err);
    atomic_init(&c->holders, 1);
    c->driver.manifest = arena_strndup(&c->arena, text.p, text.n);
    if (!c->driver.manifest) {
        connector_free(c);
        return error_no_memory(err);
    }
    bool no_memory;
    c->manifest = json_parse(text, JSON_REJECT_DUPLICATES, &at, &no_memory);
    int rc = 0;
    if (!c->manifest)
        rc = no_memory ? error_no_memory(err)
                       : error_set(err, ERR_CONFIG, EINVAL, "line %d: %s", at.line, at.text);
    if (rc == 0)
        rc = take_manifest(c, name, err);
    if (rc < 0) {
        connector_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

struct connector *
connector_free(struct connector *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->ncalls; i++)
        connector_done_call(&c->calls[i]);
    answer_free(c->answer);
    json_decref(c->manifest);
    json_decref(c->made);
    arena_done(&c->arena);
    free(c);
    return NULL;
}
