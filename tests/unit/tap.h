/*
 * The whole test library: CHECK prints "ok"/"not ok" lines (TAP), main ends with
 * `return tap_done();`. A test that cannot run here exits 77 by tap_skip_all.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

static inline bool
tap_check(bool ok, const char *what, const char *file, int line)
{
    tap_count++;
    if (!ok)
        tap_failed++;
    int line_end = what ? (int)strcspn(what, "\n") : 0;
    printf("%sok %d - %.*s\n", ok ? "" : "not ", tap_count, line_end, what ? what : "");
    if (!ok)
        printf("#   at %s:%d\n", file, line);
    (void)fflush(stdout);
    return ok;
}

#define CHECK(condition) tap_check((condition), #condition, __FILE__, __LINE__)
#define CHECK_MSG(condition, what) tap_check((condition), (what), __FILE__, __LINE__)

/* Equal texts, both shown when they differ. */
static inline bool
tap_check_text(const char *got, const char *want, const char *what, const char *file, int line)
{
    bool ok = tap_check(strcmp(got, want) == 0, what, file, line);
    if (!ok)
        printf("#   got:  %s\n#   want: %s\n", got, want);
    return ok;
}

#define CHECK_TEXT(got, want)                                                                  \
    tap_check_text((got), (want), #got " is " #want, __FILE__, __LINE__)

static inline void
tap_skip_all(const char *why)
{
    printf("1..0 # SKIP %s\n", why);
    exit(77);
}

static inline int
tap_done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
