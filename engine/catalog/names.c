/* Names in the stored tree: see names.h. */
#include "catalog/names.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { SYNC_NAME_MAX = 128 };

static const char *const sync_files[] = {
    "error",    "explain", "history", "log",         "modes",   "pending",
    "rejected", "runs",    "status",  "status.json", "trigger",
};
static const char *const driver_files[] = {"README", "error", "modes", "options.json"};
static const char *const drivers_files[] = {"connector.schema.json"};

int
name_check(const char *name)
{
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strchr(name, '/'))
        return -EINVAL;
    return strlen(name) > NAME_MAX ? -ENAMETOOLONG : 0;
}

static bool
is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_';
}

bool
name_is_sync(const char *name)
{
    if (!is_word(name[0]))
        return false;
    size_t n = strlen(name);
    for (size_t i = 1; i < n; i++)
        if (!is_word(name[i]) && !strchr(".@+-", name[i]))
            return false;
    return n <= SYNC_NAME_MAX;
}

enum text_kind
name_kind(enum place place, const char *name)
{
    if (place == PLACE_SYNC)
        return text_kind_in_sync(name);
    if (place == PLACE_CONNECTIONS)
        return text_kind_in_connections(name);
    if (place == PLACE_DRIVER)
        return text_kind_in_driver(name);
    return TEXT_PLAIN;
}

bool
name_is_refused_text(enum place place, const char *name)
{
    size_t n = strlen(name);
    if (n <= 4 || n > NAME_MAX || strcmp(name + n - 4, ".rej") != 0)
        return false;
    char stem[NAME_MAX + 1];
    snprintf(stem, sizeof stem, "%.*s", (int)(n - 4), name);
    return name_kind(place, stem) != TEXT_PLAIN;
}

static bool
is_one_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}
#define IS_ONE_OF(name, list) is_one_of((name), (list), sizeof(list) / sizeof *(list))

bool
name_is_engine_file(enum place place, const char *name)
{
    return (place == PLACE_SYNC && IS_ONE_OF(name, sync_files)) ||
           (place == PLACE_DRIVER && IS_ONE_OF(name, driver_files)) ||
           (place == PLACE_DRIVERS && IS_ONE_OF(name, drivers_files)) ||
           name_is_refused_text(place, name);
}
