/*
 * Runs the cases of cases/ (their format: cases/README.md), each in a process of its own, many
 * at once since most of their time is waiting: what a connector sends for some rows, and what
 * it makes of the answers. All but the peer is the product's own: how options are read, the
 * driver, the courier, libcurl.
 *
 * test-http-cases FILE|DIRECTORY…
 */
#include <fts.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "calls/courier.h"
#include "case.h"
#include "define/define.h"
#include "http/http.h"
#include "unit/tap.h"

enum { AT_ONCE = 16, CASE_SECONDS = 60, REPORT_MAX = 256 * 1024 };

struct run {
    struct http_case c;
    struct case_world world;
    const struct driver *driver;
    struct connection *connection;
    struct definition *definition;
    struct arena arena;
    atomic_bool cancelled;
    struct outcome *outcomes; /* of each row; texts in the arena */
    unsigned *told;
    struct buf why; /* what is wrong */
};

/* ---- the definition, as users write it ---- */

/* world.users_driver */
static int
users_driver(void *arg, const char *name, const struct driver **ret, struct complaint *why)
{
    struct run *r = arg;
    bool ours = strcmp(name, r->driver->name) == 0;
    *ret = ours ? driver_ref(r->driver) : NULL;
    return ours ? 0 : -ENOENT;
}

/* world.driver_of */
static const struct driver *
driver_of(void *arg, const char *connection)
{
    const struct run *r = arg;
    return driver_ref(strcmp(connection, "peer") == 0 ? r->driver : driver_find("sqlite"));
}

static json_t *
expanded(const struct run *r, const json_t *json)
{
    AUTO_FREE char *text = json_dumps(json, 0);
    AUTO_BUF struct buf out = BUF_INIT(REPORT_MAX);
    case_expand(&r->world, text, &out);
    return json_loads(buf_z(&out), 0, NULL);
}

static char *
config_text(const struct run *r)
{
    json_t *destination = expanded(r, r->c.destination);
    json_object_set_new(destination, "connection", json_string("peer"));
    if (r->c.object)
        json_object_set_new(destination, "object", json_string(r->c.object));
    json_t *config = json_copy(r->c.config);
    json_object_set_new(config, "source",
                        json_pack("{s:s, s:s}", "connection", "model", "table", "t"));
    json_object_set_new(config, "destination", destination);
    if (r->c.identifier)
        json_object_set_new(config, "identifier", json_string(r->c.identifier));
    char *text = json_dumps(config, 0);
    json_decref(config);
    return text;
}

/* A secret may hold an address. */
static void
expand_secrets(const struct run *r)
{
    for (size_t i = 0; i < r->connection->nsecrets; i++) {
        const char *name = r->connection->secrets[i].env;
        AUTO_BUF struct buf out = BUF_INIT(REPORT_MAX);
        if (!name || !getenv(name))
            continue;
        case_expand(&r->world, getenv(name), &out);
        setenv(name, buf_z(&out), 1);
    }
}

static bool
make_connection(struct run *r, struct buf *refusal)
{
    json_t *json = expanded(r, r->c.connection);
    json_object_set_new(json, "driver", json_string(r->c.driver));
    AUTO_FREE char *text = json_dumps(json, 0);
    json_decref(json);
    struct complaint complaint = {.line = 0};
    struct error err = ERROR_INIT;
    const struct world world = {.users_driver = users_driver, .arg = r};
    if (connection_parse(&world, "peer", str_of(text), &r->connection, &complaint) < 0)
        complaint_render(&complaint, refusal);
    else
        expand_secrets(r);
    if (r->connection && connection_resolve(r->connection, NULL, &err) < 0)
        buf_adds(refusal, err.text);
    return refusal->n == 0;
}

static bool
make_definition(struct run *r, struct buf *refusal)
{
    AUTO_FREE char *config = config_text(r);
    AUTO_BUF struct buf mappings = BUF_INIT(REPORT_MAX);
    buf_adds(&mappings, "column,field\n");
    VEC_EACH (&r->c.fields, f)
        buf_addf(&mappings, "%s,%s\n", f->name, f->name);
    const struct world world = {.driver_of = driver_of, .arg = r};
    const struct sync_texts texts = {str_of(config), buf_str(&mappings), str_of(r->c.mode)};
    static struct complaints complaints;
    definition_parse(&world, &texts, &r->definition, &complaints);
    for (size_t i = 0; i < complaints.n; i++)
        complaint_render(&complaints.items[i], refusal);
    return r->definition != NULL;
}

static bool
open_destination(struct run *r, void **ret, struct buf *refusal)
{
    const struct definition *d = r->definition;
    struct column *fields = arena_alloc(&r->arena, r->c.fields.n * sizeof *fields);
    for (size_t i = 0; i < r->c.fields.n; i++)
        fields[i] =
            (struct column){.name = d->mappings[i].field, .type = r->c.fields.p[i].type};
    const struct target target = {.sync = "case",
                                  .sync_uid = "case",
                                  .object = d->object,
                                  .options = d->dest_options,
                                  .type = d->type,
                                  .event = d->event,
                                  .event_field = d->event_field,
                                  .mode = d->mode,
                                  .fields = fields,
                                  .nfields = r->c.fields.n,
                                  .key = d->key,
                                  .nkey = d->nidentifier,
                                  .cancelled = &r->cancelled};
    struct error err = ERROR_INIT;
    if (r->driver->dest_open(r->connection->options, &target, ret, &err) == 0)
        return true;
    buf_adds(refusal, err.text);
    return false;
}

/* ---- rows ---- */

static struct value
value_of(struct run *r, const json_t *json, enum value_type type)
{
    const char *text = json_string_value(json);
    if (!json || json_is_null(json))
        return (struct value){.type = V_NULL};
    if (type == V_NULL)
        type = json_is_boolean(json)   ? V_BOOL
               : json_is_integer(json) ? V_INT
               : json_is_real(json)    ? V_FLOAT
               : text                  ? V_TEXT
                                       : V_JSON;
    if (type == V_BOOL && json_is_boolean(json))
        text = json_is_true(json) ? "t" : "f";
    if (type == V_JSON || !text) {
        AUTO_FREE char *dump = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
        text = arena_strdup(&r->arena, dump);
    }
    return (struct value){.p = text, .n = (uint32_t)strlen(text), .type = (uint8_t)type};
}

static const struct value *
values_of(struct run *r, const json_t *row, bool sparse, unsigned line)
{
    size_t n = r->c.fields.n;
    struct value *values = arena_alloc(&r->arena, n * sizeof *values);
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *json = json_object_get(row, r->c.fields.p[i].name);
        found += json != NULL;
        values[i] = value_of(r, json, r->c.fields.p[i].type);
        if (!json && sparse)
            values[i].type = V_ABSENT;
    }
    if (found != json_object_size(row))
        buf_addf(&r->why, "line %u: a member of the row is no field\n", line);
    return values;
}

static enum operation
operation_of(enum mode mode)
{
    return mode == MODE_INSERT ? OP_INSERT : mode == MODE_UPDATE ? OP_UPDATE : OP_UPSERT;
}

static void
fill_change(struct run *r, size_t number, struct change *c)
{
    const struct case_row *row = &r->c.rows.p[number];
    const struct definition *d = r->definition;
    const struct value *after = values_of(r, row->after, false, row->line);
    struct value *key = arena_alloc(&r->arena, (d->nidentifier + 1) * sizeof *key);
    for (size_t i = 0; i < d->nidentifier; i++)
        key[i] = after[d->key[i]];
    *c = (struct change){.op = row->gone ? OP_DELETE : operation_of(d->mode),
                         .seq = number,
                         .after = row->gone ? NULL : after,
                         .key = key};
    if (!row->was)
        return;
    AUTO_BUF struct buf before = BUF_INIT(BUF_NO_MAX);
    record_pack(&before, values_of(r, row->was, true, row->line), r->c.fields.n);
    c->before = (struct str){arena_strndup(&r->arena, before.p, before.n), before.n};
}

/* ---- sending ---- */

/* courier's told */
static int
take_fate(void *arg, const struct change *changes, const struct outcome *out, size_t n,
          struct error *err)
{
    struct run *r = arg;
    for (size_t i = 0; i < n; i++) {
        struct outcome *to = &r->outcomes[changes[i].seq];
        *to = out[i];
        to->code = out[i].code ? arena_strdup(&r->arena, out[i].code) : NULL;
        to->why = out[i].why ? arena_strdup(&r->arena, out[i].why) : NULL;
        r->told[changes[i].seq]++;
    }
    if (case_peer_failed())
        r->cancelled = true; /* no need to go on */
    return 0;
}

static void
parcel_done(void *arg, struct parcel *parcel)
{
    (void)arg;
    (void)parcel;
}

static void
carry(struct run *r, struct courier *courier)
{
    size_t n = r->c.rows.n;
    struct change *changes = arena_alloc(&r->arena, (n + 1) * sizeof *changes);
    unsigned char(*identities)[32] = arena_alloc(&r->arena, (n + 1) * sizeof *identities);
    r->outcomes = arena_alloc(&r->arena, (n + 1) * sizeof *r->outcomes);
    r->told = arena_alloc(&r->arena, (n + 1) * sizeof *r->told);
    for (size_t i = 0; i < n; i++) {
        fill_change(r, i, &changes[i]);
        case_identity(i + 1, identities[i]);
    }
    struct error err = ERROR_INIT;
    struct parcel parcel = {.changes = changes,
                            .identities = (const unsigned char(*)[32])identities,
                            .n = n,
                            .done = parcel_done};
    if (courier_add(courier, &parcel, &err) < 0 || courier_drain(courier, &err) < 0)
        buf_addf(&r->why, "the courier: %s\n", err.text);
}

/* ---- judging ---- */

static void
judge_row(struct run *r, size_t number)
{
    static const char *const kinds[] = {[ROW_UNKNOWN] = "unknown",
                                        [ROW_DONE] = "done",
                                        [ROW_UNCHANGED] = "unchanged",
                                        [ROW_REJECTED] = "rejected",
                                        [ROW_RETRY] = "retry"};
    const struct case_row *row = &r->c.rows.p[number];
    const struct case_outcome *want = &row->want;
    const struct outcome *got = &r->outcomes[number];
    const char *code = got->code ? got->code : "", *why = got->why ? got->why : "";
    if (r->told[number] != 1)
        buf_addf(&r->why, "line %u: row %zu was told %u times\n", row->line, number + 1,
                 r->told[number]);
    else if (got->kind != want->kind || (want->code && strcmp(want->code, code) != 0) ||
             (want->words && !strstr(why, want->words)))
        buf_addf(&r->why, "line %u: row %zu: %s %s: %s\n", row->line, number + 1,
                 kinds[got->kind], code, why);
}

static void
judge(struct run *r, const struct courier *courier)
{
    const struct error *stopped = courier_stopped(courier);
    for (size_t i = 0; i < r->c.rows.n; i++)
        judge_row(r, i);
    if (stopped && (!r->c.stopped || !strstr(stopped->text, r->c.stopped)))
        buf_addf(&r->why, "the run stopped: %s: %s\n", error_kind_name(stopped->kind),
                 stopped->text);
    if (!stopped && r->c.stopped)
        buf_adds(&r->why, "the run did not stop\n");
}

/* ---- a case ---- */

static void
shorten_timeouts(struct run *r)
{
    /* driver_find gives the first member of a connector */
    struct connector *c = (struct connector *)(uintptr_t)r->driver;
    if (r->c.timeout)
        c->transfer.first_byte = c->transfer.whole = r->c.timeout;
}

static void
deliver(struct run *r, void *destination)
{
    struct limits limits = {.rows = SIZE_MAX};
    struct error err = ERROR_INIT;
    r->driver->dest_limits(destination, &limits);
    limits.parallel = r->c.parallel;
    if (r->c.batch)
        for (size_t i = 0; i <= OP_DELETE; i++)
            limits.of[i].rows = limits.rows = r->c.batch;
    struct courier_settings settings = {
        .driver = r->driver,
        .destination = destination,
        .limits = limits,
        .nfields = r->c.fields.n,
        .backoff = {.base = 1000, .cap = 20000, .budget = r->c.patience},
        .random = 1,
        .cancelled = &r->cancelled,
        .told = take_fate,
        .arg = r,
    };
    if (!paces_get("case", &limits, &settings.paces))
        exit(EXIT_FAILURE);
    const struct session session = {.token = "case"};
    struct courier *courier = courier_create(&settings);
    if (r->driver->dest_begin && r->driver->dest_begin(destination, &session, &err) < 0)
        buf_addf(&r->why, "dest_begin: %s\n", err.text);
    else
        carry(r, courier);
    if (!r->why.n)
        judge(r, courier);
    courier_free(courier);
    paces_put(&settings.paces);
}

static void
run_case(struct run *r)
{
    AUTO_BUF struct buf refusal = BUF_INIT(REPORT_MAX);
    struct error err = ERROR_INIT;
    void *destination = NULL;
    if (case_peer_start(&r->c, &r->world) < 0) {
        buf_adds(&r->why, "no loopback\n");
        return;
    }
    if (r->c.manifest && http_make(NULL, str_of(r->c.manifest), &r->driver, &err) < 0)
        buf_addf(&refusal, "%s", err.text);
    else if (!r->c.manifest && !(r->driver = driver_find(r->c.driver)))
        buf_addf(&refusal, "there is no connector \"%s\"", r->c.driver);
    if (r->driver)
        shorten_timeouts(r);
    if (refusal.n == 0 && make_connection(r, &refusal) && make_definition(r, &refusal) &&
        open_destination(r, &destination, &refusal)) {
        deliver(r, destination);
        r->driver->dest_close(destination);
    }
    if (refusal.n && (!r->c.refused || !strstr(buf_z(&refusal), r->c.refused)))
        buf_addf(&r->why, "refused: %s\n", buf_z(&refusal));
    if (!refusal.n && r->c.refused)
        buf_adds(&r->why, "it was not refused\n");
    case_peer_faults(&r->why);
}

/* In a process of its own; what is wrong goes to `out`. */
static void
child(const char *path, FILE *out)
{
    static struct run r = {.why = BUF_INIT(REPORT_MAX)};
    alarm(CASE_SECONDS);
    if (case_read(path, &r.c, &r.why))
        run_case(&r);
    for (const char *p = buf_z(&r.why); *p;) {
        size_t n = strcspn(p, "\n");
        fprintf(out, "#   %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
    connection_free(r.connection);
    definition_free(r.definition);
    (void)fclose(out); /* the case itself stays: the peer's threads play it until the end */
    exit(r.why.n ? 1 : 0);
}

/* ---- all of them ---- */

struct report {
    const char *name;
    pid_t pid;
    FILE *out; /* what the child says */
};

static VEC(struct report) reports;
static VEC(char *) paths;

static int
by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void
find_cases(char *const *roots)
{
    FTS *fts = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    for (FTSENT *e; fts && (e = fts_read(fts));) {
        size_t n = e->fts_namelen;
        if (e->fts_info == FTS_F && n > 5 && strcmp(e->fts_name + n - 5, ".case") == 0)
            VEC_PUSH(&paths, strdup(e->fts_path));
    }
    fts_close(fts);
}

static void
start(const char *path)
{
    const char *name = strstr(path, "cases/");
    struct report report = {.name = name ? name + 6 : path, .out = tmpfile()};
    (void)fflush(stdout);
    report.pid = fork();
    if (report.pid == 0)
        child(path, report.out);
    VEC_PUSH(&reports, report);
}

/* Waits for the case's process, and prints what it has to say. */
static void
finish(struct report *r)
{
    int status = -1;
    waitpid(r->pid, &status, 0);
    CHECK_MSG(status == 0, r->name);
    if (WIFSIGNALED(status))
        printf("#   ended by signal %d\n", WTERMSIG(status));
    rewind(r->out);
    for (int c; (c = fgetc(r->out)) != EOF;)
        putchar(c);
    (void)fclose(r->out);
}

int
main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    if (!CHECK(drivers_load(&err) == 0))
        printf("#   %s\n", err.text);
    static const char *const proxies[] = {"http_proxy", "https_proxy", "all_proxy",
                                          "ALL_PROXY"};
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
        unsetenv(proxies[i]);
    find_cases(argv + 1);
    CHECK(argc > 1 && paths.n > 0);
    for (size_t i = 0; i < paths.n; i++) {
        if (i >= AT_ONCE)
            finish(&reports.p[i - AT_ONCE]);
        start(paths.p[i]);
    }
    for (size_t i = paths.n > AT_ONCE ? paths.n - AT_ONCE : 0; i < paths.n; i++)
        finish(&reports.p[i]);
    VEC_EACH (&paths, p)
        free(*p);
    VEC_DONE(&paths);
    VEC_DONE(&reports);
    return tap_done();
}
