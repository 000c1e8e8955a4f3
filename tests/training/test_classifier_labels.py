import numpy as np
import pytest
from tiny_runs import write_masks_run

from lsr_ext.training import load_config, prepare_data

CLASSIFIER = {"depth": 10, "input_px": 32, "epochs": 6, "batch_size": 8, "merge": 2}


def discs(folder, **data):
    given = {"bins": None, "edges": [0.5], "classifier": CLASSIFIER, "stride_px": 10}
    return load_config(write_masks_run(folder, data=given | data))


def test_blocks_are_labelled_by_classifiers_that_did_not_see_their_image(tmp_path):
    config = discs(tmp_path)
    data = prepare_data(config)
    assert data.train.label_names == ["0-0.5", "0.5-1"]
    assert {path.parent.name for path in config.output.rglob("classifier.ckpt")} == {
        "without_fold0",
        "without_fold1",
    }
    # Blocks of whole discs and blocks of bare ground are told apart: the label goes with the fraction.
    fractions = data.train.fractions()[:, 1]
    high = data.train.labels == 1
    assert high.any()
    assert fractions[high].mean() > fractions[~high].mean() + 0.15
    # The low-resolution model is in patches of half a block, and is not the truth.
    for image, found in data.low_resolution.items():
        assert np.isin(found, (0, 1)).all()
        cells = found.reshape(4, 10, 4, 10)
        assert (cells == cells[:, :1, :, :1]).all()
        assert found.shape == data.test.masks[image].shape


def test_there_is_a_classifier_for_each_fold(tmp_path):
    data = prepare_data(config := discs(tmp_path, classifier=CLASSIFIER | {"folds": 3}))
    folders = {path.parent.name for path in config.output.rglob("classifier.ckpt")}
    assert folders == {"without_fold0", "without_fold1", "without_fold2"}
    high = data.train.labels == 1
    fractions = data.train.fractions()[:, 1]
    assert fractions[high].mean() > fractions[~high].mean() + 0.15
    with pytest.raises(ValueError, match="need 4 training images or patients, one a fold, got 3"):
        prepare_data(discs(tmp_path, classifier=CLASSIFIER | {"folds": 4}))


def test_the_same_call_gives_the_same_labels(tmp_path):
    config = discs(tmp_path)
    first, second = prepare_data(config), prepare_data(config)
    assert np.array_equal(first.train.labels, second.train.labels)


def test_runs_of_one_seed_share_the_classifier(tmp_path):
    first = discs(tmp_path).model_copy(update={"shared": tmp_path / "shared", "output": tmp_path / "first"})
    labels = prepare_data(first).train.labels
    found = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("classifier.ckpt")}
    assert len(found) == 2 and not first.output.exists()
    second = first.model_copy(update={"output": tmp_path / "second"})
    assert np.array_equal(prepare_data(second).train.labels, labels)
    assert found == {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("classifier.ckpt")}
    other = discs(tmp_path, downscale=2, block_size_px=10).model_copy(update={"shared": tmp_path / "shared"})
    with pytest.raises(ValueError, match=r"settings\.yaml is of classifiers of other data"):
        prepare_data(other)


def test_blocks_must_be_whole_patches(tmp_path):
    with pytest.raises(ValueError, match="a multiple of 3 patches, got a block_size_px of 20"):
        prepare_data(discs(tmp_path, classifier=CLASSIFIER | {"merge": 3}))
