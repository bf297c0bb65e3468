/* Logging: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

static enum log_level threshold = LOG_LEVEL_INFO;
static bool use_syslog;

void
log_open(enum log_level level, bool to_syslog)
{
    threshold = level;
    use_syslog = to_syslog;
    if (to_syslog)
        openlog("retlfs", LOG_PID, LOG_DAEMON);
}

void
log_line(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    if (level > threshold)
        return;
    char line[8192]; /* there may be no memory, and that is what is to be said */
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (use_syslog)
        syslog(priorities[level], "%s", line);
    else
        fprintf(stderr, "retlfs: %s: %s\n", names[level], line);
}
