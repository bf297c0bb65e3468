/* Rows at the target that the model does not hold. */
#include "sqlite/dest.h"

struct survey {
    struct dest *d;
    sqlite3_stmt *stmt; /* the fields, in their order */
    struct types_slot *slots;
    struct value *key;
    struct arena row;
    struct buf record;
};

static int
prepare(struct survey *s, struct error *err)
{
    struct dest *d = s->d;
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    for (size_t i = 0; i < d->target.nfields; i++) {
        buf_adds(&sql, i ? ", t." : "SELECT t.");
        dest_add_column(&sql, d, i);
    }
    buf_adds(&sql, " FROM ");
    table_add_name(&sql, &d->table);
    buf_adds(&sql, " AS t WHERE NOT EXISTS (SELECT 1 FROM " DEST_STAGE " AS s WHERE ");
    dest_add_key_match(&sql, d, "=");
    buf_addf(&sql, " AND s.op <> %d)", OP_DELETE);
    s->slots = arena_alloc(&d->session_arena, d->target.nfields * sizeof *s->slots);
    s->key = arena_alloc(&d->session_arena, d->target.nkey * sizeof *s->key);
    if (!s->slots || !s->key)
        return error_no_memory(err);
    return link_prepare_buf(&d->link, &sql, &s->stmt, err);
}

static int
unreadable(const struct survey *s, size_t field, int rc, struct error *err)
{
    if (rc == -ENOMEM)
        return error_no_memory(err);
    return error_set(err, ERR_DATA, EINVAL,
                     "a row at the destination has a text that is not valid UTF-8, in column "
                     "\"%s\"",
                     s->d->target.fields[field].name);
}

/* The key as it is stored, so that it finds its row again; only a boolean's 0 and 1, which the
 * model knows as false and true, are said that way. */
static int
read_key(struct survey *s, struct error *err)
{
    const struct target *t = &s->d->target;
    for (size_t i = 0; i < t->nkey; i++) {
        size_t field = t->key[i];
        enum value_type type = t->fields[field].type == V_BOOL ? V_BOOL : V_NULL;
        int rc = types_read(s->stmt, (int)field, type, &s->slots[field], &s->row, &s->key[i]);
        if (rc)
            return unreadable(s, field, rc, err);
    }
    return 0;
}

static int
tell_row(struct survey *s, dest_foreign_fn foreign, void *arg, struct error *err)
{
    const struct dest *d = s->d;
    arena_clear(&s->row);
    buf_clear(&s->record);
    for (size_t i = 0; i < d->target.nfields; i++) {
        struct value v;
        enum value_type declared = d->table.columns[d->columns[i]].column.type;
        int rc = types_read(s->stmt, (int)i, declared, &s->slots[i], &s->row, &v);
        if (rc)
            return unreadable(s, i, rc, err);
        record_add(&s->record, &v);
    }
    if (s->record.failed)
        return error_no_memory(err);
    int rc = read_key(s, err);
    return rc ? rc : foreign(arg, s->key, buf_str(&s->record), err);
}

int
sqlite_dest_survey(void *handle, dest_foreign_fn foreign, void *arg, struct error *err)
{
    struct dest *d = handle;
    if (!d->in_session || d->target.nkey == 0)
        return error_set(err, ERR_INTERNAL, EINVAL, "no session to survey");
    int rc = dest_enter_target(d, err);
    if (rc || !d->table.exists)
        return rc;
    rc = dest_index_stage(d, err);
    struct survey s = {.d = d, .record = BUF_INIT(BUF_NO_MAX)};
    if (!rc)
        rc = prepare(&s, err);
    int code = SQLITE_DONE;
    while (!rc && (code = sqlite3_step(s.stmt)) == SQLITE_ROW)
        rc = tell_row(&s, foreign, arg, err);
    if (!rc && code != SQLITE_DONE)
        rc = link_fail(&d->link, code, err);
    sqlite3_finalize(s.stmt);
    arena_done(&s.row);
    buf_done(&s.record);
    return rc;
}
