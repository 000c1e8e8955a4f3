import numpy as np
import pytest

from lsr_ext.data import read_image, read_mask
from lsr_ext.data.png import write_png


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
def test_pixels_are_written_as_they_are(tmp_path, shape):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / "new" / "a.png"
    write_png(path, pixels)
    assert np.array_equal((read_mask if len(shape) == 2 else read_image)(path), pixels)
    assert list(path.parent.iterdir()) == [path]
