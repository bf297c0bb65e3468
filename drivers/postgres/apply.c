/*
 * From the temporary table into the target: one statement an operation, in savepoints, and by
 * halving where a row is refused.
 *
 * The temporary table is not analyzed: that takes longer than it saves. The planner knows its
 * size, and would only misjudge "op = …" (as one row in 200), so the common operation is
 * selected by excluding the others.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "lib/bisect.h"
#include "postgres/dest.h"
#include "postgres/types.h"

enum step { STEP_CAST, STEP_INSERT, STEP_UPSERT, STEP_UPDATE, STEP_DELETE };

struct range {
    uint64_t lo, hi;
    bool all; /* lo and hi do not matter */
};

/* ---- statements ---- */

static bool
has_merge(const struct pg_dest *d)
{
    return d->link.version >= 150000 && d->table.plain;
}

static void
add_range(struct buf *sql, const struct range *range)
{
    if (!range->all)
        buf_addf(sql, " AND s.seq >= %llu AND s.seq < %llu", (unsigned long long)range->lo,
                 (unsigned long long)range->hi);
}

/* " WHERE …" for the rows of one operation; `of` is its letter. */
static void
add_filter(const struct pg_dest *d, struct buf *sql, char of, const struct range *range)
{
    static const char letters[] = "iumdp";
    static const enum operation ops[] = {OP_INSERT, OP_UPSERT, OP_UPDATE, OP_DELETE,
                                         OP_PRESENT};
    buf_adds(sql, " WHERE true");
    if (of == 'd') {
        buf_adds(sql, " AND s.op = 'd'");
    } else {
        for (size_t i = 0; letters[i]; i++)
            if (letters[i] != of && d->count[ops[i]])
                buf_addf(sql, " AND s.op <> '%c'", letters[i]);
    }
    add_range(sql, range);
}

static void
add_name(struct pg_dest *d, struct buf *sql, size_t field)
{
    pg_add_name(&d->link, sql, d->target.fields[field].name);
}

static void
add_match(struct pg_dest *d, struct buf *sql)
{
    for (size_t i = 0; i < d->target.nkey; i++) {
        buf_adds(sql, i ? " AND t." : "t.");
        add_name(d, sql, d->target.key[i]);
        buf_addf(sql, " = s.f%zu", d->target.key[i]);
    }
    pg_list_match(&d->link, &d->list, sql);
}

static void
add_columns(struct pg_dest *d, struct buf *sql)
{
    for (size_t i = 0; i < d->target.nfields; i++) {
        buf_adds(sql, i ? ", " : "");
        add_name(d, sql, i);
    }
}

static void
add_values(struct pg_dest *d, struct buf *sql)
{
    for (size_t i = 0; i < d->target.nfields; i++)
        buf_addf(sql, "%ss.f%zu", i ? ", " : "", i);
}

/* Columns of GENERATED ALWAYS AS IDENTITY take values only so. */
static const char *
overriding(const struct pg_dest *d)
{
    for (size_t i = 0; i < d->target.nfields; i++)
        if (d->table.more[d->columns[i]].always)
            return " OVERRIDING SYSTEM VALUE";
    return "";
}

/* SET "a" = s.f1, … */
static void
add_assignments(struct pg_dest *d, struct buf *sql)
{
    const char *before = " SET ";
    for (size_t i = 0; i < d->target.nfields; i++) {
        if (d->is_key[i])
            continue;
        buf_adds(sql, before);
        before = ", ";
        add_name(d, sql, i);
        buf_addf(sql, " = s.f%zu", i);
    }
}

static bool
has_more_than_key(const struct pg_dest *d)
{
    size_t i = 0;
    while (i < d->target.nfields && d->is_key[i])
        i++;
    return i < d->target.nfields;
}

static bool
is_readable(const struct pg_dest *d)
{
    size_t i = 0;
    while (i < d->target.nfields && d->table.more[d->columns[i]].readable)
        i++;
    return i == d->target.nfields;
}

/* Rows that stand there to the byte already are not written again: no new row version, no
 * trigger. Equality would not do: 1.0 = 1.00, and json has none. */
static void
add_differs(struct pg_dest *d, struct buf *sql)
{
    if (!is_readable(d))
        return;
    const char *separator = " AND ROW(";
    for (size_t i = 0; i < d->target.nfields; i++) {
        const struct pg_table_column *more = &d->table.more[d->columns[i]];
        if (d->is_key[i])
            continue;
        buf_addf(sql, "%st.", separator);
        add_name(d, sql, i);
        if (more->domain) /* staged as its base type, and only one type can be compared */
            buf_addf(sql, "::%s", more->bare);
        separator = ", ";
    }
    /* The casts keep the parser from taking it for one comparison a column. */
    separator = ")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(";
    for (size_t i = 0; i < d->target.nfields; i++) {
        if (d->is_key[i])
            continue;
        buf_addf(sql, "%ss.f%zu", separator, i);
        separator = ", ";
    }
    buf_adds(sql, ")::pg_catalog.record");
}

/* MERGE, which needs no unique index. Empty when there is nothing it could do. */
static void
add_merge(struct pg_dest *d, struct buf *sql, char of, const struct range *range)
{
    buf_addf(sql, "MERGE INTO %s AS t USING (SELECT * FROM pg_temp.retlfs_stage AS s",
             d->table.relation);
    add_filter(d, sql, of, range);
    buf_adds(sql, ") AS s ON ");
    add_match(d, sql);
    bool more = has_more_than_key(d);
    if (more) {
        buf_adds(sql, " WHEN MATCHED");
        add_differs(d, sql);
        buf_adds(sql, " THEN UPDATE");
        add_assignments(d, sql);
    }
    if (of == 'u') {
        buf_adds(sql, " WHEN NOT MATCHED THEN INSERT (");
        add_columns(d, sql);
        pg_list_column(&d->link, &d->list, sql);
        buf_addf(sql, ")%s VALUES (", overriding(d));
        add_values(d, sql);
        pg_list_value(&d->link, &d->list, sql);
        buf_addc(sql, ')');
    } else if (!more) {
        buf_clear(sql);
    }
}

static void
add_update(struct pg_dest *d, struct buf *sql, char of, const struct range *range)
{
    if (!has_more_than_key(d))
        return;
    buf_addf(sql, "UPDATE %s AS t", d->table.relation);
    add_assignments(d, sql);
    buf_adds(sql, " FROM pg_temp.retlfs_stage AS s");
    add_filter(d, sql, of, range);
    buf_adds(sql, " AND ");
    add_match(d, sql);
    add_differs(d, sql);
}

static void
add_unmatched(struct pg_dest *d, struct buf *sql)
{
    buf_addf(sql, " AND NOT EXISTS (SELECT FROM %s AS t WHERE ", d->table.relation);
    add_match(d, sql);
    buf_addc(sql, ')');
}

static void
add_insert(struct pg_dest *d, struct buf *sql, char of, const struct range *range)
{
    buf_addf(sql, "INSERT INTO %s (", d->table.relation);
    add_columns(d, sql);
    pg_list_column(&d->link, &d->list, sql);
    buf_addf(sql, ")%s SELECT ", overriding(d));
    add_values(d, sql);
    pg_list_value(&d->link, &d->list, sql);
    buf_adds(sql, " FROM pg_temp.retlfs_stage AS s");
    add_filter(d, sql, of, range);
    if (of == 'u')
        add_unmatched(d, sql);
}

/* " AND EXISTS (…": another row of the session, no delete, with the identifier of s. Left
 * open. */
static void
add_same_key(struct pg_dest *d, struct buf *sql, const char *exists)
{
    buf_addf(sql, " AND %s (SELECT FROM pg_temp.retlfs_stage AS e WHERE e.op <> 'd'", exists);
    for (size_t i = 0; i < d->target.nkey; i++)
        buf_addf(sql, " AND e.f%zu = s.f%zu", d->target.key[i], d->target.key[i]);
}

/* What left the model does not take along what is in it. */
static void
add_delete(struct pg_dest *d, struct buf *sql, const struct range *range)
{
    buf_addf(sql, "DELETE FROM %s AS t USING pg_temp.retlfs_stage AS s", d->table.relation);
    add_filter(d, sql, 'd', range);
    buf_adds(sql, " AND ");
    add_match(d, sql);
    if (d->merging) {
        add_same_key(d, sql, "NOT EXISTS");
        buf_addc(sql, ')');
    }
}

/* Texts to the target's types. The cast is to the type without its modifier, the assignment
 * adds that: a cast to varchar(3) would cut, an assignment refuses. */
static void
add_cast(struct pg_dest *d, struct buf *sql, const struct range *range)
{
    buf_adds(sql, "INSERT INTO pg_temp.retlfs_stage SELECT s.seq, s.op");
    for (size_t i = 0; i < d->target.nfields; i++)
        if (!d->session.dry || d->is_key[i])
            buf_addf(sql, ", s.f%zu::%s", i, d->table.more[d->columns[i]].bare);
    buf_adds(sql, " FROM pg_temp.retlfs_texts AS s WHERE true");
    add_range(sql, range);
}

/* The statements of a step, at most two; those left empty have nothing to do. */
static int
make(struct pg_dest *d, enum step step, const struct range *range, struct buf sql[2],
     struct error *err)
{
    buf_clear(&sql[0]);
    buf_clear(&sql[1]);
    switch (step) {
    case STEP_CAST:
        add_cast(d, &sql[0], range);
        break;
    case STEP_INSERT:
        add_insert(d, &sql[0], 'i', range);
        break;
    case STEP_UPSERT:
        if (has_merge(d)) {
            add_merge(d, &sql[0], 'u', range);
        } else {
            add_update(d, &sql[0], 'u', range);
            add_insert(d, &sql[1], 'u', range);
        }
        break;
    case STEP_UPDATE:
        if (has_merge(d))
            add_merge(d, &sql[0], 'm', range);
        else
            add_update(d, &sql[0], 'm', range);
        break;
    case STEP_DELETE:
        add_delete(d, &sql[0], range);
        break;
    }
    return sql[0].failed || sql[1].failed ? error_no_memory(err) : 0;
}

static int
run(struct pg_dest *d, enum step step, const struct range *range, const char *prefix,
    struct error *err)
{
    struct buf sql[2] = {BUF_INIT(BUF_NO_MAX), BUF_INIT(BUF_NO_MAX)};
    int rc = make(d, step, range, sql, err);
    for (size_t i = 0; !rc && i < 2; i++)
        if (sql[i].n)
            rc = pg_run(&d->link, err, "%s%s", prefix, buf_z(&sql[i]));
    buf_done(&sql[0]);
    buf_done(&sql[1]);
    return rc;
}

int
pg_apply_rehearse(struct pg_dest *d, struct error *err)
{
    static const enum step steps[] = {
        [MODE_UPSERT] = STEP_UPSERT, [MODE_INSERT] = STEP_INSERT, [MODE_UPDATE] = STEP_UPDATE,
        [MODE_MIRROR] = STEP_UPSERT, [MODE_FULL] = STEP_UPSERT,   [MODE_ADD] = STEP_UPSERT,
        [MODE_REMOVE] = STEP_DELETE,
    };
    const struct range all = {.all = true};
    enum step step = d->target.nkey ? steps[d->target.mode] : STEP_INSERT;
    int rc = run(d, step, &all, "EXPLAIN ", err);
    if (!rc && d->target.mode == MODE_MIRROR && d->target.nkey)
        rc = run(d, STEP_DELETE, &all, "EXPLAIN ", err);
    return rc;
}

/* ---- finding refused rows ---- */

struct task {
    struct pg_dest *dest;
    enum step step;
    bool indexed;
    char code[6];
    dest_verdict_fn verdict; /* NULL: nobody wants to know yet */
    void *arg;
};

static int
index_by_seq(struct task *t, struct error *err)
{
    const char *table = t->step == STEP_CAST ? "retlfs_texts" : "retlfs_stage";
    int rc = pg_run(&t->dest->link, err,
                    "CREATE INDEX IF NOT EXISTS %s_seq ON pg_temp.%s (seq)", table, table);
    if (!rc)
        rc = pg_run(&t->dest->link, err, "ANALYZE pg_temp.%s", table);
    t->indexed = true;
    return rc;
}

static int
try_range(void *arg, uint64_t lo, uint64_t hi, struct error *err)
{
    struct task *t = arg;
    struct pg_link *link = &t->dest->link;
    struct range range = {.lo = lo, .hi = hi, .all = lo == 0 && hi == t->dest->end};
    int rc = pg_run(link, err, "SAVEPOINT retlfs");
    if (rc)
        return rc;
    rc = run(t->dest, t->step, &range, "", err);
    if (!rc)
        return pg_run(link, err, "RELEASE SAVEPOINT retlfs");
    if (!pg_blames_data(link))
        return rc;
    snprintf(t->code, sizeof t->code, "%s", link->sqlstate);
    struct error undo = ERROR_INIT;
    int undone = pg_run(link, &undo, "ROLLBACK TO SAVEPOINT retlfs");
    if (!undone)
        undone = pg_run(link, &undo, "RELEASE SAVEPOINT retlfs");
    if (!undone && !t->indexed)
        undone = index_by_seq(t, &undo);
    if (undone)
        *err = undo;
    else
        err->kind = ERR_DATA;
    return undone ? undone : rc;
}

static void
refuse(void *arg, uint64_t seq, const struct error *err)
{
    struct task *t = arg;
    struct outcome outcome = {.kind = ROW_REJECTED, .code = t->code, .why = err->text};
    if (t->verdict)
        t->verdict(t->arg, seq, &outcome);
}

static int
carry_out(struct pg_dest *d, enum step step, dest_verdict_fn verdict, void *arg,
          struct error *err)
{
    struct task task = {.dest = d, .step = step, .verdict = verdict, .arg = arg};
    return bisect(0, d->end, try_range, refuse, &task, err);
}

/* ---- rows that need no try ---- */

struct telling {
    const struct outcome *outcome;
    dest_verdict_fn verdict;
    void *arg;
    bool any;
};

static int
tell_row(void *arg, char *line, size_t n, struct error *err)
{
    struct telling *t = arg;
    uint64_t seq = 0;
    for (size_t i = 0; i < n && line[i] >= '0' && line[i] <= '9'; i++)
        seq = seq * 10 + (uint64_t)(line[i] - '0');
    t->verdict(t->arg, seq, t->outcome);
    t->any = true;
    return 0;
}

/* "7" and "007" are two records of the model but one integer: the later is refused, or one
 * would overwrite the other. */
static int
refuse_merged(struct pg_dest *d, dest_verdict_fn verdict, void *arg, struct error *err)
{
    static const struct outcome same = {
        .kind = ROW_REJECTED,
        .code = "same_key",
        .why = "another row of the model has the same identifier at the destination"};
    AUTO_BUF struct buf which = BUF_INIT(BUF_NO_MAX), sql = BUF_INIT(BUF_NO_MAX);
    struct telling telling = {.outcome = &same, .verdict = verdict, .arg = arg};
    buf_adds(&which, "pg_temp.retlfs_stage AS s WHERE s.op IN ('u', 'm')");
    add_same_key(d, &which, "EXISTS");
    buf_adds(&which, " AND (e.seq < s.seq OR e.op = 'p'))");
    buf_addf(&sql, "COPY (SELECT s.seq FROM %s) TO STDOUT", buf_z(&which));
    if (which.failed || sql.failed)
        return error_no_memory(err);
    int rc = pg_copy_out(&d->link, buf_z(&sql), tell_row, &telling, err);
    return rc || !telling.any ? rc : pg_run(&d->link, err, "DELETE FROM %s", buf_z(&which));
}

static int
find_unmatched(struct pg_dest *d, dest_verdict_fn verdict, void *arg, struct error *err)
{
    static const struct outcome no_match = {
        .kind = ROW_REJECTED, .code = "no_match", .why = "no such record at the destination"};
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    const struct range all = {.all = true};
    struct telling telling = {.outcome = &no_match, .verdict = verdict, .arg = arg};
    buf_adds(&sql, "COPY (SELECT s.seq FROM pg_temp.retlfs_stage AS s");
    add_filter(d, &sql, 'm', &all);
    add_unmatched(d, &sql);
    buf_adds(&sql, ") TO STDOUT");
    if (sql.failed)
        return error_no_memory(err);
    return pg_copy_out(&d->link, buf_z(&sql), tell_row, &telling, err);
}

/* ---- survey ---- */

struct survey {
    struct pg_dest *dest;
    dest_foreign_fn foreign;
    void *arg;
    enum value_type *types;
    struct value *values, *key;
    struct buf record;
};

static int
tell_foreign(void *arg, char *line, size_t n, struct error *err)
{
    struct survey *s = arg;
    const struct target *target = &s->dest->target;
    if (n > UINT32_MAX || !pg_decode_line(line, n, s->types, s->values, target->nfields))
        return error_set(err, ERR_REMOTE, EPROTO, "a row of the survey is not what was asked");
    for (size_t i = 0; i < target->nkey; i++)
        s->key[i] = s->values[target->key[i]];
    buf_clear(&s->record);
    for (size_t i = 0; i < target->nfields; i++)
        record_add(&s->record, &s->values[i]);
    if (s->record.failed)
        return error_no_memory(err);
    return s->foreign(s->arg, s->key, buf_str(&s->record), err);
}

static int
run_survey(struct survey *s, struct error *err)
{
    struct pg_dest *d = s->dest;
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_adds(&sql, "COPY (SELECT ");
    add_columns(d, &sql);
    buf_addf(&sql,
             " FROM %s AS t WHERE NOT EXISTS (SELECT FROM pg_temp.retlfs_stage AS s"
             " WHERE s.op <> 'd' AND ",
             d->table.relation);
    add_match(d, &sql);
    buf_addc(&sql, ')');
    pg_list_match(&d->link, &d->list, &sql);
    buf_adds(&sql, ") TO STDOUT");
    if (sql.failed)
        return error_no_memory(err);
    return pg_copy_out(&d->link, buf_z(&sql), tell_foreign, s, err);
}

int
pg_apply_survey(struct pg_dest *d, dest_foreign_fn foreign, void *arg, struct error *err)
{
    /* Verdicts are for pg_apply, which casts again: rows may be added until then. */
    int rc = d->way == WAY_CAREFUL ? carry_out(d, STEP_CAST, NULL, NULL, err) : 0;
    if (rc)
        return rc;
    AUTO_ARENA struct arena arena = ARENA_INIT;
    size_t n = d->target.nfields;
    struct survey survey = {
        .dest = d,
        .foreign = foreign,
        .arg = arg,
        .types = arena_alloc(&arena, (n + 1) * sizeof *survey.types),
        .values = arena_alloc(&arena, (n + 1) * sizeof *survey.values),
        .key = arena_alloc(&arena, (d->target.nkey + 1) * sizeof *survey.key),
        .record = BUF_INIT(BUF_NO_MAX),
    };
    if (!survey.types || !survey.values || !survey.key)
        return error_no_memory(err);
    for (size_t i = 0; i < n; i++)
        survey.types[i] = d->table.columns[d->columns[i]].type;
    rc = run_survey(&survey, err);
    buf_done(&survey.record);
    return rc;
}

/* ---- apply ---- */

int
pg_apply(struct pg_dest *d, dest_verdict_fn verdict, void *arg, struct error *err)
{
    int rc = 0;
    if (d->way == WAY_CAREFUL) {
        rc = pg_run(&d->link, err, "TRUNCATE pg_temp.retlfs_stage");
        if (!rc)
            rc = carry_out(d, STEP_CAST, verdict, arg, err);
    }
    if (!rc && d->merging && d->count[OP_UPSERT] + d->count[OP_UPDATE] > 0)
        rc = refuse_merged(d, verdict, arg, err);
    if (!rc && d->count[OP_INSERT])
        rc = carry_out(d, STEP_INSERT, verdict, arg, err);
    if (!rc && d->count[OP_UPSERT])
        rc = carry_out(d, STEP_UPSERT, verdict, arg, err);
    if (!rc && d->count[OP_UPDATE]) {
        rc = find_unmatched(d, verdict, arg, err);
        if (!rc)
            rc = carry_out(d, STEP_UPDATE, verdict, arg, err);
    }
    if (!rc && d->count[OP_DELETE])
        rc = carry_out(d, STEP_DELETE, verdict, arg, err);
    return rc;
}
