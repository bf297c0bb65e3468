/* The CSV driver: what RFC 4180 leaves open and what it does not, errors with their lines. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../unit/tap.h"
#include "base/cleanup.h"
#include "drive.h"
#include "lib/cast.h"

extern const struct driver driver_csv;

#define L(literal) (literal), sizeof(literal) - 1

static struct arena arena;
static char path[4200];

static char *
name_in(const char *name)
{
    return arena_printf(&arena, "%s/%s", drive_directory(), name);
}

/* Reads bytes as a CSV file; the path in errors becomes F. */
static char *
read_as(const char *bytes, size_t n, void *connection, const char *types)
{
    drive_file(path, bytes, n);
    struct drive_source s = {.driver = &driver_csv, .connection = connection};
    if (types)
        s.model.options =
            drive_options(driver_csv.source_options, driver_csv.source_options_size, &arena,
                          "types", types, NULL);
    char *text = drive_read(&s), *at;
    while ((at = strstr(text, path))) {
        *at = 'F';
        memmove(at + 1, at + strlen(path), strlen(at + strlen(path)) + 1);
    }
    return text;
}

#define OPTIONS(...)                                                                           \
    drive_options(driver_csv.options, driver_csv.options_size, &arena, "path", path,           \
                  ##__VA_ARGS__, NULL)

static void
check(const char *csv, const char *want)
{
    AUTO_FREE char *got = read_as(csv, strlen(csv), OPTIONS(), NULL);
    tap_check_text(got, want, csv, __FILE__, __LINE__);
}

static void
test_format(void)
{
    check("a,b,c\n1,2,3\n", "t:1|t:2|t:3\n");
    check("a,b,c\n1,2,3", "t:1|t:2|t:3\n");
    check("a,b,c\r\n1,2,3\r\n4,5,6\r\n", "t:1|t:2|t:3\nt:4|t:5|t:6\n");
    check("\xEF\xBB\xBF\"a\",b\n1,2\n", "t:1|t:2\n");
    check("a,b\n\"1,5\",\"x \"\"y\"\" z\"\n", "t:1,5|t:x \"y\" z\n");
    check("a,b\n\"\"\"\",\"\"\"\"\"\"\n", "t:\"|t:\"\"\n");
    check("a,b\n\"one\ntwo\",\"three\r\nfour\"\n", "t:one\ntwo|t:three\r\nfour\n");
    check("a,b,c\n,\"\",\n", "n|t:|n\n");
    check("a,b\n1,", "t:1|n\n");
    check("a,b\n1,\"\"", "t:1|t:\n");
    check("a,b\n 1 , 2\t\n", "t: 1 |t: 2\t\n");
    check("a,b\n\xCA\xA4,\xE2\x82\xAC\n", "t:\xCA\xA4|t:\xE2\x82\xAC\n");
    check("a,b\n{\"x\n", "error: data: F:2: quote inside an unquoted cell");
    check("a,b\n\"{\"\"x\"\": 1}\",2\n", "t:{\"x\": 1}|t:2\n");
    check("a,b\n1,2\n\n3,4\n\n", "t:1|t:2\nt:3|t:4\n");
    check("a\n1\n\n3\n", "t:1\nn\nt:3\n");
    check("a,b\n", "");
    check("a,b", "");
}

static void
test_errors(void)
{
    check("", "error: data: F: empty, without even a header");
    check("a,b\n1,x\"y\n", "error: data: F:2: quote inside an unquoted cell");
    check("a,b\n1,2\n\"3\nx\",\"4\n5\n", "t:1|t:2\nerror: data: F:4: the quoted cell that "
                                         "begins here never ends");
    check("a,b\n\"1\"x,2\n", "error: data: F:2: text after the closing quote");
    check("a,b\n1,\"2\" \n", "error: data: F:2: text after the closing quote");
    check("a,b\n1\n", "error: data: F:2: 1 cells where there are 2 columns");
    check("a,b\n1,2,3\n", "error: data: F:2: 3 cells where there are 2 columns");
    check("a,b\n\"x\n\n\",2\n1\n", "t:x\n\n|t:2\nerror: data: F:5: 1 cells where there are 2 "
                                   "columns");
    check("a,b\n1,2\rx\n", "error: data: F:2: carriage return without newline in an unquoted "
                           "cell");
    check("a,b\n1,2\r",
          "error: data: F:2: carriage return without newline in an unquoted cell");
    check("a,b\n1,\"x\ny\xFF\"\n", "error: data: F:3: not valid UTF-8");
    check("a,a\n", "error: data: F:1: column \"a\" stands there twice");
    check("a,,b\n", "error: data: F:1: column 2 has no name");
    AUTO_FREE char *got = read_as(L("a,b\n1,x\0y\n"), OPTIONS(), NULL);
    CHECK_TEXT(got, "error: data: F:2: NUL byte");
    AUTO_FREE char *quoted = read_as(L("a,b\n1,\"x\n\0y\"\n"), OPTIONS(), NULL);
    CHECK_TEXT(quoted, "error: data: F:3: NUL byte");
}

static void
test_options(void)
{
    AUTO_FREE char *tabs =
        read_as(L("a\tb\n1,5\t'x''y'\n"), OPTIONS("delimiter", "\t", "quote", "'"), NULL);
    CHECK_TEXT(tabs, "t:1,5|t:x'y\n");
    AUTO_FREE char *headless = read_as(L("1,2\n3,4\n"), OPTIONS("header", "false"), NULL);
    CHECK_TEXT(headless, "t:1|t:2\nt:3|t:4\n");
    AUTO_FREE char *null = read_as(L("a,b\n\\N,\n\"\\N\",x\n"), OPTIONS("null", "\\N"), NULL);
    CHECK_TEXT(null, "n|t:\nt:\\N|t:x\n");
    AUTO_FREE char *latin = read_as(L("n\xE4me,b\nM\xFCller,\"\xA4\"\"\xFF\"\n"),
                                    OPTIONS("encoding", "latin-1"), NULL);
    CHECK_TEXT(latin, "t:M\xC3\xBCller|t:\xC2\xA4\"\xC3\xBF\n");

    struct error err = ERROR_INIT;
    CHECK(driver_csv.check(OPTIONS("delimiter", ";", "quote", ";"), &err) == -EINVAL);
    CHECK(driver_csv.check(OPTIONS("delimiter", "\n"), &err) == -EINVAL);
    CHECK(driver_csv.check(OPTIONS(), &err) == 0);

    drive_file(path, L("x,y\n1,2\n"));
    struct drive_source s = {.driver = &driver_csv, .connection = OPTIONS("header", "false")};
    AUTO_FREE char *names = drive_describe(&s);
    CHECK_TEXT(names, "c1 text -\nc2 text -\n");
    s.columns = "c2";
    AUTO_FREE char *one = drive_read(&s);
    CHECK_TEXT(one, "t:y\nt:2\n");
}

static void
check_type(const char *type, const char *cell, const char *want)
{
    char *csv = arena_printf(&arena, "x\n%s\n", cell),
         *types = arena_printf(&arena, "x:%s", type);
    AUTO_FREE char *got = read_as(csv, strlen(csv), OPTIONS(), types);
    char *whole =
        want ? arena_printf(&arena, "%s\n", want)
             : arena_printf(&arena, "error: data: F:2: column \"x\": \"%s\" is not %s %s", cell,
                            strchr("aeiou", type[0]) ? "an" : "a", type);
    tap_check_text(got, whole, arena_printf(&arena, "%s %s", type, cell), __FILE__, __LINE__);
}

static void
test_types(void)
{
    static const struct {
        const char *type, *cell, *want;
    } cases[] = {
        {"integer", "42", "i:42"},
        {"integer", "+007", "i:7"},
        {"integer", "-0", "i:0"},
        {"integer", "9223372036854775807", "i:9223372036854775807"},
        {"integer", "-9223372036854775808", "i:-9223372036854775808"},
        {"integer", "9223372036854775808", NULL},
        {"integer", "abc", NULL},
        {"integer", "1.0", NULL},
        {"integer", " 1", NULL},
        {"integer", "-", NULL},
        {"decimal", "0.10", "d:0.10"},
        {"decimal", "+00.5", "d:0.5"},
        {"decimal", ".5", "d:0.5"},
        {"decimal", "5.", "d:5"},
        {"decimal", "-12345678901234567890.123456789", "d:-12345678901234567890.123456789"},
        {"decimal", "1e5", "d:1e5"},
        {"decimal", ".", NULL},
        {"decimal", "1e", NULL},
        {"float", "0.1", "f:0.1"},
        {"float", "0.10000000000000001", "f:0.1"},
        {"float", "1e300", "f:1e+300"},
        {"float", "1e999", NULL},
        {"float", "-inf", "f:-Infinity"},
        {"float", "nan", "f:NaN"},
        {"float", "0x10", NULL},
        {"boolean", "TRUE", "b:t"},
        {"boolean", "0", "b:f"},
        {"boolean", "yes", "b:t"},
        {"boolean", "2", NULL},
        {"date", "2024-02-29", "D:2024-02-29"},
        {"date", "2023-02-29", NULL},
        {"date", "2024-2-9", NULL},
        {"time", "13:05", "T:13:05:00"},
        {"time", "13:05:07.2500", "T:13:05:07.25"},
        {"time", "24:00", NULL},
        {"timestamp", "2024-01-31T13:05:00", "S:2024-01-31 13:05:00"},
        {"timestamp", "2024-01-31 13:05:00.5", "S:2024-01-31 13:05:00.5"},
        {"timestamp", "2024-01-31", NULL},
        {"timestamp with time zone", "2024-01-01T00:30:00+01:00", "Z:2023-12-31 23:30:00+00"},
        {"timestamp with time zone", "2024-02-28T23:30:00-0100", "Z:2024-02-29 00:30:00+00"},
        {"timestamp with time zone", "2024-01-01 00:00:00Z", "Z:2024-01-01 00:00:00+00"},
        {"timestamp with time zone", "2024-01-01 00:00:00", NULL},
        {"json", "[1.10]", "j:[1.10]"},
        {"json", "[1", NULL},
        {"bytes", "\\x6162", "x:ab"},
        {"bytes", "\\x616", NULL},
        {"text", "x", "t:x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_type(cases[i].type, cases[i].cell, cases[i].want);
    AUTO_FREE char *unknown = read_as(L("a\n1\n"), OPTIONS(), "b:integer");
    CHECK_TEXT(unknown, "error: config: types names column \"b\", which \"F\" does not have");
    AUTO_FREE char *null = read_as(L("a,b\n,1\n"), OPTIONS(), "a:integer");
    CHECK_TEXT(null, "n|t:1\n");
}

static unsigned
draw(uint64_t *seed, unsigned below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(*seed >> 33) % below;
}

/* The quick way for amounts gives what trying 15, 16, 17 digits gives. */
static void
test_doubles(void)
{
    uint64_t seed = 11;
    bool same = true;
    for (int i = 0; i < 200000; i++) {
        double scale = 1, d = (double)draw(&seed, 2000000000) - 1e9;
        for (unsigned k = draw(&seed, 9); k > 0; k--)
            scale *= 10;
        d /= scale;
        if (i % 4 == 3)
            d = nextafter(d, 1e9);
        char got[CAST_DOUBLE_MAX], want[64];
        cast_double(d, got);
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(want, sizeof want, "%.*g", digits, d);
            if (strtod(want, NULL) == d)
                break;
        }
        same &= strcmp(got, want) == 0;
    }
    CHECK(same);
}

static void
test_globs(void)
{
    drive_file(name_in("g2.csv"), L("b,a\n3,4\n"));
    drive_file(name_in("g1.csv"), L("a,b\n1,2\n"));
    struct drive_source s = {.driver = &driver_csv};
    s.connection = drive_options(driver_csv.options, driver_csv.options_size, &arena, "path",
                                 name_in("g*.csv"), NULL);
    AUTO_FREE char *both = drive_read(&s);
    CHECK_TEXT(both, "t:1|t:2\nt:4|t:3\n");
    drive_file(name_in("g3.csv"), L("a,c\n1,2\n"));
    AUTO_FREE char *other = drive_read(&s);
    CHECK(strstr(other, "g3.csv:1: column \"c\" is not in the header of") != NULL);
    drive_file(name_in("g3.csv"), L("b,b\n1,2\n"));
    AUTO_FREE char *twice = drive_read(&s);
    CHECK(strstr(twice, "g3.csv:1: column \"b\" stands there twice") != NULL);
    drive_file(name_in("g3.csv"), L("a\n1\n"));
    AUTO_FREE char *fewer = drive_read(&s);
    CHECK(strstr(fewer, "g3.csv:1: 1 columns, but") != NULL);

    s.connection = drive_options(driver_csv.options, driver_csv.options_size, &arena, "path",
                                 name_in("none*.csv"), NULL);
    AUTO_FREE char *none = drive_read(&s);
    CHECK(strstr(none, "error: config: no file matches") == none);
    s.connection = drive_options(driver_csv.options, driver_csv.options_size, &arena, "path",
                                 drive_directory(), NULL);
    AUTO_FREE char *directory = drive_read(&s);
    CHECK(strstr(directory, "is a directory") != NULL);
    s.connection = drive_options(driver_csv.options, driver_csv.options_size, &arena, "path",
                                 "/dev/null", NULL);
    AUTO_FREE char *device = drive_read(&s);
    CHECK(strstr(device, "is not a regular file") != NULL);
    drive_file(name_in("odd[1].csv"), L("a\n1\n"));
    s.connection = drive_options(driver_csv.options, driver_csv.options_size, &arena, "path",
                                 name_in("odd[1].csv"), NULL);
    AUTO_FREE char *odd = drive_read(&s);
    CHECK_TEXT(odd, "t:1\n");
}

/* Rows from..to of a file, their ids between the texts; `odd` stands in for the last one. */
static void
number_rows(const char *name, const char *header, const char *before, const char *after,
            int from, int to, int odd)
{
    AUTO_BUF struct buf csv = BUF_INIT(BUF_NO_MAX);
    buf_addf(&csv, "%s\n", header);
    for (int i = from; i <= to; i++)
        buf_addf(&csv, "%s%d%s", before, i == to ? odd : i, after);
    drive_file(name_in(name), csv.p, csv.n);
}

static bool
guessed(const char *pattern, const char *order)
{
    struct drive_source s = {.driver = &driver_csv,
                             .connection =
                                 drive_options(driver_csv.options, driver_csv.options_size,
                                               &arena, "path", name_in(pattern), NULL),
                             .order = order};
    s.model.options = drive_options(driver_csv.source_options, driver_csv.source_options_size,
                                    &arena, "types", "id:integer", NULL);
    AUTO_FREE char *plan = drive_plan(&s);
    bool yes = strstr(plan, " guessed") != NULL;
    CHECK_MSG(strncmp(plan, yes ? "ordered=1" : "ordered=0", 9) == 0, plan);
    return yes;
}

#define WORDS "some more words so that there are about ninety bytes to a row"

/* Large files whose rows seem to come in the identifier's order are said to. */
static void
test_order(void)
{
    enum { MANY = 60000, LAST = MANY + 1000 };
    static const char header[] = "id,a,b,c", other[] = "c,b,a,id";
    static const char after[] = ",\"{\"\"tag\"\": 1}\",\"two\nlines, 1\"," WORDS "\n";
    static const char before[] = "\"" WORDS "\",\"one\n2,3,4,5\",\"{}, {}, {}\",";
    number_rows("o1.csv", header, "", after, 1, MANY, MANY);
    CHECK(guessed("o1.csv", "id"));
    CHECK(!guessed("o1.csv", NULL));
    CHECK(guessed("o1.csv", "b,a")); /* always the same */
    number_rows("p1.csv", header, "", after, 1, 1000, 1000);
    CHECK(!guessed("p1.csv", "id")); /* not worth it */

    /* what was looked at is read all the same */
    struct drive_source s = {.driver = &driver_csv, .columns = "id", .order = "id"};
    s.connection = drive_options(driver_csv.options, driver_csv.options_size, &arena, "path",
                                 name_in("o1.csv"), NULL);
    AUTO_FREE char *read = drive_read(&s);
    size_t rows = 0;
    for (const char *p = read; (p = strchr(p, '\n')); p++)
        rows++;
    CHECK(rows == MANY && strncmp(read, "t:1\nt:2\n", 8) == 0);

    /* on in the next file, whose columns stand otherwise; back in a third one */
    number_rows("o2.csv", other, before, "\n", MANY, LAST, LAST);
    CHECK(guessed("o[0-9].csv", "id"));
    number_rows("o3.csv", other, before, "\n", 2, 2, 2);
    CHECK(!guessed("o[0-9].csv", "id"));
    /* an older row at the end; numbers that get longer; as texts they descend */
    number_rows("q.csv", header, "", after, 1, MANY, 7);
    CHECK(!guessed("q.csv", "id"));
    number_rows("q.csv", header, "", after, -MANY, 0, 0);
    CHECK(guessed("q.csv", "id"));
    number_rows("q.csv", "c,a,b,id", "", "," WORDS "," WORDS ",\n", -MANY, 0, 0);
    CHECK(!guessed("q.csv", "c"));
    /* rows that do not fit tell nothing */
    number_rows("q.csv", header, "x", after, 1, MANY, 1);
    CHECK(guessed("q.csv", "id"));
}

static int
ignore_row(void *arg, const struct value *values, struct error *err)
{
    ++*(size_t *)arg;
    return 0;
}

/* Changes the file between open and the end of the reading. */
static void
test_changed(void)
{
    const char *columns[] = {"a"};
    struct projection p = {.columns = columns, .n = 1};
    for (int how = 0; how < 3; how++) {
        drive_file(path, L("a\n1\n2\n"));
        struct error err = ERROR_INIT;
        struct model model = {0};
        struct schema schema;
        struct source_plan plan;
        size_t rows = 0;
        void *h;
        CHECK(driver_csv.source_open(OPTIONS(), &model, &h, &err) == 0);
        CHECK(driver_csv.source_describe(h, &schema, &err) == 0);
        CHECK(driver_csv.source_plan(h, &p, true, &plan, &err) == 0);
        CHECK(!plan.ordered && plan.rows >= 2 && plan.rows <= 4 && !plan.rows_exact);
        if (how == 0)
            drive_file(path, L("a\n1\n2\n3\n"));
        if (how == 1) {
            drive_file(name_in("new"), L("a\n1\n2\n"));
            CHECK(rename(name_in("new"), path) == 0);
        }
        if (how == 2)
            driver_csv.source_cancel(h);
        CHECK(driver_csv.source_read(h, ignore_row, &rows, &err) < 0);
        CHECK(how == 2 ? err.kind == ERR_CANCELLED
                       : strstr(err.text, "changed while it was read") != NULL);
        driver_csv.source_close(h);
    }
}

/* Random tables in, written by rules of their own, must come out the same, whatever the
 * window's edge cuts. */
static void
random_cell(uint64_t *seed, struct buf *csv, struct buf *want, bool big)
{
    static const char *const atoms[] = {"a",   ",", "\"", "\n",       "\r\n", "\r",
                                        "x y", " ", "\t", "ü",        "€",    "𝄞",
                                        ";",   "0", "'",  "long text"};
    char cell[20000];
    size_t n = 0, parts = big ? draw(seed, 2000) : draw(seed, 6);
    bool quote = draw(seed, 2);
    if (draw(seed, 8) == 0) {
        buf_addc(want, 'n');
        return;
    }
    for (size_t i = 0; i < parts; i++) {
        const char *atom = atoms[draw(seed, sizeof atoms / sizeof *atoms)];
        quote |= strpbrk(atom, ",\"\r\n") != NULL;
        memcpy(cell + n, atom, strlen(atom));
        n += strlen(atom);
    }
    quote |= n == 0;
    buf_adds(want, "t:");
    buf_add(want, cell, n);
    if (quote)
        buf_addc(csv, '"');
    for (size_t i = 0; i < n; i++) {
        if (cell[i] == '"')
            buf_addc(csv, '"');
        buf_addc(csv, cell[i]);
    }
    if (quote)
        buf_addc(csv, '"');
}

static void
test_random(void)
{
    for (uint64_t round = 1; round <= 60; round++) {
        uint64_t seed = round * 7919;
        AUTO_BUF struct buf csv = BUF_INIT(BUF_NO_MAX), want = BUF_INIT(BUF_NO_MAX);
        unsigned columns = 1 + draw(&seed, 6), rows = round % 10 == 0 ? 3000 : draw(&seed, 50);
        const char *end = draw(&seed, 2) ? "\n" : "\r\n";
        for (unsigned c = 0; c < columns; c++)
            buf_addf(&csv, "%sc%u", c ? "," : "", c);
        for (unsigned r = 0; r < rows; r++) {
            buf_adds(&csv, end);
            for (unsigned c = 0; c < columns; c++) {
                if (c) {
                    buf_addc(&csv, ',');
                    buf_addc(&want, '|');
                }
                random_cell(&seed, &csv, &want, round % 20 == 0 && draw(&seed, 20) == 0);
            }
            buf_addc(&want, '\n');
        }
        buf_adds(&csv, end);
        AUTO_FREE char *got = read_as(csv.p, csv.n, OPTIONS(), NULL);
        CHECK_MSG(strcmp(got, buf_z(&want)) == 0, "a random table comes back");
    }
}

/* One or two doubled quotes at every place of cells of every length. */
static void
test_doubled_quotes(void)
{
    enum { MOST = 36 };
    AUTO_BUF struct buf csv = BUF_INIT(BUF_NO_MAX), want = BUF_INIT(BUF_NO_MAX);
    buf_adds(&csv, "a,b\n");
    for (int n = 1; n < MOST; n++)
        for (int one = 0; one < n; one++)
            for (int other = one; other < n; other += 1 + other / 3) {
                buf_adds(&csv, "\"");
                buf_adds(&want, "t:");
                for (int i = 0; i < n; i++) {
                    bool quote = i == one || i == other;
                    buf_adds(&csv, quote ? "\"\"" : "x");
                    buf_addc(&want, quote ? '"' : 'x');
                }
                buf_adds(&csv, "\",\"y\"\"\"\n");
                buf_adds(&want, "|t:y\"\n");
            }
    AUTO_FREE char *got = read_as(csv.p, csv.n, OPTIONS(), NULL);
    CHECK_MSG(strcmp(got, buf_z(&want)) == 0, "doubled quotes come back as one");
    AUTO_FREE char *latin = read_as(csv.p, csv.n, OPTIONS("encoding", "latin-1"), NULL);
    CHECK_MSG(strcmp(latin, buf_z(&want)) == 0, "in ISO 8859-1 too");
}

/* Whatever is cut off, what is told before is a beginning of the whole. */
static void
test_cut(void)
{
    static const char csv[] = "id,note\n1,\"a \"\"b\"\"\nc\"\n2,ü€\r\n3,\"\"\n4,\n";
    AUTO_FREE char *whole = read_as(csv, sizeof csv - 1, OPTIONS(), NULL);
    CHECK_TEXT(whole, "t:1|t:a \"b\"\nc\nt:2|t:ü€\nt:3|t:\nt:4|n\n");
    bool good = true;
    for (size_t n = 0; n < sizeof csv - 1; n++) {
        AUTO_FREE char *got = read_as(csv, n, OPTIONS(), "id:integer");
        char *error = strstr(got, "error: ");
        /* Complete lines before the last one told must be as in the whole. */
        char *line = got, *last = got;
        for (; (line = strstr(line, "\ni:")); line++)
            last = line + 1;
        if (error)
            *error = '\0';
        for (char *c = got; (c = strstr(c, "i:"));)
            *c = 't';
        if (!error && n > 8 && *last && strncmp(whole, got, (size_t)(last - got)) != 0)
            good = false;
        if (error && n > 8 && strncmp(whole, got, strlen(got)) != 0)
            good = false;
    }
    CHECK(good);
}

int
main(void)
{
    snprintf(path, sizeof path, "%s/x.csv", drive_directory());
    test_format();
    test_errors();
    test_options();
    test_types();
    test_doubles();
    test_globs();
    test_order();
    test_changed();
    test_random();
    test_doubled_quotes();
    test_cut();
    arena_done(&arena);
    return tap_done();
}
