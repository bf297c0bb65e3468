/* Manifests: what is refused, with its place. */
#include <stdlib.h>

#include "http/auth.h"
#include "http/connector.h"

#include "base/cleanup.h"
#include "unit/failing-memory.h"
#include "unit/tap.h"

static struct error err;

/* "OK", or what is wrong with a manifest that has these members too. */
static const char *
parse(const char *members)
{
    static char text[4096];
    struct connector *c = NULL;
    snprintf(text, sizeof text,
             "{\"name\": \"p\", \"summary\": \"s\", \"url\": \"{base}\", \"connection\": "
             "{\"base\": {\"type\": \"string\", \"help\": \"h\"}, \"key\": {\"type\": "
             "\"secret\", \"help\": \"h\"}}, %s}",
             members);
    error_clear(&err);
    int rc = connector_parse(NULL, str_of(text), &c, &err);
    CHECK((rc < 0) == (c == NULL));
    connector_free(c);
    return rc < 0 ? err.text : "OK";
}

/* …with a call that has these members. */
static const char *
parse_call(const char *members)
{
    char text[2048];
    snprintf(text, sizeof text, "\"calls\": [{\"for\": [\"upsert\"], %s}]", members);
    return parse(text);
}

static const char *
parse_auth(const char *auth)
{
    char text[2048];
    snprintf(text, sizeof text, "\"calls\": [{\"for\": [\"upsert\"]}], \"auth\": %s", auth);
    return parse(text);
}

static bool
says(const char *text, const char *words)
{
    if (strstr(text, words))
        return true;
    printf("# %s\n", text);
    return false;
}

static void
test_rows(void)
{
    CHECK_TEXT(parse_call("\"path\": \"/{@key}\", \"body\": {\"@record\": \"all\"}"), "OK");
    CHECK(says(parse_call("\"path\": \"/{@key}\", \"rows\": 2, \"body\": {\"@rows\": 1}"),
               "/calls/0: names one row in its address or headers, so \"rows\" is 1"));
    CHECK(says(parse_call("\"headers\": {\"X\": \"{@identity:32}\"}, \"rows\": 2, \"lines\": "
                          "true, \"body\": {}"),
               "names one row"));
    CHECK(says(parse_call("\"rows\": 2, \"body\": {\"@record\": \"all\"}"),
               "\"rows\" is more than 1, but only one is sent"));
    CHECK(says(parse_call("\"rows\": 2"), "only one is sent"));
    CHECK_TEXT(parse_call("\"rows\": 2, \"query\": {\"ids\": \"{@keys}\"}"), "OK");
    CHECK_TEXT(parse_call("\"rows\": 2, \"form\": {\"a\": \"x\", \"b\": [{\"@rows\": 1}]}"),
               "OK");
    CHECK(says(parse_call("\"lines\": true"), "\"lines\" wants a \"body\""));
}

static void
test_texts(void)
{
    CHECK(says(parse_call("\"path\": \"/{id}\""), "/calls/0/path: nothing is called \"id\""));
    CHECK(says(parse_call("\"query\": {\"a\": \"{no}\"}"), "/calls/0/query/a: nothing is"));
    CHECK(says(parse_call("\"query\": {\"a\": 1}"), "/calls/0/query/a: must be a string"));
    CHECK(says(parse_call("\"headers\": [1]"), "/calls/0/headers: must be an object"));
    CHECK(says(parse_call("\"form\": {\"a\": 1}"), "/calls/0/form/a: must be a string, an"));
    CHECK(says(parse_call("\"form\": {}, \"body\": {}"), "\"body\" or \"form\", not both"));
    CHECK(
        says(parse_call("\"url\": \"{@token:/x}\""), "{@token:…} wants an \"auth\" by oauth2"));
    CHECK(says(parse_call("\"when\": {\"bse\": 1}"),
               "/calls/0/when: there is no option \"bse\""));
    CHECK(says(parse_call("\"refuse\": \"no\", \"path\": \"/x\""), "beside \"refuse\" stand"));
    CHECK(says(parse("\"place\": \"{@key}\", \"calls\": [{\"for\": [\"upsert\"]}]"),
               "/place: is wanted, and may name options only"));
    CHECK(says(parse("\"signature\": \"kee\", \"calls\": [{\"for\": [\"upsert\"]}]"),
               "/signature: must be an option's name"));
    CHECK(says(parse("\"signature\": \"key\", \"gzip\": true, \"calls\": [{\"for\": "
                     "[\"upsert\"]}]"),
               "/calls/0: a body that is signed is not packed"));
    CHECK(says(parse("\"headers\": {\"A\": \"{b}\"}, \"calls\": [{\"for\": [\"upsert\"]}]"),
               "/headers/A: nothing is called \"b\""));
}

static void
test_auth(void)
{
    CHECK_TEXT(parse_auth("{\"scheme\": \"bearer\", \"token\": \"{key}\"}"), "OK");
    CHECK(says(parse_auth("{\"scheme\": \"bearer\"}"), "/auth: wants \"token\""));
    CHECK(says(parse_auth("{\"scheme\": \"bearer\", \"token\": \"{kee}\"}"),
               "/auth: nothing is called \"kee\""));
    CHECK(says(parse_auth("{\"scheme\": \"bearer\", \"token\": \"{@key}\"}"),
               "/auth: may name options only"));
    CHECK(says(parse_auth("{\"scheme\": \"digest\"}"), "/auth/scheme: must be one of basic"));
    CHECK(says(parse_auth("{\"token\": \"x\"}"), "/auth: wants a \"scheme\""));
    CHECK(says(parse_auth("{\"scheme\": \"basic\", \"user\": \"a\", \"password\": \"b\", "
                          "\"grant\": \"jwt\"}"),
               "oauth2, and nothing else, wants a \"grant\""));
    CHECK(
        says(parse_auth("[{\"scheme\": \"basic\", \"user\": \"a\", \"password\": \"b\"}, "
                        "{\"scheme\": \"oauth2\", \"grant\": \"jwt\", \"token_url\": \"u\"}]"),
             "/auth/1: wants \"private_key\""));
    CHECK(says(parse_auth("{\"scheme\": \"basic\", \"user\": \"a\", \"password\": \"b\", "
                          "\"token\": \"c\"}"),
               "/auth/token: no such member"));
    CHECK(says(parse_auth("[]"), "/auth: must be an object or an array of one to 8"));
    CHECK(says(parse_auth("{\"scheme\": \"oauth2\", \"grant\": \"client_credentials\", "
                          "\"token_url\": \"u\", \"client_id\": \"c\", \"client_secret\": "
                          "\"{key}\", \"form\": {\"a\": 1}}"),
               "/auth: must be a string"));
}

/* What came by https does not leave in the clear. */
static void
test_token_in_the_clear(void)
{
    static const char text[] =
        "{\"name\": \"p\", \"summary\": \"s\", \"url\": \"u\", \"calls\": [{\"for\": "
        "[\"upsert\"]}], \"auth\": {\"scheme\": \"oauth2\", \"grant\": \"client_credentials\", "
        "\"token_url\": \"https://x/token\", \"client_id\": \"c\", \"client_secret\": \"d\"}}";
    const struct connector_use nobody = {.object = NULL};
    struct connector *c = NULL;
    struct auth *a = NULL;
    error_clear(&err);
    CHECK(connector_parse(NULL, str_of(text), &c, &err) == 0);
    CHECK(c && auth_open(c, &nobody, &a, &err) == 0 && a);
    CHECK(!auth_may_go(a, "http://x/") && auth_may_go(a, "HTTPS://y/"));
    auth_close(a);
    connector_free(c);
}

/* Calls of an endpoint share what it allows, whatever they are for. */
static void
test_scope(void)
{
    static const char manifest[] =
        "{\"name\": \"p\", \"summary\": \"s\", \"url\": \"x\", \"calls\": ["
        "{\"for\": [\"upsert\"], \"path\": \"/a/{@key}\", \"rate\": [{\"calls\": 10, "
        "\"milliseconds\": 1000}, {\"calls\": 150, \"milliseconds\": 60000}]},"
        "{\"for\": [\"update\"], \"path\": \"/a/{@key}\", \"rate\": [{\"calls\": 1, "
        "\"milliseconds\": 1}]},"
        "{\"for\": [\"insert\"], \"path\": \"/a\"}]}";
    struct connector *c = NULL;
    error_clear(&err);
    CHECK(connector_parse(NULL, str_of(manifest), &c, &err) == 0);
    if (!c)
        return;
    CHECK(c->calls[0].scope.nwindows == 2 && c->calls[0].scope.windows[1].calls == 150 &&
          c->calls[0].scope.windows[1].length == 60000000);
    CHECK_TEXT(c->calls[0].scope.name, "POST /a/{@key}");
    CHECK_TEXT(c->calls[1].scope.name, "POST /a/{@key}");
    CHECK(!c->calls[2].scope.name && c->calls[2].scope.nwindows == 0);
    connector_free(c);
}

static void
test_rate(void)
{
#define CALLS "\"calls\": [{\"for\": [\"upsert\"]}], "
    CHECK_TEXT(parse(CALLS "\"rate\": [{\"calls\": 1, \"milliseconds\": 5, \"when\": "
                           "{\"base\": \"x\"}}]"),
               "OK");
    CHECK(says(parse(CALLS "\"rate\": [{\"calls\": 1, \"milliseconds\": 5, \"when\": "
                           "{\"plan\": \"x\"}}]"),
               "/rate/0/when: there is no option \"plan\""));
    CHECK(says(parse(CALLS "\"rate\": [{\"calls\": 1}]"), "/rate/0"));
    CHECK_TEXT(parse_call("\"rate\": [{\"calls\": 10, \"milliseconds\": 1000}]"), "OK");
    CHECK(says(parse_call("\"rate\": []"), "/calls/0/rate: must be an array of one to four"));
    CHECK(says(parse_call("\"rate\": [{\"calls\": 1, \"milliseconds\": 5, \"when\": {}}]"),
               "/calls/0/rate/when: no such member"));
    CHECK(says(parse_call("\"row_bytes\": 0"), "/calls/0/row_bytes: must be a whole number"));
}

static void
test_quota(void)
{
    CHECK_TEXT(parse(CALLS "\"quota\": {\"remaining\": \"X-Left\"}"), "OK");
    CHECK_TEXT(parse(CALLS "\"quota\": {\"usage\": \"X-Used\", \"name\": \"calls\"}"), "OK");
    CHECK(says(parse(CALLS "\"quota\": {}"), "/quota: wants \"remaining\""));
    CHECK(says(parse(CALLS "\"quota\": {\"usage\": \"X-Used\"}"), "/quota: wants"));
    CHECK(says(parse(CALLS "\"quota\": {\"remaining\": \"X-Left\", \"keep\": \"key\"}"),
               "/quota: \"keep\" must be the name of an integer option"));
    CHECK(
        says(parse(CALLS "\"quota\": {\"left\": \"X-Left\"}"), "/quota/left: no such member"));
}

/* Which call it is must not depend on what there is memory for. */
static void
test_choice(void)
{
    static const char manifest[] =
        "{\"name\": \"p\", \"summary\": \"s\", \"url\": \"x\", \"destination\": {"
        "\"how\": {\"type\": \"string\", \"help\": \"h\"}, "
        "\"fast\": {\"type\": \"boolean\", \"help\": \"h\"}, "
        "\"blocks\": {\"type\": \"json\", \"help\": \"h\"}}, \"calls\": ["
        "{\"for\": [\"upsert\"], \"when\": {\"how\": \"b\"}, \"path\": \"/1\"}, "
        "{\"for\": [\"upsert\"], \"when\": {\"how\": \"a\", \"fast\": false}, \"path\": "
        "\"/2\"}, "
        "{\"for\": [\"upsert\"], \"when\": {\"blocks\": null, \"how\": [\"x\", \"c\"]}, "
        "\"path\": \"/3\"}, "
        "{\"for\": [\"upsert\"], \"path\": \"/4\"}]}";
    struct connector *c = NULL;
    CHECK(connector_parse(NULL, str_of(manifest), &c, &err) == 0);
    if (!c)
        return;
    static char a[] = "a", other[] = "c", json[] = "[1]";
    AUTO_FREE struct connector_options *filled =
        calloc(1, sizeof *filled + 8 * sizeof filled->values[0]);
    const struct connector_use use = {.destination = filled};
    if (!filled)
        exit(EXIT_FAILURE);
    filled->values[0].text = a;
    memory_fail_at(1, true);
    const struct connector_call *second = connector_call_for(c, OP_UPSERT, &use);
    filled->values[0].text = other;
    const struct connector_call *third = connector_call_for(c, OP_UPSERT, &use);
    filled->values[2].text = json;
    const struct connector_call *fourth = connector_call_for(c, OP_UPSERT, &use);
    json_t *option;
    int rc = connector_option(c, &use, "how", &option);
    memory_fail_at(0, false);
    CHECK(second && third == second + 1 && fourth == second + 2);
    CHECK(rc == -ENOMEM && !option);
    CHECK(connector_option(c, &use, "nothing", &option) == 0 && !option);
    connector_free(c);
    CHECK(says(parse("\"destination\": {\"o\": {\"type\": \"json\", \"help\": \"h\"}}, "
                     "\"calls\": [{\"for\": [\"upsert\"], \"when\": {\"o\": 1}}]"),
               "/calls/0/when: of \"o\", which holds any JSON, only null can be asked"));
}

int
main(void)
{
    test_rows();
    test_choice();
    test_texts();
    test_auth();
    test_token_in_the_clear();
    test_scope();
    test_rate();
    test_quota();
    return tap_done();
}
