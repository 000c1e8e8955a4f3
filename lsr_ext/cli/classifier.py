"""The command line's patch classifier: train it on images or slides, write the probabilities of their patches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from lsr_ext.data import BlockCollection

app = typer.Typer(help="The patch classifier that labels blocks (Appendix C).", no_args_is_help=True)


class _Patches(NamedTuple):
    train: Dataset
    validation: Dataset | None
    patch_px: int
    input_px: int
    collate: Callable | None


@app.command("train")
def train_command(
    source: Annotated[
        Path, typer.Argument(help="Folder of images; or a cohort's manifest or store, of patches with two labels.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")],
    masks: Annotated[Path | None, typer.Option(help="Folder of the images' masks of class ids.")] = None,
    mask_suffix: Annotated[str, typer.Option(help="What a mask's name has after its image's.")] = "_mask",
    positive: Annotated[int, typer.Option(help="The class id whose share makes the label.")] = 1,
    threshold: Annotated[float, typer.Option(help="Least share of a positive patch.")] = 0.5,
    patch_px: Annotated[int | None, typer.Option(help="Side of a patch of an image, in its pixels.")] = None,
    input_px: Annotated[int, typer.Option(help="Side that an image's patches are resized to.")] = 224,
    validation: Annotated[float, typer.Option(help="Share of the images to score on.")] = 0.2,
    depth: Annotated[int, typer.Option(help="Of the ResNet: 34, 18 or 10.")] = 34,
    epochs: Annotated[int, typer.Option(help="Passes over the patches.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Even: half of either class.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="At the start.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of weights, order and split.")] = 0,
    colour_jitter: Annotated[
        float, typer.Option(help="Standard deviation of the log of a channel's random gain.")
    ] = 0.0,
    accelerator: Annotated[str, typer.Option(help="Lightning's: auto, cpu, gpu.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that read patches.")] = 0,
) -> None:
    """Train; run again, it goes on where it stopped. Scores of the validation split: OUTPUT/scores.json."""
    from torch.utils.data import default_collate

    from lsr_ext.baselines.patch_classifier import ClassifierSettings
    from lsr_ext.baselines.patch_training import evaluate_patches, train_patch_classifier
    from lsr_ext.files import write_atomically

    if source.suffix == ".parquet" or (source / "manifest.parquet").is_file():
        patches = _cohort_patches(source)
    else:
        patches = _image_patches(
            source, masks, mask_suffix, positive, threshold, patch_px, input_px, validation, seed
        )
    settings = ClassifierSettings(
        patches.patch_px, patches.input_px, depth, epochs, batch_size, learning_rate, seed, colour_jitter
    )
    collate = patches.collate or default_collate
    model = train_patch_classifier(
        patches.train,
        patches.train.labels,
        output,
        settings,
        collate=collate,
        accelerator=accelerator,
        workers=workers,
    )
    if patches.validation is None:
        return
    scores = evaluate_patches(model.to(_device()), patches.validation, collate)
    write_atomically(output / "scores.json", json.dumps(scores, indent=1).encode())
    print(json.dumps(scores))


@app.command("predict")
def predict_command(
    checkpoint: Annotated[Path, typer.Argument(help="OUTPUT/classifier.ckpt of the training.")],
    source: Annotated[Path, typer.Argument(help="Folder of slides, or CSV: slide[,patient][,mpp].")],
    output: Annotated[Path, typer.Argument(help="CSV: slide,x,y,probability of patches.")],
    images: Annotated[bool, typer.Option("--images", help="SOURCE is a folder of plain images.")] = False,
    patch_px: Annotated[
        int | None, typer.Option(help="Side of a patch (of a slide: at 40x), in place of the classifier's.")
    ] = None,
    limit: Annotated[float, typer.Option(help="Largest share of slides to leave out as unreadable.")] = 0.05,
) -> None:
    """Write the probabilities of all patches; run again over slides, it goes on where it stopped."""
    from lsr_ext.baselines.patch_classifier import load_patch_classifier, predict_probabilities
    from lsr_ext.baselines.slide_probabilities import predict_slides, write_probabilities
    from lsr_ext.data import list_images, read_image
    from lsr_ext.data.cohort import list_slides

    model = load_patch_classifier(checkpoint).to(_device())
    patch_px = patch_px or model.settings.patch_px
    if images:
        paths = list_images(source)
        probabilities = predict_probabilities(model, map(read_image, paths), patch_px)
        write_probabilities(output, [path.name for path in paths], probabilities, patch_px)
        print(f"{output}: {sum(grid.size for grid in probabilities)} patches of {len(paths)} images")
        return
    slides = list_slides(source)
    left_out = predict_slides(model, slides, output, patch_px=patch_px, limit=limit)
    print(f"{output}: {len(slides) - len(left_out)} slides, {len(left_out)} left out")


def _image_patches(
    source: Path,
    masks: Path | None,
    mask_suffix: str,
    positive: int,
    threshold: float,
    patch_px: int | None,
    input_px: int,
    validation: float,
    seed: int,
) -> _Patches:
    from lsr_ext.baselines.patch_training import PatchDataset, label_patches
    from lsr_ext.data import read_mask_pairs

    if masks is None or patch_px is None:
        raise ValueError(f"{source}: images need --masks and --patch-px")
    images, ids, names = read_mask_pairs(source, masks, mask_suffix=mask_suffix, instance_masks=False)
    collection = label_patches(
        images, [(mask == positive) * 1 for mask in ids], names, patch_px, threshold=threshold
    )
    train, held_out = _split(collection, validation, seed)
    held_out = None if held_out is None else PatchDataset(held_out, input_px)
    return _Patches(PatchDataset(train, input_px), held_out, patch_px, input_px, None)


def _split(collection: BlockCollection, share: float, seed: int) -> tuple[BlockCollection, BlockCollection | None]:
    from lsr_ext.data import split_by_image

    if share == 0:
        return collection, None
    train, held_out = split_by_image(collection.blocks, share, seed)
    return collection.subset(train), collection.subset(held_out)


def _cohort_patches(source: Path) -> _Patches:
    """The splits "train" and "validation" of a manifest or store."""
    from lsr_ext.data.cohort import CohortDataset, StoredBlocks, read_manifest
    from lsr_ext.data.cohort.dataset import SlideBlocks
    from lsr_ext.data.cohort.manifest import read_about

    manifest_path = source if source.is_file() or source.suffix == ".parquet" else source / "manifest.parquet"
    manifest = read_manifest(manifest_path)
    if len(manifest.label_names) != 2 or manifest.classes:
        raise ValueError(
            f"{manifest_path}: expected patches with the labels 0 and 1 (lsr cohort build --merge 1 --edge 0.5), "
            f"got {len(manifest.label_names)} labels of {len(manifest.classes) or 1} classes"
        )
    blocks = SlideBlocks(manifest) if manifest_path == source else StoredBlocks(source)
    recipe = read_about(manifest_path)["recipe"]
    splits = set(manifest.table["split"].to_pylist())
    validation = CohortDataset(blocks, "validation") if "validation" in splits else None
    train = CohortDataset(blocks, "train")
    patch_px = recipe["patch_px"] * recipe["merge"]
    return _Patches(train, validation, patch_px, recipe["size_px"], CohortDataset.collate)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
