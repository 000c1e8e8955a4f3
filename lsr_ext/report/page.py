"""One HTML file with all that it shows in it: for a desk and a phone, light and dark, and print."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from lsr_ext.report.figures import NARROW, WIDE, PageWidth
from lsr_ext.report.png import figure_png

Draw = Callable[..., Figure]  # takes `page`, a PageWidth


class Picture(NamedTuple):
    """A figure as data addresses: for a wide page, and for a narrow one, whose text is as large."""

    wide: str
    narrow: str


def render_page(template: str, **content: object) -> str:
    """Fill a template of this package; names are escaped."""
    environment = Environment(loader=PackageLoader("lsr_ext.report", "."), autoescape=True)
    date = datetime.now(timezone.utc).strftime("%d %B %Y, %H:%M UTC")
    return environment.get_template(template).render(date=date, **content)


def embed(draw: Draw) -> Picture:
    """Draw a figure for both widths of a page."""

    def drawn(page: PageWidth) -> str:
        return data_address(figure_png(draw(page=page)), "png")

    return Picture(drawn(WIDE), drawn(NARROW))


def data_address(content: bytes, kind: str) -> str:
    """A picture's bytes as an address for `src`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
