/* The SQLite driver: its options, its words and its hooks. */
#include "driver.h"
#include "sqlite/dest.h"
#include "sqlite/source.h"

static int
check(const void *connection, struct error *err)
{
    const struct sqlite_options *o = connection;
    if (o->busy_timeout < 0 || o->busy_timeout > 3600000)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "busy_timeout must be between 0 and 3600000 (ms)");
    return 0;
}

static int
place(const void *connection, struct buf *out, struct error *err)
{
    buf_adds(out, ((const struct sqlite_options *)connection)->path);
    return out->failed ? error_no_memory(err) : 0;
}

static const struct option options[] = {
    {.name = "path",
     .type = OPT_STRING,
     .flags = OPTION_REQUIRED | OPTION_PATH,
     .offset = offsetof(struct sqlite_options, path),
     .help = "the database file"},
    {.name = "busy_timeout",
     .type = OPT_INT,
     .offset = offsetof(struct sqlite_options, busy_timeout),
     .default_text = "5000",
     .help = "how many milliseconds to wait for another's lock"},
    {.name = "foreign_keys",
     .type = OPT_BOOL,
     .offset = offsetof(struct sqlite_options, foreign_keys),
     .default_text = "false",
     .help = "enforce foreign keys when writing, as SQLite does only on request"},
    {0},
};

static const char readme[] =
    "SQLite database files, as source and as destination.\n"
    "\n"
    "    connections/shop.json   {\"driver\": \"sqlite\", \"path\": \"/srv/shop.db\"}\n"
    "\n"
    "As a source\n"
    "-----------\n"
    "A table (or view), or a query: one statement that reads. The file is opened read-only "
    "and\n"
    "read in one snapshot. Unless the file is in WAL mode, writers wait meanwhile.\n"
    "\n"
    "SQLite types values, not columns, so each value comes as what it is stored as: INTEGER,\n"
    "REAL (float, the shortest text that reads back the same), TEXT, BLOB (bytes), NULL. The\n"
    "declared type says more where the stored form fits it:\n"
    "\n"
    "    BOOLEAN                      0 and 1          boolean\n"
    "    DECIMAL, NUMERIC             any number       decimal\n"
    "    DATE, TIME                   ISO 8601 text    date, time\n"
    "    DATETIME, TIMESTAMP          ISO 8601 text    timestamp\n"
    "    TIMESTAMP WITH TIME ZONE     ISO 8601 text    timestamp with time zone, in UTC\n"
    "    JSON                         valid JSON text  JSON\n"
    "\n"
    "A text that is not valid UTF-8, or holds a NUL, is an error with row and column, and "
    "ends\n"
    "the run. Rows come in key order, at no cost, when the identifier is the INTEGER PRIMARY\n"
    "KEY, or the primary key of a STRICT WITHOUT ROWID table; else the engine sorts.\n"
    "\n"
    "As a destination\n"
    "----------------\n"
    "Modes: upsert, insert, update, mirror, full. \"object\" is a table. With \"create\": true "
    "a\n"
    "missing table, and a missing file, is made: integers as INTEGER, booleans as BOOLEAN (0 "
    "and\n"
    "1), floats as REAL, bytes as BLOB, everything else as TEXT, so that decimals keep all "
    "their\n"
    "digits; the identifier becomes the primary key, except in mode insert.\n"
    "\n"
    "Rows are staged in a temporary table (in SQLITE_TMPDIR or /var/tmp) while the source is\n"
    "read; then one transaction, one statement for each kind of change, and a row in the "
    "table\n"
    "retlfs_runs, by which a run that was cut off is known as done or not done. The file is\n"
    "locked against other writers only during that transaction. Several syncs may write to "
    "one\n"
    "file; they wait for each other up to busy_timeout.\n"
    "\n"
    "Upsert uses the unique index that covers exactly the identifier; without one it updates\n"
    "what matches and inserts the rest. Identifiers compare byte by byte, whatever the "
    "column's\n"
    "collation. A row that a constraint or a trigger refuses is rejected with SQLite's words\n"
    "and code, the others go through. Columns that are not mapped keep their values. Foreign\n"
    "keys are enforced only with \"foreign_keys\": true.\n"
    "\n"
    "Values take the affinity of the column: a decimal or text sent to a NUMERIC, INTEGER or\n"
    "REAL column becomes a number where it looks like one (\"0.10\" becomes 0.1, \"007\" "
    "becomes\n"
    "7); declare such columns TEXT to keep every digit. Two rows whose identifiers become the\n"
    "same value that way are not both written: the second is rejected. Booleans are 0 and 1,\n"
    "dates and timestamps ISO 8601 text. NaN cannot be stored and is rejected.\n"
    "\n"
    "Of an audience (\"type\": \"audience\") the table is the list and its rows the members.\n"
    "\n"
    "Limits: views and virtual tables cannot be written; a trigger that calls RAISE(ROLLBACK)\n"
    "ends the run.\n";

const struct driver driver_sqlite = {
    .name = "sqlite",
    .summary = "SQLite database files (source and destination)",
    .readme = readme,
    .modes = MODES_OF_TABLES,
    .audience_modes = MODES_OF_AUDIENCES,
    .traits = TRAIT_ATOMIC,
    .takes_table = true,
    .takes_query = true,
    .options = options,
    .options_size = sizeof(struct sqlite_options),
    .check = check,
    .place = place,
    .source_open = sqlite_source_open,
    .source_describe = sqlite_source_describe,
    .source_plan = sqlite_source_plan,
    .source_read = sqlite_source_read,
    .source_close = sqlite_source_close,
    .source_cancel = sqlite_source_cancel,
    .dest_open = sqlite_dest_open,
    .dest_describe = sqlite_dest_describe,
    .dest_limits = sqlite_dest_limits,
    .dest_begin = sqlite_dest_begin,
    .dest_write = sqlite_dest_write,
    .dest_survey = sqlite_dest_survey,
    .dest_apply = sqlite_dest_apply,
    .dest_commit = sqlite_dest_commit,
    .dest_abort = sqlite_dest_abort,
    .dest_resolve = sqlite_dest_resolve,
    .dest_cancel = sqlite_dest_cancel,
    .dest_close = sqlite_dest_close,
};
