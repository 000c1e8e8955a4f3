import pytest
import torch

from lsr_ext.inference.symmetries import predict_symmetric


def shift_right(images):
    """A network that paints everything two pixels to the right of where it is."""
    return images.roll(2, dims=3)


def test_a_network_that_paints_beside_the_place_is_brought_back():
    image = torch.zeros(1, 1, 11, 15)
    image[..., 5, 7] = 8
    found = predict_symmetric(image, shift_right)
    # A dot's mean place is the dot's place: an eighth of it twice in each of four directions.
    expected = torch.zeros_like(image)
    for row, column in ((3, 7), (7, 7), (5, 5), (5, 9)):
        expected[..., row, column] = 2
    torch.testing.assert_close(found, expected)


def test_a_network_without_a_direction_predicts_as_before():
    image = torch.rand(2, 3, 8, 12)
    for count in (1, 2, 4, 8):
        torch.testing.assert_close(predict_symmetric(image, torch.sigmoid, count), image.sigmoid())


def test_turned_and_flipped_images_have_turned_and_flipped_predictions():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 2, 3, padding=1)
    image = torch.rand(1, 3, 10, 14)
    with torch.no_grad():
        plain = predict_symmetric(image, network)
        for turn in (lambda x: x.flip(2), lambda x: torch.rot90(x, 1, (2, 3)), lambda x: x.transpose(2, 3)):
            torch.testing.assert_close(predict_symmetric(turn(image), network), turn(plain))


@pytest.mark.parametrize(
    ("count", "places"), [(1, [(5, 9)]), (2, [(5, 9), (5, 5)]), (4, [(5, 9), (5, 5), (3, 7), (7, 7)])]
)
def test_fewer_symmetries_average_fewer_turns(count, places):
    image = torch.zeros(1, 1, 11, 15)
    image[..., 5, 7] = count
    expected = torch.zeros_like(image)
    for row, column in places:
        expected[..., row, column] = 1
    torch.testing.assert_close(predict_symmetric(image, shift_right, count), expected)


def test_another_number_of_symmetries_is_refused():
    with pytest.raises(ValueError, match="expected 1, 2, 4 or 8 symmetries, got 3"):
        predict_symmetric(torch.zeros(1, 1, 4, 4), torch.sigmoid, 3)
