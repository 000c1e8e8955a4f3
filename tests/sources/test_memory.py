"""Sources whose images do not fit into memory: the same training from a file."""

import gc

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.sources import prepare_data
from lsr_ext.training import train


@pytest.mark.parametrize("write_run", [write_masks_run, write_labels_run])
def test_images_from_a_file_are_the_same(tmp_path, write_run):
    config = load_config(write_run(tmp_path))
    held = prepare_data(config)
    mapped = prepare_data(config.model_copy(update={"data": config.data.model_copy(update={"memory_gb": 0})}))
    assert not held.train.reads_files
    assert mapped.train.reads_files
    for side in ("train", "test"):
        expected, found = (getattr(data, side).dataset(augment=False) for data in (held, mapped))
        for one, other in zip(expected, found, strict=True):
            assert one.keys() == other.keys()
            for key, value in one.items():
                np.testing.assert_array_equal(value, other[key])
    del mapped, found
    gc.collect()
    assert not list(config.output.glob("*.arrays"))


@pytest.mark.parametrize("write_run", [write_masks_run, write_labels_run])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_from_a_file_ends_with_the_same_weights_and_scores(tmp_path, write_run, workers):
    results = []
    for memory_gb in (8, 0):
        folder = tmp_path / str(memory_gb)
        folder.mkdir()
        sections = {"data": {"memory_gb": memory_gb}, "training": {"steps": 3, "workers": workers}}
        config = load_config(write_run(folder, **sections))
        train(config)
        (method,) = (config.output / name for name in config.methods)
        results.append((load_file(method / "model" / "weights.safetensors"), evaluate(config)))
    (weights, scores), (others, other_scores) = results
    assert all(np.array_equal(value, others[name]) for name, value in weights.items())
    assert scores == other_scores
