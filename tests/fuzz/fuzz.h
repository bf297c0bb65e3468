/*
 * What the fuzz targets share. A target is one function over bytes: it parses them with code of
 * ours and insists (MUST) on what has to be true whatever they are. tests/fuzz/run links it
 * with libFuzzer; the test suite with replay.c, which only goes through the kept corpus.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MUST(condition)                                                                        \
    do {                                                                                       \
        if (!(condition))                                                                      \
            fuzz_fail(#condition, __FILE__, __LINE__);                                         \
    } while (0)

_Noreturn void fuzz_fail(const char *condition, const char *file, int line);

/* A path under which these bytes can be opened, until the next call. */
const char *fuzz_file(struct str bytes);
/* What value.h promises of a value of its type. */
void fuzz_check_value(const struct value *v);
/* The whole way of a source: describe, plan, read all columns, every value checked. What it
 * gave goes to *out, one row a line; returns what the driver said. */
int fuzz_source(const struct driver *d, const void *connection, const struct model *model,
                struct buf *out, struct error *err);
/* "path:12: words" → 12, *words behind it; 0 when the error names no line. */
uint64_t fuzz_error_line(const struct error *err, const char **words);
/* An error says what is wrong, in valid UTF-8. */
void fuzz_check_error(int rc, const struct error *err);
