"""Locks between processes; what is written whole or not at all is tested where it is used."""

import threading

import pytest

from lsr_ext.files import locked


def test_a_second_holder_waits_or_is_refused(tmp_path):
    path, came = tmp_path / "new" / ".lock", threading.Event()

    def hold():
        with locked(path):
            came.set()

    with locked(path):
        second = threading.Thread(target=hold)
        second.start()
        with pytest.raises(ValueError, match="somebody is at work"), locked(path, "somebody is at work"):
            pass
        assert not came.wait(0.3)
    second.join(10)
    assert came.is_set()
