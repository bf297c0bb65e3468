/*
 * Every driver that is built in keeps to driver.h: what it says it can do, it has the hooks
 * for, and its options are what the tables' readers expect.
 */
#include "base/buf.h"
#include "driver.h"
#include "unit/tap.h"

static bool
check(bool ok, const struct driver *d, const char *what)
{
    char words[256];
    snprintf(words, sizeof words, "%s: %s", d->name, what);
    return tap_check(ok, words, __FILE__, __LINE__);
}

static void
check_source(const struct driver *d)
{
    bool any = d->source_open || d->takes_table || d->takes_query || d->source_options;
    if (!any)
        return;
    check(d->source_open && d->source_describe && d->source_plan && d->source_read &&
              d->source_close,
          d, "a source has all five hooks");
    check(!d->source_options || d->source_options_size > 0, d, "source options have a struct");
}

static void
check_destination(const struct driver *d)
{
    bool any = driver_is_destination(d) || d->dest_open || d->dest_options;
    if (!any)
        return;
    check(driver_is_destination(d), d, "it has modes");
    for (enum sync_type type = 0; type < SYNC_TYPES; type++)
        check(!(driver_modes(d, type) & ~sync_type_modes(type)), d, "its modes exist");
    check(d->place && d->dest_open && !d->dest_write == (d->dest_call && d->dest_answer) &&
              d->dest_close,
          d, "a destination has the hooks it must have");
    check(!(d->traits & TRAIT_ATOMIC) || (d->dest_commit && d->dest_abort), d,
          "what is atomic commits and aborts");
    check(!d->dest_commit || d->dest_resolve, d, "what commits can tell whether it did");
    check(!d->dest_options || d->dest_options_size > 0, d, "options have a struct");
}

static size_t
size_of(const struct option *o)
{
    switch (o->type) {
    case OPT_BOOL:
        return sizeof(bool);
    case OPT_INT:
        return sizeof(int64_t);
    case OPT_CHAR:
        return sizeof(char);
    case OPT_TYPES:
        return sizeof(struct option_types);
    default:
        return sizeof(char *);
    }
}

static void
check_options(const struct driver *d, const struct option *table, size_t size)
{
    bool fits = true, told = true, choices = true, twice = false;
    for (const struct option *o = table; o && o->name; o++) {
        fits = fits && o->offset + size_of(o) <= size;
        told = told && o->help && *o->help && o->help[strlen(o->help) - 1] != '.';
        choices =
            choices && (o->type == OPT_ENUM || o->type == OPT_FIELDS) == (o->choices != NULL);
        for (const struct option *before = table; before < o; before++)
            twice = twice || strcmp(before->name, o->name) == 0;
    }
    check(fits && told && choices && !twice, d, "its options are in order");
}

int
main(void)
{
    struct error err = ERROR_INIT;
    CHECK_MSG(drivers_load(&err) == 0, err.text);
    for (const struct driver *const *at = drivers; *at; at++) {
        const struct driver *d = *at;
        check(d->name && d->summary && d->readme && driver_find(d->name) == d, d,
              "it is found and told of");
        check_source(d);
        check_destination(d);
        check_options(d, d->options, d->options_size);
        check_options(d, d->source_options, d->source_options_size);
        check_options(d, d->dest_options, d->dest_options_size);
    }
    CHECK(!driver_find("no such driver"));
    return tap_done();
}
