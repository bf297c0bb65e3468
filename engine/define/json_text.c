/* JSON texts: see json_text.h. */
#include "define/json_text.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "base/utf8.h"

enum { NESTING_MAX = 64 };

struct scan {
    struct str text;
    size_t at;
    size_t open[NESTING_MAX]; /* where each open bracket stands */
    unsigned depth;
    struct json_fault *fault;
};

static enum text_verdict
broken(struct scan *s, size_t at, const char *text, const char *hint)
{
    *s->fault = (struct json_fault){.at = at, .text = text, .hint = hint, .open = AT_FILE};
    return TEXT_BROKEN;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void
skip_blanks(struct scan *s)
{
    while (s->at < s->text.n) {
        char c = s->text.p[s->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
            return;
        s->at++;
    }
}

/* The four digits behind \u. */
static enum text_verdict
scan_hex(struct scan *s, size_t at, unsigned *code)
{
    *code = 0;
    for (size_t i = 0; i < 4; i++) {
        if (at + i >= s->text.n)
            return TEXT_INCOMPLETE;
        char c = s->text.p[at + i];
        unsigned digit;
        if (is_digit(c))
            digit = (unsigned)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (unsigned)((c | 32) - 'a' + 10);
        else
            return broken(s, at + i, "expected a hexadecimal digit",
                          "\\u takes four of them: \\u00e9");
        *code = *code << 4 | digit;
    }
    return TEXT_OK;
}

/* \uXXXX at s->at, or a pair of them. */
static enum text_verdict
scan_unicode(struct scan *s)
{
    size_t at = s->at;
    unsigned code, low;
    enum text_verdict v = scan_hex(s, at + 2, &code);
    if (v != TEXT_OK)
        return v;
    if (code == 0)
        return broken(s, at, "a NUL character is not possible here", NULL);
    s->at += 6;
    if (code < 0xD800 || code > 0xDFFF)
        return TEXT_OK;
    static const char half[] = "half a surrogate pair is no character";
    if (code > 0xDBFF)
        return broken(s, at, half, NULL);
    for (size_t i = 0; i < 2; i++) {
        if (s->at + i >= s->text.n)
            return TEXT_INCOMPLETE;
        if (s->text.p[s->at + i] != "\\u"[i])
            return broken(s, at, half, NULL);
    }
    v = scan_hex(s, s->at + 2, &low);
    if (v == TEXT_OK && (low < 0xDC00 || low > 0xDFFF))
        return broken(s, at, half, NULL);
    s->at += 6;
    return v;
}

static enum text_verdict
scan_escape(struct scan *s)
{
    if (s->at + 1 >= s->text.n)
        return TEXT_INCOMPLETE;
    char c = s->text.p[s->at + 1];
    if (c == 'u')
        return scan_unicode(s);
    if (c == '\0' || !strchr("\"\\/bfnrt", c))
        return broken(s, s->at, "unknown escape in a string",
                      "a backslash itself is written \\\\");
    s->at += 2;
    return TEXT_OK;
}

static bool
is_plain(char c)
{
    return (unsigned char)c >= ' ' && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* The string whose quote stands at s->at. */
static enum text_verdict
scan_string(struct scan *s)
{
    const char *p = s->text.p;
    size_t n = s->text.n;
    s->at++;
    for (;;) {
        while (s->at < n && is_plain(p[s->at]))
            s->at++;
        if (s->at == n)
            return TEXT_INCOMPLETE;
        char c = p[s->at];
        if (c == '"') {
            s->at++;
            return TEXT_OK;
        }
        if (c == '\\') {
            enum text_verdict v = scan_escape(s);
            if (v != TEXT_OK)
                return v;
        } else if ((unsigned char)c >= 0x80) {
            size_t far = s->at; /* up to the next ASCII byte */
            while (far < n && (unsigned char)p[far] >= 0x80)
                far++;
            bool cut;
            size_t good = utf8_span((struct str){p + s->at, far - s->at}, &cut);
            s->at += good;
            if (s->at < far)
                return cut && far == n ? TEXT_INCOMPLETE
                                       : broken(s, s->at, "invalid UTF-8", NULL);
        } else if (c == '\n' || c == '\r') {
            return broken(s, s->at, "the string is not closed on its line",
                          "expected '\"'; a line break in a string is written \\n");
        } else {
            return broken(s, s->at, "control character in a string",
                          "a tab is written \\t, others \\u0001");
        }
    }
}

static bool
fits_int64(struct str digits)
{
    bool negative = digits.n > 0 && digits.p[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + negative, v = 0;
    for (size_t i = negative; i < digits.n; i++) {
        uint64_t digit = (uint64_t)(digits.p[i] - '0');
        if (v > (limit - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    return true;
}

/* At least one digit; TEXT_INCOMPLETE when the text ends with or before them. */
static enum text_verdict
scan_digits(struct scan *s)
{
    size_t start = s->at;
    while (s->at < s->text.n && is_digit(s->text.p[s->at]))
        s->at++;
    if (s->at == s->text.n)
        return TEXT_INCOMPLETE;
    return s->at > start ? TEXT_OK : broken(s, s->at, "expected a digit", NULL);
}

static enum text_verdict
scan_number(struct scan *s)
{
    size_t start = s->at;
    bool whole = true;
    s->at += s->text.p[s->at] == '-';
    size_t first = s->at;
    enum text_verdict v = scan_digits(s);
    if (s->at > first + 1 && s->text.p[first] == '0')
        return broken(s, first, "a number does not begin with 0", NULL);
    if (v == TEXT_OK && s->text.p[s->at] == '.') {
        whole = false;
        s->at++;
        v = scan_digits(s);
    }
    if (v == TEXT_OK && (s->text.p[s->at] | 32) == 'e') {
        whole = false;
        s->at++;
        if (s->at == s->text.n)
            return TEXT_INCOMPLETE;
        s->at += s->text.p[s->at] == '+' || s->text.p[s->at] == '-';
        v = scan_digits(s);
    }
    if (v == TEXT_OK && whole && !fits_int64((struct str){s->text.p + start, s->at - start}))
        return broken(s, start, "the number does not fit into 64 bits", NULL);
    return v;
}

static enum text_verdict
scan_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    size_t left = s->text.n - s->at;
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (memcmp(s->text.p + s->at, words[i], left < n ? left : n) != 0)
            continue;
        s->at += left < n ? left : n;
        return left < n ? TEXT_INCOMPLETE : TEXT_OK;
    }
    return broken(s, s->at, "expected a value",
                  "a text needs double quotes; others: a number, true, false, null, {…}, […]");
}

static enum text_verdict
push(struct scan *s)
{
    if (s->depth == NESTING_MAX)
        return broken(s, s->at, "nested deeper than 64 levels", NULL);
    s->open[s->depth++] = s->at++;
    return TEXT_OK;
}

/* What may come next. */
enum expect {
    EXPECT_VALUE,
    EXPECT_FIRST_ITEM, /* or ']' */
    EXPECT_FIRST_KEY,  /* or '}' */
    EXPECT_KEY,
    EXPECT_COLON,
    EXPECT_NEXT, /* ',' or the closing bracket */
    EXPECT_NOTHING,
};

/* A value at s->at, or the opening of one. */
static enum text_verdict
step_value(struct scan *s, enum expect *next)
{
    char c = s->text.p[s->at];
    *next = EXPECT_NEXT;
    if (c == '"')
        return scan_string(s);
    if (c == '-' || is_digit(c))
        return scan_number(s);
    if (c != '{' && c != '[')
        return scan_word(s);
    *next = c == '{' ? EXPECT_FIRST_KEY : EXPECT_FIRST_ITEM;
    return push(s);
}

static enum text_verdict
step_close(struct scan *s, enum expect *next)
{
    s->at++;
    s->depth--;
    *next = s->depth ? EXPECT_NEXT : EXPECT_NOTHING;
    return TEXT_OK;
}

static enum text_verdict
step_next(struct scan *s, enum expect *next)
{
    bool object = s->text.p[s->open[s->depth - 1]] == '{';
    char c = s->text.p[s->at];
    if (c == (object ? '}' : ']'))
        return step_close(s, next);
    if (c != ',')
        return broken(s, s->at, object ? "expected ',' or '}'" : "expected ',' or ']'", NULL);
    s->at++;
    *next = object ? EXPECT_KEY : EXPECT_VALUE;
    return TEXT_OK;
}

static enum text_verdict
step_key(struct scan *s, enum expect *next, bool first)
{
    char c = s->text.p[s->at];
    if (first && c == '}')
        return step_close(s, next);
    *next = EXPECT_COLON;
    if (c == '"')
        return scan_string(s);
    if (first)
        return broken(s, s->at, "expected a key in double quotes or '}'", NULL);
    return broken(s, s->at, "expected a key in double quotes",
                  c == '}' ? "no ',' after the last one" : NULL);
}

static enum text_verdict
step(struct scan *s, enum expect *expect)
{
    char c = s->text.p[s->at];
    switch (*expect) {
    case EXPECT_FIRST_ITEM:
        if (c == ']')
            return step_close(s, expect);
        return step_value(s, expect);
    case EXPECT_VALUE:
        if (c == ']')
            return broken(s, s->at, "expected a value", "no ',' after the last one");
        return step_value(s, expect);
    case EXPECT_FIRST_KEY:
    case EXPECT_KEY:
        return step_key(s, expect, *expect == EXPECT_FIRST_KEY);
    case EXPECT_COLON:
        if (c != ':')
            return broken(s, s->at, "expected ':'", NULL);
        s->at++;
        *expect = EXPECT_VALUE;
        return TEXT_OK;
    case EXPECT_NEXT:
        return step_next(s, expect);
    case EXPECT_NOTHING:
        break;
    }
    return broken(s, s->at, "text after the end of the object", NULL);
}

enum text_verdict
json_recognise(struct str text, struct json_fault *fault)
{
    struct scan s = {.text = text, .fault = fault};
    enum expect expect = EXPECT_NOTHING;
    *fault = (struct json_fault){.at = text.n, .text = "the text ends too soon", .open = 0};
    skip_blanks(&s);
    if (s.at == text.n) {
        fault->text = "the file is empty";
        fault->at = AT_FILE;
        fault->open = AT_FILE;
        return TEXT_INCOMPLETE;
    }
    if (text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0)
        return broken(&s, 0, "a byte order mark before the text", "save it as plain UTF-8");
    if (text.p[s.at] != '{')
        return broken(&s, s.at, "expected '{'", "the file holds one JSON object");
    enum text_verdict v = push(&s);
    for (expect = EXPECT_FIRST_KEY; v == TEXT_OK; v = step(&s, &expect)) {
        skip_blanks(&s);
        if (s.at == text.n)
            break;
    }
    if (v == TEXT_OK && expect == EXPECT_NOTHING)
        return TEXT_OK;
    if (v == TEXT_BROKEN)
        return v;
    fault->open = s.open[s.depth - 1];
    return TEXT_INCOMPLETE;
}

/* Says what jansson refuses and the recogniser does not: duplicate keys, 1e999. */
static int
complain_parser(const struct text_file *f, const json_error_t *e, struct complaint *c)
{
    size_t at = e->position > 0 ? (size_t)e->position : 0;
    if (at > f->text.n)
        at = f->text.n;
    if (json_error_code(e) != json_error_duplicate_key)
        return complain(c, f, at ? at - 1 : 0, NULL, "a value is out of range");
    /* the place is behind the key; its opening quote is the last one without a backslash */
    const char *p = f->text.p;
    for (at = at > 1 ? at - 2 : 0; at > 0 && !(p[at] == '"' && p[at - 1] != '\\');)
        at--;
    return complain(c, f, at, "a key may stand once in an object", "duplicate key");
}

enum text_verdict
json_open(const struct text_file *f, bool final, struct json_node *root, struct complaint *c)
{
    struct json_fault fault;
    enum text_verdict v = json_recognise(f->text, &fault);
    if (v == TEXT_INCOMPLETE && !final)
        return v;
    if (v != TEXT_OK) {
        char hint[96];
        if (fault.open != AT_FILE) {
            snprintf(hint, sizeof hint, "the '%c' of line %u is not closed",
                     f->text.p[fault.open], text_line(f->text, fault.open));
            fault.hint = hint;
        }
        complain(c, f, fault.at, fault.hint, "%s", fault.text);
        return v;
    }
    json_error_t e;
    bool no_memory;
    json_t *json = json_parse(f->text, JSON_REJECT_DUPLICATES, &e, &no_memory);
    if (!json) {
        if (no_memory)
            complain_memory(c, f);
        else
            complain_parser(f, &e, c);
        return TEXT_BROKEN;
    }
    size_t at = (size_t)((const char *)memchr(f->text.p, '{', f->text.n) - f->text.p);
    *root = (struct json_node){.file = f, .json = json, .at = at, .key_at = at};
    return TEXT_OK;
}

/* Does the quoted key text[from, to) say `key`? */
static bool
key_is(struct str text, size_t from, size_t to, const char *key)
{
    struct str raw = {text.p + from, to - from};
    if (!memchr(raw.p, '\\', raw.n))
        return str_is((struct str){raw.p + 1, raw.n - 2}, key);
    json_t *decoded = json_parse(raw, JSON_DECODE_ANY, NULL, NULL);
    bool is = decoded && strcmp(json_string_value(decoded), key) == 0;
    json_decref(decoded);
    return is;
}

/* From the value at s->at to behind it; the text is known to be good. */
static void
skip_value(struct scan *s)
{
    unsigned depth = 0;
    do {
        skip_blanks(s);
        char c = s->text.p[s->at];
        if (c == '"') {
            scan_string(s);
        } else {
            depth += c == '{' || c == '[';
            depth -= (c == '}' || c == ']') && depth > 0;
            s->at++;
            if (is_digit(c) || c == '-' || (c >= 'a' && c <= 'z'))
                while (s->at < s->text.n && !strchr(" \t\r\n,]}", s->text.p[s->at]))
                    s->at++;
        }
    } while (depth > 0);
}

/* Moves from within an object or array to its next member or item; false at its end. */
static bool
to_next(struct scan *s)
{
    skip_blanks(s);
    if (s->text.p[s->at] == ',') {
        s->at++;
        skip_blanks(s);
    }
    return s->text.p[s->at] != '}' && s->text.p[s->at] != ']';
}

struct json_node
json_get(const struct json_node *object, const char *key)
{
    json_t *json = json_object_get(object->json, key);
    if (!json)
        return (struct json_node){.file = object->file};
    struct json_fault ignored;
    struct scan s = {.text = object->file->text, .at = object->at + 1, .fault = &ignored};
    while (to_next(&s)) {
        size_t from = s.at;
        scan_string(&s);
        bool found = key_is(s.text, from, s.at, key);
        skip_blanks(&s);
        s.at++; /* ':' */
        skip_blanks(&s);
        if (found)
            return (struct json_node){object->file, json, s.at, from};
        skip_value(&s);
    }
    /* it is there; for want of memory its key, written with escapes, was not recognised */
    return (struct json_node){object->file, json, object->at, object->at};
}

struct json_node
json_item(const struct json_node *array, size_t index)
{
    struct json_node none = {.file = array->file};
    json_t *json = json_array_get(array->json, index);
    if (!json)
        return none;
    struct json_fault ignored;
    struct scan s = {.text = array->file->text, .at = array->at + 1, .fault = &ignored};
    while (to_next(&s)) {
        if (index-- == 0)
            return (struct json_node){array->file, json, s.at, s.at};
        skip_value(&s);
    }
    return none;
}

const char *
json_kind(const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}
