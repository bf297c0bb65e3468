/* The source half of the driver: see engine/driver.h. */
#pragma once

#include "driver.h"

int pg_source_open(const void *connection, const struct model *model, void **ret,
                   struct error *err);
int pg_source_describe(void *handle, struct schema *ret, struct error *err);
int pg_source_plan(void *handle, const struct projection *projection, bool want_order,
                   struct source_plan *ret, struct error *err);
int pg_source_read(void *handle, source_row_fn row, void *arg, struct error *err);
void pg_source_close(void *handle);
void pg_source_cancel(void *handle);
