"""Checkpoints that are cut, damaged or cannot be written, and trainings that are asked to end."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import write_labels_run

from lsr_ext.config import load_config
from lsr_ext.training import train
from lsr_ext.training.checkpoint_files import WholeCheckpointIO, read_last
from lsr_ext.training.folders import CHECKPOINT_NAME, MODEL_NAME, PREVIOUS_NAME


def checkpoint(step):
    return {"global_step": step, "state_dict": {"w": torch.full((3,), float(step))}}


def test_the_one_before_is_kept(tmp_path):
    for step in (2, 4, 6):
        WholeCheckpointIO().save_checkpoint(checkpoint(step), tmp_path / CHECKPOINT_NAME)
    steps = [torch.load(tmp_path / name)["global_step"] for name in (CHECKPOINT_NAME, PREVIOUS_NAME)]
    assert steps == [6, 4]
    WholeCheckpointIO().save_checkpoint(checkpoint(7), tmp_path / "best.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", CHECKPOINT_NAME, PREVIOUS_NAME]


def test_a_disk_that_fills_leaves_what_was_there(tmp_path, monkeypatch):
    WholeCheckpointIO().save_checkpoint(checkpoint(2), tmp_path / CHECKPOINT_NAME)

    def fill(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(OSError, match="No space left"):
        WholeCheckpointIO().save_checkpoint(checkpoint(4), tmp_path / CHECKPOINT_NAME)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_NAME]
    assert read_last(tmp_path)["global_step"] == 2


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"x" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_last_good_one_is_gone_on_from(tmp_path, damage, caplog):
    assert read_last(tmp_path) is None
    for step in (2, 4):
        WholeCheckpointIO().save_checkpoint(checkpoint(step), tmp_path / CHECKPOINT_NAME)
    last = tmp_path / CHECKPOINT_NAME
    last.write_bytes(damage(last.read_bytes()))
    assert read_last(tmp_path)["global_step"] == 2
    assert "is no readable checkpoint" in caplog.text and "going on from the one before, of step 2" in caplog.text
    assert torch.load(last)["global_step"] == 2
    last.unlink()
    assert read_last(tmp_path)["global_step"] == 2
    for path in (last, tmp_path / PREVIOUS_NAME):
        path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"last.ckpt is no .*; .*previous.ckpt is no .* delete .* to train"
    ) as fault:
        read_last(tmp_path)
    assert "\n" not in str(fault.value) and "weights_only" not in str(fault.value)
    (tmp_path / MODEL_NAME).mkdir()
    with pytest.raises(ValueError, match="delete it to keep the trained model"):
        read_last(tmp_path)


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path):
    config = load_config(write_labels_run(tmp_path))
    train(config)
    folder = config.output / "intra"
    weights = load_file(folder / "model/weights.safetensors")
    (folder / CHECKPOINT_NAME).write_bytes(b"")
    (folder / "model/model.json").unlink()
    train(config)
    again = load_file(folder / "model/weights.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.long
def test_sigterm_ends_with_the_code_that_schedulers_expect(tmp_path):
    path = write_labels_run(tmp_path, training={"steps": 100_000, "checkpoint_every_steps": 2})
    command = [sys.executable, "-c", "from lsr_ext.cli.main import main; main()", "train", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ)
    while not (tmp_path / "run/intra" / CHECKPOINT_NAME).exists():
        time.sleep(0.1)
        assert process.poll() is None, process.stdout.read()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"ended by SIGTERM" in said
    assert read_last(tmp_path / "run/intra")["global_step"] >= 2
