/*
 * Memory that runs out when a test says so: for our objects only, whose malloc, calloc and
 * realloc the linker turns into these (failing_memory in meson.build). jansson comes here by
 * the functions that json_parse gives it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* The call that fails, with all after it if fails_on, and the calls so far; 0: none fails, and
 * none is counted. */
static atomic_uint memory_calls, memory_fails_at;
static atomic_bool memory_fails_on;

static bool
memory_fails(void)
{
    unsigned at = atomic_load(&memory_fails_at);
    unsigned n = at ? atomic_fetch_add(&memory_calls, 1) + 1 : 0;
    return at && (n == at || (n > at && atomic_load(&memory_fails_on)));
}

/* Counts from 0 again; the call number `at` fails. 0: none does any more. */
static void
memory_fail_at(unsigned at, bool on)
{
    atomic_store(&memory_fails_at, 0);
    if (at == 0)
        return;
    atomic_store(&memory_calls, 0);
    atomic_store(&memory_fails_on, on);
    atomic_store(&memory_fails_at, at);
}

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *
__wrap_malloc(size_t n)
{
    return memory_fails() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t n, size_t size)
{
    return memory_fails() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t n)
{
    return memory_fails() ? NULL : __real_realloc(p, n);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
