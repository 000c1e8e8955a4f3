"""Errors of slides. The messages contain the path, what was expected and what was found."""


class SlideError(ValueError):
    """An invalid slide file, or an invalid request to a slide."""


class UnsupportedSlideError(SlideError):
    """The file is not a slide, or is of a kind that no backend reads."""


class IncompleteLevelError(UnsupportedSlideError):
    """A lower level of an SVS has holes, to be filled from the finer one, as OpenSlide does."""


class CorruptSlideError(SlideError):
    """The file is damaged: it does not open, is truncated, or a tile cannot be decoded."""


class MissingResolutionError(SlideError):
    """A read at an mpp was requested, but the resolution of the slide is unknown."""


class ReadTooLargeError(SlideError):
    """A read would take more memory than the limit allows."""
