/*
 * The files behind a file source: found by path or glob, read through one sliding window, and
 * guarded so that what was read is one state of them. A file that changes between files_open
 * and files_check (size, modification time, inode) is an error, never half of two states.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/error.h"

struct file_stamp {
    char *path; /* owned */
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
};

struct files {
    struct file_stamp *files; /* sorted by path, byte by byte */
    size_t n;
    int64_t bytes; /* of all together */
};

/* A path that exists is taken as it is written, also when it holds *, ? or [. */
int files_open(struct files *f, const char *pattern, struct error *err);
/* Are they still what they were? */
int files_check(const struct files *f, struct error *err);
void files_done(struct files *f);

/* Bytes pos ≤ i < end of the window are there to be parsed; the caller advances pos. Bytes up
 * to FEED_SLACK after end may be read (never used), so scanners can load whole vectors. */
enum { FEED_SLACK = 64 };

struct feed {
    char *p;
    size_t pos, end, cap;
    bool eof;  /* nothing follows end */
    bool look; /* after feed_seek */
    int fd;
    const struct file_stamp *file;
    const atomic_bool *cancelled; /* NULL: never */
};

#define FEED_INIT                                                                              \
    {                                                                                          \
        .fd = -1                                                                               \
    }

/* Starts file i; the window's memory is kept from the file before. */
int feed_open(struct feed *f, const struct files *files, size_t i, struct error *err);
/* Which byte of the file pos is. */
off_t feed_offset(const struct feed *f);
/* To look what is there: fills the window from that byte of the file, for good. feed_more then
 * fails with ERR_LIMIT. */
int feed_seek(struct feed *f, off_t offset, struct error *err);
/* Appends more to the window, which moves: only offsets from pos survive. ERR_LIMIT when what
 * is unparsed is beyond 512 MiB. Sets eof when there was no more. */
int feed_more(struct feed *f, struct error *err);
void feed_done(struct feed *f);
