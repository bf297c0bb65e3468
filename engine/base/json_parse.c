/*
 * See json_parse.h. Jansson's lexer drops the characters of a token that it has no memory for,
 * and then reads behind the rest of them. So it takes its memory through functions of ours: the
 * first allocation that fails is lent from what was set aside for that, so that the token at
 * hand is whole, and the text ends there, so that no other one is begun.
 */
#include "base/json_parse.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct parsing {
    struct str rest; /* of the text */
    char *spare;
    size_t nspare;
    bool refused; /* memory was out, and `spare` is lent */
};

static _Thread_local struct parsing *parsing; /* of this thread; NULL: none */
static _Thread_local bool incomplete;         /* what json_build_begin began */

static void *
lending_malloc(size_t n)
{
    void *p = malloc(n);
    if (!p)
        incomplete = true;
    if (p || !parsing || parsing->refused)
        return p;
    parsing->refused = true;
    return n <= parsing->nspare ? parsing->spare : NULL;
}

static void
lending_free(void *p)
{
    if (!parsing || p != parsing->spare)
        free(p);
}

static void
set_up(void)
{
    json_set_alloc_funcs(lending_malloc, lending_free);
}

static void
take_memory_through_us(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
}

/* json_load_callback_t; a byte a call, so that the end comes at once. */
static size_t
next_byte(void *to, size_t room, void *arg)
{
    struct parsing *p = arg;
    if (p->refused || p->rest.n == 0)
        return 0;
    *(char *)to = *p->rest.p++;
    p->rest.n--;
    return 1;
}

json_t *
json_parse(struct str text, size_t flags, json_error_t *e, bool *no_memory)
{
    take_memory_through_us();
    /* No token is longer than the text, and the lexer doubles. */
    struct parsing p = {.rest = text, .nspare = 2 * text.n + 64};
    AUTO_FREE char *spare = p.spare = malloc(p.nspare);
    json_t *json = NULL;
    parsing = &p;
    if (!spare)
        p.refused = true;
    else
        json = json_load_callback(next_byte, &p, flags, e);
    if (p.refused) {
        incomplete = true;
        json_decref(json);
        json = NULL;
    }
    parsing = NULL;
    if (no_memory)
        *no_memory = p.refused;
    return json;
}

/* json_dump_callback_t */
static int
add_piece(const char *piece, size_t n, void *arg)
{
    struct buf *out = arg;
    buf_add(out, piece, n);
    return out->failed ? -1 : 0;
}

char *
json_write(const json_t *json, size_t flags)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX); /* that it failed stays known */
    return json_dump_callback(json, add_piece, &out, flags) < 0 ? NULL : buf_take(&out);
}

void
json_build_begin(void)
{
    take_memory_through_us();
    incomplete = false;
}

void
json_build_fail(void)
{
    incomplete = true;
}

bool
json_build_whole(void)
{
    return !incomplete;
}
