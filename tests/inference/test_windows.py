import pytest
import torch

from lsr_ext.inference.windows import predict_windows


def test_a_network_of_single_pixels_predicts_as_by_the_whole_image():
    image = torch.rand(1, 3, 37, 50)
    torch.testing.assert_close(predict_windows(image, torch.sigmoid, 16, 0.5), image.sigmoid())


@pytest.mark.parametrize(("size", "window_px", "expected"), [((40, 48), 16, (16, 16)), ((10, 48), 16, (10, 16))])
def test_the_network_sees_windows_and_nothing_outside_the_image(size, window_px, expected):
    seen = set()

    def network(windows):
        seen.add(tuple(windows.shape[2:]))
        assert windows.min() > 0
        return windows

    image = torch.rand(1, 3, *size) + 0.5
    torch.testing.assert_close(predict_windows(image, network, window_px, 0.25), image)
    assert seen == {expected}


def test_the_middle_of_a_window_counts_most():
    # A network that is right in the middle of its window only.
    def network(windows):
        found = torch.zeros_like(windows)
        found[..., 4:12, :] = windows[..., 4:12, :]
        return found

    image = torch.ones(1, 1, 24, 16)
    found = predict_windows(image, network, 16, 0.5)
    # Rows 8 to 15 are in both windows: rows 8 to 11 in the middle of the first, 12 to 15 of the second.
    assert found[0, 0, 8, 8] > 0.5
    assert found[0, 0, 15, 8] > 0.5
