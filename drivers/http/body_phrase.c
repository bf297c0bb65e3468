/*
 * Texts with fields in braces (base/phrase.h) within bodies: pieces of one JSON string. What
 * stands between the fields is made JSON once.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/phrase.h"
#include "http/body_private.h"

/* `&`, `<` and `>` begin markup, where a message is markup. They are never part of an escape of
 * JSON, so a JSON string is searched as it is. */
static void
add_markup(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        switch (text.p[i]) {
        case '&':
            buf_adds(out, "&amp;");
            break;
        case '<':
            buf_adds(out, "&lt;");
            break;
        case '>':
            buf_adds(out, "&gt;");
            break;
        default:
            buf_addc(out, text.p[i]);
        }
    }
}

/* A JSON string without its quotes. */
static struct str
inner(const struct buf *quoted)
{
    return quoted->failed || quoted->n < 2 ? STR("")
                                           : (struct str){quoted->p + 1, quoted->n - 2};
}

static bool
find_field(const struct body_settings *set, struct str name, size_t *ret)
{
    for (*ret = 0; *ret < set->nfields; ++*ret)
        if (str_is(name, set->fields[*ret].name))
            return true;
    return false;
}

static int
add_piece(struct body *b, struct step step, struct str text, struct error *err)
{
    AUTO_BUF struct buf quoted = BUF_INIT(BUF_NO_MAX);
    json_quote(&quoted, text.n ? text.p : "", text.n);
    struct str kept = inner(&quoted);
    char *copy = quoted.failed ? NULL : arena_strndup(&b->arena, kept.p, kept.n);
    step.text = (struct str){copy, kept.n};
    return copy && VEC_PUSH(&b->steps, step) ? 0 : error_no_memory(err);
}

int
body_phrase(struct body *b, const struct body_settings *set, struct str text, bool markup,
            struct error *err)
{
    struct phrase piece;
    enum phrase_kind kind;
    int rc = VEC_PUSH(&b->steps, (struct step){.kind = STEP_QUOTE}) ? 0 : error_no_memory(err);
    while (rc == 0 && (kind = phrase_next(&text, &piece)) != PHRASE_END) {
        struct step step = {.kind = STEP_PIECE, .markup = markup};
        if (kind == PHRASE_BROKEN)
            return error_set(err, ERR_CONFIG, EINVAL,
                             "a brace that is not closed, or names nothing");
        if (kind == PHRASE_TEXT) {
            rc = add_piece(b, step, piece.text, err);
            continue;
        }
        step.kind = STEP_PIECE_FIELD;
        if (!find_field(set, piece.text, &step.field))
            return error_set(err, ERR_CONFIG, EINVAL, "no mapping gives field \"%.*s\"",
                             (int)piece.text.n, piece.text.p);
        rc = add_piece(b, step, piece.otherwise, err);
    }
    if (rc == 0 && !VEC_PUSH(&b->steps, (struct step){.kind = STEP_UNQUOTE}))
        rc = error_no_memory(err);
    return rc;
}

void
body_phrase_field(struct body *b, const struct step *s, const struct value *v, struct buf *out)
{
    if (v->type == V_NULL || v->type == V_ABSENT) {
        buf_add(out, s->text.p, s->text.n);
        return;
    }
    struct buf *json = &b->phrase;
    buf_clear(json);
    value_json(json, v);
    if (v->type == V_JSON || (json->n && json->p[0] != '"')) {
        AUTO_BUF struct buf raw = BUF_INIT(BUF_NO_MAX);
        buf_add(&raw, buf_z(json), json->n);
        buf_clear(json);
        json_quote(json, buf_z(&raw), raw.n);
        json->failed |= raw.failed;
    }
    out->failed |= json->failed;
    if (s->markup)
        add_markup(out, inner(json));
    else
        buf_add(out, inner(json).p, inner(json).n);
}
