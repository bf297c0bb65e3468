/* The destination's hooks: see dest.h for how a session works. */
#include "postgres/dest.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "postgres/marker.h"
#include "postgres/types.h"

/* The server's limit; seq and op stand beside the fields in the stage. */
enum { FIELDS_MAX = 1600 - 2 };

/* ---- open and close ---- */

static bool
copy_fields(struct pg_dest *d, const struct target *from)
{
    struct column *fields = arena_alloc(&d->arena, (from->nfields + 1) * sizeof *fields);
    size_t *key = arena_alloc(&d->arena, (from->nkey + 1) * sizeof *key);
    d->columns = arena_alloc(&d->arena, (from->nfields + 1) * sizeof *d->columns);
    d->is_key = arena_alloc(&d->arena, (from->nfields + 1) * sizeof *d->is_key);
    d->key_at = arena_alloc(&d->arena, (from->nfields + 1) * sizeof *d->key_at);
    if (!fields || !key || !d->columns || !d->is_key || !d->key_at)
        return false;
    for (size_t i = 0; i < from->nfields; i++) {
        const char *native = from->fields[i].native;
        fields[i] = from->fields[i];
        fields[i].name = arena_strdup(&d->arena, fields[i].name);
        fields[i].native = native ? arena_strdup(&d->arena, native) : NULL;
        if (!fields[i].name || (native && !fields[i].native))
            return false;
    }
    for (size_t i = 0; i < from->nkey; i++) {
        key[i] = from->key[i];
        d->is_key[key[i]] = true;
        d->key_at[key[i]] = i;
    }
    d->target.fields = fields;
    d->target.key = key;
    return true;
}

static int
copy_target(struct pg_dest *d, const struct target *from, struct error *err)
{
    d->target = *from;
    d->target.sync = arena_strdup(&d->arena, from->sync);
    d->target.sync_uid = arena_strdup(&d->arena, from->sync_uid);
    d->target.object = arena_strdup(&d->arena, from->object);
    struct pg_list list = pg_list_of(from->options);
    d->list.column = arena_strdup(&d->arena, list.column);
    d->list.name = arena_strdup(&d->arena, list.name);
    bool whole = d->target.sync && d->target.sync_uid && d->target.object &&
                 !d->list.column == !list.column && !d->list.name == !list.name;
    return whole && copy_fields(d, from) ? 0 : error_no_memory(err);
}

int
pg_dest_open(const void *connection, const struct target *target, void **ret, struct error *err)
{
    if (!target->object || !*target->object)
        return error_set(err, ERR_CONFIG, EINVAL, "the destination needs a table: \"object\"");
    struct pg_dest *d = calloc(1, sizeof *d);
    if (!d)
        return error_no_memory(err);
    int rc = pg_connect(&d->link, connection, target->sync, target->cancelled, err);
    if (!rc)
        rc = copy_target(d, target, err);
    if (rc) {
        pg_dest_close(d);
        return rc;
    }
    pg_opened(&d->link);
    *ret = d;
    return 0;
}

void
pg_dest_close(void *handle)
{
    struct pg_dest *d = handle;
    if (!d)
        return;
    pg_disconnect(&d->link);
    buf_done(&d->out);
    arena_done(&d->words);
    arena_done(&d->arena);
    free(d);
}

void
pg_dest_cancel(void *handle)
{
    struct pg_dest *d = handle;
    pg_cancel(&d->link);
}

void
pg_dest_limits(void *handle, struct limits *ret)
{
    *ret = (struct limits){.rows = 10000, .bytes = 1 << 20, .parallel = 1};
}

int
pg_dest_describe(void *handle, struct schema *ret, struct error *err)
{
    struct pg_dest *d = handle;
    *ret = (struct schema){0};
    int rc = pg_table_load(&d->link, d->target.object, &d->arena, &d->table, err);
    if (!rc && d->table.exists)
        *ret = (struct schema){d->table.columns, d->table.n};
    return rc;
}

/* ---- begin ---- */

static bool
may_merge(const struct pg_dest *d)
{
    for (size_t i = 0; i < d->target.nkey; i++) {
        const struct column *field = &d->target.fields[d->target.key[i]];
        const struct pg_table_column *more = &d->table.more[d->columns[d->target.key[i]]];
        bool same_type = field->native && strcmp(field->native, more->bare) == 0;
        if (!same_type && !pg_tells_apart(more->type, field->type))
            return true;
    }
    return false;
}

static int
load_table(struct pg_dest *d, struct error *err)
{
    if (d->target.nfields > FIELDS_MAX)
        return error_set(err, ERR_CONFIG, E2BIG,
                         "at most %d fields can be delivered to a table, not %zu", FIELDS_MAX,
                         d->target.nfields);
    int rc = pg_table_load(&d->link, d->target.object, &d->arena, &d->table, err);
    if (!rc && d->table.exists)
        rc = pg_table_check(&d->table, &d->target, d->list.column, d->columns, err);
    d->merging = !rc && d->table.exists && may_merge(d);
    return rc;
}

static int
begin_transaction(struct pg_dest *d, struct error *err)
{
    int rc = pg_run(&d->link, err, "BEGIN ISOLATION LEVEL READ COMMITTED");
    d->begun = !rc;
    if (!rc && !d->session.dry)
        rc = pg_marker_lock(&d->link, d->target.sync_uid, err);
    /* A deferred constraint would speak at COMMIT, when no row can be told guilty any more. */
    return rc ? rc : pg_run(&d->link, err, "SET CONSTRAINTS ALL IMMEDIATE");
}

static int
create_table(struct pg_dest *d, struct error *err)
{
    bool schema_is_new = !d->table.schema_exists;
    int rc = pg_table_create(&d->link, &d->table, &d->target, d->list.column, err);
    if (!rc)
        rc = load_table(d, err);
    if (!rc && schema_is_new)
        rc = pg_marker_prepare(&d->link, &d->table, err);
    return rc;
}

/* *ret: the table is empty and nobody else can write into it. Whoever holds it or may not lock
 * it does without. */
static int
lock_empty(struct pg_dest *d, bool *ret, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX), answer = BUF_INIT(BUF_NO_MAX);
    *ret = false;
    int rc = pg_run(&d->link, err, "SAVEPOINT retlfs");
    if (rc)
        return rc;
    rc = pg_run(&d->link, err, "LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE NOWAIT",
                d->table.relation);
    if (!rc) {
        buf_addf(&sql, "SELECT NOT EXISTS (SELECT FROM %s)", d->table.relation);
        rc = sql.failed ? error_no_memory(err)
                        : pg_ask(&d->link, buf_z(&sql), 0, NULL, &answer, err);
        *ret = !rc && strcmp(buf_z(&answer), "t") == 0;
    }
    if (*ret)
        return pg_run(&d->link, err, "RELEASE SAVEPOINT retlfs");
    if (rc && !pg_alive(&d->link))
        return rc;
    error_clear(err);
    /* Gives the lock back. */
    return pg_run(&d->link, err, "ROLLBACK TO SAVEPOINT retlfs");
}

static int
choose_way(struct pg_dest *d, bool is_new, struct error *err)
{
    const struct session *s = &d->session;
    const struct pg_table *t = &d->table;
    bool only_inserts = d->target.mode == MODE_INSERT || !d->target.nkey;
    d->way = s->careful ? WAY_CAREFUL : WAY_TYPED;
    bool writes = d->target.mode != MODE_UPDATE && d->target.mode != MODE_REMOVE;
    if (!s->full || s->dry || s->careful || !writes || !t->plain || t->row_security ||
        (d->merging && !only_inserts))
        return 0;
    bool direct = is_new || (only_inserts && !s->survey);
    int rc = direct ? 0 : lock_empty(d, &direct, err);
    if (direct)
        d->way = WAY_DIRECT;
    return rc;
}

/* A dry session sends nothing unless it will ask for what is foreign. */
static bool
is_idle(const struct pg_dest *d)
{
    return d->session.dry && (!d->session.survey || !d->table.exists || !d->target.nkey);
}

static int
begin(struct pg_dest *d, struct error *err)
{
    int rc = load_table(d, err);
    if (rc)
        return rc;
    bool is_new = !d->table.exists;
    if (is_new && !d->target.create)
        return error_set(err, ERR_CONFIG, ENOENT,
                         "table %s does not exist; make it, or set \"create\": true",
                         d->table.relation);
    if (!d->session.dry && d->table.schema_exists)
        rc = pg_marker_prepare(&d->link, &d->table, err);
    if (!rc)
        rc = begin_transaction(d, err);
    if (!rc && is_new && !d->session.dry)
        rc = create_table(d, err);
    if (rc || is_idle(d))
        return rc;
    rc = choose_way(d, is_new, err);
    if (!rc)
        rc = pg_stage_begin(d, err);
    if (!rc && d->staging && !d->session.dry)
        rc = pg_apply_rehearse(d, err);
    return rc;
}

int
pg_dest_begin(void *handle, const struct session *session, struct error *err)
{
    struct pg_dest *d = handle;
    pg_dest_abort(d);
    d->session = *session;
    d->session.token = arena_strdup(&d->arena, session->token);
    if (!d->session.token)
        return error_no_memory(err);
    d->end = 0;
    memset(d->count, 0, sizeof d->count);
    int rc = begin(d, err);
    if (rc)
        pg_dest_abort(d);
    return rc;
}

void
pg_dest_abort(void *handle)
{
    struct pg_dest *d = handle;
    struct error ignored = ERROR_INIT;
    if (d->copying && pg_alive(&d->link))
        pg_copy_end(&d->link, true, &ignored);
    if (d->begun && pg_alive(&d->link))
        pg_run(&d->link, &ignored, "ROLLBACK");
    d->copying = d->begun = d->staging = false;
    buf_clear(&d->out);
}

int
pg_dest_replay(struct pg_dest *d, struct error *err)
{
    pg_dest_abort(d);
    err->kind = ERR_REPLAY;
    err->errnum = EAGAIN;
    return -EAGAIN;
}

/* ---- rows and their fate ---- */

int
pg_dest_write(void *handle, const struct batch *batch, struct outcome *out, struct error *err)
{
    struct pg_dest *d = handle;
    if (!d->begun)
        return error_set(err, ERR_INTERNAL, EINVAL, "rows outside of a session");
    arena_clear(&d->words);
    if (!is_idle(d))
        return pg_stage_write(d, batch, out, err);
    for (size_t i = 0; i < batch->n; i++)
        out[i] = (struct outcome){.kind = ROW_STAGED};
    return 0;
}

int
pg_dest_survey(void *handle, dest_foreign_fn foreign, void *arg, struct error *err)
{
    struct pg_dest *d = handle;
    int rc = pg_stage_finish(d, err);
    /* Without staging the table was empty, or is not there. */
    return rc || !d->staging ? rc : pg_apply_survey(d, foreign, arg, err);
}

int
pg_dest_apply(void *handle, dest_verdict_fn verdict, void *arg, struct error *err)
{
    struct pg_dest *d = handle;
    int rc = pg_stage_finish(d, err);
    return rc || !d->staging || d->session.dry ? rc : pg_apply(d, verdict, arg, err);
}

/* What the server did when no answer of its own to COMMIT is there, nobody knows: it did not
 * come, or there was no memory to read it. */
static int
commit(struct pg_dest *d, struct error *err)
{
    AUTO_RESULT PGresult *res = NULL;
    int rc = pg_exec(&d->link, "COMMIT", 0, NULL, &res, err);
    if (rc && (!pg_alive(&d->link) || !d->link.sqlstate[0])) {
        err->kind = ERR_UNKNOWN;
        return error_wrap(err, "the answer to COMMIT was lost");
    }
    if (!rc && strcmp(PQcmdStatus(res), "COMMIT") != 0)
        rc = error_set(err, ERR_REMOTE, EIO, "the server rolled the session back");
    return rc;
}

int
pg_dest_commit(void *handle, struct error *err)
{
    struct pg_dest *d = handle;
    if (!d->begun || d->copying || d->session.dry)
        return error_set(err, ERR_INTERNAL, EINVAL, "nothing to commit");
    int rc = pg_marker_write(&d->link, &d->table, d->target.sync_uid, d->session.token, err);
    if (rc)
        return rc;
    rc = commit(d, err);
    d->begun = d->staging = false;
    return rc;
}

int
pg_dest_resolve(void *handle, const char *token, enum dest_fate *ret, struct error *err)
{
    struct pg_dest *d = handle;
    *ret = FATE_UNKNOWN;
    int rc = pg_table_load(&d->link, d->target.object, &d->arena, &d->table, err);
    if (rc)
        return rc;
    return pg_marker_resolve(&d->link, &d->table, d->target.sync_uid, token, ret, err);
}
