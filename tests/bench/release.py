"""The daemon that is measured."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import ROOT, command


def build():
    """The release daemon, unless $RETLFS names one."""
    if os.environ.get("RETLFS"):
        return
    top = ROOT / "build-bench"
    if not (top / "build.ninja").exists():
        command("meson", "setup", str(top), str(ROOT), "--buildtype=release")
    command("ninja", "-C", str(top), "fs/retlfs")
    os.environ["RETLFS"] = str(top / "fs/retlfs")
