"""Masks and dots of images that lie in folders: each image has its own, or the run is refused."""

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_runs import draw_disc, write_labels_run

from lsr_ext.config import load_config
from lsr_ext.sources import prepare_data
from lsr_ext.sources.image_files import find_image_files


def write_subfolders_run(folder, **data):
    """Four images with their masks and dots, in which d/000.png and e/000.png are the test's."""
    names = ["a/000.png", "b/001.png", "d/000.png", "e/000.png"]
    path = write_labels_run(folder, data=data)
    for k, name in enumerate(names):
        image, mask = draw_disc(6 + 2 * k)
        for part, pixels in (("images", image), ("masks", mask)):
            (folder / part / name).parent.mkdir(parents=True)
            Image.fromarray(pixels).save(folder / part / name)
        (folder / "dots" / name).parent.mkdir(parents=True)
        (folder / "dots" / name).with_suffix(".csv").write_text(f"x,y,class\n{k},7,disc\n")
    rows = [f"{name},{k % 2},{'train' if k < 2 else 'test'}" for k, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["image,label,split", *rows]))
    content = yaml.safe_load(path.read_text())
    content["data"] |= {"images": "images", "masks": "masks", "dots": "dots"}
    path.write_text(yaml.safe_dump(content))
    return path


def test_masks_and_dots_are_found_in_the_images_subfolders(tmp_path):
    data = prepare_data(load_config(write_subfolders_run(tmp_path)))
    assert sorted(data.test.names[block.image] for block in data.test.blocks) == ["d/000.png", "e/000.png"]
    for index in (2, 3):
        np.testing.assert_array_equal(data.test.masks[index], draw_disc(6 + 2 * index)[1])
        assert data.dots["truth"][index].xy.tolist() == [[index, 7]]


@pytest.mark.parametrize(("part", "file"), [("masks", "000.png"), ("dots", "000.csv")])
def test_one_file_for_two_held_out_images_is_refused(tmp_path, part, file):
    path = write_subfolders_run(tmp_path)
    (tmp_path / part / "d" / file).rename(tmp_path / part / file)
    assert prepare_data(load_config(path)).test.masks[2].any()  # e has its own: the other is d's
    (tmp_path / part / "e" / file).unlink()
    message = rf"expected a file for each image, got .*{part}/{file} for both 'd/000.png' and 'e/000.png'"
    with pytest.raises(ValueError, match=message):
        prepare_data(load_config(path))
    rows = (tmp_path / "labels.csv").read_text().replace("d/000.png,0,test", "d/000.png,0,validation")
    (tmp_path / "labels.csv").write_text(rows)
    with pytest.raises(ValueError, match=message):
        prepare_data(load_config(path))
    (tmp_path / part / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"expected a file of e/000.png in .*{part} \({file}"):
        prepare_data(load_config(path))


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("d/e/0.png", "d/e/0.csv"),
        ("d/e/0.png", "e/0.csv"),
        ("d/e/0.png", "0.csv"),
        ("./d/e/../0.png", "d/0.csv"),
        ("../d/0.png", "d/0.csv"),
        ("/scans/d/0.png", "d/0.csv"),
    ],
)
def test_a_file_is_found_by_the_folders_around_its_image(tmp_path, image, file):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert find_image_files(tmp_path, [image], [".tsv", ".csv"]) == {image: tmp_path / file}
    assert find_image_files(tmp_path, [image], ["_other.csv"]) == {}
