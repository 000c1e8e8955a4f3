import numpy as np
import pytest

from lsr_ext.data import BlockCollection, cut_blocks
from lsr_ext.sources.labelling import (
    add_annotator_noise,
    draw_annotated,
    estimate_distribution,
    label_by_bins,
    label_high_low,
    round_fractions,
)


def collection(labels, seed=0):
    """Four images of three classes in four blocks each."""
    rng = np.random.default_rng(seed)
    masks = [rng.integers(0, 3, (20, 20)) for _ in range(4)]
    images = [np.zeros((20, 20, 3), np.uint8)] * 4
    blocks = cut_blocks([(20, 20)] * 4, 10)
    return BlockCollection(images, blocks, labels, ["ground", "a", "b"], masks, list("wxyz"), ["low", "high"])


def test_bins_are_cut_at_the_quantiles_of_the_training_side():
    train, test = np.linspace(0, 1, 101), np.array([0.1, 0.5, 0.9])
    labels = label_by_bins(train, test, None, 4)
    assert np.bincount(labels.train).tolist() == [25, 25, 25, 26]
    assert labels.test.tolist() == [0, 2, 3]
    assert labels.names == ["0-0.25", "0.25-0.5", "0.5-0.75", "0.75-1"]


def test_high_are_the_blocks_with_the_most_of_a_class():
    rng = np.random.default_rng(0)
    train, test = rng.dirichlet([8, 1, 1], 200), rng.dirichlet([8, 1, 1], 50)
    labels = label_high_low(train, test, 0.1)
    assert (labels.train[:, 0] == -1).all()
    assert labels.train[:, 1:].sum(0).tolist() == [20, 20]
    for c in (1, 2):
        threshold = np.sort(train[:, c])[-20]
        assert np.array_equal(labels.train[:, c] == 1, train[:, c] >= threshold)
        assert set(test[labels.test[:, c] == 1, c] >= threshold - 0.05) <= {True}


def test_a_class_that_is_everywhere_alike_has_no_high_blocks():
    fractions = np.array([[0.5, 0.5, 0.0]] * 4)
    with pytest.raises(ValueError, match="class 1: no training block is high"):
        label_high_low(fractions, fractions, 0.25)


def test_guesses_are_off_by_the_noise_and_sum_to_one():
    truth = np.tile([0.5, 0.3, 0.2], (4000, 1))
    seen = add_annotator_noise(truth, 0.05, np.random.default_rng(0))
    np.testing.assert_allclose(seen.sum(1), 1)
    assert (seen >= 0).all()
    assert (seen[:, 1:] - truth[:, 1:]).std() == pytest.approx(0.05, rel=0.05)
    assert np.array_equal(add_annotator_noise(truth, 0.0, np.random.default_rng(0)), truth)


def test_rounded_numbers_are_multiples_and_sum_to_one():
    fractions = np.random.default_rng(0).dirichlet([2, 1, 1], 500)
    rounded = round_fractions(fractions, 0.05)
    np.testing.assert_allclose(rounded.sum(1), 1)
    fits = np.rint(fractions[:, 1:] / 0.05).sum(1) <= 20
    steps = rounded[fits] / 0.05
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    assert np.abs(rounded[fits, 1:] - fractions[fits, 1:]).max() <= 0.025 + 1e-9
    assert round_fractions(fractions, None) is fractions


def test_numbers_too_many_to_fit_are_scaled():
    rounded = round_fractions(np.array([[0.0, 0.5, 0.5], [0.2, 0.4, 0.4]]), 0.33)
    np.testing.assert_allclose(rounded, [[0, 0.5, 0.5], [0.34, 0.33, 0.33]])


def test_some_blocks_of_every_class_and_label_are_annotated():
    labels = np.stack([np.full(16, -1), np.arange(16) % 2, np.arange(16) // 8], 1)
    blocks = collection(labels)
    chosen = draw_annotated(blocks, 3, seed=0)
    for c in (1, 2):
        for z in (0, 1):
            assert (labels[chosen, c] == z).sum() >= 3
    assert len(chosen) <= 12
    assert np.array_equal(draw_annotated(blocks, "all", 0), np.arange(16))


def test_distribution_of_labels_per_class():
    labels = np.stack([np.full(16, -1), np.arange(16) % 2, np.arange(16) // 8], 1)
    blocks = collection(labels)
    found = estimate_distribution(blocks, np.arange(16))
    fractions = blocks.fractions()
    for c in (1, 2):
        for z in (0, 1):
            values = fractions[labels[:, c] == z, c]
            assert found.mean[z, c].item() == pytest.approx(values.mean())
            assert found.std[z, c].item() == pytest.approx(values.std())
    assert found.mean[:, 0].tolist() == pytest.approx([fractions[:, 0].mean()] * 2)


def test_estimated_fractions_widen_the_distribution():
    blocks = collection(np.arange(16) % 2)
    exact = estimate_distribution(blocks, np.arange(16))
    noisy = estimate_distribution(blocks, np.arange(16), noise_std=0.1, seed=1)
    assert (noisy.std[:, 1] > exact.std[:, 1]).all()
