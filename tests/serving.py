"""`lsr view` as its own process."""

import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def serving(paths, *options):
    """Run `lsr view` of a view's files; yields the process and the address of the page."""
    slide, *rest = paths.items()
    command = [sys.executable, "-c", "from lsr_ext.cli.main import main; main()", "view", str(slide[1]), *options]
    for name, path in rest:
        command += [f"--{name}", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()
