/* Scope cleanup: AUTO_x frees when the variable leaves its scope. All accept NULL or unset. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"

static inline void
cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void
cleanup_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void
cleanup_file(FILE **f)
{
    if (*f)
        (void)fclose(*f); /* for files that are read: who writes closes, and looks */
}

#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(cleanup_fd)))
#define AUTO_FCLOSE __attribute__((cleanup(cleanup_file)))
#define AUTO_BUF __attribute__((cleanup(buf_done)))

/* Takes what *p holds and leaves NULL behind: returns an AUTO_FREE variable to the caller. */
#define TAKE(p)                                                                                \
    ({                                                                                         \
        __typeof__(p) taken_ = (p);                                                            \
        (p) = NULL;                                                                            \
        taken_;                                                                                \
    })
