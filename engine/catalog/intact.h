/*
 * SQLite does not notice a bit that turns within a row. What syncs, runs and the users' files
 * hang on therefore stands beside a checksum of it and of its key (column `sum`), which whoever
 * reads the row asks for. Whoever changes a part of a row must not give what was damaged before
 * a checksum that fits: it makes sure that the row is intact, or writes the whole of it.
 *
 * Not covered: names and places in the tree, which an index holds a second time, and
 * attributes.
 */
#pragma once

#include <sqlite3.h>

#define INTACT_NODE "node.sum IS checksum(node.id, node.data)"
#define INTACT_DOC "doc.sum IS checksum(doc.dir, doc.name, doc.text)"
#define INTACT_HISTORY                                                                         \
    "history.sum IS checksum(history.sync, history.name, history.number, history.text)"
#define INTACT_SYNC "sync.sum IS checksum(sync.uid, sync.last_run, sync.data)"
#define INTACT_RUN "run.sum IS checksum(run.sync, run.number, run.phase, run.summary)"
#define INTACT_RUN_TEXTS                                                                       \
    "run.texts_sum IS checksum(run.sync, run.number, run.config, run.mappings, run.mode)"
#define INTACT_LEFT_OUT "left_out.sum IS checksum(left_out.sync, left_out.file, left_out.row)"

/* Makes checksum() known to a connection. A result code of SQLite's. */
int checksum_define(sqlite3 *db);
