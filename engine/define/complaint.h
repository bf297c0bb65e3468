/*
 * How the parts of define/ complain: a text file, the byte that is wrong, a sentence. Line,
 * column, excerpt and caret follow from those. A file that may hold a secret never gives its
 * values away in an excerpt.
 */
#pragma once

#include "define/define.h"

struct text_file {
    const char *name; /* as complaints show it */
    struct str text;
    bool secret; /* a connection: excerpts show keys and punctuation, never a value */
};

#define AT_FILE SIZE_MAX /* the file as a whole */

/* Fills *c for the byte at `at` and returns -EINVAL. hint may be NULL. Control characters in
 * what the user wrote become '?', so that a complaint is as many lines as it seems. */
int complain(struct complaint *c, const struct text_file *f, size_t at, const char *hint,
             const char *format, ...) __attribute__((format(printf, 5, 6)));
#ifdef __clang_analyzer__
#define complain(...) error_is_negative((complain)(__VA_ARGS__)) /* as in base/error.h */
#endif
/* Returns -ENOMEM. */
int complain_memory(struct complaint *c, const struct text_file *f);
/* The line of the byte at `at`, from 1. */
unsigned text_line(struct str text, size_t at);
/* As complaint_render, the file's name after "dir/". */
void complaint_render_under(const char *dir, const struct complaint *c, struct buf *out);
