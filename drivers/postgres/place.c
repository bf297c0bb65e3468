/*
 * Where a connection leads: "db1:5432/shop", with all that libpq would take from elsewhere
 * (PGHOST and the like), since that decides it too. Neither the role nor how it is let in
 * belongs to it: roles and passwords are changed often, by machines, and move no table.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "postgres/connect.h"

enum part { HOST, HOSTADDR, PORT, DBNAME, USER, SERVICE, SETTINGS, PARTS };

static const struct {
    const char *keyword, *variable;
} names[PARTS] = {
    [HOST] = {"host", "PGHOST"},           [HOSTADDR] = {"hostaddr", "PGHOSTADDR"},
    [PORT] = {"port", "PGPORT"},           [DBNAME] = {"dbname", "PGDATABASE"},
    [USER] = {"user", "PGUSER"},           [SERVICE] = {"service", "PGSERVICE"},
    [SETTINGS] = {"options", "PGOPTIONS"},
};

static void
take(const char **part, const char *text)
{
    if (text && *text)
        *part = text;
}

/* Lays what is given over what was known. */
static void
take_given(const char *parts[PARTS], const PQconninfoOption *given)
{
    for (; given->keyword; given++)
        for (size_t i = 0; i < PARTS; i++)
            if (strcmp(given->keyword, names[i].keyword) == 0)
                take(&parts[i], given->val);
}

static void
free_info(PQconninfoOption **info)
{
    PQconninfoFree(*info);
}

#define AUTO_INFO __attribute__((cleanup(free_info)))

int
pg_place(const void *connection, struct buf *out, struct error *err)
{
    const struct pg_options *o = connection;
    const char *parts[PARTS] = {NULL};
    AUTO_INFO PQconninfoOption *dsn = NULL;
    int rc = o->dsn && *o->dsn ? pg_parse_dsn(o->dsn, &dsn, err) : 0;
    if (rc)
        return rc;
    /* Not PQconndefaults: it asks who runs this process, which may take a network. */
    for (size_t i = 0; i < PARTS; i++)
        take(&parts[i], getenv(names[i].variable));
    if (dsn)
        take_given(parts, dsn);
    take(&parts[HOST], o->host);
    take(&parts[DBNAME], o->dbname);
    take(&parts[USER], o->user);
    if (parts[SERVICE]) /* its file may say the rest */
        buf_addf(out, "service %s ", parts[SERVICE]);
    buf_adds(out, parts[HOST] ? parts[HOST] : parts[HOSTADDR] ? "" : "local");
    if (parts[HOSTADDR]) /* that is where it connects to, whatever the host's name is */
        buf_addf(out, "[%s]", parts[HOSTADDR]);
    if (o->port)
        buf_addf(out, ":%d", (int)o->port);
    else if (parts[PORT])
        buf_addf(out, ":%s", parts[PORT]);
    const char *database = parts[DBNAME] ? parts[DBNAME] : parts[USER];
    buf_addf(out, "/%s", database ? database : "");
    if (parts[SETTINGS]) /* a search_path leads elsewhere */
        buf_addf(out, " %s", parts[SETTINGS]);
    return out->failed ? error_no_memory(err) : 0;
}
