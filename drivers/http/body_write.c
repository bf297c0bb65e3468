/* From changes to a body: see body.h. */
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/body_private.h"

/* An object or array that is open; `written`: its bracket is. */
struct level {
    char bracket;
    bool written, any;
    struct str name; /* waits for the bracket, or for the next value */
};

struct writer {
    struct body *body;
    struct buf *out, *outside; /* outside: of the JSON in a string that is being written */
    const struct change *change;
    const unsigned char *identity;
    size_t index;
    bool has_before; /* body->before is the row's */
    size_t skip;     /* no step before this one */
    struct level levels[2 * BODY_DEPTH_MAX + 4];
    size_t depth;
};

/* A comma after what came before, and the name. */
static inline void
separate(struct writer *w, struct level *l)
{
    if (l->any)
        buf_addc(w->out, ',');
    l->any = l->bracket != '\0';
    if (l->name.p)
        buf_add(w->out, l->name.p, l->name.n);
    l->name.p = NULL;
}

/* The brackets around a value that are not written yet. */
static void
open_brackets(struct writer *w)
{
    size_t written = w->depth;
    while (!w->levels[written].written)
        written--;
    for (size_t i = written; i < w->depth; i++) {
        separate(w, &w->levels[i]);
        buf_addc(w->out, w->levels[i + 1].bracket);
        w->levels[i + 1].written = true;
    }
}

/* Before a value. */
static inline void
begin_value(struct writer *w)
{
    if (!w->levels[w->depth].written)
        open_brackets(w);
    separate(w, &w->levels[w->depth]);
}

static void
drop_name(struct writer *w)
{
    w->levels[w->depth].name.p = NULL;
}

static void
open_level(struct writer *w, const struct step *s)
{
    if (!s->lazy)
        begin_value(w);
    w->levels[++w->depth] = (struct level){.bracket = s->bracket, .written = !s->lazy};
    if (!s->lazy)
        buf_addc(w->out, s->bracket);
}

static void
close_level(struct writer *w)
{
    struct level *l = &w->levels[w->depth--];
    if (l->written)
        buf_addc(w->out, l->bracket == '{' ? '}' : ']');
    else
        drop_name(w);
}

/* Of what is gone: as it was delivered, and the identifier. */
static const struct value *
field_value(void *arg, size_t field)
{
    static const struct value null = {.type = V_NULL};
    const struct writer *w = arg;
    const struct body_settings *set = &w->body->set;
    if (w->change->after)
        return &w->change->after[field];
    for (size_t i = 0; i < set->nkey; i++)
        if (set->key[i] == field)
            return &w->change->key[i + set->looked_up];
    bool known = w->has_before && w->body->before[field].type != V_ABSENT;
    return known ? &w->body->before[field] : &null;
}

/* JSON that is a string already stays one; any other is the text of one. */
static bool
is_json_string(const struct value *v)
{
    size_t blanks = 0;
    while (blanks < v->n && strchr(" \t\r\n", v->p[blanks]))
        blanks++;
    return blanks < v->n && v->p[blanks] == '"';
}

static void
write_as_string(struct writer *w, const struct value *v)
{
    switch ((enum value_type)v->type) {
    case V_BOOL:
        buf_addc(w->out, '"');
        value_json(w->out, v);
        buf_addc(w->out, '"');
        return;
    case V_INT:
    case V_DECIMAL:
    case V_FLOAT:
        json_quote(w->out, v->p, v->n);
        return;
    case V_JSON:
        if (is_json_string(v))
            value_json(w->out, v);
        else
            json_quote(w->out, v->p ? v->p : "", v->n);
        return;
    default:
        value_json(w->out, v);
        return;
    }
}

static void
write_json(struct writer *w, const struct value *v)
{
    if (w->body->set.strings)
        write_as_string(w, v);
    else
        value_json(w->out, v);
}

static bool
stands_there(const struct writer *w, const struct field_group *group)
{
    for (size_t i = 0; i < group->n; i++)
        if (!value_equal(&w->change->after[group->fields[i]],
                         &w->body->before[group->fields[i]]))
            return false;
    return true;
}

static void
write_field(struct writer *w, const struct step *s)
{
    const struct value *v = field_value(w, s->field);
    enum body_nulls nulls = w->body->nulls[s->field];
    bool in_object = w->levels[w->depth].bracket == '{';
    bool same = s->group && w->has_before && w->change->after && stands_there(w, s->group);
    bool omit = s->omit || (nulls == NULLS_OMIT && in_object);
    if ((v->type == V_NULL && omit) || same) {
        drop_name(w);
        return;
    }
    begin_value(w);
    if (v->type == V_NULL && nulls == NULLS_EMPTY)
        buf_add(w->out, "\"\"", 2);
    else
        write_json(w, v);
}

static void
write_key(struct writer *w)
{
    size_t n = w->body->set.nkey;
    begin_value(w);
    if (n != 1)
        buf_addc(w->out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(w->out, ',');
        write_json(w, &w->change->key[i]);
    }
    if (n != 1)
        buf_addc(w->out, ']');
}

static void
write_key_text(struct writer *w)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < w->body->set.nkey; i++) {
        const struct value *v = &w->change->key[i];
        if (i)
            buf_addc(&text, '|');
        buf_add(&text, v->p ? v->p : "", v->n);
    }
    begin_value(w);
    json_quote(w->out, buf_z(&text), text.n);
    w->out->failed |= text.failed;
}

static void
write_identity(struct writer *w, size_t digits)
{
    static const char hex[] = "0123456789abcdef";
    begin_value(w);
    buf_addc(w->out, '"');
    for (size_t i = 0; i < digits; i++)
        buf_addc(w->out, hex[w->identity[i / 2] >> (i % 2 ? 0 : 4) & 15]);
    buf_addc(w->out, '"');
}

/* Of this attempt. */
static void
write_now(struct writer *w, enum body_now unit)
{
    usec_t now = clock_now();
    begin_value(w);
    switch (unit) {
    case NOW_SECONDS:
        buf_add_int(w->out, now / 1000000);
        return;
    case NOW_MILLISECONDS:
        buf_add_int(w->out, now / 1000);
        return;
    case NOW_ISO:
        buf_addc(w->out, '"');
        clock_format(now, w->out);
        buf_addc(w->out, '"');
        return;
    }
}

static void
write_piece(struct writer *w, const struct step *s)
{
    if (s->kind == STEP_PIECE)
        buf_add(w->out, s->text.p, s->text.n);
    else
        body_phrase_field(w->body, s, field_value(w, s->field), w->out);
}

/* What follows goes elsewhere, as a value by itself. */
static void
open_json(struct writer *w)
{
    begin_value(w);
    w->outside = w->out;
    w->out = &w->body->json;
    buf_clear(w->out);
    w->levels[++w->depth] = (struct level){.written = true};
}

static void
close_json(struct writer *w)
{
    struct buf *text = w->out;
    w->depth--;
    if (!w->outside) /* nothing was opened */
        return;
    w->out = w->outside;
    json_quote(w->out, buf_z(text), text->n);
    w->out->failed |= text->failed;
}

static void
write_string(struct writer *w, const struct value *v)
{
    if (v->type == V_NULL) {
        drop_name(w);
        return;
    }
    AUTO_BUF struct buf json = BUF_INIT(BUF_NO_MAX);
    value_json(&json, v);
    begin_value(w);
    if (json.n && json.p[0] == '"')
        buf_add(w->out, json.p, json.n);
    else
        json_quote(w->out, buf_z(&json), json.n);
    w->out->failed |= json.failed;
}

static void
write_time(struct writer *w, const struct step *s)
{
    const struct value *v = field_value(w, s->field);
    if (v->type == V_NULL) {
        drop_name(w);
        return;
    }
    begin_value(w);
    body_time(w->out, v, s->unit);
}

static void
do_step(struct writer *w, const struct step *s)
{
    switch (s->kind) {
    case STEP_TEXT:
        begin_value(w);
        buf_add(w->out, s->text.p, s->text.n);
        return;
    case STEP_OPEN:
        open_level(w, s);
        return;
    case STEP_CLOSE:
        close_level(w);
        return;
    case STEP_NAME:
        w->levels[w->depth].name = s->text;
        return;
    case STEP_FIELD:
        write_field(w, s);
        return;
    case STEP_KEY:
        write_key(w);
        return;
    case STEP_KEY_TEXT:
        write_key_text(w);
        return;
    case STEP_IDENTITY:
        write_identity(w, s->field);
        return;
    case STEP_INDEX:
        begin_value(w);
        buf_add_int(w->out, (int64_t)w->index);
        return;
    case STEP_NOW:
        write_now(w, (enum body_now)s->field);
        return;
    case STEP_QUOTE:
        begin_value(w);
        buf_addc(w->out, '"');
        return;
    case STEP_PIECE:
    case STEP_PIECE_FIELD:
        write_piece(w, s);
        return;
    case STEP_UNQUOTE:
        buf_addc(w->out, '"');
        return;
    case STEP_NOTHING:
        drop_name(w);
        return;
    case STEP_STRING:
        write_string(w, field_value(w, s->field));
        return;
    case STEP_TIME:
        write_time(w, s);
        return;
    case STEP_NULL_PART:
        if (body_any_null(s, field_value, w)) {
            begin_value(w);
            buf_add(w->out, s->text.p, s->text.n);
        }
        return;
    case STEP_WITH_NULLS:
        if (!body_any_null(s, field_value, w)) {
            w->skip = s->field;
            drop_name(w);
        }
        return;
    case STEP_JSON:
        open_json(w);
        return;
    case STEP_JSON_END:
        close_json(w);
        return;
    case STEP_ROWS:
        return; /* body_write's */
    }
}

/* Takes a row in hand; false: its delivered record is damaged. */
static bool
take_row(struct writer *w, const struct change *change, const unsigned char *identity,
         size_t index)
{
    struct body *b = w->body;
    w->change = change;
    w->identity = identity;
    w->index = index;
    w->skip = 0;
    w->has_before =
        ((b->set.changed_only && !change->unsure) || !change->after) && change->before.n > 0;
    return !w->has_before || record_unpack(change->before, b->before, b->set.nfields);
}

/* Notes the row if more than it may have was written of it. */
static bool
weigh(struct body *b, size_t row, size_t bytes)
{
    return !b->set.row_bytes || bytes <= b->set.row_bytes || VEC_PUSH(&b->over, row);
}

const size_t *
body_over(const struct body *b, size_t *n)
{
    *n = b->over.n;
    return b->over.p;
}

bool
body_write(struct body *b, const struct change *changes, size_t n,
           const unsigned char (*identities)[32], struct buf *out)
{
    struct writer w = {.body = b, .out = out};
    bool good = n > 0 && take_row(&w, &changes[0], identities[0], 0), rows = false;
    size_t begin = out->n;
    b->over.n = 0;
    w.levels[0].written = true;
    for (size_t i = 0; good && i < b->steps.n; i++) {
        const struct step *s = &b->steps.p[i];
        if (s->kind != STEP_ROWS) {
            if (i >= w.skip)
                do_step(&w, s);
            continue;
        }
        rows = true;
        open_level(&w, &(struct step){.bracket = '['});
        for (size_t row = 0; good && row < n; row++) {
            size_t before = w.out->n + w.levels[w.depth].any; /* the comma is nobody's */
            good = take_row(&w, &changes[row], identities[row], row);
            for (size_t j = i + 1; good && j < s->field; j++)
                if (j >= w.skip)
                    do_step(&w, &b->steps.p[j]);
            if (!weigh(b, row, w.out->n > before ? w.out->n - before : 0))
                out->failed = true;
        }
        close_level(&w);
        i = s->field - 1;
    }
    if (!rows && !weigh(b, 0, out->n - begin))
        out->failed = true;
    return good && !out->failed;
}
