/*
 * mappings.csv: which column or expression goes into which field. RFC 4180 with comments and
 * blank lines; spaces around unquoted cells do not count.
 *
 * Every finished line is judged, so that a bad one can be refused by the write that brought it;
 * the last line may be cut anywhere and is judged only when no more text follows. It is called
 * with the whole text so far after every write: one pass and no copy but of the good cells.
 */
#include "define/parse.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "define/sandbox.h"

enum {
    CELLS = 3,
    EXPRESSION_MAX = 16 * 1024,
};

static const char header_hint[] = "expected: column,field or column,field,expression";
static const char comma_hint[] =
    "a cell that holds a comma or a quote stands in double quotes, "
    "quotes within it doubled";

struct cell {
    struct str text; /* within the file, or in the arena when quotes were taken out */
    size_t at;
};

struct reader {
    const struct text_file *f;
    size_t at;
    bool final;
    unsigned line;  /* of `at` */
    size_t columns; /* of the header; 0: not read yet */
    struct arena *arena;
    struct sandbox *sandbox; /* opened by the first expression */
    VEC(struct mapping) mappings;
    struct complaint *c;
};

/* ---- cells ---- */

enum cell_end { CELL_COMMA, CELL_LINE, CELL_CUT /* the text ends */, CELL_BAD };

static bool
is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void
skip_spaces(struct str text, size_t *at)
{
    while (*at < text.n && is_space(text.p[*at]))
        (*at)++;
}

/* What ends the cell at *at, which is moved behind it. */
static enum cell_end
cell_end(struct reader *r, size_t *at)
{
    struct str text = r->f->text;
    if (*at == text.n)
        return CELL_CUT;
    if (text.p[*at] == '\r') {
        if (*at + 1 == text.n) {
            (*at)++;
            return CELL_CUT;
        }
        if (text.p[*at + 1] == '\n')
            (*at)++;
    }
    char c = text.p[(*at)++];
    if (c == ',')
        return CELL_COMMA;
    if (c == '\n')
        return CELL_LINE;
    (*at)--;
    if (c == '\r')
        complain(r->c, r->f, *at, NULL, "a carriage return within a line");
    else
        complain(r->c, r->f, *at, comma_hint, "expected ',' or the end of the line");
    return CELL_BAD;
}

/* The cell whose opening quote stands at *at. */
static enum cell_end
quoted_cell(struct reader *r, size_t *at, struct cell *cell)
{
    struct str text = r->f->text;
    size_t open = (*at)++, doubled = 0, from = *at;
    for (;; (*at)++) {
        const char *quote = *at < text.n ? memchr(text.p + *at, '"', text.n - *at) : NULL;
        if (!quote) {
            if (r->final)
                complain(r->c, r->f, open, comma_hint, "this quote is not closed");
            *at = text.n;
            return r->final ? CELL_BAD : CELL_CUT;
        }
        *at = (size_t)(quote - text.p) + 1;
        if (*at == text.n || text.p[*at] != '"')
            break;
        doubled++;
    }
    cell->at = open;
    cell->text = (struct str){text.p + from, *at - 1 - from};
    if (doubled) {
        char *to = arena_alloc(r->arena, cell->text.n);
        if (!to) {
            complain_memory(r->c, r->f);
            return CELL_BAD;
        }
        size_t n = 0;
        for (size_t i = 0; i < cell->text.n; i++) {
            to[n++] = cell->text.p[i];
            i += cell->text.p[i] == '"';
        }
        cell->text = (struct str){to, n};
    }
    skip_spaces(text, at);
    return cell_end(r, at);
}

static enum cell_end
plain_cell(struct reader *r, size_t *at, struct cell *cell)
{
    struct str text = r->f->text;
    size_t from = *at;
    while (*at < text.n && !memchr(",\"\r\n", text.p[*at], 4))
        (*at)++;
    size_t to = *at;
    while (to > from && is_space(text.p[to - 1]))
        to--;
    *cell = (struct cell){{text.p + from, to - from}, from};
    return cell_end(r, at);
}

/* A NUL would end the text early for SQLite and everyone else. */
static int
check_bytes(struct reader *r, const struct cell *cell)
{
    bool cut;
    const char *nul = memchr(cell->text.p, '\0', cell->text.n);
    if (nul)
        return complain(r->c, r->f, cell->at, NULL, "a NUL byte in this cell");
    if (utf8_span(cell->text, &cut) < cell->text.n)
        return complain(r->c, r->f, cell->at, NULL, "invalid UTF-8 in this cell");
    return 0;
}

/* ---- lines ---- */

static int
read_header(struct reader *r, const struct cell *cells, size_t n)
{
    static const char *const names[CELLS] = {"column", "field", "expression"};
    for (size_t i = 0; i < n; i++)
        if (!str_is(cells[i].text, names[i]))
            return complain(r->c, r->f, cells[i].at, header_hint,
                            "the first line must name the columns");
    if (n < 2)
        return complain(r->c, r->f, cells[0].at, header_hint, "the header is too short");
    r->columns = n;
    return 0;
}

static int
check_expression(struct reader *r, const struct mapping *m, const struct cell *cell)
{
    struct error err = ERROR_INIT;
    if (cell->text.n > EXPRESSION_MAX)
        return complain(r->c, r->f, cell->at, NULL, "an expression of more than %d bytes",
                        EXPRESSION_MAX);
    bool opened = r->sandbox || sandbox_open(&r->sandbox, &err) == 0;
    if (opened && sandbox_check(r->sandbox, m->expression, &err) == 0)
        return 0;
    if (err.errnum == ENOMEM)
        return complain_memory(r->c, r->f);
    if (!opened)
        return complain(r->c, r->f, AT_FILE, NULL, "%s", err.text);
    return complain(r->c, r->f, cell->at,
                    "an SQLite expression over the model's columns, such as "
                    "first_name || ' ' || last_name",
                    "%s", err.text);
}

static int
read_mapping(struct reader *r, const struct cell *cells, size_t n)
{
    static const struct cell none;
    const struct cell *column = &cells[0], *field = n > 1 ? &cells[1] : &none,
                      *expression = n > 2 ? &cells[2] : &none;
    if (n > r->columns)
        return complain(r->c, r->f, cells[r->columns].at,
                        r->columns == 2 && n == 3
                            ? "for expressions the header is column,field,expression"
                            : comma_hint,
                        "more cells than the header has");
    if (n < 2 || field->text.n == 0)
        return complain(r->c, r->f, n < 2 ? column->at : field->at, "a line is: column,field",
                        "the field is missing");
    if (column->text.n && expression->text.n)
        return complain(r->c, r->f, expression->at, "leave one of them empty",
                        "both a column and an expression");
    if (!column->text.n && !expression->text.n)
        return complain(r->c, r->f, column->at, "a line is: column,field or ,field,expression",
                        "neither a column nor an expression");

    struct mapping m = {.line = r->line};
    m.field = arena_strndup(r->arena, field->text.p, field->text.n);
    const struct cell *from = column->text.n ? column : expression;
    const char *text = arena_strndup(r->arena, from->text.p, from->text.n);
    if (!m.field || !text)
        return complain_memory(r->c, r->f);
    if (from == column)
        m.column = text;
    else
        m.expression = text;
    int rc = m.expression ? check_expression(r, &m, expression) : 0;
    if (rc == 0 && !VEC_PUSH(&r->mappings, m))
        rc = complain_memory(r->c, r->f);
    return rc;
}

/* Blank lines and comments; false at the first line of cells or the text's end. */
static bool
skip_line(struct reader *r)
{
    struct str text = r->f->text;
    size_t at = r->at;
    if (at == text.n)
        return false;
    if (text.p[at] != '#') {
        skip_spaces(text, &at);
        if (at < text.n && text.p[at] == '\r')
            at++;
        if (at < text.n && text.p[at] != '\n')
            return false;
    }
    const char *end = at < text.n ? memchr(text.p + at, '\n', text.n - at) : NULL;
    r->at = end ? (size_t)(end - text.p) + 1 : text.n;
    r->line += end != NULL;
    return true;
}

/* Reads the record at r->at. TEXT_OK: go on behind it; TEXT_INCOMPLETE: it is cut. */
static enum text_verdict
read_record(struct reader *r)
{
    struct str text = r->f->text;
    struct cell cells[CELLS + 1], more;
    size_t n = 0, at = r->at;
    enum cell_end end;
    do {
        skip_spaces(text, &at);
        struct cell *cell = n <= CELLS ? &cells[n] : &more;
        bool quoted = at < text.n && text.p[at] == '"';
        end = quoted ? quoted_cell(r, &at, cell) : plain_cell(r, &at, cell);
        if (end == CELL_CUT && !r->final)
            return TEXT_INCOMPLETE;
        if (end == CELL_BAD || check_bytes(r, cell))
            return TEXT_BROKEN;
        n += n <= CELLS;
    } while (end == CELL_COMMA);

    int rc = r->columns ? read_mapping(r, cells, n) : -EINVAL;
    if (!r->columns)
        rc = n > CELLS ? complain(r->c, r->f, r->at, header_hint, "the header is too long")
                       : read_header(r, cells, n);
    if (rc)
        return TEXT_BROKEN;
    for (const char *p = text.p + r->at; (p = memchr(p, '\n', (size_t)(text.p + at - p))); p++)
        r->line++;
    r->at = at;
    return TEXT_OK;
}

/* ---- the whole ---- */

static int
by_field(const void *a, const void *b)
{
    const struct mapping *x = *(const struct mapping *const *)a;
    const struct mapping *y = *(const struct mapping *const *)b;
    int c = strcmp(x->field, y->field);
    return c ? c : (x > y) - (x < y);
}

static size_t
line_start(struct str text, unsigned line)
{
    size_t at = 0;
    for (; line > 1 && at < text.n; line--) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        at = end ? (size_t)(end - text.p) + 1 : text.n;
    }
    return at;
}

/* The first line, from the top, whose field was mapped before. */
static int
check_unique(struct reader *r)
{
    size_t n = r->mappings.n;
    if (n < 2)
        return 0;
    AUTO_FREE const struct mapping **sorted = reallocarray(NULL, n, sizeof *sorted);
    if (!sorted)
        return complain_memory(r->c, r->f);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &r->mappings.p[i];
    qsort(sorted, n, sizeof *sorted, by_field);
    const struct mapping *again = NULL, *before = NULL;
    for (size_t i = 1; i < n; i++)
        if (strcmp(sorted[i - 1]->field, sorted[i]->field) == 0 &&
            (!again || sorted[i] < again)) {
            again = sorted[i];
            before = sorted[i - 1];
        }
    if (!again)
        return 0;
    complain(r->c, r->f, line_start(r->f->text, again->line), NULL,
             "field \"%s\" is mapped again, first on line %u", again->field, before->line);
    return -EINVAL;
}

static enum text_verdict
read_all(struct reader *r)
{
    static const char bom[] = "\xEF\xBB\xBF";
    struct str text = r->f->text;
    if (text.n >= 3 && memcmp(text.p, bom, 3) == 0)
        r->at = 3;
    else if (!r->final && text.n < 3 && text.n && memcmp(text.p, bom, text.n) == 0)
        return TEXT_INCOMPLETE;
    enum text_verdict v = TEXT_OK;
    while (v == TEXT_OK && r->at < text.n)
        if (!skip_line(r))
            v = read_record(r);
    if (v != TEXT_BROKEN && check_unique(r))
        return TEXT_BROKEN;
    if (v != TEXT_OK || r->mappings.n)
        return v;
    if (r->final && r->columns)
        complain(r->c, r->f, AT_FILE, "a line is: column,field", "no mappings");
    else if (r->final)
        complain(r->c, r->f, AT_FILE, header_hint, "the file is empty");
    return TEXT_INCOMPLETE;
}

enum text_verdict
mappings_parse(const struct text_file *f, bool final, struct arena *arena, struct mapping **ret,
               size_t *n, struct complaint *c)
{
    struct reader r = {.f = f, .final = final, .line = 1, .arena = arena, .c = c};
    enum text_verdict v = read_all(&r);
    sandbox_close(r.sandbox);
    *ret = NULL;
    *n = r.mappings.n;
    if (v == TEXT_OK) {
        *ret = arena_alloc(arena, r.mappings.n * sizeof **ret);
        if (*ret) {
            memcpy(*ret, r.mappings.p, r.mappings.n * sizeof **ret);
        } else {
            complain_memory(c, f);
            v = TEXT_BROKEN;
        }
    }
    VEC_DONE(&r.mappings);
    return v;
}
