/*
 * A connector's manifest and an answer of the peer it tells of. What is no manifest is refused
 * with its place; what is one writes requests that are JSON where they say so; and whatever is
 * answered, every row has a verdict that is one.
 *
 * The input is the manifest, a line "====", and the answer: a line with its status, lines of
 * its head, an empty line, the body.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "http/answer.h"
#include "http/connector.h"
#include "http/look_up.h"
#include "http/way.h"

enum { ROWS = 3, FIELDS = 4 };

static const struct column fields[FIELDS] = {{.name = "id", .type = V_INT},
                                             {.name = "email", .type = V_TEXT},
                                             {.name = "address.city", .type = V_TEXT},
                                             {.name = "tags", .type = V_JSON}};
static const size_t key = 0;
static const struct value values[ROWS][FIELDS] = {
    {{"1", 1, V_INT}, {"a@b.c", 5, V_TEXT}, {"Ulm", 3, V_TEXT}, {"[1]", 3, V_JSON}},
    {{"22", 2, V_INT}, {"\"\\\n{}", 5, V_TEXT}, {.type = V_NULL}, {"{}", 2, V_JSON}},
    {{"-3", 2, V_INT}, {"", 0, V_TEXT}, {"\xc3\xa9 &<", 5, V_TEXT}, {.type = V_NULL}}};
static const unsigned char identities[ROWS][32] = {{1}, {2}, {3}};

static struct str
line(struct str *text)
{
    const char *end = text->n ? memchr(text->p, '\n', text->n) : NULL;
    struct str first = {text->p, end ? (size_t)(end - text->p) : text->n};
    size_t taken = first.n + (end ? 1 : 0);
    text->p += taken;
    text->n -= taken;
    return first;
}

/* Head and body in buffers, as they come from the wire. */
static void
take_answer(struct str text, struct exchange *x)
{
    struct str status = line(&text), head;
    x->end = status.n == 3 ? END_ANSWERED : status.n % 2 ? END_LOST : END_UNSENT;
    x->why = "no answer";
    for (size_t i = 0; x->end == END_ANSWERED && i < 3; i++)
        x->status = x->status * 10 + (status.p[i] & 7);
    while ((head = line(&text)).n > 0) {
        buf_add(&x->head, head.p, head.n);
        buf_addc(&x->head, '\n');
    }
    buf_add(&x->body_back, text.p, text.n);
}

static void
check_text(const char *text)
{
    if (text)
        MUST(utf8_check(text, strlen(text)) == strlen(text));
}

static void
check_outcomes(const struct call *call)
{
    for (size_t i = 0; i < call->batch.n; i++) {
        const struct outcome *out = &call->out[i];
        MUST(out->kind <= ROW_RETRY || out->kind == ROW_ABSENT);
        check_text(out->code);
        check_text(out->why);
    }
}

static void
judge(const struct answer_rules *rules, const struct exchange *x, struct call *call)
{
    AUTO_ARENA struct arena words = ARENA_INIT;
    struct call_answer got = {0};
    answer_judge(rules, x, call, &words, &got);
    MUST(got.fate <= CALL_HOPELESS && got.wait_us >= 0 && got.reset_us >= 0);
    MUST(got.fate == CALL_ANSWERED || got.error.text[0]);
    check_text(got.error.text);
    check_outcomes(call);
}

static void
check_request(const struct connector_call *how, const struct request *r)
{
    for (const char *at = r->url; *at; at++)
        MUST((unsigned char)*at > ' ' && *at != 0x7f);
    for (const char *const *header = r->headers; *header; header++)
        MUST(strchr(*header, ':') && !strpbrk(*header, "\r\n"));
    bool json =
        strcmp(how->type, "application/json") == 0 && how->body && !how->lines && !how->gzip;
    if (!json || r->body.n == 0)
        return;
    json_t *body = json_loadb(r->body.p, r->body.n, JSON_DECODE_ANY, NULL);
    MUST(body);
    json_decref(body);
}

/* A request, and what its answer means for the rows of it. */
static void
check_call(const struct connector *c, struct way *way, struct call *call,
           const struct exchange *x)
{
    const struct connector_call *how = way_call(way);
    struct error err = ERROR_INIT;
    struct request request = {0};
    atomic_bool cancelled = false;
    int rc = way_write(way, call, &cancelled, &request, &err);
    fuzz_check_error(rc, &err);
    if (rc == 0) {
        check_request(how, &request);
        judge(how->answer ? how->answer : c->answer, x, call);
    }
    request_done(&request);
}

static void
check_way(const struct connector *c, const struct way_settings *set,
          const struct connector_call *how, struct call *call, const struct exchange *x)
{
    struct error err = ERROR_INIT;
    struct way *way = NULL;
    int rc = way_open(set, how, &way, &err);
    fuzz_check_error(rc, &err);
    if (rc == 0)
        check_call(c, way, call, x);
    way_close(way);
}

/* Every row is known after it, is to be made, or goes on into the call with what was found for
 * it. */
static struct found *
check_look_up(const struct connector *c, const struct way_settings *set,
              const struct connector_look_up *look_up, struct call *call,
              const struct exchange *x)
{
    struct found *found = NULL;
    const struct fill_values at_hand = {.connector = c, .use = set->use};
    check_way(c, set, &look_up->call, call, x);
    if (look_up->absent)
        check_way(c, set, look_up->absent, call, x);
    memset(call->out, 0, call->batch.n * sizeof *call->out);
    if (look_up_read(look_up, &at_hand, x, call, &found) != 0)
        return NULL;
    size_t known = 0, n = 0, stay[ROWS];
    for (size_t i = 0; i < call->batch.n; i++)
        if (call->out[i].kind != ROW_ABSENT)
            stay[n++] = i;
    MUST(n == call->batch.n || look_up->absent);
    for (size_t i = 0; i < n; i++)
        known += found->out[i].kind != ROW_UNKNOWN;
    MUST(known + found->part.batch.n == n);
    for (size_t i = 0; i < found->part.batch.n; i++) {
        const struct change *change = &found->part.batch.changes[i];
        MUST(change->key[0].n > 0 && found->out[found->rows[i]].kind == ROW_UNKNOWN);
        MUST(change->seq == call->batch.changes[stay[found->rows[i]]].seq);
    }
    look_up_spread(found, call, true);
    check_outcomes(call);
    return found;
}

/* Options as somebody may have set them, who leaves out what has a default. */
static void *
fill_options(const struct option *table, size_t size)
{
    char *options = calloc(1, size + 1);
    MUST(options);
    for (const struct option *o = table; o && o->name; o++) {
        bool text = o->type == OPT_STRING || o->type == OPT_SECRET;
        const char *value = o->default_text ? o->default_text : text ? "https://peer/x" : NULL;
        if (text || o->type == OPT_ENUM)
            memcpy(options + o->offset, &value, sizeof value);
    }
    return options;
}

static void
check_operation(const struct connector *c, enum operation op, const struct exchange *x)
{
    struct error err = ERROR_INIT;
    const struct target target = {
        .sync = "s", .fields = fields, .nfields = FIELDS, .key = &key, .nkey = 1};
    AUTO_FREE void *connection = fill_options(c->driver.options, c->driver.options_size);
    AUTO_FREE void *destination =
        fill_options(c->driver.dest_options, c->driver.dest_options_size);
    const struct connector_use use = {.connection = connection,
                                      .destination = destination,
                                      .object = "list",
                                      .identifier = "id"};
    const struct connector_call *how = connector_call_for(c, op, &use);
    if (!how)
        return;
    struct way *way = NULL;
    const struct way_settings set = {.connector = c, .use = use, .target = &target};
    int rc = way_open(&set, how, &way, &err);
    fuzz_check_error(rc, &err);
    if (rc < 0)
        return;
    struct change changes[ROWS];
    struct outcome out[ROWS] = {0};
    for (size_t i = 0; i < ROWS; i++)
        changes[i] = (struct change){
            .op = op, .seq = i, .after = op == OP_DELETE ? NULL : values[i], .key = values[i]};
    struct limits all = {0};
    way_limits(way, op, &all);
    struct call_limits limits = all.of[op];
    MUST(limits.rows > 0);
    struct call call = {.batch = {changes, limits.rows < ROWS ? 1 : ROWS, 7},
                        .out = out,
                        .identities = identities};
    struct found *found = how->look_up ? check_look_up(c, &set, how->look_up, &call, x) : NULL;
    if (found && found->part.batch.n > 0)
        check_call(c, way, &found->part, x);
    if (!how->look_up)
        check_call(c, way, &call, x);
    look_up_free(found);
    way_close(way);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct error err = ERROR_INIT;
    struct connector *c = NULL;
    struct exchange x = {.method = "POST"};
    struct str manifest = {(const char *)data, n};
    const char *end = n ? memmem(data, n, "\n====\n", 6) : NULL;
    if (end) {
        manifest.n = (size_t)(end - manifest.p);
        take_answer((struct str){end + 6, n - manifest.n - 6}, &x);
    }
    int rc = connector_parse(NULL, manifest, &c, &err);
    fuzz_check_error(rc, &err);
    for (enum operation op = OP_INSERT; rc == 0 && op <= OP_DELETE; op++)
        check_operation(c, op, &x);
    connector_free(c);
    exchange_done(&x);
    return 0;
}
