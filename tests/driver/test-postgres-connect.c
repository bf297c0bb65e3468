/*
 * PostgreSQL connections: where they lead, and that a server which does not answer holds nobody
 * up. The stuck server is a proxy that carries the first connection and lets all others hang.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "postgres-server.h"

/* ---- where a connection leads ---- */

static const char *
place(const void *options)
{
    static char text[1024];
    AUTO_BUF struct buf out = BUF_INIT(sizeof text - 1);
    struct error err = ERROR_INIT;
    CHECK(driver_postgres.place(options, &out, &err) == 0);
    snprintf(text, sizeof text, "%s", buf_z(&out));
    return text;
}

static void *
options(const char *dsn, const char *host, const char *dbname, const char *port)
{
    return drive_options(driver_postgres.options, driver_postgres.options_size, &arena, "dsn",
                         dsn, "host", host, "dbname", dbname, "port", port, NULL);
}

static void
test_place(void)
{
    const char *given_host = getenv("PGHOST"), *given_port = getenv("PGPORT");
    char *host = strdup(given_host ? given_host : ""),
         *port = strdup(given_port ? given_port : "");
    setenv("PGHOST", "envhost", 1);
    setenv("PGPORT", "7777", 1);
    unsetenv("PGDATABASE");
    CHECK_TEXT(place(options("", "db1", "shop", "6543")), "db1:6543/shop");
    CHECK_TEXT(place(options("", "", "shop", "0")), "envhost:7777/shop");
    CHECK_TEXT(place(options("host=db2 dbname=crm port=1", "", "", "0")), "db2:1/crm");
    CHECK_TEXT(place(options("postgresql://me@db2:1/crm?sslmode=require", "", "", "0")),
               "db2:1/crm");
    CHECK_TEXT(place(options("host=db2 dbname=crm", "db3", "", "9")), "db3:9/crm");
    CHECK_TEXT(place(options("host=db2 hostaddr=10.0.0.1 dbname=crm port=1", "", "", "0")),
               "db2[10.0.0.1]:1/crm");
    /* the role is no part of it, unless the database is called like it */
    CHECK_TEXT(place(options("host=db2 user=eva", "", "", "0")), "db2:7777/eva");
    CHECK_TEXT(place(options("host=h user=eva", "", "shop", "0")), "h:7777/shop");
    CHECK_TEXT(place(options("host=h dbname=d options='-c search_path=x'", "", "", "0")),
               "h:7777/d -c search_path=x");
    setenv("PGHOST", host, 1);
    setenv("PGPORT", port, 1);
    free(host);
    free(port);
}

static bool
ends_in_time(pthread_t thread)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

/* On a free port of this machine. */
static int
listen_somewhere(char port[8])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, 8) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    snprintf(port, 8, "%d", ntohs(at.sin_port));
    return fd;
}

/* ---- a server that accepts, and says nothing ---- */

struct opening {
    void *connection;
    bool destination;
    atomic_bool cancelled;
    int rc;
    struct error err;
};

static void *
open_end(void *arg)
{
    struct opening *o = arg;
    void *handle = NULL;
    struct model model = {.sync = "silent", .table = "t", .cancelled = &o->cancelled};
    struct target target = {
        .sync = "silent", .sync_uid = "u", .object = "t", .cancelled = &o->cancelled};
    o->rc = o->destination
                ? driver_postgres.dest_open(o->connection, &target, &handle, &o->err)
                : driver_postgres.source_open(o->connection, &model, &handle, &o->err);
    return NULL;
}

/* Without the cancel it would wait for an hour. */
static void
test_silent_server(void)
{
    char port[8];
    int listener = listen_somewhere(port);
    void *silent =
        drive_options(driver_postgres.options, driver_postgres.options_size, &arena, "dsn",
                      "gssencmode=disable sslmode=disable", "host", "127.0.0.1", "dbname",
                      "postgres", "port", port, "connect_timeout", "3600", NULL);
    for (int i = 0; i < 2; i++) {
        struct opening o = {.connection = silent, .destination = i == 1, .err = ERROR_INIT};
        pthread_t opener;
        pthread_create(&opener, NULL, open_end, &o);
        int accepted = accept(listener, NULL, NULL);
        atomic_store(&o.cancelled, true);
        if (!CHECK_MSG(ends_in_time(opener), "opening ends"))
            exit(1);
        CHECK(o.rc == -ECANCELED && o.err.kind == ERR_CANCELLED);
        close(accepted);
    }
    close(listener);
}

/* ---- a server that is stuck ---- */

struct proxy {
    int listener, client, server;
    pthread_t thread;
    char port[8];
};

static int
connect_to_server(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%.80s/.s.PGSQL.%.8s", getenv("PGHOST"),
             getenv("PGPORT"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        perror(to.sun_path);
    return fd;
}

static bool
carry(int from, int to)
{
    char bytes[4096];
    ssize_t n = read(from, bytes, sizeof bytes);
    return n > 0 && write(to, bytes, (size_t)n) == n;
}

static void *
run_proxy(void *arg)
{
    struct proxy *p = arg;
    p->client = accept(p->listener, NULL, NULL);
    struct pollfd fds[] = {{.fd = p->client, .events = POLLIN},
                           {.fd = p->server, .events = POLLIN}};
    bool open = true;
    while (open && poll(fds, 2, -1) > 0) {
        if (fds[0].revents)
            open = carry(p->client, p->server);
        if (open && fds[1].revents)
            open = carry(p->server, p->client);
    }
    close(p->client);
    close(p->server);
    return NULL;
}

static void
start_proxy(struct proxy *p)
{
    p->listener = listen_somewhere(p->port);
    p->server = connect_to_server();
    pthread_create(&p->thread, NULL, run_proxy, p);
}

struct reading {
    void *handle;
    int rc;
    struct error err;
};

static int
ignore_row(void *arg, const struct value *values, struct error *err)
{
    return 0;
}

static void *
read_all(void *arg)
{
    struct reading *r = arg;
    r->rc = driver_postgres.source_read(r->handle, ignore_row, NULL, &r->err);
    return NULL;
}

static void *
cancel_reading(void *arg)
{
    struct reading *r = arg;
    driver_postgres.source_cancel(r->handle);
    return NULL;
}

static void
test_stuck_server(void)
{
    struct proxy proxy;
    struct reading r = {.err = ERROR_INIT};
    start_proxy(&proxy);
    void *through =
        options("gssencmode=disable sslmode=disable", "127.0.0.1", "postgres", proxy.port);
    struct model model = {.sync = "stuck", .query = "SELECT pg_sleep(1000)::text AS x"};
    struct schema schema;
    struct source_plan plan;
    const char *columns[] = {"x"};
    struct projection projection = {.columns = columns, .n = 1};
    if (driver_postgres.source_open(through, &model, &r.handle, &r.err) ||
        driver_postgres.source_describe(r.handle, &schema, &r.err) ||
        driver_postgres.source_plan(r.handle, &projection, false, &plan, &r.err)) {
        printf("Bail out! %s\n", r.err.text);
        exit(1);
    }
    pthread_t reader, canceller;
    pthread_create(&reader, NULL, read_all, &r);
    CHECK(wait_until("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                     " AND application_name = 'retlfs/stuck'",
                     "1\n"));
    pthread_create(&canceller, NULL, cancel_reading, &r);
    CHECK_MSG(ends_in_time(reader), "the reader stops");
    if (!CHECK_MSG(ends_in_time(canceller), "and so does who asked the server"))
        exit(1);
    CHECK(r.rc == -ECANCELED);
    driver_postgres.source_close(r.handle);
    pthread_join(proxy.thread, NULL);
    close(proxy.listener); /* lets go who still hangs there */
}

/* ---- a network that answers with what libpq does not take for the end of a connection ---- */

static atomic_int unreadable; /* the errno of all reading from sockets; 0: none */

static ssize_t
perhaps_recv(int fd, void *p, size_t n, int flags)
{
    ssize_t (*real)(int, void *, size_t, int);
    *(void **)&real = dlsym(RTLD_NEXT, "recv");
    errno = atomic_load(&unreadable);
    return errno ? -1 : real(fd, p, n, flags);
}

/* libpq's own calls come here: a program's functions go before a library's. */
ssize_t recv(int, void *, size_t, int) __attribute__((alias("perhaps_recv")));

static void
test_unreadable(void)
{
    struct model model = {.sync = "unreadable", .query = "SELECT 1 AS x"};
    struct error err = ERROR_INIT;
    struct schema schema;
    void *handle = NULL;
    CHECK(driver_postgres.source_open(connection, &model, &handle, &err) == 0);
    atomic_store(&unreadable, EPROTO);
    CHECK(driver_postgres.source_describe(handle, &schema, &err) < 0);
    atomic_store(&unreadable, 0);
    CHECK(err.kind == ERR_UNREACHABLE && strstr(err.text, "Protocol error"));
    driver_postgres.source_close(handle);
}

int
main(void)
{
    open_server();
    test_place();
    test_unreadable();
    test_silent_server();
    test_stuck_server();
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'retlfs/stuck'");
    close_server();
    return tap_done();
}
