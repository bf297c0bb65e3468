/* Reading the history of the user's files: written by doc.c, shown in history/. */
#include "catalog/catalog_private.h"

#include <inttypes.h>
#include <string.h>

int
catalog_history_next(struct catalog *c, const char *uid, const char *name, uint64_t after,
                     struct history_text *ret)
{
    struct error err = ERROR_INIT;
    AUTO_CATALOG_ROWS struct catalog_rows r = {0};
    int rc = catalog_select(c, &r, &err,
                            "SELECT number, accepted FROM history WHERE sync = ?1"
                            " AND name = ?2 AND number > ?3 ORDER BY number LIMIT 1",
                            "tti", uid, name, (int64_t)after);
    if (rc == 0)
        rc = sql_next(&r.rows, &err);
    if (rc > 0)
        *ret = (struct history_text){(uint64_t)sql_int(&r.rows, 0), sql_int(&r.rows, 1) != 0};
    return rc;
}

int
catalog_history_text(struct catalog *c, const char *uid, const char *name, uint64_t number,
                     struct buf *out, usec_t *at)
{
    struct error err = ERROR_INIT;
    AUTO_CATALOG_ROWS struct catalog_rows r = {0};
    int rc = catalog_select(c, &r, &err,
                            "SELECT text, at, " INTACT_HISTORY " FROM history"
                            " WHERE sync = ?1 AND name = ?2 AND number = ?3",
                            "tti", uid, name, (int64_t)number);
    if (rc == 0)
        rc = sql_next(&r.rows, &err);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    if (!sql_int(&r.rows, 2)) {
        rc = error_set(&err, ERR_INTERNAL, EIO,
                       "text %" PRIu64 " of %s in the history of sync %s is damaged", number,
                       name, uid);
        return tell_trouble(c, rc, &err);
    }
    struct str text = sql_str(&r.rows, 0);
    buf_add(out, text.p, text.n);
    *at = sql_int(&r.rows, 1);
    return out->failed ? -ENOMEM : 0;
}
