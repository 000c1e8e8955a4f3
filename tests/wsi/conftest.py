import pytest
import torch


@pytest.fixture(autouse=True)
def two_threads():
    """Slides are read by as many threads as torch has, and one thread takes another way than two."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
