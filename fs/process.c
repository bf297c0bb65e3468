/* Reads /proc/TID/status: see process.h. */
#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { STATUS_MAX = 8192 };

static bool
read_status(pid_t tid, char text[STATUS_MAX])
{
    if (tid <= 0)
        return false;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)tid);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t n = 0;
    while (n < STATUS_MAX - 1) {
        ssize_t got = read(fd, text + n, STATUS_MAX - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    return n > 0;
}

/* The number after "\nNAME:". The command's name is the only free text in there, and the kernel
 * escapes its newlines. */
static bool
field(const char *text, const char *name, int base, uint64_t *ret)
{
    const char *at = strstr(text, name);
    if (!at)
        return false;
    at += strlen(name);
    char *end;
    *ret = strtoull(at, &end, base);
    return end != at;
}

pid_t
process_of(pid_t tid)
{
    char text[STATUS_MAX];
    uint64_t tgid;
    if (!read_status(tid, text) || !field(text, "\nTgid:", 10, &tgid))
        return 0;
    return (pid_t)tgid;
}

bool
process_is_signalled(pid_t tid)
{
    static const int harmless[] = {SIGCHLD, SIGWINCH, SIGCONT, SIGURG,
                                   SIGTSTP, SIGSTOP,  SIGTTIN, SIGTTOU};
    char text[STATUS_MAX];
    uint64_t own, shared, blocked;
    if (!read_status(tid, text) || !field(text, "\nSigPnd:", 16, &own) ||
        !field(text, "\nShdPnd:", 16, &shared) || !field(text, "\nSigBlk:", 16, &blocked))
        return true;
    uint64_t waiting = (own | shared) & ~blocked;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        waiting &= ~(UINT64_C(1) << (harmless[i] - 1));
    return waiting != 0;
}
