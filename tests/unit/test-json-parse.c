/* JSON is read whole or not at all, whichever allocation fails. */
#include "define/json_parse.h"

#include <stdlib.h>

#include "tap.h"

/* The linker puts these in the place of malloc (--wrap), for our objects only: jansson comes
 * here by the functions that json_parse gives it. */
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);

static unsigned calls, fails_at;
static bool fails_on;

void *
__wrap_malloc(size_t n)
{
    calls++;
    bool fails = fails_at && (fails_on ? calls >= fails_at : calls == fails_at);
    return fails ? NULL : __real_malloc(n);
}

/* Tokens end where the lexer's buffer is full (at 16, 32, 64 … bytes), escapes lie there too.
 */
static void
write_text(struct buf *out, unsigned length)
{
    buf_adds(out, "{\"");
    for (unsigned i = 0; i < length; i++)
        buf_adds(out, i % 5 == 4 ? "\\/" : "k");
    buf_adds(out, "\": [12345678901234567, -2.5e3, true, null, \"\\u00e9\\ud83d\\ude00é\", \"");
    for (unsigned i = 0; i < length; i++)
        buf_adds(out, i % 7 == 6 ? "\\\\" : "v");
    buf_adds(out,
             "\"], \"a\":{\"b\":1},\"c\":{},\"d\":[],\"e\":0,\"f\":0,\"g\":0,\"h\":0,\"i\":0}");
}

/* Every allocation of reading that text fails once, or all from it on. */
static bool
survives(struct str text, bool on)
{
    bool no_memory;
    json_t *whole = json_parse(text, JSON_REJECT_DUPLICATES, NULL, &no_memory);
    bool good = whole && !no_memory;
    fails_on = on;
    for (fails_at = 1; good; fails_at++) {
        calls = 0;
        json_t *json = json_parse(text, JSON_REJECT_DUPLICATES, NULL, &no_memory);
        bool failed = calls >= fails_at;
        good = failed ? !json && no_memory : json_equal(json, whole) && !no_memory;
        json_decref(json);
        if (!failed)
            break;
    }
    good = good && fails_at > 20;
    fails_at = 0;
    json_decref(whole);
    return good;
}

static void
test_memory(void)
{
    for (unsigned length = 1; length < 150; length++) {
        struct buf text = BUF_INIT(BUF_NO_MAX);
        write_text(&text, length);
        CHECK(survives(buf_str(&text), false) && survives(buf_str(&text), true));
        buf_done(&text);
    }
}

static void
test_other_reasons(void)
{
    bool no_memory = true;
    json_error_t e;
    CHECK(!json_parse(STR("{\"a\": 1, \"a\": 2}"), JSON_REJECT_DUPLICATES, &e, &no_memory));
    CHECK(!no_memory && strstr(e.text, "duplicate") && e.position == 12);
    CHECK(!json_parse(STR("{\"a\": "), 0, NULL, &no_memory) && !no_memory);
    CHECK(!json_parse((struct str){0}, 0, NULL, NULL));
    json_t *json = json_parse(STR("7"), JSON_DECODE_ANY, NULL, NULL);
    CHECK(json_integer_value(json) == 7);
    json_decref(json);
}

int
main(void)
{
    test_memory();
    test_other_reasons();
    return tap_done();
}
