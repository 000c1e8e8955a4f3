import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_runs import TINY_TRAINING

from lsr_ext.config import load_config
from lsr_ext.data import cut_blocks
from lsr_ext.evaluation import evaluate
from lsr_ext.metrics import DotSet
from lsr_ext.sources import prepare_data
from lsr_ext.sources.dots import dot_fractions
from lsr_ext.training import train

EXAMPLE = Path(__file__).parents[2] / "examples" / "multiplex_ihc.yaml"
CELL_AREA_PX = 20.0
COLOURS = {"a": (200, 40, 40), "b": (40, 60, 200)}


def write_dots_run(folder, **sections):
    """Six images with dots of two classes in a grid, and the path of a configuration that trains on them."""
    rng = np.random.default_rng(0)
    for name in ("images", "dots"):
        (folder / name).mkdir()
    for index in range(6):
        image = np.full((40, 40, 3), 220, np.uint8)
        rows = []
        for x, y in np.indices((4, 4)).reshape(2, -1).T * 10 + 4:
            kind = rng.choice(["a", "b", ""], p=[0.2, 0.1, 0.7])
            if kind:
                image[y - 2 : y + 3, x - 2 : x + 3] = COLOURS[kind]
                rows.append((x, y, kind))
        Image.fromarray(image).save(folder / "images" / f"s{index // 2}_{index}.png")
        with (folder / "dots" / f"s{index // 2}_{index}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("x", "y", "class"), *rows])
    data = {
        "source": "dots",
        "classes": ["ground", "a", "b"],
        "cell_area_px": CELL_AREA_PX,
        "block_size_px": 20,
        "high_share": 0.4,
        "patient": "^s.",
        "test_fraction": 0.34,
        "stains": {"a": [200, 40, 40], "b": [40, 60, 200], "background": [220, 220, 220]},
    }
    content = {"output": str(folder / "run"), "data": data, "methods": ["intra"], "training": TINY_TRAINING}
    for name, section in sections.items():
        content[name] = content[name] | section if isinstance(section, dict) and name in content else section
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_fractions_are_dots_times_the_area_of_a_cell():
    dots = {0: DotSet([[1, 1], [19.9, 1], [20, 1], [5, 30]], ["a", "b", "a", "a"])}
    found = dot_fractions(dots, cut_blocks([(40, 40)], 20), ["ground", "a", "b"], 40.0)
    np.testing.assert_allclose(found, [[0.8, 0.1, 0.1], [0.9, 0.1, 0], [0.9, 0.1, 0], [1, 0, 0]])


def test_a_crowded_block_is_full():
    dots = {0: DotSet(np.full((6, 2), 3.0), ["a"] * 4 + ["b"] * 2)}
    found = dot_fractions(dots, cut_blocks([(10, 10)], 10), ["ground", "a", "b"], 50.0)
    np.testing.assert_allclose(found, [[0, 2 / 3, 1 / 3]])


def test_blocks_are_labelled_by_their_dots_and_split_by_patient(tmp_path):
    data = prepare_data(load_config(write_dots_run(tmp_path)))
    assert data.train.masks is None and data.test.masks is None
    assert len({data.train.names[block.image][:2] for block in data.train.blocks}) == 2
    assert len({data.test.names[block.image][:2] for block in data.test.blocks}) == 1
    counts = data.train.targets.fractions[:, 1:] * 400 / CELL_AREA_PX
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
    for column in (1, 2):
        is_high = data.train.labels[:, column] == 1
        assert counts[is_high, column - 1].min() > counts[~is_high, column - 1].max()
        annotated = data.annotated[is_high[data.annotated]]
        assert data.distribution.mean[1, column].item() == pytest.approx(
            data.train.targets.fractions[annotated, column].mean()
        )
    assert set(data.dots["truth"]) == {block.image for block in data.test.blocks}


def test_maps_are_scored_by_the_dots(tmp_path):
    path = write_dots_run(tmp_path, methods=["intra", "high_res"])
    second = {"second_dots": "dots"}
    config = load_config(path, {"data.second_dots": second["second_dots"]})
    train(config)
    scores = evaluate(config)
    assert scores["inter_rater"]["f1"] == 1.0
    assert scores["l2"]["f1"] > 0.9
    assert all(scores[name]["iou"] is None and 0 <= scores[name]["f1"] <= 1 for name in ("intra", "high_res"))


@pytest.mark.parametrize("method", ["supervised", "limited"])
def test_there_is_no_pixel_supervision(tmp_path, method):
    with pytest.raises(ValueError, match=f"'{method}' needs pixel truth, and the source 'dots' has none"):
        load_config(write_dots_run(tmp_path, methods=[method]))


def test_an_image_without_dots_and_an_unknown_class_are_errors(tmp_path):
    config = load_config(write_dots_run(tmp_path))
    file = tmp_path / "dots" / "s0_0.csv"
    file.write_text("x,y,class\n3,4,c\n")
    with pytest.raises(
        ValueError, match=r"expected dots of the classes \('a', 'b'\), got 'c' in .*s0_0.csv, row 2"
    ):
        prepare_data(config)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="expected one file of dots of s0_0.png in .*, found 0"):
        prepare_data(config)


@pytest.mark.skipif(
    not (EXAMPLE.parents[2] / "shared" / "data" / "multiplex_ihc_fields").is_dir(),
    reason="needs ../shared/data/multiplex_ihc_fields",
)
def test_the_example_holds_out_a_slide_and_every_class_has_a_spread():
    data = prepare_data(load_config(EXAMPLE))
    slides = [{side.names[block.image].split("_")[0] for block in side.blocks} for side in (data.train, data.test)]
    assert slides == [{"O0135", "N22800"}, {"M036"}]
    assert (data.distribution.std > 0).all()
    assert (data.train.labels[:, 1:] == 1).any(0).all()


def test_images_beyond_the_memory_are_read_from_a_file(tmp_path):
    config = load_config(write_dots_run(tmp_path))
    held = prepare_data(config).train
    mapped = prepare_data(
        config.model_copy(update={"data": config.data.model_copy(update={"memory_gb": 0})})
    ).train
    assert mapped.reads_files and not held.reads_files
    np.testing.assert_array_equal(mapped.block_images(range(len(mapped))), held.block_images(range(len(held))))
