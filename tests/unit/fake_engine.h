/* What a test may tell the engine of fake_engine.c beyond engine.h. */
#pragma once

#include "engine.h"

/* Ends all runs that go on with this errno. */
void fake_engine_end_runs(struct engine *e, int errnum);
unsigned fake_engine_runs(struct engine *e);
/* Whether there is no memory to judge a text. */
void fake_engine_lacks_memory(struct engine *e, bool lacks);
