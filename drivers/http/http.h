/* The HTTP driver: carries out what a connector's manifest says. */
#pragma once

#include "http/connector.h"

/* Reads a manifest (name NULL: it says its own) and makes a driver of it. 0 and a reference,
 * -EINVAL (see connector_parse), -ENOMEM. */
int http_make(const char *name, struct str manifest, const struct driver **ret,
              struct error *err);
