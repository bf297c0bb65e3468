/* Connectors that carry audiences: which modes they have, and what they say of their calls. */
#include "http/http.h"

#include <stdlib.h>
#include <string.h>

#include "unit/tap.h"

#define HEAD "\"summary\": \"s\", \"url\": \"http://127.0.0.1:9\", \"parallel\": 8, \"calls\": "
#define ADD                                                                                    \
    "{\"for\": [\"add\"], \"rows\": 1000, \"parallel\": 2, \"body\": {\"@rows\": {\"@key\": "  \
    "true}}}"
#define REMOVE "{\"for\": [\"remove\"], \"rows\": 50, \"body\": {\"@rows\": {\"@key\": true}}}"

static const struct driver *
make(const char *manifest)
{
    struct error err = ERROR_INIT;
    const struct driver *d = NULL;
    if (http_make(NULL, str_of(manifest), &d, &err) < 0)
        printf("# %s\n", err.text);
    return d;
}

static void
test_modes(void)
{
    const unsigned add = MODE_BIT(MODE_ADD) | MODE_BIT(MODE_UPSERT);
    const struct {
        const char *manifest;
        unsigned modes, audience_modes;
    } cases[] = {
        {"{\"name\": \"a\", " HEAD "[" ADD "]}", 0, add},
        {"{\"name\": \"b\", " HEAD "[" REMOVE "]}", 0, MODE_BIT(MODE_REMOVE)},
        {"{\"name\": \"c\", " HEAD "[" ADD ", " REMOVE "]}", 0, MODES_OF_AUDIENCES},
        {"{\"name\": \"d\", " HEAD "[" REMOVE
         ", {\"for\": [\"upsert\", \"add\"], \"body\": {\"@rows\": {\"@key\": true}}}]}",
         MODE_BIT(MODE_UPSERT) | MODE_BIT(MODE_FULL), MODES_OF_AUDIENCES},
        {"{\"name\": \"e\", " HEAD
         "[{\"for\": [\"upsert\", \"delete\"], \"body\": {\"@rows\": {\"@key\": true}}}]}",
         MODE_BIT(MODE_UPSERT) | MODE_BIT(MODE_FULL) | MODE_BIT(MODE_MIRROR), 0},
        {"{\"name\": \"f\", " HEAD "[" ADD ", {\"for\": [\"remove\"], \"refuse\": \"no\"}]}", 0,
         add},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct driver *d = make(cases[i].manifest);
        CHECK(d && driver_modes(d, TYPE_RECORDS) == cases[i].modes);
        CHECK(d && driver_modes(d, TYPE_AUDIENCE) == cases[i].audience_modes);
        driver_unref(d);
    }
    struct error err = ERROR_INIT;
    const struct driver *d;
    static const char twice[] = "{\"name\": \"x\", " HEAD "[{\"for\": [\"add\", \"add\"]}]}";
    CHECK(http_make(NULL, str_of(twice), &d, &err) < 0);
    CHECK(strstr(err.text, "once each") != NULL);
}

/* The connection's options begin with the connector's name, as options_fill leaves them. */
static struct limits
limits_of(const struct driver *d, enum mode mode)
{
    struct connector_options *options = calloc(1, sizeof *options + sizeof(void *));
    const struct column field = {.name = "id", .type = V_TEXT};
    const size_t key = 0;
    struct error err = ERROR_INIT;
    struct limits limits = {.rows = 0};
    void *handle = NULL;
    options->connector = d->options[0].default_text;
    const struct target target = {.type = TYPE_AUDIENCE,
                                  .mode = mode,
                                  .object = "list",
                                  .fields = &field,
                                  .nfields = 1,
                                  .key = &key,
                                  .nkey = 1};
    CHECK_MSG(d->dest_open(options, &target, &handle, &err) == 0, err.text);
    if (handle) {
        d->dest_limits(handle, &limits);
        d->dest_close(handle);
    }
    free(options);
    return limits;
}

static void
test_limits(void)
{
    const struct driver *d = make("{\"name\": \"limits\", " HEAD "[" ADD ", " REMOVE "]}");
    if (!CHECK(d))
        return;
    struct limits l = limits_of(d, MODE_REMOVE);
    CHECK(l.parallel == 8 && l.of[OP_DELETE].rows == 50 && l.of[OP_UPSERT].rows == 0);
    CHECK(l.of[OP_DELETE].repeatable);
    l = limits_of(d, MODE_ADD);
    CHECK(l.parallel == 2 && l.of[OP_UPSERT].rows == 1000 && l.of[OP_DELETE].rows == 0);
    l = limits_of(d, MODE_MIRROR);
    CHECK(l.parallel == 2 && l.of[OP_UPSERT].rows == 1000 && l.of[OP_DELETE].rows == 50);
    driver_unref(d);
}

int
main(void)
{
    test_modes();
    test_limits();
    return tap_done();
}
