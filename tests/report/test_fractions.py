import numpy as np
from matplotlib.patches import StepPatch

from lsr_ext import CountDistribution
from lsr_ext.metrics import fraction_calibration
from lsr_ext.report.fractions import draw_fraction_histograms


def test_a_panel_for_each_label_that_has_blocks():
    distribution = CountDistribution([[0.2], [0.5], [0.8]], [[0.1]] * 3, ["low", "mid", "high"], ["tumour"])
    labels = np.array([0, 0, 2])
    fractions = {"intra": [[0.2], [0.25], [0.9]], "intra+inter": [[0.1], [0.3], [0.8]]}
    found = {name: fraction_calibration(values, labels, distribution) for name, values in fractions.items()}
    figure = draw_fraction_histograms(found, 0)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["label low, 2 blocks", "label high, 1 blocks"]
    stairs = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    assert [patch.get_data().values.sum().round(6) for patch in stairs] == [2, 2, 2]  # expected, then both methods
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[1] == "intra-instance: mean absolute error 0.050"  # (0 + 0.05 + 0.1) / 3
