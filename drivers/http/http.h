/* The HTTP driver: carries out what a connector's manifest says. */
#pragma once

#include "http/connector.h"

/* Reads a manifest and makes its driver known until the process ends. 0, -EINVAL (see
 * connector_parse), -EEXIST when the name is taken, -ENOMEM. Before a second thread runs. */
int http_load(const char *manifest, const struct driver **ret, struct error *err);
