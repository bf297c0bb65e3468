/* Expressions over rows: what they give, what they may not, and the rows they fail on. */
#include "define/define.h"

#include "base/cleanup.h"
#include "define-fake.h"
#include "tap.h"

static struct column columns[] = {
    {.name = "a", .type = V_INT},        {.name = "first name", .type = V_TEXT},
    {.name = "d", .type = V_DECIMAL},    {.name = "raw", .type = V_BYTES},
    {.name = "Mail", .type = V_TEXT},    {.name = "mail", .type = V_TEXT},
    {.name = "q\"uote", .type = V_TEXT}, {.name = "yes", .type = V_BOOL},
    {.name = "none", .type = V_TEXT},    {.name = "f", .type = V_FLOAT},
    {.name = "j", .type = V_JSON},
};
enum { N = sizeof columns / sizeof *columns };
static const struct schema schema = {columns, N};

#define V(t, text) ((struct value){(text), sizeof(text) - 1, (t)})

static struct value row[N];

static void
fill_row(void)
{
    const struct value values[N] = {
        V(V_INT, "41"),
        V(V_TEXT, "Ad\xC3\xA9le"),
        V(V_DECIMAL, "0.10"),
        V(V_BYTES, "\0\xFF"),
        V(V_TEXT, "A@B"),
        V(V_TEXT, "a@b"),
        V(V_TEXT, "q"),
        V(V_BOOL, "t"),
        V(V_NULL, ""),
        V(V_FLOAT, "1e-07"),
        V(V_JSON, "{\"k\": [1, \"x\"]}"),
    };
    memcpy(row, values, sizeof values);
}

/* Type and text of the result, or the error's words. */
static const char *
eval(const char *expression)
{
    static char text[ERROR_TEXT_MAX + 32];
    struct mapping m[] = {{.column = "a", .field = "key"},
                          {.expression = expression, .field = "out"}};
    struct expressions *x = NULL;
    struct error err = ERROR_INIT;
    bool used[N] = {false};
    struct value out;
    int rc = expressions_compile(&schema, m, 2, used, &x, &err);
    if (rc == 0)
        rc = expressions_eval(x, 0, row, &out, &err);
    if (rc)
        snprintf(text, sizeof text, "%s: %s", error_kind_name(err.kind), err.text);
    else
        snprintf(text, sizeof text, "%s %.*s", value_type_name(out.type), (int)out.n, out.p);
    expressions_free(x);
    return text;
}

static bool
fails(const char *expression, const char *why)
{
    const char *got = eval(expression);
    bool ok = strstr(got, why) != NULL;
    if (!ok)
        printf("# %s → %s\n", expression, got);
    return ok;
}

static void
test_values(void)
{
    CHECK_TEXT(eval("a + 1"), "integer 42");
    CHECK_TEXT(eval("A + 1 -- the answer"), "integer 42");
    CHECK_TEXT(eval("model.a * 2"), "integer 82");
    CHECK_TEXT(eval("\"first name\" || ' x'"), "text Ad\xC3\xA9le x");
    CHECK_TEXT(eval("\"q\"\"uote\" || [first name]"), "text qAd\xC3\xA9le");
    CHECK_TEXT(eval("d * 1"), "float 0.1");
    CHECK_TEXT(eval("0.1 + 0.2"), "float 0.30000000000000004");
    CHECK_TEXT(eval("f"), "float 1e-07");
    CHECK_TEXT(eval("9e999"), "float Infinity");
    CHECK_TEXT(eval("-9e999"), "float -Infinity");
    CHECK_TEXT(eval("3.0"), "float 3");
    CHECK_TEXT(eval("yes"), "integer 1");
    CHECK_TEXT(eval("none || 'x'"), "any ");
    CHECK_TEXT(eval("coalesce(none, 'warehouse')"), "text warehouse");
    CHECK_TEXT(eval("typeof(raw)"), "text blob");
    CHECK_TEXT(eval("hex(raw)"), "text 00FF");
    CHECK_TEXT(eval("json_extract(j, '$.k[1]')"), "text x");
    CHECK_TEXT(eval("j ->> 'k'"), "text [1,\"x\"]");
    CHECK_TEXT(eval("CASE WHEN a > 40 AND a LIKE '4%' THEN 'old' ELSE 'young' END"),
               "text old");
    CHECK_TEXT(eval("CAST(a AS TEXT)"), "text 41");
    CHECK_TEXT(eval("''"), "text ");
    CHECK_TEXT(eval("date('2024-01-31', '+1 day')"), "text 2024-02-01");
    CHECK_TEXT(eval("sha256('abc')"),
               "text ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK_TEXT(eval("sha256(lower('ABC')) = sha256(x'616263')"), "integer 1");
    CHECK_TEXT(eval("sha256('')"),
               "text e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK_TEXT(eval("sha256(none)"), "any ");
    CHECK_TEXT(eval("max(a, 7)"), "integer 41");

    row[2] = V(V_DECIMAL, "12345678901234567890123");
    CHECK_TEXT(eval("d > 1"), "integer 1");
    row[2] = V(V_DECIMAL, "9007199254740993");
    CHECK_TEXT(eval("d + 0"), "integer 9007199254740993");
    row[2] = V(V_DECIMAL, "NaN");
    CHECK_TEXT(eval("d"), "text NaN");
    row[0] = V(V_INT, "-9223372036854775808");
    CHECK_TEXT(eval("a"), "integer -9223372036854775808");
    CHECK(fails("abs(a)", "data: expression of field \"out\": integer overflow"));
    fill_row();
}

/* What Google and Meta publish for their examples; more in test-normalize.c. */
static void
test_normalize(void)
{
    CHECK_TEXT(eval("sha256(normalize_email(' John_Smith@gmail.com'))"),
               "text 62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f");
    CHECK_TEXT(eval("sha256(normalize_email_google('DanaM@example.com'))"),
               "text 1df6b43bc68dd38eca94e6a65b4f466ae537b796c81a526918b40ac4a7b906c7");
    CHECK_TEXT(eval("sha256(normalize_phone_digits('(650)555-1212', 'US'))"),
               "text e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176");
    CHECK_TEXT(eval("sha256(normalize_name('Val\u00E9ry'))"),
               "text 08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c");
    CHECK_TEXT(eval("sha256(Normalize_Country('US'))"),
               "text 79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621");
    CHECK_TEXT(eval("normalize_email_google('cloudy.sanfrancisco+shopping@gmail.com')"),
               "text cloudysanfrancisco@gmail.com");
    CHECK_TEXT(eval("normalize_phone_e164('(800)555-0100', 'US')"), "text +18005550100");
    CHECK_TEXT(eval("normalize_phone_e164(16505551212, 1)"), "text +16505551212");
    CHECK_TEXT(eval("normalize_phone_e164(16505551212.0, 1.0)"), "text +16505551212");
    CHECK_TEXT(eval("normalize_phone_e164('+4930123456', none)"), "text +4930123456");
    CHECK_TEXT(eval("normalize_zip('94035-1234', 'US') || normalize_zip(7310)"),
               "text 940357310");
    CHECK_TEXT(eval("normalize_city(x'4e657720596f726b')"), "text newyork");
    CHECK_TEXT(eval("normalize_email(none)"), "any ");
    CHECK_TEXT(eval("normalize_email(' ')"), "any ");
    CHECK_TEXT(eval("normalize_name(\"first name\")"), "text ad\xC3\xA9le");
    CHECK(fails("normalize_email('ada')",
                "data: expression of field \"out\": it is no e-mail address: it has no @"));
    CHECK(fails("normalize_email(raw)", "no UTF-8 text"));
    CHECK(fails("normalize_phone_e164('030 123456')", "no country is given"));
    CHECK(fails("normalize_phone_e164(1.5e10 + 0.5)", "decimal point"));
    CHECK(fails("normalize_email(1, 2)", "wrong number of arguments"));
    CHECK(fails("try_sha256(1)", "no such function"));
    CHECK_TEXT(eval("try_normalize_email('ada')"), "any ");
    CHECK_TEXT(eval("try_normalize_email('A@b')"), "text a@b");
    CHECK_TEXT(eval("sha256(try_normalize_phone_e164('030 123456'))"), "any ");
    CHECK_TEXT(eval("coalesce(try_normalize_phone_digits('030 123456', 'DE'), 'none')"),
               "text 4930123456");
}

static void
test_hashed_already(void)
{
    static const char hash[] =
        "text 62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";
#define HASH "'62A14E44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f'"
    CHECK_TEXT(eval("sha256_once(" HASH ")"), hash);
    CHECK_TEXT(eval("sha256_once(normalize_email(' John_Smith@gmail.com'))"), hash);
    CHECK_TEXT(eval("sha256_once(normalize_email(" HASH "))"), hash);
    CHECK_TEXT(eval("sha256_once(sha256('john_smith@gmail.com'))"), hash);
    CHECK_TEXT(eval("normalize_phone_e164(" HASH ", 'US')"), hash);
    CHECK_TEXT(eval("sha256_once('abc') = sha256('abc')"), "integer 1");
    CHECK_TEXT(eval("sha256_once('') = sha256('')"), "integer 1");
    CHECK_TEXT(eval("sha256_once(a) = sha256(41) AND sha256_once(2.0) = sha256(2.0)"),
               "integer 1");
    CHECK_TEXT(eval("sha256_once(none)"), "any ");
    CHECK_TEXT(eval("sha256(" HASH ") = sha256_once(" HASH ")"), "integer 0");
#undef HASH
}

static void
test_refused(void)
{
    CHECK(fails(
        "b", "config: expression of field \"out\": the model has no column \"b\"; it has: a"));
    CHECK(fails("\"frist name\"", "no column \"frist name\""));
    CHECK(fails("rowid", "no column \"rowid\""));
    CHECK(fails("MAIL", "differ only by case"));
    CHECK(fails("t.a", "no such column: t.a") || fails("t.a", "no column \"t.a\""));
    CHECK(fails("(SELECT 1)", "subquery"));
    CHECK(fails("(SELECT a)", "subquery"));
    CHECK(fails("a + (SELECT 1)", "subquery"));
    CHECK(fails("a IN (VALUES (1))", "subquery"));
    CHECK(fails("a IN (SELECT 1)", "subquery"));
    CHECK(fails("EXISTS (SELECT a)", "subquery"));
    CHECK(fails("a IN sqlite_schema", "config"));
    CHECK(fails(
        "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT max(x) FROM c)",
        "subquery"));
    CHECK(fails("count(*)", "config"));
    CHECK(fails("max(a)", "misuse of aggregate"));
    CHECK(fails("sum(a)", "config"));
    CHECK(fails("row_number() OVER ()", "config"));
    CHECK(fails("random()", "function \"random\" is not possible"));
    CHECK(fails("randomblob(3)", "not possible"));
    CHECK(fails("CURRENT_TIMESTAMP", "not possible"));
    CHECK(fails("load_extension('x')", "not possible"));
    CHECK(fails("readfile('/etc/passwd')", "no such function"));
    CHECK(fails("last_insert_rowid()", "not possible"));
    CHECK(fails("a, 1", "config"));
    CHECK(fails("1) + (2", "config"));
    CHECK(fails("a AS b", "syntax error"));
    CHECK(fails("*", "syntax error"));
    CHECK(fails("1; SELECT 2", "syntax error"));
    CHECK(fails("?", "parameter"));
    CHECK(fails(":x", "parameter"));
    CHECK(fails("a + ?1", "parameter"));
    CHECK(fails("a /* open", "config"));
    CHECK(fails("DISTINCT a", "syntax error"));
    CHECK(fails("", "config"));
    CHECK(fails("RAISE(ABORT, 'x')", "config"));
    CHECK(fails("replace(printf('%1000000d', 1), ' ', printf('%1000000d', 1))", "too big"));
    CHECK(fails("json_extract('{', '$')", "data: expression of field \"out\": malformed JSON"));
    CHECK(fails("CAST(x'ff' AS TEXT)", "data"));
    CHECK(fails("'a' || char(0)", "data"));
}

static bool
good_alone(const char *expression)
{
    struct error err = ERROR_INIT;
    int rc = expression_check(expression, &err);
    if (rc)
        printf("# %s: %s\n", expression, err.text);
    return rc == 0;
}

static void
test_check(void)
{
    struct error err = ERROR_INIT;
    CHECK(good_alone("first_name || ' ' || last_name"));
    CHECK(good_alone("\"x y\" + model.z"));
    CHECK(expression_check("unknown_column + no_such_function(1)", &err) < 0);
    CHECK(strstr(err.text, "no_such_function") != NULL);
    CHECK(expression_check("a ||", &err) < 0);

    AUTO_BUF struct buf many = BUF_INIT(0);
    for (int i = 0; i < 300; i++)
        buf_addf(&many, "%sc%d", i ? "," : "coalesce(", i);
    buf_addc(&many, ')');
    CHECK(expression_check(buf_z(&many), &err) < 0);
}

static void
test_several(void)
{
    struct mapping m[] = {{.expression = "a + 1", .field = "x"},
                          {.column = "a", .field = "k"},
                          {.expression = "\"first name\" || a", .field = "y"},
                          {.expression = "'c'", .field = "z"}};
    struct expressions *x = NULL;
    struct error err = ERROR_INIT;
    bool used[N] = {false};
    CHECK(expressions_compile(&schema, m, 4, used, &x, &err) == 0);
    CHECK(used[0] && used[1] && !used[2] && !used[4]);
    struct value one, two, three;
    CHECK(expressions_eval(x, 0, row, &one, &err) == 0);
    CHECK(expressions_eval(x, 1, row, &two, &err) == 0);
    CHECK(expressions_eval(x, 2, row, &three, &err) == 0);
    CHECK(one.n == 2 && memcmp(one.p, "42", 2) == 0); /* still there */
    CHECK(two.n == 8 && memcmp(two.p, "Ad\xC3\xA9le41", 8) == 0);
    CHECK(three.n == 1 && three.p[0] == 'c');
    /* an error of one row leaves the next unharmed */
    struct value saved = row[0];
    row[0] = V(V_INT, "9223372036854775807");
    CHECK(expressions_eval(x, 0, row, &one, &err) == 0 && one.type == V_FLOAT);
    row[0] = saved;
    CHECK(expressions_eval(x, 0, row, &one, &err) == 0 && one.n == 2);
    expressions_free(x);

    struct mapping plain = {.column = "a", .field = "k"};
    CHECK(expressions_compile(&schema, &plain, 1, used, &x, &err) == 0);
    expressions_free(x);
}

int
main(void)
{
    fill_row();
    test_values();
    test_normalize();
    test_hashed_already();
    test_refused();
    test_check();
    test_several();
    return tap_done();
}
