/*
 * Lists of an audience. A table may be the list, its rows the members; or hold many lists, one
 * of its columns saying of each row whose it is: then a sync sees the rows of its own list
 * only.
 */
#pragma once

#include "driver.h"
#include "postgres/connect.h"

struct pg_dest_options {
    char *list, *column;
};

extern const struct option pg_dest_option_table[];
int pg_dest_options_check(const void *options, enum sync_type type, struct error *err);

struct pg_list {
    const char *column; /* NULL: the table is the list */
    const char *name;
};

/* Borrows from the options, which MAY be NULL. */
struct pg_list pg_list_of(const void *options);

/* Each appends nothing where the table is the list: " AND t."list" = 'vip'"; `, "list"`;
 * ", 'vip'". */
void pg_list_match(struct pg_link *link, const struct pg_list *list, struct buf *sql);
void pg_list_column(struct pg_link *link, const struct pg_list *list, struct buf *sql);
void pg_list_value(struct pg_link *link, const struct pg_list *list, struct buf *sql);
