"""Stain sets: vectors from colours and back, presets, files, picked pixels."""

import dataclasses

import numpy as np
import pytest
from skimage.color import combine_stains, hdx_from_rgb, rgb_from_hdx, separate_stains

from lsr_ext.baselines import StainSet, l2_map
from lsr_ext.baselines.stains import PRESETS


def test_vectors_are_directions_of_optical_density():
    # 255 / 10^d by hand: densities (1, 0, 0), (0.5, 0.5, 0) and (3, 4, 0) / 10.
    rgb = [[25.5, 255, 255], [80.6381, 80.6381, 255], [127.8027, 101.5173, 255]]
    stains = StainSet(("a", "b", "c"), rgb)
    assert np.allclose(stains.vectors, [[1, 0, 0], [0.5**0.5, 0.5**0.5, 0], [0.6, 0.8, 0]], atol=1e-5)


def test_vectors_are_relative_to_the_background():
    stains = StainSet(("a",), [[20, 100, 200]], background_rgb=[200, 100, 200])
    assert np.allclose(stains.vectors, [[1, 0, 0]])


@pytest.mark.parametrize("name", PRESETS)
def test_a_standard_colour_is_that_stain_alone(name):
    stains = StainSet.preset(name)
    for start in range(0, len(stains.names), 2):
        vectors = stains.vectors[start : start + 2]
        matrix = np.linalg.pinv(vectors)
        found = separate_stains(stains.rgb[start : start + 2, None] / 255, matrix)[:, 0]
        assert np.allclose(found, np.diag(np.diag(found)), atol=1e-12) and (np.diag(found) > 0.01).all()


def test_the_papers_five_stains():
    stains = StainSet.preset("multiplex")
    assert stains.names == stains.classes == ("CD16", "CD20", "CD3", "CD4", "CD8")
    red, green, blue = stains.rgb.T
    assert stains.rgb[0].max() < 80  # black
    assert red[1] > 2 * max(green[1], blue[1])  # red
    assert min(red[2], green[2]) > 2 * blue[2]  # yellow
    assert min(green[3], blue[3]) > 2 * red[3]  # cyan
    assert min(red[4], blue[4]) > 2 * green[4]  # purple
    extended = StainSet.preset("multiplex-haematoxylin")
    assert extended.classes == stains.classes and extended.names == (*stains.names, "haematoxylin")
    assert np.array_equal(extended.rgb[:5], stains.rgb)
    assert extended.class_ids.tolist() == [1, 2, 3, 4, 5, 0]


def test_h_dab_is_scikit_images():
    stains = StainSet.preset("h-dab")
    lengths = np.linalg.norm(rgb_from_hdx[:2], axis=1, keepdims=True)
    assert np.allclose(stains.vectors * lengths, rgb_from_hdx[:2], atol=1e-12)
    assert stains.classes == ("DAB",) and stains.class_ids.tolist() == [0, 1]
    # In scikit-image's unit, six decades.
    colours = 255 * combine_stains(np.diag([0.4 / 6, 1 / 6, 0])[None], np.linalg.inv(hdx_from_rgb))[0, :2]
    assert np.allclose(stains.rgb, colours)


def test_counterstains_can_be_made_classes():
    stains = dataclasses.replace(StainSet.preset("h-dab"), counterstains=())
    assert stains.classes == ("haematoxylin", "DAB") and stains.class_ids.tolist() == [1, 2]


def test_a_preset_or_a_file_is_found(tmp_path):
    assert StainSet.find("h-dab").names == StainSet.preset("h-dab").names
    StainSet.preset("multiplex").save(tmp_path / "stains.yaml")
    assert StainSet.find(tmp_path / "stains.yaml").names == StainSet.preset("multiplex").names
    with pytest.raises(FileNotFoundError, match="expected stains: multiplex, .* or a file, found none at he"):
        StainSet.find("he")


def test_save_and_load(tmp_path):
    stains = StainSet(("α", "b"), [[1.5, 20, 30], [200, 100, 7]], [240, 241, 242.5], ("b",))
    stains.save(tmp_path / "stains.yaml")
    loaded = StainSet.load(tmp_path / "stains.yaml")
    assert loaded.names == stains.names and loaded.counterstains == ("b",)
    assert np.array_equal(loaded.rgb, stains.rgb)
    assert np.array_equal(loaded.background_rgb, stains.background_rgb)


def test_load_colours_and_vectors(tmp_path):
    path = tmp_path / "stains.yaml"
    path.write_text("red: [200, 20, 30]\ndab: {vector: [0, 0.3, 0.4]}\nbackground: [255, 255, 250]\n")
    stains = StainSet.load(path)
    assert stains.rgb[0].tolist() == [200, 20, 30]
    assert np.allclose(stains.vectors[1], [0, 0.6, 0.8])
    assert np.allclose(stains.rgb[1], [255, 255 / 10**0.3, 250 / 10**0.4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected lines of the kind name"),
        ("a: [1, 2]", r"shape \(3,\)"),
        ("a: [1, 2, 300]", r"in \[0, 255\]"),
        ("a: [1, 2, x]", "could not convert"),
        ("a: [.nan, 2, 3]", r"in \[0, 255\]"),
        ("a: {vector: [0, 0, 0]}", "other than the background"),
        ("a: {vector: [0, 3, 4]}", r"in \[0, 2\]"),
        ("a: {vector: [0, -1, 0]}", r"in \[0, 2\]"),
        ("a: {colour: [0, 1, 0]}", "vector"),
        ("a: [255, 255, 254]", "other than the background"),
        ("a: [1, 2, 3]\ncounterstains: [b]", "counterstains among"),
        ("a: [1, 2, 3]\ncounterstains: a", "list of counterstains"),
        ("{}", "1 to 254 stains"),
        ("a: [1, 2", "expected ',' or ']'"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_files_that_are_no_stains_are_named(tmp_path, text, message):
    path = tmp_path / "stains.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        StainSet.load(path)
    assert str(path) in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="found none at"):
        StainSet.load(tmp_path / "none.yaml")


def test_names():
    with pytest.raises(ValueError, match="with different names"):
        StainSet(("a", "a"), [[1, 2, 3]] * 2)
    with pytest.raises(ValueError, match="cannot be the name"):
        StainSet(("background",), [[1, 2, 3]])
    with pytest.raises(ValueError, match="multiplex, "):
        StainSet.preset("he")


def test_from_pixels():
    image = np.full((20, 30, 3), 250, np.uint8)
    image[5:8, 10:13] = [100, 50, 30]
    image[6, 11] = [0, 0, 0]  # a speck that the median ignores
    picks = {"dab": [(11, 6)], "background": [(0, 0), (29, 19)]}
    stains = StainSet.from_pixels(image, picks, radius_px=1)
    assert stains.names == ("dab",) and stains.rgb.tolist() == [[100, 50, 30]]
    assert stains.background_rgb.tolist() == [250, 250, 250]
    assert StainSet.from_pixels(image, {"dab": [(11, 6)]}).rgb.tolist() == [[0, 0, 0]]
    with pytest.raises(ValueError, match=r"'dab'.*30 x 20 px, got \(30, 2\)"):
        StainSet.from_pixels(image, {"dab": [(1, 1), (30, 2)]})
    with pytest.raises(ValueError, match="at least one pixel"):
        StainSet.from_pixels(image, {"dab": []})


def test_classes_may_be_put_in_another_order():
    stains = StainSet.preset("multiplex-haematoxylin")
    order = ("CD8", "CD3", "CD16", "CD20", "CD4")
    found = stains.in_order(order)
    assert found.classes == order
    assert found.counterstains == stains.counterstains
    for name in stains.names:
        assert np.array_equal(found.rgb[found.names.index(name)], stains.rgb[stains.names.index(name)])
    with pytest.raises(ValueError, match="expected stains of the classes"):
        stains.in_order(order[:4])


def test_fluorescence_has_colours_but_no_densities():
    glowing = StainSet(("a", "b"), np.array([[0.0, 200, 0], [10, 12, 90]]), np.array([10.0, 12, 15]))
    assert not glowing.absorb_light
    with pytest.raises(ValueError, match="stain 'a': expected a colour darker than the background"):
        _ = glowing.vectors
    assert l2_map(glowing.rgb.astype(np.uint8)[None], glowing).tolist() == [[1, 2]]
    assert StainSet.preset("h-dab").absorb_light
