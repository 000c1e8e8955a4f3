"""A slide with its prediction in the browser: a local page, served by this process alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr_ext.lazy import lazy_names

if TYPE_CHECKING:
    from lsr_ext.viewer.serve import serve_view
    from lsr_ext.viewer.server import make_app
    from lsr_ext.viewer.view import View

__all__ = ["View", "make_app", "serve_view"]

_HOMES = {"server": ["make_app"], "serve": ["serve_view"], "view": ["View"]}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
