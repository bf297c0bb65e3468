/* Values as text, packed records, keys. */
#include "base/cleanup.h"
#include "base/error.h"
#include "base/utf8.h"
#include "base/value.h"
#include "driver.h"
#include "random.h"
#include "tap.h"

static struct value
val(enum value_type type, const char *text)
{
    return (struct value){text, (uint32_t)strlen(text), (uint8_t)type};
}

typedef void (*render_fn)(struct buf *, const struct value *);

static void
check_render(render_fn render, enum value_type type, const char *text, const char *want)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    struct value v = val(type, text);
    render(&out, &v);
    CHECK_TEXT(buf_z(&out), want);
}

static void
test_json(void)
{
    static const struct {
        enum value_type type;
        const char *text, *want;
    } cases[] = {
        {V_NULL, "", "null"},
        {V_BOOL, "t", "true"},
        {V_BOOL, "f", "false"},
        {V_INT, "-12", "-12"},
        {V_DECIMAL, "0.10", "0.10"},
        {V_DECIMAL, ".5", "0.5"},
        {V_DECIMAL, "-.5", "-0.5"},
        {V_DECIMAL, "+007.50", "7.50"},
        {V_DECIMAL, "5.", "5"},
        {V_DECIMAL, "NaN", "\"NaN\""},
        {V_DECIMAL, ".", "\".\""},
        {V_DECIMAL, "", "\"\""},
        {V_DECIMAL, "1.2.3", "\"1.2.3\""},
        {V_FLOAT, "1e400", "1e400"},
        {V_FLOAT, "1.5E-7", "1.5E-7"},
        {V_FLOAT, "1e", "\"1e\""},
        {V_FLOAT, "-Infinity", "\"-Infinity\""},
        {V_TEXT, "a\"b\\c\n\t\x01", "\"a\\\"b\\\\c\\n\\t\\u0001\""},
        {V_TEXT, "gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80",
         "\"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80\""},
        {V_TEXT,
         "a\xFF"
         "b",
         "\"a\xEF\xBF\xBD"
         "b\""},
        {V_TEXT, "\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {V_TEXT, "\xC0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {V_TEXT, "cut \xE2\x82", "\"cut \xEF\xBF\xBD\xEF\xBF\xBD\""},
        {V_BYTES, "ab", "\"\\\\x6162\""},
        {V_DATE, "2024-01-31", "\"2024-01-31\""},
        {V_TIMESTAMP, "2024-01-31 13:05:00.25", "\"2024-01-31T13:05:00.25\""},
        {V_TIMESTAMPTZ, "2024-01-31 13:05:00.25+00", "\"2024-01-31T13:05:00.25Z\""},
        {V_TIMESTAMPTZ, "infinity", "\"infinity\""},
        {V_TIMESTAMPTZ, "0044-03-15 12:00:00+00 BC", "\"0044-03-15 12:00:00+00 BC\""},
        {V_JSON, "{\"a\": 1}", "{\"a\": 1}"},
        {V_JSON, "{\n  \"a b\\\"\" : [1,\t2]\n}", "{\"a b\\\"\":[1,2]}"},
        {V_JSON, "", "null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_render(value_json, cases[i].type, cases[i].text, cases[i].want);
}

/* Of whatever type and bytes: what is counted is what is written. */
static void
test_json_size(void)
{
    static const char letters[] = "0123456789+-.eE :tf\"\\\n\x01{}[]aZ\xC3\xA9\xFF";
    static const char *const usual[] = {
        "0", "-7",  "1.50",  ".5", "+1", "007", "1e5", "-", "2024-01-31 13:05:00+00",
        "t", "NaN", "[1, 2]"};
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX), scratch = BUF_INIT(BUF_NO_MAX);
    unsigned wrong = 0;
    for (int i = 0; i < 200000; i++) {
        char bytes[24];
        struct value v = {.type = (uint8_t)random_below(V_JSON + 1)};
        if (random_below(2)) {
            v.p = usual[random_below(sizeof usual / sizeof *usual)];
            v.n = (uint32_t)strlen(v.p);
        } else {
            v.p = bytes;
            v.n = (uint32_t)random_below(sizeof bytes);
            for (uint32_t k = 0; k < v.n; k++)
                bytes[k] = letters[random_below(sizeof letters - 1)];
        }
        buf_clear(&text);
        value_json(&text, &v);
        wrong += value_json_size(&v, &scratch) != text.n;
    }
    CHECK(wrong == 0 && !text.failed && !scratch.failed);
}

/* What is added after a limit was met is not there, though there may be room. */
static void
test_limits(void)
{
    AUTO_BUF struct buf b = BUF_INIT(100);
    for (int i = 0; i < 10; i++)
        buf_add(&b, "0123456789", 10);
    CHECK(b.n == 100 && !b.failed);
    buf_addc(&b, 'x');
    CHECK(b.n == 100 && b.failed && b.full);
    buf_clear(&b);
    buf_add(&b, "0123456789", 10);
    buf_add(&b, (char[91]){0}, 91);
    buf_add(&b, "a", 1);
    buf_addc(&b, 'b');
    CHECK(b.n == 10 && b.failed);
}

static void
test_csv_and_names(void)
{
    check_render(value_csv, V_NULL, "", "");
    check_render(value_csv, V_TEXT, "", "\"\"");
    check_render(value_csv, V_TEXT, "plain text", "plain text");
    check_render(value_csv, V_TEXT, "a,b", "\"a,b\"");
    check_render(value_csv, V_TEXT, "say \"hi\"\n", "\"say \"\"hi\"\"\n\"");
    check_render(value_csv, V_BOOL, "t", "true");
    check_render(value_csv, V_BYTES, "ab", "\\x6162");
    check_render(value_filename, V_TEXT, "a@x.com", "a@x.com");
    check_render(value_filename, V_TEXT, "..", "%2E.");
    check_render(value_filename, V_TEXT, "a/b,c~", "a%2Fb%2Cc%7E");
    check_render(value_filename, V_TEXT, "", "%");
    check_render(value_filename, V_TEXT, "NULL", "%4EULL");
    check_render(value_filename, V_NULL, "", "NULL");
}

static void
test_records(void)
{
    static const size_t sizes[] = {0, 1, 14, 15, 16, 142, 143, 20000};
    AUTO_BUF struct buf rec = BUF_INIT(BUF_NO_MAX);
    char *text = malloc(20000);
    memset(text, 'x', 20000);
    enum { N = sizeof sizes / sizeof *sizes };
    for (int i = 0; i < N; i++)
        record_add(&rec, &(struct value){text, (uint32_t)sizes[i], V_TEXT});
    struct value got[N];
    CHECK(record_unpack(buf_str(&rec), got, N));
    AUTO_BUF struct buf whole = BUF_INIT(BUF_NO_MAX);
    record_pack(&whole, got, N);
    CHECK(str_equal(buf_str(&rec), buf_str(&whole)));
    bool same = true;
    for (int i = 0; i < N; i++)
        same = same && got[i].n == sizes[i] && got[i].type == V_TEXT;
    CHECK_MSG(same, "lengths around the varint borders come back");
    CHECK(!record_unpack(buf_str(&rec), got, N - 1));
    bool refused = true;
    for (size_t n = 0; n < rec.n; n++)
        refused = refused && !record_unpack((struct str){rec.p, n}, got, N);
    CHECK_MSG(refused, "every cut record is refused");
    free(text);
}

/* What must not stand in a text is found wherever it is. */
static void
test_utf8(void)
{
    static const struct {
        const char *bytes;
        size_t n, good; /* of them */
    } odd[] = {{"\0", 1, 0},         {"\xFC", 1, 0},         {"\xC3\xBC", 2, 2},
               {"\xC3", 1, 0},       {"\xE2\x82\xAC", 3, 3}, {"\xE2\x82", 2, 0},
               {"\xC3\xBC\0", 3, 2}, {"\x7F", 1, 1}};
    enum { MOST = 40 };
    bool right = true;
    for (size_t o = 0; o < sizeof odd / sizeof *odd; o++)
        for (size_t n = 0; n < MOST; n++)
            for (size_t at = 0; at <= n; at++) {
                size_t size = n + odd[o].n;
                char *text = malloc(size); /* no byte too many is looked at */
                memset(text, 'x', size);
                memcpy(text + at, odd[o].bytes, odd[o].n);
                bool whole = odd[o].good == odd[o].n;
                size_t want = whole ? size : at + odd[o].good;
                right = right && utf8_check(text, size) == want;
                free(text);
            }
    CHECK(right);
    CHECK(utf8_check("", 0) == 0);
}

static int
key_order(enum key_class class, const struct value *a, const struct value *b)
{
    AUTO_BUF struct buf ka = BUF_INIT(BUF_NO_MAX), kb = BUF_INIT(BUF_NO_MAX);
    key_add(&ka, class, a);
    key_add(&kb, class, b);
    int c = key_compare(buf_str(&ka), buf_str(&kb));
    return (c > 0) - (c < 0);
}

static int
order(enum key_class class, enum value_type ta, const char *a, enum value_type tb,
      const char *b)
{
    struct value va = val(ta, a), vb = val(tb, b);
    return key_order(class, &va, &vb);
}

static void
test_key_identity(void)
{
    CHECK(order(KEY_TEXT, V_INT, "5", V_TEXT, "5") == 0);
    CHECK(order(KEY_INT, V_INT, "5", V_TEXT, "5") == 0);
    CHECK(order(KEY_INT, V_INT, "5", V_DECIMAL, "5.00") == 0);
    CHECK(order(KEY_INT, V_INT, "0", V_DECIMAL, "-0.0") == 0);
    CHECK(order(KEY_INT, V_INT, "5", V_TEXT, "05") != 0);
    CHECK(order(KEY_TEXT, V_DECIMAL, "1.0", V_DECIMAL, "1.00") == 0);
    CHECK(order(KEY_TEXT, V_DECIMAL, "+01.50", V_DECIMAL, "1.5") == 0);
    CHECK(order(KEY_TEXT, V_DECIMAL, "-.50", V_DECIMAL, "-0.5") == 0);
    CHECK(order(KEY_TEXT, V_DECIMAL, "100", V_DECIMAL, "1") != 0);
    CHECK(order(KEY_TEXT, V_DECIMAL, "1e5", V_DECIMAL, "1e5") == 0);
    CHECK(order(KEY_TEXT, V_TEXT, "1.0", V_TEXT, "1.00") != 0);
    CHECK(order(KEY_INT, V_INT, "-9223372036854775808", V_INT, "9223372036854775807") < 0);
    CHECK(order(KEY_INT, V_INT, "9223372036854775807", V_TEXT, "9223372036854775808") < 0);
    CHECK(order(KEY_INT, V_TEXT, "-9223372036854775809", V_INT, "0") > 0);
    CHECK(order(KEY_INT, V_INT, "9", V_TEXT, "10") < 0);
    CHECK(order(KEY_TEXT, V_INT, "9", V_INT, "10") > 0);
    CHECK(order(KEY_INT, V_NULL, "", V_INT, "-9223372036854775808") < 0);
    CHECK(order(KEY_TEXT, V_NULL, "", V_TEXT, "") < 0);
    CHECK(key_class_of(V_INT) == KEY_INT && key_class_of(V_DECIMAL) == KEY_TEXT);
}

static void
test_key_order_random(void)
{
    bool ints = true, texts = true, pairs = true, back = true;
    for (int i = 0; i < 20000; i++) {
        int64_t a = (int64_t)random_next() >> random_below(64);
        int64_t b = (int64_t)random_next() >> random_below(64);
        char ta[24], tb[24];
        snprintf(ta, sizeof ta, "%lld", (long long)a);
        snprintf(tb, sizeof tb, "%lld", (long long)b);
        ints = ints && order(KEY_INT, V_INT, ta, V_INT, tb) == (a > b) - (a < b);

        char ra[4], rb[4];
        struct value va = {ra, (uint32_t)random_below(5), V_BYTES}, vb = {rb, 0, V_BYTES};
        vb.n = (uint32_t)random_below(5);
        for (int k = 0; k < 4; k++) {
            ra[k] = "\0\1\xFF\xFE"[random_below(4)];
            rb[k] = "\0\1\xFF\xFE"[random_below(4)];
        }
        int c = key_compare((struct str){ra, va.n}, (struct str){rb, vb.n});
        c = (c > 0) - (c < 0);
        texts = texts && key_order(KEY_TEXT, &va, &vb) == c;

        AUTO_BUF struct buf ka = BUF_INIT(BUF_NO_MAX), kb = BUF_INIT(BUF_NO_MAX);
        AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
        key_add(&ka, KEY_TEXT, &va);
        key_add(&ka, KEY_INT, &(struct value){ta, (uint32_t)strlen(ta), V_INT});
        key_add(&kb, KEY_TEXT, &vb);
        key_add(&kb, KEY_INT, &(struct value){tb, (uint32_t)strlen(tb), V_INT});
        int want = c ? c : (a > b) - (a < b), got = key_compare(buf_str(&ka), buf_str(&kb));
        pairs = pairs && (got > 0) - (got < 0) == want;

        const char *p = ka.p, *end = ka.p + ka.n;
        back = back && key_next(&p, end, &text) == 1 && text.n == va.n &&
               memcmp(buf_z(&text), ra, va.n) == 0;
        buf_clear(&text);
        back =
            back && key_next(&p, end, &text) == 1 && strcmp(buf_z(&text), ta) == 0 && p == end;
    }
    CHECK_MSG(ints, "integer keys are in numeric order");
    CHECK_MSG(texts, "text keys are in byte order");
    CHECK_MSG(pairs, "pairs are in the order of their components");
    CHECK_MSG(back, "components are read back");
}

static void
test_key_hostile(void)
{
    bool safe = true;
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    for (int i = 0; i < 20000; i++) {
        char bytes[12];
        size_t n = random_below(sizeof bytes + 1);
        for (size_t k = 0; k < n; k++)
            bytes[k] = "\x08\x10\x20\0\1\xFFz"[random_below(7)];
        char *copy = malloc(n + 1); /* exact, so that ASan sees a read beyond */
        char *exact = realloc(copy, n ? n : 1);
        memcpy(exact, bytes, n);
        const char *p = exact;
        buf_clear(&text);
        while (key_next(&p, exact + n, &text) >= 0)
            ;
        safe = safe && p <= exact + n;
        free(exact);
    }
    CHECK_MSG(safe, "random bytes as keys do no harm");
}

/* Words of others on a terminal: one line, as long as before. */
static void
test_clean(void)
{
    static const char *const texts[][2] = {
        {"", ""},
        {"a\tb\nc\r\x1b[31m\x7f", "a b?c??[31m?"},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xE2\x80\x8D",
         "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xE2\x80\x8D"},
        {"\xC2\x9B"
         "1m\xC2\xA0",
         "??1m\xC2\xA0"},
        /* NOLINTNEXTLINE(misc-misleading-bidirectional): which is what is tested */
        {"x\xE2\x80\xA8y\xE2\x80\xAEz\xE2\x81\xA9", "x???y???z???"},
        {"\xFF\xC3(\xE2\x82", "?"
                              "?("
                              "?"
                              "?"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char z[64];
        snprintf(z, sizeof z, "%s", texts[i][0]);
        utf8_clean(z);
        CHECK_TEXT(z, texts[i][1]);
    }
    struct error err = ERROR_INIT;
    error_set(&err, ERR_DATA, EINVAL, "no \"%s\"", "x\nstate: ready");
    error_wrap(&err, "table %s", "\x1b[2J");
    CHECK_TEXT(err.text, "table ?[2J: no \"x?state: ready\"");
}

static void
test_names(void)
{
    CHECK(value_type_parse(STR("timestamp with time zone")) == V_TIMESTAMPTZ);
    CHECK(value_type_parse(STR("timestamptz")) == V_TIMESTAMPTZ);
    CHECK(value_type_parse(STR("int")) == -1);
    for (int t = V_NULL; t <= V_JSON; t++)
        CHECK(value_type_parse(str_of(value_type_name(t))) == t);
    for (int m = 0; m < MODE_COUNT; m++)
        CHECK(mode_parse(str_of(mode_name(m))) == m);
    CHECK(mode_parse(STR("mirrors")) == -1);
}

int
main(void)
{
    random_start();
    test_json();
    test_json_size();
    test_limits();
    test_csv_and_names();
    test_records();
    test_utf8();
    test_key_identity();
    test_key_order_random();
    test_key_hostile();
    test_names();
    test_clean();
    return tap_done();
}
