/* One list among others in a table: see list.h. */
#include "postgres/list.h"

const struct option pg_dest_option_table[] = {
    {"list", OPT_STRING, OPTION_PLACE, offsetof(struct pg_dest_options, list), NULL, NULL,
     "of an audience: which of the lists in the table it is, where it holds more than one"},
    {"list_column", OPT_STRING, OPTION_PLACE, offsetof(struct pg_dest_options, column), NULL,
     NULL, "the column that says whose a member is (list)"},
    {NULL},
};

int
pg_dest_options_check(const void *options, enum sync_type type, struct error *err)
{
    const struct pg_dest_options *o = options;
    if (!o->list && !o->column)
        return 0;
    if (type != TYPE_AUDIENCE)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "\"%s\" is for a sync with \"type\": \"audience\"",
                         o->list ? "list" : "list_column");
    if (!o->list)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "\"list_column\" without \"list\": which of the lists is meant?");
    if (!*o->list || (o->column && !*o->column))
        return error_set(err, ERR_CONFIG, EINVAL, "\"%s\" is empty",
                         *o->list ? "list_column" : "list");
    return 0;
}

struct pg_list
pg_list_of(const void *options)
{
    const struct pg_dest_options *o = options;
    if (!o || !o->list)
        return (struct pg_list){0};
    return (struct pg_list){o->column ? o->column : "list", o->list};
}

void
pg_list_match(struct pg_link *link, const struct pg_list *list, struct buf *sql)
{
    if (!list->column)
        return;
    buf_adds(sql, " AND t.");
    pg_add_name(link, sql, list->column);
    buf_adds(sql, " = ");
    pg_add_text(link, sql, list->name);
}

void
pg_list_column(struct pg_link *link, const struct pg_list *list, struct buf *sql)
{
    if (!list->column)
        return;
    buf_adds(sql, ", ");
    pg_add_name(link, sql, list->column);
}

void
pg_list_value(struct pg_link *link, const struct pg_list *list, struct buf *sql)
{
    if (!list->column)
        return;
    buf_adds(sql, ", ");
    pg_add_text(link, sql, list->name);
}
