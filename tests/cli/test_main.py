import subprocess
import sys

import pytest
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext.cli import main as cli


def lsr(monkeypatch, *arguments):
    """Run the command line in this process; its exit code, or its message to standard error."""
    monkeypatch.setattr(sys, "argv", ["lsr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def test_images_and_a_csv_are_enough(tmp_path, monkeypatch, capsys):
    config = write_labels_run(tmp_path)
    for command in (["train"], ["evaluate", "run"], ["report"]):
        assert lsr(monkeypatch, *command, config) == 0
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    assert "report.html" in capsys.readouterr().out


def test_a_training_prints_its_own_messages_alone(tmp_path):
    # In a process of its own: importing Lightning sets the level of its messages, after the command line set it.
    command = [
        sys.executable,
        "-c",
        "from lsr_ext.cli.main import main; main()",
        "train",
        write_labels_run(tmp_path),
    ]
    printed = subprocess.run(list(map(str, command)), capture_output=True, check=True, text=True)
    assert "intra: training from step 0 to 4" in printed.stdout
    assert not any(word in printed.stdout + printed.stderr for word in ("GPU available", "Tip", "max_epochs"))


def test_data_output_and_seed_from_the_command_line(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    config = write_masks_run(tmp_path / "data").rename(tmp_path / "run.yaml")
    output = tmp_path / "other"
    options = ["--data", tmp_path / "data", "--output", output, "--seed", 3]
    assert lsr(monkeypatch, "train", config, *options) == 0
    assert "seed: 3" in (output / "config.yaml").read_text()


def test_a_missing_configuration_is_one_line(tmp_path, monkeypatch):
    message = lsr(monkeypatch, "train", tmp_path / "none.yaml")
    assert message == f"lsr: expected a configuration file, found none at {tmp_path / 'none.yaml'}"


def test_an_unknown_key_is_named(tmp_path, monkeypatch):
    message = lsr(monkeypatch, "train", write_labels_run(tmp_path, sead=1))
    assert message.startswith(f"lsr: {tmp_path / 'run.yaml'}: sead: ")


def test_an_unreadable_image_is_named(tmp_path, monkeypatch):
    config = write_labels_run(tmp_path)
    (tmp_path / "disc3.png").write_bytes(b"no image")
    message = lsr(monkeypatch, "train", config)
    assert message.startswith(f"lsr: {tmp_path / 'disc3.png'}: not a readable")
    assert "\n" not in message


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    message = lsr(monkeypatch, "train", write_masks_run(tmp_path), "--data", tmp_path / "absent")
    assert "absent" in message and "\n" not in message


def test_evaluation_before_training(tmp_path, monkeypatch):
    assert "train first" in lsr(monkeypatch, "evaluate", "run", write_labels_run(tmp_path))


def test_wrong_usage_has_exit_code_2(monkeypatch):
    assert lsr(monkeypatch, "train") == 2


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "lsr_ext.cli.main")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"pip install \"lsr_ext\[train\]\""):
        __import__("lsr_ext.cli.main")
