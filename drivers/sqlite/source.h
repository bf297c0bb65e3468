/* SQLite as a source; the hooks of driver.h. */
#pragma once

#include "driver.h"

int sqlite_source_open(const void *connection, const struct model *model, void **ret,
                       struct error *err);
int sqlite_source_describe(void *handle, struct schema *ret, struct error *err);
int sqlite_source_plan(void *handle, const struct projection *projection, bool want_order,
                       struct source_plan *ret, struct error *err);
int sqlite_source_read(void *handle, source_row_fn row, void *arg, struct error *err);
void sqlite_source_close(void *handle);
void sqlite_source_cancel(void *handle);
