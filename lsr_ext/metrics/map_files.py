"""Open label maps, also of whole slides, without loading all of it; errors name the file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lsr_ext.data import read_mask
from lsr_ext.data.tiff_images import fault_as_ids
from lsr_ext.metrics.regions import check_label_map
from lsr_ext.tiff_directories import check_directories, check_pixels

MAP_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".zarr")
_MAX_CHUNK_PIXELS = 2**28


def open_label_map(path: str | Path) -> Any:
    """Open a map of class ids without reading more than its header, except for PNG.

    TIFF (one image, or a pyramid of which the largest level is used), `.npy` and zarr arrays are read when they
    are sliced, so the map of a whole slide does not have to fit in memory.

    Returns:
        An array-like, integer (H, W), with `shape`, `dtype` and slicing.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: an unknown suffix, an unreadable file, several images, a coding that may change ids, or an
            array that is not integer (H, W); the message names the file.
        ModuleNotFoundError: zarr is not installed; it is in the extra `lsr_ext[metrics]`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> import numpy as np
        >>> path = Path(mkdtemp()) / "map.npy"
        >>> np.save(path, np.zeros((20, 30), np.uint8))
        >>> open_label_map(path).shape
        (20, 30)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"expected a label map, found none at {path}")
    if is_zarr(path):
        opened = _opened(path, _open_zarr)
    elif path.suffix.lower() in (".tif", ".tiff"):
        opened = _opened(path, _open_tiff)
    elif path.suffix.lower() == ".npy":
        opened = _opened(path, _open_npy)
    elif path.suffix.lower() == ".png":
        return read_mask(path)
    else:
        raise ValueError(f"{path}: expected a label map ({', '.join(MAP_SUFFIXES)})")
    try:
        check_label_map(opened)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if math.prod(getattr(opened, "chunks", None) or (0,)) > _MAX_CHUNK_PIXELS:
        raise ValueError(f"{path}: expected chunks of at most {_MAX_CHUNK_PIXELS} pixels, got {opened.chunks}")
    return opened


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group, by its name or its metadata."""
    return path.is_dir() and (path.suffix.lower() == ".zarr" or any(map(Path.is_file, _zarr_metadata(path))))


def holds_predictions(path: Path) -> bool:
    """Whether a path is a slide's prediction, as `lsr predict` writes it, or a folder of them."""
    if is_zarr(path):
        return (path / "probabilities").is_dir() and (path / "classes").is_dir()
    return path.is_dir() and any(map(holds_predictions, path.glob("*.zarr")))


def _opened(path: Path, opener: Callable[[Path], Any]) -> Any:
    try:
        return opener(path)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the module {error.name!r} is missing: pip install lsr_ext[metrics]", name=error.name
        ) from error
    except Exception as error:  # decoders raise many kinds of errors on damaged bytes
        raise ValueError(f"{path}: not a readable label map ({error})") from error


def _open_npy(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _open_tiff(path: Path) -> Any:
    import tifffile
    import zarr

    with path.open("rb") as opened:
        check_directories(opened.fileno())
    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise ValueError(f"expected one image, got {len(file.series)}")
        page = file.series[0].keyframe
        check_pixels(page, file.filehandle.size)
        shape, fault = file.series[0].shape, fault_as_ids(page)
    if fault:
        raise ValueError(fault)
    if len(shape) != 2:
        raise ValueError(f"expected one grey image (H, W), got shape {shape}")
    return zarr.open(tifffile.imread(path, aszarr=True, level=0), mode="r")


def _open_zarr(path: Path) -> Any:
    import zarr

    _refuse_pickles(path)
    opened = zarr.open(str(path), mode="r")
    if not hasattr(opened, "shape"):
        raise ValueError(f"expected an array, got a group; name one of its arrays: {sorted(opened.array_keys())}")
    return opened


def _zarr_metadata(path: Path) -> list[Path]:
    return [path / name for name in ("zarr.json", ".zarray", ".zgroup")]


def _refuse_pickles(path: Path) -> None:
    """Raise a ValueError if an array's codecs unpickle, because that would run code from the file."""
    for metadata in _zarr_metadata(path):
        if metadata.is_file() and "pickle" in metadata.read_text(encoding="utf-8").lower():
            raise ValueError("expected an array without pickled objects")
