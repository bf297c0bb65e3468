/* PostgreSQL, as source and as destination: the driver's table. */
#include "driver.h"
#include "postgres/connect.h"
#include "postgres/dest.h"
#include "postgres/source.h"

static const char readme[] =
    "PostgreSQL as source (9.6 or later) and as destination (12 or later).\n"
    "\n"
    "    connections/shop.json  {\"driver\": \"postgres\", \"host\": \"db1\", "
    "\"dbname\": \"shop\",\n"
    "                            \"user\": \"sync\", \"password\": {\"env\": "
    "\"SHOP_PASSWORD\"}}\n"
    "\n"
    "What is not given comes from \"dsn\" (a libpq connection string or URI without a "
    "password),\n"
    "then from the environment and files as with psql (PGHOST, ~/.pgpass, ...).\n"
    "\n"
    "Source: \"table\" (name, schema.name, \"Odd \"\"name\"\"\") or \"query\": one "
    "SELECT, VALUES, TABLE or\n"
    "WITH that only reads; a semicolon or a comment may end it. SELECT on what it reads "
    "is all the\n"
    "privilege it needs. A run reads one REPEATABLE READ, READ ONLY snapshot by COPY. If "
    "an index\n"
    "gives the order of the identifier (integers; uuid, text and varchar in byte order, "
    "which is\n"
    "the \"C\" collation), rows are read in it; else the engine sorts them itself, the "
    "server never.\n"
    "\n"
    "\"readers\": 2 in the connection lets two connections (up to 8) read a table of "
    "100,000 rows or\n"
    "more side by side, on one snapshot, when its order is that of one integer.\n"
    "\n"
    "Types: smallint, integer, bigint and oid are integers; numeric is decimal; real and "
    "double\n"
    "precision float; boolean, bytea, date, time, timestamp, timestamptz, json and jsonb "
    "are what\n"
    "they are; a domain is its base type; everything else (text, varchar, uuid, enums, "
    "arrays,\n"
    "intervals, timetz, ...) is text as the server writes it, in UTC and ISO style.\n"
    "\n"
    "Destination: \"object\" is a table or a view that can be written. A session is one "
    "transaction:\n"
    "rows are copied into a temporary table, then one MERGE (before version 15 and on "
    "views: UPDATE\n"
    "and INSERT) and one DELETE; the identifier needs no unique index, though without "
    "one it is\n"
    "slow. At most 1598 fields. A first run into an empty table is copied straight in. Nobody "
    "sees half a "
    "run. A row\n"
    "that a constraint, a type or a trigger refuses is found by halving and reported "
    "with the\n"
    "server's SQLSTATE and words; the others go through. Deferrable constraints are "
    "checked at once.\n"
    "\n"
    "An audience (\"type\": \"audience\"): the table is the list and its rows the members, or "
    "it "
    "holds many\n"
    "lists and \"list\" says which is meant, by the value of \"list_column\" (\"list\" when it "
    "is not\n"
    "given): the sync then sees and touches that list's rows only. A member that is added "
    "again "
    "gets the\n"
    "fields as they are now; removing one that is gone is done.\n"
    "\n"
    "With \"create\": true a missing table is made, and its schema: columns of the "
    "source's types\n"
    "without length or precision (integers bigint, floats double precision), the "
    "identifier as\n"
    "primary key (not in mode insert, which accepts duplicates), after the column of the list "
    "if "
    "it has one.\n"
    "\n"
    "The table retlfs_runs, beside the target, holds one row a sync: the last run "
    "committed, written\n"
    "in the same transaction. It is made on the first run; a role that may not make it "
    "needs\n"
    "SELECT, INSERT and UPDATE on it.\n"
    "\n"
    "Privileges: SELECT, INSERT, UPDATE and DELETE on the target as the mode needs "
    "(SELECT always),\n"
    "TEMPORARY on the database.\n"
    "\n"
    "Errors: a connection that breaks while COMMIT is under way leaves the run "
    "\"unknown\"; it is\n"
    "resolved by asking retlfs_runs on a new connection.\n";

extern const struct driver driver_postgres;
const struct driver driver_postgres = {
    .name = "postgres",
    .summary = "PostgreSQL (source and destination)",
    .readme = readme,
    .modes = MODES_OF_TABLES,
    .audience_modes = MODES_OF_AUDIENCES,
    .traits = TRAIT_ATOMIC,
    .takes_table = true,
    .takes_query = true,
    .options = pg_option_table,
    .options_size = sizeof(struct pg_options),
    .dest_options = pg_dest_option_table,
    .dest_options_size = sizeof(struct pg_dest_options),
    .check = pg_check,
    .dest_options_check = pg_dest_options_check,
    .place = pg_place,
    .source_open = pg_source_open,
    .source_describe = pg_source_describe,
    .source_plan = pg_source_plan,
    .source_read = pg_source_read,
    .source_close = pg_source_close,
    .source_cancel = pg_source_cancel,
    .dest_open = pg_dest_open,
    .dest_describe = pg_dest_describe,
    .dest_limits = pg_dest_limits,
    .dest_begin = pg_dest_begin,
    .dest_write = pg_dest_write,
    .dest_survey = pg_dest_survey,
    .dest_apply = pg_dest_apply,
    .dest_commit = pg_dest_commit,
    .dest_abort = pg_dest_abort,
    .dest_resolve = pg_dest_resolve,
    .dest_cancel = pg_dest_cancel,
    .dest_close = pg_dest_close,
};
