"""Land cover, the first use of label super-resolution: aerial images, 30 m NLCD labels, 1 m classes, their table.

The files come from https://github.com/calebrob6/land-cover (Robinson et al., CVPR 2019; the statistics are those
of Malkin et al., ICLR 2019). A block is the set of all pixels of one NLCD class within one crop, so blocks have
any shape, and the loss gets them by `block_ids`.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from lsr_ext.data.dataset import draw_symmetry, to_tensor
from lsr_ext.data.images import MAX_PIXELS
from lsr_ext.distributions import CountDistribution

CLASSES = ("water", "forest", "field", "impervious")
_KEY, _CHANNELS = "arr_0", 29
_NAIP, _TRUTH, _NLCD = slice(0, 4), 8, 9  # channels: RGB and near infrared, 1 m classes, NLCD codes
_UNRESOLVED_STD = 0.005  # the table has two decimals, so 0.00 means any value below this
_UNIFORM_STD = 12**-0.5  # std of a fraction that is uniform over [0, 1]


@dataclass(frozen=True)
class LandCoverPatch:
    """An aerial image with its labels.

    Attributes:
        image: (H, W, 4), red, green, blue, near infrared; uint8, or float in [0, 1].
        labels: int64 (H, W), the NLCD class as a row of the published table; -1 = no data.
        mask: int64 (H, W), the 1 m class as an index into `CLASSES`; -1 = no data. For scores, not for training.

    Raises:
        ValueError: arrays of other shapes.

    Example:
        >>> ids = np.zeros((8, 8), np.int64)
        >>> LandCoverPatch(np.zeros((8, 8, 4), np.uint8), labels=ids, mask=ids).labels.shape
        (8, 8)
    """

    image: np.ndarray
    labels: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        size = self.image.shape[:2]
        if self.image.ndim != 3 or self.image.shape[2] != 4 or {self.labels.shape, self.mask.shape} != {size}:
            raise ValueError(
                f"expected an image (H, W, 4) with labels and mask (H, W), "
                f"got {self.image.shape}, {self.labels.shape}, {self.mask.shape}"
            )


def read_land_cover_patch(path: str | Path, tables: str | Path | None = None) -> LandCoverPatch:
    """Read a patch of the Chesapeake set.

    Args:
        path: `.npz` of one array "arr_0" (1, 29, H, W): channels 0-3 NAIP (RGB and near infrared, 0-255), 8 the
            1 m class and 9 the NLCD code; the others are ignored.
        tables: the folder of nlcd_to_lr_labels.txt and cheaseapeake_to_hr_labels.txt; None: `tables`, beside the
            patch's folder.

    Returns:
        The patch, its image in uint8. NLCD codes without a distribution (no data) become label -1.

    Raises:
        FileNotFoundError: the patch or a table is missing.
        ValueError: another shape, codes that are not in the tables, or values that are not 8-bit pixels.
    """
    path = Path(path)
    tables = path.parent.parent / "tables" if tables is None else Path(tables)
    channels = _read_channels(path)
    image = np.moveaxis(channels[_NAIP], 0, 2)
    if not np.array_equal(image, np.clip(np.rint(image), 0, 255)):
        raise ValueError(f"{path}: expected whole numbers in [0, 255] in the four NAIP channels")
    rows = _recode(channels[_NLCD], _read_codes(tables / "nlcd_to_lr_labels.txt"), f"{path}, NLCD code")
    known = _read_table(tables / "nlcd_mu.txt").any(axis=1)
    if rows.max() >= len(known):
        raise ValueError(f"{tables}: expected rows below {len(known)} in nlcd_to_lr_labels.txt, got {rows.max()}")
    truth = _read_codes(tables / "cheaseapeake_to_hr_labels.txt")  # 0 = no data, then the classes
    mask = _recode(channels[_TRUTH], truth, f"{path}, 1 m class") - 1
    return LandCoverPatch(image.astype(np.uint8), np.where(known[rows], rows, -1), mask)


def read_land_cover_tables(folder: str | Path) -> CountDistribution:
    """The published p(c_l | z): fractions of `CLASSES` in blocks of each NLCD class.

    Rows are numbered as in nlcd_to_lr_labels.txt and named by NLCD code and name, "41 Deciduous forest". The
    tables have two decimals, so a standard deviation of 0.00 becomes 0.005, the largest value that rounds to it.
    Rows of zeros (no data) are not distributions: they become uniform, mean 1/4 and std 12^-1/2, and
    `read_land_cover_patch` gives no pixel their label.

    Args:
        folder: the folder of nlcd_mu.txt, nlcd_sigma.txt, nlcd_to_lr_labels.txt and nlcd_color.txt.

    Raises:
        FileNotFoundError: one of these files is missing.
        ValueError: tables of other shapes, or rows that neither sum to 1 nor are zero.
    """
    folder = Path(folder)
    mean, std = (_read_table(folder / name) for name in ("nlcd_mu.txt", "nlcd_sigma.txt"))
    if mean.shape != std.shape:
        raise ValueError(f"{folder}: expected tables of one shape, got {mean.shape} and {std.shape}")
    empty = ~mean.any(axis=1)
    std = np.maximum(std, _UNRESOLVED_STD)
    mean[empty], std[empty] = 1 / len(CLASSES), _UNIFORM_STD
    names = _label_names(folder, len(mean))
    try:
        return CountDistribution(torch.from_numpy(mean), torch.from_numpy(std), names, CLASSES, exclusive=True)
    except ValueError as error:
        raise ValueError(f"{folder / 'nlcd_mu.txt'}: {error}") from error


def low_resolution_map(labels: np.ndarray, distribution: CountDistribution) -> np.ndarray:
    """Apply the low-resolution model: each pixel gets the likeliest class of its label.

    Args:
        labels: integer (H, W) rows of the distribution; -1 = unknown.
        distribution: of Z labels.

    Returns:
        int64 (H, W) class ids; -1 where the label is unknown.

    Raises:
        ValueError: labels outside [-1, Z).

    Example:
        >>> distribution = CountDistribution([[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.1], [0.1, 0.1]])
        >>> low_resolution_map(np.array([[0, 1, -1]]), distribution).tolist()
        [[0, 1, -1]]
    """
    likeliest = distribution.mean.argmax(dim=1).numpy()
    if labels.size and not -1 <= labels.min() <= labels.max() < len(likeliest):
        raise ValueError(f"expected labels in [-1, {len(likeliest)}), got {labels.min()} to {labels.max()}")
    return np.where(labels < 0, -1, likeliest[labels])


class LandCoverDataset(Dataset[dict[str, torch.Tensor]]):
    """Map-style dataset of crops whose blocks are the pixels of one NLCD class each. Use `collate_blocks`.

    An item is a dict of `image`: float32 (4, h, w) in [0, 1]; `block_ids`: int32 (h, w), the block of each pixel
    in [0, B), -1 = none; `label`: int64 (B,), the blocks' labels; `mask`: int64 (h, w) class ids, -1 = no data.

    Args:
        patches: each at least `crop_px` on a side.
        crop_px: the side of a crop. A patch gives as many items as it holds crops side by side.
        augment: take crops at random positions, flipped and turned by quarters at random, with torch's global
            generator. Otherwise crops lie side by side from the top left, and the remainder is left out.

    Raises:
        ValueError: `crop_px` below 1, or a patch smaller than a crop.

    Example:
        >>> ids = np.zeros((8, 8), np.int64)
        >>> dataset = LandCoverDataset([LandCoverPatch(np.zeros((8, 8, 4), np.uint8), ids, ids)], crop_px=4)
        >>> len(dataset), tuple(dataset[0]["image"].shape)
        (4, (4, 4, 4))
    """

    def __init__(self, patches: Sequence[LandCoverPatch], crop_px: int = 128, augment: bool = True) -> None:
        if crop_px < 1:
            raise ValueError(f"expected crop_px of at least 1, got {crop_px}")
        self.patches = list(patches)
        self.crop_px = crop_px
        self.augment = augment
        self._crops: list[tuple[int, int, int]] = []
        for index, patch in enumerate(self.patches):
            height, width = patch.labels.shape
            if min(height, width) < crop_px:
                raise ValueError(f"patch {index} is {height} x {width} px, smaller than a crop of {crop_px} px")
            tops, lefts = (range(0, side - crop_px + 1, crop_px) for side in (height, width))
            self._crops += [(index, top, left) for top in tops for left in lefts]

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        number, top, left = self._crops[index]
        patch = self.patches[number]
        turns, flip = 0, False
        if self.augment:
            top, left = (int(torch.randint(side - self.crop_px + 1, ())) for side in patch.labels.shape)
            turns, flip = draw_symmetry(is_square=True)
        window = slice(top, top + self.crop_px), slice(left, left + self.crop_px)
        image, rows, mask = (
            to_tensor(array[window], turns, flip) for array in (patch.image, patch.labels, patch.mask)
        )
        label, block_ids = _number_blocks(rows)
        scale = 1 if image.is_floating_point() else 255
        pixels = image.permute(2, 0, 1).contiguous().float() / scale
        return {"image": pixels, "block_ids": block_ids, "label": label, "mask": mask.long()}


def collate_blocks(items: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Make a batch of N items and number its K blocks, as `LabelSuperResolutionLoss` expects.

    Returns:
        `image` (N, 4, h, w) float32, `block_ids` (N, h, w) int32 in [-1, K), `label` (K,) int64 and
        `mask` (N, h, w) int64.

    Example:
        >>> ids = np.zeros((4, 4), np.int64)
        >>> dataset = LandCoverDataset([LandCoverPatch(np.zeros((4, 4, 4), np.uint8), ids, ids)], crop_px=4)
        >>> collate_blocks([dataset[0], dataset[0]])["label"].tolist()
        [0, 0]
    """
    batch = {name: torch.stack([item[name] for item in items]) for name in ("image", "block_ids", "mask")}
    counts = torch.tensor([len(item["label"]) for item in items], dtype=torch.int32)
    first = counts.cumsum(0, dtype=torch.int32) - counts
    ids = batch["block_ids"]
    batch["block_ids"] = torch.where(ids < 0, ids, ids + first[:, None, None])
    batch["label"] = torch.cat([item["label"] for item in items])
    return batch


def _number_blocks(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the known labels of a crop (B,), and the index of its label for each pixel, int32 (h, w)."""
    label, ids = rows.long().unique(return_inverse=True)  # sorted, so that -1 comes first
    unknown = int((label < 0).sum())
    return label[unknown:], (ids - unknown).int()


def _read_channels(path: Path) -> np.ndarray:
    """Read (29, H, W), after a check of its size."""
    if not path.is_file():
        raise FileNotFoundError(f"expected a land-cover patch, found none at {path}")
    try:
        shape = _stored_shape(path)
        if len(shape) != 4 or shape[:2] != (1, _CHANNELS) or not 0 < shape[2] * shape[3] <= MAX_PIXELS:
            raise ValueError(f"expected (1, {_CHANNELS}, H, W) of at most {MAX_PIXELS} pixels, got {shape}")
        with np.load(path, allow_pickle=False) as archive:
            return archive[_KEY][0]
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: not a readable land-cover patch ({error})") from error


def _stored_shape(path: Path) -> tuple[int, ...]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{_KEY}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.kind not in "fiu":
        raise ValueError(f"expected an array of numbers, got {dtype}")
    return shape


def _read_table(path: Path) -> np.ndarray:
    """float64 (Z, 4)."""
    try:
        table = np.loadtxt(_file(path), ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: not a readable table ({error})") from error
    if table.shape[1] != len(CLASSES):
        raise ValueError(f"{path}: expected {len(CLASSES)} columns ({', '.join(CLASSES)}), got {table.shape[1]}")
    return table


def _read_codes(path: Path) -> dict[int, int]:
    """Lines of `code row`."""
    try:
        pairs = np.loadtxt(_file(path), dtype=np.int64, ndmin=2)
        return dict(pairs.tolist())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected two whole numbers in each line ({error})") from error


def _recode(values: np.ndarray, codes: dict[int, int], what: str) -> np.ndarray:
    present, inverse = np.unique(values, return_inverse=True)
    unknown = [value for value in present.tolist() if value not in codes]
    if unknown:
        raise ValueError(f"{what}: expected one of {sorted(codes)}, got {unknown[0]:g}")
    rows = np.array([codes[int(value)] for value in present.tolist()], dtype=np.int64)
    return rows[inverse].reshape(values.shape)


def _label_names(folder: Path, count: int) -> list[str]:
    codes: dict[int, int] = {}
    for code, row in _read_codes(folder / "nlcd_to_lr_labels.txt").items():
        codes.setdefault(row, code)
    path = folder / "nlcd_color.txt"
    fields = [line.split(",") for line in _file(path).read_text(encoding="utf-8").splitlines()[1:] if line]
    try:
        names = {int(row): name.strip() for row, name, *_ in fields}
    except ValueError as error:
        raise ValueError(f"{path}: expected lines of row, name, colours ({error})") from error
    return [f"{codes.get(row, '-')} {names.get(row, 'No data')}" for row in range(count)]


def _file(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"expected a table of land cover, found none at {path}")
    return path
