"""Make docs/view.png: what `lsr view` shows of the demonstration's slide, in headless Chromium.

make demo && python tools/view_picture.py [docs/view.png]
"""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import CHROMIUM, Browser  # noqa: E402
from PIL import Image  # noqa: E402

from lsr_ext.demo import demo_slide  # noqa: E402

SIZE = 1280, 760
# The middle of the slide, the predicted contours, and the block labels that the model was trained with.
LINK = "#x=256&y=160&scale=0.36&on=slide+labels+contours+blocks&labels-opacity=0.2&hide=0"


def main(picture: Path) -> None:
    """Serve the slide, take the picture, stop."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed")
    files = demo_slide(ROOT / "runs" / "demo")
    if not files.prediction.is_dir():
        sys.exit(f"expected the demonstration's slide, found none at {files.prediction}: run `make demo`")
    words = shlex.split(files.view_command)
    command = [sys.executable, "-c", "from lsr_ext.cli.main import main; main()", *words[1:]]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        try:
            address = server.stdout.readline().strip()
            with Browser(Path(folder), SIZE) as browser:
                browser.go(address + LINK)
                browser.wait_for("document.body && document.body.dataset.state === 'loaded'")
                browser.move(430, 330)
                browser.wait_for("document.getElementById('found').textContent !== ''")
                image = Image.fromarray(browser.screenshot())
                image.quantize(256).save(picture, optimize=True)  # a third of the size
        finally:
            server.terminate()
    print(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "view.png")
