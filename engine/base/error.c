/* Error texts: see error.h. */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Here are the functions themselves, not what analysers are told of them. */
#undef error_set
#undef error_set_errno
#undef error_wrap

/* Ends a text that did not fit where its last whole character ends. */
static void
cut(char *text, size_t size)
{
    text[utf8_cut(text, size, size - 1)] = '\0';
}

__attribute__((format(printf, 2, 0))) static void
format_text(struct error *err, const char *format, va_list ap)
{
    int n = vsnprintf(err->text, sizeof err->text, format, ap);
    if (n >= (int)sizeof err->text)
        cut(err->text, sizeof err->text);
    utf8_clean(err->text);
}

int
error_set(struct error *err, enum error_kind kind, int errnum, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    format_text(err, format, ap);
    va_end(ap);
    err->kind = kind;
    err->errnum = errnum;
    return -errnum;
}

int
error_set_errno(struct error *err, enum error_kind kind, int errnum, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    format_text(err, format, ap);
    va_end(ap);
    char reason[128];
    const char *why = strerror_r(errnum, reason, sizeof reason);
    size_t n = strlen(err->text);
    if (n + strlen(why) + 3 <= sizeof err->text)
        snprintf(err->text + n, sizeof err->text - n, ": %s", why);
    err->kind = kind;
    err->errnum = errnum;
    return -errnum;
}

int
error_wrap(struct error *err, const char *format, ...)
{
    char old[ERROR_TEXT_MAX];
    memcpy(old, err->text, sizeof old);
    va_list ap;
    va_start(ap, format);
    format_text(err, format, ap);
    va_end(ap);
    size_t n = strlen(err->text);
    int more = snprintf(err->text + n, sizeof err->text - n, ": %s", old);
    if (more >= (int)(sizeof err->text - n))
        cut(err->text, sizeof err->text);
    utf8_clean(err->text + n);
    return -err->errnum;
}

void
error_clear(struct error *err)
{
    *err = (struct error)ERROR_INIT;
}

const char *
error_kind_name(enum error_kind kind)
{
    static const char *const names[] = {
        [ERR_NONE] = "none",       [ERR_CONFIG] = "config",
        [ERR_AUTH] = "auth",       [ERR_UNREACHABLE] = "unreachable",
        [ERR_REMOTE] = "remote",   [ERR_DATA] = "data",
        [ERR_LIMIT] = "limit",     [ERR_CANCELLED] = "cancelled",
        [ERR_UNKNOWN] = "unknown", [ERR_REPLAY] = "replay",
        [ERR_ORDER] = "order",     [ERR_INTERNAL] = "internal",
    };
    return names[kind];
}
