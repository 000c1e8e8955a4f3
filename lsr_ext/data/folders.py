"""Read folders of images with their pixel masks, and resize them to one magnification."""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path

import numpy as np
from skimage.transform import downscale_local_mean

from lsr_ext.data.images import IMAGE_SUFFIXES, Colour, list_images, read_colour_mask, read_image, read_mask
from lsr_ext.data.kept_arrays import KeptArrays, Memory


def read_mask_pairs(
    image_folder: str | Path,
    mask_folder: str | Path,
    *,
    image_suffix: str = "",
    mask_suffix: str = "_mask",
    mask_page: int | Sequence[int] | None = None,
    mask_colours: Mapping[int, Colour | Sequence[Colour]] | None = None,
    colour_tolerance: int = 0,
    instance_masks: bool = True,
    resize: Mapping[str, int] | None = None,
    downscale: int = 1,
    memory: Memory | None = None,
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray], list[str]]:
    """Read every image `name<image_suffix>.png` of one folder with its mask `name<mask_suffix>.png` of another.

    Args:
        image_folder: PNG, JPEG or TIFF images.
        mask_folder: masks of those formats or `.npy`; it may be the image folder itself.
        image_suffix: the end of an image's file name, between name and extension; images without it are
            ignored.
        mask_suffix: the same for masks.
        mask_page: the page to read from TIFF masks with several, counted from 0; if several pages are given, such
            as the nuclei and the cytoplasm of the same cells, the first that is not 0 counts. None: one page.
        mask_colours: masks hold colours: class id -> colour or colours, with `colour_tolerance`, as
            `read_colour_mask` takes them. None: masks hold ids.
        instance_masks: masks hold instance ids, and every id above 0 becomes class 1; False: ids stay. Masks
            with colours always hold classes.
        resize: image file name -> the factor that would enlarge it to the magnification of the
            others; a file that is not listed has factor 1.
        downscale: the factor by which images of factor 1 are reduced. An image of factor f is reduced
            by downscale / f: images by the mean over an area, masks by the nearest pixel.
        memory: what images and masks may take; None: as much as they need.

    Returns:
        images: uint8 (H, W, 3); masks: int64 (H, W) class ids; names: the images' file names.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: an image without a mask, a mask without an image, two files of one name, a pair
            of unequal sizes, a `resize` name without an image, a reduction that is not a whole number, a page
            and colours together, or an error of `read_mask` or `read_colour_mask`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from PIL import Image
        >>> folder = Path(mkdtemp())
        >>> Image.new("RGB", (30, 20)).save(folder / "a.png")
        >>> Image.new("L", (30, 20), 1).save(folder / "a_mask.png")
        >>> images, masks, names = read_mask_pairs(folder, folder, mask_suffix="_mask")
        >>> images[0].shape, masks[0].shape, names
        ((20, 30, 3), (20, 30), ['a.png'])
    """
    if mask_page is not None and mask_colours is not None:
        raise ValueError("expected either mask_page or mask_colours, got both")
    pairs = _find_pairs(Path(image_folder), Path(mask_folder), image_suffix, mask_suffix)
    resize = dict(resize or {})
    unknown = sorted(resize.keys() - {image.name for image, _ in pairs})
    if unknown:
        raise ValueError(f"resize names {unknown[0]!r}, which is not an image of {image_folder}")
    memory = memory or Memory()
    images, masks = KeptArrays(memory), KeptArrays(memory)
    for image_path, mask_path in pairs:
        image = read_image(image_path)
        if mask_colours is not None:
            mask = read_colour_mask(mask_path, mask_colours, tolerance=colour_tolerance)
        else:
            mask = _read_pages(mask_path, mask_page)
            mask = mask > 0 if instance_masks else mask
        _check_pair(image, mask, image_path, mask_path)
        factor = _reduction(downscale, resize.get(image_path.name, 1), image_path)
        images.append(reduce_image(image, factor))
        masks.append(reduce_mask(mask, factor).astype(np.int64))
    return images.arrays, masks.arrays, [image.name for image, _ in pairs]


def read_resize_list(path: str | Path) -> dict[str, int]:
    """Read lines of `<file name> <whole factor>`, as in the MICCAI nuclei sets, for `read_mask_pairs`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line has another form; the message names file and line.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "resize.txt"
        >>> _ = path.write_text("a.png 2\\n")
        >>> read_resize_list(path)
        {'a.png': 2}
    """
    factors = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, factor = line.strip().rpartition(" ")
        if not name or not factor.isdecimal():
            raise ValueError(f"{path}, line {number}: expected '<file name> <factor>', got {line!r}")
        factors[name] = int(factor)
    return factors


def reduce_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Reduce a uint8 (H, W, 3) image by a whole factor, each pixel the mean over factor x factor."""
    if factor == 1:
        return image
    means = downscale_local_mean(_whole_cells(image, factor), (factor, factor, 1))
    return np.rint(means).astype(np.uint8)


def reduce_mask(mask: np.ndarray, factor: int) -> np.ndarray:
    """Reduce an (H, W) map of ids by a whole factor, by the pixel nearest to the centre of each square."""
    return _whole_cells(mask, factor)[factor // 2 :: factor, factor // 2 :: factor]


def _whole_cells(array: np.ndarray, factor: int) -> np.ndarray:
    # downscale_local_mean would pad the remainder with black.
    height, width = array.shape[:2]
    return array[: height - height % factor, : width - width % factor]


def _find_pairs(
    image_folder: Path, mask_folder: Path, image_suffix: str, mask_suffix: str
) -> list[tuple[Path, Path]]:
    same_folder = image_folder.resolve() == mask_folder.resolve()
    if same_folder and not mask_suffix:
        raise ValueError(f"{image_folder}: images and masks in one folder need a mask suffix")
    if not mask_folder.is_dir():
        raise FileNotFoundError(f"expected a folder of masks, found none at {mask_folder}")
    images = [path for path in list_images(image_folder) if path.stem.endswith(image_suffix)]
    if not images:
        raise ValueError(f"{image_folder}: expected images named <name>{image_suffix}, found none")
    if same_folder:
        images = [path for path in images if not path.stem.endswith(mask_suffix)]
    masks = [
        path
        for path in sorted(mask_folder.iterdir())
        if path.suffix.lower() in (*IMAGE_SUFFIXES, ".npy") and path.stem.endswith(mask_suffix)
    ]
    image_of = _by_name(images, image_suffix)
    mask_of = _by_name(masks, mask_suffix)
    for name, path in image_of.items():
        if name not in mask_of:
            raise ValueError(f"image {path} has no mask {name}{mask_suffix} in {mask_folder}")
    for name, path in mask_of.items():
        if name not in image_of:
            raise ValueError(f"mask {path} has no image {name}{image_suffix} in {image_folder}")
    return [(path, mask_of[name]) for name, path in image_of.items()]


def _read_pages(path: Path, pages: int | Sequence[int] | None) -> np.ndarray:
    if not isinstance(pages, Sequence):
        return read_mask(path, page=pages)
    masks = [read_mask(path, page=page) for page in pages]
    if len({mask.shape for mask in masks}) != 1:
        raise ValueError(f"{path}: expected pages {list(pages)} of one size, got {[mask.shape for mask in masks]}")
    return reduce(lambda above, below: np.where(above == 0, below, above), masks)


def _by_name(paths: list[Path], suffix: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        name = path.stem.removesuffix(suffix)
        if name in found:
            raise ValueError(f"two files of one name: {found[name]} and {path}")
        found[name] = path
    return found


def _check_pair(image: np.ndarray, mask: np.ndarray, image_path: Path, mask_path: Path) -> None:
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"{image_path} is {image.shape[0]} x {image.shape[1]} px, its mask {mask_path.name} "
            f"{mask.shape[0]} x {mask.shape[1]} px"
        )


def _reduction(downscale: int, factor: int, image_path: Path) -> int:
    if factor < 1 or downscale < 1 or downscale % factor:
        raise ValueError(
            f"{image_path}: expected a downscale that is a whole multiple of the file's resize factor, "
            f"got {downscale} and {factor}"
        )
    return downscale // factor
