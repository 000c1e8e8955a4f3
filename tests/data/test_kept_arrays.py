import gc
import multiprocessing
import os
import signal

import numpy as np
import pytest

from lsr_ext.data.kept_arrays import MappedArrays, Memory

ARRAYS = [np.arange(n * 5, dtype=kind).reshape(n, 5) for n, kind in ((3, np.uint8), (4, np.int64), (2, np.uint8))]


@pytest.mark.parametrize("budget_bytes", [0, 170, 10**6])
def test_what_is_kept_is_what_was_given(tmp_path, budget_bytes):
    kept = Memory(budget_bytes, tmp_path).keep(iter(ARRAYS))
    assert isinstance(kept, list) == (budget_bytes >= sum(array.nbytes for array in ARRAYS))
    assert len(kept) == len(ARRAYS)
    for found, expected in zip(kept, ARRAYS, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_the_file_goes_with_the_sequence(tmp_path):
    kept = MappedArrays(tmp_path, ARRAYS)
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(IndexError):
        kept[len(ARRAYS)]
    del kept
    gc.collect()
    assert not list(tmp_path.iterdir())


def _sum(kept):
    return [int(array.sum()) for array in kept]


def test_workers_map_the_same_file(tmp_path):
    kept = MappedArrays(tmp_path, ARRAYS)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_sum, (kept,)) == _sum(ARRAYS)
    np.testing.assert_array_equal(kept[1], ARRAYS[1])


def _be_killed(folder):
    kept = MappedArrays(folder, ARRAYS)
    os.kill(os.getpid(), signal.SIGKILL)
    del kept


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_be_killed, args=(tmp_path,))
    process.start()
    process.join()
    (left,) = tmp_path.iterdir()
    first = MappedArrays(tmp_path, ARRAYS)
    assert not left.exists()
    second = MappedArrays(tmp_path, ARRAYS)
    assert len(list(tmp_path.iterdir())) == 2
    np.testing.assert_array_equal(first[0], second[0])


def test_a_forked_process_leaves_the_file(tmp_path):
    kept = [MappedArrays(tmp_path, ARRAYS)]
    process = multiprocessing.get_context("fork").Process(target=kept.clear)
    process.start()
    process.join()
    np.testing.assert_array_equal(kept[0][1], ARRAYS[1])
