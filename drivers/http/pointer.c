/* JSON pointers: see pointer.h. */
#include "http/pointer.h"

#include <string.h>

enum { PART_MAX = 256, INDEX_MAX = 100 * 1000 * 1000 };

/* Undoes ~1 and ~0. The part's end, or NULL when it is too long or no pointer. */
static const char *
take_part(const char *p, char part[PART_MAX])
{
    size_t n = 0;
    for (; *p && *p != '/'; p++) {
        if (n + 1 == PART_MAX)
            return NULL;
        if (*p == '~' && p[1] != '0' && p[1] != '1')
            return NULL;
        part[n++] = *p == '~' ? (*++p == '1' ? '/' : '~') : *p;
    }
    part[n] = '\0';
    return p;
}

static const json_t *
element(const json_t *array, const char *part)
{
    size_t at = 0;
    if (!*part || (part[0] == '0' && part[1]))
        return NULL;
    for (; *part; part++) {
        if (*part < '0' || *part > '9' || at > INDEX_MAX)
            return NULL;
        at = at * 10 + (size_t)(*part - '0');
    }
    return json_array_get(array, at);
}

const json_t *
pointer_get(const json_t *root, const char *pointer)
{
    char part[PART_MAX];
    while (root && *pointer) {
        if (*pointer != '/' || !(pointer = take_part(pointer + 1, part)))
            return NULL;
        root = json_is_array(root) ? element(root, part) : json_object_get(root, part);
    }
    return root;
}

bool
pointer_good(const char *pointer)
{
    char part[PART_MAX];
    while (pointer && *pointer)
        pointer = *pointer == '/' ? take_part(pointer + 1, part) : NULL;
    return pointer;
}
