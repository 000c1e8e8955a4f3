"""`lsr classifier`: train the patch classifier of Appendix C, and write the probabilities of patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lsr_ext.cli.logs import silence_lightning

app = typer.Typer(help="Label blocks with a patch classifier (Appendix C).", no_args_is_help=True)


@app.command("train")
def train_command(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of images; or manifest or store of a cohort of patches with labels 0 and 1."),
    ],
    output: Annotated[Path, typer.Argument(help="Write the checkpoint and scores.json into this folder.")],
    masks: Annotated[Path | None, typer.Option(help="Folder of the images' masks of class ids.")] = None,
    mask_suffix: Annotated[str, typer.Option(help="Suffix that a mask's name adds to its image's.")] = "_mask",
    positive: Annotated[int, typer.Option(help="Id of the class to detect.")] = 1,
    threshold: Annotated[
        float, typer.Option(help="Least share of that class in a positive patch, from 0 to 1.")
    ] = 0.5,
    patch_px: Annotated[int | None, typer.Option(help="Side of a patch of an image, in pixels.")] = None,
    input_px: Annotated[int, typer.Option(help="Resize patches of images to this side, in pixels.")] = 224,
    validation: Annotated[float, typer.Option(help="Share of the images to hold out for scores.")] = 0.2,
    depth: Annotated[int, typer.Option(help="Depth of the ResNet: 34, 18 or 10.")] = 34,
    epochs: Annotated[int, typer.Option(help="Number of passes over the patches.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Patches per batch, an even number: half of each class.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Learning rate at the start.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Random seed of the weights, the order and the split.")] = 0,
    colour_jitter: Annotated[
        float, typer.Option(help="Standard deviation of the logarithm of each channel's random gain.")
    ] = 0.0,
    accelerator: Annotated[str, typer.Option(help="Lightning's accelerator: auto, cpu or gpu.")] = "auto",
    workers: Annotated[int, typer.Option(help="Number of processes that read patches.")] = 0,
) -> None:
    """Train the classifier and score it on held-out patches. An interrupted run resumes."""
    from lsr_ext.baselines.patch_classifier import ClassifierSettings
    from lsr_ext.baselines.patch_data import is_cohort, patches_of_cohort, patches_of_images
    from lsr_ext.baselines.patch_training import train_and_score

    silence_lightning()
    if is_cohort(source):
        patches = patches_of_cohort(source)
    elif masks is None or patch_px is None:
        raise ValueError(f"{source}: images need --masks and --patch-px")
    else:
        patches = patches_of_images(
            source,
            masks,
            patch_px,
            input_px,
            mask_suffix=mask_suffix,
            positive=positive,
            threshold=threshold,
            validation=validation,
            seed=seed,
        )
    sizes = patches.patch_px, patches.input_px
    settings = ClassifierSettings(*sizes, depth, epochs, batch_size, learning_rate, seed, colour_jitter)
    scores = train_and_score(patches, output, settings, accelerator=accelerator, workers=workers)
    if scores:
        print(json.dumps(scores))


@app.command("predict")
def predict_command(
    checkpoint: Annotated[Path, typer.Argument(help="OUTPUT/classifier.ckpt of `lsr classifier train`.")],
    source: Annotated[
        Path,
        typer.Argument(help="Folder of slides, or CSV: slide[,patient][,mpp][,image][,channels][,display_range]."),
    ],
    output: Annotated[Path, typer.Argument(help="Write this CSV: slide,x,y,probability.")],
    images: Annotated[bool, typer.Option("--images", help="SOURCE is a folder of plain images.")] = False,
    patch_px: Annotated[
        int | None,
        typer.Option(
            help="Side of a patch in pixels (of a slide: at 40x). Default: as the classifier was trained."
        ),
    ] = None,
    limit: Annotated[float, typer.Option(help="Fail if more than this share of the slides is unreadable.")] = 0.05,
) -> None:
    """Write the probability of every patch of slides or images. An interrupted run resumes at its next slide."""
    from lsr_ext.baselines.patch_classifier import best_device, load_patch_classifier
    from lsr_ext.baselines.slide_probabilities import predict_images, predict_slides
    from lsr_ext.data.cohort import list_slides

    model = load_patch_classifier(checkpoint).to(best_device())
    if images:
        grids = predict_images(model, source, output, patch_px=patch_px)
        print(f"{output}: {sum(grid.size for grid in grids)} patches of {len(grids)} images")
        return
    slides = list_slides(source)
    left_out = predict_slides(model, slides, output, patch_px=patch_px, limit=limit)
    print(f"{output}: {len(slides) - len(left_out)} slides, {len(left_out)} left out")
