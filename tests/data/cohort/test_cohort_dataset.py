"""Feeding from a cohort: right pixels and counts, whatever the workers, with one slide in ten damaged."""

import contextlib
import gc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from cohorts import corrupt_tiles, make_cohort
from torch.utils.data import DataLoader

from lsr_ext.data import GroupedBatchSampler
from lsr_ext.data.cohort import (
    CohortDataset,
    Quarantine,
    QuarantineLimitError,
    SlideBlocks,
    StoredBlocks,
    cut_cohort,
    read_manifest,
    read_report,
    verify_store,
)
from lsr_ext.wsi import CorruptSlideError, configure, open_slide


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Six slides of four blocks."""
    return make_cohort(tmp_path_factory.mktemp("cohort"), 6)


@pytest.fixture
def damaged(tmp_path):
    """Five slides of four blocks: one whose tiles are corrupt, one that does not open, three whole."""
    manifest = make_cohort(tmp_path, 5)
    corrupt_tiles(tmp_path / "slides" / "slide-001.tif")
    (tmp_path / "slides" / "slide-003.tif").write_bytes(b"II*\0no slide any more")
    return manifest


def expected_image(manifest, row):
    block = manifest.table.slice(row, 1).to_pylist()[0]
    slide = open_slide(manifest.folder / block["slide"])
    rectangle = block["x"], block["y"], block["width"], block["height"]
    return slide.read_resized(*rectangle, (16, 16)).transpose(2, 0, 1) / np.float32(255)


def test_items_are_the_blocks(cohort):
    manifest = read_manifest(cohort)
    dataset = CohortDataset(cohort)
    assert len(dataset) == 24
    for i in (0, 7, 23):
        item = dataset[i]
        assert item["image"].dtype == torch.float32
        np.testing.assert_array_equal(item["image"], expected_image(manifest, i))
        assert (item["label"], item["index"]) == (manifest.labels[i], i)
    test = CohortDataset(manifest, "test")
    assert len(test) == 12
    np.testing.assert_array_equal(test[5]["image"], expected_image(manifest, manifest.rows_of("test")[5]))


# Without an accelerator torch says that it pins nothing, and hands the batches on as they are.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("pin_memory", [False, True])
def test_batches_come_in_the_samplers_order(cohort, workers, pin_memory):
    dataset = CohortDataset(cohort)
    sampler = GroupedBatchSampler(dataset.labels, group_size=3, groups_per_batch=2)
    order = list(GroupedBatchSampler(dataset.labels, group_size=3, groups_per_batch=2))
    loader = DataLoader(
        dataset, batch_sampler=sampler, num_workers=workers, collate_fn=dataset.collate, pin_memory=pin_memory
    )
    batches = list(loader)
    assert all(batch["image"].is_pinned() == (pin_memory and torch.cuda.is_available()) for batch in batches)
    assert [batch["index"].tolist() for batch in batches] == order
    for batch in batches:
        np.testing.assert_array_equal(batch["label"], dataset.labels[batch["index"]])
        for image, index in zip(batch["image"], batch["index"], strict=True):
            np.testing.assert_array_equal(image, expected_image(dataset.source.manifest, int(index)))


def test_all_tensors_of_a_batch_can_be_pinned(cohort):
    dataset = CohortDataset(cohort)
    items = dataset.__getitems__([3, 9])
    for batch in (dataset.collate(items), dataset.collate([])):
        assert type(batch) is dict
        for tensor in batch.values():
            assert type(tensor) is torch.Tensor
            assert (tensor.device.type, tensor.layout) == ("cpu", torch.strided)
            assert tensor.is_contiguous()
            assert not tensor.requires_grad
            # Of its own: pinning copies a whole storage.
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
            assert not torch.cuda.is_available() or tensor.pin_memory().is_pinned()


def test_the_reads_of_a_batch_are_ordered_and_repeats_read_once(cohort):
    dataset, read = CohortDataset(cohort), []
    source_read = dataset.source.read
    dataset.source.read = lambda row: read.append(row) or source_read(row)
    items = dataset.__getitems__([23, 1, 8, 1, 0, 2])
    assert [item["index"] for item in items] == [23, 1, 8, 1, 0, 2]
    assert read == [0, 1, 2, 8, 23]  # by slide, then by tile


def test_augmentation_turns_and_flips_alike_from_the_seed(cohort):
    plain, turned = CohortDataset(cohort)[3]["image"], set()
    for seed in range(40):
        torch.manual_seed(seed)
        image = CohortDataset(cohort, augment=True)[3]["image"]
        matches = [
            (turns, flip)
            for turns in range(4)
            for flip in (False, True)
            if torch.equal(
                image, torch.rot90(plain, turns, (1, 2)).flip(2) if flip else torch.rot90(plain, turns, (1, 2))
            )
        ]
        turned.update(matches)
        assert len(matches) == 1
    assert len(turned) == 8


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_left_out_counted_and_reported(damaged, tmp_path, workers):
    report = tmp_path / "report.jsonl"
    dataset = CohortDataset(damaged, report=report, limit=0.5)
    seen = Counter()
    for _ in range(2):
        loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=dataset.collate)
        for batch in loader:
            seen.update(batch["index"].tolist())
            assert len(batch["image"]) == len(batch["label"]) == len(batch["index"])
    bad = {4, 5, 6, 7, 12, 13, 14, 15}
    assert seen == Counter(dict.fromkeys(set(range(20)) - bad, 2))
    assert set(dataset.quarantine.blocks()) == bad
    events = read_report(report)
    assert Counter(block for event in events for block in event["blocks"]) == Counter(dict.fromkeys(bad, 1))
    with report.open("a") as file:
        file.write('{"blocks": [1')  # a run that was killed
    assert read_report(report) == events
    lost = next(event for event in events if event["slide"].endswith("slide-003.tif"))
    assert (lost["blocks"], lost["rows"]) == ([12, 13, 14, 15], [12, 13, 14, 15])  # all of it at once
    assert all("slide-001.tif" in event["reason"] for event in events if event is not lost)


def test_a_failure_that_passes_is_retried_on_a_fresh_handle(cohort):
    dataset, failures, refreshed = CohortDataset(cohort), [5], []
    source_read, source_refresh = dataset.source.read, dataset.source.refresh

    def read(row):
        if row in failures:
            failures.remove(row)
            raise CorruptSlideError("a hiccup of the network")
        return source_read(row)

    dataset.source.read = read
    dataset.source.refresh = lambda row: refreshed.append(row) or source_refresh(row)
    items = dataset.__getitems__([4, 5, 6])
    assert [item["index"] for item in items] == [4, 5, 6]
    assert (refreshed, dataset.quarantine.count) == ([5], 0)
    failures.append(5)
    np.testing.assert_array_equal(dataset[5]["image"], items[1]["image"])


@pytest.mark.parametrize("workers", [0, 2])
def test_too_much_damage_ends_the_run(damaged, tmp_path, workers):
    dataset = CohortDataset(damaged, report=tmp_path / "report.jsonl", limit=0.1)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=dataset.collate)
    with pytest.raises(QuarantineLimitError, match=r"of 20 blocks cannot be read, more than the limit of 10\.00%"):
        list(loader)


def test_a_single_item_that_cannot_be_read_is_an_error_not_a_white_block(damaged):
    with pytest.raises(CorruptSlideError, match="slide-001"):
        CohortDataset(damaged, limit=1)[4]


def test_limits_of_a_quarantine():
    with pytest.raises(ValueError, match=r"a limit in \[0, 1\], got 5"):
        Quarantine(10, limit=5)
    quarantine = Quarantine(10, limit=0.2)
    quarantine.add([3, 4], "reason", {})
    quarantine.add([3, 4], "again", {})
    assert (quarantine.count, 3 in quarantine, 5 in quarantine) == (2, True, False)
    with pytest.raises(QuarantineLimitError, match="3 of 10"):
        quarantine.add([5], "reason", {})


def test_a_store_gives_the_same_items(cohort, tmp_path):
    folder = cut_cohort(cohort, tmp_path / "store", shard_blocks=5)
    stored, direct = CohortDataset(StoredBlocks(folder)), CohortDataset(cohort)
    assert len(stored) == len(direct)
    assert verify_store(folder) == []
    loader = DataLoader(stored, batch_size=5, num_workers=2, collate_fn=stored.collate)
    for batch in loader:
        for image, label, index in zip(batch["image"], batch["label"], batch["index"], strict=True):
            assert torch.equal(image, direct[int(index)]["image"])
            assert label == direct[int(index)]["label"]


def test_a_store_leaves_out_what_cannot_be_read(damaged, tmp_path):
    folder = cut_cohort(damaged, tmp_path / "store", shard_blocks=6, limit=0.5)
    stored = StoredBlocks(folder)
    assert stored.manifest.table["row"].to_pylist() == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]
    direct = CohortDataset(damaged, limit=1)
    for i, row in enumerate(stored.manifest.table["row"].to_pylist()):
        assert torch.equal(CohortDataset(stored)[i]["image"], direct[row]["image"])
    with pytest.raises(QuarantineLimitError, match="8 of 20|[5-7] of 20"):
        cut_cohort(damaged, tmp_path / "strict", shard_blocks=6, limit=0.2)


def test_damage_to_a_store_is_found_and_quarantined(cohort, tmp_path):
    folder = cut_cohort(cohort, tmp_path / "store", shard_blocks=8)
    shards = sorted(path for path in (folder / "blocks.zarr" / "c").rglob("0") if path.is_file())
    content = bytearray(shards[0].read_bytes())
    content[50] ^= 1  # in the first block
    shards[0].write_bytes(content)
    shards[2].unlink()
    assert verify_store(folder) == [shards[0], shards[2]]
    dataset = CohortDataset(StoredBlocks(folder), limit=0.5)
    assert len(dataset.__getitems__(range(24))) == 24 - 1 - 8
    assert dataset.quarantine.blocks().tolist() == [0, *range(16, 24)]
    cut_cohort(cohort, folder, shard_blocks=8)  # repairs it
    assert verify_store(folder) == []
    assert len(CohortDataset(StoredBlocks(folder)).__getitems__(range(24))) == 24


def test_a_store_is_cut_again_where_a_slide_has_changed(tmp_path):
    cohort = make_cohort(tmp_path, 3)
    folder = cut_cohort(cohort, tmp_path / "store", shard_blocks=8)
    before = [StoredBlocks(folder).read(row) for row in range(12)]
    slides, slide_of = read_manifest(cohort).slides()
    slides[0].path.write_bytes(slides[1].path.read_bytes())
    SlideBlocks(read_manifest(cohort)).refresh(0)  # as a new process has it
    cut_cohort(cohort, folder, shard_blocks=8)
    changed = [row for row in range(12) if not np.array_equal(StoredBlocks(folder).read(row), before[row])]
    assert changed == np.flatnonzero(slide_of == 0).tolist()
    slides[0].path.unlink()
    assert cut_cohort(cohort, folder, shard_blocks=8) == folder  # what is cut stays, although a slide is gone


def test_a_store_is_of_one_cohort(cohort, tmp_path):
    folder = cut_cohort(cohort, tmp_path / "store", shard_blocks=8)
    with pytest.raises(ValueError, match="it holds others"):
        cut_cohort(cohort, folder, shard_blocks=9)
    with pytest.raises(FileNotFoundError, match="manifest"):
        StoredBlocks(tmp_path)
    with pytest.raises(ValueError, match="at least 1 block per shard"):
        cut_cohort(cohort, tmp_path / "other", shard_blocks=0)


def test_two_hundred_slides_four_workers_two_epochs(tmp_path):
    """One slide in ten is corrupt: memory flat, handles few, every other block as often as the sampler says."""
    manifest = make_cohort(tmp_path, 200)
    bad_slides = range(3, 200, 10)
    for i in bad_slides:
        corrupt_tiles(tmp_path / "slides" / f"slide-{i:03d}.tif")
    # What this process holds open, from the tests before this one too, its workers would inherit.
    configure(open_handles=0)
    gc.collect()
    configure(open_handles=8)
    report = tmp_path / "report.jsonl"
    dataset = Watched(manifest, report=report, limit=0.2)
    sampler = GroupedBatchSampler(dataset.labels, group_size=10, groups_per_batch=2)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=4, collate_fn=collate_watched)
    plan = GroupedBatchSampler(dataset.labels, group_size=10, groups_per_batch=2)
    planned, seen, memory = Counter(), Counter(), []
    for _ in range(2):
        planned.update(index for batch in plan for index in batch)
        for batch, open_slides, resident_mib in loader:
            seen.update(batch["index"].tolist())
            memory.append(resident_mib)
            assert open_slides <= 8 + 1
    configure(open_handles=64)
    bad = {4 * slide + block for slide in bad_slides for block in range(4)}
    assert seen == Counter({index: count for index, count in planned.items() if index not in bad})
    assert {block for event in read_report(report) for block in event["blocks"]} == bad
    assert set(dataset.quarantine.blocks()) == bad
    # Each epoch has new workers; the last batches of the second take no more than those of the first.
    half = len(memory) // 2
    assert max(memory[half:]) < max(memory[:half]) + 8
    assert max(memory[:half]) - np.median(memory[:half]) < 24


class Watched(CohortDataset):
    """Also says what the worker that reads holds."""

    def __getitems__(self, indices):
        return super().__getitems__(indices), open_slides(), resident_mib()


def collate_watched(answer):
    items, open_slides, resident = answer
    return CohortDataset.collate(items), open_slides, resident


def open_slides():
    count = 0
    for link in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            count += link.readlink().suffix == ".tif"
    return count


def resident_mib():
    """Memory of the process's own, without what it shares with its parent."""
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_")) / 1024
