"""Every help answers at once: it imports no large package, and has a word on every option."""

import json
import subprocess
import sys

import pytest

# Prints as JSON: the help of each command, its options without help, and the large packages that were imported.
PROGRAM = """
import contextlib, io, json, sys
from typer.main import get_command
from lsr_ext.cli.main import app

LARGE = (
    "torch", "lightning", "monai", "numpy", "scipy", "skimage", "matplotlib", "zarr", "pyarrow", "pydantic",
    "shapely", "starlette", "uvicorn",
)
pages, silent = {}, []

def walk(command, words):
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        command.main(["--help"], prog_name=" ".join(words))
    pages[" ".join(words)] = page.getvalue()
    shown = [option for option in command.params if not getattr(option, "hidden", False)]
    silent.extend(" ".join([*words, option.name]) for option in shown if not option.help)
    for name, below in getattr(command, "commands", {}).items():
        walk(below, [*words, name])

walk(get_command(app), ["lsr"])
print(json.dumps({"pages": pages, "silent": silent, "large": [name for name in LARGE if name in sys.modules]}))
"""


@pytest.fixture(scope="module")
def found():
    return json.loads(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True).stdout)


def test_every_command_has_help(found):
    commands = set(found["pages"])
    assert {
        "lsr",
        "lsr demo",
        "lsr train",
        "lsr report",
        "lsr view",
        "lsr experiment",
        "lsr simulate slide",
        "lsr simulate slides",
    } <= commands
    assert {"lsr evaluate run", "lsr evaluate cells", "lsr evaluate dots", "lsr evaluate regions"} <= commands
    assert {"lsr cohort build", "lsr cohort cut", "lsr baseline separate", "lsr classifier predict"} <= commands
    for name, page in found["pages"].items():
        assert f"Usage: {name} " in page
    assert not found["silent"]


def test_help_imports_no_large_package(found):
    assert not found["large"]


def test_a_deprecated_option_is_not_shown(found):
    page = found["pages"]["lsr experiment"]
    assert "--split" in page and "--part" not in page
