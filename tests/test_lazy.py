"""Packages import what they offer when it is first used."""

import importlib
import subprocess
import sys

import pytest

import lsr_ext

SUBPACKAGES = ("data", "report")


@pytest.mark.parametrize("name", ["lsr_ext", *(f"lsr_ext.{name}" for name in SUBPACKAGES)])
def test_the_names_are_those_of_all(name):
    package = importlib.import_module(name)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_every_name_of_data_is_found():
    for name in lsr_ext.data.__all__:
        assert getattr(lsr_ext.data, name).__name__ == name


def test_subpackages_are_found_without_an_import():
    program = "import lsr_ext; print(lsr_ext.data.cohort.CohortDataset, lsr_ext.metrics.match_dots)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_loss_is_found():
    for name in ("CountDistribution", "LabelSuperResolutionLoss", "build_info"):
        assert getattr(lsr_ext, name).__name__ == name
    assert lsr_ext.functional.__name__ == "lsr_ext.functional"


def test_imports_without_torch():
    program = "import sys, lsr_ext, lsr_ext.config, lsr_ext.data; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for module in ("torch", "lightning", "numpy"):
        assert f"'{module}'" not in loaded
