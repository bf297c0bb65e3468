/* Text templates, with values that want to be more than values. */
#include "http/fill.h"

#include "unit/tap.h"

enum { OPTIONS = 3 };
static const char manifest[] =
    "{\"name\": \"p\", \"summary\": \"s\", \"url\": \"{id}\", \"place\": \"x\","
    " \"connection\": {\"id\": {\"type\": \"string\", \"help\": \"h\"},"
    "                  \"with-dash\": {\"type\": \"string\", \"help\": \"h\"},"
    "                  \"number\": {\"type\": \"integer\", \"help\": \"h\"}},"
    " \"calls\": [{\"for\": [\"insert\"]}]}";

static struct connector *connector;
static union {
    struct connector_options head;
    char room[sizeof(struct connector_options) + OPTIONS * sizeof(union connector_value)];
} options;
static struct buf out = BUF_INIT(200);
static struct error err;

static const struct value keys[][2] = {
    {{.p = "a b", .n = 3, .type = V_TEXT}, {.p = "7", .n = 1, .type = V_INT}},
    {{.p = "c", .n = 1, .type = V_TEXT}, {.p = "8", .n = 1, .type = V_INT}},
    {{.p = "d,e", .n = 3, .type = V_TEXT}, {.p = "9", .n = 1, .type = V_INT}},
};
static const struct change changes[] = {{.key = keys[0]}, {.key = keys[1]}, {.key = keys[2]}};
static const unsigned char identities[3][32] = {{0xab, 0xcd, 0xef, 1, 2, 3, 4, 5}};

static struct fill_values
values(const struct call *call, size_t nkey)
{
    return (struct fill_values){
        .connector = connector, .use = {.connection = &options}, .call = call, .nkey = nkey};
}

static const char *
result(int rc, enum error_kind kind)
{
    CHECK(err.kind == kind && (rc < 0) == (kind != ERR_NONE));
    return rc < 0 ? err.text : rc == FILL_UNSET ? "(unset)" : buf_z(&out);
}

/* What follows an address's host, with that id. */
static const char *
expand(const char *template, const char *id, enum error_kind kind)
{
    options.head.values[0].text = (char *)(uintptr_t)id;
    const struct fill_values v = values(NULL, 0);
    error_clear(&err);
    buf_clear(&out);
    return result(fill_path(template, &v, &out, &err), kind);
}

static const char *
plain(const char *template, const struct fill_values *v, enum error_kind kind)
{
    error_clear(&err);
    buf_clear(&out);
    return result(fill_plain(template, v, &out, &err), kind);
}

/* "OK", or what is wrong with it. */
static const char *
check(const char *template, unsigned wanted)
{
    unsigned names = 0;
    error_clear(&err);
    int rc = fill_check(template, "/path", connector, &names, &err);
    CHECK(rc < 0 || names == wanted);
    return rc < 0 ? err.text : "OK";
}

static void
test_templates(void)
{
    CHECK_TEXT(expand("/plain?a=b", "", ERR_NONE), "/plain?a=b");
    CHECK_TEXT(expand("", "", ERR_NONE), "");
    CHECK_TEXT(expand("/c/{id}?k={with-dash}&i={id}", "a/b c", ERR_NONE),
               "/c/a%2Fb%20c?k=x&i=a%2Fb%20c");
    CHECK_TEXT(expand("/a/{id}{with-dash}", "{id}", ERR_NONE), "/a/%7Bid%7Dx");
    CHECK_TEXT(expand("/{{id}/{{{id}}", "1", ERR_NONE), "/%7Bid%7D/%7B1%7D");
    CHECK_TEXT(expand("/{number}", "1", ERR_NONE), "/42");
    CHECK_TEXT(expand("/{id}", NULL, ERR_NONE), "(unset)");
}

static void
test_checks(void)
{
#define KNOWN                                                                                  \
    "; known: the options, @object, @identifier, @key, @keys, @keys:json, @identity:N (16 to " \
    "64), "                                                                                    \
    "@token:/pointer"
    CHECK_TEXT(check("/{id}{{x}", 0), "OK");
    CHECK_TEXT(check("{@key}/{@identity:16}", FILL_ROW), "OK");
    CHECK_TEXT(
        check("{@keys}{@object}{@identifier}", FILL_ROWS | FILL_OBJECT | FILL_IDENTIFIER),
        "OK");
    CHECK_TEXT(check("{@token:/a/b}", FILL_TOKEN), "OK");
    CHECK_TEXT(check("/a/{no}", 0), "/path: nothing is called \"no\"" KNOWN);
    CHECK_TEXT(check("/a/{i}", 0), "/path: nothing is called \"i\"" KNOWN);
    CHECK_TEXT(check("{@identity:65}", 0), "/path: nothing is called \"@identity:65\"" KNOWN);
    CHECK_TEXT(check("{@identity:}", 0), "/path: nothing is called \"@identity:\"" KNOWN);
    CHECK_TEXT(check("{@token:a}", 0), "/path: nothing is called \"@token:a\"" KNOWN);
#define OPEN "/path: \"{\" begins a name, which \"}\" ends; \"{{\" is a {"
    CHECK_TEXT(check("/a/{}", 0), OPEN);
    CHECK_TEXT(check("/a/{id", 0), OPEN);
    CHECK_TEXT(check("/a/{i{d}", 0), OPEN);
}

/* A row's value does not lead to another resource than its own. */
static void
test_paths(void)
{
    CHECK_TEXT(expand("/c/{id}", "", ERR_DATA), "\"id\" is empty");
    CHECK_TEXT(expand("/c?q={id}", "", ERR_NONE), "/c?q=");
    CHECK_TEXT(expand("/c/{id}", "..", ERR_DATA), "\"id\" is \"..\", which is no name");
    CHECK_TEXT(expand("/c/{id}/d", ".", ERR_DATA), "\"id\" is \".\", which is no name");
    CHECK_TEXT(expand("/c/{id}?x", "..", ERR_DATA), "\"id\" is \"..\", which is no name");
    CHECK_TEXT(expand("/c/.{id}", ".", ERR_DATA), "\"id\" is \"..\", which is no name");
    CHECK_TEXT(expand("/c/{id}", "...", ERR_NONE), "/c/...");
    CHECK_TEXT(expand("/c/{id}.json", "..", ERR_NONE), "/c/...json");
    CHECK_TEXT(expand("/c?a=/{id}/", "..", ERR_NONE), "/c?a=/../");
    CHECK_TEXT(expand("/c/{id}", "../x", ERR_NONE), "/c/..%2Fx");
    CHECK_TEXT(expand("/c/{id}", "%2e%2e", ERR_NONE), "/c/%252e%252e");
    char many[601];
    memset(many, 'x', sizeof many);
    many[sizeof many - 1] = '\0';
    CHECK_TEXT(expand("/c/{id}", many, ERR_LIMIT), "a text of the request is too long");
    CHECK_TEXT(expand("/c/{id}/{id}", many + 450, ERR_LIMIT),
               "a text of the request is too long");
}

static void
test_rows(void)
{
    struct call call = {.batch = {.changes = changes, .n = 2}, .identities = identities};
    struct fill_values v = values(&call, 2);
    CHECK_TEXT(plain("{@key}", &v, ERR_NONE), "a b|7");
    CHECK_TEXT(plain("{@keys}", &v, ERR_NONE), "a b|7,c|8");
    CHECK_TEXT(plain("[{@keys:json}]", &v, ERR_NONE), "[\"a b|7\",\"c|8\"]");
    CHECK_TEXT(plain("i-{@identity:16}", &v, ERR_NONE), "i-abcdef0102030405");
    CHECK_TEXT(plain("{@object}", &v, ERR_NONE), "(unset)");
    v.use.object = "Contact";
    v.use.identifier = "Id";
    CHECK_TEXT(plain("{@object}.{@identifier}", &v, ERR_NONE), "Contact.Id");
    call.batch.n = 3;
    CHECK_TEXT(plain("{@keys}", &v, ERR_DATA), "an identifier with a comma would be two");
    CHECK(strchr(plain("{@keys:json}", &v, ERR_NONE), ','));
    CHECK_TEXT(plain("{@token:/instance_url}", &v, ERR_NONE), "(unset)");
    json_t *token = json_pack("{s:s, s:i}", "instance_url", "https://x", "n", 5);
    v.token = token;
    CHECK_TEXT(plain("{@token:/instance_url}/{@token:/n}", &v, ERR_NONE), "https://x/5");
    json_decref(token);
    v.call = NULL;
    CHECK_TEXT(plain("{@key}", &v, ERR_NONE), "(unset)");
}

int
main(void)
{
    CHECK(connector_parse(NULL, str_of(manifest), &connector, &err) == 0);
    options.head.values[1].text = (char *)(uintptr_t) "x";
    options.head.values[2].number = 42;
    test_templates();
    test_checks();
    test_paths();
    test_rows();
    connector_free(connector);
    buf_done(&out);
    return tap_done();
}
