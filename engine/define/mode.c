/* The one word of `mode`: one write is one value, so it is judged as it stands. */
#include "base/words.h"
#include "define/parse.h"

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The text without blanks around it. */
static struct str
trim(struct str text)
{
    while (text.n > 0 && is_blank(text.p[0])) {
        text.p++;
        text.n--;
    }
    while (text.n > 0 && is_blank(text.p[text.n - 1]))
        text.n--;
    return text;
}

static bool
begins_one_of(const struct words *allowed, struct str word)
{
    for (size_t i = 0; i < allowed->n; i++)
        if (word.n < strlen(allowed->items[i]) &&
            memcmp(allowed->items[i], word.p, word.n) == 0)
            return true;
    return false;
}

static void
complain_mode(const struct driver *d, enum sync_type type, const struct text_file *f,
              struct str word, const struct words *allowed, struct complaint *c)
{
    char shown[32] = "", hint[ERROR_TEXT_MAX];
    memcpy(shown, word.p, word.n < sizeof shown ? word.n : sizeof shown - 1);
    words_hint(allowed, shown, "possible", hint, sizeof hint);
    size_t at = (size_t)(word.p - f->text.p);
    int mode = mode_parse(word);
    if (mode < 0)
        complain(c, f, at, hint, "unknown mode \"%s\"", shown);
    else if (sync_type_modes(type) & MODE_BIT(mode))
        complain(c, f, at, hint, "mode \"%s\" is not possible with driver \"%s\"", shown,
                 d->name);
    else if (type == TYPE_EVENTS)
        complain(c, f, at, hint,
                 "mode \"%s\" is not possible with events of the type \"track\"", shown);
    else
        complain(c, f, at, hint, "mode \"%s\" is not possible with \"type\": \"%s\"", shown,
                 sync_type_name(type));
}

static unsigned
possible(const struct driver *d, enum sync_type type)
{
    if (type == SYNC_TYPES)
        return MODE_BIT(MODE_COUNT) - 1;
    unsigned modes = driver_modes(d, type);
    return modes ? modes : sync_type_modes(type); /* it will have to be another driver */
}

enum text_verdict
mode_check(const struct driver *d, enum sync_type type, const struct text_file *f, bool final,
           enum mode *ret, struct complaint *c)
{
    unsigned modes = possible(d, type);
    struct words allowed = {.n = 0};
    for (int i = 0; i < MODE_COUNT; i++)
        if (modes & MODE_BIT(i))
            words_add(&allowed, mode_name((enum mode)i));

    struct str word = trim(f->text);
    int mode = mode_parse(word);
    if (mode >= 0 && modes & MODE_BIT(mode)) {
        *ret = (enum mode)mode;
        return TEXT_OK;
    }
    if (word.n == 0) {
        char hint[ERROR_TEXT_MAX];
        words_hint(&allowed, "", "possible", hint, sizeof hint);
        if (final)
            complain(c, f, AT_FILE, hint, "the file is empty");
        return TEXT_INCOMPLETE;
    }
    bool open = word.p + word.n == f->text.p + f->text.n; /* nothing ended the word yet */
    bool more = open && begins_one_of(&allowed, word);
    if (final || !more)
        complain_mode(d, type, f, word, &allowed, c);
    return more ? TEXT_INCOMPLETE : TEXT_BROKEN;
}
