import os

import numpy as np
import pytest

from lsr_ext.wsi.versions import sample_digest, slide_version


def write(path, size, time):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, ns=(time, time))
    return path


def test_a_slide_of_one_file_is_that_file(tmp_path):
    slide = write(tmp_path / "a.svs", 5, 1000)
    write(tmp_path / "a" / "notes.txt", 7, 9000)
    write(tmp_path / "a.svs.txt", 7, 9000)
    assert slide_version(slide) == (5, 1000)


@pytest.mark.parametrize(("slide", "tiles"), [("a.mrxs", "a/Data0001.dat"), ("a.VMS", "a-40x(1,0).jpg")])
def test_the_files_of_tiles_count(tmp_path, slide, tiles):
    slide, tiles = write(tmp_path / slide, 5, 2000), tmp_path / tiles
    assert slide_version(slide) == (5, 2000)
    write(tiles, 100, 1000)
    assert slide_version(slide) == (105, 2000)
    write(tiles, 100, 3000)
    write(tmp_path / f"{slide.name}.ndpa", 7, 9000)  # annotations
    assert slide_version(slide) == (105, 3000)


def test_no_slide_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        slide_version(tmp_path / "a.mrxs")


def test_a_copy_has_the_same_digest_and_another_scan_of_the_same_size_has_not(tmp_path):
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 256, (2, 300_000), dtype=np.uint8)
    paths = {name: write(tmp_path / f"{name}.svs", 0, 1) for name in ("first", "copy", "second")}
    for name, content in (("first", first), ("copy", first), ("second", second)):
        paths[name].write_bytes(content.tobytes())
    assert sample_digest(paths["first"]) == sample_digest(paths["copy"]) != sample_digest(paths["second"])


def test_the_digest_of_a_slide_is_that_of_its_tiles_too(tmp_path):
    slide = write(tmp_path / "a.mrxs", 5, 1000)
    write(tmp_path / "a" / "Data0000.dat", 100, 1000)
    before = sample_digest(slide)
    write(tmp_path / "a" / "Data0000.dat", 101, 1000)
    assert sample_digest(slide) != before
