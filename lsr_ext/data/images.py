"""Read images and masks into arrays; errors name the file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lsr_ext.data.tiff_images import LOSSY, TiffImage, read_tiff
from lsr_ext.tiff_directories import is_tiff

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAX_PIXELS = 2**26
_PNG_BITS, _PNG_COLOURS = 24, 25  # positions in the file: the fields of IHDR, always the first chunk
_PNG_GREY = 0

Colour = tuple[int, int, int]


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a PNG, JPEG or TIFF file as RGB.

    Args:
        path: the file; grey is repeated over the three channels, alpha is dropped, and a photograph is turned as
            its orientation flag says. Previews and smaller levels of a pyramid in a TIFF are passed over.
        max_pixels: the largest height x width to decode, checked in the file's header.

    Returns:
        uint8 (H, W, 3).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a readable image, is larger than `max_pixels`, holds several
            pages, or has other than 8 bits per channel.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from PIL import Image
        >>> path = Path(mkdtemp()) / "a.png"
        >>> Image.new("L", (30, 20), 255).save(path)
        >>> read_image(path).shape
        (20, 30, 3)
    """
    path = Path(path)
    if _exists(path) and is_tiff(path):
        stored = _read_tiff(path, max_pixels, None)
        _check_bits(path, stored.bits)
        return stored.rgb()
    with _opened(path, max_pixels) as image:
        _check_bits(path, _bits_per_channel(image))
        return np.array(image.convert("RGB"))


def read_mask(path: str | Path, max_pixels: int = MAX_PIXELS, *, page: int | None = None) -> np.ndarray:
    """Read a map of class or instance ids.

    Grey images of any number of bits and palette images hold the id itself, as stored: it is not scaled to 8 bits,
    nor inverted where the file says that 0 is white. 8-bit RGB images hold R + 256 G + 65536 B, or a grey mask
    that was saved in colour, if R = G = B everywhere; alpha is dropped. `.npy` files hold a 2-D array of integers.

    Args:
        path: the file.
        max_pixels: the largest height x width to decode, checked in the file's header.
        page: the page of a TIFF, counted from 0; None: the file has one page.

    Returns:
        int64 (H, W).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable, too large, holds several pages and none was chosen, has no such
            page, or has no integer ids; or it is coded as JPEG or another coding that changes ids, or has one bit
            per pixel of which 0 is white, so that foreground could be either.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from PIL import Image
        >>> path = Path(mkdtemp()) / "a.png"
        >>> Image.new("L", (3, 2), 1).save(path)
        >>> read_mask(path).tolist()
        [[1, 1, 1], [1, 1, 1]]
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        _check_page(path, page, 1)
        return _read_npy_mask(path, max_pixels)
    if _exists(path) and is_tiff(path):
        return _tiff_ids(_read_tiff(path, max_pixels, page), path)
    with _opened(path, max_pixels, page) as image:
        if image.format != "PNG":
            raise ValueError(f"{path}: {LOSSY}")
        bits = _bits_per_channel(image)
        if image.mode in ("RGB", "RGBA"):
            return _ids_from_rgb(np.array(image), bits, path)
        ids = np.array(image).astype(np.int64)
        if ids.ndim != 2:
            raise ValueError(f"{path}: expected a grey, palette or RGB mask, got mode {image.mode}")
        # Pillow scales grey of 2 and 4 bits to 8.
        return ids // (255 // (2**bits - 1)) if _png_header(path)[1] == _PNG_GREY and 1 < bits < 8 else ids


def read_colour_mask(
    path: str | Path,
    colours: Mapping[int, Colour | Sequence[Colour]],
    *,
    tolerance: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a mask that shows classes as colours.

    Args:
        path: PNG, JPEG or TIFF.
        colours: class id -> its colour (R, G, B), or several colours of this class.
        tolerance: the largest difference of a pixel from the nearest colour, in the channel that differs most, in
            grey levels; use a value above 0 for masks with compressed or smoothed edges.
        max_pixels: the largest height x width to decode, checked in the file's header.

    Returns:
        int64 (H, W), class ids.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unreadable file, invalid or repeated colours, or a pixel of another colour; the message
            names that colour.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from PIL import Image
        >>> path = Path(mkdtemp()) / "a.png"
        >>> Image.new("RGB", (2, 1), (255, 0, 0)).save(path)
        >>> read_colour_mask(path, {0: (255, 255, 255), 1: (255, 0, 0)}).tolist()
        [[1, 1]]
    """
    ids, table = _colour_table(colours)
    pixels = read_image(path, max_pixels)
    nearest = np.full(pixels.shape[:2], 256, dtype=np.int16)
    mask = np.empty(pixels.shape[:2], dtype=np.int64)
    for class_id, colour in zip(ids, table, strict=True):
        distance = np.abs(pixels.astype(np.int16) - colour).max(axis=2)
        mask[distance < nearest] = class_id
        np.minimum(nearest, distance, out=nearest)
    unknown = nearest > tolerance
    if unknown.any():
        row, column = np.argwhere(unknown)[0].tolist()
        raise ValueError(
            f"{path}: {unknown.sum()} pixels have none of the colours {table.tolist()} (tolerance {tolerance}), "
            f"the first {pixels[row, column].tolist()} in row {row}, column {column}"
        )
    return mask


def list_images(folder: str | Path) -> list[Path]:
    """List the PNG, JPEG and TIFF files of a folder (not of its subfolders), sorted by name.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no image.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from PIL import Image
        >>> folder = Path(mkdtemp())
        >>> Image.new("L", (3, 2)).save(folder / "a.png")
        >>> [path.name for path in list_images(folder)]
        ['a.png']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"expected a folder of images, found none at {folder}")
    paths = sorted(
        path
        for path in folder.iterdir()
        # macOS writes ._NAME beside every file on foreign disks.
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("._")
    )
    if not paths:
        raise ValueError(f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none")
    return paths


def _exists(path: Path) -> bool:
    if not path.is_file():
        raise FileNotFoundError(f"expected an image file, found none at {path}")
    return True


@contextmanager
def _opened(path: Path, max_pixels: int, page: int | None = None) -> Iterator[Image.Image]:
    """Open a PNG or JPEG file, turned as its orientation flag says."""
    with _decoding(path, "PNG, JPEG or TIFF image"):
        image = Image.open(path, formats=("PNG", "JPEG"))
    with image:
        _check_size(path, (image.height, image.width), max_pixels)
        pages = getattr(image, "n_frames", 1) if image.format == "PNG" else 1  # a JPEG's others are previews
        if page is None and pages > 1:
            raise ValueError(f"{path}: expected one image in the file, got {pages} pages")
        if page not in (None, 0):
            raise ValueError(f"{path}: expected a page from 0 to 0, got {page}")
        with _decoding(path, "PNG, JPEG or TIFF image"):
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
        yield image


def _read_tiff(path: Path, max_pixels: int, page: int | None) -> TiffImage:
    try:
        return read_tiff(path, max_pixels, page)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{path}: reading TIFF needs tifffile and imagecodecs: pip install lsr_ext[train]", name=error.name
        ) from error
    except Exception as error:  # tifffile raises many kinds of errors on damaged files
        known = isinstance(error, ValueError) and str(error).startswith("expected")
        raise ValueError(
            f"{path}: {error}" if known else f"{path}: not a readable PNG, JPEG or TIFF image ({error})"
        ) from error


def _tiff_ids(stored: TiffImage, path: Path) -> np.ndarray:
    if stored.samples.dtype.kind not in "uib":
        raise ValueError(f"{path}: expected integer ids, got floating-point pixels")
    if fault := stored.fault_as_ids:
        raise ValueError(f"{path}: {fault}")
    if stored.is_colour:
        return _ids_from_rgb(stored.samples, stored.bits, path)
    return stored.ids().astype(np.int64)


@contextmanager
def _decoding(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # decoders raise many kinds of errors on damaged bytes
        raise ValueError(f"{path}: not a readable {what} ({error})") from error


def _check_page(path: Path, page: int | None, pages: int) -> None:
    if page is None and pages > 1:
        raise ValueError(f"{path}: expected one image in the file, got {pages} pages")
    if page is not None and not 0 <= page < pages:
        raise ValueError(f"{path}: expected a page from 0 to {pages - 1}, got {page}")


def _colour_table(colours: Mapping[int, Colour | Sequence[Colour]]) -> tuple[np.ndarray, np.ndarray]:
    """Return class ids (C,) and their colours (C, 3), a row for each colour."""
    ids, rows = [], []
    for class_id, given in colours.items():
        own = np.atleast_2d(np.asarray(given))
        if own.ndim != 2 or own.shape[1] != 3 or own.dtype.kind not in "iu" or own.min() < 0 or own.max() > 255:
            raise ValueError(f"expected colours (R, G, B) from 0 to 255 for class {class_id}, got {given}")
        ids += [class_id] * len(own)
        rows += own.tolist()
    if not rows or len(set(map(tuple, rows))) < len(rows):
        raise ValueError(f"expected distinct colours of classes, got {dict(colours)}")
    return np.array(ids), np.array(rows, dtype=np.int16)


def _check_size(path: Path, size: tuple[int, ...], max_pixels: int) -> None:
    height, width = size
    if height * width > max_pixels:
        raise ValueError(f"{path}: expected at most {max_pixels} pixels, got {height} x {width}")


def _bits_per_channel(image: Image.Image) -> int:
    # Pillow silently reduces 16-bit colour to 8 bits, so read the bit depth from the file's header.
    return _png_header(Path(image.filename))[0] if image.format == "PNG" else 8


def _png_header(path: Path) -> tuple[int, int]:
    """Return the bit depth and the type of colours."""
    with path.open("rb") as file:
        start = file.read(_PNG_COLOURS + 1)
    return start[_PNG_BITS], start[_PNG_COLOURS]


def _check_bits(path: Path, bits: int) -> None:
    if bits > 8:
        raise ValueError(f"{path}: expected 8 bits per channel, got {bits}; rescale it to 8 bits first")


def _ids_from_rgb(pixels: np.ndarray, bits: int, path: Path) -> np.ndarray:
    if bits > 8:
        raise ValueError(f"{path}: expected an RGB mask of 8 bits per channel, got {bits}")
    channels = pixels[..., :3].astype(np.int64)
    red = channels[..., 0]
    if (red == channels[..., 1]).all() and (red == channels[..., 2]).all():
        return red
    return channels @ np.array([1, 256, 65536])


def _read_npy_mask(path: Path, max_pixels: int) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"expected a mask file, found none at {path}")
    with _decoding(path, ".npy array of numbers"):
        # A memory map reads only the header.
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(ids, np.ndarray) or ids.ndim != 2 or ids.dtype.kind not in "iub":
        found = f"{ids.dtype} {ids.shape}" if isinstance(ids, np.ndarray) else "an .npz archive"
        raise ValueError(f"{path}: expected a 2-D array of integers, got {found}")
    _check_size(path, ids.shape, max_pixels)
    return ids.astype(np.int64)
