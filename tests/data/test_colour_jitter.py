import torch

from lsr_ext.data import jitter_colours


def drawn(images, std, seed=0):
    return jitter_colours(images, std, torch.Generator().manual_seed(seed))


def test_none_leaves_images_and_random_numbers_alone():
    images = torch.rand(2, 3, 4, 4)
    before = torch.random.get_rng_state()
    assert jitter_colours(images, 0.0) is images
    assert torch.equal(torch.random.get_rng_state(), before)


def test_each_channel_of_each_image_has_a_gain_and_an_offset_of_its_own():
    images = torch.rand(5, 3, 6, 6, dtype=torch.float64) * 0.4 + 0.3
    changed = drawn(images, 0.05)
    x, y = images.flatten(2), changed.flatten(2)
    gain = (y[..., 1] - y[..., 0]) / (x[..., 1] - x[..., 0])
    offset = y[..., 0] - gain * x[..., 0]
    torch.testing.assert_close(y, gain[..., None] * x + offset[..., None])
    assert gain.unique().numel() == 15
    assert offset.unique().numel() == 15


def test_the_spread_is_as_told():
    images = torch.full((20_000, 1, 1, 2), 0.5, dtype=torch.float64)
    images[..., 1] = 0.25
    light, dark = drawn(images, 0.1)[:, 0, 0].T
    gain = (light - dark) / 0.25
    torch.testing.assert_close(gain.log().std(), torch.tensor(0.1, dtype=torch.float64), rtol=0.03, atol=0)
    offset = light - 0.5 * gain
    torch.testing.assert_close(offset.std(), torch.tensor(0.02, dtype=torch.float64), rtol=0.03, atol=0)


def test_colours_stay_in_range():
    changed = drawn(torch.rand(50, 3, 8, 8), 2.0)
    assert changed.min() == 0 and changed.max() == 1


def test_a_generator_makes_it_repeatable():
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(drawn(images, 0.2), drawn(images, 0.2))
    assert not torch.equal(drawn(images, 0.2), drawn(images, 0.2, seed=1))
