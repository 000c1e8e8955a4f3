"""The local cache of blocks: the same pixels, its size, damage, and slides that change."""

import numpy as np
import pytest
from cohorts import make_cohort
from torch.utils.data import DataLoader

from lsr_ext.data.cohort import CachedBlocks, CohortDataset, SlideBlocks, read_manifest

BLOCK_BYTES = 16 * 16 * 3 + 4


class Counted(SlideBlocks):
    """Slides that count what is read from them."""

    reads = 0

    def read(self, row):
        self.reads += 1
        return super().read(row)


@pytest.fixture
def blocks(tmp_path):
    return Counted(read_manifest(make_cohort(tmp_path, 4)))


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")


def test_blocks_are_read_from_their_slide_once(blocks, tmp_path):
    cached = CachedBlocks(blocks, tmp_path / "cache", 10**6)
    expected = [blocks.read(row) for row in range(len(blocks.manifest))]
    blocks.reads = 0
    for _ in range(3):
        for row, pixels in enumerate(expected):
            np.testing.assert_array_equal(cached.read(row), pixels)
    assert blocks.reads == len(expected)
    assert sum(path.stat().st_size for path in files(tmp_path / "cache")) == len(expected) * BLOCK_BYTES


def test_it_grows_to_its_budget_and_no_further(blocks, tmp_path):
    for _ in range(2):  # a second process counts what is there
        cached = CachedBlocks(blocks, tmp_path / "cache", 5 * BLOCK_BYTES + 100)
        for row in range(len(blocks.manifest)):
            cached.read(row)
        assert len(files(tmp_path / "cache")) == 5


def test_several_users_of_a_folder_share_its_budget(blocks, tmp_path):
    users = [CachedBlocks(blocks, tmp_path / "cache", 5 * BLOCK_BYTES) for _ in range(2)]
    users[0].read(0)
    left = files(tmp_path / "cache")[0].parent / ".other.part"
    left.mkdir()
    users.append(CachedBlocks(blocks, tmp_path / "cache", 5 * BLOCK_BYTES))
    assert left.exists()  # somebody may be writing there
    for row in range(len(blocks.manifest)):
        users[row % 3].read(row)
    assert len(files(tmp_path / "cache")) == 5


@pytest.mark.parametrize("damage", [b"", b"shorter", bytes(BLOCK_BYTES)])
def test_a_damaged_file_is_read_again(blocks, tmp_path, damage):
    cached = CachedBlocks(blocks, tmp_path / "cache", 10**6)
    expected = cached.read(0)
    files(tmp_path / "cache")[0].write_bytes(damage)
    np.testing.assert_array_equal(cached.read(0), expected)
    assert blocks.reads == 2


def test_a_slide_that_changed_is_read_again(blocks, tmp_path):
    CachedBlocks(blocks, tmp_path / "cache", 10**6).read(0)
    slide = blocks.manifest.slides()[0][0].path
    slide.touch()
    CachedBlocks(blocks, tmp_path / "cache", 10**6).read(0)
    assert blocks.reads == 2


def test_a_slide_that_is_missing_is_left_out_as_without_a_cache(blocks, tmp_path):
    blocks.manifest.slides()[0][0].path.unlink()
    dataset = CohortDataset(CachedBlocks(blocks, tmp_path / "cache", 10**6), limit=0.25)
    assert [item["index"] for item in dataset.__getitems__(range(16))] == list(range(4, 16))
    assert dataset.quarantine.count == 4


def test_what_was_left_half_written_is_removed(blocks, tmp_path):
    cached = CachedBlocks(blocks, tmp_path / "cache", 10**6)
    cached.read(0)
    del cached  # its user was killed
    left = files(tmp_path / "cache")[0].parent / ".left.part"
    left.mkdir()
    (left / "half").write_bytes(b"half")
    CachedBlocks(blocks, tmp_path / "cache", 10**6)
    assert not left.exists()


@pytest.mark.long
def test_workers_share_the_cache_and_its_budget(blocks, tmp_path):
    cached = CachedBlocks(blocks, tmp_path / "cache", 7 * BLOCK_BYTES)
    dataset = CohortDataset(cached)
    options = {"num_workers": 2, "multiprocessing_context": "forkserver", "batch_size": 2}
    found = DataLoader(dataset, collate_fn=dataset.collate, **options)
    for _ in range(2):
        images = np.concatenate([batch["image"].numpy() for batch in found])
        for row, image in enumerate(images):
            np.testing.assert_array_equal((image.transpose(1, 2, 0) * 255).round(), blocks.read(row))
    assert len(files(tmp_path / "cache")) == 7
