import pytest

from lsr_ext.files import remove_unfinished, write_atomically, written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for content in (b"one", b"two"):
        write_atomically(path, content)
        assert path.read_bytes() == content and names(path.parent) == ["a.txt"]


def test_a_file_is_as_readable_as_others(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_replaces_a_folder_or_a_file(tmp_path):
    path = tmp_path / "a.zarr"
    for content in ("one", "two"):
        with written_whole(path) as temporary:
            assert temporary.name == path.name and temporary.parent.parent == tmp_path
            temporary.mkdir()
            (temporary / content).touch()
        assert names(path) == [content] and names(tmp_path) == ["a.zarr"]
    with written_whole(path, durable=True) as temporary:
        temporary.write_bytes(b"three")
    assert path.read_bytes() == b"three" and names(tmp_path) == ["a.zarr"]


def test_a_failure_leaves_what_was_there(tmp_path):
    write_atomically(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError), written_whole(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert (tmp_path / "a").read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_what_killed_runs_left_is_removed(tmp_path):
    for name in ("a", "b"):
        write_atomically(tmp_path / f".{name}.1234.part" / name, b"half")
    remove_unfinished(tmp_path, "a")
    assert names(tmp_path) == [".b.1234.part"]
    remove_unfinished(tmp_path)
    assert names(tmp_path) == []
