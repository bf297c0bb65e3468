/*
 * The model as a stream of mapped rows in key order: reads the source in a thread of its own,
 * overlapped with the diff when the source gives key order, through the sorter when it cannot.
 */
#pragma once

#include <stdatomic.h>

#include "base/error.h"
#include "driver.h"
#include "run/mapper.h"

enum { CODE_MAX = 32 };

struct row {
    enum mapped kind;
    struct str key;    /* borrowed until the next reader_next */
    struct str record; /* likewise */
    struct str why;    /* from MAPPED_BAD on: the reason */
};

struct progress { /* read by others while a run goes on */
    atomic_uint_fast64_t rows_read, bytes_read, changes, sent;
    atomic_int_fast64_t total; /* rows expected; -1 unknown */
    atomic_bool total_exact;
};

struct reader_settings {
    const struct driver *driver;
    void *source;     /* described and planned */
    const char *name; /* of its connection, for errors */
    struct mapper *mapper;
    bool ordered;           /* the source gives key order */
    int dirfd;              /* for the sorter's files */
    const struct str *hint; /* likely splitters for the sorter, ascending */
    size_t nhint;
    size_t sort_memory;
    const atomic_bool *cancelled;
    struct progress *progress;
};

struct reader;

int reader_start(const struct reader_settings *settings, struct reader **ret,
                 struct error *err);
/* 1: a row; 0: the model's end, the source said so; negative: it failed half way. */
int reader_next(struct reader *r, struct row *row, struct error *err);
/* Stops the source if it still reads, joins the thread. NULL-safe, returns NULL. */
struct reader *reader_free(struct reader *r);
