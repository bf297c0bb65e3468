"""The daemon that is measured."""

import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import ROOT, command


def program(name):
    """One of the programs that were built beside the daemon."""
    return str(Path(os.environ["RETLFS"]).parents[1] / name)


def build():
    """The release daemon and what it is measured with, unless $RETLFS names one."""
    if os.environ.get("RETLFS"):
        return
    top = ROOT / "build-bench"
    if not (top / "build.ninja").exists():
        command("meson", "setup", str(top), str(ROOT), "--buildtype=release")
    command("ninja", "-C", str(top), "fs/retlfs", "tests/unit/http-sink", "tests/unit/http-curl")
    os.environ["RETLFS"] = str(top / "fs/retlfs")
