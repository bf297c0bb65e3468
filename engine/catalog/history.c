/* Reading the history of the user's files: written by doc.c, shown in history/. */
#include "catalog/catalog_private.h"

#include <string.h>

int
catalog_history_list(struct catalog *c, const char *uid, const char *name, uint64_t after,
                     struct history_text *ret, size_t max, size_t *n)
{
    struct error err = ERROR_INIT;
    struct sql *q;
    *n = 0;
    int rc = catalog_read(c, &q, &err);
    if (rc < 0)
        return rc;
    {
        AUTO_ROWS struct sql_rows rows = {0};
        rc = sql_select(q, &rows, &err,
                        "SELECT number, accepted FROM history WHERE sync = ?1 AND name = ?2"
                        " AND number > ?3 ORDER BY number LIMIT ?4",
                        "ttii", uid, name, (int64_t)after, (int64_t)max);
        while (rc == 0 && *n < max && (rc = sql_next(&rows, &err)) > 0) {
            ret[(*n)++] =
                (struct history_text){(uint64_t)sql_int(&rows, 0), sql_int(&rows, 1) != 0};
            rc = 0;
        }
    }
    catalog_read_end(c, q);
    return rc;
}

int
catalog_history_text(struct catalog *c, const char *uid, const char *name, uint64_t number,
                     struct buf *out, usec_t *at)
{
    struct error err = ERROR_INIT;
    struct sql *q;
    int rc = catalog_read(c, &q, &err);
    if (rc < 0)
        return rc;
    {
        AUTO_ROWS struct sql_rows rows = {0};
        rc = sql_select(q, &rows, &err,
                        "SELECT text, at FROM history WHERE sync = ?1 AND name = ?2"
                        " AND number = ?3",
                        "tti", uid, name, (int64_t)number);
        if (rc == 0)
            rc = sql_next(&rows, &err);
        if (rc > 0) {
            struct str text = sql_str(&rows, 0);
            buf_add(out, text.p, text.n);
            *at = sql_int(&rows, 1);
        }
        rc = rc < 0 ? rc : rc == 0 ? -ENOENT : 0;
    }
    catalog_read_end(c, q);
    return rc;
}
