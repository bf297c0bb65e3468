/*
 * Splits a CSV file (RFC 4180) into records of cells, streaming, with true line numbers.
 *
 * Strict on purpose: a quote inside an unquoted cell, text after a closing quote, a bare
 * carriage return, a NUL or bytes of another encoding are errors that name the line. Guessing
 * would shift cells between columns, and nobody would notice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "lib/files.h"

struct csv_cell {
    const char *p; /* borrowed until the next record; UTF-8 without NUL */
    uint32_t n;
    bool quoted;
    bool escaped; /* holds doubled quotes: false again once the record is out */
};

struct csv_reader {
    char delimiter, quote; /* set by the caller before csv_reader_open */
    bool latin1;           /* the file is ISO 8859-1, not UTF-8 */
    struct feed feed;
    VEC(struct csv_cell) cells; /* the record */
    uint64_t line;              /* on which the record began, from 1 */
    uint64_t next_line;
    size_t block; /* offset in the window of the 64 bytes that `marks` speaks of */
    uint64_t
        marks; /* bytes of that block that end, quote or spoil a cell and are still ahead */
    bool block_high, high; /* bytes above 0x7F in the block / perhaps in the record */
    struct buf plain;      /* cells that had doubled quotes */
    struct buf utf8;       /* cells that had to be recoded */
};

/* Starts file i. The reader may be used for file after file. */
int csv_reader_open(struct csv_reader *r, const struct files *files, size_t i,
                    struct error *err);
/* 1: r->cells hold the next record; 0: there is none; -errno. */
int csv_reader_next(struct csv_reader *r, struct error *err);
/* To look what is there: the window from this byte of the file (feed_seek), in which to skip to
 * the next line. */
int csv_reader_seek(struct csv_reader *r, off_t offset, struct error *err);
/* Goes on behind the next newline of the window, also after an error. It may be one within a
 * cell; lines are counted from there. */
void csv_reader_skip(struct csv_reader *r);
/* The record is an empty line. */
static inline bool
csv_reader_blank(const struct csv_reader *r)
{
    return r->cells.n == 1 && r->cells.p[0].n == 0 && !r->cells.p[0].quoted;
}
void csv_reader_done(struct csv_reader *r);
