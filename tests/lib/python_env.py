"""Programs and modules in Python that Debian does not package, installed by pip into a folder of their own."""

import shutil
import subprocess
import sys


class Missing(Exception):
    """It cannot be had here; says why."""


def install(folder, *packages, timeout=None):
    """A virtual environment with these packages; made anew unless it holds just them. Returns its bin/."""
    wanted, said = " ".join(packages), folder / "installed"
    if not said.exists() or said.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        for step in (sys.executable, "-m", "venv", str(folder)), (str(folder / "bin/pip"), "install", "-q", *packages):
            try:
                done = subprocess.run(step, capture_output=True, text=True, timeout=timeout)
            except (OSError, subprocess.TimeoutExpired) as e:
                raise Missing("%s cannot be installed: %s" % (wanted, e)) from e
            if done.returncode:
                words = (done.stderr.strip() or done.stdout.strip() or "pip failed").splitlines()
                raise Missing("%s cannot be installed: %s" % (wanted, words[-1]))
        said.write_text(wanted)
    return folder / "bin"
