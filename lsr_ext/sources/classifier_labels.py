"""Labels from a patch classifier, the paper's way (section 3.2.1, Appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from filelock import FileLock

from lsr_ext.baselines.patch_classifier import (
    ClassifierSettings,
    PatchClassifier,
    classify_patches,
    low_resolution_model_map,
    predict_probabilities,
)
from lsr_ext.baselines.patch_data import PatchDataset, label_patches
from lsr_ext.baselines.patch_training import train_patch_classifier
from lsr_ext.config.data import ClassifierConfig, PixelTruthSection
from lsr_ext.data import Block
from lsr_ext.files import write_atomically
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.labelling import Labels, label_by_bins
from lsr_ext.sources.pixel_truth import PixelTruth


def label_by_classifier(
    truth: PixelTruth,
    groups: Sequence[str],
    train: Sequence[Block],
    test: Sequence[Block],
    foreground: int,
    data: PixelTruthSection,
    context: RunContext,
) -> tuple[Labels, dict[int, np.ndarray]]:
    """Bins of the largest probability among the patches of each block.

    The training images or patients are divided into folds. For each fold a classifier is trained on the others,
    into `classifier` in the run's shared folder, unless another run has done so. A training image is labelled by
    the classifier that has not seen it, held-out images by the mean of all.

    Args:
        truth: M images with their masks.
        groups: of each image, what stays in one fold: itself or its patient.
        train, test: the training and the held-out blocks.
        foreground: the class id that makes a patch positive.
        data: the size of a block, the edges of the bins and the classifier's settings.
        context: the run's seed and shared folder.

    Returns:
        The labels, and the map that thresholds the patches' probabilities at 0.5 of each held-out image.

    Raises:
        ValueError: fewer training images or patients than folds, patches to train on of one class only, or blocks
            that are not a whole number of patches.
    """
    settings, images = data.classifier, truth.images
    patch_px, rest = divmod(data.block_size_px, settings.merge)
    if rest:
        raise ValueError(
            f"expected blocks of a multiple of {settings.merge} patches, "
            f"got a block_size_px of {data.block_size_px}"
        )
    train_images = {block.image for block in train}
    folds = _folds(train_images, groups, settings.folds, context.seed)
    seen = [sorted(train_images - fold) for fold in folds]
    folder = context.folder / "classifier"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        _check_folder(folder, data, context.seed)
        models = [
            _train(folder / f"without_fold{number}", truth, others, patch_px, foreground, settings, context)
            for number, others in enumerate(seen)
        ]
    of_train = np.empty(len(train))
    for model, fold in zip(models, folds, strict=True):
        unseen = [k for k, block in enumerate(train) if block.image in fold]
        of_train[unseen] = _largest(model, images, [train[k] for k in unseen], patch_px)
    of_test = np.mean([_largest(model, images, test, patch_px) for model in models], axis=0)
    maps = {image: _map(images[image], models, patch_px, foreground) for image in {block.image for block in test}}
    return label_by_bins(of_train, of_test, data.edges, None), maps


def _check_folder(folder: Path, data: PixelTruthSection, seed: int) -> None:
    """Refuse a folder with classifiers of other data, and note whose they are."""
    # What comes after the probabilities may differ.
    section = data.model_dump(mode="json", exclude={"edges", "distribution_blocks", "distribution_noise_std"})
    path, settings = folder / "settings.yaml", {"seed": seed, "data": section}
    if path.exists() and yaml.safe_load(path.read_text(encoding="utf-8")) != settings:
        raise ValueError(f"{path} is of classifiers of other data: choose another output folder")
    write_atomically(path, yaml.safe_dump(settings, sort_keys=False).encode())


def _folds(image_indices: set[int], groups: Sequence[str], count: int, seed: int) -> list[set[int]]:
    """The training images parted in so many, those of a patient together."""
    distinct = sorted({groups[i] for i in image_indices})
    if len(distinct) < count:
        raise ValueError(
            f"classifier.folds: {count} folds need as many training images or patients, got {len(distinct)}"
        )
    order = np.random.default_rng(seed).permutation(distinct).tolist()
    return [{i for i in image_indices if groups[i] in order[k::count]} for k in range(count)]


def _train(
    folder: Path,
    truth: PixelTruth,
    seen: Sequence[int],
    patch_px: int,
    foreground: int,
    settings: ClassifierConfig,
    context: RunContext,
) -> PatchClassifier:
    patches = label_patches(
        [truth.images[i] for i in seen],
        [(truth.masks[i] == foreground).astype(np.int64) for i in seen],
        [str(i) for i in seen],
        patch_px,
        threshold=settings.threshold,
        stride_px=max(patch_px // 2, 1),
    )
    training = ClassifierSettings(
        patch_px, seed=context.seed, **settings.model_dump(exclude={"folds", "merge", "threshold"})
    )
    dataset = PatchDataset(patches, settings.input_px)
    return train_patch_classifier(dataset, patches.labels, folder, training, accelerator=context.accelerator)


def _largest(
    model: PatchClassifier, images: Sequence[np.ndarray], blocks: Sequence[Block], patch_px: int
) -> np.ndarray:
    """The largest probability among each block's patches, (N,)."""
    patches = [
        block.cut(images[block.image])[y : y + patch_px, x : x + patch_px]
        for block in blocks
        for y in range(0, block.height, patch_px)
        for x in range(0, block.width, patch_px)
    ]
    return classify_patches(model, patches).reshape(len(blocks), -1).max(1)


def _map(image: np.ndarray, models: Sequence[PatchClassifier], patch_px: int, foreground: int) -> np.ndarray:
    """Class ids: the foreground where the patch is positive, else the first other class."""
    probabilities = np.mean([predict_probabilities(model, [image], patch_px)[0] for model in models], axis=0)
    is_positive = low_resolution_model_map(probabilities, patch_px, image.shape[:2]).astype(bool)
    return np.where(is_positive, foreground, int(foreground == 0))
