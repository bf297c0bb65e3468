/*
 * The HTTP driver: see http.h. An operation's call is prepared once a session (way.h); a batch
 * is then written into a request and sent. Where a look-up comes first, the engine is told that
 * the call is prepared when its answer is there, and gives it once more: so each request waits
 * for the pace, and a cancel comes between them.
 */
#include "http/http.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "http/fill.h"
#include "http/look_up.h"
#include "http/mention.h"
#include "http/way.h"
#include "http/wipe.h"

enum { OPERATIONS = OP_DELETE + 1, SECRET_MAX = 64 * 1024 };

/* A call under way. */
struct flight {
    struct exchange x;
    struct request request;
    const struct connector_call *how;
    struct found *found; /* by the look-up before; NULL: there was none, or this is it */
    bool looks_up;
    enum call_fate fate; /* of one that was not sent */
    struct error why;
    struct flight *following; /* in the list it stands in */
};

struct http_dest {
    const struct connector *connector;
    struct connector_use use;
    struct arena arena;
    const char *secret; /* that signs; NULL: nothing does */
    struct auth *auth;
    struct way *ways[OPERATIONS], *look_ups[OPERATIONS], *makes[OPERATIONS]; /* MAY be NULL */
    struct transfer *transfer;
    struct flight *flights, *idle, *unsent;
    struct found *found; /* for calls that are prepared */
    struct found *last;  /* of the last answer */
    struct arena words;  /* of its outcomes */
    struct transcript transcript, before;
    const char *credentials[3];
    atomic_bool cancelled;
};

static int
place(const void *connection, struct buf *out, struct error *err)
{
    const struct fill_values v = {.connector = connector_of(connection),
                                  .use = {.connection = connection}};
    int rc = fill_plain(v.connector->place, &v, out, err);
    return rc < 0 ? rc : 0;
}

/* ---- opening ---- */

static struct connector_use
use_of(const void *connection, const struct target *t)
{
    return (struct connector_use){
        .connection = connection,
        .destination = t->options,
        .type = t->type,
        .object = t->object,
        .identifier = t->nkey == 1 ? t->fields[t->key[0]].name : NULL,
        .mode = mode_name(t->mode),
    };
}

static bool
is_mapped(const struct target *t, const json_t *name)
{
    for (size_t i = 0; i < t->nfields; i++)
        if (strcmp(t->fields[i].name, json_string_value(name)) == 0)
            return true;
    return false;
}

/* Whether one field of each list is mapped. */
static int
check_needs(const struct connector_call *call, const struct target *t, struct error *err)
{
    size_t i, j;
    json_t *list, *name;
    json_array_foreach((json_t *)(uintptr_t)call->needs, i, list)
    {
        AUTO_BUF struct buf names = BUF_INIT(ERROR_TEXT_MAX);
        bool mapped = false;
        json_array_foreach(list, j, name)
        {
            buf_addf(&names, "%s\"%s\"", j ? " or " : "", json_string_value(name));
            mapped = mapped || is_mapped(t, name);
        }
        if (!mapped)
            return error_set(err, ERR_CONFIG, EINVAL, "no mapping gives field %s",
                             buf_z(&names));
    }
    return 0;
}

/* The call for an operation of the mode. */
static int
find_call(const struct connector *c, const struct connector_use *use, enum operation op,
          const struct target *t, const struct connector_call **ret, struct error *err)
{
    *ret = connector_call_for(c, op, use);
    if (*ret && !(*ret)->refuse)
        return 0;
    if (*ret)
        return error_set(err, ERR_CONFIG, EINVAL, "%s", (*ret)->refuse);
    if (!use->connection && connector_may_call(c, t->type, op))
        return 0;
    return error_set(err, ERR_CONFIG, EINVAL, "%s cannot do this in mode %s", c->driver.name,
                     mode_name(t->mode));
}

/* What the sender makes of each mode: calls by operation, NULL where there is none. */
static int
find_calls(const struct connector *c, const struct connector_use *use, const struct target *t,
           const struct connector_call *ret[OPERATIONS], struct error *err)
{
    enum operation op = t->mode == MODE_INSERT   ? OP_INSERT
                        : t->mode == MODE_UPDATE ? OP_UPDATE
                        : t->mode == MODE_REMOVE ? OP_DELETE
                                                 : OP_UPSERT;
    const struct connector_call *upsert = connector_call_for(c, OP_UPSERT, use);
    memset(ret, 0, OPERATIONS * sizeof *ret);
    /* The engine calls a full sync's rows upserts. */
    bool inserts = t->mode == MODE_FULL && !upsert;
    int rc = find_call(c, use, inserts ? OP_INSERT : op, t, &ret[op], err);
    if (rc == 0 && t->mode == MODE_MIRROR)
        rc = find_call(c, use, OP_DELETE, t, &ret[OP_DELETE], err);
    for (size_t i = 0; rc == 0 && i < OPERATIONS; i++)
        if (ret[i] && !t->object && connector_wants_object(c, ret[i]))
            rc = error_set(err, ERR_CONFIG, EINVAL,
                           "\"object\" is missing: %s needs to know where to write",
                           c->driver.name);
    for (size_t i = 0; rc == 0 && i < OPERATIONS; i++)
        rc = ret[i] ? check_needs(ret[i], t, err) : 0;
    for (size_t i = 0; rc == 0 && i < OPERATIONS; i++)
        if (ret[i] && ret[i]->look_up && t->nkey != 1)
            rc = error_set(err, ERR_CONFIG, EINVAL,
                           "%s looks records up by one field: the identifier has %zu",
                           c->driver.name, t->nkey);
    return rc;
}

/* Nothing is known of the connection. */
static int
dest_judge(const struct target *target, struct error *err)
{
    const struct connector *c = connector_of(target->options);
    const struct connector_call *calls[OPERATIONS];
    const struct connector_use use = use_of(NULL, target);
    return find_calls(c, &use, target, calls, err);
}

static int
open_ways(struct http_dest *d, const struct target *t, struct error *err)
{
    const struct connector_call *calls[OPERATIONS];
    const struct way_settings settings = {.connector = d->connector,
                                          .use = d->use,
                                          .target = t,
                                          .auth = d->auth,
                                          .secret = d->secret};
    int rc = find_calls(d->connector, &d->use, t, calls, err);
    for (size_t i = 0; rc == 0 && i < OPERATIONS; i++) {
        const struct connector_look_up *look_up = calls[i] ? calls[i]->look_up : NULL;
        rc = calls[i] ? way_open(&settings, calls[i], &d->ways[i], err) : 0;
        if (rc == 0 && look_up)
            rc = way_open(&settings, &look_up->call, &d->look_ups[i], err);
        if (rc == 0 && look_up && look_up->absent)
            rc = way_open(&settings, look_up->absent, &d->makes[i], err);
    }
    return rc;
}

static int
take_secret(struct http_dest *d, struct error *err)
{
    AUTO_WIPE struct buf text;
    wipe_init(&text, SECRET_MAX);
    if (!d->connector->signature ||
        !connector_option_text(d->connector, &d->use, d->connector->signature, &text))
        return 0;
    d->secret = text.failed ? NULL : arena_strdup(&d->arena, buf_z(&text));
    return d->secret ? 0 : error_no_memory(err);
}

static void
dest_close(void *handle)
{
    struct http_dest *d = handle;
    transfer_free(d->transfer);
    for (size_t i = 0; i < OPERATIONS; i++) {
        way_close(d->ways[i]);
        way_close(d->look_ups[i]);
        way_close(d->makes[i]);
    }
    for (struct found *f; (f = d->found);) {
        d->found = f->following;
        look_up_free(f);
    }
    look_up_free(d->last);
    for (size_t i = 0; d->flights && i < d->connector->transfer.parallel; i++) {
        exchange_done(&d->flights[i].x);
        request_done(&d->flights[i].request);
    }
    free(d->flights);
    auth_close(d->auth);
    arena_done(&d->words);
    arena_done(&d->arena);
    free(d);
}

static int
dest_open(const void *connection, const struct target *target, void **ret, struct error *err)
{
    struct http_dest *d = calloc(1, sizeof *d);
    if (!d)
        return error_no_memory(err);
    d->connector = connector_of(connection);
    d->use = use_of(connection, target);
    unsigned parallel = d->connector->transfer.parallel;
    d->flights = calloc(parallel, sizeof *d->flights);
    int rc = d->flights ? take_secret(d, err) : error_no_memory(err);
    if (rc == 0 && d->use.object && !(d->use.object = arena_strdup(&d->arena, d->use.object)))
        rc = error_no_memory(err);
    if (rc == 0 && d->use.identifier &&
        !(d->use.identifier = arena_strdup(&d->arena, d->use.identifier)))
        rc = error_no_memory(err);
    if (rc == 0)
        rc = auth_open(d->connector, &d->use, &d->auth, err);
    if (rc == 0)
        rc = open_ways(d, target, err);
    if (rc == 0)
        rc = transfer_create(&d->connector->transfer, &d->transfer, err);
    if (rc < 0) {
        dest_close(d);
        return rc;
    }
    for (unsigned i = 0; i < parallel; i++) {
        d->flights[i].following = d->idle;
        d->idle = &d->flights[i];
    }
    *ret = d;
    return 0;
}

/* As the connector says, or fewer rows where the user wants that. */
static void
limit_way(const struct http_dest *d, const struct way *w, enum operation op, struct limits *ret)
{
    int64_t rows = connector_option_int(d->connector, &d->use, "max_rows");
    way_limits(w, op, ret);
    if (d->look_ups[op]) {
        ret->of[op].prepared = true;
        ret->of[op].before = way_call(d->look_ups[op])->scope;
    }
    if (d->makes[op]) {
        ret->of[op].makes = true;
        ret->of[op].making = way_call(d->makes[op])->scope;
    }
    if (rows > 0 && (uint64_t)rows < ret->of[op].rows)
        ret->of[op].rows = (size_t)rows;
}

static void
dest_limits(void *handle, struct limits *ret)
{
    const struct http_dest *d = handle;
    *ret = (struct limits){
        .rows = SIZE_MAX, .bytes = SIZE_MAX, .parallel = d->connector->transfer.parallel};
    connector_pace(d->connector, &d->use, ret);
    ret->identities = d->secret != NULL;
    for (enum operation op = 0; op <= OP_DELETE; op++) {
        if (!d->ways[op])
            continue;
        limit_way(d, d->ways[op], op, ret);
        ret->identities =
            ret->identities || mention_identity(d->connector, way_call(d->ways[op]), &d->use);
    }
}

/* ---- calls ---- */

/* A request that could not be written. What is a row's fault, or passes, is an answer; else the
 * run ends by it. */
static bool
is_answer(const struct error *why, enum call_fate *ret)
{
    switch (why->kind) {
    case ERR_DATA:
        *ret = CALL_REFUSED;
        return true;
    case ERR_LIMIT:
        *ret = CALL_TOO_LARGE;
        return true;
    case ERR_UNREACHABLE:
        *ret = CALL_FAILED;
        return true;
    default:
        return false;
    }
}

/* What was found for a call that is prepared; NULL: it is not. From now on the caller's. */
static struct found *
take_found(struct http_dest *d, struct call *call)
{
    struct found *f = call->driver, **at = &d->found;
    call->driver = NULL;
    if (!f)
        return NULL;
    while (*at != f)
        at = &(*at)->following;
    *at = f->following;
    return f;
}

/* What the last answer told of is told. */
static void
forget_last(struct http_dest *d)
{
    d->last = look_up_free(d->last);
}

static int
begin(struct http_dest *d, struct flight *f, const struct call *call, struct error *err)
{
    enum operation op = call->batch.changes[0].op;
    f->looks_up = d->look_ups[op] && !f->found && !call->absent;
    struct way *w = f->looks_up ? d->look_ups[op] : call->absent ? d->makes[op] : d->ways[op];
    f->how = way_call(w);
    int rc = way_write(w, f->found ? &f->found->part : call, &d->cancelled, &f->request, err);
    if (rc < 0)
        return rc;
    f->x.method = f->how->method;
    f->x.url = f->request.url;
    f->x.headers = f->request.headers;
    f->x.body = f->request.body;
    f->x.repeatable = f->how->repeatable && !call->absent;
    return transfer_start(d->transfer, &f->x, err);
}

static int
dest_call(void *handle, struct call *call, struct error *err)
{
    struct http_dest *d = handle;
    struct flight *f = d->idle;
    if (!f || !d->ways[call->batch.changes[0].op])
        return error_set(err, ERR_INTERNAL, EINVAL, "a call that was not agreed upon");
    forget_last(d);
    f->x.arg = call;
    f->found = take_found(d, call);
    f->why = (struct error)ERROR_INIT;
    int rc = begin(d, f, call, &f->why);
    if (rc < 0 && !is_answer(&f->why, &f->fate)) {
        f->found = look_up_free(f->found);
        *err = f->why;
        return rc;
    }
    d->idle = f->following;
    call->driver = f;
    if (rc < 0) {
        f->following = d->unsent;
        d->unsent = f;
    }
    return 0;
}

static void
land(struct http_dest *d, struct flight *f)
{
    ((struct call *)f->x.arg)->driver = NULL;
    f->found = look_up_free(f->found);
    f->following = d->idle;
    d->idle = f;
}

static int
answer_unsent(struct http_dest *d, struct call_answer *ret)
{
    struct flight *f = d->unsent;
    d->unsent = f->following;
    struct call *call = f->x.arg;
    if (f->found)
        look_up_spread(f->found, call, false);
    for (size_t i = 0; i < call->batch.n; i++) /* whose rows are to blame, way_write said */
        if (call->out[i].kind == ROW_REJECTED)
            call->out[i].why = f->why.text;
    *ret = (struct call_answer){.call = call, .fate = f->fate, .error = f->why};
    land(d, f);
    return 1;
}

/* Said as an error would be. */
static const char *
whether_spent(struct http_dest *d, const struct exchange *x)
{
    AUTO_BUF struct buf why = BUF_INIT(ERROR_TEXT_MAX);
    if (x->end != END_ANSWERED || !connector_is_spent(d->connector, &d->use, x, &why))
        return NULL;
    return why.failed ? "few calls of the day are left" : arena_strdup(&d->words, buf_z(&why));
}

/* What says who calls: a token is in no connection. */
static const char *
credentials_of(const struct exchange *x)
{
    static const char name[] = "Authorization: ";
    const char *const *h = x->headers;
    while (*h && strncmp(*h, name, sizeof name - 1) != 0)
        h++;
    const char *blank = *h ? strrchr(*h, ' ') : NULL;
    return blank && blank[1] ? blank + 1 : NULL;
}

static void
transcribe(const struct exchange *x, const struct request *r, const char *const *secrets,
           struct transcript *ret)
{
    *ret = (struct transcript){
        .method = x->method,
        .address = x->url,
        .headers = x->headers,
        .body = buf_str(&r->plain),
        .status = x->end == END_ANSWERED ? x->status : 0,
        .answer_head = buf_str(&x->head),
        .answer = buf_str(&x->body_back),
        .us = x->ended - x->began,
        .secrets = secrets,
    };
}

/* The evidence: the call, and the look-up before it. */
static void
tell_exchanges(struct http_dest *d, const struct flight *f, struct call_answer *ret)
{
    size_t n = 0;
    const char *of_call = credentials_of(&f->x);
    const char *of_look_up = f->found ? credentials_of(&f->found->x) : NULL;
    if (of_call)
        d->credentials[n++] = of_call;
    if (of_look_up)
        d->credentials[n++] = of_look_up;
    d->credentials[n] = NULL;
    transcribe(&f->x, &f->request, d->credentials, &d->transcript);
    ret->transcript = &d->transcript;
    if (!f->found)
        return;
    transcribe(&f->found->x, &f->found->request, d->credentials, &d->before);
    ret->before = &d->before;
}

/* The call is prepared. The look-up is kept for the evidence. */
static void
prepare(struct http_dest *d, struct flight *f, struct found *found)
{
    struct call *call = f->x.arg;
    found->request = f->request;
    found->x = f->x;
    found->x.headers = found->request.headers;
    f->request = (struct request){.url = NULL};
    f->x = (struct exchange){.arg = call};
    land(d, f);
    found->following = d->found;
    d->found = found;
    call->driver = found;
}

/* Reads what was found; the call is prepared, or its rows' outcomes are known already. */
static void
read_look_up(struct http_dest *d, struct flight *f, struct call *call, struct call_answer *ret)
{
    const struct connector_call *of = way_call(d->ways[call->batch.changes[0].op]);
    const struct fill_values values = {.connector = d->connector, .use = d->use};
    struct found *found = NULL;
    int rc = look_up_read(of->look_up, &values, &f->x, call, &found);
    if (rc != 0) {
        ret->fate = CALL_FAILED;
        error_set(&ret->error, ERR_UNREACHABLE, EIO, "HTTP %d, but %s", f->x.status,
                  rc < 0 ? "there is no memory for the answer"
                         : "the answer does not tell what was found");
        return;
    }
    if (found->unclear) { /* fewer rows are asked for, down to one */
        look_up_free(found);
        ret->fate = CALL_REFUSED;
        error_set(&ret->error, ERR_DATA, EIO,
                  "a record was found that has none of the identifiers asked for");
        return;
    }
    if (found->part.batch.n > 0) {
        ret->fate = CALL_PREPARED;
        prepare(d, f, found);
        return;
    }
    look_up_spread(found, call, true);
    d->last = found;
}

static void
judge(struct http_dest *d, struct flight *f, struct call *call, struct call_answer *ret)
{
    struct call *asked = f->found ? &f->found->part : call;
    const struct answer_rules *rules = f->how->answer ? f->how->answer : d->connector->answer;
    arena_clear(&d->words);
    answer_judge(rules, &f->x, asked, &d->words, ret);
    ret->call = call;
    ret->twice = f->x.twice && !f->looks_up;
    ret->spent = whether_spent(d, &f->x);
    if (ret->fate == CALL_DENIED && d->auth)
        auth_refused(d->auth, f->request.token);
    if (f->found)
        look_up_spread(f->found, call, ret->fate == CALL_ANSWERED);
    if (f->looks_up && ret->fate == CALL_ANSWERED)
        read_look_up(d, f, call, ret);
    if (f->looks_up && ret->fate == CALL_UNKNOWN) { /* it only asked */
        ret->fate = CALL_FAILED;
        if (ret->error.kind == ERR_UNKNOWN)
            ret->error.kind = ERR_UNREACHABLE;
    }
}

static int
dest_answer(void *handle, int64_t timeout, struct call_answer *ret, struct error *err)
{
    struct http_dest *d = handle;
    forget_last(d);
    if (d->unsent)
        return answer_unsent(d, ret);
    struct exchange *x = transfer_wait(d->transfer, timeout);
    if (!x)
        return 0;
    struct call *call = x->arg;
    struct flight *f = call->driver;
    judge(d, f, call, ret);
    if (ret->fate == CALL_PREPARED)
        return 1;
    tell_exchanges(d, f, ret);
    if (f->found)
        d->last = f->found;
    f->found = NULL;
    land(d, f);
    return 1;
}

static void
dest_wake(void *handle)
{
    transfer_wake(((struct http_dest *)handle)->transfer);
}

static void
dest_cancel(void *handle)
{
    struct http_dest *d = handle;
    atomic_store(&d->cancelled, true);
    transfer_cancel(d->transfer);
}

/* Its driver is its first member. */
static struct connector *
connector_behind(const struct driver *d)
{
    return (struct connector *)(uintptr_t)d;
}

static void
hold(const struct driver *d)
{
    atomic_fetch_add(&connector_behind(d)->holders, 1);
}

static void
let_go(const struct driver *d)
{
    struct connector *c = connector_behind(d);
    if (atomic_fetch_sub(&c->holders, 1) == 1)
        connector_free(c);
}

static void
set_hooks(struct driver *d)
{
    d->traits = TRAIT_NESTED;
    d->place = place;
    d->dest_judge = dest_judge;
    d->dest_open = dest_open;
    d->dest_limits = dest_limits;
    d->dest_call = dest_call;
    d->dest_answer = dest_answer;
    d->dest_wake = dest_wake;
    d->dest_cancel = dest_cancel;
    d->dest_close = dest_close;
    d->hold = hold;
    d->let_go = let_go;
}

int
http_make(const char *name, struct str manifest, const struct driver **ret, struct error *err)
{
    struct connector *c = NULL;
    int rc = connector_parse(name, manifest, &c, err);
    if (rc < 0)
        return rc;
    set_hooks(&c->driver);
    *ret = &c->driver;
    return 0;
}
