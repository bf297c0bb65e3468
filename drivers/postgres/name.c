/* Names and the ends of queries: see name.h. */
#include "postgres/name.h"

#include <string.h>

enum { PART_MAX = 256 };

static bool
is_bare(unsigned char c)
{
    return c == '_' || c == '$' || c >= 0x80 || (c >= '0' && c <= '9') ||
           (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Reads one part at *p; false when there is none, its quote does not end, or it failed. */
static bool
read_part(const char **p, struct buf *out)
{
    const char *s = *p;
    buf_clear(out);
    if (*s == '"') {
        for (s++; *s && (*s != '"' || s[1] == '"'); s++) {
            s += *s == '"';
            buf_addc(out, *s);
        }
        if (*s++ != '"')
            return false;
    } else {
        if (*s >= '0' && *s <= '9')
            return false;
        for (; is_bare((unsigned char)*s); s++)
            buf_addc(out, (char)(*s >= 'A' && *s <= 'Z' ? *s - 'A' + 'a' : *s));
    }
    *p = s;
    return out->n > 0 && !out->failed;
}

int
pg_name_parse(const char *text, struct pg_name *ret, struct error *err)
{
    *ret = (struct pg_name){BUF_INIT(PART_MAX), BUF_INIT(PART_MAX)};
    const char *p = text;
    bool good = read_part(&p, &ret->table);
    if (good && *p == '.') {
        struct buf first = ret->table;
        ret->table = ret->schema;
        ret->schema = first;
        p++;
        good = read_part(&p, &ret->table);
    }
    if (good && !*p)
        return 0;
    bool no_memory = ret->table.failed && !ret->table.full;
    pg_name_done(ret);
    if (no_memory)
        return error_no_memory(err);
    return error_set(err, ERR_CONFIG, EINVAL,
                     "%s is not a table's name: write name or schema.name, and double quotes "
                     "around a part with other characters than letters, digits and _",
                     *text ? text : "\"\"");
}

void
pg_name_done(struct pg_name *name)
{
    buf_done(&name->schema);
    buf_done(&name->table);
}

void
pg_name_add(struct pg_link *link, struct buf *sql, const struct pg_name *name)
{
    if (name->schema.n) {
        pg_add_name(link, sql, buf_z(&name->schema));
        buf_addc(sql, '.');
    }
    pg_add_name(link, sql, buf_z(&name->table));
}

/* ---- the end of a query ---- */

/* Past the quote that ends what begins at p (its opening quote). */
static const char *
skip_quoted(const char *p, char quote, bool backslashes)
{
    for (p++; *p; p++) {
        if ((backslashes && *p == '\\' && p[1]) || (*p == quote && p[1] == quote))
            p++;
        else if (*p == quote)
            return p + 1;
    }
    return p;
}

/* Past $tag$ … $tag$; p + 1 when it is none. */
static const char *
skip_dollars(const char *p)
{
    const char *tag_end = p + 1;
    while (*tag_end && *tag_end != '$' && is_bare((unsigned char)*tag_end))
        tag_end++;
    if (*tag_end != '$' || (p[1] >= '0' && p[1] <= '9'))
        return p + 1;
    size_t n = (size_t)(tag_end + 1 - p);
    for (const char *q = tag_end + 1; (q = strchr(q, '$')); q++)
        if (strncmp(q, p, n) == 0)
            return q + n;
    return p + strlen(p);
}

/* Past a comment (block comments nest); p itself when there is none. */
static const char *
skip_comment(const char *p)
{
    if (p[0] == '-' && p[1] == '-')
        return p + strcspn(p, "\n");
    if (p[0] != '/' || p[1] != '*')
        return p;
    int depth = 0;
    do {
        if (p[0] == '/' && p[1] == '*') {
            depth++;
            p += 2;
        } else if (p[0] == '*' && p[1] == '/') {
            depth--;
            p += 2;
        } else {
            p++;
        }
    } while (depth > 0 && *p);
    return p;
}

size_t
pg_query_length(const char *query)
{
    const char *p = query, *end = query;
    while (*p) {
        const char *after = skip_comment(p);
        if (after != p) {
            p = after;
            continue;
        }
        if (strchr("; \t\r\n\f\v", *p)) {
            p++;
            continue;
        }
        bool word = p > query && is_bare((unsigned char)p[-1]);
        if (*p == '\'')
            p = skip_quoted(p, '\'', word && (p[-1] == 'e' || p[-1] == 'E'));
        else if (*p == '"')
            p = skip_quoted(p, '"', false);
        else if (*p == '$' && !word)
            p = skip_dollars(p);
        else
            p++;
        end = p;
    }
    return (size_t)(end - query);
}
