/* What people read: a sync's `log`, its `error`, the root's error_log. */
#include "catalog/catalog_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

enum { LINE_MAX_BYTES = 2000, LOG_TRIM = 1000 };

int
log_add(struct catalog *c, const char *uid, const char *line, struct error *err)
{
    char text[LINE_MAX_BYTES];
    snprintf(text, sizeof text, "%s", line);
    utf8_clean(text); /* a file or a process may be named to look like two lines */
    struct sql *q = &c->writer;
    int64_t first = 1, last = 0;
    int rc =
        sql_one_int(q, err, &last,
                    "SELECT coalesce(max(number), 0) FROM sync_log WHERE sync = ?1", "t", uid);
    if (rc == 0)
        rc =
            sql_exec(q, err, "INSERT INTO sync_log(sync, number, at, line) VALUES(?1,?2,?3,?4)",
                     "tiit", uid, last + 1, clock_now(), text);
    if (rc == 0)
        rc = sql_one_int(q, err, &first, "SELECT min(number) FROM sync_log WHERE sync = ?1",
                         "t", uid);
    /* In steps, for a reader that follows the file loses its place at each. */
    if (rc == 0 && last + 1 - first >= CATALOG_LOG_LINES + LOG_TRIM)
        rc = sql_exec(q, err, "DELETE FROM sync_log WHERE sync = ?1 AND number <= ?2", "ti",
                      uid, last + 1 - CATALOG_LOG_LINES);
    return rc;
}

/* The name of a process as the kernel tells it; it may be gone already. */
static void
read_comm(pid_t pid, char comm[32])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
    AUTO_CLOSE int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd < 0 ? -1 : read(fd, comm, 31);
    comm[n > 0 ? n : 0] = '\0';
    comm[strcspn(comm, "\n")] = '\0';
    for (char *at = comm; *at; at++)
        if (*at == ' ' || *at == '\t')
            *at = '?';
    if (!comm[0])
        snprintf(comm, 32, "unknown");
}

int
log_audit(struct catalog *c, node_id dir, const struct caller *who, struct error *err,
          const char *format, ...)
{
    AUTO_BUF struct buf uid = BUF_INIT(64);
    int rc = sync_uid(&c->writer, dir, &uid, err);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    AUTO_BUF struct buf line = BUF_INIT(LINE_MAX_BYTES);
    if (who) {
        char comm[32];
        read_comm(who->pid, comm);
        buf_addf(&line, "uid=%u pid=%ld comm=%s ", (unsigned)who->uid, (long)who->pid, comm);
    }
    va_list ap;
    va_start(ap, format);
    buf_vaddf(&line, format, ap);
    va_end(ap);
    return log_add(c, buf_z(&uid), buf_z(&line), err);
}

int
catalog_log(struct catalog *c, const char *uid, const char *line)
{
    struct error err = ERROR_INIT;
    return IN_TRANSACTION(c, &err, log_add(c, uid, line, &err));
}

static int
log_text(struct sql *q, const char *uid, struct buf *out, usec_t *changed, struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    *changed = 0;
    int rc = sql_select(
        q, &r, err, "SELECT at, line FROM sync_log WHERE sync = ?1 ORDER BY number", "t", uid);
    while (rc == 0 && (rc = sql_next(&r, err)) > 0) {
        *changed = sql_int(&r, 0);
        clock_format(*changed, out);
        buf_addf(out, " %s\n", sql_text(&r, 1));
        rc = 0;
    }
    return rc == 0 && out->failed ? -buf_errno(out) : rc;
}

int
catalog_log_text(struct catalog *c, const char *uid, struct buf *out, usec_t *changed)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, log_text(q, uid, out, changed, &err));
}

static int
error_text(struct sql *q, node_id dir, struct buf *out, usec_t *at, struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    int rc = sql_select(
        q, &r, err, "SELECT at, text FROM doc_error WHERE dir = ?1 ORDER BY at DESC LIMIT 1",
        "i", (int64_t)dir);
    if (rc == 0)
        rc = sql_next(&r, err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    *at = sql_int(&r, 0);
    buf_adds(out, sql_text(&r, 1));
    return out->failed ? -buf_errno(out) : 0;
}

int
catalog_error_text(struct catalog *c, node_id dir, struct buf *out, usec_t *at)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, error_text(q, dir, out, at, &err));
}

static int
refused_texts(struct sql *q, node_id dir, const char *prefix, struct buf *out,
              struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    enum place place;
    int rc = node_place(q, dir, &place, err);
    if (rc == 0)
        rc = sql_select(q, &r, err,
                        "SELECT node.name, e.text FROM node LEFT JOIN doc_error e"
                        " ON e.dir = node.parent AND node.name = e.name || '.rej'"
                        " WHERE node.parent = ?1 AND node.name LIKE '%.rej' ORDER BY node.name",
                        "i", (int64_t)dir);
    while (rc == 0 && (rc = sql_next(&r, err)) > 0) {
        const char *text = sql_text(&r, 1);
        rc = 0;
        if (!name_is_refused_text(place, sql_text(&r, 0)))
            continue;
        buf_adds(out, prefix);
        if (text && *text)
            buf_adds(out, text);
        else
            buf_addf(out, "%s: a refused edit\n", sql_text(&r, 0));
    }
    return rc == 0 && out->failed ? -buf_errno(out) : rc;
}

int
catalog_refused_texts(struct catalog *c, node_id dir, const char *prefix, struct buf *out)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, refused_texts(q, dir, prefix, out, &err));
}

int
error_log_add(struct catalog *c, const char *place, const char *text, struct error *err)
{
    int rc =
        sql_exec(&c->writer, err, "INSERT INTO error_log(at, place, text) VALUES(?1, ?2, ?3)",
                 "itt", clock_now(), place, text);
    return rc < 0 ? rc
                  : sql_exec(&c->writer, err, "DELETE FROM error_log WHERE id <= ?1", "i",
                             sql_last_id(&c->writer) - CATALOG_ERROR_LOG);
}

int
catalog_error_log(struct catalog *c, const char *place, const char *text)
{
    struct error err = ERROR_INIT;
    return IN_TRANSACTION(c, &err, error_log_add(c, place, text, &err));
}

static int
error_log_text(struct sql *q, struct buf *out, usec_t *changed, struct error *err)
{
    AUTO_ROWS struct sql_rows r = {0};
    *changed = 0;
    int rc = sql_select(q, &r, err, "SELECT at, place, text FROM error_log ORDER BY id", "");
    while (rc == 0 && (rc = sql_next(&r, err)) > 0) {
        char place[600];
        snprintf(place, sizeof place, "%s", sql_text(&r, 1));
        utf8_clean(place);
        *changed = sql_int(&r, 0);
        clock_format(*changed, out);
        buf_addf(out, " %s\n", place);
        for (const char *line = sql_text(&r, 2); *line;) {
            size_t n = strcspn(line, "\n");
            buf_addf(out, "  %.*s\n", (int)n, line);
            line += n + (line[n] != '\0');
        }
        rc = 0;
    }
    return rc == 0 && out->failed ? -buf_errno(out) : rc;
}

int
catalog_error_log_text(struct catalog *c, struct buf *out, usec_t *changed)
{
    struct error err = ERROR_INIT;
    return READING(c, q, &err, error_log_text(q, out, changed, &err));
}

int
catalog_error_log_clear(struct catalog *c)
{
    struct error err = ERROR_INIT;
    return IN_TRANSACTION(c, &err, sql_exec(&c->writer, &err, "DELETE FROM error_log", ""));
}
