/*
 * What PostgreSQL's driver parses. The first line says what the rest is: letters of types, a
 * row of COPY; "#" and letters of forms, a tuple of binary COPY; "=", values to be written as
 * COPY and read back; ".", a table's name; ";", a query.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "postgres/binary.h"
#include "postgres/name.h"
#include "postgres/types.h"

enum { FIELDS = 64 };

static const struct {
    char letter;
    enum value_type type;
} letters[] = {{'b', V_BOOL},      {'i', V_INT},         {'d', V_DECIMAL}, {'f', V_FLOAT},
               {'t', V_TEXT},      {'x', V_BYTES},       {'D', V_DATE},    {'T', V_TIME},
               {'S', V_TIMESTAMP}, {'Z', V_TIMESTAMPTZ}, {'j', V_JSON}};

/* Values of a row, written and read back, are the same. */
static void
check_round(const struct value *values, const enum value_type *types, size_t n)
{
    AUTO_BUF struct buf line = BUF_INIT(BUF_NO_MAX);
    struct value again[FIELDS];
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(&line, '\t');
        pg_encode_value(&line, &values[i]);
    }
    MUST(!line.failed && !memchr(buf_z(&line), '\n', line.n));
    MUST(pg_decode_line(line.p, line.n, types, again, n));
    for (size_t i = 0; i < n; i++)
        MUST(value_equal(&values[i], &again[i]));
}

static void
check_row(struct str head, struct str rest)
{
    enum value_type types[FIELDS];
    struct value values[FIELDS];
    size_t n = 0;
    for (size_t i = 0; i < head.n && n < FIELDS; i++)
        for (size_t k = 0; k < sizeof letters / sizeof *letters; k++)
            if (letters[k].letter == head.p[i])
                types[n++] = letters[k].type;
    const char *newline = memchr(rest.p, '\n', rest.n);
    rest.n = newline ? (size_t)(newline - rest.p) : rest.n;
    AUTO_FREE char *line = malloc(rest.n + 1); /* a line has its newline behind it */
    MUST(line);
    memcpy(line, rest.p, rest.n);
    line[rest.n] = '\n';
    if (n == 0 || !pg_decode_line(line, rest.n, types, values, n))
        return;
    bool plain = true; /* numbers and dates have no bytes to escape */
    for (size_t i = 0; i < n; i++) {
        bool text = values[i].type == V_TEXT || values[i].type == V_JSON ||
                    values[i].type == V_BYTES || values[i].type == V_DECIMAL;
        plain &= text || values[i].type == V_NULL ||
                 (!memchr(values[i].p, '\\', values[i].n) &&
                  !memchr(values[i].p, '\t', values[i].n) &&
                  !memchr(values[i].p, '\n', values[i].n));
    }
    if (plain)
        check_round(values, types, n);
}

/* Whatever a server sends as a tuple, values stay within it and within what is made of it. */
static void
check_tuple(struct str head, struct str rest)
{
    enum pg_form forms[FIELDS];
    enum value_type types[FIELDS];
    struct value values[FIELDS];
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    size_t n = head.n - 1 < FIELDS ? head.n - 1 : FIELDS;
    for (size_t i = 0; i < n; i++) {
        forms[i] = (enum pg_form)((uint8_t)head.p[1 + i] % (PG_FORM_TIMESTAMPTZ + 1));
        types[i] = V_TEXT;
    }
    AUTO_FREE char *tuple = malloc(rest.n ? rest.n : 1); /* its end is watched */
    MUST(tuple);
    memcpy(tuple, rest.p, rest.n);
    if (!pg_decode_tuple(tuple, rest.n, forms, types, values, n, &text))
        return;
    for (size_t i = 0; i < n; i++) {
        const struct value *v = &values[i];
        bool in_tuple = v->p >= tuple && v->p + v->n <= tuple + rest.n;
        MUST(v->type == V_NULL || in_tuple ||
             (v->p >= text.p && v->p + v->n <= text.p + text.cap));
    }
}

static void
check_values(struct str rest)
{
    static const enum value_type types[] = {V_TEXT, V_BYTES, V_JSON};
    struct value values[3];
    for (size_t i = 0; i < 3; i++)
        values[i] = (struct value){rest.p, (uint32_t)rest.n, (uint8_t)types[i]};
    check_round(values, types, 3);
}

static void
check_name(const char *text)
{
    struct pg_name name = {0};
    struct error err = ERROR_INIT;
    int rc = pg_name_parse(text, &name, &err);
    fuzz_check_error(rc, &err);
    if (rc == 0) {
        MUST(name.table.n > 0);
        pg_name_done(&name);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *p = (const char *)data, *newline = n ? memchr(p, '\n', n) : NULL;
    if (!newline)
        return 0;
    struct str head = {p, (size_t)(newline - p)};
    struct str rest = {newline + 1, n - head.n - 1};
    AUTO_FREE char *text = strndup(rest.p, rest.n);
    MUST(text);
    if (head.n && head.p[0] == '#')
        check_tuple(head, rest);
    else if (str_is(head, "="))
        check_values(rest);
    else if (str_is(head, "."))
        check_name(text);
    else if (str_is(head, ";"))
        MUST(pg_query_length(text) <= strlen(text));
    else
        check_row(head, rest);
    return 0;
}
