/* The drivers of this build. */
#pragma once

#include "driver.h"

/* Puts the connectors built in among `drivers`; once, before a second thread runs. */
int drivers_load(struct error *err);
