"""Find files that belong together, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lsr_ext.metrics.map_files import is_zarr


def pair_files(*sources: tuple[Path | None, Sequence[str]]) -> dict[str, list[Path | None]]:
    """Pair files: one file of each source, or the files of equal names in folders.

    Args:
        sources: (path, suffixes): all of them files, or all of them folders of files with one of these suffixes.
            The first source determines the names. A path that is None stands for no file.

    Returns:
        Name without suffix -> a file of each source.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: files together with folders, a folder without files, a name that is not in all folders, or two
            files with one name.
    """
    for path, _ in sources:
        if path is not None and not path.exists():
            raise FileNotFoundError(f"expected a file or a folder, found none at {path}")
    first = sources[0][0]
    folders = [path is None or (path.is_dir() and not is_zarr(path)) for path, _ in sources]
    if not folders[0]:
        wrong = next(
            (path for path, _ in sources[1:] if path is not None and path.is_dir() and not is_zarr(path)), None
        )
        if wrong:
            raise ValueError(f"{first} is a file, {wrong} a folder: expected two files or two folders")
        return {first.stem: [path for path, _ in sources]}
    if not all(folders):
        raise ValueError(
            f"{first} is a folder, {sources[folders.index(False)][0]} a file: expected files or folders"
        )
    listed = [None if path is None else _by_stem(path, suffixes) for path, suffixes in sources]
    for (path, _), found in zip(sources[1:], listed[1:], strict=True):
        unequal = sorted(listed[0].keys() ^ found.keys()) if found is not None else []
        if unequal:
            raise ValueError(
                f"expected files of the same names in {first} and {path}, {unequal[0]!r} is in one only"
            )
    return {name: [None if found is None else found[name] for found in listed] for name in listed[0]}


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes):
        if path.stem in found:
            raise ValueError(f"two files of one name: {found[path.stem]} and {path}")
        found[path.stem] = path
    if not found:
        raise ValueError(f"{folder}: expected files ({', '.join(suffixes)}), found none")
    return found
