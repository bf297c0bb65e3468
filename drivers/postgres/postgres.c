/* PostgreSQL, as source and as destination: the driver's table. */
#include "driver.h"
#include "postgres/connect.h"
#include "postgres/source.h"

static const char readme[] = "";

extern const struct driver driver_postgres;
const struct driver driver_postgres = {
    .name = "postgres",
    .summary = "PostgreSQL (source and destination)",
    .readme = readme,
    .takes_table = true,
    .takes_query = true,
    .options = pg_option_table,
    .options_size = sizeof(struct pg_options),
    .check = pg_check,
    .source_open = pg_source_open,
    .source_describe = pg_source_describe,
    .source_plan = pg_source_plan,
    .source_read = pg_source_read,
    .source_close = pg_source_close,
    .source_cancel = pg_source_cancel,
};
