/* What answers mean, by HTTP and by the rules of a manifest; and what no rule may be. */
#include "http/answer.h"
#include "http/pointer.h"
#include "unit/failing-memory.h"
#include "unit/tap.h"

enum { ROWS = 4 };

static const struct value keys[ROWS] = {
    {"10", 2, V_INT}, {"a\"b", 3, V_TEXT}, {"7", 1, V_TEXT}, {"x", 1, V_TEXT}};
static struct change changes[ROWS] = {
    {.key = &keys[0]}, {.key = &keys[1]}, {.key = &keys[2]}, {.key = &keys[3]}};
static struct outcome out[ROWS];
static const unsigned char identities[ROWS][32] = {{0xa0}, {0xa1}, {0xa2}, {0xa3}};

static struct exchange
answer(int status, const char *head, const char *body)
{
    struct exchange x = {.end = END_ANSWERED, .status = status};
    buf_adds(&x.head, head);
    buf_adds(&x.body_back, body);
    return x;
}

static bool lacks_memory_to_judge;
static struct call_answer got;
static struct arena words = {0};

/* "fate: kinds of the rows": D done, R rejected (with code:words), T retry, ? unknown. */
static const char *
judge(const char *rules, struct exchange x)
{
    static char said[64 * 1024];
    struct answer_rules *r = NULL;
    struct error err = ERROR_INIT;
    json_t *json = rules ? json_loads(rules, 0, NULL) : NULL;
    struct call call = {
        .batch = {.changes = changes, .n = ROWS}, .out = out, .identities = identities};
    memset(out, 0, sizeof out);
    arena_clear(&words);
    int rc = rules && !json ? -1 : answer_compile(json, &r, &err);
    json_decref(json);
    if (rc < 0) {
        snprintf(said, sizeof said, "%s", err.text);
    } else {
        static const char *const fates[] = {"unknown",   "answered", "failed",  "refused",
                                            "too large", "denied",   "hopeless"};
        memory_fail_at(lacks_memory_to_judge, true);
        answer_judge(r, &x, &call, &words, &got);
        memory_fail_at(0, false);
        int n = snprintf(said, sizeof said, "%s:", fates[got.fate]);
        for (size_t i = 0; i < ROWS && (size_t)n < sizeof said; i++) {
            n += snprintf(said + n, sizeof said - (size_t)n, " %c", "?D-RTS"[out[i].kind]);
            if ((out[i].code || out[i].why) && (size_t)n < sizeof said)
                n += snprintf(said + n, sizeof said - (size_t)n, "(%s|%s)",
                              out[i].code ? out[i].code : "", out[i].why ? out[i].why : "");
        }
    }
    answer_free(r);
    exchange_done(&x);
    return said;
}

/* An answer that could not be read may hold what makes a 200 a refusal. */
static void
test_no_memory(void)
{
    static const char r[] =
        "{\"when\": [{\"pointer\": \"/ok\", \"is\": false, \"fate\": \"refused\"}]}";
    CHECK_TEXT(judge(r, answer(200, "", "{\"ok\": false}")), "refused: ? ? ? ?");
    lacks_memory_to_judge = true;
    CHECK_TEXT(judge(r, answer(200, "", "{\"ok\": false}")), "unknown: ? ? ? ?");
    CHECK_TEXT(judge(NULL, answer(200, "", "{}")), "unknown: ? ? ? ?");
    lacks_memory_to_judge = false;
    CHECK_TEXT(judge(NULL, answer(200, "", "{}")), "answered: D D D D");
}

/* Lists of identifiers. */
static void
test_keys(void)
{
    static const char *const r =
        "{\"rows\": {\"by\": \"key\", \"list\": \"/skipped\", \"why\": \"no such record\"}}";
    CHECK_TEXT(judge(r, answer(200, "", "{\"skipped\": [\"7\", 10]}")),
               "answered: R(|no such record) D R(|no such record) D");
    CHECK_TEXT(judge(r, answer(200, "", "{\"skipped\": [\"a\\\"b\"]}")),
               "answered: D R(|no such record) D D");
    CHECK_TEXT(judge(r, answer(200, "", "{}")), "answered: D D D D");
    /* somebody who was not sent, no list, no JSON: nobody knows */
    CHECK_TEXT(judge(r, answer(200, "", "{\"skipped\": [\"8\"]}")), "unknown: ? ? ? ?");
    CHECK_TEXT(judge(r, answer(200, "", "{\"skipped\": [null]}")), "unknown: ? ? ? ?");
    CHECK_TEXT(judge(r, answer(200, "", "{\"skipped\": \"7\"}")), "unknown: ? ? ? ?");
    CHECK_TEXT(judge(r, answer(200, "", "")), "unknown: ? ? ? ?");
    CHECK_TEXT(judge("{\"rows\": {\"by\": \"key\", \"list\": \"/e\", \"key\": \"/id\", "
                     "\"code\": \"/c\", \"words\": \"/w\", \"retry\": [\"busy\"]}}",
                     answer(200, "",
                            "{\"e\": [{\"id\": \"x\", \"c\": \"bad\", \"w\": \"no\"}, "
                            "{\"id\": 7, \"c\": \"busy\"}]}")),
               "answered: D D T(busy|) R(bad|no)");
    CHECK_TEXT(judge("{\"rows\": {\"by\": \"key\"}}", answer(200, "", "")),
               "/answer/rows: by key wants \"list\"");
}

static void
test_http(void)
{
    CHECK_TEXT(judge(NULL, answer(200, "", "")), "answered: D D D D");
    CHECK_TEXT(judge(NULL, answer(204, "", "")), "answered: D D D D");
    static const struct {
        int status;
        const char *fate;
    } cases[] = {{400, "refused"}, {401, "denied"},  {403, "hopeless"}, {404, "hopeless"},
                 {408, "failed"},  {409, "refused"}, {410, "hopeless"}, {413, "too large"},
                 {422, "refused"}, {425, "failed"},  {429, "failed"},   {500, "unknown"},
                 {502, "unknown"}, {503, "failed"},  {504, "unknown"},  {307, "hopeless"},
                 {600, "hopeless"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[64];
        snprintf(want, sizeof want, "%s: ? ? ? ?", cases[i].fate);
        CHECK_TEXT(judge(NULL, answer(cases[i].status, "", "no")), want);
    }
    CHECK_TEXT(got.error.text, "HTTP 600: no");
    judge(NULL, answer(302, "location: http://else/where\n", ""));
    CHECK_TEXT(got.error.text, "HTTP 302: redirects to \"http://else/where\" are not followed");
    struct exchange x = {.end = END_LOST, .why = "reset"};
    CHECK_TEXT(judge(NULL, x), "unknown: ? ? ? ?");
    CHECK(got.error.kind == ERR_UNKNOWN);
    x = (struct exchange){.end = END_UNSENT, .why = "no route"};
    CHECK_TEXT(judge(NULL, x), "failed: ? ? ? ?");
    CHECK(got.error.kind == ERR_UNREACHABLE);
    x = (struct exchange){.end = END_BARRED, .why = "a stranger"};
    CHECK_TEXT(judge(NULL, x), "hopeless: ? ? ? ?");
    CHECK(got.error.kind == ERR_CONFIG);
}

/* As Braze tells: those listed failed, by their number. */
static void
test_index(void)
{
    const char *rules =
        "{\"rows\": {\"by\": \"index\", \"list\": \"/errors\", \"index\": \"/index\", "
        "\"code\": \"/type\", \"words\": \"/message\", \"retry\": [\"locked\"]}}";
    CHECK_TEXT(judge(rules, answer(201, "", "{\"message\":\"success\"}")), "answered: D D D D");
    CHECK_TEXT(judge(rules, answer(201, "",
                                   "{\"errors\":[{\"type\":\"bad\",\"index\":2},"
                                   "{\"type\":\"locked\",\"message\":\"m\",\"index\":0}]}")),
               "answered: T(locked|m) D R(bad|) D");
    CHECK_TEXT(judge(rules, answer(201, "", "{\"errors\":[{\"index\":4}]}")),
               "unknown: ? ? ? ?");
    CHECK_TEXT(judge(rules, answer(201, "", "{\"errors\":[{\"index\":\"1\"}]}")),
               "unknown: ? ? ? ?");
    CHECK_TEXT(judge(rules, answer(201, "", "<html>")), "unknown: ? ? ? ?");
    CHECK_TEXT(got.error.text, "HTTP 201, but the answer does not tell of the rows: <html>");
    CHECK_TEXT(judge(rules, answer(201, "", "")), "unknown: ? ? ? ?");
}

/* As Salesforce's collections: an entry a row, in their order, in a 200. */
static void
test_each(void)
{
    const char *rules =
        "{\"rows\": {\"by\": \"index\", \"list\": \"\", \"done\": {\"pointer\": \"/success\", "
        "\"is\": true},"
        "\"code\": \"/errors/0/statusCode\", \"words\": \"/errors/0/message\"}}";
    CHECK_TEXT(judge(rules, answer(200, "",
                                   "[{\"success\":true},{\"success\":false,\"errors\":"
                                   "[{\"statusCode\":\"X\",\"message\":\"why\"}]},"
                                   "{\"success\":true},{}]")),
               "answered: D R(X|why) D R");
    CHECK_TEXT(judge(rules, answer(200, "", "[{\"success\":true}]")), "unknown: ? ? ? ?");
}

/* As Klaviyo refuses: the whole call, pointing at the guilty ones. */
static void
test_pointer(void)
{
    const char *rules =
        "{\"rows\": {\"by\": \"pointer\", \"list\": \"/errors\", \"pointer\": "
        "\"/source/pointer\","
        "\"prefix\": \"/data/profiles/\", \"code\": \"/code\", \"words\": \"/detail\"},"
        "\"error\": {\"words\": \"/errors/0/detail\"}}";
    const char *body = "{\"errors\":[{\"code\":\"invalid\",\"detail\":\"no phone\","
                       "\"source\":{\"pointer\":\"/data/profiles/3/phone\"}}]}";
    CHECK_TEXT(judge(rules, answer(400, "", body)), "refused: ? ? ? R(invalid|no phone)");
    CHECK_TEXT(got.error.text, "HTTP 400: no phone");
    CHECK_TEXT(
        judge(rules, answer(400, "", "{\"errors\":[{\"source\":{\"pointer\":\"/data\"}}]}")),
        "refused: ? ? ? ?");
    CHECK_TEXT(judge(rules, answer(202, "", "{}")), "answered: D D D D");
}

/* As HubSpot: only what is named among the results was written. */
static void
test_identity(void)
{
    const char *rules =
        "{\"rows\": {\"by\": \"identity\", \"done\": \"/results\", \"failed\": \"/errors\", "
        "\"identity\": \"/trace\", \"digits\": 16, \"code\": \"/category\", \"words\": "
        "\"/message\"}}";
    CHECK_TEXT(
        judge(rules,
              answer(207, "",
                     "{\"results\":[{\"trace\":\"a000000000000000\"},{\"trace\":"
                     "\"a300000000000000\"},"
                     "{\"trace\":\"other\"},{}],\"errors\":[{\"trace\":\"a100000000000000\","
                     "\"category\":\"C\",\"message\":\"m\"}]}")),
        "answered: D R(C|m) ? D");
    CHECK_TEXT(judge(rules, answer(200, "", "{\"results\":[]}")), "answered: ? ? ? ?");
}

/* As Slack, Mixpanel and Amplitude: success that hides failure, failure that hides success. */
static void
test_rules(void)
{
    const char *slack =
        "{\"when\": [{\"status\": 200, \"pointer\": \"/error\", \"is\": \"ratelimited\", "
        "\"fate\": \"failed\"},"
        "{\"status\": \"2xx\", \"pointer\": \"/ok\", \"not\": true, \"fate\": \"hopeless\"}],"
        "\"error\": {\"words\": \"/error\"}}";
    CHECK_TEXT(judge(slack, answer(200, "", "{\"ok\":true}")), "answered: D D D D");
    CHECK_TEXT(judge(slack, answer(200, "", "{\"ok\":false,\"error\":\"ratelimited\"}")),
               "failed: ? ? ? ?");
    CHECK_TEXT(judge(slack, answer(200, "", "{\"ok\":false,\"error\":\"channel_not_found\"}")),
               "hopeless: ? ? ? ?");
    CHECK_TEXT(got.error.text, "HTTP 200: channel_not_found");
    CHECK_TEXT(judge(slack, answer(200, "", "oops")), "hopeless: ? ? ? ?");
    const char *mixpanel = "{\"when\": [{\"status\": 400, \"pointer\": \"/failed_records\", "
                           "\"fate\": \"answered\"}],"
                           "\"rows\": {\"by\": \"index\", \"list\": \"/failed_records\", "
                           "\"index\": \"/index\", \"words\": \"/message\"}}";
    CHECK_TEXT(judge(mixpanel,
                     answer(400, "", "{\"failed_records\":[{\"index\":1,\"message\":\"m\"}]}")),
               "answered: D R(|m) D D");
    CHECK_TEXT(judge(mixpanel, answer(400, "", "{\"error\":\"all\"}")), "refused: ? ? ? ?");
    CHECK_TEXT(judge("{\"when\": [{\"status\": [400, 404], \"contains\": \"quota\", \"fate\": "
                     "\"failed\"}]}",
                     answer(404, "", "daily quota")),
               "failed: ? ? ? ?");
}

static usec_t
noon(void)
{
    return (usec_t)784111777 * 1000000; /* Sun, 06 Nov 1994 08:49:37 GMT */
}

static void
test_pace(void)
{
    usec_t now = noon();
    CHECK(answer_retry_after(STR("120"), now) == 120000000);
    CHECK(answer_retry_after(STR("Sun, 06 Nov 1994 08:50:07 GMT"), now) == 30000000);
    CHECK(answer_retry_after(STR("Sunday, 06-Nov-94 08:50:07 GMT"), now) == 30000000);
    CHECK(answer_retry_after(STR("Sun, 06 Nov 1994 08:49:00 GMT"), now) == 0);
    CHECK(answer_retry_after(STR("soon"), now) == 0 && answer_retry_after(STR("-5"), now) == 0);
    CHECK(answer_retry_after((struct str){NULL, 0}, now) == 0);
    clock_replace(noon);
    judge("{\"pace\": {\"remaining\": \"x-left\", \"reset\": \"x-reset\", \"reset_is\": "
          "\"epoch\"}}",
          answer(429, "retry-after: 7\nx-left: 0\nx-reset: 784111780\n", ""));
    CHECK(got.wait_us == 7000000 && got.counted && got.remaining == 0 &&
          got.reset_us == 3000000);
    judge("{\"pace\": {\"remaining\": \"x-left\", \"reset\": \"x-reset\", \"reset_is\": "
          "\"milliseconds\"}}",
          answer(200, "x-left: 12\nx-reset: 10000\n", ""));
    CHECK(got.counted && got.remaining == 12 && got.reset_us == 10000000);
    judge("{\"pace\": {\"remaining\": \"x-left\", \"reset\": \"x-reset\"}}",
          answer(200, "x-left: many\nx-reset: 1\n", ""));
    CHECK(!got.counted);
    /* A time that nobody lives to see is no overflow. */
    judge("{\"pace\": {\"remaining\": \"x-left\", \"reset\": \"x-reset\", \"reset_is\": "
          "\"epoch\"}}",
          answer(200, "x-left: 0\nx-reset: 999999999999999\n", ""));
    CHECK(got.counted && got.reset_us > 0);
    judge("{\"pace\": {\"remaining\": \"x-left\", \"reset\": \"x-reset\"}}",
          answer(200, "x-left: 0\nx-reset: 999999999999999\n", ""));
    CHECK(got.counted && got.reset_us > 0);
    clock_replace(NULL);
}

/* The words of one entry about many rows, and one of many numbers of a row, take no more memory
 * than a row's words may have. */
static void
test_many_words(void)
{
    enum { LONG = 1 << 20, NUMBERS = 20000 };
    static char body[LONG + 8 * NUMBERS];
    static const char by_identity[] =
        "{\"rows\": {\"by\": \"identity\", \"done\": \"/results\", \"failed\": \"/errors\", "
        "\"identity\": \"/trace\", \"digits\": 16, \"words\": \"/message\"}}";
    int n = snprintf(body, sizeof body, "{\"results\":[],\"errors\":[{\"message\":\"");
    memset(body + n, 'w', LONG);
    snprintf(body + n + LONG, sizeof body - (size_t)n - LONG, "\"}]}");
    judge(by_identity, answer(207, "", body));
    for (size_t i = 0; i < ROWS; i++)
        CHECK(out[i].kind == ROW_REJECTED && strlen(out[i].why) < 10000);

    static const char by_fields[] =
        "{\"rows\": {\"by\": \"fields\", \"lists\": [\"/invalid\"]}}";
    size_t at = (size_t)snprintf(body, sizeof body, "{\"invalid\": {\"");
    memset(body + at, 'f', LONG);
    at += LONG;
    at += (size_t)snprintf(body + at, sizeof body - at, "\": [0");
    for (int i = 0; i < NUMBERS; i++, at += 2)
        memcpy(body + at, ",0", 3);
    snprintf(body + at, sizeof body - at, "]}}");
    judge(by_fields, answer(400, "", body));
    CHECK(out[0].kind == ROW_REJECTED && strlen(out[0].code) < 10000);
}

static void
test_wrong_rules(void)
{
    struct exchange none = {.end = END_UNSENT};
    CHECK_TEXT(judge("{\"wen\": []}", none),
               "/answer/wen: no such member; did you mean \"when\"? "
               "known: when, error, rows, pace");
    CHECK_TEXT(
        judge("{\"when\": [{\"fate\": \"fine\"}]}", none),
        "/answer/when/0/fate: must be one of unknown, answered, failed, refused, too_large, "
        "denied, hopeless");
    CHECK_TEXT(judge("{\"when\": [{\"status\": \"6xx\", \"fate\": \"failed\"}]}", none),
               "/answer/when/0: \"status\" is 400, \"4xx\", or up to eight of these");
    CHECK_TEXT(judge("{\"rows\": {\"by\": \"index\", \"list\": \"errors\"}}", none),
               "/answer/rows/list: is no JSON pointer, such as \"/errors/0/message\"");
    CHECK_TEXT(judge("{\"rows\": {\"by\": \"index\", \"list\": \"/errors\"}}", none),
               "/answer/rows: by index wants \"list\", and either \"index\" or \"done\"");
    CHECK_TEXT(judge("{\"rows\": {\"by\": \"identity\", \"done\": \"/a\", \"identity\": "
                     "\"/b\", \"digits\": 8}}",
                     none),
               "/answer/rows/digits: must be a whole number from 16 to 64");
}

static void
test_fields(void)
{
    static const char rules[] =
        "{\"error\": {\"words\": \"/error\"}, \"rows\": {\"by\": \"fields\", \"lists\": "
        "[\"/invalid\", \"/missing\"], \"count\": \"/ingested\"}}";
    CHECK_TEXT(judge(rules, answer(200, "", "{\"ingested\": 4}")), "answered: D D D D");
    CHECK_TEXT(judge(rules, answer(200, "", "fine")), "answered: D D D D");
    CHECK_TEXT(judge(rules, answer(200, "", "{\"ingested\": 3}")), "unknown: ? ? ? ?");
    CHECK_TEXT(judge(rules, answer(400, "",
                                   "{\"error\": \"bad\", \"invalid\": {\"time\": [0, 3]}, "
                                   "\"missing\": {\"user\": [1]}}")),
               "refused: R(time|bad) R(user|bad) ? R(time|bad)");
    CHECK_TEXT(judge(rules, answer(400, "",
                                   "{\"invalid\": {\"time\": [4, -1, \"0\", 2]}, "
                                   "\"missing\": [3]}")),
               "refused: ? ? R(time|) ?");
    CHECK_TEXT(judge(rules, answer(400, "", "{\"error\": \"bad\"}")), "refused: ? ? ? ?");
    CHECK_TEXT(judge("{\"rows\": {\"by\": \"fields\", \"lists\": [\"invalid\"]}}",
                     answer(200, "", "")),
               "/answer/rows: by fields wants \"lists\", one to four pointers");
    CHECK_TEXT(
        judge("{\"rows\": {\"by\": \"all\", \"lists\": [\"/invalid\"]}}", answer(200, "", "")),
        "/answer/rows: by fields wants \"lists\", one to four pointers");
}

/* A failure that hides success: rows are told of within a 400, and counted. */
static void
test_count(void)
{
    static const char rules[] =
        "{\"when\": [{\"status\": 400, \"pointer\": \"/failed\", \"some\": true, \"fate\": "
        "\"answered\"}], \"rows\": {\"by\": \"index\", \"list\": \"/failed\", \"index\": "
        "\"/index\", \"count\": \"/imported\"}}";
    CHECK_TEXT(judge(rules, answer(400, "", "{\"imported\": 3, \"failed\": [{\"index\": 1}]}")),
               "answered: D R D D");
    CHECK_TEXT(judge(rules, answer(400, "", "{\"failed\": [{\"index\": 1}]}")),
               "answered: D R D D");
    CHECK_TEXT(judge(rules, answer(400, "", "{\"imported\": 0, \"failed\": [{\"index\": 1}]}")),
               "unknown: ? ? ? ?");
    CHECK_TEXT(judge(rules, answer(400, "", "{\"failed\": []}")), "refused: ? ? ? ?");
    CHECK_TEXT(judge(rules, answer(400, "", "{\"failed\": 1}")), "refused: ? ? ? ?");
}

static void
test_wait(void)
{
    static const char rules[] =
        "{\"when\": [{\"status\": 429, \"pointer\": \"/quota\", \"some\": true, \"fate\": "
        "\"hopeless\"}, {\"status\": 429, \"fate\": \"failed\", \"wait\": 15}]}";
    CHECK_TEXT(judge(rules, answer(429, "", "{\"quota\": {}}")), "failed: ? ? ? ?");
    CHECK(got.wait_us == 15000000);
    CHECK_TEXT(judge(rules, answer(429, "retry-after: 20\n", "")), "failed: ? ? ? ?");
    CHECK(got.wait_us == 20000000);
    CHECK_TEXT(judge(rules, answer(429, "", "{\"quota\": {\"ann\": 1}}")), "hopeless: ? ? ? ?");
    CHECK(got.wait_us == 0);
    CHECK_TEXT(
        judge("{\"when\": [{\"some\": true, \"fate\": \"failed\"}]}", answer(200, "", "")),
        "/answer/when/0: \"is\", \"in\", \"not\" and \"some\" want a \"pointer\"");
}

static void
test_pointers(void)
{
    json_t *j = json_loads("{\"a/b\": [10, {\"~\": 1}], \"\": 2, \"0\": 3}", 0, NULL);
    CHECK(json_integer_value(pointer_get(j, "/a~1b/0")) == 10);
    CHECK(json_integer_value(pointer_get(j, "/a~1b/1/~0")) == 1);
    CHECK(json_integer_value(pointer_get(j, "/")) == 2);
    CHECK(json_integer_value(pointer_get(j, "/0")) == 3);
    CHECK(pointer_get(j, "") == j);
    CHECK(!pointer_get(j, "/a~1b/01") && !pointer_get(j, "/a~1b/2") && !pointer_get(j, "/x/y"));
    CHECK(!pointer_good("a") && !pointer_good("/~2") && pointer_good("/a//b") &&
          pointer_good(""));
    json_decref(j);
}

int
main(void)
{
    test_http();
    test_no_memory();
    test_keys();
    test_index();
    test_each();
    test_pointer();
    test_identity();
    test_rules();
    test_pace();
    test_many_words();
    test_wrong_rules();
    test_fields();
    test_count();
    test_wait();
    test_pointers();
    arena_done(&words);
    return tap_done();
}
