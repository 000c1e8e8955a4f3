from importlib.resources import as_file, files

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from tiny_runs import write_masks_run

from lsr_ext.config import load_config
from lsr_ext.config.methods import METHODS
from lsr_ext.experiments.tables import BASELINES, TABLES
from lsr_ext.report.styles import METHOD_COLOURS, METHOD_TITLES, data_title

ALL = {*METHODS, *BASELINES}


def test_every_method_and_baseline_has_a_colour_and_a_title():
    assert set(METHOD_COLOURS) == ALL
    assert set(METHOD_TITLES) == ALL
    assert len(set(METHOD_TITLES.values())) == len(ALL)
    assert {row.method for table in TABLES.values() for row in table.rows} <= ALL


def test_no_two_colours_look_alike():
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in METHOD_COLOURS.values()])
    lab = rgb2lab(rgb)
    distance = deltaE_ciede2000(lab[:, None], lab[None])
    assert distance[np.triu_indices(len(lab), 1)].min() > 15  # CIEDE2000: above 10, colours differ at a glance


def test_figures_name_the_data(tmp_path):
    with as_file(files("lsr_ext.config") / "demo.yaml") as path:
        assert data_title(load_config(path).data) == "scikit-image's IHC image"
    folder = tmp_path / "nuclei"
    folder.mkdir()
    config = load_config(write_masks_run(tmp_path, data={"root": "nuclei"}))
    assert data_title(config.data) == "nuclei"
