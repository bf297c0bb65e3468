/* The JSON Lines driver: every kind of value exactly, every fault with its place. */
#include <stdio.h>
#include <string.h>

#include "../unit/tap.h"
#include "base/cleanup.h"
#include "drive.h"
#include "lib/jsonscan.h"

extern const struct driver driver_jsonl;

#define L(literal) (literal), sizeof(literal) - 1

static struct arena arena;
static char path[4200];

#define OPTIONS(p)                                                                             \
    drive_options(driver_jsonl.options, driver_jsonl.options_size, &arena, "path", (p), NULL)

static char *
read_as(const char *bytes, size_t n, const char *columns, const char *types)
{
    drive_file(path, bytes, n);
    struct drive_source s = {
        .driver = &driver_jsonl, .connection = OPTIONS(path), .columns = columns};
    if (types)
        s.model.options =
            drive_options(driver_jsonl.source_options, driver_jsonl.source_options_size, &arena,
                          "types", types, NULL);
    char *text = drive_read(&s), *at;
    while ((at = strstr(text, path))) {
        *at = 'F';
        memmove(at + 1, at + strlen(path), strlen(at + strlen(path)) + 1);
    }
    return text;
}

static void
check(const char *json, const char *want)
{
    AUTO_FREE char *got = read_as(json, strlen(json), NULL, NULL);
    tap_check_text(got, want, json, __FILE__, __LINE__);
}

static void
test_values(void)
{
    check("{\"a\":1,\"b\":\"x\"}\n{\"b\":\"y\",\"a\":2}\n", "i:1|t:x\ni:2|t:y\n");
    check("{\"a\":1}\n{\"b\":2}\n", "i:1|n\nn|i:2\n");
    check("{\"a\":1}", "i:1\n");
    check("\xEF\xBB\xBF{\"a\":1}\r\n\r\n \t\n{ \"a\" : 2 } \r\n", "i:1\ni:2\n");
    check("{\"a\":0.10}\n{\"a\":12345678901234567890}\n{\"a\":1e5}\n{\"a\":-0}\n{\"a\":-0.0}\n",
          "d:0.10\nd:12345678901234567890\nd:1e5\ni:0\nd:-0.0\n");
    check("{\"a\":9223372036854775807}\n{\"a\":-9223372036854775808}\n{\"a\":"
          "9223372036854775808}\n",
          "i:9223372036854775807\ni:-9223372036854775808\nd:9223372036854775808\n");
    check("{\"a\":true,\"b\":false,\"c\":null,\"d\":\"\"}\n", "b:t|b:f|n|t:\n");
    check("{\"a\":{\"x\": [1.10, {}]},\"b\":[ ]}\n", "j:{\"x\": [1.10, {}]}|j:[ ]\n");
    check("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e4\\u20AC\\ud834\\udd1e\"}\n",
          "t:\"\\/\b\f\n\r\tA\xC3\xA4\xE2\x82\xAC\xF0\x9D\x84\x9E\n");
    check("{\"\\u0061\":1,\"b\":\"\\u0062\"}\n{\"a\":2}\n", "i:1|t:b\ni:2|n\n");
    check("{}\n{}\n", "\n\n");
    check("", "");
}

static void
test_errors(void)
{
    check("{\"a\":1}\n[1]\n", "error: data: F:2:1: expected an object");
    check("{\"a\":1}\n{\"a\":1,\"a\":2}\n",
          "error: data: F:2:8: the object has this key twice");
    check("{\"a\":1,\"\\u0061\":2}\n", "error: data: F:1:8: the object has this key twice");
    check("{\"a\":{\"x\":1,\"x\":2}}\n", "j:{\"x\":1,\"x\":2}\n"); /* nested: as it is */
    check("{\"a\":01}\n", "error: data: F:1:6: number with a leading zero");
    check("{\"a\":1.}\n", "error: data: F:1:8: expected a digit");
    check("{\"a\":-}\n", "error: data: F:1:7: expected a digit");
    check("{\"a\":+1}\n", "error: data: F:1:6: expected a value");
    check("{\"a\":nul}\n", "error: data: F:1:6: expected a value");
    check("{\"a\":nullx}\n", "error: data: F:1:10: expected \",\" or \"}\"");
    check("{\"a\":1,}\n", "error: data: F:1:8: expected a key in quotes");
    check("{,}\n", "error: data: F:1:2: expected a key in quotes");
    check("{\"a\" 1}\n", "error: data: F:1:6: expected \":\"");
    check("{\"a\":1\n", "error: data: F:1:7: expected \",\" or \"}\"");
    check("{\"a\":\"x\n", "error: data: F:1:8: string without end");
    check("{\"a\":\"x\ty\"}\n", "error: data: F:1:8: control character in a string");
    check("{\"a\":\"\\x\"}\n", "error: data: F:1:7: unknown escape in a string");
    check("{\"a\":\"\\u12g4\"}\n", "error: data: F:1:7: \\u needs four hexadecimal digits");
    check("{\"a\":\"x\\u0000\"}\n", "error: data: F:1:8: \\u0000 cannot stand in a text");
    check("{\"a\":\"\\ud834x\"}\n", "error: data: F:1:7: half a surrogate pair");
    check("{\"a\":\"\\udd1e\"}\n", "error: data: F:1:7: half a surrogate pair");
    check("{\"a\":1}x\n", "error: data: F:1:8: text after the object");
    check("{\"a\":1}{\"a\":2}\n", "error: data: F:1:8: text after the object");
    check("{\"a\":\"\xC3\"}\n", "error: data: F:1:7: not valid UTF-8");
    check("{\"a\":[1,]}\n", "error: data: F:1:9: expected a value");
    check("{\"a\":[1}}\n", "error: data: F:1:8: expected \",\" or \"]\"");
    AUTO_FREE char *nul = read_as(L("{\"a\":1}\n\0"), NULL, NULL);
    CHECK_TEXT(nul, "error: data: F:2:1: NUL byte");

    AUTO_BUF struct buf deep = BUF_INIT(BUF_NO_MAX);
    buf_adds(&deep, "{\"a\":");
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '[');
    AUTO_FREE char *nested = read_as(deep.p, deep.n, NULL, NULL);
    CHECK_TEXT(nested, "error: data: F:1:1030: nested too deeply");
}

static void
test_types(void)
{
    static const char json[] =
        "{\"at\":\"2024-01-31T13:05:00\",\"n\":\"0.10\",\"j\":\"s\",\"id\":7}\n";
    AUTO_FREE char *got = read_as(json, sizeof json - 1, "at,n,j,id,late",
                                  "at:timestamp,n:decimal,j:json,id:text,late:date");
    CHECK_TEXT(got, "S:2024-01-31 13:05:00|d:0.10|j:\"s\"|t:7|n\n");
    AUTO_FREE char *bad = read_as(json, sizeof json - 1, NULL, "at:date");
    CHECK_TEXT(bad, "error: data: F:1:7: column \"at\": \"2024-01-31T13:05:00\" is not a date");
    drive_file(path, L("{\"a\":1}\n\n{\"b\":2}\n{\"a\":3}"));
    struct drive_source s = {
        .driver = &driver_jsonl, .connection = OPTIONS(path), .order = "a"};
    AUTO_FREE char *plan = drive_plan(&s);
    CHECK_TEXT(plan, "ordered=0 rows=3 exact=1");
    AUTO_FREE char *columns = drive_describe(&s);
    CHECK_TEXT(columns, "a any -\nb any -\n");
}

/* Lines longer than the window, and many keys. */
static void
test_big(void)
{
    AUTO_BUF struct buf json = BUF_INIT(BUF_NO_MAX), want = BUF_INIT(BUF_NO_MAX);
    for (int row = 0; row < 2000; row++) {
        size_t size = row == 700 ? 3000000 : (size_t)row % 500;
        buf_addf(&json, "{\"id\":%d,\"text\":\"", row);
        buf_addf(&want, "i:%d|t:", row);
        for (size_t i = 0; i < size; i++) {
            buf_adds(&json, i % 100 == 7 ? "\\n" : "x");
            buf_addc(&want, i % 100 == 7 ? '\n' : 'x');
        }
        buf_adds(&json, "\"}\n");
        buf_addc(&want, '\n');
    }
    AUTO_FREE char *got = read_as(json.p, json.n, NULL, NULL);
    CHECK(strcmp(got, buf_z(&want)) == 0);

    buf_clear(&json);
    buf_addc(&json, '{');
    for (int i = 0; i < 10001; i++)
        buf_addf(&json, "%s\"k%d\":%d", i ? "," : "", i, i);
    buf_adds(&json, "}\n");
    AUTO_FREE char *keys = read_as(json.p, json.n, NULL, NULL);
    CHECK_TEXT(keys, "error: limit: F:1: more than 10000 different keys");
}

/* A cut file gives the whole lines before, or an error; never a changed row. */
static void
test_cut(void)
{
    static const char json[] = "{\"a\":12,\"b\":\"ü\\n\"}\n{\"a\":{\"x\":[true]}}\n";
    static const char *const wants[] = {"", "i:12|t:ü\n\n", "i:12|t:ü\n\nj:{\"x\":[true]}|n\n"};
    bool good = true;
    for (size_t n = 0; n <= sizeof json - 1; n++) {
        AUTO_FREE char *got = read_as(json, n, NULL, NULL);
        bool known = strncmp(got, L("error: data: F:")) == 0;
        for (int i = 0; i < 3; i++)
            known |= strcmp(got, wants[i]) == 0;
        good &= known;
    }
    CHECK(good);
}

static void
test_valid(void)
{
    CHECK(json_valid(STR(" {\"a\": [1, -2.5e+3, \"\\u00e4\", true, null, {}]} ")));
    CHECK(json_valid(STR("1")));
    CHECK(!json_valid(STR("")));
    CHECK(!json_valid(STR("1 2")));
    CHECK(!json_valid(STR("{\"a\":1")));
    CHECK(!json_valid(STR("[1}")));
    CHECK(!json_valid(STR("\"\xFF\"")));
}

int
main(void)
{
    snprintf(path, sizeof path, "%s/x.jsonl", drive_directory());
    test_values();
    test_errors();
    test_types();
    test_big();
    test_cut();
    test_valid();
    arena_done(&arena);
    return tap_done();
}
