/* Templates of HTTP bodies: what is written for which rows, and what no template may be. */
#include "base/clock.h"
#include "http/body.h"
#include "unit/tap.h"

static const struct column fields[] = {
    {.name = "id"},          {.name = "name"},     {.name = "address.city"},
    {.name = "address.zip"}, {.name = "phones.0"}, {.name = "phones.1"},
    {.name = "extra"},
};
enum { FIELDS = sizeof fields / sizeof *fields };
static const size_t key[] = {0};
static const unsigned char identities[8][32] = {{0xab, 0xcd, 0xef, 1, 2, 3, 4, 5}, {0x99}};

static struct value
text(const char *z)
{
    return (struct value){.p = z, .n = (uint32_t)strlen(z), .type = V_TEXT};
}

static struct value
typed(enum value_type type, const char *z)
{
    return (struct value){.p = z, .n = (uint32_t)strlen(z), .type = type};
}

static const json_t *
option(void *arg, const char *name)
{
    return json_object_get(arg, name);
}

static struct body_settings
settings(void)
{
    return (struct body_settings){
        .fields = fields, .nfields = FIELDS, .key = key, .nkey = 1, .option = option};
}

/* What the template gives for the changes; the error when it is refused. */
static const char *
write_with(const char *template, const struct body_settings *set, const struct change *changes,
           size_t n)
{
    static struct buf out = BUF_INIT(BUF_NO_MAX);
    static struct error err;
    json_t *json = json_loads(template, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    struct body_settings with = *set;
    with.arg = json_pack("{s:s, s:i, s:[{s:s, s:[b, s]}]}", "token", "s3\"cret", "group", 7,
                         "blocks", "text", "*{address.city}* & {id}", "{id}", 1, "{id}");
    struct body *b = NULL;
    error_clear(&err);
    buf_clear(&out);
    int rc = json ? body_compile(json, &with, &b, &err) : -1;
    json_decref(json);
    json_decref(with.arg);
    if (rc < 0)
        return json ? err.text : "the test's template is no JSON";
    bool good = body_write(b, changes, n, identities, &out);
    body_free(b);
    return good ? buf_z(&out) : "damaged";
}

static const char *
write_rows(const char *template, const struct change *changes, size_t n)
{
    struct body_settings set = settings();
    return write_with(template, &set, changes, n);
}

static void
test_values(const struct change *rows)
{
    CHECK_TEXT(
        write_rows("{\"@rows\": {\"@record\": \"all\"}}", rows, 2),
        "[{\"id\":1,\"name\":\"A \\\"b\\\"\",\"address\":{\"city\":\"Ulm\",\"zip\":\"89073\"},"
        "\"phones\":[\"1\",\"2\"],\"extra\":{\"x\": [1]}},"
        "{\"id\":2,\"name\":null,\"address\":{\"city\":null,\"zip\":null},"
        "\"phones\":[null,null],\"extra\":null}]");
    CHECK_TEXT(
        write_rows(
            "{\"api_key\": {\"@option\": \"token\"}, \"n\": 1.50, \"events\": {\"@rows\": "
            "{\"user\": {\"@key\": true}, \"i\": {\"@index\": true}, \"g\": {\"@option\": "
            "\"group\"},"
            " \"insert_id\": {\"@identity\": 16}}}}",
            rows, 2),
        "{\"api_key\":\"s3\\\"cret\",\"n\":1.5,\"events\":["
        "{\"user\":1,\"i\":0,\"g\":7,\"insert_id\":\"abcdef0102030405\"},"
        "{\"user\":2,\"i\":1,\"g\":7,\"insert_id\":\"9900000000000000\"}]}");
    CHECK_TEXT(
        write_rows("{\"ids\": {\"@rows\": {\"@key_text\": true}}, \"all\": true}", rows, 2),
        "{\"ids\":[\"1\",\"2\"],\"all\":true}");
    CHECK_TEXT(
        write_rows(
            "{\"text\": {\"@field\": \"name\"}, \"p\": {\"@record\": \"rest\"}, \"e\": {}}",
            rows, 1),
        "{\"text\":\"A \\\"b\\\"\",\"p\":{\"name\":\"A "
        "\\\"b\\\"\",\"address\":{\"city\":\"Ulm\","
        "\"zip\":\"89073\"},\"phones\":[\"1\",\"2\"],\"extra\":{\"x\": [1]}},\"e\":{}}");
}

static void
test_nulls(const struct change *rows)
{
    struct body_settings set = settings();
    set.nulls = NULLS_OMIT;
    CHECK_TEXT(write_with("{\"@rows\": {\"@record\": \"all\", \"z\": 1}}", &set, rows + 1, 1),
               "[{\"id\":2,\"phones\":[null,null],\"z\":1}]");
    set.nulls = NULLS_EMPTY;
    set.strings = true;
    CHECK_TEXT(write_with("{\"@rows\": {\"@record\": \"all\"}}", &set, rows + 1, 1),
               "[{\"id\":\"2\",\"name\":\"\",\"address\":{\"city\":\"\",\"zip\":\"\"},"
               "\"phones\":[\"\",\"\"],\"extra\":\"\"}]");
}

static void
test_strings(void)
{
    const struct value values[FIELDS] = {
        typed(V_INT, "7"),           typed(V_BOOL, "t"),      typed(V_DECIMAL, "1.50"),
        typed(V_FLOAT, "NaN"),       typed(V_JSON, " \"a\""), typed(V_JSON, "{\"b\": 1}"),
        typed(V_DATE, "2026-11-21"),
    };
    const struct change row = {.op = OP_UPSERT, .after = values, .key = values};
    struct body_settings set = settings();
    set.strings = true;
    CHECK_TEXT(write_with("{\"@record\": \"all\"}", &set, &row, 1),
               "{\"id\":\"7\",\"name\":\"true\",\"address\":{\"city\":\"1.50\",\"zip\":"
               "\"NaN\"},\"phones\":[ \"a\",\"{\\\"b\\\": 1}\"],\"extra\":\"2026-11-21\"}");
}

static void
test_changed_only(const struct change *rows)
{
    struct body_settings set = settings();
    set.changed_only = true;
    struct buf before = BUF_INIT(BUF_NO_MAX);
    struct value was[FIELDS];
    memcpy(was, rows[0].after, sizeof was);
    was[3] = text("89077");
    record_pack(&before, was, FIELDS);
    struct change changed = rows[0];
    changed.before = buf_str(&before);
    CHECK_TEXT(write_with("{\"@rows\": {\"id\": {\"@key\": true}, \"@record\": \"rest\"}}",
                          &set, &changed, 1),
               "[{\"id\":1,\"address\":{\"zip\":\"89073\"}}]");
    CHECK_TEXT(write_with("{\"@rows\": {\"@record\": \"all\"}}", &set, &changed, 1),
               "[{\"id\":1,\"address\":{\"zip\":\"89073\"}}]");
    set.changed_whole = true;
    CHECK_TEXT(write_with("{\"@rows\": {\"@record\": \"all\"}}", &set, &changed, 1),
               "[{\"id\":1,\"address\":{\"city\":\"Ulm\",\"zip\":\"89073\"}}]");
    was[3] = text("89073");
    was[5] = text("3");
    buf_clear(&before);
    record_pack(&before, was, FIELDS);
    changed.before = buf_str(&before);
    CHECK_TEXT(write_with("{\"@rows\": {\"@record\": \"rest\"}}", &set, &changed, 1),
               "[{\"phones\":[\"1\",\"2\"]}]");
    CHECK_TEXT(write_with("{\"@rows\": {\"name\": {\"@field\": \"name\"}}}", &set, &changed, 1),
               "[{\"name\":\"A \\\"b\\\"\"}]");
    changed.before.n--;
    CHECK_TEXT(write_with("{\"@rows\": {\"@record\": \"rest\"}}", &set, &changed, 1),
               "damaged");
    CHECK_MSG(strlen(write_with("{\"@rows\": {\"@record\": \"rest\"}}", &set, rows, 1)) > 60,
              "a row that was never delivered is whole");
    buf_done(&before);
}

static void
test_deletes(void)
{
    const struct value keys[] = {typed(V_INT, "9"), text("b|c")};
    const size_t two[] = {0, 1};
    struct body_settings set = settings();
    set.key = two;
    set.nkey = 2;
    const struct change gone = {.op = OP_DELETE, .key = keys};
    CHECK_TEXT(
        write_with("{\"@rows\": [{\"@key\": true}, {\"@key_text\": true}]}", &set, &gone, 1),
        "[[[9,\"b|c\"],\"9|b|c\"]]");
}

/* Fields by their names where there need be none, and what the template does not name. */
static void
test_others(const struct change *rows)
{
    static const char user[] =
        "{\"@rows\": {\"user\": {\"@string?\": \"id\"}, \"a\": {\"@field?\": \"address\"}, "
        "\"n\": "
        "{\"@field?\": \"name\"}, \"x\": {\"@field?\": \"nowhere\"}, \"y\": {\"@string?\": "
        "\"nowhere\"}, \"t\": {\"@record\": \"others\"}}}";
    CHECK_TEXT(
        write_rows(user, rows, 2),
        "[{\"user\":\"1\",\"a\":{\"city\":\"Ulm\",\"zip\":\"89073\"},\"n\":\"A \\\"b\\\"\","
        "\"t\":{\"phones\":[\"1\",\"2\"],\"extra\":{\"x\": [1]}}},"
        "{\"user\":\"2\",\"a\":{\"city\":null,\"zip\":null},"
        "\"t\":{\"phones\":[null,null],\"extra\":null}}]");
    CHECK_TEXT(
        write_rows("{\"@rows\": [{\"@key\": true}, {\"@record\": \"key\"}, {\"@string?\": "
                   "\"extra\"}]}",
                   rows, 1),
        "[[1,{\"id\":1},\"{\\\"x\\\": [1]}\"]]");
    CHECK_TEXT(write_rows("{\"@field?\": \"a.b\"}", rows, 1),
               "/@field?: \"@field?\" wants a field's name, without dots");
    CHECK_TEXT(write_rows("{\"@string?\": 1}", rows, 1), "/@string?: wants a field's name");
}

static void
test_nulls_apart(const struct change *rows)
{
    static const char sets[] =
        "{\"@rows\": {\"@spread\": [{\"id\": {\"@key\": true}, \"set\": {\"@record\": "
        "\"values\"}}, "
        "{\"@with_nulls\": {\"id\": {\"@key\": true}, \"unset\": {\"@nulls\": \"names\"}}}]}}";
    struct value half[FIELDS];
    memcpy(half, rows[0].after, sizeof half);
    half[2] = half[6] = (struct value){.type = V_NULL};
    const struct change row = {.op = OP_UPSERT, .after = half, .key = half};
    CHECK_TEXT(
        write_rows(sets, rows, 2),
        "[{\"id\":1,\"set\":{\"name\":\"A \\\"b\\\"\",\"address\":{\"city\":\"Ulm\",\"zip\":"
        "\"89073\"},\"phones\":[\"1\",\"2\"],\"extra\":{\"x\": [1]}}},"
        "{\"id\":2,\"set\":{\"phones\":[null,null]}},"
        "{\"id\":2,\"unset\":[\"name\",\"address\",\"extra\"]}]");
    CHECK_TEXT(write_rows(sets, &row, 1),
               "[{\"id\":1,\"set\":{\"name\":\"A \\\"b\\\"\",\"address\":{\"zip\":\"89073\"},"
               "\"phones\":[\"1\",\"2\"]}},{\"id\":1,\"unset\":[\"extra\"]}]");
    static const char each[] =
        "{\"@rows\": {\"i\": {\"@key\": true}, \"u\": {\"@nulls\": {\"each\": \"-\"}}, \"z\": "
        "{\"@with_nulls\": 1}, \"e\": {}}}";
    CHECK_TEXT(
        write_rows(each, rows, 2),
        "[{\"i\":1,\"e\":{}},"
        "{\"i\":2,\"u\":{\"name\":\"-\",\"address\":\"-\",\"extra\":\"-\"},\"z\":1,\"e\":{}}]");
    CHECK_TEXT(write_rows("{\"@nulls\": \"all\"}", rows, 1),
               "/@nulls: \"@nulls\" is \"names\", or has \"each\"");
}

static const char *
time_as(const char *unit, enum value_type type, const char *z)
{
    static char template[128];
    struct value values[FIELDS] = {typed(V_INT, "1"), typed(type, z)};
    const struct change row = {.op = OP_INSERT, .after = values, .key = values};
    snprintf(template, sizeof template,
             "{\"t\": {\"@time\": {\"field\": \"name\", \"as\": \"%s\"}}}", unit);
    return write_rows(template, &row, 1);
}

static void
test_times(void)
{
    const char *noon = "2026-11-21 12:00:00.0078+00";
    CHECK_TEXT(time_as("milliseconds", V_TIMESTAMPTZ, noon), "{\"t\":1795262400007}");
    CHECK_TEXT(time_as("seconds", V_TIMESTAMPTZ, noon), "{\"t\":1795262400}");
    CHECK_TEXT(time_as("iso", V_TIMESTAMPTZ, noon), "{\"t\":\"2026-11-21T12:00:00.0078Z\"}");
    CHECK_TEXT(time_as("iso", V_TIMESTAMP, "2026-11-21 12:00:00.25"),
               "{\"t\":\"2026-11-21T12:00:00.25Z\"}");
    CHECK_TEXT(time_as("seconds", V_TIMESTAMP, "1969-12-31 23:59:59.9"), "{\"t\":-1}");
    CHECK_TEXT(time_as("milliseconds", V_DATE, "2026-11-21"), "{\"t\":1795219200000}");
    CHECK_TEXT(time_as("iso", V_DATE, "2026-11-21"), "{\"t\":\"2026-11-21T00:00:00Z\"}");
    CHECK_TEXT(time_as("seconds", V_INT, "1795262400"), "{\"t\":1795262400}");
    CHECK_TEXT(time_as("seconds", V_TIMESTAMPTZ, "infinity"), "{\"t\":\"infinity\"}");
    CHECK_TEXT(time_as("milliseconds", V_TIMESTAMP, "12026-11-21 12:00:00"),
               "{\"t\":\"12026-11-21T12:00:00\"}");
    CHECK_TEXT(time_as("milliseconds", V_NULL, ""), "{}");
    CHECK_TEXT(
        time_as("days", V_DATE, "2026-11-21"),
        "/t/@time: \"@time\" wants \"field\", and \"as\": \"seconds\", \"milliseconds\" or "
        "\"iso\"");
}

static void
test_events(const struct change *rows)
{
    struct body_settings set = settings();
    static const char template[] =
        "{\"e\": {\"@event\": \"name\"}, \"p\": {\"@record\": \"others\"}}";
    set.events = true;
    set.event = "Order \"paid\"";
    CHECK_MSG(strncmp(write_with(template, &set, rows, 1),
                      "{\"e\":\"Order \\\"paid\\\"\",\"p\":{\"id\":1,\"name\":", 37) == 0,
              "one name for all");
    set.event = NULL;
    set.event_field = 0;
    CHECK_MSG(
        strncmp(write_with(template, &set, rows, 1), "{\"e\":\"1\",\"p\":{\"name\":", 21) == 0,
        "a field's name, which is no property");
    CHECK_TEXT(write_rows(template, rows, 1), "/e/@event: rows are no events here");
}

/* What is gone is known by its identifier, and as it was delivered. */
static void
test_gone(const struct change *rows)
{
    struct body_settings set = settings();
    struct buf before = BUF_INIT(BUF_NO_MAX);
    record_pack(&before, rows[0].after, FIELDS);
    const struct change gone[] = {
        {.op = OP_DELETE, .key = rows[0].after, .before = buf_str(&before)},
        {.op = OP_DELETE, .key = rows[1].after}};
    CHECK_TEXT(
        write_with("{\"@rows\": [{\"@field\": \"id\"}, {\"@field\": \"name\"}, {\"@text\": "
                   "\"{id}\"}]}",
                   &set, gone, 2),
        "[[1,\"A \\\"b\\\"\",\"1\"],[2,null,\"2\"]]");
    buf_done(&before);
}

static usec_t
at_noon(void)
{
    return 1795262400LL * 1000000 + 7890;
}

static void
test_surroundings(const struct change *rows)
{
    struct body_settings set = settings();
    set.object = "Con\"tact";
    clock_replace(at_noon);
    CHECK_TEXT(write_with("{\"o\": {\"@object\": true}, \"s\": {\"@now\": \"seconds\"},"
                          " \"m\": {\"@now\": \"milliseconds\"}, \"i\": {\"@now\": \"iso\"}}",
                          &set, rows, 1),
               "{\"o\":\"Con\\\"tact\",\"s\":1795262400,\"m\":1795262400007,"
               "\"i\":\"2026-11-21T12:00:00Z\"}");
    clock_replace(NULL);
    CHECK_TEXT(write_rows("{\"@object\": true}", NULL, 0),
               "/@object: the destination names no object");
    CHECK_TEXT(write_rows("{\"@now\": \"day\"}", NULL, 0),
               "/@now: \"@now\" is \"seconds\", \"milliseconds\" or \"iso\"");
}

static void
test_texts(const struct change *rows)
{
    struct body_settings set = settings();
    CHECK_TEXT(write_rows("{\"@rows\": {\"@text\": \"<{name|nobody}> {{x} {extra} \\n{id}\"}}",
                          rows, 2),
               "[\"<A \\\"b\\\"> {x} {\\\"x\\\": [1]} \\n1\",\"<nobody> {x}  \\n2\"]");
    CHECK_TEXT(write_rows("{\"a\": {\"@text\": {\"@option\": \"none\"}}, \"b\": {\"@text\": "
                          "{\"@option\": \"blocks\"}}}",
                          rows, 1),
               "{\"b\":[{\"text\":\"*Ulm* & 1\",\"{id}\":[true,\"1\"]}]}");
    const struct value markup[FIELDS] = {typed(V_INT, "1"), text("<!channel> & \"co\"")};
    const struct change row = {.op = OP_INSERT, .after = markup, .key = markup};
    json_t *members = json_pack("[s]", "text");
    set.markup = members;
    CHECK_TEXT(write_with("{\"text\": {\"@text\": \"<{name}>\"}, \"url\": {\"@text\": "
                          "\"{name}\"}}",
                          &set, &row, 1),
               "{\"text\":\"<&lt;!channel&gt; &amp; \\\"co\\\">\",\"url\":\"<!channel> & "
               "\\\"co\\\"\"}");
    json_decref(members);
    CHECK_TEXT(write_rows("{\"j\": {\"@json\": {\"@rows\": {\"n\": {\"@field\": \"name\"}}}}, "
                          "\"k\": 1}",
                          rows, 2),
               "{\"j\":\"[{\\\"n\\\":\\\"A \\\\\\\"b\\\\\\\"\\\"},{\\\"n\\\":null}]\","
               "\"k\":1}");
}

static void
test_nulls_by_field(const struct change *rows)
{
    static const unsigned char nulls[FIELDS] = {[1] = NULLS_OMIT, [2] = NULLS_EMPTY};
    struct body_settings set = settings();
    set.field_nulls = nulls;
    CHECK_TEXT(write_with("{\"@record\": \"all\"}", &set, rows + 1, 1),
               "{\"id\":2,\"address\":{\"city\":\"\",\"zip\":null},\"phones\":[null,null],"
               "\"extra\":null}");
}

static void
test_refused(void)
{
    CHECK_TEXT(write_rows("{\"a\": {\"@text\": \"{nam}\"}}", NULL, 0),
               "no mapping gives field \"nam\"");
    CHECK_TEXT(write_rows("{\"a\": {\"@text\": \"{name\"}}", NULL, 0),
               "a brace that is not closed, or names nothing");
    CHECK_TEXT(write_rows("{\"a\": {\"@text\": 1}}", NULL, 0),
               "/a/@text: \"@text\" wants a text or an option");
    CHECK_TEXT(write_rows("{\"a\": {\"@json\": {\"@json\": 1}}}", NULL, 0),
               "/a/@json/@json: \"@json\" stands within \"@json\"");
    CHECK_TEXT(
        write_rows("{\"a\": {\"@rows\": {\"@rwo\": true}}}", NULL, 0),
        "/a/@rows/@rwo: no such action; known: @rows @field @key @key_text @identity @index "
        "@option @object @identifier @now @text @json @field? @string? @time "
        "@event @nulls @with_nulls @spread, and the members @record "
        "and @member");
    CHECK_TEXT(write_rows("{\"@rows\": {\"x\": {\"@field\": \"nmae\"}}}", NULL, 0),
               "no mapping gives field \"nmae\"");
    CHECK_TEXT(write_rows("{\"x\": {\"@option\": \"tokn\"}}", NULL, 0),
               "option \"tokn\" is not set");
    CHECK_TEXT(write_rows("{\"a\": {\"@rows\": 1}, \"b\": {\"@key\": true}}", NULL, 0),
               "/b/@key: no row here");
    CHECK_TEXT(write_rows("{\"@rows\": {\"x\": {\"@identity\": 8}}}", NULL, 0),
               "/@rows/x/@identity: \"@identity\" wants a number of digits, 16 to 64");
    CHECK_TEXT(write_rows("{\"@rows\": {\"@record\": \"some\"}}", NULL, 0),
               "/@rows/@record: \"@record\" is \"all\", \"rest\", \"others\", \"values\" or "
               "\"key\"");
    static const struct column clash[] = {{.name = "a"}, {.name = "a.b"}};
    static const struct column mixed[] = {{.name = "a.0"}, {.name = "a.b"}};
    static const struct column turned[] = {{.name = "a.1"}, {.name = "a.0"}};
    static const struct column empty[] = {{.name = "a..b"}};
    struct body_settings set = settings();
    set.nkey = 0;
    set.fields = clash;
    set.nfields = 2;
    const char *record = "{\"@rows\": {\"@record\": \"all\"}}";
    CHECK_TEXT(write_with(record, &set, NULL, 0),
               "field \"a\" is a value, and has fields below it");
    set.fields = mixed;
    CHECK_TEXT(write_with(record, &set, NULL, 0),
               "field \"a.0\" makes its parent both an array and an object");
    set.fields = turned;
    CHECK_TEXT(write_with(record, &set, NULL, 0),
               "field \"a.1\" is an element out of turn: they are 0, 1, 2 …");
    set.fields = empty;
    set.nfields = 1;
    CHECK_TEXT(write_with(record, &set, NULL, 0), "field \"a..b\" has an empty part");
}

int
main(void)
{
    const struct value full[FIELDS] = {
        typed(V_INT, "1"),
        text("A \"b\""),
        text("Ulm"),
        text("89073"),
        text("1"),
        text("2"),
        typed(V_JSON, "{\"x\": [1]}"),
    };
    const struct value nulls[FIELDS] = {typed(V_INT, "2")};
    const struct change rows[] = {
        {.op = OP_UPSERT, .after = full, .key = full},
        {.op = OP_UPSERT, .after = nulls, .key = nulls},
    };
    test_values(rows);
    test_nulls(rows);
    test_strings();
    test_changed_only(rows);
    test_deletes();
    test_surroundings(rows);
    test_texts(rows);
    test_nulls_by_field(rows);
    test_others(rows);
    test_nulls_apart(rows);
    test_times();
    test_events(rows);
    test_gone(rows);
    test_refused();
    return tap_done();
}
