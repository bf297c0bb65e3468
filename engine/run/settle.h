/*
 * Before a run: what earlier ones left open. A run whose commit was never answered, or that the
 * catalogue takes for interrupted although its segment is there: the destination is asked.
 */
#pragma once

#include "run/run.h"

int settle_earlier(struct run *run, struct error *err);
/* After a run that made calls and failed, with *why: what was delivered is taken from its
 * journal at once, if that can be; else before the next run. */
void settle_promised(struct run *run, struct error *why);
