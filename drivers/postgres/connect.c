/* Connections, statements and COPY: see connect.h. */
#include "postgres/connect.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/reach.h"
#include "postgres/fail.h"
#include "postgres/local.h"
#include "postgres/ranges.h"

#define OPTION(member) offsetof(struct pg_options, member)

const struct option pg_option_table[] = {
    {"dsn", OPT_STRING, 0, OPTION(dsn), NULL, NULL,
     "connection string or URI as libpq has it, without a password"},
    {"host", OPT_STRING, 0, OPTION(host), NULL, NULL, "host name or socket directory"},
    {"port", OPT_INT, 0, OPTION(port), "0", NULL, "port; 0 leaves it to libpq (5432)"},
    {"dbname", OPT_STRING, 0, OPTION(dbname), NULL, NULL, "name of the database"},
    {"user", OPT_STRING, 0, OPTION(user), NULL, NULL, "name of the role"},
    {"sslmode", OPT_ENUM, 0, OPTION(sslmode), NULL,
     "disable|allow|prefer|require|verify-ca|verify-full", "how much TLS is asked for"},
    {"password", OPT_SECRET, 0, OPTION(password), NULL, NULL, "password of the role"},
    {"connect_timeout", OPT_INT, 0, OPTION(connect_timeout), "10", NULL,
     "seconds to wait for a connection"},
    {"readers", OPT_INT, 0, OPTION(readers), "1", NULL,
     "connections that read one large table side by side, on one snapshot"},
    {0},
};

/* Results that hold one canonical form, whatever the role's or the database's settings are. A
 * session of ours is idle while the other side works, which is no reason to end it. */
static const char session_sql[] = "SET datestyle TO 'ISO, YMD';"
                                  "SET intervalstyle TO 'postgres';"
                                  "SET timezone TO 'UTC';"
                                  "SET bytea_output TO 'hex';"
                                  "SET standard_conforming_strings TO on;"
                                  "SET idle_in_transaction_session_timeout TO 0;";

static bool
given(const char *text)
{
    return text && *text;
}

int
pg_parse_dsn(const char *dsn, PQconninfoOption **ret, struct error *err)
{
    /* libpq's own words may repeat the text, and with it a password. */
    char *words = NULL;
    *ret = PQconninfoParse(dsn, &words);
    bool starved = !words || strstr(words, "out of memory");
    PQfreemem(words);
    if (*ret)
        return 0;
    if (starved)
        return error_no_memory(err);
    return error_set(err, ERR_CONFIG, EINVAL,
                     "\"dsn\" is no connection string or URI that libpq understands");
}

int
pg_check(const void *connection, struct error *err)
{
    const struct pg_options *o = connection;
    if (o->port < 0 || o->port > 65535)
        return error_set(err, ERR_CONFIG, EINVAL, "\"port\" is not between 1 and 65535");
    if (o->connect_timeout < 1 || o->connect_timeout > 3600)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "\"connect_timeout\" is not between 1 and 3600");
    if (o->readers < 1 || o->readers > PG_READERS_MAX)
        return error_set(err, ERR_CONFIG, EINVAL, "\"readers\" is not between 1 and %d",
                         PG_READERS_MAX);
    if (!given(o->dsn))
        return pg_local_check(o, NULL, err);
    PQconninfoOption *parts;
    int rc = pg_parse_dsn(o->dsn, &parts, err);
    if (rc)
        return rc;
    const char *secret = NULL;
    for (PQconninfoOption *p = parts; p->keyword; p++)
        if (given(p->val) && p->dispchar[0] == '*')
            secret = p->keyword;
    if (secret)
        rc =
            error_set(err, ERR_CONFIG, EINVAL,
                      "a password in plain text is refused: take \"%s\" out of \"dsn\" and set "
                      "\"password\" to {\"env\": …}, {\"file\": …} or {\"command\": …}",
                      secret);
    else
        rc = pg_local_check(o, parts, err);
    PQconninfoFree(parts);
    return rc;
}

/* ---- waiting ---- */

static int
cancelled(struct error *err)
{
    return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
}

static bool
is_cancelled(const struct pg_link *link)
{
    return atomic_load(&link->cancelled) || (link->opening && atomic_load(link->opening));
}

/* Until the socket is ready for `events`, cancelled, or the (monotonic) deadline; 0: no limit.
 */
static int
wait_for(struct pg_link *link, short events, usec_t deadline, struct error *err)
{
    enum { LISTEN_MS = 100 }; /* while nobody can wake us */
    struct pollfd fds[] = {
        {.fd = PQsocket(link->conn), .events = events},
        {.fd = link->wake, .events = POLLIN},
    };
    if (fds[0].fd < 0)
        return pg_fail(link, NULL, err);
    for (;;) {
        int timeout = -1;
        if (deadline) {
            usec_t left = deadline - clock_monotonic();
            if (left <= 0)
                return error_set(err, ERR_UNREACHABLE, ETIMEDOUT,
                                 "no answer from the server in time");
            timeout = (int)(left / 1000) + 1;
        }
        if (link->opening && (timeout < 0 || timeout > LISTEN_MS))
            timeout = LISTEN_MS;
        int n = poll(fds, 2, timeout);
        if (n < 0 && errno != EINTR)
            return error_set_errno(err, ERR_INTERNAL, errno, "cannot wait for the server");
        if (is_cancelled(link))
            return cancelled(err);
        if (n > 0)
            return 0;
    }
}

/* Sends all that libpq holds back, reading meanwhile what the server may have to say first. */
static int
flush(struct pg_link *link, struct error *err)
{
    int more;
    while ((more = PQflush(link->conn)) > 0) {
        int rc = wait_for(link, POLLIN | POLLOUT, 0, err);
        if (rc)
            return rc;
        if (!PQconsumeInput(link->conn))
            return pg_fail(link, NULL, err);
    }
    return more < 0 ? pg_fail(link, NULL, err) : 0;
}

/* In the middle of a message there is no way on, and none back. */
static int
starved(struct pg_link *link, struct error *err)
{
    pg_cancel(link);
    return error_no_memory(err);
}

/* Takes in what has come. A lost connection is no error here: what came before it is still to
 * be asked for, the server's last words perhaps. One that libpq cannot read from but does not
 * call lost is: libpq would ask it for those words and wait. */
static int
take_in(struct pg_link *link, bool *lost, struct error *err)
{
    *lost = !PQconsumeInput(link->conn);
    if (!*lost || PQstatus(link->conn) != CONNECTION_OK)
        return 0;
    if (strstr(PQerrorMessage(link->conn), "memory"))
        return starved(link, err);
    pg_fail(link, NULL, err);
    err->kind = ERR_UNREACHABLE;
    pg_cancel(link);
    return -err->errnum;
}

/*
 * Until libpq has a whole result. A message that it has no memory for is to libpq one whose end
 * has not come (the start of a COPY is), and waiting for that end would be waiting for ever;
 * nothing but malloc's errno tells the two apart.
 */
static int
next_result(struct pg_link *link, PGresult **ret, struct error *err)
{
    int rc = flush(link, err);
    for (bool lost = false; !rc && !lost;) {
        errno = 0;
        if (!PQisBusy(link->conn))
            break;
        if (errno == ENOMEM)
            return starved(link, err);
        rc = wait_for(link, POLLIN, 0, err);
        if (!rc)
            rc = take_in(link, &lost, err);
    }
    if (rc)
        return rc;
    *ret = PQgetResult(link->conn);
    return 0;
}

static bool
is_copy(const PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT;
}

/* The outcome of what was sent: the first error, or else the last result. */
static int
collect(struct pg_link *link, PGresult **ret, struct error *err)
{
    AUTO_RESULT PGresult *kept = NULL;
    bool failed = false;
    for (;;) {
        PGresult *res = NULL;
        int rc = next_result(link, &res, err);
        if (rc && !failed)
            return rc;
        if (rc || !res)
            break;
        if (failed) {
            PQclear(res);
            continue;
        }
        PQclear(kept);
        kept = res;
        if (is_copy(res))
            break;
        ExecStatusType status = PQresultStatus(res);
        failed = status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
    }
    /* Not even an error: that is how libpq gives up the start of a COPY. */
    if (!failed && !kept)
        return starved(link, err);
    if (failed)
        return pg_fail(link, kept, err);
    if (ret)
        *ret = TAKE(kept);
    return 0;
}

static int
usable(struct pg_link *link, struct error *err)
{
    if (atomic_load(&link->cancelled))
        return cancelled(err);
    if (!pg_alive(link))
        return error_set(err, ERR_UNREACHABLE, ENOTCONN, "the connection was lost");
    link->sqlstate[0] = '\0';
    return 0;
}

bool
pg_alive(const struct pg_link *link)
{
    return link->conn && PQstatus(link->conn) == CONNECTION_OK &&
           !atomic_load(&link->cancelled);
}

/* ---- opening and closing ---- */

static void
drop_notice(void *arg, const char *message)
{
}

static PGconn *
start(const struct pg_options *o, const char *sync)
{
    char port[16], name[64];
    snprintf(port, sizeof port, "%d", (int)o->port);
    snprintf(name, sizeof name, "retlfs/%s", sync);
    const char *keys[20], *values[20];
    size_t n = 0;
#define SET(key, value) (keys[n] = (key), values[n++] = (value))
    /* What comes later wins: a dsn may choose other keepalives, not another encoding. */
    SET("keepalives_idle", "60");
    SET("keepalives_interval", "10");
    SET("keepalives_count", "3");
    SET("tcp_user_timeout", "60000");
    for (size_t i = 0; reach_is_limited() && i < PG_LOCAL_DEFAULTS; i++)
        SET(pg_local_defaults[i][0], pg_local_defaults[i][1]);
    if (given(o->dsn))
        SET("dbname", o->dsn);
    if (given(o->host))
        SET("host", o->host);
    if (o->port)
        SET("port", port);
    if (given(o->dbname))
        SET("dbname", o->dbname);
    if (given(o->user))
        SET("user", o->user);
    if (given(o->sslmode))
        SET("sslmode", o->sslmode);
    if (given(o->password))
        SET("password", o->password);
    SET("application_name", name);
    SET("client_encoding", "UTF8");
#undef SET
    keys[n] = values[n] = NULL;
    return PQconnectStartParams(keys, values, given(o->dsn));
}

static int
shake_hands(struct pg_link *link, const struct pg_options *o, struct error *err)
{
    usec_t deadline = clock_monotonic() + o->connect_timeout * 1000000;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    if (PQstatus(link->conn) == CONNECTION_BAD)
        return pg_fail_connect(link, err);
    /* Only the verbose form tells the SQLSTATE while connecting. */
    PQsetErrorVerbosity(link->conn, PQERRORS_VERBOSE);
    while (status != PGRES_POLLING_OK) {
        int rc =
            wait_for(link, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline, err);
        if (rc)
            return rc;
        status = PQconnectPoll(link->conn);
        if (status == PGRES_POLLING_FAILED)
            return pg_fail_connect(link, err);
    }
    PQsetErrorVerbosity(link->conn, PQERRORS_DEFAULT);
    return 0;
}

static int
set_up_session(struct pg_link *link, struct error *err)
{
    link->version = PQserverVersion(link->conn);
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    buf_adds(&sql, session_sql);
    /* From 12 on, 1 is the shortest exact text; before, only 3 is exact. */
    buf_addf(&sql, "SET extra_float_digits TO %d", link->version >= 120000 ? 1 : 3);
    if (sql.failed)
        return error_no_memory(err);
    if (!PQsendQuery(link->conn, buf_z(&sql)))
        return pg_fail(link, NULL, err);
    return collect(link, NULL, err);
}

int
pg_connect(struct pg_link *link, const struct pg_options *options, const char *sync,
           const atomic_bool *asked, struct error *err)
{
    *link = (struct pg_link){.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .opening = asked};
    pthread_mutex_init(&link->lock, NULL);
    if (link->wake < 0)
        return error_set_errno(err, ERR_INTERNAL, errno, "cannot make an event descriptor");
    link->conn = start(options, sync);
    if (!link->conn)
        return error_no_memory(err);
    PQsetNoticeProcessor(link->conn, drop_notice, NULL);
    int rc = shake_hands(link, options, err);
    if (rc)
        return rc;
    if (PQsetnonblocking(link->conn, 1))
        return pg_fail(link, NULL, err);
    link->canceller = PQgetCancel(link->conn);
    return set_up_session(link, err);
}

void
pg_opened(struct pg_link *link)
{
    link->opening = NULL;
}

void
pg_disconnect(struct pg_link *link)
{
    pthread_mutex_lock(&link->lock);
    PQfreeCancel(link->canceller);
    link->canceller = NULL;
    pthread_mutex_unlock(&link->lock);
    PQfinish(link->conn);
    link->conn = NULL;
    if (link->wake >= 0)
        close(link->wake);
    link->wake = -1;
    pthread_mutex_destroy(&link->lock);
}

void
pg_cancel(struct pg_link *link)
{
    /* Our side first, since the server may be out of reach. */
    atomic_store(&link->cancelled, true);
    eventfd_write(link->wake, 1);
    pthread_mutex_lock(&link->lock);
    PGcancel *canceller = TAKE(link->canceller);
    pthread_mutex_unlock(&link->lock);
    pg_ask_to_stop(canceller);
}

/* ---- statements ---- */

int
pg_exec(struct pg_link *link, const char *sql, int nparams, const char *const *params,
        PGresult **ret, struct error *err)
{
    int rc = usable(link, err);
    if (rc)
        return rc;
    /* The extended protocol takes one statement only: no text can smuggle in a second. */
    if (!PQsendQueryParams(link->conn, sql, nparams, NULL, params, NULL, NULL, 0))
        return pg_fail(link, NULL, err);
    return collect(link, ret, err);
}

int
pg_run(struct pg_link *link, struct error *err, const char *format, ...)
{
    AUTO_BUF struct buf sql = BUF_INIT(BUF_NO_MAX);
    va_list ap;
    va_start(ap, format);
    buf_vaddf(&sql, format, ap);
    va_end(ap);
    if (sql.failed)
        return error_no_memory(err);
    return pg_exec(link, buf_z(&sql), 0, NULL, NULL, err);
}

int
pg_ask(struct pg_link *link, const char *sql, int nparams, const char *const *params,
       struct buf *out, struct error *err)
{
    AUTO_RESULT PGresult *res = NULL;
    int rc = pg_exec(link, sql, nparams, params, &res, err);
    if (rc)
        return rc;
    if (PQntuples(res) > 0 && !PQgetisnull(res, 0, 0))
        buf_add(out, PQgetvalue(res, 0, 0), (size_t)PQgetlength(res, 0, 0));
    return out->failed ? error_no_memory(err) : 0;
}

int
pg_describe(struct pg_link *link, const char *sql, PGresult **ret, struct error *err)
{
    int rc = usable(link, err);
    if (rc)
        return rc;
    if (!PQsendPrepare(link->conn, "", sql, 0, NULL))
        return pg_fail(link, NULL, err);
    rc = collect(link, NULL, err);
    if (rc)
        return rc;
    if (!PQsendDescribePrepared(link->conn, ""))
        return pg_fail(link, NULL, err);
    AUTO_RESULT PGresult *res = NULL;
    rc = collect(link, &res, err);
    if (rc)
        return rc;
    if (PQnparams(res) > 0)
        return error_set(err, ERR_CONFIG, EINVAL, "parameters such as $1 have no value here");
    *ret = TAKE(res);
    return 0;
}

/* ---- COPY ---- */

static void
free_line(char **line)
{
    PQfreemem(*line);
}

/*
 * The server sends 8 KiB at a time, and to wake whoever sleeps for the next ones each time
 * costs it more than the sending. A short rest lets rows gather in the socket, and the copy
 * ends sooner.
 */
static int
wait_for_rows(struct pg_link *link, struct error *err)
{
    static const struct timespec rest = {.tv_nsec = 250000};
    struct pollfd rows = {.fd = PQsocket(link->conn), .events = POLLIN};
    struct pollfd stop = {.fd = link->wake, .events = POLLIN};
    if (poll(&rows, 1, 0) == 0)
        ppoll(&stop, 1, &rest, NULL);
    return wait_for(link, POLLIN, 0, err);
}

static int
copy_messages(struct pg_link *link, pg_line_fn message, void *arg, struct error *err)
{
    bool lost = false;
    for (;;) {
        __attribute__((cleanup(free_line))) char *text = NULL;
        errno = 0;
        int n = PQgetCopyData(link->conn, &text, 1);
        int rc = 0;
        if (n == -1)
            return 0;
        if (n == -2)
            return pg_fail(link, NULL, err);
        if (n > 0)
            rc = message(arg, text, (size_t)n, err);
        else if (errno == ENOMEM)
            rc = starved(link, err);
        else if (lost)
            rc = pg_fail(link, NULL, err);
        else if (!(rc = wait_for_rows(link, err)))
            rc = take_in(link, &lost, err);
        if (rc)
            return rc;
    }
}

int
pg_copy_messages(struct pg_link *link, const char *sql, pg_line_fn message, void *arg,
                 struct error *err)
{
    int rc = pg_exec(link, sql, 0, NULL, NULL, err);
    if (rc)
        return rc;
    rc = copy_messages(link, message, arg, err);
    if (rc) {
        /* Rows are still on their way; leaving the server to send them all would take as long
         * as the model is big. */
        pg_cancel(link);
        return rc;
    }
    return collect(link, NULL, err);
}

struct lines {
    pg_line_fn line;
    void *arg;
};

/* pg_line_fn */
static int
take_line(void *arg, char *text, size_t n, struct error *err)
{
    struct lines *to = arg;
    return to->line(to->arg, text, n - (text[n - 1] == '\n'), err);
}

int
pg_copy_out(struct pg_link *link, const char *sql, pg_line_fn line, void *arg,
            struct error *err)
{
    struct lines to = {.line = line, .arg = arg};
    return pg_copy_messages(link, sql, take_line, &to, err);
}

int
pg_copy_begin(struct pg_link *link, const char *sql, struct error *err)
{
    return pg_exec(link, sql, 0, NULL, NULL, err);
}

int
pg_copy_put(struct pg_link *link, struct str data, struct error *err)
{
    enum { CHUNK = 1 << 20 };
    int rc = atomic_load(&link->cancelled) ? cancelled(err) : 0;
    for (size_t at = 0; !rc && at < data.n;) {
        size_t n = data.n - at < CHUNK ? data.n - at : CHUNK;
        if (PQputCopyData(link->conn, data.p + at, (int)n) < 0)
            return pg_fail(link, NULL, err);
        at += n;
        rc = flush(link, err);
    }
    return rc;
}

int
pg_copy_end(struct pg_link *link, bool abandon, struct error *err)
{
    link->sqlstate[0] = '\0';
    if (PQputCopyEnd(link->conn, abandon ? "abandoned" : NULL) < 0)
        return pg_fail(link, NULL, err);
    int rc = collect(link, NULL, err);
    if (rc && abandon && pg_alive(link)) {
        error_clear(err);
        return 0;
    }
    return rc;
}

/* ---- texts in SQL ---- */

static void
add_escaped(struct buf *sql, char *escaped)
{
    if (escaped)
        buf_adds(sql, escaped);
    else
        sql->failed = true;
    PQfreemem(escaped);
}

void
pg_add_name(struct pg_link *link, struct buf *sql, const char *name)
{
    add_escaped(sql, PQescapeIdentifier(link->conn, name, strlen(name)));
}

void
pg_add_text(struct pg_link *link, struct buf *sql, const char *text)
{
    add_escaped(sql, PQescapeLiteral(link->conn, text, strlen(text)));
}
