"""What TIAToolbox takes for the work of `predict.py` and `feed.py`, in an environment of its own.

It needs another torch than lsr_ext, so these scripts start this one. It does the work once to warm up, then again,
and prints its seconds. The network has one layer; windows are as in `predict.py`.

    python -m venv tiatoolbox; tiatoolbox/bin/pip install tiatoolbox openslide-bin "setuptools<80"
    python benchmarks/predict.py --networks one-layer --tiatoolbox tiatoolbox/bin/python
    python benchmarks/feed.py --tiatoolbox tiatoolbox/bin/python
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tiatoolbox.models.engine.io_config import IOSegmentorConfig
from tiatoolbox.models.engine.semantic_segmentor import SemanticSegmentor
from tiatoolbox.models.models_abc import ModelABC
from tiatoolbox.wsicore.wsireader import WSIReader
from torch.utils.data import DataLoader, Dataset

SLIDE_MPP = 0.25  # which it does not read from the generated slides


class OneLayer(ModelABC):
    """The network of one layer: (N, H, W, 3) in [0, 255] to probabilities (N, H, W, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(pixels).softmax(1)

    @staticmethod
    def infer_batch(model: torch.nn.Module, batch_data: torch.Tensor, *, device: str) -> np.ndarray:
        with torch.inference_mode():
            pixels = batch_data.to(device).permute(0, 3, 1, 2).float() / 255
            return model(pixels).permute(0, 2, 3, 1).cpu().numpy()

    @staticmethod
    def postproc(image: np.ndarray) -> np.ndarray:
        return image.argmax(-1)


class Blocks(Dataset):
    """Blocks of slides, read at a resolution as TIAToolbox's own datasets do."""

    def __init__(self, blocks: list[dict], size_px: int, mpp: float) -> None:
        self.blocks, self.size_px, self.mpp, self.readers = blocks, size_px, mpp, {}

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        block = self.blocks[index]
        if block["path"] not in self.readers:
            self.readers[block["path"]] = WSIReader.open(block["path"], mpp=(SLIDE_MPP, SLIDE_MPP))
        place, size = (block["x"], block["y"]), (self.size_px, self.size_px)
        pixels = self.readers[block["path"]].read_rect(place, size, resolution=self.mpp, units="mpp")
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, block["label"]


def predict(asked: dict) -> None:
    resolution = {"units": "mpp", "resolution": asked["mpp"]}
    window = [asked["window_px"]] * 2
    windows = IOSegmentorConfig(
        input_resolutions=[resolution],
        output_resolutions=[resolution],
        patch_input_shape=window,
        patch_output_shape=window,
        stride_shape=[asked["stride_px"]] * 2,
        save_resolution=resolution,
    )
    segmentor = SemanticSegmentor(OneLayer(), batch_size=asked["batch_size"], verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        segmentor.run(
            [Path(asked["slide"])],
            patch_mode=False,
            ioconfig=windows,
            save_dir=Path(folder) / "found",
            output_type="zarr",
            return_probabilities=True,
            auto_get_mask=False,
            wsireader_kwargs={"mpp": (SLIDE_MPP, SLIDE_MPP)},
        )


def feed(loader: DataLoader) -> None:
    for _ in loader:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["predict", "feed"])
    work = parser.parse_args().work
    asked = json.load(sys.stdin)
    if work == "feed":
        dataset = Blocks(asked["blocks"], asked["size_px"], asked["mpp"])
        options = {"persistent_workers": True, "num_workers": asked["workers"]} if asked["workers"] else {}
        loader = DataLoader(dataset, asked["batch_size"], **options)
    seconds = []
    for _ in range(1 + asked["repeats"]):
        start = time.perf_counter()
        predict(asked) if work == "predict" else feed(loader)
        seconds.append(time.perf_counter() - start)
    print("\n" + json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()
