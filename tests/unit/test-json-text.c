/* JSON bit by bit: the recogniser agrees with jansson, and nodes know where they stand. */
#include "define/json_text.h"

#include "base/cleanup.h"
#include "define-fake.h"
#include "tap.h"

static size_t
place_of(const char *text, const char *outer, const char *key, bool of_key)
{
    struct text_file f = {.name = "f", .text = str_of(text)};
    struct json_node root;
    struct complaint c;
    if (json_open(&f, true, &root, &c) != TEXT_OK)
        return 0;
    struct json_node object = outer ? json_get(&root, outer) : root;
    struct json_node v = json_get(&object, key);
    size_t at = v.json ? (of_key ? v.key_at : v.at) : AT_FILE;
    json_decref(root.json);
    return at;
}

static void
test_places(void)
{
    const char *text =
        " {\"a\" : [1,-2.5e3,{\"b\":[]},\"}\\\"\"], \"\\u0062\":{\"a\":null , \"c\"\n:true}}";
    CHECK(place_of(text, NULL, "a", true) == 2);
    CHECK(place_of(text, NULL, "a", false) == 8);
    CHECK(text[place_of(text, NULL, "b", true) + 2] == 'u');
    CHECK(text[place_of(text, "b", "a", false)] == 'n');
    CHECK(text[place_of(text, "b", "c", false)] == 't');
    CHECK(place_of(text, "b", "z", false) == AT_FILE);

    struct text_file f = {.name = "f", .text = str_of(text)};
    struct json_node root;
    struct complaint c;
    CHECK(json_open(&f, true, &root, &c) == TEXT_OK);
    struct json_node a = json_get(&root, "a");
    CHECK(text[json_item(&a, 0).at] == '1');
    CHECK(text[json_item(&a, 1).at] == '-');
    CHECK(text[json_item(&a, 2).at] == '{');
    CHECK(text[json_item(&a, 3).at] == '"');
    CHECK(json_item(&a, 4).json == NULL);
    json_decref(root.json);
}

static unsigned
roll(unsigned *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Random texts from a small alphabet: whole for us means good for jansson, and the other way
 * round but for the rules that are ours. */
static void
test_agreement(void)
{
    static const char *const pieces[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"a\"",
                                         "\"b\"",
                                         "1",
                                         "-0",
                                         "2.5",
                                         "1e5",
                                         "true",
                                         "null",
                                         " ",
                                         "\"\\n\"",
                                         "\"\\ud83d\\ude00\"",
                                         "\"\xC3\xA9\"",
                                         "\"c\":",
                                         "\"d\":"};
    unsigned seed = 11, whole = 0, differ = 0;
    for (int round = 0; round < 200000; round++) {
        char text[256] = "{\"k\":";
        size_t n = strlen(text);
        for (unsigned i = roll(&seed) % 8; i > 0; i--) {
            const char *piece = pieces[roll(&seed) % (sizeof pieces / sizeof *pieces)];
            memcpy(text + n, piece, strlen(piece) + 1);
            n += strlen(piece);
        }
        memcpy(text + n, "}", 2);
        struct json_fault fault;
        bool ours = json_recognise(str_of(text), &fault) == TEXT_OK;
        json_t *theirs = json_loads(text, 0, NULL);
        whole += ours;
        if (ours != (theirs != NULL)) {
            differ++;
            printf("# %s\n", text);
        }
        json_decref(theirs);
    }
    CHECK(whole > 1000);
    CHECK(differ == 0);
}

static void
test_numbers(void)
{
    static const struct {
        const char *text;
        enum text_verdict want;
    } cases[] = {
        {"{\"a\":9223372036854775807}", TEXT_OK},
        {"{\"a\":-9223372036854775808}", TEXT_OK},
        {"{\"a\":9223372036854775808",
         TEXT_INCOMPLETE}, /* could become 9223372036854775808.5 */
        {"{\"a\":9223372036854775808}", TEXT_BROKEN},
        {"{\"a\":9223372036854775808.5}", TEXT_OK},
        {"{\"a\":-", TEXT_INCOMPLETE},
        {"{\"a\":-}", TEXT_BROKEN},
        {"{\"a\":1.", TEXT_INCOMPLETE},
        {"{\"a\":1.}", TEXT_BROKEN},
        {"{\"a\":1e+", TEXT_INCOMPLETE},
        {"{\"a\":00", TEXT_BROKEN},
        {"{\"a\":+1", TEXT_BROKEN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_fault fault;
        CHECK_MSG(json_recognise(str_of(cases[i].text), &fault) == cases[i].want,
                  cases[i].text);
    }
}

int
main(void)
{
    test_places();
    test_agreement();
    test_numbers();
    return tap_done();
}
