/* What a case expects, and what came: see case.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "case.h"

enum { TEXT_MAX = 32 << 20, NEAR_SECONDS = 600 };

void
case_identity(size_t row, unsigned char out[32])
{
    for (int i = 2; i < 32; i++)
        out[i] = (unsigned char)(0xa0 + i);
    out[0] = (unsigned char)(row >> 8);
    out[1] = (unsigned char)row;
}

/* ---- placeholders that are known beforehand ---- */

static void
add_identity(struct buf *out, const char *text)
{
    unsigned char bytes[32];
    char hex[65], *end;
    unsigned long row = strtoul(text, &end, 10);
    unsigned long digits = *end == ':' ? strtoul(end + 1, NULL, 10) : 32;
    case_identity((unsigned)row, bytes);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    buf_add(out, hex, digits < 64 ? digits : 64);
}

static void
add_date(struct buf *out, const char *text)
{
    time_t then = time(NULL) + strtol(text, NULL, 10);
    struct tm tm;
    char date[64];
    gmtime_r(&then, &tm);
    (void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buf_adds(out, date);
}

void
case_expand(const struct case_world *w, const char *text, struct buf *out)
{
    for (const char *p = text; *p; p++) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (end && strncmp(p, "{peer}", 6) == 0)
            buf_addf(out, "http://127.0.0.1:%d", w->port);
        else if (end && strncmp(p, "{nowhere}", 9) == 0)
            buf_addf(out, "http://127.0.0.1:%d", w->nowhere);
        else if (end && strncmp(p, "{identity:", 10) == 0)
            add_identity(out, p + 10);
        else if (end && strncmp(p, "{date:", 6) == 0)
            add_date(out, p + 6);
        else if (end && strncmp(p, "{epoch:", 7) == 0)
            buf_add_int(out, clock_now() / 1000000 + strtol(p + 7, NULL, 10));
        else
            end = NULL;
        if (end)
            p = end;
        else
            buf_addc(out, *p);
    }
}

/* ---- texts ---- */

/* How many characters the pattern at *p wants of a class; 0: it is no placeholder. */
static size_t
class_at(const char *p, const char **end, const char **class)
{
    static const char hex[] = "0123456789abcdef", uuid[] = "0123456789abcdef-";
    if (strncmp(p, "{uuid}", 6) == 0) {
        *class = uuid;
        *end = p + 6;
        return 36;
    }
    if (strncmp(p, "{hex:", 5) == 0) {
        char *after;
        unsigned long n = strtoul(p + 5, &after, 10);
        if (*after != '}')
            return 0;
        *class = hex;
        *end = after + 1;
        return n;
    }
    return 0;
}

/* {any} is as much as may be, {digits} some. */
static bool
text_fits(const char *want, const char *got)
{
    for (;;) {
        const char *end, *class;
        size_t n = class_at(want, &end, &class);
        if (n > 0) {
            if (strspn(got, class) < n)
                return false;
            want = end;
            got += n;
        } else if (strncmp(want, "{digits}", 8) == 0) {
            n = strspn(got, "0123456789");
            if (n == 0)
                return false;
            want += 8;
            got += n;
        } else if (strncmp(want, "{any}", 5) == 0) {
            for (;; got++) {
                if (text_fits(want + 5, got))
                    return true;
                if (!*got)
                    return false;
            }
        } else if (*want != *got) {
            return false;
        } else if (!*want) {
            return true;
        } else {
            want++;
            got++;
        }
    }
}

/* ---- JSON ---- */

struct comparison {
    char where[512]; /* JSON pointer */
    struct buf *why;
};

static bool
near_now(const json_t *got, double unit)
{
    double off = json_number_value(got) / unit - (double)time(NULL);
    return json_is_integer(got) && off > -NEAR_SECONDS && off < NEAR_SECONDS;
}

static bool
string_fits(const char *want, const json_t *got)
{
    if (strcmp(want, "{any}") == 0)
        return true;
    if (strcmp(want, "{milliseconds}") == 0)
        return near_now(got, 1000);
    if (strcmp(want, "{seconds}") == 0)
        return near_now(got, 1);
    if (strcmp(want, "{iso}") == 0)
        want = "2{digits}-{digits}-{digits}T{digits}:{digits}:{digits}{any}Z";
    return json_is_string(got) && text_fits(want, json_string_value(got));
}

static bool
differs(struct comparison *c, const json_t *want, const json_t *got)
{
    AUTO_FREE char *wanted = want ? json_dumps(want, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    AUTO_FREE char *came = got ? json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    buf_addf(c->why, "body at \"%s\": %s, expected %s", c->where, came ? came : "nothing",
             wanted ? wanted : "nothing");
    return false;
}

static bool json_fits(struct comparison *c, const json_t *want, const json_t *got);

static bool
member_fits(struct comparison *c, const char *name, const json_t *want, const json_t *got)
{
    size_t n = strlen(c->where);
    snprintf(c->where + n, sizeof c->where - n, "/%s", name);
    bool good = want && got ? json_fits(c, want, got) : differs(c, want, got);
    if (good)
        c->where[n] = '\0';
    return good;
}

static bool
object_fits(struct comparison *c, const json_t *want, const json_t *got)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)want, name, value)
    {
        if (!member_fits(c, name, value, json_object_get(got, name)))
            return false;
    }
    json_object_foreach((json_t *)(uintptr_t)got, name, value)
    {
        if (!json_object_get(want, name))
            return member_fits(c, name, NULL, value);
    }
    return true;
}

static bool
array_fits(struct comparison *c, const json_t *want, const json_t *got)
{
    size_t n = json_array_size(want), m = json_array_size(got);
    for (size_t i = 0; i < n || i < m; i++) {
        char name[24];
        snprintf(name, sizeof name, "%zu", i);
        if (!member_fits(c, name, json_array_get(want, i), json_array_get(got, i)))
            return false;
    }
    return true;
}

static bool
json_fits(struct comparison *c, const json_t *want, const json_t *got)
{
    if (json_is_string(want))
        return string_fits(json_string_value(want), got) || differs(c, want, got);
    if (json_typeof(want) != json_typeof(got))
        return differs(c, want, got);
    if (json_is_object(want))
        return object_fits(c, want, got);
    if (json_is_array(want))
        return array_fits(c, want, got);
    return json_equal(want, got) || differs(c, want, got);
}

static bool
json_texts_fit(const char *want, const char *got, struct buf *why)
{
    json_error_t at;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_t *wanted = json_loads(want, flags, &at), *came = NULL;
    bool good = false;
    if (!wanted)
        buf_addf(why, "the case's own body is no JSON: line %d: %s", at.line, at.text);
    else if (!(came = json_loads(got, flags, &at)))
        buf_addf(why, "its body is no JSON: %s", at.text);
    else
        good = json_fits(&(struct comparison){.why = why}, wanted, came);
    json_decref(wanted);
    json_decref(came);
    return good;
}

/* ---- other bodies ---- */

static bool
exact_fits(const char *want, const char *got, struct buf *why)
{
    AUTO_BUF struct buf wanted = BUF_INIT(TEXT_MAX);
    buf_adds(&wanted, want);
    if (wanted.n && wanted.p[wanted.n - 1] == '\n' && !text_fits(want, got))
        wanted.p[--wanted.n] = '\0';
    if (text_fits(buf_z(&wanted), got))
        return true;
    buf_addf(why, "body, expected exactly:\n%s", want);
    return false;
}

static bool
lines_fit(const char *want, const char *got, struct buf *why)
{
    while (*want || *got) {
        size_t n = strcspn(want, "\n"), m = strcspn(got, "\n");
        AUTO_FREE char *wanted = strndup(want, n), *came = strndup(got, m);
        if (!json_texts_fit(wanted, came, why))
            return false;
        if (want[n] != got[m]) {
            buf_adds(why, "not as many lines as expected, or the last has no end");
            return false;
        }
        want += n + (want[n] != '\0');
        got += m + (got[m] != '\0');
    }
    return true;
}

static char *
decode(const char *p, size_t n)
{
    char *text = calloc(1, n + 1), *to = text;
    for (size_t i = 0; text && i < n; i++) {
        if (p[i] == '%' && i + 2 < n && isxdigit((unsigned char)p[i + 1]) &&
            isxdigit((unsigned char)p[i + 2])) {
            *to++ = (char)strtoul((char[]){p[i + 1], p[i + 2], '\0'}, NULL, 16);
            i += 2;
        } else {
            *to++ = p[i] == '+' ? ' ' : p[i];
        }
    }
    return text;
}

/* Name and value of the member between p and p + n, for the caller to free. */
static void
split(const char *p, size_t n, bool encoded, char **name, char **value)
{
    const char *equals = memchr(p, '=', n);
    size_t m = equals ? (size_t)(equals - p) : n;
    size_t rest = m < n ? n - m - 1 : 0;
    *name = encoded ? decode(p, m) : strndup(p, m);
    *value = encoded ? decode(p + n - rest, rest) : strndup(p + n - rest, rest);
}

static char *
form_value(const char *form, const char *wanted)
{
    for (const char *p = form; *p;) {
        size_t n = strcspn(p, "&");
        char *value;
        AUTO_FREE char *name = NULL;
        split(p, n, true, &name, &value);
        if (strcmp(name, wanted) == 0)
            return value;
        free(value);
        p += n + (p[n] == '&');
    }
    return NULL;
}

static size_t
count(const char *text, const char *end)
{
    size_t n = 0;
    for (const char *p = text; *p; n++) {
        p += strcspn(p, end);
        p += *p != '\0';
    }
    return n;
}

static bool
form_fits(const char *want, const char *got, struct buf *why)
{
    for (const char *p = want; *p;) {
        size_t n = strcspn(p, "\n");
        AUTO_FREE char *name = NULL, *value = NULL;
        split(p, n, false, &name, &value);
        AUTO_FREE char *came = form_value(got, name);
        bool json = *value == '{' || *value == '[';
        if (!came) {
            buf_addf(why, "the form has no \"%s\"", name);
            return false;
        }
        if (json ? !json_texts_fit(value, came, why) : !text_fits(value, came)) {
            buf_addf(why, "%sform member \"%s\": %s, expected %s", json ? "; " : "", name, came,
                     value);
            return false;
        }
        p += n + (p[n] == '\n');
    }
    if (count(want, "\n") == count(got, "&"))
        return true;
    buf_adds(why, "the form has more members than expected");
    return false;
}

/* ---- requests ---- */

/* Of that name; n = 0 and p = NULL: there is none. */
static struct str
header_of(const char *request, const char *name)
{
    size_t n = strlen(name);
    const char *end = strstr(request, "\r\n\r\n");
    for (const char *p = strstr(request, "\r\n"); p && p < end; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            p += n + 1 + strspn(p + n + 1, " ");
            return (struct str){p, strcspn(p, "\r")};
        }
    }
    return (struct str){NULL, 0};
}

static bool
header_fits(const struct case_world *w, const char *request, const char *name, const char *want,
            struct buf *why)
{
    struct str got = header_of(request, name);
    AUTO_FREE char *text = got.p ? strndup(got.p, got.n) : NULL;
    AUTO_BUF struct buf wanted = BUF_INIT(TEXT_MAX);
    case_expand(w, want ? want : "", &wanted);
    if (!want && !text)
        return true;
    if (want && text && text_fits(buf_z(&wanted), text))
        return true;
    buf_addf(why, "header %s: %s, expected %s", name, text ? text : "is missing",
             want ? buf_z(&wanted) : "none");
    return false;
}

/* The body as text, unpacked. */
static bool
body_of(const char *request, size_t n, struct buf *out)
{
    const char *body = strstr(request, "\r\n\r\n");
    body = body ? body + 4 : request + n;
    n -= (size_t)(body - request);
    if (!str_is(header_of(request, "content-encoding"), "gzip")) {
        buf_add(out, body, n);
        return true;
    }
    z_stream z = {.next_in = (Bytef *)(uintptr_t)body, .avail_in = (uInt)n};
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return false;
    int rc = Z_OK;
    while (rc == Z_OK) {
        char room[16384];
        z.next_out = (Bytef *)room;
        z.avail_out = sizeof room;
        rc = inflate(&z, Z_NO_FLUSH);
        buf_add(out, room, sizeof room - z.avail_out);
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END;
}

static bool
body_fits(const struct case_world *w, const struct case_exchange *x, const char *request,
          size_t n, struct buf *why)
{
    AUTO_BUF struct buf want = BUF_INIT(TEXT_MAX), got = BUF_INIT(TEXT_MAX);
    case_expand(w, x->body, &want);
    if (!body_of(request, n, &got)) {
        buf_adds(why, "the body is not what gzip makes");
        return false;
    }
    switch (x->compare) {
    case BODY_ANY:
        return true;
    case BODY_JSON:
        return json_texts_fit(buf_z(&want), buf_z(&got), why);
    case BODY_LINES:
        return lines_fit(buf_z(&want), buf_z(&got), why);
    case BODY_FORM:
        return form_fits(buf_z(&want), buf_z(&got), why);
    case BODY_EXACT:
        break;
    }
    return exact_fits(buf_z(&want), buf_z(&got), why);
}

bool
case_fits(const struct case_world *w, const struct case_exchange *x, const char *request,
          size_t n, struct buf *why)
{
    AUTO_BUF struct buf want = BUF_INIT(TEXT_MAX);
    AUTO_FREE char *line = strndup(request, strcspn(request, "\r"));
    char *end = strstr(line, " HTTP/1.1");
    if (end)
        *end = '\0';
    buf_addf(&want, "%s ", x->method);
    case_expand(w, x->path, &want);
    if (!text_fits(buf_z(&want), line)) {
        buf_addf(why, "%s, expected %s", line, buf_z(&want));
        return false;
    }
    for (size_t i = 0; i < x->headers.n; i++)
        if (!header_fits(w, request, x->headers.names[i], x->headers.values[i], why))
            return false;
    return body_fits(w, x, request, n, why);
}
