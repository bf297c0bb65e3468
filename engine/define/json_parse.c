/* See json_parse.h. Jansson takes its memory through a function of ours, which remembers for
 * each thread that it could give none. */
#include "define/json_parse.h"

#include <pthread.h>
#include <stdlib.h>

static _Thread_local bool refused;

static void *
remembering_malloc(size_t n)
{
    void *p = malloc(n);
    if (!p)
        refused = true;
    return p;
}

static void
set_up(void)
{
    json_set_alloc_funcs(remembering_malloc, free);
}

json_t *
json_parse(struct str text, size_t flags, json_error_t *e, bool *no_memory)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
    refused = false;
    json_t *json = json_loadb(text.p, text.n, flags, e);
    if (no_memory)
        *no_memory = refused;
    if (!refused)
        return json;
    json_decref(json);
    return NULL;
}
