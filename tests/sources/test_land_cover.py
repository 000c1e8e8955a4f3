import numpy as np
import pytest
import yaml
from land_cover_files import channels, write_tables
from tiny_runs import TINY_TRAINING

from lsr_ext.config import METHODS, load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.inference import load_model
from lsr_ext.report import write_report
from lsr_ext.sources import prepare_data
from lsr_ext.training import train
from lsr_ext.training.build import build_batches

SIZE = (40, 48)


@pytest.fixture
def config(tmp_path):
    """Two patches to train on and one held out, half water and half forest by their labels, and a run on them."""
    write_tables(tmp_path / "tables")
    columns = np.broadcast_to(np.arange(SIZE[1]), SIZE)
    for folder, count in (("train_patches", 2), ("val_patches", 1)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            nlcd = np.where(columns < 20 + 4 * number, 11, 41)
            array = channels(nlcd, np.where(columns < 22, 1, 2), SIZE)
            np.savez(tmp_path / folder / f"{number}.npz", arr_0=array)
    data = {"source": "land_cover", "block_size_px": 20}
    content = {"output": str(tmp_path / "run"), "data": data, "training": TINY_TRAINING}
    content["methods"] = ["intra", "intra+inter", "supervised"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    return load_config(tmp_path / "run.yaml")


def test_it_is_trained_scored_and_reported_like_any_source(config):
    train(config)
    metrics = evaluate(config)
    assert set(metrics) == {"low_resolution", *config.methods}
    assert all(0 <= metrics[name]["iou"] <= 1 for name in config.methods)
    assert write_report(config).is_file()
    model = load_model(config.output / "intra+inter/model")
    assert model.description.input.channels == 4
    assert model.classes == ["water", "forest", "field", "impervious"]


def test_the_expected_area_is_by_pixels(config):
    data = prepare_data(config)
    # Columns 0 to 19 of one patch and to 23 of the other are water by their label, of 48 each.
    water = (20 + 24) / 96
    expected = water * np.array([0.97, 0.01, 0.01, 0.02]) + (1 - water) * np.array([0, 0.92, 0.06, 0.01])
    np.testing.assert_allclose(data.expected_area, expected / expected.sum())


def test_a_batch_holds_blocks_of_several_labels_and_no_groups(config):
    data = prepare_data(config)
    assert data.train.labels is None
    assert data.train.block_images([0])[0].shape == (20, 20, 4)
    batches = build_batches(METHODS["intra+inter"], data.train, config.training, config.seed, config.output)
    batches.trainer = type("Trainer", (), {"global_rank": 0, "world_size": 1})
    batch = next(iter(batches.train_dataloader()))
    assert "group" not in batch
    assert batch["image"].shape == (4, 4, 20, 20)
    assert batch["block_ids"].max() == len(batch["label"]) - 1
