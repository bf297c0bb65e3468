/*
 * The ledger: see ledger.h. A sync's record and a run's are JSON in one column each: they are
 * read and written whole, and a person with sqlite3 can read them.
 */
#include "run/ledger.h"

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "catalog/intact.h"
#include "run/ledger_json.h"

static int
damaged(const char *uid, struct error *err)
{
    return error_set(err, ERR_INTERNAL, EUCLEAN,
                     "the ledger's record of sync %s is damaged: \"reset\" gives it up", uid);
}

void
sync_record_done(struct sync_record *r)
{
    arena_done(&r->arena);
}

/* All but whose record it is. */
static void
forget(struct sync_record *r)
{
    struct sync_record blank = {.model_rows = -1};
    memcpy(blank.uid, r->uid, sizeof blank.uid);
    sync_record_done(r);
    *r = blank;
}

int
ledger_load_uid(struct catalog *c, const char *uid, struct sync_record *ret, struct error *err)
{
    *ret = (struct sync_record){.model_rows = -1};
    snprintf(ret->uid, sizeof ret->uid, "%s", uid);
    AUTO_CATALOG_ROWS struct catalog_rows r = {0};
    int rc = catalog_select(c, &r, err,
                            "SELECT last_run, data, " INTACT_SYNC " FROM sync WHERE uid = ?1",
                            "t", uid);
    if (rc == 0)
        rc = sql_next(&r.rows, err);
    if (rc <= 0)
        return rc < 0 ? rc : error_set(err, ERR_CONFIG, ENOENT, "the sync is gone");
    json_auto_t *json = NULL;
    rc = sql_int(&r.rows, 2) ? ledger_parse(sql_text(&r.rows, 1), &json) : -EUCLEAN;
    if (rc == 0)
        rc = sync_record_from_json(json, ret, err);
    else
        rc = rc == -ENOMEM ? error_no_memory(err) : damaged(uid, err);
    if (rc < 0)
        forget(ret);
    ret->last_run = (uint64_t)sql_int(&r.rows, 0);
    return rc;
}

int
ledger_load_sync(struct catalog *c, node_id dir, struct sync_record *ret, struct error *err)
{
    AUTO_BUF struct buf uid = BUF_INIT(256);
    *ret = (struct sync_record){.model_rows = -1};
    int rc = catalog_sync_uid(c, dir, &uid);
    if (rc == -ENOENT)
        return error_set(err, ERR_CONFIG, ENOENT, "the sync is gone");
    if (rc < 0)
        return error_set_errno(err, ERR_INTERNAL, -rc, "cannot read the catalogue");
    return ledger_load_uid(c, buf_z(&uid), ret, err);
}

/* ---- writing: within a transaction ---- */

static int
write_sync(struct catalog *c, const char *uid, const struct sync_record *record,
           struct error *err)
{
    json_auto_t *json = sync_record_to_json(record);
    AUTO_FREE char *text = json_write(json, JSON_COMPACT);
    if (!text)
        return error_no_memory(err);
    return sql_exec(catalog_sql(c), err,
                    "UPDATE sync SET (data, last_run, sum) ="
                    " (SELECT text, last, checksum(uid, last, text) FROM (SELECT"
                    "  CASE WHEN " INTACT_SYNC " AND json_valid(data)"
                    "  THEN json_set(?2, '$.schedule', json_extract(data, '$.schedule'))"
                    "  ELSE ?2 END AS text," /* damaged: what is forgotten is mended */
                    "  CASE WHEN " INTACT_SYNC " THEN last_run ELSE (SELECT"
                    "  coalesce(max(number), 0) FROM run WHERE run.sync = ?1) END AS last))"
                    " WHERE uid = ?1",
                    "tt", uid, text);
}

/* {"run": …, "after": …}: after only while a run is about to commit. */
static char *
run_text(const struct run_record *run, const struct sync_record *after)
{
    json_auto_t *json = json_object();
    if (json_object_set_new(json, "run", run_record_to_json(run)) < 0 ||
        (after && json_object_set_new(json, "after", sync_record_to_json(after)) < 0))
        return NULL;
    return json_write(json, JSON_COMPACT);
}

static int
write_run(struct catalog *c, const char *uid, const struct run_record *run, const char *phase,
          const struct sync_record *after, struct error *err)
{
    AUTO_FREE char *text = run_text(run, after);
    if (!text)
        return error_no_memory(err);
    return sql_exec(catalog_sql(c), err,
                    "UPDATE run SET phase = ?3, ended = ?4, summary = ?5,"
                    " sum = checksum(sync, number, ?3, ?5) WHERE sync = ?1 AND number = ?2",
                    "titit", uid, (int64_t)run->number, phase, (int64_t)run->ended, text);
}

/* Ends the transaction: commits when rc is 0. */
static int
end(struct catalog *c, int rc, struct error *err)
{
    if (rc == 0)
        return catalog_commit(c, err);
    catalog_rollback(c);
    return rc;
}

int
ledger_begin_run(struct catalog *c, const char *uid, const struct run_record *run,
                 const struct sync_texts *texts, struct error *err)
{
    AUTO_FREE char *text = run_text(run, NULL);
    if (!text)
        return error_no_memory(err);
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    rc = sql_exec(catalog_sql(c), err,
                  "UPDATE sync SET last_run = ?2, sum = checksum(uid, ?2, data)"
                  " WHERE uid = ?1 AND " INTACT_SYNC,
                  "ti", uid, (int64_t)run->number);
    if (rc == 0 && sql_changes(catalog_sql(c)) == 0)
        rc = damaged(uid, err);
    if (rc == 0)
        rc = sql_exec(catalog_sql(c), err,
                      "INSERT INTO run(sync, number, phase, token, started, summary, config,"
                      " mappings, mode, sum, texts_sum) VALUES(?1, ?2, 'active', ?3, ?4, ?5,"
                      " ?6, ?7, ?8, checksum(?1, ?2, 'active', ?5),"
                      " checksum(?1, ?2, ?6, ?7, ?8))",
                      "tititbbb", uid, (int64_t)run->number, run->token, (int64_t)run->started,
                      text, texts->config, texts->mappings, texts->mode);
    return end(c, rc, err);
}

int
ledger_prepare_commit(struct catalog *c, const char *uid, const struct run_record *run,
                      const struct sync_record *after, struct error *err)
{
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    return end(c, write_run(c, uid, run, "committing", after, err), err);
}

static void
add_to_totals(struct sync_totals *t, const struct run_record *run)
{
    t->runs[run->outcome]++;
    if (run->outcome != RUN_SUCCEEDED && run->outcome != RUN_PARTIAL)
        return;
    t->unchanged += run->counts.unchanged;
    t->held_back += run->counts.held_back;
    t->rejected += run->rejected;
    t->not_sent += run->not_sent;
    t->dropped += run->dropped;
    t->recorded += run->recorded;
    if (strcmp(run->verb, "baseline") == 0)
        return; /* it takes rows as delivered and offers none */
    t->delivered += run->delivered;
    t->inserts += run->inserts;
    t->updates += run->updates;
    t->deletes += run->deletes;
    t->foreign += run->foreign;
    t->retried += run->counts.retried;
}

/* The sync's record after a run: `after`, or what is written down, with the run in its totals.
 */
static int
write_after(struct catalog *c, const char *uid, const struct run_record *run,
            const struct sync_record *after, struct error *err)
{
    struct sync_record record = {.model_rows = -1};
    if (after) {
        record = *after; /* borrows all that it points to */
        record.arena = (struct arena){0};
    } else {
        int rc = ledger_load_uid(c, uid, &record, err);
        if (rc < 0)
            return rc;
    }
    add_to_totals(&record.totals, run);
    int rc = write_sync(c, uid, &record, err);
    sync_record_done(&record);
    return rc;
}

/* ---- runs that are found unfinished ---- */

struct left_run {
    char uid[UID_LENGTH + 1];
    uint64_t number;
    usec_t started;
    char *summary; /* owned */
};

static void
left_run_done(struct left_run *left)
{
    free(left->summary);
    left->summary = NULL;
}
#define AUTO_LEFT __attribute__((cleanup(left_run_done)))

/* The next run after *ret in that phase (of that sync, or of any: uid NULL). 1: found. */
static int
find_run(struct catalog *c, const char *uid, const char *phase, struct left_run *ret,
         struct error *err)
{
    AUTO_CATALOG_ROWS struct catalog_rows r = {0};
    int rc = catalog_select(c, &r, err,
                            "SELECT sync, number, started, iif(" INTACT_RUN
                            ", summary, '') FROM run WHERE phase = ?1"
                            " AND (?2 IS NULL OR sync = ?2) AND (sync, number) > (?3, ?4)"
                            " ORDER BY sync, number LIMIT 1",
                            "ttti", phase, uid, ret->uid, (int64_t)ret->number);
    if (rc == 0)
        rc = sql_next(&r.rows, err);
    if (rc != 1)
        return rc;
    left_run_done(ret);
    snprintf(ret->uid, sizeof ret->uid, "%s", sql_text(&r.rows, 0));
    ret->number = (uint64_t)sql_int(&r.rows, 1);
    ret->started = sql_int(&r.rows, 2);
    ret->summary = strdup(sql_text(&r.rows, 3));
    return ret->summary ? 1 : error_no_memory(err);
}

/* Writes down why the outcome of a run about to commit is not known, unless it says so already.
 * In a transaction. */
static int
note_unresolved(struct catalog *c, const struct left_run *left, const char *why,
                struct error *err)
{
    json_auto_t *json = NULL;
    if (ledger_parse(left->summary, &json) == -ENOMEM)
        return error_no_memory(err);
    if (!json || json_object_get(json, "unresolved"))
        return 0;
    bool whole = json_object_set_new(json, "unresolved", ledger_text_to_json(why)) == 0;
    AUTO_FREE char *text = whole ? json_write(json, JSON_COMPACT) : NULL;
    if (!text)
        return error_no_memory(err);
    return sql_exec(catalog_sql(c), err,
                    "UPDATE run SET summary = ?3, sum = checksum(sync, number, phase, ?3)"
                    " WHERE sync = ?1 AND number = ?2",
                    "tit", left->uid, (int64_t)left->number, text);
}

static int
keep_reason(struct catalog *c, const char *uid, const char *why, struct error *err)
{
    AUTO_LEFT struct left_run left = {0};
    int rc = find_run(c, uid, "committing", &left, err);
    return rc == 1 ? note_unresolved(c, &left, why, err) : rc;
}

int
ledger_end_run(struct catalog *c, const char *uid, const struct run_record *run,
               const struct sync_record *after, struct error *err)
{
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    if (run->outcome == RUN_UNRESOLVED) /* what would be true stays written down */
        return end(c, keep_reason(c, uid, run->error, err), err);
    rc = write_run(c, uid, run, "done", NULL, err);
    if (rc == 0)
        rc = write_after(c, uid, run, after, err);
    return end(c, rc, err);
}

int
ledger_store_sync(struct catalog *c, const struct sync_record *record, struct error *err)
{
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    return end(c, write_sync(c, record->uid, record, err), err);
}

int
ledger_store_schedule(struct catalog *c, const char *uid, const struct schedule_record *r,
                      struct error *err)
{
    json_auto_t *json = schedule_record_to_json(r);
    AUTO_FREE char *text = json_write(json, JSON_COMPACT);
    if (!text)
        return error_no_memory(err);
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    rc = sql_exec(catalog_sql(c), err,
                  "UPDATE sync SET (data, sum) ="
                  " (SELECT text, checksum(uid, last_run, text)"
                  "  FROM (SELECT json_set(data, '$.schedule', json(?2)) AS text))"
                  " WHERE uid = ?1 AND " INTACT_SYNC,
                  "tt", uid, text);
    if (rc == 0 && sql_changes(catalog_sql(c)) == 0)
        rc = damaged(uid, err);
    return end(c, rc, err);
}

/* ---- what a daemon that died left ---- */

/* What is known of a run whose record cannot be read. */
static int
read_left_run(const struct left_run *left, const json_t *json, struct arena *arena,
              struct run_record *run)
{
    int rc = run_record_from_json(json_object_get(json, "run"), arena, run);
    if (rc < 0)
        *run = (struct run_record){
            .number = left->number, .verb = "run", .mode = "", .started = left->started};
    return rc;
}

/* Ends a run of which only the written summary is known. */
static int
end_left_run(struct catalog *c, const struct left_run *left, bool committed, const char *why,
             struct error *err)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    json_auto_t *json = NULL;
    struct run_record run;
    int unread = ledger_parse(left->summary, &json);
    if (unread != -ENOMEM)
        unread = read_left_run(left, json, &arena, &run);
    if (unread == -ENOMEM)
        return error_no_memory(err);
    bool readable = unread == 0;
    if (committed && !readable)
        return damaged(left->uid, err);
    struct sync_record after = {.model_rows = -1};
    int rc = 0;
    if (committed) {
        rc = sync_record_from_json(json_object_get(json, "after"), &after, err);
    } else {
        run.outcome = RUN_FAILED;
        run.error = readable ? why : arena_printf(&arena, "%s; its record was damaged", why);
        run.delivered = run.rejected = run.not_sent = run.dropped = 0;
    }
    if (run.ended == 0)
        run.ended = clock_now();
    if (rc == 0)
        rc = ledger_end_run(c, left->uid, &run, committed ? &after : NULL, err);
    sync_record_done(&after);
    return rc;
}

/* Those about to commit when the daemon was stopped stay so: their destination is asked. */
static int
recover_unresolved(struct catalog *c, struct error *err)
{
    AUTO_LEFT struct left_run left = {0};
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    while ((rc = find_run(c, NULL, "committing", &left, err)) == 1) {
        rc = note_unresolved(c, &left,
                             "the daemon was stopped while the destination committed; the next "
                             "run asks it first",
                             err);
        if (rc < 0)
            break;
    }
    return end(c, rc, err);
}

/* Ends the runs (of that sync, or of any: uid NULL) that nobody works on any more. */
static int
end_active(struct catalog *c, const char *uid, const char *why, struct error *err)
{
    AUTO_LEFT struct left_run left = {0};
    int rc;
    while ((rc = find_run(c, uid, "active", &left, err)) == 1) {
        rc = end_left_run(c, &left, false, why, err);
        if (rc == -EUCLEAN) /* the record of its sync is damaged: that sync alone must wait */
            error_clear(err);
        else if (rc < 0)
            break;
    }
    return rc;
}

int
ledger_recover(struct catalog *c, struct error *err)
{
    int rc = end_active(c, NULL, "interrupted: the daemon was stopped", err);
    return rc < 0 ? rc : recover_unresolved(c, err);
}

int
ledger_close_books(struct catalog *c, const char *uid, struct error *err)
{
    return end_active(c, uid, "failed, and its end could not be written", err);
}

int
ledger_unresolved(struct catalog *c, const char *uid, uint64_t *number, struct buf *token,
                  struct buf *signature, struct error *err)
{
    AUTO_LEFT struct left_run left = {0};
    *number = 0;
    int rc = find_run(c, uid, "committing", &left, err);
    if (rc == 1) {
        *number = left.number;
        buf_addf(token, "%s:%llu", left.uid, (unsigned long long)left.number);
        json_auto_t *json = NULL;
        if (signature && ledger_parse(left.summary, &json) == -ENOMEM)
            return error_no_memory(err);
        const json_t *after = json_object_get(json, "after");
        const char *text = json_string_value(json_object_get(after, "signature"));
        if (signature && text)
            buf_adds(signature, text);
    }
    return rc < 0 ? rc : 0;
}

int
ledger_settle(struct catalog *c, const char *uid, uint64_t number, bool committed,
              struct error *err)
{
    AUTO_LEFT struct left_run left = {0};
    int rc = find_run(c, uid, "committing", &left, err);
    if (rc == 1 && left.number == number)
        rc = end_left_run(c, &left, committed, "the destination did not commit it", err);
    return rc < 0 ? rc : 0;
}

int
ledger_drop_unresolved(struct catalog *c, const char *uid, struct error *err)
{
    AUTO_LEFT struct left_run left = {0};
    int rc = find_run(c, uid, "committing", &left, err);
    if (rc == 1)
        rc = end_left_run(c, &left, false, "reset before its outcome was known", err);
    return rc < 0 ? rc : 0;
}

/* ---- reading runs ---- */

/* A run about to commit: its outcome is not known, and perhaps why. */
static int
put_unresolved(json_t *run, json_t *why)
{
    json_t *outcome = json_string(run_outcome_name(RUN_UNRESOLVED));
    if (json_object_set_new(run, "outcome", outcome) < 0 ||
        json_object_set_new(run, "error", why ? json_incref(why) : json_null()) < 0)
        return -ENOMEM;
    return 0;
}

/* A run's record (0: the newest one's), and when it was written. -EUCLEAN: it is damaged. */
static int
read_run(struct catalog *c, const char *uid, uint64_t number, json_t **ret, usec_t *changed)
{
    struct error err = ERROR_INIT;
    json_auto_t *json = NULL;
    AUTO_CATALOG_ROWS struct catalog_rows r = {0};
    int rc = catalog_select(c, &r, &err,
                            "SELECT summary, phase, coalesce(ended, started), " INTACT_RUN
                            " FROM run WHERE sync = ?1 AND number ="
                            " iif(?2, ?2, (SELECT max(number) FROM run WHERE sync = ?1))",
                            "ti", uid, (int64_t)number);
    if (rc == 0)
        rc = sql_next(&r.rows, &err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    *changed = sql_int(&r.rows, 2);
    rc = sql_int(&r.rows, 3) ? ledger_parse(sql_text(&r.rows, 0), &json) : -EUCLEAN;
    if (rc < 0)
        return rc;
    json_t *run = json_object_get(json, "run");
    if (!json_is_object(run))
        return -EUCLEAN;
    if (strcmp(sql_text(&r.rows, 1), "committing") == 0)
        rc = put_unresolved(run, json_object_get(json, "unresolved"));
    if (rc == 0)
        *ret = json_incref(run);
    return rc;
}

int
ledger_run_summary(struct catalog *c, const char *uid, uint64_t number, struct buf *out,
                   usec_t *changed)
{
    json_auto_t *run = NULL;
    int rc = read_run(c, uid, number, &run, changed);
    if (rc < 0)
        return rc == -EUCLEAN ? -EIO : rc;
    json_object_del(run, "token");
    json_object_del(run, "started_usec");
    json_object_del(run, "ended_usec");
    AUTO_FREE char *text = json_write(run, JSON_INDENT(2));
    if (!text)
        return -ENOMEM;
    buf_addf(out, "%s\n", text);
    return 0;
}

int
ledger_run_text(struct catalog *c, const char *uid, uint64_t number, const char *which,
                struct buf *out)
{
    struct error err = ERROR_INIT;
    AUTO_CATALOG_ROWS struct catalog_rows r = {0};
    int rc = catalog_select(c, &r, &err,
                            "SELECT CASE ?3 WHEN 'config' THEN config WHEN 'mappings' THEN"
                            " mappings ELSE mode END, " INTACT_RUN_TEXTS
                            " FROM run WHERE sync = ?1 AND number = ?2",
                            "tit", uid, (int64_t)number, which);
    if (rc == 0)
        rc = sql_next(&r.rows, &err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    if (!sql_int(&r.rows, 1))
        return -EIO;
    return sql_add(&r.rows, 0, out, &err);
}

int
ledger_load_run(struct catalog *c, const char *uid, uint64_t number, struct arena *arena,
                struct run_record *ret)
{
    *ret = (struct run_record){0};
    json_auto_t *run = NULL;
    usec_t changed;
    int rc = read_run(c, uid, number, &run, &changed);
    return rc < 0 ? rc : run_record_from_json(run, arena, ret);
}

int
ledger_next_run(struct catalog *c, const char *uid, uint64_t after, uint64_t *number)
{
    struct error err = ERROR_INIT;
    AUTO_CATALOG_ROWS struct catalog_rows r = {0};
    int rc = catalog_select(c, &r, &err,
                            "SELECT number FROM run WHERE sync = ?1 AND number > ?2"
                            " ORDER BY number LIMIT 1",
                            "ti", uid, (int64_t)after);
    if (rc == 0)
        rc = sql_next(&r.rows, &err);
    if (rc > 0)
        *number = (uint64_t)sql_int(&r.rows, 0);
    return rc;
}

int
ledger_first_since(struct catalog *c, const char *uid, usec_t when, uint64_t *number,
                   struct error *err)
{
    struct sql *q;
    int64_t first = 0;
    int rc = catalog_read(c, &q, err);
    if (rc < 0)
        return rc;
    rc = sql_one_int(q, err, &first,
                     "SELECT number FROM run WHERE sync = ?1"
                     " AND (phase <> 'done' OR ended >= ?2) ORDER BY number LIMIT 1",
                     "ti", uid, (int64_t)when);
    catalog_read_end(c, q);
    *number = (uint64_t)first;
    return rc < 0 && rc != -ENOENT ? rc : 0;
}

int
ledger_forget_runs(struct catalog *c, const char *uid, uint64_t number, struct error *err)
{
    int rc = catalog_begin(c, err);
    if (rc < 0)
        return rc;
    rc = sql_exec(catalog_sql(c), err,
                  "DELETE FROM run WHERE sync = ?1 AND number <= ?2 AND phase = 'done'", "ti",
                  uid, (int64_t)number);
    return end(c, rc, err);
}
