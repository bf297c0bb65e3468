/*
 * Change files: the one format for everything that is kept row by row. A segment of the
 * delivered state, a plan, what a run sent and what was rejected are all change files.
 *
 *   header   magic, format version, views, meta (fields, identifier …)
 *   blocks   zstd frames with content checksum, in key order, of 128 KiB of entries, more in
 *            large files so that the index stays small in memory
 *   index    a zstd frame: totals; for each block its lengths, entries, first key, view sizes
 *   footer   where the index is, SHA-256 of header and index, magic again: a file without one
 *            was never finished
 *
 * Entries are in ascending key order (equal keys only where `duplicates` was asked for).
 * Written once, front to back, never changed; readers share one open file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cancel.h"
#include "base/error.h"
#include "base/value.h"

enum entry_op { /* what is stored with each entry; stable numbers, they are on disk */
                ENTRY_INSERT = 1,
                ENTRY_UPDATE = 2,
                ENTRY_DELETE = 3, /* in a state segment: a tombstone */
                ENTRY_PRESENT =
                    4, /* the model holds the key, nothing is sent (duplicates, NULLs in it) */
                ENTRY_RECORDED = 5, /* nothing is sent, but from now on the destination is taken
                                       to hold it: what the state knows and nobody delivered */
};
enum { ENTRY_OPS = 6 };

/* What a change is known by, however often it is sent: the run in which it became due, and
 * which of equal records without identifier it is. */
struct due {
    uint64_t run; /* 0: that in whose file it stands */
    uint32_t copy;
};

struct entry {
    enum entry_op op;
    uint64_t seq;   /* number in the session, as given to the driver */
    uint32_t tries; /* rejected files: how often it was tried */
    struct str key;
    struct str after;  /* packed record, n = 0: none */
    struct str before; /* packed record, n = 0: none */
    struct str note;   /* plans: why; rejected files: "code\0words" */
    struct due due;
};

struct chg_field {
    char *name;   /* destination field */
    char *source; /* "column:email" or "expression:first || last" : what stands behind */
    enum value_type type; /* of the column; V_NULL: any */
    char *native;         /* source's own type name, or NULL */
};

struct chg_meta {
    struct chg_field *fields;
    size_t nfields;
    size_t *key;      /* indices into fields: the identifier; nkey = 0: whole records */
    char **key_names; /* the identifier's column names, as in config.json */
    enum key_class *key_class;
    size_t nkey;
    char *source_driver; /* whose `native` names these are */
    bool nested;         /* JSON shows what a dot in a field's name means to the destination */
};

/* Deep copy into the arena. NULL when memory is out. */
struct chg_meta *chg_meta_copy(struct arena *arena, const struct chg_meta *meta);
/* Same fields in the same order with the same sources and types. */
bool chg_meta_same_fields(const struct chg_meta *a, const struct chg_meta *b);

struct chg_totals {
    uint64_t entries;
    uint64_t by_op[ENTRY_OPS];
    uint64_t bytes; /* unpacked entries */
};

/* Renderings of a change file whose exact size must be known without rendering it whole. */
enum chg_view {
    VIEW_JSONL,       /* every entry: changes.jsonl */
    VIEW_REJECTED,    /* every entry: rejected.jsonl */
    VIEW_INSERTS_CSV, /* ENTRY_INSERT; header line included */
    VIEW_UPDATES_CSV, /* ENTRY_UPDATE; */
    VIEW_DELETES_CSV, /* ENTRY_DELETE; */
    VIEW_DIFF,        /* unified, for eyes */
    VIEW_SENT,        /* VIEW_JSONL and how each change ended: a run's changes.jsonl */
    CHG_VIEWS,
};
#define VIEW_BIT(v) (1u << (v))

/* ---- writing ---- */

struct chg_writer;

enum { CHG_DIGEST = 1 << 30 }; /* beside the VIEW_BITs: chg_finish will be asked for a digest */

/* Creates NAME in dirfd (O_EXCL after removing a leftover). meta is copied. views: VIEW_BITs
 * whose sizes are counted while writing, and CHG_DIGEST. */
int chg_create(int dirfd, const char *name, const struct chg_meta *meta, unsigned views,
               struct chg_writer **ret, struct error *err);
/* Copies the entry. ERR_INTERNAL if its key is smaller than the one before. */
int chg_add(struct chg_writer *w, const struct entry *e, struct error *err);
/* Writes index and footer; sync: fsyncs the file (the caller syncs the directory). Frees w,
 * also on failure (then the file is removed). digest: NULL, or with CHG_DIGEST 32 bytes SHA-256
 * over all entries' op, key, after and before, in order (not seq, tries, notes): equal plans
 * have equal digests. */
int chg_finish(struct chg_writer *w, bool sync, struct chg_totals *totals, uint8_t *digest,
               struct error *err);
/* Once the flag is set, chg_finish may end with ERR_CANCELLED instead of syncing a large file.
 */
void chg_cancel_by(struct chg_writer *w, const atomic_bool *cancelled);
/* Frees w and removes the file. NULL-safe. */
void chg_discard(struct chg_writer *w);
/* What was added so far is in the kernel's hands, or (sync) on the disk, as far as chg_mend
 * needs it. Makes blocks smaller, if it is called often. */
int chg_flush(struct chg_writer *w, bool sync, struct error *err);
/* From now on a chg_finish that fails leaves the file for chg_mend instead of removing it. */
void chg_keep(struct chg_writer *w);
/* Frees w and leaves the file unfinished, as a killed daemon would. NULL-safe. */
void chg_leave(struct chg_writer *w);
/* Finishes NAME, whose writer was cut off, with the entries whose blocks are whole, and syncs
 * it; a finished file is left alone. Its entries must be numbered from 0, without gaps. What
 * cannot be read as far as its fields are known is an error. */
int chg_mend(int dirfd, const char *name, const atomic_bool *cancelled, struct error *err);

/* ---- reading ---- */

struct chg; /* an open, finished file; immutable, shared by threads, counted */

int chg_open(int dirfd, const char *name, struct chg **ret, struct error *err);
struct chg *chg_ref(struct chg *c);
struct chg *chg_unref(struct chg *c); /* returns NULL */
const struct chg_meta *chg_get_meta(const struct chg *c);
struct chg_totals chg_get_totals(const struct chg *c);
uint64_t chg_file_size(const struct chg *c);
/* Reads every block and checks everything. */
int chg_verify(const struct chg *c, struct error *err);

struct chg_cursor; /* one thread; borrows nothing: holds its own reference */

/* Sets of ops. */
#define CHG_OP(op) (1u << (op))
enum { CHG_ALL_OPS = (1 << ENTRY_OPS) - 1 };

int chg_cursor_open(struct chg *c, struct chg_cursor **ret, struct error *err);
/* 1: *e is the next entry, borrowed until the next call; 0: the end; negative: error (a damaged
 * block names file and offset). */
int chg_next(struct chg_cursor *cur, struct entry *e, struct error *err);
/* The next chg_next gives the first entry with key >= this. */
int chg_seek(struct chg_cursor *cur, struct str key, struct error *err);
/* From now on chg_next gives entries with these ops only. Blocks without any are not read, so
 * the first one is found at once wherever it stands. */
void chg_cursor_only(struct chg_cursor *cur, unsigned ops);
struct chg_cursor *chg_cursor_close(struct chg_cursor *cur); /* NULL-safe, returns NULL */

/* Keys at about every n-th part of the file: up to max keys copied into arena, ascending. For
 * choosing partitions. Returns how many. */
size_t chg_sample_keys(const struct chg *c, struct arena *arena, struct str *keys, size_t max);

/* ---- views: exact size and random access without rendering the whole ---- */

/* What is told of each change in VIEW_SENT takes the same room whatever it is, so that sizes
 * are known before it is: at most CHG_OUTCOME_MAX bytes. A file that was written without this
 * view shows VIEW_JSONL for it. */
enum { CHG_OUTCOME_MAX = 9 };
/* To be called before the view is read: `outcome` (kept as it is) is told of every change but
 * those that `unsent` holds: they are "not_sent"; and those that `refused` holds, a rejected
 * file: they are "rejected", or "unknown" if that is the code of their note. Either MAY be
 * NULL. For "delivered" what was only recorded says "recorded". */
void chg_set_outcomes(struct chg *c, const char *outcome, struct chg *refused,
                      struct chg *unsent);

/* Appends what VIEW_SENT tells of this change. */
int chg_outcome(struct chg *c, const struct entry *e, struct buf *out, struct error *err);

/* Size in bytes; the view must have been asked for at chg_create. */
uint64_t chg_view_size(const struct chg *c, enum chg_view view);
/* Appends up to n bytes from offset to *out. Thread-safe. */
int chg_view_read(struct chg *c, enum chg_view view, uint64_t offset, size_t n, struct buf *out,
                  struct error *err);
/* The view's text for one entry (what the sizes count); the CSV header and the diff's first
 * lines are written by chg_render_head. */
void chg_render(const struct chg_meta *meta, enum chg_view view, const struct entry *e,
                struct buf *out);
void chg_render_head(const struct chg_meta *meta, enum chg_view view, struct buf *out);
/* The file name of an entry in rejected/ and pending/: its identifier as the key has it (1.00
 * is "1"), percent-encoded, several columns joined by ","; "NULL" for a NULL; without
 * identifier the key's hex. At most 200 bytes: longer ones end in "~" and 16 hex digits of
 * SHA-256. */
void chg_entry_filename(const struct chg_meta *meta, const struct entry *e, struct buf *out);
/* Whether an entry could have that file name: as it is written, not only as it is read. */
bool chg_is_filename(const struct chg_meta *meta, const char *name);
/* The key behind a file name. *whole false: the name was cut, and this is how the key begins.
 * False: it is no such name. */
bool chg_key_of_filename(const struct chg_meta *meta, const char *name, struct buf *key,
                         bool *whole);
/* Finds the entry with that file name among those with these ops (equal names get "~2", "~3" …
 * in file order). 1: found, copied into arena; 0: none. A look-up by key, not a scan, but for
 * names that were cut. Thread-safe; the blocks unpacked last are kept for the next ones. */
int chg_find_filename(struct chg *c, unsigned ops, const char *name, struct arena *arena,
                      struct entry *e, struct error *err);
