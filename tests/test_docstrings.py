import doctest
import importlib
import pkgutil
import tempfile

import pytest

PACKAGES = ("baselines", "data", "metrics", "wsi")


MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(
        importlib.import_module(f"lsr_ext.{package}").__path__, f"lsr_ext.{package}."
    )
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_example(package):
    module = importlib.import_module(f"lsr_ext.{package}")
    errors = {name for name in module.__all__ if name.endswith("Error")}
    data_types = {"Region", "Slide"}  # made by functions that have examples
    need_files = {"read_land_cover_patch", "read_land_cover_tables"}
    missing = [name for name in module.__all__ if ">>>" not in (getattr(module, name).__doc__ or "")]
    assert set(missing) <= errors | data_types | need_files
