/* The HTTP driver: carries out what a connector's manifest says. */
#pragma once

#include "http/connector.h"

/* Puts the driver's hooks into a connector that was read, and makes it known under its name
 * until the process ends. -EEXIST when the name is taken. */
int http_register(struct connector *c, struct error *err);
