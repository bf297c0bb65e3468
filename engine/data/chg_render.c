/*
 * One entry as text, for each view of a change file: see chg.h. The writer counts with the very
 * code that renders, so sizes cannot differ from the text; of JSON lines, which are counted for
 * every row that is ever sent, it writes nothing.
 *
 * Records are walked in step, not unpacked: no memory is needed for any number of fields.
 */
#include "base/cleanup.h"
#include "data/chg_format.h"
#include "data/note.h"

static bool
init_nest(struct chg_renderer *r, struct arena *arena)
{
    const char **names = arena_alloc(arena, r->meta->nfields * sizeof *names);
    for (size_t i = 0; names && i < r->meta->nfields; i++)
        names[i] = r->meta->fields[i].name;
    return names && nest_create(arena, names, r->meta->nfields, &r->nest);
}

bool
chg_renderer_init(struct chg_renderer *r, struct arena *arena, const struct chg_meta *meta)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    *r = (struct chg_renderer){.meta = meta};
    r->field_json = arena_alloc(arena, (meta->nfields + meta->nkey) * sizeof *r->field_json);
    if (!r->field_json)
        return false;
    r->key_json = r->field_json + meta->nfields;
    for (size_t i = 0; i < meta->nfields + meta->nkey; i++) {
        const char *name =
            i < meta->nfields ? meta->fields[i].name : meta->key_names[i - meta->nfields];
        buf_clear(&text);
        json_quote(&text, name, strlen(name));
        buf_addc(&text, ':');
        char *copy = text.failed ? NULL : arena_strndup(arena, text.p, text.n);
        if (!copy)
            return false;
        r->field_json[i] = (struct str){copy, text.n};
    }
    return !meta->nested || init_nest(r, arena);
}

static const char *
op_name(enum entry_op op)
{
    static const char *const names[ENTRY_OPS] = {"none",   "insert", "update",
                                                 "delete", "none",   "record"};
    return names[op];
}

/* Reads field after field of one record; what is missing reads as absent. */
struct walk {
    const char *p, *end;
};

static struct walk
walk_start(struct str record)
{
    return record.n ? (struct walk){record.p, record.p + record.n} : (struct walk){NULL, NULL};
}

static struct value
walk_next(struct walk *w)
{
    struct value v;
    if (w->p < w->end && record_next(&w->p, w->end, &v))
        return v;
    w->p = w->end;
    return (struct value){.type = V_ABSENT};
}

static struct value
record_field(struct str record, size_t field)
{
    struct walk w = walk_start(record);
    for (size_t i = 0; i < field; i++)
        walk_next(&w);
    return walk_next(&w);
}

/* Names are short and many: a call each would cost more than the copying. */
static inline void
add_str(struct buf *out, struct str s)
{
    if (out->n + s.n >= out->cap) {
        buf_add(out, s.p, s.n);
        return;
    }
    memcpy(out->p + out->n, s.p, s.n);
    out->n += s.n;
    out->p[out->n] = '\0';
}

/* ---- pens ---- */

/* What JSON is written with: into `out`, or, if it counts, nowhere, with `out` for what can
 * only be measured by writing it. */
struct pen {
    struct buf *out;
    bool counts;
    uint64_t n;
};

static inline void
pen_str(struct pen *pen, struct str s)
{
    if (pen->counts)
        pen->n += s.n;
    else
        add_str(pen->out, s);
}

static inline void
pen_char(struct pen *pen, char c)
{
    if (pen->counts)
        pen->n++;
    else
        buf_addc(pen->out, c);
}

static inline void
pen_value(struct pen *pen, const struct value *v)
{
    if (pen->counts)
        pen->n += value_json_size(v, pen->out);
    else
        value_json(pen->out, v);
}

static void
pen_quote(struct pen *pen, struct str s)
{
    const struct value text = {s.p, (uint32_t)s.n, V_TEXT};
    pen_value(pen, &text);
}

/* ---- identifiers ---- */

/* The key as values, from the record or, without one, from the key's own bytes. */
struct id_walk {
    const struct chg_meta *meta;
    struct str record;
    const char *p, *end;
};

static struct id_walk
id_start(const struct chg_meta *meta, const struct entry *e)
{
    return (struct id_walk){.meta = meta,
                            .record = e->after.n ? e->after : e->before,
                            .p = e->key.p,
                            .end = e->key.p + e->key.n};
}

/* The i-th identifier column as JSON. */
static void
id_value(struct id_walk *w, size_t i, struct pen *pen)
{
    if (w->record.n > 0) {
        struct value v = record_field(w->record, w->meta->key[i]);
        pen_value(pen, &v);
        return;
    }
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    int rc = key_next(&w->p, w->end, &text);
    pen->out->failed |= text.failed;
    if (rc <= 0) {
        w->p = rc < 0 ? w->end : w->p;
        pen_str(pen, STR("null"));
        return;
    }
    struct value v = {text.p, (uint32_t)text.n,
                      w->meta->key_class[i] == KEY_INT ? V_INT : V_TEXT};
    pen_value(pen, &v);
}

static void
pen_id(const struct chg_renderer *r, const struct entry *e, struct pen *pen)
{
    if (r->meta->nkey == 0) {
        pen_str(pen, STR("null"));
        return;
    }
    struct id_walk w = id_start(r->meta, e);
    for (size_t i = 0; i < r->meta->nkey; i++) {
        pen_char(pen, i ? ',' : '{');
        pen_str(pen, r->key_json[i]);
        id_value(&w, i, pen);
    }
    pen_char(pen, '}');
}

/* ---- JSON lines ---- */

static void
pen_nested(const struct chg_renderer *r, struct str record, struct pen *pen)
{
    struct value values[NEST_FIELDS_MAX];
    struct walk w = walk_start(record);
    for (size_t i = 0; i < r->meta->nfields; i++)
        values[i] = walk_next(&w);
    if (pen->counts)
        buf_clear(pen->out);
    nest_write(r->nest, values, pen->out);
    if (pen->counts)
        pen->n += pen->out->n;
}

static void
pen_record(const struct chg_renderer *r, struct str record, struct pen *pen)
{
    if (r->nest) {
        pen_nested(r, record, pen);
        return;
    }
    struct walk w = walk_start(record);
    char before = '{';
    for (size_t i = 0; i < r->meta->nfields; i++) {
        struct value v = walk_next(&w);
        if (v.type == V_ABSENT)
            continue;
        pen_char(pen, before);
        pen_str(pen, r->field_json[i]);
        pen_value(pen, &v);
        before = ',';
    }
    if (before == '{')
        pen_char(pen, '{');
    pen_char(pen, '}');
}

/* The names of the fields that differ or were absent before. */
static void
pen_changed(const struct chg_renderer *r, const struct entry *e, struct pen *pen)
{
    struct walk old = walk_start(e->before), new = walk_start(e->after);
    char before = '[';
    for (size_t i = 0; i < r->meta->nfields; i++) {
        struct value a = walk_next(&old), b = walk_next(&new);
        if (value_equal(&a, &b))
            continue;
        struct str name = r->field_json[i];
        pen_char(pen, before);
        pen_str(pen, (struct str){name.p, name.n - 1}); /* without the colon */
        before = ',';
    }
    pen_str(pen, before == '[' ? STR("[]") : STR("]"));
}

static void
pen_jsonl(const struct chg_renderer *r, const struct entry *e, struct pen *pen)
{
    if (e->op == ENTRY_PRESENT)
        return;
    pen_str(pen, STR("{\"op\":\""));
    pen_str(pen, str_of(op_name(e->op)));
    pen_str(pen, STR("\",\"id\":"));
    pen_id(r, e, pen);
    if (e->op != ENTRY_INSERT && e->before.n > 0) {
        pen_str(pen, STR(",\"before\":"));
        pen_record(r, e->before, pen);
    }
    if (e->op != ENTRY_DELETE) {
        pen_str(pen, STR(",\"after\":"));
        pen_record(r, e->after, pen);
    }
    if (e->op == ENTRY_UPDATE) {
        pen_str(pen, STR(",\"changed\":"));
        pen_changed(r, e, pen);
    }
    if (e->note.n > 0) {
        pen_str(pen, STR(",\"why\":"));
        pen_quote(pen, e->note);
    }
    pen_str(pen, STR("}\n"));
}

static void
render_jsonl(const struct chg_renderer *r, const struct entry *e, struct buf *out)
{
    struct pen pen = {.out = out};
    pen_jsonl(r, e, &pen);
}

/* Blanks after the word make up for its length. */
static void
render_sent(const struct chg_renderer *r, const struct entry *e, struct buf *out)
{
    static const char end[] = "}\n";
    size_t before = out->n;
    render_jsonl(r, e, out);
    if (out->n == before || out->failed)
        return;
    out->n -= sizeof end - 1;
    buf_adds(out, CHG_OUTCOME_KEY);
    buf_add(out, r->outcome.p, r->outcome.n);
    buf_addf(out, "\"%*s%s", (int)(CHG_OUTCOME_MAX - r->outcome.n), "", end);
}

static void
render_rejected(const struct chg_renderer *r, const struct entry *e, struct buf *out)
{
    const struct note note = note_read(e->note);
    struct pen pen = {.out = out};
    buf_adds(out, "{\"id\":");
    pen_id(r, e, &pen);
    buf_addf(out, ",\"op\":\"%s\",\"reason\":", op_name(e->op));
    json_quote(out, note.words.p, note.words.n);
    buf_adds(out, ",\"code\":");
    json_quote(out, note.code.p, note.code.n);
    buf_addf(out, ",\"tries\":%u", e->tries);
    if (note.proof.run)
        buf_addf(out, ",\"evidence\":\"runs/%llu/requests.jsonl:%llu\",\"row\":%llu",
                 (unsigned long long)note.proof.run, (unsigned long long)note.proof.line,
                 (unsigned long long)note.proof.row);
    buf_adds(out, ",\"record\":");
    struct str record = e->after.n ? e->after : e->before;
    if (record.n > 0)
        pen_record(r, record, &pen);
    else
        buf_adds(out, "null");
    buf_adds(out, "}\n");
}

/* ---- CSV ---- */

static void
render_csv(const struct chg_renderer *r, struct str record, struct buf *out)
{
    struct walk w = walk_start(record);
    for (size_t i = 0; i < r->meta->nfields; i++) {
        struct value v = walk_next(&w);
        if (i > 0)
            buf_addc(out, ',');
        value_csv(out, &v);
    }
    buf_addc(out, '\n');
}

/* ---- diff ---- */

static void
diff_line(const struct chg_renderer *r, char sign, size_t field, const struct value *v,
          struct buf *out)
{
    if (v->type == V_ABSENT)
        return;
    struct str name = r->field_json[field];
    buf_addc(out, sign);
    buf_add(out, name.p + 1, name.n - 3); /* the name without quotes, its escapes kept */
    buf_adds(out, ": ");
    value_json(out, v);
    buf_addc(out, '\n');
}

/* "@@ update email=a@x @@ why": values as JSON without the quotes. */
static void
diff_head(const struct chg_renderer *r, const struct entry *e, struct buf *out)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    struct pen pen = {.out = &text};
    struct id_walk w = id_start(r->meta, e);
    buf_addf(out, "@@ %s", op_name(e->op));
    for (size_t i = 0; i < r->meta->nkey; i++) {
        buf_clear(&text);
        id_value(&w, i, &pen);
        size_t quote = text.n > 1 && text.p[0] == '"';
        buf_addc(out, ' ');
        buf_add(out, r->key_json[i].p + 1, r->key_json[i].n - 3);
        buf_addc(out, '=');
        if (text.n > 0) /* in a damaged entry there is none */
            buf_add(out, text.p + quote, text.n - 2 * quote);
        out->failed |= text.failed;
    }
    buf_adds(out, " @@");
    if (e->note.n > 0) {
        buf_clear(&text);
        json_quote(&text, e->note.p, e->note.n);
        buf_addc(out, ' ');
        if (!text.failed)
            buf_add(out, text.p + 1, text.n - 2);
        out->failed |= text.failed;
    }
    buf_addc(out, '\n');
}

static void
render_diff(const struct chg_renderer *r, const struct entry *e, struct buf *out)
{
    if (e->op == ENTRY_PRESENT)
        return;
    diff_head(r, e, out);
    bool update = e->op == ENTRY_UPDATE && e->before.n > 0;
    struct walk old = walk_start(e->op == ENTRY_INSERT ? (struct str){0} : e->before);
    struct walk new = walk_start(e->op == ENTRY_DELETE ? (struct str){0} : e->after);
    size_t start = out->n;
    for (size_t i = 0; i < r->meta->nfields; i++) {
        struct value a = walk_next(&old), b = walk_next(&new);
        if (update && value_equal(&a, &b))
            continue;
        diff_line(r, '-', i, &a, out);
        diff_line(r, '+', i, &b, out);
    }
    if (update && out->n == start)
        buf_adds(out, " (resent unchanged)\n");
}

/* ---- */

void
chg_render_entry(const struct chg_renderer *r, enum chg_view view, const struct entry *e,
                 struct buf *out)
{
    switch (view) {
    case VIEW_JSONL:
        render_jsonl(r, e, out);
        return;
    case VIEW_REJECTED:
        render_rejected(r, e, out);
        return;
    case VIEW_INSERTS_CSV:
        if (e->op == ENTRY_INSERT)
            render_csv(r, e->after, out);
        return;
    case VIEW_UPDATES_CSV:
        if (e->op == ENTRY_UPDATE)
            render_csv(r, e->after, out);
        return;
    case VIEW_DELETES_CSV:
        if (e->op == ENTRY_DELETE)
            render_csv(r, e->before, out);
        return;
    case VIEW_DIFF:
        render_diff(r, e, out);
        return;
    case VIEW_SENT:
        render_sent(r, e, out);
        return;
    case CHG_VIEWS:
        break;
    }
    out->failed = true;
}

uint64_t
chg_entry_size(const struct chg_renderer *r, enum chg_view view, const struct entry *e,
               struct buf *scratch)
{
    struct pen pen = {.out = scratch, .counts = true};
    if (view != VIEW_JSONL && view != VIEW_SENT) {
        buf_clear(scratch);
        chg_render_entry(r, view, e, scratch);
        return scratch->n;
    }
    pen_jsonl(r, e, &pen);
    return view == VIEW_SENT && pen.n > 0 ? pen.n + CHG_OUTCOME_BYTES : pen.n;
}

void
chg_render(const struct chg_meta *meta, enum chg_view view, const struct entry *e,
           struct buf *out)
{
    struct arena arena = ARENA_INIT;
    struct chg_renderer r;
    if (chg_renderer_init(&r, &arena, meta))
        chg_render_entry(&r, view, e, out);
    else
        out->failed = true;
    arena_done(&arena);
}

void
chg_render_head(const struct chg_meta *meta, enum chg_view view, struct buf *out)
{
    switch (view) {
    case VIEW_INSERTS_CSV:
    case VIEW_UPDATES_CSV:
    case VIEW_DELETES_CSV:
        for (size_t i = 0; i < meta->nfields; i++) {
            if (i > 0)
                buf_addc(out, ',');
            csv_field(out, meta->fields[i].name, strlen(meta->fields[i].name));
        }
        buf_addc(out, '\n');
        return;
    case VIEW_DIFF:
        buf_adds(out, "--- delivered\n+++ model\n");
        return;
    default:
        return;
    }
}
