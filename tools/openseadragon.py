"""Put OpenSeadragon, which draws the page of `lsr view`, into the package: from npm, or from its file.

    python tools/openseadragon.py [openseadragon-VERSION.tgz]

It is fetched when the package is built, in the version and with the checksum below; it is not part of the sources.
On a machine without network, give the file of `npm pack openseadragon@VERSION`.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "5.0.1"
SHA256 = "4762c9432cee1d941644d0df9ce61ebb61d3dcd6f7312e843f24d26912354502"
PAGE = Path(__file__).resolve().parents[1] / "lsr_ext" / "viewer" / "page"
# Files of the package, and their names in the page's folder.
WANTED = {
    "package/build/openseadragon/openseadragon.min.js": "openseadragon.min.js",
    "package/LICENSE.txt": "openseadragon.LICENSE.txt",
}
_MARK = f"openseadragon {VERSION}"


class NotFetchedError(Exception):
    """OpenSeadragon could not be had."""


def install(archive: Path | None = None, page: Path = PAGE) -> None:
    """Put the script and its licence into the page's folder, unless they are there in this version.

    Args:
        archive: the package's file; None: fetched by npm.
        page: the folder.

    Raises:
        NotFetchedError: no npm, no network, or a file of another checksum.
    """
    if archive is None and _is_there(page):
        return
    content = _fetch() if archive is None else archive.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise NotFetchedError(f"expected OpenSeadragon {VERSION} of SHA-256 {SHA256}, got {found}")
    with tarfile.open(fileobj=io.BytesIO(content)) as files:
        for inside, name in WANTED.items():
            temporary = page / f".{name}.part"
            temporary.write_bytes(files.extractfile(inside).read())
            temporary.replace(page / name)


def _is_there(page: Path) -> bool:
    script = page / WANTED["package/build/openseadragon/openseadragon.min.js"]
    licence = page / WANTED["package/LICENSE.txt"]
    return licence.is_file() and script.is_file() and _MARK in script.read_text(encoding="utf-8")[:200]


def _fetch() -> bytes:
    """The package's file, by npm."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"openseadragon@{VERSION}", "--silent", "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        except FileNotFoundError as error:
            raise NotFetchedError("npm is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise NotFetchedError("npm did not answer within 120 s") from error
        except subprocess.CalledProcessError as error:
            raise NotFetchedError(f"npm failed: {(error.stderr or error.stdout).strip()[-300:]}") from error
        return next(Path(folder).glob("*.tgz")).read_bytes()


def explain(error: NotFetchedError) -> str:
    """What is missing without it, and what to do."""
    return (
        f"OpenSeadragon could not be fetched ({error}). All else works, but `lsr view` does not until\n"
        f"  python tools/openseadragon.py\nsucceeds. Without network, give it the file that\n"
        f"  npm pack openseadragon@{VERSION}\nmakes on another machine."
    )


if __name__ == "__main__":
    try:
        install(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    except NotFetchedError as error:
        sys.exit(explain(error))
