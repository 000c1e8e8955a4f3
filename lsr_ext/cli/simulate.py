"""`lsr simulate`: fields and slides of simulated multiplex IHC, with exact masks, dots and labels."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lsr_ext.data.simulate import FieldOptions

app = typer.Typer(help="Simulate multiplex IHC, for tests and planning. Not real tissue.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(min=0, help="Random seed; equal seeds give equal pixels.")]
Difficulty = Annotated[
    float, typer.Option(min=0.0, help="How hard the images are: 0 = pure stains on glass, 1 = as multiplex IHC.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=NUMBER", help="Set a number of lsr_ext.data.simulate.FieldOptions. Repeat."
    ),
]


@app.command("fields")
def fields_command(
    output: Annotated[
        Path, typer.Argument(help="Write images, masks, dots, labels.csv and simulated.json into this folder.")
    ],
    count: Annotated[int, typer.Option(help="Number of fields.")] = 100,
    size_px: Annotated[int, typer.Option(help="Side of a field in pixels of 1 um.")] = 400,
    seed: Seed = 0,
    difficulty: Difficulty = 1.0,
    settings: Settings = None,
    count_noise: Annotated[
        float, typer.Option(help="Relative noise of the cell counts that labels are made from.")
    ] = 0.0,
) -> None:
    """Simulate fields, and write them with their masks, dots and high/low labels."""
    from lsr_ext.data import simulate

    options = _options(difficulty, settings or [])
    simulate.write_fields(output, count, size_px=size_px, seed=seed, options=options, count_noise=count_noise)
    print(f"{output}: {count} simulated fields")


@app.command("slide")
def slide_command(
    output: Annotated[
        Path, typer.Argument(help="Write this slide, .tif, and its mask, dots and parameters beside it.")
    ],
    size_px: Annotated[int, typer.Option(help="Side of the slide in pixels of 1 um.")] = 2048,
    seed: Seed = 0,
    difficulty: Difficulty = 1.0,
    settings: Settings = None,
) -> None:
    """Simulate a slide, and write it as a pyramid of JPEG tiles with its mask and dots."""
    from lsr_ext.data import simulate

    section = simulate.simulate_slide(output, size_px, seed, _options(difficulty, settings or []))
    print(f"{output}: a simulated slide with {len(section.dots)} cells")


@app.command("slides")
def slides_command(
    output: Annotated[
        Path,
        typer.Argument(help="Write slides, masks, cells, dots, slides.csv and simulated.json into this folder."),
    ],
    count: Annotated[int, typer.Option(help="Number of slides.")] = 20,
    slides_per_patient: Annotated[int, typer.Option(help="Number of slides of each patient.")] = 2,
    size_px: Annotated[int, typer.Option(help="Side of a slide in pixels of 1 um.")] = 2048,
    seed: Seed = 0,
    difficulty: Difficulty = 1.0,
    settings: Settings = None,
) -> None:
    """Simulate a cohort of slides, for `lsr cohort build`, with their exact truth."""
    from lsr_ext.data import simulate

    simulate.write_slides(
        output,
        count,
        slides_per_patient=slides_per_patient,
        size_px=size_px,
        seed=seed,
        options=_options(difficulty, settings or []),
    )
    print(f"{output}: {count} simulated slides")


def _options(difficulty: float, settings: list[str]) -> FieldOptions:
    from lsr_ext.data.simulate import FieldOptions

    options = FieldOptions().scaled(difficulty)
    names = [field.name for field in dataclass_fields(options) if field.name != "high_shares"]
    for text in settings:
        name, _, number = text.partition("=")
        if name not in names:
            raise ValueError(f"expected one of {', '.join(names)} = a number, got {text!r}")
        try:
            value = int(number) if name == "jpeg_quality" else float(number)
        except ValueError:
            raise ValueError(f"expected a number as {name}, got {number!r}") from None
        options = replace(options, **{name: value})
    return options
