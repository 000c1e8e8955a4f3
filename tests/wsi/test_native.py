"""JPEG tiles decoded in C++: the pixels of simplejpeg, of the window alone, or an error."""

import threading

import imagecodecs
import numpy as np
import pytest
from slides import tissue_like, write_pyramid

from lsr_ext import wsi
from lsr_ext.wsi import CorruptSlideError, configure, handles, native, open_slide
from lsr_ext.wsi.codecs import JPEG, RGB, YCBCR, Coding, decode, jpeg_prefix

HEIGHT, WIDTH = 128, 192
PIXELS = tissue_like(HEIGHT, WIDTH)
SUBSAMPLINGS = ("444", "422", "420", "440", "411")


def test_the_library_is_found_here():
    assert native.is_available()


def encoded(colours):
    """In RGB, in grey, or in YCbCr of that subsampling."""
    if colours == "gray":
        return imagecodecs.jpeg8_encode(np.ascontiguousarray(PIXELS[..., 0]), level=85)
    if colours == "rgb":
        return imagecodecs.jpeg8_encode(PIXELS, level=85, colorspace="RGB", outcolorspace="RGB")
    return imagecodecs.jpeg8_encode(PIXELS, level=85, subsampling=colours)


def place(path, stream, reduction, window, keep=False, photometric=YCBCR):
    """The window (top, bottom, left, right) by `native.place`, from a file of other bytes around the stream."""
    path.write_bytes(b"before" + stream + b"after")
    top, bottom, left, right = window
    out = np.full((bottom - top + 2, right - left + 4, 3), 7, np.uint8)
    tile = np.empty((HEIGHT // reduction, WIDTH // reduction, 3), np.uint8)
    prefix = jpeg_prefix(Coding(JPEG, photometric, 1, WIDTH, HEIGHT, b""))
    coding = native.NativeCoding(WIDTH, HEIGHT, reduction, len(prefix), prefix)
    parts = native.Parts()
    start = native.address(out) + out.strides[0] + 2 * 3
    room = native.address(tile) if keep else 0
    parts.add(6, len(stream), room, start, out.strides[0], top, bottom, left, right)
    with path.open("rb") as file:
        done, reason = native.place(file.fileno(), coding, parts)
    if not done:
        raise ValueError(reason)
    within = out[1:-1, 2:-2].copy()
    out[1:-1, 2:-2] = 7
    assert (out == 7).all()  # nothing beside the window
    return within


@pytest.mark.parametrize("colours", [*SUBSAMPLINGS, "gray", "rgb"])
def test_windows_equal_the_whole_tiles(tmp_path, colours):
    stream, photometric = encoded(colours), RGB if colours == "rgb" else YCBCR
    whole = decode(stream, Coding(JPEG, photometric, 1, WIDTH, HEIGHT, b""), 1)
    rng = np.random.default_rng(0)
    for _ in range(60):
        (top, bottom), (left, right) = (
            sorted(rng.choice(np.arange(size + 1), 2, replace=False)) for size in (HEIGHT, WIDTH)
        )
        for keep in (False, True):
            read = place(tmp_path / "file", stream, 1, (top, bottom, left, right), keep, photometric)
            np.testing.assert_array_equal(read, whole[top:bottom, left:right])


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("colours", ["444", "420"])
def test_reduced_tiles(tmp_path, colours, reduction):
    stream = encoded(colours)
    whole = decode(stream, Coding(JPEG, YCBCR, 1, WIDTH, HEIGHT, b""), reduction)
    window = 3, HEIGHT // reduction, 0, WIDTH // reduction - 2
    np.testing.assert_array_equal(place(tmp_path / "file", stream, reduction, window, keep=True), whole[3:, :-2])


def test_damage_is_an_error(tmp_path):
    stream, window = encoded("420"), (0, HEIGHT, 0, WIDTH)
    for size in (0, 1, 3, 20, 300, len(stream) // 2, len(stream) - 2):
        with pytest.raises(ValueError, match="."):
            place(tmp_path / "file", stream[:size] + bytes(max(4 - size, 0)), 1, window)
    with pytest.raises(ValueError, match="expected a JPEG stream"):
        place(tmp_path / "file", b"no JPEG" + stream, 1, window)
    other = imagecodecs.jpeg8_encode(PIXELS[:64], level=85)
    with pytest.raises(ValueError, match="expected a tile of 192 x 128 px, got 192 x 64"):
        place(tmp_path / "file", other, 1, window)
    # What lies below the window is not looked at.
    assert place(tmp_path / "file", stream[: len(stream) // 2], 1, (0, 16, 0, WIDTH)).shape == (16, WIDTH, 3)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, tissue_like(700, 900), levels=3, tile_px=64)
    return path


def everything(slide):
    yield slide.read(10, 20, 500, 400, level=0)
    yield slide.read(-30, 600, 300, 300, level=0)
    yield slide.read(8, 8, 200, 180, level=1)
    yield slide.read(0, 0, 250, 200, mpp=0.33)
    yield slide.read(64, 64, 60, 50, mpp=0.9)


def test_without_a_libjpeg_the_pixels_are_the_same(path, monkeypatch):
    by_native = list(everything(open_slide(path)))
    open_slide(path).forget()
    monkeypatch.setattr(native, "is_available", lambda: False)
    for ours, theirs in zip(by_native, everything(open_slide(path)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("cache_bytes", [0, 200_000, handles.DEFAULT_CACHE_BYTES])
def test_threads_that_want_the_same_tiles(path, cache_bytes):
    slide, wrong = open_slide(path), []
    whole = slide.read(0, 0, 900, 700, level=0)
    configure(cache_bytes=cache_bytes)

    def read(seed):
        rng = np.random.default_rng(seed % 3)  # in step: several threads are at the same place
        for _ in range(60):
            x, y = rng.integers(0, 500, 2).tolist()
            wrong.append((slide.read(x, y, 150, 130, level=0) != whole[y : y + 130, x : x + 150]).any())

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    configure(cache_bytes=handles.DEFAULT_CACHE_BYTES)
    assert not any(thread.is_alive() for thread in threads)
    assert (len(wrong), sum(wrong)) == (360, 0)


def test_a_damaged_tile_fails_the_reads_that_need_it_alone(path):
    whole = open_slide(path).read(0, 0, 900, 700, level=0)
    backend = handles.handle(open_slide(path)._key)
    offset = int(backend._tables[0].offsets[0])
    with path.open("rb+") as file:
        file.seek(offset + 2)
        file.write(bytes(8))
    slide, errors = open_slide(path), []

    def read(x):
        for _ in range(40):
            try:
                np.testing.assert_array_equal(slide.read(x, 0, 100, 60, level=0), whole[:60, x : x + 100])
            except CorruptSlideError as error:
                errors.append((x, "tile (0, 0)" in str(error)))

    threads = [threading.Thread(target=read, args=(x,)) for x in (10, 64, 70, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(errors) == [(10, True)] * 40 + [(20, True)] * 40


def test_wsi_says_which_python_it_needs(monkeypatch):
    import importlib
    import sys

    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(ImportError, match=r"lsr_ext\.wsi needs Python 3\.11 or later, this is 3\.10"):
        importlib.reload(wsi)
