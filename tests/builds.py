"""The kernels' builds for kinds of processors: one that this processor lacks falls back to another."""

import os
import subprocess
import sys

BUILDS = ("portable", "avx2", "avx512")


def run_in_build(build, script):
    """Run a script in a process of its own, which may import the tests; what it printed. It must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"LSR_CPU": build},
        cwd="tests",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done
