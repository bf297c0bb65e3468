/*
 * Complaints: see define.h and complaint.h. Columns count bytes, as compilers do; the caret is
 * set by characters, so that it stands under the fault in a terminal.
 */
#include "define/complaint.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

#undef complain /* here is the function itself */

enum {
    EXCERPT_BEFORE = 160, /* bytes of a long line shown before the fault */
    MASK_LENGTH = 3,      /* "***", whatever is behind it: not even the length is told */
};

unsigned
text_line(struct str text, size_t at)
{
    unsigned line = 1;
    const char *p = text.p, *end = text.p + (at < text.n ? at : text.n);
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
        line++;
        p++;
    }
    return line;
}

static void
plain_excerpt(struct complaint *c, struct str line, size_t column)
{
    size_t from = column > EXCERPT_BEFORE ? column - EXCERPT_BEFORE : 0;
    while (from > 0 && from < column && utf8_continues(line.p[from]))
        from++;
    size_t n = line.n - from;
    if (n > sizeof c->excerpt - 1)
        n = sizeof c->excerpt - 1;
    for (size_t i = 0; i < n; i++)
        c->excerpt[i] = line.p[from + i] ? line.p[from + i] : '?';
    c->excerpt[n] = '\0';
    utf8_clean(c->excerpt);
    c->caret = (unsigned)(column - from + 1);
}

/* The end of the string that opens at `at`, behind its quote; the line's end when it is open.
 */
static size_t
string_end(struct str line, size_t at)
{
    for (at++; at < line.n && line.p[at] != '"'; at++)
        if (line.p[at] == '\\')
            at++;
    return at < line.n ? at + 1 : line.n;
}

static bool
is_key(struct str line, size_t end)
{
    while (end < line.n && (line.p[end] == ' ' || line.p[end] == '\t'))
        end++;
    return end < line.n && line.p[end] == ':';
}

/* Where the piece of line at `at` ends, and whether it may be shown. *value: a colon came
 * before it, so that it is no key even if another follows. */
static size_t
next_piece(struct str line, size_t at, bool *value, bool *shown)
{
    static const char open[] = "{}[],: \t\r";
    bool is_value = *value;
    *shown = true;
    if (strchr(open, line.p[at]) && line.p[at]) {
        *value = line.p[at] == ':' || (is_value && strchr(" \t\r", line.p[at]));
        return at + 1;
    }
    *value = false;
    if (line.p[at] == '"') {
        size_t end = string_end(line, at);
        *shown = !is_value && is_key(line, end);
        return end;
    }
    *shown = false;
    while (at < line.n && line.p[at] != '"' && !(line.p[at] && strchr(open, line.p[at])))
        at++;
    return at;
}

/* Whether what follows text is a value. */
static bool
after_colon(struct str text)
{
    while (text.n > 0 && strchr(" \t\r\n", text.p[text.n - 1]) && text.p[text.n - 1])
        text.n--;
    return text.n > 0 && text.p[text.n - 1] == ':';
}

/* Keys and punctuation of a line of JSON; each value, well formed or not, as "***". */
static void
masked_excerpt(struct complaint *c, struct str line, size_t column, bool value)
{
    size_t n = 0, at = 0;
    for (size_t end; at < line.n; at = end) {
        bool shown;
        end = next_piece(line, at, &value, &shown);
        size_t need = shown ? end - at : MASK_LENGTH;
        if (n + need >= sizeof c->excerpt)
            break;
        if (column >= at && column < end)
            c->caret = (unsigned)(n + (shown ? column - at : 0) + 1);
        for (size_t i = 0; i < need; i++)
            c->excerpt[n++] = shown ? line.p[at + i] : '*';
    }
    c->excerpt[n] = '\0';
    if (at == line.n && column >= line.n)
        c->caret = (unsigned)n + 1;
    utf8_clean(c->excerpt);
    if (c->caret == 0) /* the fault is behind what fits */
        c->excerpt[0] = '\0';
}

void
connection_mask(struct str text, struct buf *out)
{
    bool value = false;
    while (text.n) {
        const char *newline = memchr(text.p, '\n', text.n);
        struct str line = {text.p, newline ? (size_t)(newline - text.p) : text.n};
        for (size_t at = 0, end; at < line.n; at = end) {
            bool shown;
            end = next_piece(line, at, &value, &shown);
            buf_add(out, shown ? line.p + at : "***", shown ? end - at : MASK_LENGTH);
        }
        size_t taken = line.n + (newline != NULL);
        buf_add(out, "\n", newline != NULL);
        text = (struct str){text.p + taken, text.n - taken};
    }
}

static void
place(struct complaint *c, const struct text_file *f, size_t at)
{
    if (at == AT_FILE)
        return;
    struct str text = f->text;
    if (at > text.n)
        at = text.n;
    /* a text that ends too soon is shown at its last line, not at the empty one after it */
    while (at == text.n && at > 0 && text.p[at - 1] == '\n') {
        text.n--;
        at--;
    }
    size_t start = at;
    while (start > 0 && text.p[start - 1] != '\n')
        start--;
    const char *stop = memchr(text.p + at, '\n', text.n - at);
    struct str line = {text.p + start, (stop ? (size_t)(stop - text.p) : text.n) - start};
    if (line.n > at - start && line.p[line.n - 1] == '\r')
        line.n--;
    c->line = text_line(text, start);
    c->column = (unsigned)(at - start + 1);
    if (f->secret)
        masked_excerpt(c, line, at - start, after_colon((struct str){text.p, start}));
    else
        plain_excerpt(c, line, at - start);
}

int
complain(struct complaint *c, const struct text_file *f, size_t at, const char *hint,
         const char *format, ...)
{
    *c = (struct complaint){.line = 0};
    snprintf(c->file, sizeof c->file, "%s", f->name);
    va_list ap;
    va_start(ap, format);
    vsnprintf(c->text, sizeof c->text, format, ap);
    va_end(ap);
    if (hint)
        snprintf(c->hint, sizeof c->hint, "%s", hint);
    utf8_clean(c->file);
    utf8_clean(c->text);
    utf8_clean(c->hint);
    if (f->text.p)
        place(c, f, at);
    return -EINVAL;
}

int
complain_memory(struct complaint *c, const struct text_file *f)
{
    complain(c, f, AT_FILE, NULL, "out of memory");
    c->no_memory = true;
    return -ENOMEM;
}

static void
render_line(const char *dir, const struct complaint *c, struct buf *out)
{
    if (dir)
        buf_addf(out, "%s%s", dir, c->file[0] ? "/" : "");
    buf_adds(out, c->file);
    if (c->line)
        buf_addf(out, ":%u", c->line);
    if (c->line && c->column)
        buf_addf(out, ":%u", c->column);
    if (dir || c->file[0])
        buf_adds(out, ": ");
    buf_addf(out, "error: %s", c->text);
}

void
complaint_line(const struct complaint *c, struct buf *out)
{
    render_line(NULL, c, out);
}

static void
render_excerpt(const struct complaint *c, struct buf *out)
{
    buf_addf(out, "  %s\n", c->excerpt);
    if (!c->caret)
        return;
    buf_adds(out, "  ");
    for (size_t i = 0; i + 1 < c->caret; i++)
        if (i >= strlen(c->excerpt) || !utf8_continues(c->excerpt[i]))
            buf_addc(out, ' ');
    buf_adds(out, "^\n");
}

void
complaint_render_under(const char *dir, const struct complaint *c, struct buf *out)
{
    render_line(dir, c, out);
    buf_addc(out, '\n');
    if (c->excerpt[0])
        render_excerpt(c, out);
    if (c->hint[0])
        buf_addf(out, "%s\n", c->hint);
}

void
complaint_render(const struct complaint *c, struct buf *out)
{
    complaint_render_under(NULL, c, out);
}
