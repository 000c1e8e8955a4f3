"""Land-cover patches, the published table, and blocks of one NLCD class by block ids."""

from pathlib import Path

import numpy as np
import pytest
import torch
from land_cover_files import channels, write_tables
from torch.utils.data import DataLoader

import lsr_ext
from lsr_ext.data import (
    LandCoverDataset,
    LandCoverPatch,
    collate_blocks,
    low_resolution_map,
    read_land_cover_patch,
    read_land_cover_tables,
)

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "landcover_chesapeake"
needs_data = pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data")


def random_patch(seed, size=(24, 30), labels=(-1, 1, 2, 3)):
    rng = np.random.default_rng(seed)
    coarse = rng.choice(labels, (size[0] // 6, size[1] // 6))
    return LandCoverPatch(
        rng.integers(0, 256, (*size, 4), dtype=np.uint8),
        np.kron(coarse, np.ones((6, 6), np.int64)),
        rng.integers(-1, 4, size),
    )


def test_a_patch_by_hand(tmp_path):
    tables = write_tables(tmp_path / "tables")
    nlcd = np.repeat([[0, 11, 41, 41, 128, 11]], 4, axis=0)
    truth = np.repeat([[0, 1, 2, 3, 4, 15]], 4, axis=0)
    truth[1], truth[2] = 5, 6
    (tmp_path / "patches").mkdir()
    path = tmp_path / "patches" / "a.npz"
    np.savez(path, channels(nlcd, truth))
    patch = read_land_cover_patch(path)
    assert patch.image.dtype == np.uint8
    np.testing.assert_array_equal(patch.image[3], 10 * np.arange(4) + np.arange(6)[:, None])
    np.testing.assert_array_equal(patch.labels, np.repeat([[-1, 1, 2, 2, -1, 1]], 4, axis=0))
    np.testing.assert_array_equal(patch.mask[[0, 1, 2]], [[-1, 0, 1, 2, 3, -1], [3] * 6, [3] * 6])
    assert patch.labels.dtype == patch.mask.dtype == np.int64
    np.savez_compressed(tmp_path / "b.npz", channels(nlcd, truth))
    np.testing.assert_array_equal(read_land_cover_patch(tmp_path / "b.npz", tables).labels, patch.labels)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (channels(11, 1)[0], r"expected \(1, 29, H, W\) of at most \d+ pixels, got \(29, 4, 6\)"),
        (channels(11, 1)[:, :10], r"got \(1, 10, 4, 6\)"),
        (channels(11, 1).astype("S1"), "expected an array of numbers"),
        (np.array([{}]), "expected an array of numbers, got object"),
        (channels(12, 1), r"NLCD code: expected one of \[0, 11, 41, 128\], got 12"),
        (channels(np.nan, 1), "NLCD code: expected one of .*, got nan"),
        (channels(11, 2.5), r"1 m class: expected one of .*, got 2\.5"),
        (channels(11, 1) * 1.5, "expected whole numbers in"),
    ],
)
def test_faulty_patches_are_named(tmp_path, array, message):
    tables = write_tables(tmp_path / "tables")
    np.savez(tmp_path / "a.npz", array)
    with pytest.raises(ValueError, match=rf"a\.npz.*{message}"):
        read_land_cover_patch(tmp_path / "a.npz", tables)


def test_files_that_are_no_patch(tmp_path):
    tables = write_tables(tmp_path / "tables")
    with pytest.raises(FileNotFoundError, match=r"land-cover patch, found none at .*absent\.npz"):
        read_land_cover_patch(tmp_path / "absent.npz", tables)
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "key.npz", other=channels(11, 1))
    np.savez(tmp_path / "whole.npz", channels(11, 1))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:500])
    for name in ("text", "key", "cut"):
        with pytest.raises(ValueError, match=rf"{name}\.npz: not a readable land-cover patch"):
            read_land_cover_patch(tmp_path / f"{name}.npz", tables)
    with pytest.raises(FileNotFoundError, match=r"nlcd_to_lr_labels\.txt"):
        read_land_cover_patch(tmp_path / "whole.npz", tmp_path)


def test_arrays_of_unequal_size_are_no_patch():
    with pytest.raises(ValueError, match=r"\(4, 5, 4\), \(4, 5\), \(4, 6\)"):
        LandCoverPatch(np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5), int), np.zeros((4, 6), int))


def test_tables_keep_their_rows_and_rows_of_zeros_say_nothing(tmp_path):
    distribution = read_land_cover_tables(write_tables(tmp_path / "tables"))
    assert distribution.classes == ("water", "forest", "field", "impervious")
    assert distribution.labels == ("0 No data", "11 Open water", "41 Deciduous forest")
    assert distribution.mean[2].tolist() == [0, 0.92, 0.06, 0.01]
    assert distribution.std[2].tolist() == [0.005, 0.19, 0.16, 0.07]
    assert distribution.mean[0].tolist() == [0.25] * 4
    assert distribution.std[0].tolist() == pytest.approx([np.sqrt(1 / 12)] * 4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nlcd_mu.txt": "0 0 0\n"}, r"nlcd_mu\.txt: expected 4 columns \(water, .*\), got 3"),
        ({"nlcd_mu.txt": "0 0 0 x\n"}, r"nlcd_mu\.txt: not a readable table"),
        (
            {"nlcd_mu.txt": "0 0 0 0\n0.5 0.2 0 0\n0 1 0 0\n"},
            r"nlcd_mu\.txt: .*sum to 1, got 0\.7 for .*Open",
        ),
        ({"nlcd_sigma.txt": "0 0 0 0\n"}, r"one shape, got \(3, 4\) and \(1, 4\)"),
        ({"nlcd_to_lr_labels.txt": "a b\n"}, r"nlcd_to_lr_labels\.txt: expected two whole numbers"),
        ({"nlcd_to_lr_labels.txt": "1 2 3\n"}, r"nlcd_to_lr_labels\.txt: expected two whole numbers"),
        ({"nlcd_color.txt": "label\nx\n"}, r"nlcd_color\.txt: expected lines of row, name"),
    ],
)
def test_faulty_tables_are_named(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        read_land_cover_tables(write_tables(tmp_path / "tables", **changed))


def test_a_crops_blocks_are_its_nlcd_classes():
    patch = random_patch(0)
    dataset = LandCoverDataset([patch], crop_px=12, augment=False)
    assert len(dataset) == 2 * 2  # of 24 x 30 px
    item = dataset[3]
    rows = patch.labels[12:24, 12:24]
    np.testing.assert_array_equal(item["mask"], patch.mask[12:24, 12:24])
    np.testing.assert_array_equal(item["image"].permute(1, 2, 0), patch.image[12:24, 12:24] / np.float32(255))
    assert (item["image"].dtype, item["block_ids"].dtype, item["label"].dtype, item["mask"].dtype) == (
        torch.float32, torch.int32, torch.int64, torch.int64,
    )  # fmt: skip
    assert item["label"].tolist() == sorted(set(rows[rows >= 0].tolist()))
    np.testing.assert_array_equal(item["block_ids"] < 0, rows < 0)
    looked_up = np.append(item["label"].numpy(), -1)[item["block_ids"].numpy()]
    np.testing.assert_array_equal(looked_up, rows)


def test_augmentation_turns_everything_alike_and_repeats_with_the_seed():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (20, 20))
    image = np.repeat(labels[..., None], 4, axis=2).astype(np.uint8)
    dataset = LandCoverDataset([LandCoverPatch(image, labels, labels)], crop_px=8)
    torch.manual_seed(0)
    items = [dataset[i] for i in (0, 1, 2, 3) * 10]
    for item in items:
        torch.testing.assert_close(item["image"][3] * 255, item["mask"].float())
        assert torch.equal(item["label"][item["block_ids"].long()], item["mask"])
    assert len({tuple(item["mask"].flatten().tolist()) for item in items}) > 30
    torch.manual_seed(0)
    assert all(torch.equal(dataset[i % 4]["mask"], items[i]["mask"]) for i in range(40))


def test_float_images_are_taken_as_they_are():
    patch = random_patch(1)
    same = LandCoverPatch((patch.image / 255).astype(np.float32), patch.labels, patch.mask)
    items = [LandCoverDataset([p], crop_px=24, augment=False)[0] for p in (patch, same)]
    torch.testing.assert_close(items[0]["image"], items[1]["image"])


def test_impossible_crops():
    with pytest.raises(ValueError, match="crop_px of at least 1, got 0"):
        LandCoverDataset([random_patch(0)], crop_px=0)
    with pytest.raises(ValueError, match="patch 1 is 12 x 12 px, smaller than a crop of 24 px"):
        LandCoverDataset([random_patch(0), random_patch(1, (12, 12))], crop_px=24)


def loss_block_by_block(loss_fn, logits, items):
    """Make each block a separate image with all other pixels masked; block ids must give the same loss."""
    masks = [item["block_ids"] == b for item in items for b in range(len(item["label"]))]
    owner = [i for i, item in enumerate(items) for _ in item["label"]]
    return loss_fn(logits[owner], torch.cat([item["label"] for item in items]), mask=torch.stack(masks))


@pytest.mark.parametrize("mode", ["intra", "inter", "intra+inter"])
def test_the_loss_of_a_batch_is_that_of_its_blocks_one_by_one(tmp_path, mode):
    distribution = read_land_cover_tables(write_tables(tmp_path / "tables"))
    nothing_known = LandCoverPatch(np.zeros((24, 24, 4), np.uint8), np.full((24, 24), -1), np.zeros((24, 24), int))
    patches = [random_patch(seed, labels=(-1, 1, 2)) for seed in range(3)]
    dataset = LandCoverDataset([*patches, nothing_known], crop_px=24, augment=False)
    items = [dataset[i] for i in (0, 3, 1, 2)]
    batch = next(iter(DataLoader(items, batch_size=4, collate_fn=collate_blocks)))
    assert batch["image"].shape == (4, 4, 24, 24) and batch["mask"].shape == (4, 24, 24)
    assert batch["block_ids"].dtype == torch.int32 and batch["label"].dtype == torch.int64
    assert sorted(batch["block_ids"].unique().tolist()) == list(range(-1, len(batch["label"])))
    logits = torch.randn(4, 4, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss_fn = lsr_ext.LabelSuperResolutionLoss(distribution, mode=mode)
    reference = lsr_ext.LabelSuperResolutionLoss(distribution, mode=mode, backend="reference")
    value = loss_fn(logits, batch["label"], block_ids=batch["block_ids"], validate=True)
    torch.testing.assert_close(value, loss_block_by_block(reference, logits, items), rtol=1e-9, atol=0)


def test_low_resolution_map_is_the_likeliest_class_of_each_label(tmp_path):
    distribution = read_land_cover_tables(write_tables(tmp_path / "tables"))
    assert low_resolution_map(np.array([[1, 2], [-1, 2]]), distribution).tolist() == [[0, 1], [-1, 1]]
    with pytest.raises(ValueError, match=r"expected labels in \[-1, 3\), got 0 to 3"):
        low_resolution_map(np.array([[0, 3]]), distribution)


@needs_data
def test_the_published_tables():
    distribution = read_land_cover_tables(REAL / "tables")
    assert distribution.mean.shape == (22, 4)
    assert distribution.labels[8] == "41 Deciduous forest"
    assert distribution.mean[8].tolist() == [0, 0.92, 0.06, 0.01]
    assert lsr_ext.LabelSuperResolutionLoss(distribution, form="kl")  # no std of zero is left


@needs_data
def test_accuracy_of_the_low_resolution_model_on_the_validation_patches():
    distribution = read_land_cover_tables(REAL / "tables")
    right = pixels = right_here = pixels_here = 0
    mu = np.loadtxt(REAL / "tables" / "nlcd_mu.txt")
    row_of = {11: 1, 21: 3, 22: 4, 41: 8, 42: 9, 43: 10, 71: 13, 81: 17, 82: 18}
    for path in sorted((REAL / "val_patches").glob("*.npz")):
        patch = read_land_cover_patch(path)
        known = patch.mask >= 0
        right += (low_resolution_map(patch.labels, distribution) == patch.mask)[known].sum()
        pixels += known.sum()
        raw = np.load(path)["arr_0"][0]
        for code in np.unique(raw[9]):
            truth = np.minimum(raw[8][raw[9] == code], 4)  # 5 and 6 are impervious as well; no pixel is unknown
            right_here += np.count_nonzero(truth == 1 + mu[row_of[int(code)]].argmax())
            pixels_here += truth.size
    assert (right, pixels) == (right_here, pixels_here)
    assert right / pixels == pytest.approx(0.83176, abs=1e-5)


@needs_data
def test_real_crops_go_through_the_loss():
    distribution = read_land_cover_tables(REAL / "tables")
    patches = [read_land_cover_patch(path) for path in sorted((REAL / "val_patches").glob("*.npz"))[:3]]
    items = list(map(LandCoverDataset(patches, augment=False).__getitem__, range(12)))
    batch = collate_blocks(items)
    logits = batch["image"] * 4
    value = lsr_ext.LabelSuperResolutionLoss(distribution)(logits, batch["label"], block_ids=batch["block_ids"])
    reference = lsr_ext.LabelSuperResolutionLoss(distribution, backend="reference")
    torch.testing.assert_close(value, loss_block_by_block(reference, logits, items), rtol=1e-5, atol=0)
