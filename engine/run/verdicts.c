/* Verdicts: see verdicts.h. */
#include "run/verdicts.h"

#include <stdlib.h>

#include "base/cleanup.h"

enum { MEMORY = 4 * 1024 * 1024, CODE_MAX = 1024, WORDS_MAX = 64 * 1024 };

struct verdicts {
    int dirfd;
    struct sorter *sorter; /* made with the first */
    bool sorted;
    uint64_t n;
    struct error error;
};

struct verdicts *
verdicts_create(int dirfd)
{
    struct verdicts *v = calloc(1, sizeof *v);
    if (v)
        v->dirfd = dirfd;
    return v;
}

static void
seq_key(uint64_t seq, char key[8])
{
    for (int i = 0; i < 8; i++)
        key[i] = (char)(seq >> (56 - 8 * i));
}

static const char *
default_words(enum outcome_kind kind)
{
    switch (kind) {
    case ROW_REJECTED:
        return "refused by the destination";
    case ROW_RETRY:
        return "not applied; will be sent again";
    default:
        return "no verdict from the destination; it cannot be told whether it was applied";
    }
}

void
verdicts_keep(void *verdicts, uint64_t seq, const struct outcome *outcome)
{
    static const struct proof none;
    verdicts_keep_with(verdicts, seq, outcome, &none);
}

void
verdicts_keep_with(struct verdicts *v, uint64_t seq, const struct outcome *outcome,
                   const struct proof *proof)
{
    if (outcome->kind == ROW_DONE || outcome->kind == ROW_UNCHANGED ||
        outcome->kind == ROW_STAGED)
        return;
    static const char *const codes[] = {[ROW_UNKNOWN] = "unknown", [ROW_RETRY] = "retry"};
    const char *code = outcome->code                   ? outcome->code
                       : outcome->kind == ROW_REJECTED ? "rejected"
                                                       : codes[outcome->kind];
    const char *why = outcome->why ? outcome->why : default_words(outcome->kind);
    AUTO_BUF struct buf note = BUF_INIT(BUF_NO_MAX);
    note_add(&note, &(struct note){.code = {code, strnlen(code, CODE_MAX)},
                                   .words = {why, strnlen(why, WORDS_MAX)},
                                   .proof = *proof,
                                   .unsure = outcome->kind == ROW_UNKNOWN});
    char key[8];
    seq_key(seq, key);
    v->n++;
    if (note.failed) {
        error_no_memory(&v->error);
        return;
    }
    int rc = v->sorter ? 0 : sorter_create(v->dirfd, NULL, 0, MEMORY, &v->sorter, &v->error);
    if (rc == 0)
        sorter_add(v->sorter, (struct str){key, sizeof key}, buf_str(&note), &v->error);
}

int
verdicts_kept(const struct verdicts *v, struct error *err)
{
    if (v->error.kind == ERR_NONE)
        return 0;
    *err = v->error;
    return -err->errnum;
}

uint64_t
verdicts_count(const struct verdicts *v)
{
    return v->n;
}

int
verdicts_next(struct verdicts *v, const atomic_bool *cancelled, uint64_t *seq, struct str *note,
              struct error *err)
{
    if (!v->sorter)
        return 0;
    if (!v->sorted) {
        sorter_cancel_by(v->sorter, cancelled);
        int rc = sorter_finish(v->sorter, err);
        if (rc < 0)
            return rc;
        v->sorted = true;
    }
    struct str key;
    int rc = sorter_next(v->sorter, &key, note, err);
    if (rc != 1)
        return rc;
    *seq = 0;
    for (size_t i = 0; i < key.n; i++)
        *seq = *seq << 8 | (uint8_t)key.p[i];
    return 1;
}

struct verdicts *
verdicts_free(struct verdicts *v)
{
    if (v)
        sorter_free(v->sorter);
    free(v);
    return NULL;
}
