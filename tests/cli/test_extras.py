"""A command needs its own extra alone, and says which one is missing."""

import contextlib
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import numpy as np
import pytest
from cohorts import make_cohort
from PIL import Image

from lsr_ext.cli import extras

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
MODULES = {"pillow": "PIL", "scikit-image": "skimage", "pyyaml": "yaml", "openslide-python": "openslide"}
# Runs `lsr` with modules that cannot be imported.
PROGRAM = """
import sys
blocked = sys.argv[1].split(",")

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
sys.argv = ["lsr", *sys.argv[2:]]
from lsr_ext.cli.main import main
main()
"""


def packages(extra):
    listed = re.search(rf"^{extra} = \[\n(.*?)^\]", PYPROJECT.read_text(), re.MULTILINE | re.DOTALL)[1]
    return set(re.findall(r'^ *"([\w-]+)', listed, re.MULTILINE))


def with_needed(names):
    """Packages and all that they need, as this Python has them installed."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        with contextlib.suppress(PackageNotFoundError):
            lines = [line for line in requires(name) or [] if "extra ==" not in line]
            waiting += [re.match(r"[\w.-]+", line)[0] for line in lines]
    return found


def modules_beyond(extra):
    """What only the other extras bring."""
    others = packages("train") | packages("metrics") | packages("wsi")
    return {MODULES.get(name, name) for name in others - with_needed({"torch"} | packages(extra))}


def lsr(blocked, *arguments):
    command = [sys.executable, "-c", PROGRAM, ",".join(sorted(blocked)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def maps(tmp_path):
    label_map = np.zeros((20, 30), np.uint8)
    label_map[2:8, 2:8] = 1
    for folder in ("maps", "images"):
        (tmp_path / folder).mkdir()
        Image.fromarray(label_map).save(tmp_path / folder / "one.png")
    (tmp_path / "dots.csv").write_text("x,y\n3,3\n")
    return tmp_path / "maps" / "one.png"


def test_cohort_needs_wsi_alone(tmp_path):
    make_cohort(tmp_path, 2)
    recipe = ["--patch-px", 32, "--size-px", 16, "--share", "train=1"]
    labels = ["--probabilities", tmp_path / "patches.csv"]
    blocked = modules_beyond("wsi")
    assert {"lightning", "monai", "matplotlib"} <= blocked
    built = lsr(blocked, "cohort", "build", tmp_path / "slides", tmp_path / "c.parquet", *labels, *recipe)
    assert built.returncode == 0, built.stderr
    cut = lsr(blocked, "cohort", "cut", tmp_path / "c.parquet", tmp_path / "store")
    assert cut.returncode == 0 and "blocks, 0 left out" in cut.stdout, cut.stderr


def test_scores_need_metrics_alone(maps, tmp_path):
    blocked = modules_beyond("metrics")
    assert {"lightning", "monai", "matplotlib", "pyarrow", "openslide"} <= blocked
    output = ["--output", tmp_path / "out"]
    dots = tmp_path / "dots.csv"
    for arguments in (["cells", maps, dots], ["dots", dots, dots], ["regions", maps, maps, "--distance-px", 4]):
        done = lsr(blocked, "evaluate", *arguments, *output)
        assert done.returncode == 0 and "scores.csv" in done.stdout, done.stderr
    drawn = lsr(blocked, "evaluate", "cells", maps, dots, *output, "--images", tmp_path / "images" / "one.png")
    assert drawn.returncode == 1
    assert drawn.stderr == "lsr: the module 'matplotlib' is missing: pip install \"lsr_ext[train]\"\n"


def test_the_extra_of_the_command_is_named(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("output: out\n")
    for blocked, command, extra in (
        ("pydantic", ["train", config], "train"),
        ("skimage", ["evaluate", "dots", config, config], "metrics"),
        ("numpy", ["cohort", "cut", config, tmp_path], "wsi"),
        ("typer", ["--help"], "train"),
    ):
        done = lsr([blocked], *command)
        assert done.stderr == f'lsr: the module {blocked!r} is missing: pip install "lsr_ext[{extra}]"\n'
        assert done.returncode == 1


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("yaml", "train", "train"),
        ("PIL.Image", "cohort", "wsi"),
        ("openslide", "classifier", "wsi"),
        ("numba", "baseline", "metrics"),
        ("monai", "cohort", "train"),
        ("unheard_of", "cohort", "all"),
    ],
)
def test_extras_by_module_and_command(monkeypatch, module, command, extra):
    lines = [f'{name}>=1; extra == "{extra}"' for extra in ("metrics", "train", "wsi") for name in packages(extra)]
    monkeypatch.setattr(extras, "requires", lambda _: ["torch>=2.10", *lines])
    message = extras.missing_module_message(module, command)
    assert message.endswith(f'pip install "lsr_ext[{extra}]"')
