/* Word lists: see words.h. */
#include "base/words.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"

enum { WORD_MAX = 63 };

void
words_add(struct words *w, const char *word)
{
    if (w->n < sizeof w->items / sizeof *w->items)
        w->items[w->n++] = word;
}

bool
words_have(const struct words *w, const char *word)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->items[i], word) == 0)
            return true;
    return false;
}

static unsigned
least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static bool
same(char a, char b)
{
    return strncasecmp(&a, &b, 1) == 0;
}

/* Letters added, lost, changed or swapped with their neighbour; case does not count. */
static unsigned
slips(const char *a, size_t na, const char *b, size_t nb)
{
    unsigned rows[3][WORD_MAX + 1];
    unsigned *before = rows[0], *above = rows[1], *here = rows[2];
    for (size_t j = 0; j <= nb; j++)
        above[j] = before[j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        here[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            bool equal = same(a[i - 1], b[j - 1]);
            here[j] = least(least(above[j], here[j - 1]) + 1, above[j - 1] + !equal);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                here[j] = least(here[j], before[j - 2] + 1);
        }
        unsigned *spare = before;
        before = above;
        above = here;
        here = spare;
    }
    return above[nb];
}

const char *
words_nearest(const struct words *w, const char *word)
{
    size_t n = strlen(word);
    if (n == 0 || n > WORD_MAX)
        return NULL;
    unsigned best = n < 5 ? 2 : 3; /* one slip in a short word, two in a longer one */
    const char *nearest = NULL;
    for (size_t i = 0; i < w->n; i++) {
        size_t m = strlen(w->items[i]);
        unsigned d = m > WORD_MAX ? best : slips(word, n, w->items[i], m);
        if (d < best) {
            best = d;
            nearest = w->items[i];
        }
    }
    return nearest;
}

void
words_hint(const struct words *w, const char *word, const char *label, char *hint, size_t size)
{
    struct buf out = BUF_INIT(size - 1);
    const char *nearest = words_nearest(w, word);
    if (nearest)
        buf_addf(&out, "did you mean \"%s\"? ", nearest);
    if (w->n)
        buf_addf(&out, "%s: ", label);
    for (size_t i = 0; i < w->n; i++)
        buf_addf(&out, "%s%s", i ? ", " : "", w->items[i]);
    snprintf(hint, size, "%s", buf_z(&out));
    buf_done(&out);
}
