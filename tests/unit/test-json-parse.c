/* JSON is read and written whole or not at all, whichever allocation fails. */
#include "base/json_parse.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "define/json_text.h"
#include "failing-memory.h"
#include "tap.h"

static const struct driver *const none[] = {NULL};
const struct driver *const *drivers = none;

const struct driver *
driver_find(const char *name)
{
    return NULL;
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

/* What is read or written, and what comes of it with memory enough. */
struct trial {
    struct str text;
    json_t *json;
    char *written;
    size_t flags;
};

enum end { WRONG, NO_MEMORY, WHOLE };

static enum end
read_it(const struct trial *t)
{
    bool no_memory;
    json_t *json = json_parse(t->text, JSON_REJECT_DUPLICATES, NULL, &no_memory);
    enum end end = !json && no_memory                        ? NO_MEMORY
                   : json_equal(json, t->json) && !no_memory ? WHOLE
                                                             : WRONG;
    json_decref(json);
    return end;
}

static enum end
write_it(const struct trial *t)
{
    char *text = json_write(t->json, t->flags);
    enum end end = !text ? NO_MEMORY : strcmp(text, t->written) == 0 ? WHOLE : WRONG;
    free(text);
    return end;
}

static int
open_source(const void *connection, const struct model *model, void **ret, struct error *err)
{
    return -ENOSYS;
}

static const struct option options[] = {
    {"path", OPT_STRING, OPTION_REQUIRED, 0, NULL, NULL, "where it stands"},
    {"kind", OPT_ENUM, 0, 0, "b", "a|b|c", "which of them"},
    {"header", OPT_BOOL, 0, 0, "true", NULL, NULL},
    {"width", OPT_INT, 0, 0, "7", NULL, NULL},
    {"separator", OPT_CHAR, 0, 0, ",", NULL, NULL},
    {"password", OPT_SECRET, 0, 0, NULL, NULL, NULL},
    {"types", OPT_TYPES, 0, 0, NULL, NULL, NULL},
    {NULL},
};

static const struct driver example = {
    .name = "example",
    .summary = "what an example has",
    .modes = MODES_OF_TABLES,
    .takes_table = true,
    .takes_query = true,
    .options = options,
    .source_options = options,
    .dest_options = options,
    .source_open = open_source,
};

static enum end
show_options(const struct trial *t)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    driver_options_json(&example, &out);
    return out.failed ? NO_MEMORY : strcmp(buf_z(&out), t->written) == 0 ? WHOLE : WRONG;
}

/* Every allocation fails once, or all from it on. */
static bool
survives(enum end (*act)(const struct trial *), const struct trial *t, bool on, unsigned least)
{
    bool good = true, failed = true;
    unsigned at;
    for (at = 1; good && failed; at++) {
        memory_fail_at(at, on);
        enum end end = act(t);
        failed = atomic_load(&memory_calls) >= at;
        good = end == (failed ? NO_MEMORY : WHOLE);
    }
    memory_fail_at(0, false);
    return good && at > least;
}

static void
test_memory(void)
{
    static const size_t flags[] = {JSON_COMPACT, JSON_INDENT(2), JSON_COMPACT | JSON_SORT_KEYS};
    for (unsigned length = 1; length < 150; length++) {
        struct buf text = BUF_INIT(BUF_NO_MAX);
        write_text(&text, length);
        struct trial t = {.text = buf_str(&text)};
        t.json = json_parse(t.text, JSON_REJECT_DUPLICATES, NULL, NULL);
        CHECK(t.json && survives(read_it, &t, false, 20) && survives(read_it, &t, true, 20));
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
            t.flags = flags[i];
            t.written = json_dumps(t.json, t.flags);
            CHECK(survives(write_it, &t, false, 3) && survives(write_it, &t, true, 3));
            free(t.written);
        }
        json_decref(t.json);
        buf_done(&text);
    }
    CHECK(!json_write(NULL, 0));
}

static void
test_options(void)
{
    struct buf out = BUF_INIT(BUF_NO_MAX);
    driver_options_json(&example, &out);
    struct trial t = {.written = (char *)buf_z(&out)};
    CHECK(strstr(t.written, "\"b\",\n"));
    CHECK(survives(show_options, &t, false, 300) && survives(show_options, &t, true, 300));
    buf_done(&out);
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

/* A member that is there is not overlooked because its key could not be read again. */
static void
test_escaped_key(void)
{
    const struct text_file f = {.name = "f", .text = STR("{\"b\": 1, \"\\u0061\": 2}")};
    struct json_node root;
    struct complaint c;
    CHECK(json_open(&f, true, &root, &c) == TEXT_OK);
    CHECK(json_get(&root, "a").at == 19);
    memory_fail_at(1, true);
    struct json_node a = json_get(&root, "a");
    memory_fail_at(0, false);
    CHECK(json_integer_value(a.json) == 2);
    CHECK(!json_get(&root, "c").json);
    json_decref(root.json);
}

int
main(void)
{
    test_memory();
    test_options();
    test_other_reasons();
    test_escaped_key();
    return tap_done();
}
