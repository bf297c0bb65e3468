/* Records shown as they are nested: names in any order, arrays, what cannot be nested. */
#include "data/nest.h"

#include "tap.h"

/* The record of these names, whose values are their numbers; "-" before a name: absent. */
static const char *
nested(const char *const *names, size_t n)
{
    static struct buf out = BUF_INIT(BUF_NO_MAX);
    AUTO_ARENA struct arena arena = ARENA_INIT;
    static const char digits[] = "0123456789";
    struct value values[10];
    const char *plain[10];
    const struct nest *nest;
    for (size_t i = 0; i < n; i++) {
        bool absent = names[i][0] == '-';
        plain[i] = names[i] + absent;
        values[i] = absent ? (struct value){.type = V_ABSENT}
                           : (struct value){.p = digits + i, .n = 1, .type = V_INT};
    }
    buf_clear(&out);
    if (!nest_create(&arena, plain, n, &nest))
        return "no memory";
    if (!nest)
        return "flat";
    nest_write(nest, values, &out);
    return buf_z(&out);
}

#define NESTED(...)                                                                            \
    nested((const char *const[]){__VA_ARGS__},                                                 \
           sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

int
main(void)
{
    CHECK_TEXT(NESTED("id", "a.b", "a.c.d", "a.c.e", "f"),
               "{\"id\":0,\"a\":{\"b\":1,\"c\":{\"d\":2,\"e\":3}},\"f\":4}");
    CHECK_TEXT(NESTED("a.b", "id", "x.y", "a.c"),
               "{\"a\":{\"b\":0,\"c\":3},\"id\":1,\"x\":{\"y\":2}}");
    CHECK_TEXT(NESTED("p.0", "p.1", "q.0.x", "q.0.y", "q.1.x"),
               "{\"p\":[0,1],\"q\":[{\"x\":2,\"y\":3},{\"x\":4}]}");
    CHECK_TEXT(NESTED("0", "1", "a\".\\"), "{\"0\":0,\"1\":1,\"a\\\"\":{\"\\\\\":2}}");
    CHECK_TEXT(NESTED("a.b", "-a.c", "-d.e", "d.f", "-g"), "{\"a\":{\"b\":0},\"d\":{\"f\":3}}");
    CHECK_TEXT(NESTED("-a.b", "-c"), "{}");
    CHECK_TEXT(NESTED("-a.b.c", "a.b.d", "-x", "a.e"), "{\"a\":{\"b\":{\"d\":1},\"e\":3}}");
    CHECK_TEXT(NESTED("a", "b"), "flat");
    CHECK_TEXT(NESTED("a", "a.b"), "flat");
    CHECK_TEXT(NESTED("a.b.c", "a.b"), "flat");
    CHECK_TEXT(NESTED("a.", "b"), "flat");
    CHECK_TEXT(NESTED(".a", "b"), "flat");
    CHECK_TEXT(NESTED("a..b", "b"), "flat");
    CHECK_TEXT(NESTED("a.0", "a.b"), "flat");
    CHECK_TEXT(NESTED("a.1", "a.0"), "flat");
    CHECK_TEXT(NESTED("a.0", "a.2"), "flat");
    CHECK_TEXT(NESTED("a.0", "a.0.b"), "flat");
    CHECK_TEXT(NESTED("0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"),
               "flat");
    return tap_done();
}
