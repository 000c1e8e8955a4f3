"""Label maps from files, good and damaged."""

import json
import pickle

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from lsr_ext.metrics import open_label_map

IDS = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) % 7


def test_every_format_gives_the_same_map(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    Image.fromarray(IDS.astype(np.uint8)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", IDS, tile=(16, 16), compression="zlib")
    tifffile.imwrite(tmp_path / "b.tiff", IDS)
    zarr.save_array(str(tmp_path / "a.zarr"), IDS)
    for path in sorted(tmp_path.iterdir()):
        opened = open_label_map(path)
        assert opened.shape == IDS.shape
        np.testing.assert_array_equal(np.asarray(opened[3:9]), IDS[3:9])
        np.testing.assert_array_equal(np.asarray(opened[:, 5:50]), IDS[:, 5:])


def test_the_largest_level_of_a_pyramid(tmp_path):
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(IDS, tile=(16, 16), subifds=1)
        file.write(IDS[::2, ::2], tile=(16, 16), subfiletype=1)
    assert open_label_map(tmp_path / "pyramid.tif").shape == IDS.shape


def test_npy_and_zarr_are_not_read_before_they_are_sliced(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    assert isinstance(open_label_map(tmp_path / "a.npy"), np.memmap)
    zarr.save_array(str(tmp_path / "a.zarr"), IDS)
    assert isinstance(open_label_map(tmp_path / "a.zarr"), zarr.Array)


def test_maps_of_floats_and_of_other_shapes_are_refused(tmp_path):
    np.save(tmp_path / "float.npy", IDS.astype(float))
    with pytest.raises(ValueError, match="float.npy: expected integer class ids in a map, got float64"):
        open_label_map(tmp_path / "float.npy")
    tifffile.imwrite(tmp_path / "float.tif", IDS.astype(np.float32))
    with pytest.raises(ValueError, match="float.tif: expected integer class ids in a map, got float32"):
        open_label_map(tmp_path / "float.tif")
    np.save(tmp_path / "stack.npy", np.zeros((2, 3, 4), int))
    with pytest.raises(ValueError, match=r"stack.npy: expected a map \(H, W\), got shape \(2, 3, 4\)"):
        open_label_map(tmp_path / "stack.npy")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match=r"rgb.tif: .*one grey image \(H, W\), got shape \(8, 8, 3\)"):
        open_label_map(tmp_path / "rgb.tif")
    group = zarr.open_group(str(tmp_path / "group.zarr"), mode="w")
    group.create_array("0", shape=(4, 4), dtype="u1")
    with pytest.raises(ValueError, match=r"group.zarr: .*got a group; name one of its arrays: \['0'\]"):
        open_label_map(tmp_path / "group.zarr")
    assert open_label_map(tmp_path / "group.zarr" / "0").shape == (4, 4)


def test_tiffs_whose_ids_may_have_changed_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IDS.astype(np.uint8), tile=(16, 16), compression="jpeg")
    with pytest.raises(ValueError, match=r"a\.tif: .*expected a coding that keeps ids, got JPEG"):
        open_label_map(path)
    tifffile.imwrite(path, IDS > 3, photometric="miniswhite", metadata=None)
    with pytest.raises(ValueError, match=r"a\.tif: .*expected a mask whose 0 is black"):
        open_label_map(path)
    tifffile.imwrite(path, IDS > 3, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(open_label_map(path)[:], IDS > 3)


@pytest.mark.parametrize("name", ["bad.png", "bad.tif", "bad.npy"])
def test_unreadable_maps_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=f"{name}: not a readable"):
        open_label_map(tmp_path / name)


def test_unknown_and_missing_maps(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a label map, found none at .*none.png"):
        open_label_map(tmp_path / "none.png")
    (tmp_path / "map.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"map.jpg: expected a label map \(.png"):
        open_label_map(tmp_path / "map.jpg")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match="empty.zarr: not a readable label map"):
        open_label_map(tmp_path / "empty.zarr")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled(tmp_path):
    sprung = tmp_path / "sprung"
    with (tmp_path / "trap.npy").open("wb") as file:
        np.save(file, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="trap.npy: not a readable label map"):
        open_label_map(tmp_path / "trap.npy")
    folder = tmp_path / "trap.zarr"
    folder.mkdir()
    metadata = {
        "zarr_format": 2,
        "shape": [1, 1],
        "chunks": [1, 1],
        "dtype": "|u1",
        "fill_value": 0,
        "order": "C",
        "compressor": None,
        "filters": [{"id": "pickle", "protocol": 4}],
    }
    (folder / ".zarray").write_text(json.dumps(metadata))
    (folder / "0.0").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ValueError, match="trap.zarr: .*without pickled objects"):
        open_label_map(folder)
    assert not sprung.exists()
