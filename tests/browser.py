"""A headless Chromium for tests, driven over pipes by its own protocol: no package, no port."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
_WAIT_S = 60


class Browser:
    """One page of a new Chromium; a context manager.

    Args:
        folder: of its profile, which must be empty.
        size: (width, height) of the page in pixels.
        dark: prefer a dark page.
    """

    def __init__(self, folder: Path, size: tuple[int, int] = (1280, 800), dark: bool = False) -> None:
        self.folder, self.size, self.dark = folder, size, dark
        self._count, self._rest = 0, b""
        self.messages: list[str] = []

    def __enter__(self) -> Browser:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # Chromium reads commands from file 3 and answers on file 4.
        flags = " ".join([*_FLAGS, "--remote-debugging-pipe", f"--user-data-dir='{self.folder}'"])
        command = f"exec '{CHROMIUM}' {flags} about:blank 3<&{to_browser} 4>&{from_browser}"
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self.resize(*self.size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=scheme)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)  # ends it
        try:
            self._process.wait(_WAIT_S)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._in)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)

    def go(self, address: str) -> None:
        """Load a page."""
        self._call("Page.navigate", url=address)

    def run(self, script: str) -> object:
        """The value of an expression, as JSON holds it."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", found))
        return found["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _WAIT_S
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(f"{script} did not become true; the page said {self.messages}")
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def move(self, x: int, y: int) -> None:
        """Move the pointer."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path | None = None) -> np.ndarray:
        """The page as it is seen: uint8 (H, W, 3); also into a PNG file."""
        content = base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(content)
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self._call("Page.printToPDF", printBackground=True)["data"])

    def _call(self, method: str, **params: object) -> dict:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._keep_message(answer)

    def _receive(self) -> dict:
        while b"\0" not in self._rest:
            more = os.read(self._in, 2**20)
            if not more:
                raise RuntimeError("the browser ended")
            self._rest += more
        answer, _, self._rest = self._rest.partition(b"\0")
        return json.loads(answer)

    def _keep_message(self, event: dict) -> None:
        """Keep what the page logged as an error or threw."""
        params = event.get("params", {})
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.messages.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        if event.get("method") == "Runtime.exceptionThrown":
            self.messages.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
