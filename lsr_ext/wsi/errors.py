"""What can go wrong with a slide. The messages carry the path, what was expected and what came."""


class SlideError(ValueError):
    """Anything wrong with a slide file or with what was asked of it."""


class UnsupportedSlideError(SlideError):
    """The file is no slide, or one of a kind that no backend reads."""


class CorruptSlideError(SlideError):
    """The file is damaged: it does not open, is cut short, or a tile does not decode."""


class MissingResolutionError(SlideError):
    """A resolution was asked for, and the slide does not say its own."""


class ReadTooLargeError(SlideError):
    """A read would take more memory than the limit allows."""
