/* Reading side by side: see ranges.h. */
#include "postgres/ranges.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "postgres/binary.h"

enum {
    ROWS_WORTH = 100000,  /* fewer are read by one connection as soon */
    ROWS_A_RANGE = 16384, /* as the statistics have it */
    RANGES_MAX = 65536,
    AHEAD_MAX = 4 * 1048576, /* bytes a connection may be ahead */
    CHUNK_BYTES = 64 * 1024,
};

/* Tuples on their way: each as its length (size_t) and its bytes. */
struct chunk {
    struct chunk *next;
    size_t n;   /* bytes in data */
    bool ended; /* the range is at its end with it */
    char data[];
};

struct lane {
    struct pg_ranges *of;
    size_t number;
    struct pg_link *link;
    struct pg_link own; /* of the lanes but the first */
    bool open, started; /* own, thread */
    pthread_t thread;
    struct chunk *filling; /* the thread's */
    size_t room;           /* bytes it has room for */
    /* under of->lock */
    struct chunk *first, **last;
    size_t ahead; /* bytes in the chunks */
    bool over;    /* the thread adds no more */
    int result;
    struct error error;
};

struct pg_ranges {
    struct buf key;  /* as it stands in SQL */
    int64_t *bounds; /* range i: from bounds[i - 1], if there is one, to below bounds[i] */
    size_t nbounds;
    const char *select;
    struct lane lanes[PG_READERS_MAX];
    size_t nlanes;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* chunks were added or taken, or it is over */
    bool stop;
};

/* ---- cutting ---- */

/* The values between which the statistics see equally many rows, or else the least and the
 * greatest; separated by blanks, ascending. */
static int
ask_bounds(struct pg_link *link, const char *table, const char *key, struct buf *out,
           struct error *err)
{
    /* Of anything but a table each range might cost as much as the whole. */
    static const char is_table[] = "SELECT 1 FROM pg_catalog.pg_class"
                                   " WHERE oid = $1::regclass AND relkind IN ('r', 'm', 'p')";
    static const char statistics[] =
        "SELECT pg_catalog.array_to_string(s.histogram_bounds::text::bigint[], ' ')"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname"
        " WHERE c.oid = $1::regclass AND s.attname = $2 ORDER BY s.inherited DESC LIMIT 1";
    AUTO_BUF struct buf found = BUF_INIT(BUF_NO_MAX);
    int rc = pg_ask(link, is_table, 1, &table, &found, err);
    if (!rc && found.n)
        rc = pg_ask(link, statistics, 2, (const char *[]){table, key}, out, err);
    if (rc || !found.n || out->n)
        return rc;
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX), name = BUF_INIT(BUF_NO_MAX);
    pg_add_name(link, &name, key);
    buf_addf(&sql, "SELECT pg_catalog.concat_ws(' ', min(%s), max(%s)) FROM %s", buf_z(&name),
             buf_z(&name), table);
    return sql.failed || name.failed ? error_no_memory(err)
                                     : pg_ask(link, buf_z(&sql), 0, NULL, out, err);
}

/* The parts between the values are cut on until there are about as many as wanted. */
static int
cut(struct pg_ranges *r, const char *values, size_t wanted, struct error *err)
{
    size_t n = 1;
    for (const char *p = values; *p; p++)
        n += *p == ' ';
    size_t parts = 1 + wanted / n;
    r->bounds = calloc(n * parts, sizeof *r->bounds);
    if (!r->bounds)
        return error_no_memory(err);
    bool any = false;
    int64_t before = 0;
    for (const char *p = values; *p;) {
        char *end;
        int64_t value = strtoll(p, &end, 10);
        if (end == p)
            return error_set(err, ERR_REMOTE, EPROTO, "bounds that are no integers: %.100s", p);
        p = end + (*end == ' ');
        unsigned __int128 wide = (uint64_t)value - (uint64_t)before;
        for (size_t i = 1; any && i < parts; i++) {
            int64_t between = (int64_t)((uint64_t)before + (uint64_t)(wide * i / parts));
            if (between > r->bounds[r->nbounds - 1])
                r->bounds[r->nbounds++] = between;
        }
        if (!any || value > r->bounds[r->nbounds - 1])
            r->bounds[r->nbounds++] = value;
        any = true;
        before = value;
    }
    return 0;
}

/* ---- opening ---- */

/* Order must come from the index: a range is too small for the planner to see the whole. */
static const char settings[] = "SET LOCAL enable_sort TO off";

static int
join_snapshot(struct lane *lane, const struct pg_options *options, const char *sync,
              const char *snapshot, const atomic_bool *cancelled, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT(BUF_NO_MAX);
    lane->link = &lane->own;
    lane->open = true;
    int rc = pg_connect(&lane->own, options, sync, cancelled, err);
    if (rc)
        return rc;
    pg_add_text(&lane->own, &text, snapshot);
    rc = text.failed ? error_no_memory(err) : pg_run(&lane->own, err, "%s", pg_begin_reading);
    rc = rc ? rc : pg_run(&lane->own, err, "SET TRANSACTION SNAPSHOT %s", buf_z(&text));
    rc = rc ? rc : pg_run(&lane->own, err, "%s", settings);
    pg_opened(&lane->own);
    return rc;
}

/* Where there are none to be had the transaction is over, and another one does as well: nothing
 * has been read yet. (A savepoint is of no use: there snapshots cannot be exported.) */
static int
export_snapshot(struct pg_link *link, struct buf *out, struct error *err)
{
    if (pg_ask(link, "SELECT pg_catalog.pg_export_snapshot()", 0, NULL, out, err) == 0)
        return 0;
    if (!pg_alive(link))
        return -err->errnum;
    error_clear(err);
    buf_clear(out);
    int rc = pg_run(link, err, "ROLLBACK");
    return rc ? rc : pg_run(link, err, "%s", pg_begin_reading);
}

static int
open_lanes(struct pg_ranges *r, struct pg_link *link, const struct pg_options *options,
           const char *sync, struct error *err)
{
    AUTO_BUF struct buf snapshot = BUF_INIT(BUF_NO_MAX);
    int rc = export_snapshot(link, &snapshot, err);
    if (rc || !snapshot.n)
        return rc;
    rc = pg_run(link, err, "%s", settings);
    r->nlanes = 1;
    for (int64_t i = 1; !rc && i < options->readers; i++)
        rc = join_snapshot(&r->lanes[r->nlanes++], options, sync, buf_z(&snapshot),
                           &link->cancelled, err);
    return rc;
}

int
pg_ranges_open(struct pg_link *link, const struct pg_options *options, const char *sync,
               const char *table, const char *key, int64_t rows, struct pg_ranges **ret,
               struct error *err)
{
    *ret = NULL;
    if (options->readers < 2 || rows < ROWS_WORTH)
        return 0;
    AUTO_BUF struct buf values = BUF_INIT(BUF_NO_MAX);
    int rc = ask_bounds(link, table, key, &values, err);
    if (rc || !values.n)
        return rc;
    struct pg_ranges *r = calloc(1, sizeof *r);
    if (!r)
        return error_no_memory(err);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    for (size_t i = 0; i < PG_READERS_MAX; i++) {
        r->lanes[i].of = r;
        r->lanes[i].number = i;
        r->lanes[i].last = &r->lanes[i].first;
    }
    r->lanes[0].link = link;
    pg_add_name(link, &r->key, key);
    int64_t ranges = rows / ROWS_A_RANGE < RANGES_MAX ? rows / ROWS_A_RANGE : RANGES_MAX;
    rc = r->key.failed ? error_no_memory(err) : cut(r, buf_z(&values), (size_t)ranges, err);
    if (!rc)
        rc = open_lanes(r, link, options, sync, err);
    if (rc || r->nlanes < 2)
        pg_ranges_close(r);
    else
        *ret = r;
    return rc;
}

static void
free_chunks(struct chunk *c)
{
    while (c) {
        struct chunk *next = c->next;
        free(c);
        c = next;
    }
}

struct pg_ranges *
pg_ranges_close(struct pg_ranges *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < PG_READERS_MAX; i++) {
        struct lane *lane = &r->lanes[i];
        if (lane->open)
            pg_disconnect(&lane->own);
        free(lane->filling);
        free_chunks(lane->first);
    }
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    buf_done(&r->key);
    free(r->bounds);
    free(r);
    return NULL;
}

void
pg_ranges_cancel(struct pg_ranges *r)
{
    for (size_t i = 1; i < r->nlanes; i++)
        pg_cancel(&r->lanes[i].own);
}

/* ---- a lane: reads its ranges into chunks ---- */

/* Hands over what is filled, waiting while it is too far ahead; false when nobody wants more.
 */
static bool
give(struct lane *lane)
{
    struct pg_ranges *r = lane->of;
    struct chunk *c = TAKE(lane->filling);
    pthread_mutex_lock(&r->lock);
    while (!r->stop && lane->ahead > AHEAD_MAX)
        pthread_cond_wait(&r->wake, &r->lock);
    bool wanted = !r->stop;
    if (wanted) {
        *lane->last = c;
        lane->last = &c->next;
        lane->ahead += c->n;
        pthread_cond_broadcast(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
    if (!wanted)
        free(c);
    return wanted;
}

static int
make_chunk(struct lane *lane, size_t room, struct error *err)
{
    lane->room = room > CHUNK_BYTES ? room : CHUNK_BYTES;
    lane->filling = malloc(sizeof *lane->filling + lane->room);
    if (!lane->filling)
        return error_no_memory(err);
    *lane->filling = (struct chunk){0};
    return 0;
}

static int
stopped(struct error *err)
{
    return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
}

/* pg_line_fn */
static int
add_tuple(void *arg, char *tuple, size_t n, struct error *err)
{
    struct lane *lane = arg;
    size_t need = sizeof n + n;
    if (lane->filling && lane->room - lane->filling->n < need && !give(lane))
        return stopped(err);
    int rc = lane->filling ? 0 : make_chunk(lane, need, err);
    if (rc)
        return rc;
    char *to = lane->filling->data + lane->filling->n;
    memcpy(to, &n, sizeof n);
    memcpy(to + sizeof n, tuple, n);
    lane->filling->n += need;
    return 0;
}

static int
read_range(struct lane *lane, size_t i, struct error *err)
{
    struct pg_ranges *r = lane->of;
    const char *key = buf_z(&r->key);
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_addf(&sql, "COPY (%s WHERE ", r->select);
    if (i > r->nbounds)
        buf_addf(&sql, "%s IS NULL", key); /* they come last */
    else if (i == 0)
        buf_addf(&sql, "%s < %lld", key, (long long)r->bounds[0]);
    else
        buf_addf(&sql, "%s >= %lld", key, (long long)r->bounds[i - 1]);
    if (i > 0 && i < r->nbounds)
        buf_addf(&sql, " AND %s < %lld", key, (long long)r->bounds[i]);
    buf_addf(&sql, " ORDER BY %s) TO STDOUT (FORMAT binary)", key);
    if (sql.failed)
        return error_no_memory(err);
    int rc = pg_copy_out_binary(lane->link, buf_z(&sql), add_tuple, lane, err);
    if (!rc && !lane->filling)
        rc = make_chunk(lane, 0, err);
    if (rc)
        return rc;
    lane->filling->ended = true;
    return give(lane) ? 0 : stopped(err);
}

static void *
read_lane(void *arg)
{
    struct lane *lane = arg;
    struct pg_ranges *r = lane->of;
    struct error err = ERROR_INIT;
    int rc = 0;
    for (size_t i = lane->number; !rc && i <= r->nbounds + 1; i += r->nlanes)
        rc = read_range(lane, i, &err);
    if (!rc)
        rc = pg_run(lane->link, &err, "COMMIT");
    pthread_mutex_lock(&r->lock);
    lane->over = true;
    lane->result = rc;
    lane->error = err;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- handing over ---- */

/* The lane's next chunk, the caller's to free; NULL when its thread failed before. */
static struct chunk *
take(struct lane *lane)
{
    struct pg_ranges *r = lane->of;
    pthread_mutex_lock(&r->lock);
    while (!lane->first && !lane->over)
        pthread_cond_wait(&r->wake, &r->lock);
    struct chunk *c = lane->first;
    if (c) {
        lane->first = c->next;
        if (!lane->first)
            lane->last = &lane->first;
        lane->ahead -= c->n;
        pthread_cond_broadcast(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
    return c;
}

static int
hand_over(struct chunk *c, pg_line_fn tuple, void *arg, struct error *err)
{
    int rc = 0;
    for (size_t at = 0, n; !rc && at < c->n; at += sizeof n + n) {
        memcpy(&n, c->data + at, sizeof n);
        rc = tuple(arg, c->data + at + sizeof n, n, err);
    }
    return rc;
}

static int
follow(struct pg_ranges *r, pg_line_fn tuple, void *arg, struct error *err)
{
    for (size_t i = 0; i <= r->nbounds + 1; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): pg_ranges_open makes two at least */
        struct lane *lane = &r->lanes[i % r->nlanes];
        for (bool ended = false; !ended;) {
            AUTO_FREE struct chunk *c = take(lane);
            if (!c) {
                *err = lane->error;
                return lane->result;
            }
            ended = c->ended;
            int rc = hand_over(c, tuple, arg, err);
            if (rc)
                return rc;
        }
    }
    return 0;
}

/* Ends the threads, those that still read by force. */
static void
end_lanes(struct pg_ranges *r, bool by_force)
{
    pthread_mutex_lock(&r->lock);
    r->stop = by_force;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->nlanes; i++) {
        if (r->lanes[i].started && by_force)
            pg_cancel(r->lanes[i].link);
    }
    for (size_t i = 0; i < r->nlanes; i++) {
        if (r->lanes[i].started)
            pthread_join(r->lanes[i].thread, NULL);
        r->lanes[i].started = false;
    }
}

int
pg_ranges_read(struct pg_ranges *r, const char *select, pg_line_fn tuple, void *arg,
               struct error *err)
{
    int rc = 0;
    r->select = select;
    for (size_t i = 0; !rc && i < r->nlanes; i++) {
        rc = pthread_create(&r->lanes[i].thread, NULL, read_lane, &r->lanes[i]);
        r->lanes[i].started = rc == 0;
        if (rc)
            rc = error_set_errno(err, ERR_INTERNAL, rc, "cannot start a thread");
    }
    if (!rc)
        rc = follow(r, tuple, arg, err);
    end_lanes(r, rc != 0);
    for (size_t i = 0; !rc && i < r->nlanes; i++) { /* the ends of the transactions */
        rc = r->lanes[i].result;
        if (rc)
            *err = r->lanes[i].error;
    }
    return rc;
}
