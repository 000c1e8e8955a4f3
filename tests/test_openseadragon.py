"""How OpenSeadragon comes into the package."""

import importlib.util
import io
import tarfile
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "openseadragon", Path(__file__).parents[1] / "tools" / "openseadragon.py"
)
openseadragon = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(openseadragon)


def archive(script=f"//! openseadragon {openseadragon.VERSION}\n"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as files:
        for name in openseadragon.WANTED:
            content = script.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            files.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "package.tgz"
    path.write_bytes(archive())
    monkeypatch.setattr(openseadragon, "SHA256", openseadragon.hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_a_given_file_is_put_in_place(file, tmp_path):
    openseadragon.install(file, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("openseadragon*")) == sorted(openseadragon.WANTED.values())


def test_what_is_there_is_not_fetched_again(file, tmp_path, monkeypatch):
    openseadragon.install(file, tmp_path)
    monkeypatch.setattr(openseadragon, "_fetch", pytest.fail)
    openseadragon.install(page=tmp_path)


def test_another_version_is_replaced(file, tmp_path, monkeypatch):
    openseadragon.install(file, tmp_path)
    (tmp_path / "openseadragon.min.js").write_text("//! openseadragon 1.0.0")
    monkeypatch.setattr(openseadragon, "_fetch", file.read_bytes)
    openseadragon.install(page=tmp_path)
    assert openseadragon.VERSION in (tmp_path / "openseadragon.min.js").read_text()


def test_a_file_of_another_checksum_is_refused(file, tmp_path):
    file.write_bytes(archive("evil"))
    with pytest.raises(openseadragon.NotFetchedError, match="of SHA-256"):
        openseadragon.install(file, tmp_path)
    assert not list(tmp_path.glob("openseadragon*"))


def test_a_machine_without_npm_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(openseadragon.NotFetchedError, match="npm is not installed") as caught:
        openseadragon.install(page=tmp_path)
    assert "Without network, give it the file" in openseadragon.explain(caught.value)
