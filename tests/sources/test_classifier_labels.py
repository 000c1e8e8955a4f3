import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_runs import draw_disc, write_masks_run

from lsr_ext.config import load_config
from lsr_ext.sources import prepare_data

CLASSIFIER = {"depth": 10, "input_px": 32, "epochs": 6, "batch_size": 8, "merge": 2}


def discs(folder, **data):
    given = {"bins": None, "edges": [0.5], "classifier": CLASSIFIER, "stride_px": 10}
    return load_config(write_masks_run(folder, data=given | data))


@pytest.mark.parametrize("folds", [2, pytest.param(3, marks=pytest.mark.long)])
def test_labels_go_with_the_fraction(tmp_path, folds):
    config = discs(tmp_path, classifier=CLASSIFIER | {"folds": folds})
    data = prepare_data(config)
    assert data.train.label_names == ["0-0.5", "0.5-1"]
    trained = {path.parent.name for path in config.output.rglob("classifier.ckpt")}
    assert trained == {f"without_fold{number}" for number in range(folds)}
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


def test_no_classifier_saw_the_image_it_labels(tmp_path):
    """The disc of each image has the colour of the next one's ground: who saw an image would label it rightly."""
    for index in range(3):
        _, mask = draw_disc(12)
        image = np.full((*mask.shape, 3), 60, np.uint8)
        image[mask == 1, index] = 220
        image[mask == 0, (index + 1) % 3] = 220
        Image.fromarray(image).save(tmp_path / f"disc{index}.png")
        Image.fromarray(mask).save(tmp_path / f"disc{index}_mask.png")
    data = {"source": "masks", "block_size_px": 20, "stride_px": 5, "edges": [0.5], "test_fraction": 0.34}
    content = {"output": "run", "methods": ["intra"], "data": data | {"classifier": CLASSIFIER | {"merge": 1}}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    train = prepare_data(load_config(tmp_path / "run.yaml", {"output": str(tmp_path / "run")})).train
    is_disc, images = train.fractions()[:, 1] >= 0.5, np.array([block.image for block in train.blocks])
    assert len(set(images)) == 2
    for image in set(images):
        right = (train.labels == is_disc)[images == image]
        assert min(right[is_disc[images == image]].mean(), right[~is_disc[images == image]].mean()) < 0.5


def test_there_must_be_an_image_for_each_fold(tmp_path):
    with pytest.raises(ValueError, match="4 folds need as many training images or patients, got 3"):
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
