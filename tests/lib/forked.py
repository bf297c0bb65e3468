"""Tests by many processes at once, drawn from a seed that is printed and can be given again."""

import os
import random


def seed():
    """RETLFS_TEST_SEED, or a new one."""
    number = int(os.environ.get("RETLFS_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    print("# RETLFS_TEST_SEED=%d" % number, flush=True)
    return number


def forked(workers):
    """Runs go() of each in a process of its own; their exit codes. Each has a `trail`, to be told
    with what went wrong."""
    children = []
    for number, worker in enumerate(workers):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                worker.go()
                code = 0
            except BaseException as e:  # told here: a child must not return into unittest
                print("# process %d: %s: %s after %s" % (number, type(e).__name__, e, worker.trail), flush=True)
            os._exit(code)
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
