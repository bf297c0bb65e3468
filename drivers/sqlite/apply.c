/*
 * Applying: the staged rows become target rows by one statement for each kind of operation,
 * however many rows there are. Where a row is refused, bisecting finds it and the others go
 * through. All of it is one transaction that dest_commit ends.
 *
 * Every statement says OR ABORT, so that a constraint the table declares with ON CONFLICT
 * IGNORE or REPLACE refuses the row aloud instead of dropping it, or another one, in silence.
 */
#include <string.h>

#include "lib/bisect.h"
#include "sqlite/dest.h"

/* One kind of operation on its way into the target. */
struct pass {
    struct dest *d;
    enum operation op;
    sqlite3_stmt *stmts[2]; /* in this order; each takes ?1 ≤ seq < ?2 */
    size_t nstmts;
    sqlite3_stmt *count; /* rows of the operation in a range; set when rows may get lost */
    const char *code;    /* of the last refusal */
    dest_verdict_fn verdict;
    void *arg;
};

static void
add_range(struct buf *sql, enum operation op)
{
    buf_addf(sql, " s.op = %d AND s.seq >= ?1 AND s.seq < ?2", op);
}

/* ---- the target itself ---- */

static int
create_table(struct dest *d, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    const struct target *t = &d->target;
    size_t nkey = t->mode == MODE_INSERT ? 0 : t->nkey;
    buf_adds(&sql, "CREATE TABLE ");
    table_add_name(&sql, &d->table);
    for (size_t i = 0; i < t->nfields; i++) {
        bool key = false;
        for (size_t k = 0; k < nkey; k++)
            key |= t->key[k] == i;
        buf_adds(&sql, i ? ", " : " (");
        link_add_name(&sql, t->fields[i].name);
        buf_addf(&sql, " %s%s", types_for_new_column(t->fields[i].type),
                 key ? " NOT NULL" : "");
    }
    for (size_t k = 0; k < nkey; k++) {
        buf_adds(&sql, k ? ", " : ", PRIMARY KEY (");
        link_add_name(&sql, t->fields[t->key[k]].name);
    }
    buf_adds(&sql, nkey ? "))" : ")");
    int rc = link_exec_buf(&d->link, &sql, err);
    if (!rc)
        rc = dest_load_table(d, err);
    for (size_t i = 0; !rc && i < t->nfields; i++) {
        if (!d->columns)
            d->columns = arena_alloc(&d->session_arena, t->nfields * sizeof *d->columns);
        if (!d->columns)
            return error_no_memory(err);
        d->columns[i] = i;
    }
    return rc ? error_wrap(err, "cannot create \"%s\"", t->object) : 0;
}

/* ---- statements ---- */

static bool
is_key(const struct dest *d, size_t field)
{
    for (size_t i = 0; i < d->target.nkey; i++)
        if (d->target.key[i] == field)
            return true;
    return false;
}

/* "x" = PREFIXn, … for all fields that are no key. False: there are none. */
static bool
add_assignments(struct buf *sql, const struct dest *d, bool excluded)
{
    bool some = false;
    for (size_t i = 0; i < d->target.nfields; i++) {
        if (is_key(d, i))
            continue;
        buf_adds(sql, some ? ", " : "");
        dest_add_column(sql, d, i);
        if (excluded) {
            buf_adds(sql, " = excluded.");
            dest_add_column(sql, d, i);
        } else {
            buf_addf(sql, " = s.f%zu", i);
        }
        some = true;
    }
    return some;
}

/* INSERT … SELECT of the rows in the range; conditions may follow. */
static void
add_insert(struct buf *sql, const struct dest *d, enum operation op)
{
    buf_adds(sql, "INSERT OR ABORT INTO ");
    table_add_name(sql, &d->table);
    for (size_t i = 0; i < d->target.nfields; i++) {
        buf_adds(sql, i ? ", " : " (");
        dest_add_column(sql, d, i);
    }
    buf_adds(sql, ") SELECT ");
    for (size_t i = 0; i < d->target.nfields; i++)
        buf_addf(sql, "%ss.f%zu", i ? ", " : "", i);
    buf_adds(sql, " FROM " DEST_STAGE " AS s WHERE");
    add_range(sql, op);
}

static int
add_statement(struct pass *p, struct buf *sql, struct error *err)
{
    return link_prepare_buf(&p->d->link, sql, &p->stmts[p->nstmts++], err);
}

static int
prepare_insert(struct pass *p, struct buf *sql, struct error *err)
{
    add_insert(sql, p->d, p->op);
    buf_adds(sql, " ORDER BY s.seq");
    return add_statement(p, sql, err);
}

static int
prepare_update(struct pass *p, struct buf *sql, struct error *err)
{
    struct dest *d = p->d;
    buf_adds(sql, "UPDATE OR ABORT ");
    table_add_name(sql, &d->table);
    buf_adds(sql, " AS t SET ");
    if (!add_assignments(sql, d, false)) {
        buf_clear(sql); /* nothing but the key is mapped */
        return 0;
    }
    buf_adds(sql, " FROM " DEST_STAGE " AS s WHERE");
    add_range(sql, p->op);
    buf_adds(sql, " AND ");
    dest_add_key_match(sql, d, "=");
    return add_statement(p, sql, err);
}

static int
prepare_upsert(struct pass *p, struct buf *sql, struct error *err)
{
    struct dest *d = p->d;
    if (!d->unique) {
        int rc = prepare_update(p, sql, err);
        if (rc)
            return rc;
        add_insert(sql, d, p->op);
        buf_adds(sql, " AND s.seq NOT IN (SELECT seq FROM " DEST_MATCHED ") ORDER BY s.seq");
        return add_statement(p, sql, err);
    }
    add_insert(sql, d, p->op);
    buf_adds(sql, " ORDER BY s.seq ON CONFLICT (");
    for (size_t i = 0; i < d->target.nkey; i++) {
        buf_adds(sql, i ? ", " : "");
        dest_add_column(sql, d, d->target.key[i]);
    }
    buf_adds(sql, ") DO UPDATE SET ");
    size_t before = sql->n;
    if (!add_assignments(sql, d, true) && !sql->failed) {
        sql->n = before - strlen("UPDATE SET ");
        buf_adds(sql, "NOTHING");
    }
    return add_statement(p, sql, err);
}

/* What names one row of the target: its rowid, or its primary key. */
static void
add_identity(struct buf *sql, const struct table *t, const char *prefix)
{
    if (t->rowid) {
        buf_adds(sql, prefix);
        link_add_name(sql, t->rowid);
        return;
    }
    int members = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (!t->columns[i].pk)
            continue;
        buf_adds(sql, members++ ? ", " : "");
        buf_adds(sql, prefix);
        link_add_name(sql, t->columns[i].column.name);
    }
}

static int
prepare_delete(struct pass *p, struct buf *sql, struct error *err)
{
    struct dest *d = p->d;
    buf_adds(sql, "DELETE FROM ");
    table_add_name(sql, &d->table);
    buf_adds(sql, " WHERE (");
    add_identity(sql, &d->table, "");
    buf_adds(sql, ") IN (SELECT ");
    add_identity(sql, &d->table, "t.");
    buf_adds(sql, " FROM " DEST_STAGE " AS s JOIN ");
    table_add_name(sql, &d->table);
    buf_adds(sql, " AS t ON ");
    dest_add_key_match(sql, d, "IS");
    buf_adds(sql, " WHERE");
    add_range(sql, p->op);
    buf_addc(sql, ')');
    return add_statement(p, sql, err);
}

static int
prepare_pass(struct pass *p, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    int rc = 0;
    switch (p->op) {
    case OP_INSERT:
        rc = prepare_insert(p, &sql, err);
        break;
    case OP_UPSERT:
        rc = prepare_upsert(p, &sql, err);
        break;
    case OP_UPDATE:
        rc = prepare_update(p, &sql, err);
        break;
    case OP_DELETE:
        rc = prepare_delete(p, &sql, err);
        break;
    case OP_PRESENT:
        break;
    }
    /* RAISE(IGNORE) in a trigger drops a row without a word; then rows are counted. Of deletes
     * the number is not known, nor of an upsert that may do nothing. */
    bool countable = p->op != OP_DELETE && p->d->target.nfields > p->d->target.nkey;
    if (!rc && p->d->table.triggers && (countable || p->op == OP_INSERT)) {
        buf_adds(&sql, "SELECT count(*) FROM " DEST_STAGE " AS s WHERE");
        add_range(&sql, p->op);
        rc = link_prepare_buf(&p->d->link, &sql, &p->count, err);
    }
    return rc;
}

/* ---- carrying a pass out ---- */

/* Sorts out whose fault a failed statement is: a row's (ERR_DATA) or the world's. */
static int
statement_failed(struct pass *p, int code, struct error *err)
{
    sqlite3 *db = p->d->link.db;
    int extended = sqlite3_extended_errcode(db), rc = link_fail(&p->d->link, code, err);
    if (sqlite3_get_autocommit(db)) {
        if (err->kind == ERR_DATA)
            err->kind = ERR_REMOTE;
        return error_wrap(err, "the whole transaction was rolled back");
    }
    /* Also what an expression in a trigger, a check or an index stumbled over. */
    if ((code & 0xFF) == SQLITE_ERROR && err->kind == ERR_REMOTE)
        err->kind = ERR_DATA;
    p->code = link_code_name(extended);
    return rc;
}

static void
bind_range(sqlite3_stmt *stmt, uint64_t lo, uint64_t hi)
{
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)lo);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)hi);
}

static int
run_range(struct pass *p, uint64_t lo, uint64_t hi, struct error *err)
{
    struct link *l = &p->d->link;
    int64_t changes = 0;
    for (size_t i = 0; i < p->nstmts; i++) {
        bind_range(p->stmts[i], lo, hi);
        int code = sqlite3_step(p->stmts[i]);
        int rc = code == SQLITE_DONE ? 0 : statement_failed(p, code, err);
        if (!rc)
            changes += sqlite3_changes64(l->db);
        sqlite3_reset(p->stmts[i]);
        if (rc)
            return rc;
    }
    if (!p->count)
        return 0;
    bind_range(p->count, lo, hi);
    int code = sqlite3_step(p->count);
    int64_t rows = sqlite3_column_int64(p->count, 0);
    sqlite3_reset(p->count);
    if (code != SQLITE_ROW)
        return link_fail(l, code, err);
    if (changes >= rows)
        return 0;
    p->code = "ignored";
    return error_set(err, ERR_DATA, EINVAL, "a trigger ignored the row");
}

static int
apply_range(void *arg, uint64_t lo, uint64_t hi, struct error *err)
{
    struct pass *p = arg;
    struct link *l = &p->d->link;
    /* A lone statement undoes itself when it fails; triggers can see to it that it does not. */
    bool guard = p->nstmts > 1 || p->d->table.triggers;
    int rc = guard ? link_exec(l, "SAVEPOINT retlfs", err) : 0;
    if (rc)
        return rc;
    rc = run_range(p, lo, hi, err);
    if (!guard || sqlite3_get_autocommit(l->db))
        return rc;
    struct error worse = ERROR_INIT;
    if (link_exec(l, rc ? "ROLLBACK TO retlfs; RELEASE retlfs" : "RELEASE retlfs", &worse)) {
        *err = worse;
        rc = -err->errnum;
    }
    return rc;
}

static void
refused(void *arg, uint64_t seq, const struct error *err)
{
    struct pass *p = arg;
    p->verdict(p->arg, seq,
               &(struct outcome){.kind = ROW_REJECTED, .code = p->code, .why = err->text});
}

static int
find_range(struct pass *p, uint64_t *lo, uint64_t *hi, struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    int rc = link_prepare(&p->d->link,
                          "SELECT min(seq), max(seq) + 1 FROM " DEST_STAGE " WHERE op = ?1",
                          &stmt, err);
    if (rc)
        return rc;
    sqlite3_bind_int(stmt, 1, p->op);
    int code = sqlite3_step(stmt);
    if (code != SQLITE_ROW)
        return link_fail(&p->d->link, code, err);
    *lo = (uint64_t)sqlite3_column_int64(stmt, 0);
    *hi = (uint64_t)sqlite3_column_int64(stmt, 1);
    return 0;
}

static int
run_pass(struct dest *d, enum operation op, dest_verdict_fn verdict, void *arg,
         struct error *err)
{
    struct pass p = {.d = d, .op = op, .verdict = verdict, .arg = arg};
    uint64_t lo = 0, hi = 0;
    if (d->staged[op] == 0)
        return 0;
    int rc = prepare_pass(&p, err);
    if (!rc)
        rc = find_range(&p, &lo, &hi, err);
    if (!rc)
        rc = bisect(lo, hi, apply_range, refused, &p, err);
    sqlite3_finalize(p.stmts[0]);
    sqlite3_finalize(p.stmts[1]);
    sqlite3_finalize(p.count);
    return rc;
}

/* ---- rows that need no try ---- */

/* Gives every row of `select` (a list of seq) the verdict and takes it off the stage. */
static int
reject(struct dest *d, const char *select, const struct outcome *outcome,
       dest_verdict_fn verdict, void *arg, struct error *err)
{
    AUTO_STMT sqlite3_stmt *stmt = NULL;
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    int code, rc = link_prepare(&d->link, select, &stmt, err);
    if (rc)
        return rc;
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW)
        verdict(arg, (uint64_t)sqlite3_column_int64(stmt, 0), outcome);
    if (code != SQLITE_DONE)
        return link_fail(&d->link, code, err);
    buf_addf(&sql, "DELETE FROM " DEST_STAGE " WHERE seq IN (%s)", select);
    return link_exec_buf(&d->link, &sql, err);
}

static void
add_same_key(struct buf *sql, const struct dest *d)
{
    for (size_t i = 0; i < d->target.nkey; i++)
        buf_addf(sql, "e.f%zu = s.f%zu AND ", d->target.key[i], d->target.key[i]);
}

/* "1" and "01" are two records of the model but one integer: the later is refused, and what
 * left the model does not take along what is in it. */
static int
reject_merged(struct dest *d, dest_verdict_fn verdict, void *arg, struct error *err)
{
    static const struct outcome same = {
        .kind = ROW_REJECTED,
        .code = "same_key",
        .why = "another row of the model has the same key at the destination",
    };
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_addf(&sql,
             "SELECT s.seq FROM " DEST_STAGE " AS s WHERE s.op IN (%d, %d) AND EXISTS"
             " (SELECT 1 FROM " DEST_STAGE " AS e WHERE ",
             OP_UPSERT, OP_UPDATE);
    add_same_key(&sql, d);
    buf_addf(&sql, "e.op <> %d AND (e.seq < s.seq OR e.op = %d))", OP_DELETE, OP_PRESENT);
    int rc =
        sql.failed ? error_no_memory(err) : reject(d, buf_z(&sql), &same, verdict, arg, err);
    if (rc)
        return rc;
    buf_clear(&sql);
    buf_addf(&sql,
             "DELETE FROM " DEST_STAGE " AS s WHERE s.op = %d AND EXISTS"
             " (SELECT 1 FROM " DEST_STAGE " AS e WHERE ",
             OP_DELETE);
    add_same_key(&sql, d);
    buf_addf(&sql, "e.op <> %d)", OP_DELETE);
    return link_exec_buf(&d->link, &sql, err);
}

/* Notes which staged rows have a record at the target, by one join. */
static int
match(struct dest *d, struct error *err)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_adds(&sql, "CREATE TABLE " DEST_MATCHED " (seq INTEGER PRIMARY KEY);"
                   "INSERT OR IGNORE INTO " DEST_MATCHED " SELECT s.seq FROM " DEST_STAGE
                   " AS s JOIN ");
    table_add_name(&sql, &d->table);
    buf_adds(&sql, " AS t ON ");
    dest_add_key_match(&sql, d, "=");
    buf_addf(&sql, " WHERE s.op IN (%d, %d)", OP_UPSERT, OP_UPDATE);
    return link_exec_buf(&d->link, &sql, err);
}

static int
reject_unmatched(struct dest *d, dest_verdict_fn verdict, void *arg, struct error *err)
{
    static const struct outcome no_match = {
        .kind = ROW_REJECTED,
        .code = "no_match",
        .why = "no such record at the destination",
    };
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_addf(&sql,
             "SELECT seq FROM " DEST_STAGE
             " WHERE op = %d AND seq NOT IN (SELECT seq FROM " DEST_MATCHED ")",
             OP_UPDATE);
    return sql.failed ? error_no_memory(err)
                      : reject(d, buf_z(&sql), &no_match, verdict, arg, err);
}

int
sqlite_dest_apply(void *handle, dest_verdict_fn verdict, void *arg, struct error *err)
{
    struct dest *d = handle;
    if (!d->in_session || d->session.dry)
        return error_set(err, ERR_INTERNAL, EINVAL, "no session to apply");
    sqlite3_finalize(d->stage);
    d->stage = NULL;
    int rc = dest_enter_target(d, err);
    if (!rc && !d->table.exists)
        rc = create_table(d, err);
    bool matching = d->staged[OP_UPDATE] || (d->staged[OP_UPSERT] && !d->unique);
    if (!rc && (matching || d->merging || (d->staged[OP_DELETE] && !d->unique)))
        rc = dest_index_stage(d, err);
    if (!rc && d->merging)
        rc = reject_merged(d, verdict, arg, err);
    if (!rc && matching)
        rc = match(d, err);
    if (!rc && d->staged[OP_UPDATE])
        rc = reject_unmatched(d, verdict, arg, err);

    static const enum operation order[] = {OP_UPDATE, OP_UPSERT, OP_INSERT, OP_DELETE};
    for (size_t i = 0; !rc && i < sizeof order / sizeof *order; i++)
        rc = run_pass(d, order[i], verdict, arg, err);
    return rc;
}
