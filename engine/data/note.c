/* Notes: see note.h. */
#include "data/note.h"

void
note_add(struct buf *out, const struct note *note)
{
    const struct proof *proof = &note->proof;
    buf_add(out, note->code.p ? note->code.p : "", note->code.n);
    buf_addc(out, '\0');
    buf_add(out, note->words.p ? note->words.p : "", note->words.n);
    if (!proof->run && !note->unsure)
        return;
    buf_addc(out, '\0');
    const uint64_t numbers[] = {proof->run, proof->line, proof->at, proof->row, note->unsure};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        buf_add_varint(out, numbers[i]);
}

/* Up to a NUL, or all of it; 1: there was one, and it is passed. */
static bool
take_part(struct str *rest, struct str *part)
{
    const char *zero = rest->n ? memchr(rest->p, '\0', rest->n) : NULL;
    *part = (struct str){rest->p, zero ? (size_t)(zero - rest->p) : rest->n};
    size_t taken = part->n + (zero ? 1 : 0);
    if (taken > 0) /* from nothing not even that can be taken */
        *rest = (struct str){rest->p + taken, rest->n - taken};
    return zero;
}

struct note
note_read(struct str bytes)
{
    struct note note = {.code = {NULL, 0}};
    struct proof proof;
    uint64_t unsure;
    if (!take_part(&bytes, &note.code)) { /* words alone */
        note.words = note.code;
        note.code = (struct str){NULL, 0};
        return note;
    }
    note.unsure = str_is(note.code, "unknown"); /* before notes had a number for it */
    if (!take_part(&bytes, &note.words))
        return note;
    const char *p = bytes.p, *end = p + bytes.n;
    if (varint_read(&p, end, &proof.run) && varint_read(&p, end, &proof.line) &&
        varint_read(&p, end, &proof.at) && varint_read(&p, end, &proof.row))
        note.proof = proof;
    if (varint_read(&p, end, &unsure))
        note.unsure = unsure != 0;
    return note;
}
