"""Names and colours in figures and tables: a colour and a title for each method, a title for the data."""

from __future__ import annotations

from lsr_ext.config.data import Data

# Oranges: intra, greens: inter, blues: both. Self-training is darker, pseudo-labels are lighter.
METHOD_COLOURS = {
    "low_resolution": "#8a8f98",
    "deconvolution": "#7a5c3e",
    "l2": "#7c3aed",
    "inter_rater": "#d4b200",
    "intra": "#c94f00",
    "inter": "#009e73",
    "intra+inter": "#0072b2",
    "high_res": "#e6007e",
    "intra+high_res": "#ff9a62",
    "inter+high_res": "#7cb518",
    "intra+inter+high_res": "#3bb4e8",
    "intra+self": "#7f1d1d",
    "inter+self": "#14532d",
    "intra+inter+self": "#1e1b8a",
    "limited": "#c79bdb",
    "supervised": "#222222",
}
METHOD_TITLES = {
    "low_resolution": "low-resolution labels",
    "deconvolution": "colour deconvolution",
    "l2": "colour separation by L2",
    "inter_rater": "inter-rater agreement",
    "intra": "intra-instance",
    "inter": "inter-instance",
    "intra+inter": "intra+inter-instance",
    "high_res": "pseudo-labels",
    "intra+high_res": "intra-instance & pseudo-labels",
    "inter+high_res": "inter-instance & pseudo-labels",
    "intra+inter+high_res": "intra+inter-instance & pseudo-labels",
    "intra+self": "intra-instance & self-training",
    "inter+self": "inter-instance & self-training",
    "intra+inter+self": "intra+inter-instance & self-training",
    "limited": "limited pixel supervision",
    "supervised": "full pixel supervision",
}
_SOURCES_WITHOUT_FOLDER = {"skimage_ihc": "scikit-image's IHC image", "simulated": "simulated fields"}


def data_title(data: Data) -> str:
    """Return the name of the data for a figure's title: the image, the simulation, or the folder of the data."""
    return _SOURCES_WITHOUT_FOLDER.get(data.source) or data.root.resolve().name or data.source
