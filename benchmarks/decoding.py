"""The runs of experiments, scored with both ways of decoding: the likeliest class, and at the expected fraction.

python benchmarks/decoding.py runs/he_nuclei runs/tumour       # -> benchmarks/results/decoding.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lsr_ext.config import RunConfig
from lsr_ext.config.training import NetworkConfig
from lsr_ext.evaluation.scoring import score_maps
from lsr_ext.files import write_atomically
from lsr_ext.inference import TrainedModel, load_model, predict_rectangles
from lsr_ext.inference.stitching import cut_rectangles, rectangles_of
from lsr_ext.sources import TrainingData, prepare_data
from lsr_ext.training.finish import describe_prediction
from lsr_ext.training.folders import model_folder

HERE = Path(__file__).parent
KINDS = ("likeliest", "expected_fraction")
SCORES = ("iou", "masked_iou", "f1")


def score_run(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Both scores of a run, and what could tell beforehand which is better.

    `area_ratio` compares the held-out map by the likeliest class with what labels stand for: per class its share
    of the pixels by that of the training blocks by their labels. `shift` is that of the model's decoding.
    """
    config = _config_of(record, folder)
    [method] = config.methods
    data = prepare_data(config).readable()
    model = load_model(model_folder(folder, method))
    maps = dict(zip(KINDS, decoded_maps(model, data, config), strict=True))
    share = np.bincount(maps["likeliest"].ravel(), minlength=len(model.classes)) / maps["likeliest"].size
    scores = {kind: score_maps(found, data, config.evaluation) for kind, found in maps.items()}
    return {
        "run": "/".join(folder.parts[-2:]),
        "data": folder.parts[-4],
        "method": method,
        "form": config.loss.form if "+" in method or method in ("intra", "inter") else None,
        "targets": config.loss.targets,
        "steps": config.training.steps,
        "shift": [round(value, 3) for value in model.description.decoding.shift],
        "area_ratio": (share / data.expected_area).round(3).tolist(),
        "scores": {kind: {name: found.get(name) for name in SCORES} for kind, found in scores.items()},
    }


def _config_of(record: Mapping[str, Any], folder: Path) -> RunConfig:
    """A record names every default, and a network's section refuses those of the other kind of network."""
    training, defaults = record["config"]["training"], NetworkConfig().model_dump(mode="json")
    network = {name: value for name, value in training["network"].items() if value != defaults[name]}
    return RunConfig.model_validate(
        {**record["config"], "output": folder, "training": {**training, "network": network}}
    )


def decoded_maps(model: TrainedModel, data: TrainingData, config: RunConfig) -> Iterator[np.ndarray]:
    """The maps (N, H, W) of the held-out blocks by each way of decoding, of one prediction."""
    regions = rectangles_of(data.test.blocks)
    prediction = describe_prediction(config.evaluation, data.block_size_px)
    found = list(predict_rectangles(model, data.test.images, list(regions.values()), prediction))
    for kind in KINDS:
        maps = {image: model.decode(one, kind) for image, one in zip(regions, found, strict=True)}
        yield cut_rectangles(data.test.blocks, maps)


def main() -> None:
    """Score the finished runs of the outputs that are not in the result yet, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", nargs="+", type=Path, help="output folders of lsr experiment")
    parser.add_argument("--result", type=Path, default=HERE / "results" / "decoding.json")
    options = parser.parse_args()
    content = json.loads(options.result.read_text()) if options.result.is_file() else {"rows": []}
    done = {(row["data"], row["run"]) for row in content["rows"]}
    for path in sorted(path for output in options.outputs for path in output.glob("runs/*/seed*/run.json")):
        folder = path.parent.resolve()
        if (folder.parts[-4], "/".join(folder.parts[-2:])) in done:
            continue
        record = json.loads(path.read_text())
        row = score_run(folder, record)
        print(row["data"], row["run"], row["scores"], "area", row["area_ratio"], flush=True)
        content = {"environment": record["environment"], "rows": [*content["rows"], row]}
        write_atomically(options.result, json.dumps(content, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
