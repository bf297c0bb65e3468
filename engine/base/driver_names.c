/* The modes' names: see driver.h. Here because drivers, engine and fs all need them. */
#include "driver.h"

static const char *const names[MODE_COUNT] = {
    [MODE_UPSERT] = "upsert", [MODE_INSERT] = "insert", [MODE_UPDATE] = "update",
    [MODE_MIRROR] = "mirror", [MODE_FULL] = "full",
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
