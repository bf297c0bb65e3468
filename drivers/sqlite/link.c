/* A SQLite connection: see link.h. */
#include "sqlite/link.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/reach.h"

static bool
is_cancelled(const struct link *l)
{
    return atomic_load(&l->cancelled) || (l->opening && atomic_load(l->opening));
}

/* Instead of sqlite3_busy_timeout, which no cancel can interrupt. */
static int
wait_for_lock(void *arg, int times)
{
    enum { STEP_MS = 5 };
    struct link *l = arg;
    if (times == 0)
        l->waiting_since = clock_monotonic();
    if (is_cancelled(l) || clock_monotonic() - l->waiting_since >= l->busy_timeout * 1000)
        return 0;
    sqlite3_sleep(STEP_MS);
    return 1;
}

int
link_open(struct link *l, const char *uri, int flags, const struct sqlite_options *options,
          struct error *err)
{
    l->busy_timeout = options->busy_timeout;
    if (reach_is_limited())
        flags |= SQLITE_OPEN_NOFOLLOW; /* link_uri has resolved them; ATTACH inherits it */
    int code =
        sqlite3_open_v2(uri, &l->db, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_extended_result_codes(l->db, 1);
    if (code == SQLITE_OK)
        code = sqlite3_busy_handler(l->db, wait_for_lock, l);
    if (code == SQLITE_OK)
        code = sqlite3_db_config(l->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (code != SQLITE_OK)
        return link_fail(l, code, err);
    /* Sorters, staging and automatic indices go to files, whatever their size. */
    int rc = link_exec(l, "PRAGMA temp_store = FILE; PRAGMA temp.cache_size = -16384", err);
    if (!rc)
        rc = link_exec(
            l, options->foreign_keys ? "PRAGMA foreign_keys = ON" : "PRAGMA foreign_keys = OFF",
            err);
    return rc;
}

void
link_close(struct link *l)
{
    sqlite3_close_v2(l->db);
    l->db = NULL;
}

void
link_cancel(struct link *l)
{
    atomic_store(&l->cancelled, true);
    sqlite3_interrupt(l->db);
}

int
link_fail(struct link *l, int code, struct error *err)
{
    static const struct {
        int code;
        enum error_kind kind;
        int errnum;
    } map[] = {
        {SQLITE_BUSY, ERR_UNREACHABLE, EBUSY},
        {SQLITE_LOCKED, ERR_UNREACHABLE, EBUSY},
        {SQLITE_INTERRUPT, ERR_CANCELLED, ECANCELED},
        {SQLITE_NOMEM, ERR_INTERNAL, ENOMEM},
        {SQLITE_CANTOPEN, ERR_CONFIG, ENOENT},
        {SQLITE_NOTADB, ERR_CONFIG, EINVAL},
        {SQLITE_READONLY, ERR_CONFIG, EROFS},
        {SQLITE_PERM, ERR_CONFIG, EACCES},
        {SQLITE_FULL, ERR_REMOTE, ENOSPC},
        {SQLITE_CONSTRAINT, ERR_DATA, EINVAL},
        {SQLITE_MISMATCH, ERR_DATA, EINVAL},
        {SQLITE_TOOBIG, ERR_DATA, EINVAL},
    };
    if (is_cancelled(l))
        code = SQLITE_INTERRUPT;
    if ((code & 0xFF) == SQLITE_INTERRUPT)
        return error_set(err, ERR_CANCELLED, ECANCELED, "cancelled");
    /* Where memory was out the connection may have words of what could not be done for it. */
    bool own = l->db && (code & 0xFF) != SQLITE_NOMEM;
    const char *words = own ? sqlite3_errmsg(l->db) : sqlite3_errstr(code);
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].code == (code & 0xFF))
            return error_set(err, map[i].kind, map[i].errnum, "%s", words);
    return error_set(err, ERR_REMOTE, EIO, "%s", words);
}

const char *
link_code_name(int extended)
{
#define NAME(code)                                                                             \
    {                                                                                          \
        code, #code                                                                            \
    }
    static const struct {
        int code;
        const char *name;
    } names[] = {
        NAME(SQLITE_CONSTRAINT_NOTNULL),
        NAME(SQLITE_CONSTRAINT_CHECK),
        NAME(SQLITE_CONSTRAINT_UNIQUE),
        NAME(SQLITE_CONSTRAINT_PRIMARYKEY),
        NAME(SQLITE_CONSTRAINT_ROWID),
        NAME(SQLITE_CONSTRAINT_FOREIGNKEY),
        NAME(SQLITE_CONSTRAINT_TRIGGER),
        NAME(SQLITE_CONSTRAINT_DATATYPE),
        NAME(SQLITE_CONSTRAINT_COMMITHOOK),
        NAME(SQLITE_CONSTRAINT_FUNCTION),
        NAME(SQLITE_CONSTRAINT_VTAB),
        NAME(SQLITE_CONSTRAINT),
        NAME(SQLITE_MISMATCH),
        NAME(SQLITE_TOOBIG),
    };
#undef NAME
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == extended)
            return names[i].name;
    return "SQLITE_ERROR";
}

int
link_exec(struct link *l, const char *sql, struct error *err)
{
    int code = sqlite3_exec(l->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : link_fail(l, code, err);
}

int
link_prepare(struct link *l, const char *sql, sqlite3_stmt **ret, struct error *err)
{
    int code = sqlite3_prepare_v2(l->db, sql, -1, ret, NULL);
    return code == SQLITE_OK ? 0 : link_fail(l, code, err);
}

int
link_prepare_buf(struct link *l, struct buf *sql, sqlite3_stmt **ret, struct error *err)
{
    int rc = sql->failed ? error_no_memory(err) : link_prepare(l, buf_z(sql), ret, err);
    buf_clear(sql);
    return rc;
}

int
link_exec_buf(struct link *l, struct buf *sql, struct error *err)
{
    int rc = sql->failed ? error_no_memory(err) : link_exec(l, buf_z(sql), err);
    buf_clear(sql);
    return rc;
}

int
link_run(struct link *l, sqlite3_stmt *stmt, struct error *err)
{
    int code = sqlite3_step(stmt), rc = 0;
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        rc = link_fail(l, code, err);
    sqlite3_reset(stmt);
    return rc;
}

void
link_add_name(struct buf *sql, const char *name)
{
    buf_addc(sql, '"');
    for (; *name; name++) {
        if (*name == '"')
            buf_addc(sql, '"');
        buf_addc(sql, *name);
    }
    buf_addc(sql, '"');
}

static char *
encode_uri(struct arena *arena, const char *path, const char *mode)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = strlen(path);
    /* "file:" takes a relative path as it is; an absolute one may not begin with two slashes,
     * which would name a host. */
    while (path[0] == '/' && path[1] == '/')
        path++;
    char *uri = arena_alloc(arena, 3 * n + strlen(mode) + sizeof "file:?mode=");
    if (!uri)
        return NULL;
    char *to = stpcpy(uri, "file:");
    for (; *path; path++) {
        unsigned char c = (unsigned char)*path;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c >= '0' && c <= '9') || strchr("/._-", c);
        if (plain) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
        }
    }
    stpcpy(stpcpy(to, "?mode="), mode);
    return uri;
}

int
link_uri(struct arena *arena, const char *path, const char *mode, const char **ret,
         struct error *err)
{
    AUTO_FREE char *real = NULL;
    int rc = reach_resolve(path, &real);
    if (rc < 0)
        return reach_fail(err, rc, path);
    *ret = encode_uri(arena, real, mode);
    return *ret ? 0 : error_no_memory(err);
}
