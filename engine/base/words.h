/* Lists of allowed words, and the one that was probably meant. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct words {
    const char *items[64]; /* borrowed; more are not listed */
    size_t n;
};

void words_add(struct words *w, const char *word);
bool words_have(const struct words *w, const char *word);
/* The word within one or two slips of this one; NULL when none is. */
const char *words_nearest(const struct words *w, const char *word);
/* `did you mean "query"? allowed: connection, query, table`; `label` stands for "allowed". */
void words_hint(const struct words *w, const char *word, const char *label, char *hint,
                size_t size);
