"""What a command prints while it works."""

from __future__ import annotations

import logging
import sys
import warnings


def configure_logging() -> None:
    """Print this package's messages, each as a line."""
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("lsr_ext").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module="lightning")


def silence_lightning() -> None:
    """Print no advice of Lightning's: it is for those who write the loop, not for those who run it.

    Call it after Lightning is imported, because the import sets the level of its messages.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
