/* URL templates and forms, with values that want to be more than values. */
#include "http/form.h"
#include "unit/tap.h"

static struct buf out = BUF_INIT(200);
static struct error err;

/* Names and values by turns, ended by NULL. */
static bool
value(void *arg, struct str name, struct buf *to)
{
    for (const char *const *pair = arg; *pair; pair += 2)
        if (str_is(name, pair[0])) {
            buf_adds(to, pair[1]);
            return true;
        }
    return false;
}

/* The URL; the error's text when there is none, which must be of that kind. */
static const char *
expand(const char *template, const char *id, enum error_kind kind)
{
    const char *values[] = {"id", id, "with-dash", "x", NULL};
    error_clear(&err);
    buf_clear(&out);
    int rc = form_expand(template, "/path", value, values, &out, &err);
    CHECK(err.kind == kind && (rc < 0) == (kind != ERR_NONE));
    return rc < 0 ? err.text : buf_z(&out);
}

static void
test_encoding(void)
{
    buf_clear(&out);
    form_encode(&out, STR("AZaz09-._~"));
    CHECK_TEXT(buf_z(&out), "AZaz09-._~");
    buf_clear(&out);
    form_encode(&out, STR("a b+c&d=e/f?g#h%\"{}\0\xc3\xa4\x7f"));
    CHECK_TEXT(buf_z(&out), "a%20b%2Bc%26d%3De%2Ff%3Fg%23h%25%22%7B%7D%00%C3%A4%7F");
    buf_clear(&out);
    form_add(&out, "grant_type", STR("a:b"));
    form_add(&out, "x y", STR(""));
    form_add(&out, "z", STR("1&2"));
    CHECK_TEXT(buf_z(&out), "grant_type=a%3Ab&x%20y=&z=1%262");
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
    CHECK_TEXT(expand("/a/{no}", "1", ERR_CONFIG), "/path: nothing is called \"no\"");
    CHECK_TEXT(expand("/a/{i}", "1", ERR_CONFIG), "/path: nothing is called \"i\"");
    CHECK_TEXT(expand("/a/{}", "1", ERR_CONFIG), "/path: \"{}\" names nothing; \"{{\" is a {");
    CHECK_TEXT(expand("/a/{id", "1", ERR_CONFIG), "/path: \"{\" without \"}\" in \"/a/{id\"");
    CHECK_TEXT(expand("/a/{i{d}", "1", ERR_CONFIG),
               "/path: \"{\" without \"}\" in \"/a/{i{d}\"");
}

/* A row's value does not lead to another resource than its own. */
static void
test_paths(void)
{
    CHECK_TEXT(expand("/c/{id}", "", ERR_DATA), "/path: \"id\" is empty");
    CHECK_TEXT(expand("/c?q={id}", "", ERR_NONE), "/c?q=");
    CHECK_TEXT(expand("/c/{id}", "..", ERR_DATA), "/path: \"id\" is \"..\", which is no name");
    CHECK_TEXT(expand("/c/{id}/d", ".", ERR_DATA), "/path: \"id\" is \".\", which is no name");
    CHECK_TEXT(expand("/c/{id}?x", "..", ERR_DATA),
               "/path: \"id\" is \"..\", which is no name");
    CHECK_TEXT(expand("/c/.{id}", ".", ERR_DATA), "/path: \"id\" is \"..\", which is no name");
    CHECK_TEXT(expand("/c/{id}", "...", ERR_NONE), "/c/...");
    CHECK_TEXT(expand("/c/{id}.json", "..", ERR_NONE), "/c/...json");
    CHECK_TEXT(expand("/c?a=/{id}/", "..", ERR_NONE), "/c?a=/../");
    CHECK_TEXT(expand("/c/{id}", "../x", ERR_NONE), "/c/..%2Fx");
    CHECK_TEXT(expand("/c/{id}", "%2e%2e", ERR_NONE), "/c/%252e%252e");
}

static void
test_length(void)
{
    char many[601];
    memset(many, 'x', sizeof many);
    many[sizeof many - 1] = '\0';
    CHECK_TEXT(expand("/c/{id}", many, ERR_LIMIT), "/path: the URL is too long");
    CHECK_TEXT(expand("/c/{id}/{id}", many + 450, ERR_LIMIT), "/path: the URL is too long");
}

int
main(void)
{
    test_encoding();
    test_templates();
    test_paths();
    test_length();
    buf_done(&out);
    return tap_done();
}
