/* Journal: see journal.h. An entry is the length of its text (4 bytes), the text, and the first
 * 8 bytes of the text's SHA-256. The text is groups of rows: what is said of them, how many
 * they are, and for each its number and what is known. */
#include "run/journal.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fileio.h"

enum {
    CHECK_BYTES = 8,
    LENGTH_BYTES = 4,
    ENTRY_MAX = 64 << 20,
    WORDS_MAX = 4096,
    PROOF_NUMBERS = 4
};
enum { ROWS_MAX = 1000, GATHERED_MAX = 1 << 20 };
enum { SENDING = 's', TOLD = 't' };

struct journal {
    int fd;
    off_t size;
    struct buf text; /* gathered, after room for its length */
};

static bool
check_of(struct str text, unsigned char out[EVP_MAX_MD_SIZE])
{
    return EVP_Digest(text.p, text.n, out, NULL, EVP_sha256(), NULL) == 1;
}

int
journal_create(int dirfd, const char *name, struct journal **ret, struct error *err)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return error_no_memory(err);
    j->fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (j->fd < 0) {
        int rc = error_set_errno(err, ERR_INTERNAL, errno, "cannot write \"%s\"", name);
        journal_free(j);
        return rc;
    }
    *ret = j;
    return 0;
}

static void
begin(struct journal *j, char kind, size_t n)
{
    if (j->text.n == 0)
        buf_add(&j->text, "\0\0\0\0", LENGTH_BYTES);
    buf_addc(&j->text, kind);
    buf_add_varint(&j->text, n);
}

static int
end(struct journal *j, struct error *err)
{
    if (j->text.failed)
        return error_no_memory(err);
    return j->text.n < GATHERED_MAX ? 0 : journal_keep(j, err);
}

/* What was written in part is taken back: nothing behind it could be read. */
int
journal_keep(struct journal *j, struct error *err)
{
    unsigned char check[EVP_MAX_MD_SIZE];
    if (j->text.n == 0)
        return 0;
    uint32_t n = (uint32_t)(j->text.n - LENGTH_BYTES);
    if (!check_of((struct str){j->text.p + LENGTH_BYTES, n}, check))
        return error_no_memory(err);
    for (int i = 0; i < LENGTH_BYTES; i++)
        j->text.p[i] = (char)(n >> 8 * i);
    buf_add(&j->text, check, CHECK_BYTES);
    if (j->text.failed)
        return error_no_memory(err);
    int rc = file_write_all(j->fd, j->text.p, j->text.n, err);
    if (rc < 0 && ftruncate(j->fd, j->size) < 0)
        return rc;
    j->size += rc == 0 ? (off_t)j->text.n : 0;
    buf_clear(&j->text);
    return rc;
}

int
journal_sending(struct journal *j, const struct change *changes, size_t n, struct error *err)
{
    begin(j, SENDING, n);
    for (size_t i = 0; i < n; i++)
        buf_add_varint(&j->text, changes[i].seq);
    return end(j, err);
}

static void
add_words(struct buf *out, const char *words)
{
    size_t n = words ? strnlen(words, WORDS_MAX) : 0;
    buf_add_varint(out, n);
    if (n)
        buf_add(out, words, n);
}

int
journal_told(struct journal *j, const struct change *changes, const struct outcome *out,
             size_t n, const struct proof *proof, struct error *err)
{
    int rc = 0;
    for (size_t from = 0, to; rc == 0 && from < n; from = to) {
        to = n - from > ROWS_MAX ? from + ROWS_MAX : n;
        begin(j, TOLD, to - from);
        const uint64_t numbers[PROOF_NUMBERS] = {proof->run, proof->line, proof->at,
                                                 proof->row + from};
        for (size_t i = 0; i < PROOF_NUMBERS; i++)
            buf_add_varint(&j->text, numbers[i]);
        for (size_t i = from; i < to; i++) {
            buf_add_varint(&j->text, changes[i].seq);
            buf_addc(&j->text, (char)out[i].kind);
            add_words(&j->text, out[i].code);
            add_words(&j->text, out[i].why);
        }
        rc = end(j, err);
    }
    return rc;
}

int
journal_sync(struct journal *j, struct error *err)
{
    int rc = journal_keep(j, err);
    return rc == 0 && fdatasync(j->fd) < 0
               ? error_set_errno(err, ERR_INTERNAL, errno, "cannot write a journal")
               : rc;
}

struct journal *
journal_free(struct journal *j)
{
    if (!j)
        return NULL;
    if (j->fd >= 0)
        close(j->fd);
    buf_done(&j->text);
    free(j);
    return NULL;
}

/* ---- reading ---- */

/* Big-endian, so that memcmp orders them. */
static void
add_number(char *to, uint64_t n)
{
    for (int i = 0; i < 8; i++)
        to[i] = (char)(n >> (56 - 8 * i));
}

static bool
take_words(const char **p, const char *end, struct str *ret)
{
    uint64_t n;
    if (!varint_read(p, end, &n) || n > (uint64_t)(end - *p))
        return false;
    *ret = (struct str){*p, n};
    *p += n;
    return true;
}

static bool
take_proof(const char **p, const char *end, struct proof *ret)
{
    return varint_read(p, end, &ret->run) && varint_read(p, end, &ret->line) &&
           varint_read(p, end, &ret->at) && varint_read(p, end, &ret->row);
}

/* What is said of each row goes into the sorter, which keeps what is said of one row in its
 * order. */
static int
take_group(const char **at, const char *end, struct sorter *rows, struct error *err)
{
    const char *p = *at;
    char kind = *p++;
    uint64_t n, seq;
    struct note said = {.proof = {0}};
    if (!varint_read(&p, end, &n) || (kind == TOLD && !take_proof(&p, end, &said.proof)))
        return -EILSEQ;
    for (uint64_t i = 0; i < n; i++, said.proof.row++) {
        said.code = said.words = (struct str){NULL, 0};
        char outcome = ROW_UNKNOWN, key[8];
        if (!varint_read(&p, end, &seq))
            return -EILSEQ;
        if (kind == TOLD) {
            if (p == end)
                return -EILSEQ;
            outcome = *p++;
            if (!take_words(&p, end, &said.code) || !take_words(&p, end, &said.words))
                return -EILSEQ;
        }
        AUTO_BUF struct buf note = BUF_INIT(BUF_NO_MAX);
        buf_addc(&note, outcome);
        note_add(&note, &said);
        add_number(key, seq);
        int rc = note.failed
                     ? error_no_memory(err)
                     : sorter_add(rows, (struct str){key, sizeof key}, buf_str(&note), err);
        if (rc < 0)
            return rc;
    }
    *at = p;
    return 0;
}

static int
take_entry(struct str text, struct sorter *rows, struct error *err)
{
    int rc = 0;
    for (const char *p = text.p, *end = p + text.n; rc == 0 && p < end;)
        rc = take_group(&p, end, rows, err);
    return rc;
}

/* 1: an entry in *text; 0: the end, or where it was cut off. */
static int
next_entry(FILE *f, struct buf *text, struct error *err)
{
    unsigned char head[LENGTH_BYTES], kept[CHECK_BYTES], check[EVP_MAX_MD_SIZE];
    if (fread(head, 1, sizeof head, f) != sizeof head)
        return 0;
    uint32_t n =
        head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
    if (n > ENTRY_MAX)
        return 0;
    buf_clear(text);
    char *room = buf_room(text, n + 1);
    if (!room)
        return error_no_memory(err);
    if (fread(room, 1, n, f) != n || fread(kept, 1, sizeof kept, f) != sizeof kept)
        return 0;
    text->n = n;
    if (!check_of(buf_str(text), check))
        return error_no_memory(err);
    return memcmp(check, kept, sizeof kept) == 0;
}

static int
load(FILE *f, struct sorter *rows, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    int rc;
    while ((rc = next_entry(f, &text, err)) == 1) {
        rc = take_entry(buf_str(&text), rows, err);
        if (rc == -EILSEQ)
            return error_set(err, ERR_INTERNAL, EIO, "an entry of the journal is none");
        if (rc < 0)
            return rc;
    }
    return rc == 0 && ferror(f)
               ? error_set_errno(err, ERR_INTERNAL, errno, "cannot read a journal")
               : rc;
}

/* Of what was said of a row the last counts. */
static int
tell(struct sorter *rows, journal_row_fn row, void *arg, struct error *err)
{
    AUTO_BUF struct buf last = BUF_INIT(BUF_NO_MAX); /* key and note */
    struct str key, note;
    int rc = sorter_finish(rows, err), more = rc;
    while (rc == 0 && (more = sorter_next(rows, &key, &note, err)) >= 0) {
        bool other = more == 0 || (last.n && memcmp(last.p, key.p, 8) != 0);
        if (last.n && other) {
            uint64_t seq = 0;
            for (int i = 0; i < 8; i++)
                seq = seq << 8 | (uint8_t)last.p[i];
            const struct note said = note_read((struct str){last.p + 9, last.n - 9});
            const struct outcome outcome = {.kind = (enum outcome_kind)last.p[8],
                                            .code = said.code.n ? said.code.p : NULL,
                                            .why = said.words.n ? said.words.p : NULL};
            rc = row(arg, seq, &outcome, &said.proof, err);
        }
        if (more == 0)
            break;
        buf_clear(&last);
        buf_add(&last, key.p, 8);
        buf_add(&last, note.p, note.n);
        if (last.failed)
            return error_no_memory(err);
    }
    return more < 0 ? more : rc;
}

int
journal_read(int dirfd, const char *name, size_t memory, journal_row_fn row, void *arg,
             struct error *err)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot read \"%s\"", name);
    AUTO_FCLOSE FILE *f = fdopen(fd, "r");
    if (!f) {
        close(fd);
        return error_no_memory(err);
    }
    struct sorter *rows = NULL;
    int rc = sorter_create(dirfd, NULL, 0, memory, &rows, err);
    if (rc == 0)
        rc = load(f, rows, err);
    if (rc == 0)
        rc = tell(rows, row, arg, err);
    sorter_free(rows);
    return rc;
}
