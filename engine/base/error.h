/*
 * One error, told once: what kind it is, the errno a caller of write(2) should see, and a
 * sentence for people. The text lives inside the struct, so an error owns nothing and never
 * needs freeing.
 *
 * Text is PostgreSQL's primary style: lower case, no period, no function names, values in
 * double quotes, never a secret.
 */
#pragma once

#include <errno.h>
#include <stdarg.h>

enum error_kind {
    ERR_NONE = 0,
    ERR_CONFIG,      /* the definition is wrong; trying again cannot help */
    ERR_AUTH,        /* the peer refused the credentials */
    ERR_UNREACHABLE, /* no connection, or it broke: nothing is known to have been applied */
    ERR_REMOTE,      /* the peer answered with an error for the whole call */
    ERR_DATA,        /* a row or a text cannot be what it should be */
    ERR_LIMIT,       /* a bound was reached */
    ERR_CANCELLED,   /* somebody asked for it */
    ERR_UNKNOWN,     /* sent, answer lost: cannot tell whether it was applied */
    ERR_REPLAY,      /* nothing was applied; offer every row of this session again */
    ERR_ORDER,       /* the source broke the order it promised */
    ERR_INTERNAL,    /* our own fault, or the machine's (disk, memory) */
};

enum { ERROR_TEXT_MAX = 1024 };

struct error {
    enum error_kind kind;
    int errnum; /* positive errno, for write(2) */
    char text[ERROR_TEXT_MAX];
};

#define ERROR_INIT                                                                             \
    {                                                                                          \
        .kind = ERR_NONE                                                                       \
    }

/* Sets *err (never NULL) and returns -errnum, so `return error_set(err, ERR_DATA, EINVAL, …)`.
 * A text that is too long is cut at a UTF-8 boundary; names and values in it cannot make it
 * more than one line, nor hurt a terminal (utf8_clean). */
int error_set(struct error *err, enum error_kind kind, int errnum, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same, ending in ": " and strerror(errnum). */
int error_set_errno(struct error *err, enum error_kind kind, int errnum, const char *format,
                    ...) __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the text; returns -err->errnum. */
int error_wrap(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* What it cannot see from here: they never return 0. */
static inline int
error_is_negative(int rc)
{
    if (rc >= 0)
        __builtin_unreachable();
    return rc;
}
#define error_set(...) error_is_negative((error_set)(__VA_ARGS__))
#define error_set_errno(...) error_is_negative((error_set_errno)(__VA_ARGS__))
#define error_wrap(...) error_is_negative((error_wrap)(__VA_ARGS__))
#endif

/* There was no memory; returns -ENOMEM. */
static inline int
error_no_memory(struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

/* Forgets the error. */
void error_clear(struct error *err);

/* "config", "auth" …: the word for logs and summary.json. Static. */
const char *error_kind_name(enum error_kind kind);
