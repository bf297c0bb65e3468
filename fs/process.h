/* What /proc says of the process behind a request. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* The process of a thread; 0 when it cannot be told (another pid namespace, or gone). */
pid_t process_of(pid_t tid);
/* Whether a signal waits that must end a blocked call. Those that arrive by themselves in any
 * shell (a child ended, the window changed, job control) must not. A thread that cannot be
 * looked at is taken for a killed one. */
bool process_is_signalled(pid_t tid);
