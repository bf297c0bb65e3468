/* What is said of every driver, whichever it is: see driver.h. Here because drivers, engine and
 * fs all need it. */
#include "driver.h"

static const char *const names[MODE_COUNT] = {
    [MODE_UPSERT] = "upsert", [MODE_INSERT] = "insert", [MODE_UPDATE] = "update",
    [MODE_MIRROR] = "mirror", [MODE_FULL] = "full",     [MODE_ADD] = "add",
    [MODE_REMOVE] = "remove",
};

const char *
mode_name(enum mode mode)
{
    return names[mode];
}

int
mode_parse(struct str text)
{
    for (int i = 0; i < MODE_COUNT; i++)
        if (str_is(text, names[i]))
            return i;
    return -1;
}

const struct driver_maker *driver_maker;

const struct driver *
driver_ref(const struct driver *driver)
{
    if (driver && driver->hold)
        driver->hold(driver);
    return driver;
}

const struct driver *
driver_unref(const struct driver *driver)
{
    if (driver && driver->let_go)
        driver->let_go(driver);
    return NULL;
}

const char *
sync_type_name(enum sync_type type)
{
    static const char *const types[SYNC_TYPES] = {
        [TYPE_RECORDS] = "records", [TYPE_AUDIENCE] = "audience", [TYPE_EVENTS] = "events"};
    return types[type];
}

bool
mode_deletes(enum mode mode)
{
    return mode == MODE_MIRROR || mode == MODE_REMOVE;
}

bool
mode_updates(enum mode mode)
{
    return mode != MODE_INSERT && mode != MODE_ADD && mode != MODE_REMOVE;
}

unsigned
sync_type_modes(enum sync_type type)
{
    return type == TYPE_AUDIENCE ? MODES_OF_AUDIENCES
           : type == TYPE_EVENTS ? MODES_OF_EVENTS
                                 : MODES_OF_RECORDS;
}

unsigned
driver_modes(const struct driver *d, enum sync_type type)
{
    if (!d)
        return sync_type_modes(type);
    return type == TYPE_AUDIENCE ? d->audience_modes
           : type == TYPE_EVENTS ? d->event_modes
                                 : d->modes;
}

bool
driver_is_destination(const struct driver *d)
{
    return d->modes || d->audience_modes || d->event_modes;
}
