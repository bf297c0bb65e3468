/* Errors of a server: see fail.h. The SQLSTATE decides, never the (translated) words. */
#include "postgres/fail.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static bool
class_is(const char *sqlstate, const char *prefix)
{
    return strncmp(sqlstate, prefix, strlen(prefix)) == 0;
}

/* Errors that a row can be guilty of: cardinality (21), data (22), constraints (23), WITH CHECK
 * OPTION (44), an index entry that is too long (54000), a document nested too deeply (54001),
 * RAISE in a trigger (P0, or a code of the user's own: the standard leaves the classes from I
 * on free, PostgreSQL has XX there). */
static bool
is_about_data(const char *s)
{
    return class_is(s, "21") || class_is(s, "22") || class_is(s, "23") || class_is(s, "44") ||
           strcmp(s, "54000") == 0 || strcmp(s, "54001") == 0 ||
           (s[0] >= 'I' && s[0] <= 'Z' && !class_is(s, "XX"));
}

bool
pg_blames_data(const struct pg_link *link)
{
    return is_about_data(link->sqlstate);
}

static enum error_kind
kind_of(const char *s, int *errnum)
{
    static const struct {
        const char *prefix;
        enum error_kind kind;
        int errnum;
    } table[] = {
        {"08", ERR_UNREACHABLE, ECONNRESET}, {"57P", ERR_UNREACHABLE, ECONNRESET},
        {"53300", ERR_UNREACHABLE, EAGAIN},  {"28", ERR_AUTH, EACCES},
        {"42501", ERR_CONFIG, EACCES},       {"42", ERR_CONFIG, EINVAL},
        {"3D", ERR_CONFIG, EINVAL},          {"3F", ERR_CONFIG, EINVAL},
        {"0A", ERR_CONFIG, EINVAL},          {"25006", ERR_CONFIG, EROFS},
        {"57014", ERR_REMOTE, ETIMEDOUT},    {"55P03", ERR_REMOTE, EAGAIN},
        {"40", ERR_REMOTE, EAGAIN},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (class_is(s, table[i].prefix)) {
            *errnum = table[i].errnum;
            return table[i].kind;
        }
    }
    *errnum = is_about_data(s) ? EINVAL : EIO;
    return is_about_data(s) ? ERR_DATA : ERR_REMOTE;
}

/* Appends the words with every run of white space as one blank, so that they are one line. */
static void
add_words(struct error *err, const char *before, const char *words, size_t n, const char *after)
{
    size_t at = strlen(err->text), max = sizeof err->text;
    int k = snprintf(err->text + at, max - at, "%s", before);
    at = k < (int)(max - at) ? at + (size_t)k : max - 1;
    for (size_t i = 0; i < n && at + 1 < max; i++) {
        bool space = isspace((unsigned char)words[i]);
        if (space && (i + 1 == n || isspace((unsigned char)words[i + 1])))
            continue;
        err->text[at++] = space ? ' ' : words[i];
    }
    while (at > 0 && at + 1 == max && ((unsigned char)err->text[at - 1] & 0x80))
        at--; /* rather lose a character than cut one */
    err->text[at] = '\0';
    snprintf(err->text + at, max - at, "%s", after);
    utf8_clean(err->text);
}

static void
add_field(struct error *err, const PGresult *res, int field, const char *before,
          const char *after)
{
    const char *words = PQresultErrorField(res, field);
    if (words && *words)
        add_words(err, before, words, strlen(words), after);
}

int
pg_fail(struct pg_link *link, const PGresult *res, struct error *err)
{
    const char *sqlstate = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    snprintf(link->sqlstate, sizeof link->sqlstate, "%s", sqlstate ? sqlstate : "");
    if (atomic_load(&link->cancelled))
        return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
    if (!sqlstate) {
        bool lost = PQstatus(link->conn) != CONNECTION_OK;
        const char *words = PQerrorMessage(link->conn);
        const char *echo = strstr(words, "\ninvalid socket"); /* of asking again */
        error_set(err, lost ? ERR_UNREACHABLE : ERR_INTERNAL, lost ? ECONNRESET : EIO, "%s",
                  "");
        add_words(err, lost ? "the connection was lost: " : "", words,
                  echo ? (size_t)(echo - words) : strlen(words), "");
        return -err->errnum;
    }
    int errnum;
    enum error_kind kind = kind_of(sqlstate, &errnum);
    error_set(err, kind, errnum, "%s", "");
    add_field(err, res, PG_DIAG_MESSAGE_PRIMARY, "", "");
    add_field(err, res, PG_DIAG_MESSAGE_DETAIL, " (", ")");
    add_field(err, res, PG_DIAG_MESSAGE_HINT, "; hint: ", "");
    return -errnum;
}

/* "FATAL:" has five letters too, but every code has a digit. */
static bool
is_sqlstate(const char *s)
{
    return strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
           strcspn(s, "0123456789") < 5;
}

/* Finds ": 28P01: " in a verbose message; returns where the words after it begin. */
static const char *
find_sqlstate(const char *message, char sqlstate[6])
{
    for (const char *p = message; (p = strchr(p, ':')); p++) {
        const char *s = p + 1 + strspn(p + 1, " ");
        if (s == p + 1 || !is_sqlstate(s) || s[5] != ':')
            continue;
        memcpy(sqlstate, s, 5);
        sqlstate[5] = '\0';
        return s + 6 + strspn(s + 6, " ");
    }
    return NULL;
}

int
pg_fail_connect(struct pg_link *link, struct error *err)
{
    enum error_kind kind = ERR_UNREACHABLE;
    int errnum = EHOSTUNREACH;
    const char *message = PQerrorMessage(link->conn);
    size_t n = strlen(message);
    const char *words = find_sqlstate(message, link->sqlstate);
    if (words) {
        kind = kind_of(link->sqlstate, &errnum);
        message = words;
        n = strcspn(words, "\n"); /* "LOCATION: …" follows */
    } else if (PQconnectionNeedsPassword(link->conn)) {
        kind = ERR_AUTH;
        errnum = EACCES;
    }
    error_set(err, kind, errnum, "%s", "");
    add_words(err, "cannot connect: ", message, n, "");
    return -errnum;
}
