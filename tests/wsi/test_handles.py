"""What slides share in a process: handles, tiles and threads, under load, forks and new processes."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from slides import tissue_like, write_pyramid

from lsr_ext.wsi import configure, handles, open_slide, reading


@pytest.fixture
def slides(tmp_path):
    """Twelve slides and their pixels."""
    written = {}
    for i in range(12):
        path = tmp_path / f"{i}.tif"
        written[path] = write_pyramid(path, tissue_like(256, 256, seed=i), tile_px=64, compression="deflate")[0]
    return written


@pytest.fixture(params=[1, 4])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def small_limits():
    configure(cache_bytes=100_000, open_handles=3)
    yield
    configure(cache_bytes=handles.DEFAULT_CACHE_BYTES, open_handles=handles.DEFAULT_HANDLES)


def open_files(folder):
    """The slides of a folder that this process holds open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
    return [link for link in links if link.readlink().parent == folder]


def test_no_more_handles_and_tiles_than_the_limits(slides, tmp_path, small_limits):
    opened = [open_slide(path) for path in slides]
    for _ in range(2):
        for slide, pixels in zip(opened, slides.values(), strict=True):
            np.testing.assert_array_equal(slide.read(3, 3, 200, 200, level=0), pixels[3:203, 3:203])
    assert len(open_files(tmp_path)) <= 3
    assert handles.tiles.stats()["size"] <= 100_000


def test_reads_from_many_threads_are_right(slides, threads, small_limits):
    opened = {open_slide(path): pixels for path, pixels in slides.items()}
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(60):
            slide, pixels = list(opened.items())[rng.integers(len(opened))]
            x, y = rng.integers(0, 150, 2)
            if not np.array_equal(slide.read(x, y, 100, 90, level=0), pixels[y : y + 90, x : x + 100]):
                wrong.append((slide, x, y))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not wrong
    assert not any(worker.is_alive() for worker in workers)


def test_each_tile_is_decoded_once_per_read(slides, threads, monkeypatch):
    path, pixels = next(iter(slides.items()))
    slide, decoded = open_slide(path), []
    backend = type(handles.handle(slide._key))
    decode = backend.decode_tile

    def counting(self, *where):
        decoded.append(where)
        return decode(self, *where)

    monkeypatch.setattr(backend, "decode_tile", counting)
    configure(cache_bytes=0)
    try:
        np.testing.assert_array_equal(slide.read(5, 7, 240, 230, level=0), pixels[7:237, 5:245])
        assert sorted(decoded) == sorted({(0, column, row, 1) for column in range(4) for row in range(4)})
        decoded.clear()
        slide.read(5, 7, 80, 77, mpp=0.75)
        assert sorted(decoded) == sorted({(0, column, row, 1) for column in range(4) for row in range(4)})
    finally:
        configure(cache_bytes=handles.DEFAULT_CACHE_BYTES)
    decoded.clear()
    for _ in range(3):
        slide.read(5, 7, 40, 40, level=0)
    assert len(decoded) == 1


def test_what_is_returned_may_be_changed(slides):
    path, pixels = next(iter(slides.items()))
    slide = open_slide(path)
    for _ in range(4):  # a tile read whole: handed out first, kept later
        read = slide.read(64, 64, 64, 64, level=0)
        np.testing.assert_array_equal(read, pixels[64:128, 64:128])
        read[:] = 0


def test_a_file_that_is_replaced_is_read_anew(tmp_path):
    path = tmp_path / "slide.tif"
    for seed in (1, 2):
        new = tmp_path / "new.tif"
        pixels = write_pyramid(new, tissue_like(128, 128, seed=seed), compression="deflate")[0]
        new.replace(path)
        np.testing.assert_array_equal(open_slide(path).read(0, 0, 128, 128, level=0), pixels)


def test_a_forked_child_reads_with_handles_of_its_own(slides, threads):
    opened = {open_slide(path): pixels for path, pixels in slides.items()}
    for slide, pixels in opened.items():
        np.testing.assert_array_equal(slide.read(0, 0, 256, 256, level=0), pixels)
    child = os.fork()
    if not child:
        fine = all(np.array_equal(s.read(1, 1, 200, 200, level=0), p[1:201, 1:201]) for s, p in opened.items())
        os._exit(0 if fine and handles.handles.stats()["values"] == len(opened) else 1)
    assert os.waitpid(child, 0)[1] == 0
    for slide, pixels in opened.items():
        np.testing.assert_array_equal(slide.read(9, 9, 100, 100, level=0), pixels[9:109, 9:109])


def test_a_spawned_process_reads_a_slide_that_was_sent(slides):
    path, pixels = next(iter(slides.items()))
    with get_context("spawn").Pool(1) as pool:
        read = pool.apply(read_corner, (pickle.dumps(open_slide(path)),))
    np.testing.assert_array_equal(read, pixels[:50, :60])


def read_corner(slide):
    return pickle.loads(slide).read(0, 0, 60, 50, level=0)


def test_reads_inside_decoding_threads_do_not_wait_for_themselves(slides, threads):
    opened = [open_slide(path) for path in slides] * 3

    def read_all():
        return [region.shape for region in handles.in_threads(lambda s: s.read(0, 0, 256, 256, level=0), opened)]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(read_all).result(timeout=60) == [(256, 256, 3)] * len(opened)


def test_memory_of_a_huge_read_is_a_band_of_it(tmp_path):
    """All of a large slide to a small image takes tiles and a band, not the slide."""
    path = tmp_path / "slide.tif"
    write_pyramid(path, np.full((4096, 4096, 3), 200, np.uint8), tile_px=256)  # 48 MiB of pixels
    slide = open_slide(path)
    slide.thumbnail(64)
    Path("/proc/self/clear_refs").write_text("5")
    before = status_kib("VmRSS")
    thumbnail = slide.read_resized(0, 0, 4096, 4096, (256, 256))
    grown = status_kib("VmHWM") - before
    assert np.abs(thumbnail.astype(int) - 200).max() <= 1
    assert grown < 1024 * (handles.DEFAULT_CACHE_BYTES / 2**20 + 8)


def status_kib(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise OSError(field)


def test_limits_below_zero_are_refused():
    for limit in ("cache_bytes", "open_handles", "read_limit_bytes"):
        with pytest.raises(ValueError, match="at least 0"):
            configure(**{limit: -1})
    assert reading.handles.max_read_bytes == handles.DEFAULT_MAX_READ_BYTES
