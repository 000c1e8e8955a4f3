"""Damaged files, thousands of them: each is read, or refused with a message; nothing else."""

from __future__ import annotations

import logging
import multiprocessing
import resource
import shutil
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from inputs import DAMAGES

from lsr_ext import CountDistribution, wsi
from lsr_ext.config import load_config
from lsr_ext.data import read_image, read_label_table, read_mask
from lsr_ext.data.cohort import read_manifest
from lsr_ext.data.cohort.annotations import read_annotations
from lsr_ext.data.cohort.rectangles import Rectangles
from lsr_ext.inference import load_model
from lsr_ext.inference.model_file import read_description
from lsr_ext.inference.prediction import open_prediction
from lsr_ext.metrics import read_dots
from lsr_ext.metrics.map_files import open_label_map

SECONDS = 30  # that one file may take
MEMORY_BYTES = 4 << 30  # of addresses, most of which torch takes


def read_slide(path: Path) -> None:
    slide = wsi.open_slide(path)
    level = slide.levels[0]
    slide.read(0, 0, min(level.width, 512), min(level.height, 512), level=0)


def read_map(path: Path) -> None:
    np.asarray(open_label_map(path)[:64])


def read_weights(path: Path) -> None:
    """As a model's, with the description beside it."""
    folder = path.with_name("damaged-model")
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "weights.safetensors")
    shutil.copy(path.with_name("model.json"), folder)
    load_model(folder)


def read_prediction(path: Path) -> None:
    """As the description of a prediction whose arrays are whole."""
    folder = path.with_name("damaged.zarr")
    shutil.copytree(path.with_name("prediction.zarr"), folder, dirs_exist_ok=True)
    shutil.copy(path, folder / "zarr.json")
    opened = open_prediction(folder)
    opened.likelihood((slice(0, 64), slice(0, 64)), opened.labels[:64, :64])


READERS: dict[str, Callable[[Path], object]] = {
    "slide": read_slide,
    "image": read_image,
    "photo": read_image,
    "mask": lambda path: (read_mask(path), read_map(path)),
    "dots": read_dots,
    "points": read_dots,
    "regions": read_annotations,
    "xml": read_annotations,
    "rectangles": Rectangles,
    "labels": read_label_table,
    "distribution": CountDistribution.load,
    "fractions": CountDistribution.from_fractions,
    "config": load_config,
    "manifest": read_manifest,
    "model": read_description,
    "weights": read_weights,
    "prediction": read_prediction,
}


def damaged(kind: str, path: Path, count: int) -> Iterator[bytes]:
    """So many damaged copies, the same ones each time."""
    content, random = path.read_bytes(), np.random.default_rng(sum(kind.encode()))
    for i in range(count):
        damage = DAMAGES[i % len(DAMAGES)]
        found = damage(content, random)
        if random.random() < 0.3:
            found = DAMAGES[int(random.integers(len(DAMAGES)))](found or b"\0", random)
        yield found


def read_all(kind: str, path: Path, count: int, first: int, results: Connection) -> None:
    """Read the damaged copies from `first` on; sends (number, outcome, what was said) for each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("ignore")
    logging.disable()
    copy = path.with_name(f"damaged-{path.name}")
    results.send(None)  # ready: the imports took longer than a file may
    for number, content in enumerate(damaged(kind, path, count)):
        if number < first:
            continue
        copy.write_bytes(content)
        try:
            READERS[kind](copy)
        except (ValueError, OSError) as error:
            results.send((number, "refused" if str(error) else "fault", f"{type(error).__name__}: {error}"))
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            results.send((number, "fault", f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"))
        else:
            results.send((number, "read", ""))


def try_kind(kind: str, path: Path, count: int) -> tuple[Counter, list[str]]:
    """Outcomes by name, and what the faults say; a process that dies or hangs is a fault, and the next goes on."""
    outcomes, faults, first = Counter(), [], 0
    context = multiprocessing.get_context("spawn")
    while first < count:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=read_all, args=(kind, path, count, first, sender))
        process.start()
        sender.close()
        try:
            receiver.recv()
            while first < count and receiver.poll(SECONDS):
                number, outcome, said = receiver.recv()
                outcomes[outcome] += 1
                first = number + 1
                if outcome == "fault":
                    faults.append(f"{kind} {number}: {said}")
        except EOFError:
            pass
        process.kill()
        process.join()
        if first < count:
            faults.append(f"{kind} {first}: {'hung' if process.exitcode == -9 else f'died, {process.exitcode}'}")
            outcomes["fault"] += 1
            first += 1
        print(f"{kind}: {dict(outcomes)}", file=sys.stderr)
    return outcomes, faults
