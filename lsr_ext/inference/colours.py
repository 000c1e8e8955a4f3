"""The colours that classes are drawn in, wherever a map is shown."""

from __future__ import annotations

CLASS_COLOURS = ("#ffe119", "#f032e6", "#3cb44b", "#4363d8", "#f58231", "#e6194b", "#46f0f0", "#911eb4")
BACKGROUND_COLOUR = "#9ca3af"


def class_colours(classes: list[str]) -> list[str]:
    """A colour for each class, "#rrggbb": grey for one called background, the palette in order for the others.

    Example:
        >>> class_colours(["background", "tumour"])
        ['#9ca3af', '#ffe119']
    """
    palette = iter(CLASS_COLOURS * (len(classes) // len(CLASS_COLOURS) + 1))
    return [BACKGROUND_COLOUR if name == "background" else next(palette) for name in classes]
