"""Which extra of the package brings a missing module."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

# Commands that need a small extra; all others need "train".
_EXTRA_OF_COMMAND = {"cohort": "wsi", "evaluate": "metrics", "view": "view"}
# Modules that are not named after their package.
_PACKAGES = {
    "PIL": "pillow",
    "openslide": "openslide-python",
    "openslide_bin": "openslide-bin",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}


def missing_module_message(module: str, command: str = "") -> str:
    """One line that names the extra to install.

    Args:
        module: what cannot be imported, dotted or not.
        command: the first word after `lsr`: of several extras with the module, its own is named.

    Example:
        >>> print(missing_module_message("nothing.of.ours"))
        lsr: the module 'nothing' is missing: pip install "lsr_ext[all]"
    """
    name = module.partition(".")[0]
    extras = _extras_with(_PACKAGES.get(name, name))
    own = _EXTRA_OF_COMMAND.get(command, "train")
    extra = own if own in extras else next(iter(extras), "all")
    return f'lsr: the module {name!r} is missing: pip install "lsr_ext[{extra}]"'


def _extras_with(package: str) -> list[str]:
    """The extras that list a package themselves, as this installation describes them."""
    try:
        lines = requires("lsr_ext") or []
    except PackageNotFoundError:  # run from its sources
        return []
    pattern = re.compile(rf"{re.escape(package)}\b(?!-).*extra == ['\"](\w+)['\"]", re.IGNORECASE)
    return [found[1] for line in lines if (found := pattern.match(line))]
