/* What an answer means: see answer.h. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "base/utf8.h"
#include "http/answer_private.h"
#include "http/pointer.h"

enum { WORDS_MAX = 500, ROW_WORDS_MAX = 2000, CODE_MAX = 64 };

struct judge {
    const struct answer_rules *rules;
    const struct exchange *x;
    struct call *call;
    struct arena *arena;
    const json_t *body; /* NULL: it is no JSON */
};

static bool
is_among(const json_t *list, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), value))
            return true;
    return false;
}

/* The body without the blanks around it. */
static struct str
trimmed(const struct buf *body)
{
    static const char blanks[] = " \t\r\n";
    struct str text = {buf_z(body), body->n};
    while (text.n && strchr(blanks, text.p[0])) {
        text.p++;
        text.n--;
    }
    while (text.n && strchr(blanks, text.p[text.n - 1]))
        text.n--;
    return text;
}

static bool
fits(const struct judge *j, const struct answer_condition *c, const json_t *root)
{
    bool status = c->nstatuses == 0;
    for (size_t i = 0; i < c->nstatuses; i++)
        status |= c->statuses[i] == j->x->status || c->statuses[i] == j->x->status / 100;
    if (!status)
        return false;
    if (c->text && !str_is(trimmed(&j->x->body_back), c->text))
        return false;
    if (c->contains && !c->pointer)
        return memmem(buf_z(&j->x->body_back), j->x->body_back.n, c->contains,
                      strlen(c->contains)) != NULL;
    if (!c->pointer)
        return true;
    const json_t *found = pointer_get(root, c->pointer);
    if (c->some)
        return json_array_size(found) + json_object_size(found) > 0;
    if (c->is)
        return found && json_equal(found, c->is);
    if (c->in)
        return found && is_among(c->in, found);
    if (c->is_not)
        return !found || !json_equal(found, c->is_not);
    if (c->contains)
        return json_is_string(found) && strstr(json_string_value(found), c->contains);
    return found != NULL;
}

static enum call_fate
fate_of_http(int status)
{
    switch (status) {
    case 401:
        return CALL_DENIED;
    case 413:
    case 414: /* of the address */
        return CALL_TOO_LARGE;
    case 400:
    case 409:
    case 415:
    case 422:
        return CALL_REFUSED;
    case 408:
    case 425:
    case 429:
    case 503:
        return CALL_FAILED;
    default:
        break;
    }
    return status / 100 == 2 ? CALL_ANSWERED : status / 100 == 5 ? CALL_UNKNOWN : CALL_HOPELESS;
}

/* The manifest's rule for the answer; NULL: HTTP's. */
static const struct answer_rule *
rule_of(const struct judge *j)
{
    const struct answer_rule *rules = j->rules->rules.p;
    for (size_t i = 0; i < j->rules->rules.n; i++)
        if (fits(j, &rules[i].when, j->body))
            return &rules[i];
    return NULL;
}

static void
find_fate(const struct judge *j, struct call_answer *ret)
{
    static const enum call_fate without[] = {
        [END_UNSENT] = CALL_FAILED, [END_BARRED] = CALL_HOPELESS, [END_LOST] = CALL_UNKNOWN};
    if (j->x->end != END_ANSWERED) {
        ret->fate = without[j->x->end];
        return;
    }
    const struct answer_rule *rule = rule_of(j);
    ret->fate = rule ? rule->fate : fate_of_http(j->x->status);
    if (rule && rule->wait * 1000000 > ret->wait_us)
        ret->wait_us = rule->wait * 1000000;
}

/* ---- words ---- */

/* A copy, of its beginning if it is long: an answer may say the same of each of its rows. */
static const char *
keep_words(const struct judge *j, const char *text)
{
    size_t n = strnlen(text, ROW_WORDS_MAX);
    return n ? arena_strndup(j->arena, text, utf8_check(text, n)) : NULL;
}

/* One line of what stands there; NULL: nothing does. */
static const char *
words_at(const struct judge *j, const json_t *root, const char *pointer)
{
    const json_t *found = pointer ? pointer_get(root, pointer) : NULL;
    if (json_is_string(found))
        return keep_words(j, json_string_value(found));
    if (!found || json_is_null(found))
        return NULL;
    AUTO_FREE char *dump = json_write(found, JSON_COMPACT | JSON_ENCODE_ANY);
    return dump ? keep_words(j, dump) : NULL;
}

/* The beginning of the body, for whoever must guess what it means. */
static const char *
body_words(const struct judge *j)
{
    const struct buf *body = &j->x->body_back;
    size_t n = body->n < WORDS_MAX ? body->n : WORDS_MAX;
    n = utf8_check(buf_z(body), n);
    return n ? arena_strndup(j->arena, buf_z(body), n) : NULL;
}

static void
tell(const struct judge *j, enum call_fate fate, struct call_answer *ret)
{
    static const enum error_kind kinds[] = {
        [CALL_UNKNOWN] = ERR_UNKNOWN,    [CALL_ANSWERED] = ERR_NONE,
        [CALL_FAILED] = ERR_UNREACHABLE, [CALL_REFUSED] = ERR_DATA,
        [CALL_TOO_LARGE] = ERR_LIMIT,    [CALL_DENIED] = ERR_AUTH,
        [CALL_HOPELESS] = ERR_CONFIG,
    };
    const struct exchange *x = j->x;
    enum error_kind kind = x->cancelled ? ERR_CANCELLED : kinds[fate];
    if (x->end != END_ANSWERED) {
        error_set(&ret->error, kind, EIO, "%s", x->why ? x->why : "no answer");
        return;
    }
    const char *words = words_at(j, j->body, j->rules->words);
    if (!words)
        words = body_words(j);
    struct str to = exchange_header(x, "location");
    if (x->status / 100 == 3 && to.p)
        error_set(&ret->error, kind, EIO, "HTTP %d: redirects to \"%.*s\" are not followed",
                  x->status, (int)to.n, to.p);
    else
        error_set(&ret->error, kind, EIO, "HTTP %d%s%s", x->status, words ? ": " : "",
                  words ? words : "");
}

/* ---- rows ---- */

static void
set_all(const struct judge *j, enum outcome_kind kind)
{
    for (size_t i = 0; i < j->call->batch.n; i++)
        j->call->out[i] = (struct outcome){.kind = kind};
}

static void
refuse_for(const struct judge *j, size_t row, const char *code, const char *why)
{
    const struct answer_rows *rows = &j->rules->rows;
    struct outcome *out = &j->call->out[row];
    *out = (struct outcome){.kind = ROW_REJECTED, .code = code, .why = why};
    for (size_t i = 0; out->code && i < rows->nretry; i++)
        if (strcmp(out->code, rows->retry[i]) == 0)
            out->kind = ROW_RETRY;
    for (size_t i = 0; out->code && i < rows->nfine; i++)
        if (strcmp(out->code, rows->fine[i]) == 0)
            *out = (struct outcome){.kind = ROW_DONE};
}

/* What an entry says against rows. */
struct charge {
    const char *code, *why;
};

static struct charge
charge_of(const struct judge *j, const json_t *entry)
{
    const struct answer_rows *rows = &j->rules->rows;
    const char *why = words_at(j, entry, rows->words);
    return (struct charge){words_at(j, entry, rows->code), why ? why : rows->why};
}

static void
refuse(const struct judge *j, size_t row, const json_t *entry)
{
    struct charge charge = charge_of(j, entry);
    refuse_for(j, row, charge.code, charge.why);
}

/* {"time": [3, 4]}: the numbers of the rows that are refused for the sake of that field. */
static void
read_fields(const struct judge *j)
{
    const char *field, *why = words_at(j, j->body, j->rules->words);
    json_t *numbers;
    for (size_t i = 0; i < j->rules->rows.nlists; i++) {
        const json_t *list = pointer_get(j->body, j->rules->rows.lists[i]);
        json_object_foreach((json_t *)(uintptr_t)list, field, numbers)
        {
            const char *code = keep_words(j, field);
            for (size_t k = 0; k < json_array_size(numbers); k++) {
                json_int_t row = json_integer_value(json_array_get(numbers, k));
                if (json_is_integer(json_array_get(numbers, k)) && row >= 0 &&
                    (size_t)row < j->call->batch.n)
                    refuse_for(j, (size_t)row, code, why);
            }
        }
    }
}

/* Whether as many rows are done as the answer says. */
static bool
count_fits(const struct judge *j)
{
    const json_t *count =
        j->rules->rows.count ? pointer_get(j->body, j->rules->rows.count) : NULL;
    json_int_t done = 0;
    for (size_t i = 0; i < j->call->batch.n; i++)
        done += j->call->out[i].kind == ROW_DONE;
    return !json_is_integer(count) || json_integer_value(count) == done;
}

static bool
row_at(const struct judge *j, const json_t *entry, size_t *ret)
{
    const struct answer_rows *rows = &j->rules->rows;
    if (rows->by == BY_INDEX) {
        const json_t *index = pointer_get(entry, rows->index);
        *ret = (size_t)json_integer_value(index);
        return json_is_integer(index) && json_integer_value(index) >= 0 &&
               *ret < j->call->batch.n;
    }
    const char *p = json_string_value(pointer_get(entry, rows->pointer));
    size_t n = strlen(rows->prefix);
    if (!p || strncmp(p, rows->prefix, n) != 0 || p[n] < '0' || p[n] > '9')
        return false;
    char *end;
    errno = 0;
    *ret = strtoul(p + n, &end, 10);
    return errno == 0 && *ret < j->call->batch.n && (*end == '\0' || *end == '/');
}

/* False: the list tells of what was not sent, and so nobody knows what it tells. */
static bool
read_list(const struct judge *j, const json_t *list)
{
    size_t row;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        if (!row_at(j, entry, &row))
            return false;
        refuse(j, row, entry);
    }
    return !list || json_is_array(list);
}

/* One entry a row, in the rows' order. */
static bool
read_each(const struct judge *j, const json_t *list)
{
    const struct answer_rows *rows = &j->rules->rows;
    if (json_array_size(list) != j->call->batch.n)
        return false;
    for (size_t i = 0; i < j->call->batch.n; i++) {
        const json_t *entry = json_array_get(list, i);
        if (fits(j, &rows->is_done, entry))
            j->call->out[i].kind = ROW_DONE;
        else
            refuse(j, i, entry);
    }
    return true;
}

static void
identity_text(const struct judge *j, size_t row, char text[65])
{
    for (size_t i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", j->call->identities[row][i]);
    text[j->rules->rows.digits] = '\0';
}

/* The rows' numbers by what names them: their identity, or their identifier. */
static json_t *
rows_by_name(const struct judge *j)
{
    json_t *rows = json_object();
    char text[65];
    bool good = rows != NULL;
    for (size_t i = 0; good && i < j->call->batch.n; i++) {
        const struct value *key = j->call->batch.changes[i].key;
        json_t *number = json_integer((json_int_t)i);
        if (j->rules->rows.by == BY_KEY) {
            good =
                json_object_setn_new_nocheck(rows, key->p ? key->p : "", key->n, number) == 0;
            continue;
        }
        identity_text(j, i, text);
        good = json_object_set_new(rows, text, number) == 0;
    }
    if (good)
        return rows;
    json_decref(rows);
    return NULL;
}

/* The row of that name; NULL: none has it. */
static const json_t *
row_of(const json_t *rows, const json_t *name)
{
    char number[24];
    if (json_is_string(name))
        return json_object_get(rows, json_string_value(name));
    snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(name));
    return json_is_integer(name) ? json_object_get(rows, number) : NULL;
}

static const json_t *
row_named(const struct judge *j, const json_t *rows, const json_t *entry)
{
    const char *at = j->rules->rows.identity;
    return row_of(rows, at ? pointer_get(entry, at) : entry);
}

/* The identifiers of those that are not done. */
static bool
read_keys(const struct judge *j)
{
    const json_t *list = pointer_get(j->body, j->rules->rows.list);
    json_t *rows = rows_by_name(j);
    bool good = rows && (!list || json_is_array(list));
    set_all(j, ROW_DONE);
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *row = row_named(j, rows, entry);
        good = row != NULL;
        if (good)
            refuse(j, (size_t)json_integer_value(row), entry);
    }
    json_decref(rows);
    return good;
}

/* An entry may name a row, or several in an array; false: it names none of ours. */
static bool
refuse_named(const struct judge *j, const json_t *rows, const json_t *entry)
{
    const json_t *names = pointer_get(entry, j->rules->rows.failed_identity);
    size_t n = json_is_array(names) ? json_array_size(names) : 1;
    struct charge charge = charge_of(j, entry);
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *row =
            row_of(rows, json_is_array(names) ? json_array_get(names, i) : names);
        if (row)
            refuse_for(j, (size_t)json_integer_value(row), charge.code, charge.why);
        any |= row != NULL;
    }
    return any;
}

/* Only a row that is named among the done ones is done. Those that are named nowhere are
 * refused by an entry that names none; without such a one they are unknown. */
static bool
read_identities(const struct judge *j)
{
    const struct answer_rows *rule = &j->rules->rows;
    const json_t *done = pointer_get(j->body, rule->done);
    const json_t *failed = rule->list ? pointer_get(j->body, rule->list) : NULL, *stray = NULL;
    json_t *rows = rows_by_name(j);
    if (!rows)
        return false;
    for (size_t i = 0; i < json_array_size(done); i++) {
        const json_t *row = row_named(j, rows, json_array_get(done, i));
        if (row)
            j->call->out[json_integer_value(row)].kind = ROW_DONE;
    }
    for (size_t i = 0; i < json_array_size(failed); i++) {
        const json_t *entry = json_array_get(failed, i);
        if (!refuse_named(j, rows, entry) && !stray)
            stray = entry;
    }
    json_decref(rows);
    struct charge charge = stray ? charge_of(j, stray) : (struct charge){NULL, NULL};
    for (size_t i = 0; stray && i < j->call->batch.n; i++)
        if (j->call->out[i].kind == ROW_UNKNOWN)
            refuse_for(j, i, charge.code, charge.why);
    return true;
}

static bool
read_rows(const struct judge *j)
{
    const struct answer_rows *rows = &j->rules->rows;
    if (rows->by == BY_ALL || rows->by == BY_FIELDS) {
        set_all(j, ROW_DONE);
        return count_fits(j);
    }
    if (!j->body)
        return false;
    if (rows->by == BY_IDENTITY)
        return read_identities(j);
    if (rows->by == BY_KEY)
        return read_keys(j);
    const json_t *list = pointer_get(j->body, rows->list);
    if (rows->by == BY_INDEX && !rows->index)
        return read_each(j, list);
    set_all(j, ROW_DONE);
    return read_list(j, list) && count_fits(j);
}

/* A row that stood alone is the one for whose sake the call was refused. */
static void
blame(const struct judge *j, const struct error *why)
{
    struct outcome *out = &j->call->out[0];
    const char *code = words_at(j, j->body, j->rules->code);
    struct str text = trimmed(&j->x->body_back);
    if (!code && !j->body && j->rules->code && !*j->rules->code && text.n <= CODE_MAX &&
        utf8_check(text.p, text.n) == text.n)
        code = arena_strndup(j->arena, text.p, text.n); /* the whole answer is the code */
    if (out->kind != ROW_REJECTED && code)
        *out = (struct outcome){
            .kind = ROW_REJECTED, .code = code, .why = arena_strdup(j->arena, why->text)};
}

/* ---- pace ---- */

/* Of whichever unit: so far from here that nobody waits for it, and can be counted. */
static const uint64_t FOREVER = 1000000000000;

static bool
header_number(const struct exchange *x, const char *name, uint64_t *ret)
{
    struct str text = name ? exchange_header(x, name) : (struct str){NULL, 0};
    *ret = 0;
    if (text.n == 0 || text.n > 15)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return i > 0 && text.p[i] == '.'; /* fractions of a second: rounded down */
        *ret = *ret * 10 + (uint64_t)(text.p[i] - '0');
    }
    return true;
}

static void
read_pace(const struct judge *j, struct call_answer *ret)
{
    const struct answer_rules *r = j->rules;
    uint64_t reset;
    ret->wait_us = answer_retry_after(exchange_header(j->x, "retry-after"), clock_now());
    if (!header_number(j->x, r->remaining, &ret->remaining) ||
        !header_number(j->x, r->reset, &reset))
        return;
    ret->counted = true;
    if (reset > FOREVER)
        reset = FOREVER;
    switch (r->reset_is) {
    case RESET_SECONDS:
        ret->reset_us = (int64_t)reset * 1000000;
        return;
    case RESET_MILLISECONDS:
        ret->reset_us = (int64_t)reset * 1000;
        return;
    case RESET_EPOCH:
        ret->reset_us = (int64_t)reset * 1000000 - clock_now();
        ret->counted = ret->reset_us > 0;
        return;
    }
}

/* ---- all of it ---- */

void
answer_judge(const struct answer_rules *r, const struct exchange *x, struct call *call,
             struct arena *arena, struct call_answer *ret)
{
    bool no_memory = false;
    json_t *body = x->end == END_ANSWERED && !x->cut
                       ? json_parse(buf_str(&x->body_back), JSON_DECODE_ANY, NULL, &no_memory)
                       : NULL;
    const struct judge j = {.rules = r, .x = x, .call = call, .arena = arena, .body = body};
    ret->error = (struct error)ERROR_INIT;
    ret->counted = false;
    ret->wait_us = 0;
    if (x->end == END_ANSWERED)
        read_pace(&j, ret);
    if (no_memory) { /* what the rules look for may stand in it */
        set_all(&j, ROW_UNKNOWN);
        ret->fate = CALL_UNKNOWN;
        error_set(&ret->error, ERR_UNKNOWN, EIO,
                  "HTTP %d, but there was no memory to read the answer", x->status);
        return;
    }
    find_fate(&j, ret);
    if (ret->fate == CALL_ANSWERED && !read_rows(&j)) {
        set_all(&j, ROW_UNKNOWN);
        ret->fate = CALL_UNKNOWN;
        const char *words = body_words(&j);
        error_set(&ret->error, ERR_UNKNOWN, EIO,
                  "HTTP %d, but the answer does not tell of the rows: %s", x->status,
                  words ? words : "it is empty");
    } else if (ret->fate != CALL_ANSWERED) {
        bool named = r->rows.by == BY_POINTER || (r->rows.by == BY_INDEX && r->rows.index);
        if (ret->fate == CALL_REFUSED && named && body)
            read_list(&j, pointer_get(body, r->rows.list));
        if (ret->fate == CALL_REFUSED && r->rows.by == BY_FIELDS)
            read_fields(&j);
        tell(&j, ret->fate, ret);
        if (ret->fate == CALL_REFUSED && call->batch.n == 1)
            blame(&j, &ret->error);
    }
    json_decref(body);
}
