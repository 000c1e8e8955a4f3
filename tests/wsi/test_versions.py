import os

import pytest

from lsr_ext.wsi.versions import slide_version


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
    assert slide_version(slide) == (105, 3000)


def test_no_slide_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        slide_version(tmp_path / "a.mrxs")
