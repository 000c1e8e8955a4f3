"""Imports run one way: a package imports from its own floor or from below."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lsr_ext"
# From the bottom up; what is named together does not import from each other.
FLOORS = [
    ["wsi", "losses"],
    ["data"],
    ["networks", "metrics"],
    ["inference"],
    ["baselines"],
    ["config"],
    ["sources"],
    ["training"],
    ["evaluation"],
    ["report", "viewer"],
    ["experiments", "demo"],
    ["cli"],
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def imported_parts(path):
    """What a file imports of the package, at run time or for its type hints: "data" of `lsr_ext.data.blocks`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "lsr_ext":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lsr_ext."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("lsr_ext."))


@pytest.mark.parametrize("part", sorted(FLOOR_OF))
def test_a_package_imports_from_below_alone(part):
    files = sorted((PACKAGE / part).rglob("*.py")) or [PACKAGE / f"{part}.py"]
    assert files[0].is_file()
    for path in files:
        for imported in set(imported_parts(path)) & FLOOR_OF.keys() - {part}:
            assert FLOOR_OF[imported] < FLOOR_OF[part], f"{path.relative_to(PACKAGE)} imports lsr_ext.{imported}"
