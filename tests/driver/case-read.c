/* Reading cases: see case.h. */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "case.h"

enum { CASE_MAX = 1 << 20, ROWS_MAX = 100000 };

struct reader {
    struct http_case *c;
    struct buf *why;
    const char *at;          /* what is not read yet */
    unsigned line;           /* of it */
    unsigned began;          /* line of the directive */
    const char *rest;        /* of the directive's line */
    const char *block;       /* its indented lines, without their indentation; "" */
    size_t first_row, nrows; /* of the last row directive */
};

static void *
need(void *p)
{
    if (!p)
        abort();
    return p;
}

static bool
wrong(struct reader *r, const char *what)
{
    buf_addf(r->why, "line %u: %s", r->began, what);
    return false;
}

/* ---- lines ---- */

static const char *
next_line(struct reader *r)
{
    size_t n = strcspn(r->at, "\n");
    const char *line = need(arena_strndup(&r->c->arena, r->at, n));
    r->at += n + (r->at[n] == '\n');
    r->line++;
    return line;
}

static bool
is_indented(const char *p)
{
    return *p == ' ' || *p == '\t';
}

/* The lines that belong to the directive; a blank one does if an indented one follows. */
static const char *
next_block(struct reader *r)
{
    struct buf text = BUF_INIT(CASE_MAX);
    for (;;) {
        const char *p = r->at + strspn(r->at, "\n");
        if (!is_indented(p))
            break;
        for (; r->at < p; r->at++, r->line++)
            buf_addc(&text, '\n');
        const char *line = next_line(r);
        size_t n = strspn(line, " \t");
        buf_addf(&text, "%s\n", line + (n < 2 ? n : 2));
    }
    const char *block = need(arena_strdup(&r->c->arena, buf_z(&text)));
    buf_done(&text);
    return block;
}

/* The first word of *p, which goes on after it. */
static const char *
take_word(struct reader *r, const char **p)
{
    size_t n = strcspn(*p, " ");
    const char *word = need(arena_strndup(&r->c->arena, *p, n));
    *p += n;
    *p += strspn(*p, " ");
    return word;
}

static bool
take_number(const char *text, double *ret)
{
    char *end;
    *ret = strtod(text, &end);
    return *text && !*end && *ret >= 0;
}

/* ---- small directives ---- */

static bool
take_text(struct reader *r, const char **to)
{
    *to = r->rest;
    return *r->rest ? true : wrong(r, "wants a text");
}

static bool
take_json(struct reader *r, json_t **to)
{
    char *text = arena_printf(&r->c->arena, "%s\n%s", r->rest, r->block);
    json_error_t at;
    json_t *json = json_loads(need(text), JSON_REJECT_DUPLICATES, &at);
    r->block = "";
    if (!json_is_object(json)) {
        buf_addf(r->why, "line %u: no JSON object: %s", r->began, json ? "" : at.text);
        return false;
    }
    json_decref(*to);
    *to = json;
    return true;
}

static bool
take_time(struct reader *r, usec_t *to)
{
    double seconds;
    if (!take_number(r->rest, &seconds))
        return wrong(r, "wants seconds");
    *to = (usec_t)(seconds * 1e6);
    return true;
}

static bool
take_count(struct reader *r, size_t *to)
{
    double n;
    if (!take_number(r->rest, &n) || n < 1 || n > ROWS_MAX)
        return wrong(r, "wants a number");
    *to = (size_t)n;
    return true;
}

static bool
take_env(struct reader *r)
{
    const char *rest = r->rest, *name = take_word(r, &rest);
    const char *lines = r->block;
    r->block = "";
    const char *text = need(*lines ? arena_printf(&r->c->arena, "%s\n%s", rest, lines)
                                   : arena_strdup(&r->c->arena, rest));
    return *rest && setenv(name, text, 1) == 0 ? true : wrong(r, "wants a name and a text");
}

static bool
take_field(struct reader *r)
{
    const char *rest = r->rest, *name = take_word(r, &rest);
    int type = strcmp(rest, "any") == 0 ? V_NULL : value_type_parse(str_of(rest));
    for (int i = V_BOOL; type < 0 && i <= V_JSON; i++)
        if (strcmp(value_type_name((enum value_type)i), rest) == 0)
            type = i;
    if (type < 0)
        return wrong(r, "wants a name and a type");
    const struct case_field field = {name, (enum value_type)type};
    need(VEC_PUSH(&r->c->fields, field) ? r : NULL);
    return true;
}

/* ---- rows ---- */

/* {n} in the text is the number, and a string that is nothing else is a number. */
static json_t *
numbered(const char *text, size_t number)
{
    AUTO_BUF struct buf out = BUF_INIT(CASE_MAX);
    for (const char *p = text; *p; p++) {
        bool whole = strncmp(p, "\"{n}\"", 5) == 0;
        if (whole || strncmp(p, "{n}", 3) == 0) {
            buf_addf(&out, "%zu", number);
            p += whole ? 4 : 2;
        } else {
            buf_addc(&out, *p);
        }
    }
    return json_loads(buf_z(&out), JSON_REJECT_DUPLICATES, NULL);
}

static bool
take_row(struct reader *r, bool gone, size_t n)
{
    const char *text = need(arena_printf(&r->c->arena, "%s\n%s", r->rest, r->block));
    r->block = "";
    r->first_row = r->c->rows.n;
    r->nrows = n;
    for (size_t i = 1; i <= n; i++) {
        struct case_row row = {
            .gone = gone, .after = numbered(text, i), .want.kind = ROW_DONE, .line = r->began};
        if (!json_is_object(row.after))
            return wrong(r, "no JSON object");
        need(VEC_PUSH(&r->c->rows, row) ? r : NULL);
    }
    return true;
}

static bool
take_rows(struct reader *r)
{
    const char *rest = r->rest, *count = take_word(r, &rest);
    size_t n = 0;
    r->rest = count;
    bool good = take_count(r, &n);
    r->rest = rest;
    return good && take_row(r, false, n);
}

static bool
take_was(struct reader *r)
{
    if (r->nrows != 1)
        return wrong(r, "stands below one row");
    return take_json(r, &r->c->rows.p[r->first_row].was);
}

static bool
take_outcome(struct reader *r)
{
    static const char *const kinds[] = {[ROW_UNKNOWN] = "unknown",
                                        [ROW_DONE] = "done",
                                        [ROW_UNCHANGED] = "unchanged",
                                        [ROW_REJECTED] = "rejected",
                                        [ROW_RETRY] = "retry"};
    char *text = need(arena_strdup(&r->c->arena, r->rest));
    struct case_outcome want = {.kind = ROW_STAGED};
    char *colon = strstr(text, ": ");
    if (colon) {
        *colon = '\0';
        want.words = colon + 2;
    }
    const char *rest = text, *kind = take_word(r, &rest);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i], kind) == 0)
            want.kind = (enum outcome_kind)i;
    if (*rest && strcmp(rest, "*") != 0)
        want.code = rest;
    if (want.kind == ROW_STAGED || r->nrows == 0)
        return wrong(r, "-> says of the row above: done, unchanged, unknown, retry, rejected");
    for (size_t i = r->first_row; i < r->first_row + r->nrows; i++)
        r->c->rows.p[i].want = want;
    return true;
}

/* ---- requests and answers ---- */

/* "Name: value"; an API's JSON never looks like one. */
static bool
take_header(struct reader *r, const char *line, struct case_headers *to)
{
    size_t n = 0;
    while (isalnum((unsigned char)line[n]) || line[n] == '-')
        n++;
    if (n == 0 || line[n] != ':' || (line[n + 1] && line[n + 1] != ' ') || to->n == 16)
        return false;
    const char *value = line + n + 1 + strspn(line + n + 1, " ");
    to->names[to->n] = need(arena_strndup(&r->c->arena, line, n));
    to->values[to->n++] = *value ? value : NULL;
    return true;
}

/* The lines up to the body; *block is that. */
static bool
take_head(struct reader *r, struct case_exchange *x, const char **block)
{
    while (**block) {
        size_t n = strcspn(*block, "\n");
        const char *line = need(arena_strndup(&r->c->arena, *block, n));
        double seconds;
        bool after = strncmp(line, "after ", 6) == 0;
        if (after && !take_number(line + 6, &seconds))
            return wrong(r, "\"after\" wants seconds");
        if (after)
            x->after = (usec_t)(seconds * 1e6);
        else if (!take_header(r, line, &x->headers))
            return true;
        *block += n + ((*block)[n] == '\n');
    }
    return true;
}

static bool
take_request(struct reader *r)
{
    static const struct {
        const char *word;
        enum case_compare compare;
    } ways[] = {{"exactly\n", BODY_EXACT}, {"lines\n", BODY_LINES}, {"form\n", BODY_FORM}};
    const char *rest = r->rest, *method = take_word(r, &rest), *block = r->block;
    struct case_exchange x = {.method = method, .path = rest, .line = r->began};
    if (!*rest)
        return wrong(r, "wants a method and a path");
    if (!take_head(r, &x, &block))
        return false;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (strncmp(block, ways[i].word, strlen(ways[i].word)) == 0) {
            x.compare = ways[i].compare;
            block += strlen(ways[i].word);
        }
    if (strcmp(block, "nothing\n") == 0) {
        x.compare = BODY_EXACT;
        block = "";
    } else if (x.compare == BODY_ANY && *block) {
        x.compare = BODY_JSON;
        if (*block != '{' && *block != '[')
            return wrong(r, "a body that is no JSON begins with \"exactly\", \"lines\" or "
                            "\"form\"");
    }
    x.body = block;
    r->block = "";
    need(VEC_PUSH(&r->c->exchanges, x) ? r : NULL);
    return true;
}

static bool
take_fault(struct reader *r, const char *word, struct case_exchange *x)
{
    static const struct {
        const char *word;
        enum case_fault fault;
        bool with_status;
    } faults[] = {{"silent", FAULT_SILENT, false}, {"close", FAULT_CLOSE, false},
                  {"reset", FAULT_RESET, false},   {"half", FAULT_HALF, true},
                  {"broken", FAULT_BROKEN, true},  {"stall", FAULT_STALL, true},
                  {"large", FAULT_LARGE, true}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (strcmp(faults[i].word, word) == 0 && faults[i].with_status == (x->status > 0)) {
            x->fault = faults[i].fault;
            return true;
        }
    return wrong(r, "unknown fault");
}

static bool
take_answer(struct reader *r)
{
    size_t n = r->c->exchanges.n;
    struct case_exchange *x = n ? &r->c->exchanges.p[n - 1] : NULL;
    if (!x || x->status || x->fault)
        return wrong(r, "stands below a request, once");
    const char *rest = r->rest;
    if (isdigit((unsigned char)*rest)) {
        double status;
        if (!take_number(take_word(r, &rest), &status) || status < 100 || status > 599)
            return wrong(r, "no status");
        x->status = (int)status;
    }
    if ((*rest || !x->status) && !take_fault(r, rest, x))
        return false;
    for (const char *block = r->block; *block;) {
        size_t line = strcspn(block, "\n");
        x->body_back = block;
        if (!take_header(r, need(arena_strndup(&r->c->arena, block, line)), &x->back))
            break;
        block += line + (block[line] == '\n');
        x->body_back = block;
    }
    r->block = "";
    return true;
}

/* ---- the whole ---- */

static bool
take_manifest(struct reader *r)
{
    json_t *json = NULL;
    if (!take_json(r, &json))
        return false;
    char *text = need(json_dumps(json, 0));
    r->c->manifest = need(arena_strdup(&r->c->arena, text));
    const char *name = json_string_value(json_object_get(json, "name"));
    r->c->driver = need(arena_strdup(&r->c->arena, name ? name : ""));
    free(text);
    json_decref(json);
    return true;
}

static bool
take_parallel(struct reader *r)
{
    size_t n = 0;
    if (!take_count(r, &n))
        return false;
    r->c->parallel = (unsigned)n;
    return true;
}

static bool
take_directive(struct reader *r, const char *word)
{
    struct http_case *c = r->c;
    const struct {
        const char *word;
        const char **to;
    } texts[] = {
        {"connector", &c->driver}, {"object", &c->object},         {"mode", &c->mode},
        {"refused", &c->refused},  {"identifier", &c->identifier}, {"stopped", &c->stopped}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(word, texts[i].word) == 0)
            return take_text(r, texts[i].to);
    if (strcmp(word, "connection") == 0)
        return take_json(r, &c->connection);
    if (strcmp(word, "destination") == 0)
        return take_json(r, &c->destination);
    if (strcmp(word, "config") == 0)
        return take_json(r, &c->config);
    if (strcmp(word, "timeout") == 0)
        return take_time(r, &c->timeout);
    if (strcmp(word, "patience") == 0)
        return take_time(r, &c->patience);
    if (strcmp(word, "batch") == 0)
        return take_count(r, &c->batch);
    if (strcmp(word, "row") == 0 || strcmp(word, "delete") == 0)
        return take_row(r, *word == 'd', 1);
    static const struct {
        const char *word;
        bool (*take)(struct reader *r);
    } others[] = {
        {"manifest", take_manifest}, {"env", take_env},       {"field", take_field},
        {"rows", take_rows},         {"was", take_was},       {"->", take_outcome},
        {"request", take_request},   {"answer", take_answer}, {"parallel", take_parallel}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(word, others[i].word) == 0)
            return others[i].take(r);
    buf_addf(r->why, "line %u: unknown directive \"%s\"", r->began, word);
    return false;
}

static bool
check(struct http_case *c, struct buf *why)
{
    if (!c->driver)
        buf_adds(why, "no connector");
    else if (!c->mode)
        buf_adds(why, "no mode");
    else if (c->fields.n == 0)
        buf_adds(why, "no field");
    VEC_EACH (&c->exchanges, x)
        if (!x->status && !x->fault)
            buf_addf(why, "line %u: this request has no answer", x->line);
    return why->n == 0;
}

bool
case_read(const char *path, struct http_case *c, struct buf *why)
{
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf text = BUF_INIT(CASE_MAX);
    *c = (struct http_case){.patience = 8000000, .parallel = 1};
    c->connection = json_object();
    c->destination = json_object();
    c->config = json_object();
    if (file_read_whole(AT_FDCWD, path, &text, &err) < 0) {
        buf_adds(why, err.text);
        return false;
    }
    struct reader r = {.c = c, .why = why, .at = buf_z(&text)};
    while (*r.at) {
        const char *line = next_line(&r);
        r.began = r.line;
        if (!*line || *line == '#')
            continue;
        if (is_indented(line))
            return wrong(&r, "indented, but it belongs to nothing");
        r.rest = line;
        const char *word = take_word(&r, &r.rest);
        r.block = next_block(&r);
        if (!take_directive(&r, word))
            return false;
        if (*r.block)
            return wrong(&r, "this directive takes no indented lines");
    }
    return check(c, why);
}
