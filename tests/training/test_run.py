import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from tiny_runs import write_masks_run

from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.inference import load_model
from lsr_ext.networks import SegmentationUNet
from lsr_ext.networks.norms import ActNorm
from lsr_ext.report import write_report
from lsr_ext.sources import prepare_data
from lsr_ext.training import SegmentationModule, train
from lsr_ext.training.denormals import denormals_are_flushed


def weights(config, method="intra+inter"):
    return torch.load(config.output / method / "last.ckpt", weights_only=True)["state_dict"]


def test_every_method_trains(tmp_path):
    methods = ["intra", "inter", "intra+inter", "supervised"]
    config = load_config(write_masks_run(tmp_path, methods=methods))
    train(config)
    trained = [weights(config, method) for method in methods]
    assert not any(torch.equal(trained[0][name], trained[3][name]) for name in trained[0] if "conv" in name)


def test_the_norms_are_fitted_before_the_first_step(tmp_path):
    optimizer = {"name": "SGD", "params": {"lr": 0.0}}  # what is not as built was fitted
    config = load_config(write_masks_run(tmp_path, training={"optimizer": optimizer}))
    train(config)
    network = SegmentationUNet(2, [8] * 6, norm_groups=4)
    norms = [name for name, module in network.named_modules() if isinstance(module, ActNorm)]
    trained = weights(config)
    assert norms and all((trained[f"network.{name}.bias"] != 0).all() for name in norms)


def test_the_seed_decides_the_weights(tmp_path):
    path = write_masks_run(tmp_path)
    settings = enumerate((0, 0, 1))
    runs = [load_config(path, {"output": tmp_path / f"run{i}", "seed": seed}) for i, seed in settings]
    for config in runs:
        train(config)
    first, same, other = map(weights, runs)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_cut_run_goes_on_to_the_weights_of_an_uncut_one(tmp_path, monkeypatch):
    path = write_masks_run(tmp_path, training={"steps": 7, "colour_jitter": 0.1})
    uncut, cut = (load_config(path, {"output": tmp_path / name}) for name in ("uncut", "cut"))
    train(uncut)

    original = SegmentationModule.training_step

    def fails_at_step_5(self, batch, batch_idx):
        if self.global_step == 5:
            raise RuntimeError("power cut")
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", fails_at_step_5)
        with pytest.raises(RuntimeError, match="power cut"):
            train(cut)
    assert torch.load(cut.output / "intra+inter" / "last.ckpt", weights_only=True)["global_step"] == 4

    train(cut)
    first, second = weights(uncut), weights(cut)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_trained_model_outlives_its_checkpoints(tmp_path):
    config = load_config(write_masks_run(tmp_path))
    train(config)
    folder = config.output / "intra+inter"
    for path in folder.glob("*.ckpt"):
        path.unlink()
    described = folder / "model" / "model.json"
    before = described.read_bytes()
    train(config)
    assert described.read_bytes() == before and not list(folder.glob("*.ckpt"))
    described.write_bytes(before.replace(b"4 steps", b"3 steps"))
    with pytest.raises(ValueError, match="a model of another training .*3 steps.*, and its checkpoint is gone"):
        train(config)
    assert described.is_file()


@pytest.mark.parametrize("changed", ["disc?.png", "disc?_mask.png"])
def test_a_run_is_not_continued_nor_scored_on_other_data(tmp_path, changed):
    config = load_config(write_masks_run(tmp_path))
    for call in (train, evaluate, train, evaluate):
        call(config)
    for path in tmp_path.glob(changed):
        Image.fromarray(np.asarray(Image.open(path))[::-1]).save(path)
    for call in (train, evaluate, write_report):
        with pytest.raises(ValueError, match="run on other data .the training blocks .*changed since"):
            call(config)


def test_a_run_goes_on_with_other_memory_and_is_scored_on_another_split(tmp_path):
    data = {"validation_fraction": 0.2, "noise_std": 0.1}
    path = write_masks_run(tmp_path, data=data, training={"validate_every_steps": 2})
    config = load_config(path)
    train(config)
    for change in ({"data.memory_gb": 0.0}, {"data.memory_gb": 0.0, "evaluation.split": "validation"}):
        evaluate(load_config(path, change))
    train(load_config(path, {"data.memory_gb": 0.0}))


def test_a_run_may_be_scored_on_other_held_out_images(tmp_path):
    config = load_config(write_masks_run(tmp_path))
    train(config)
    held_out = prepare_data(config).test
    for path in {tmp_path / held_out.names[block.image] for block in held_out.blocks}:
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert evaluate(config)["intra+inter"]


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormal numbers")
def test_denormal_numbers_are_flushed_while_it_trains(tmp_path, monkeypatch):
    seen, original = [], SegmentationModule.training_step

    def step(self, batch, batch_idx):
        seen.append(denormals_are_flushed())
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "training_step", step)
    train(load_config(write_masks_run(tmp_path)))
    assert seen and all(seen)
    assert not denormals_are_flushed()


def test_a_finished_method_is_left_as_it_is(tmp_path):
    config = load_config(write_masks_run(tmp_path))
    train(config)
    checkpoint = config.output / "intra+inter" / "last.ckpt"
    written = checkpoint.stat().st_mtime_ns
    train(config)
    assert checkpoint.stat().st_mtime_ns == written
    assert not list(config.output.rglob("*-v1.ckpt"))


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    path = write_masks_run(tmp_path)
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run/.train.lock"),
        pytest.raises(ValueError, match="another process is training into"),
    ):
        train(load_config(path))
    train(load_config(path))


def test_an_output_holds_one_configuration(tmp_path):
    path = write_masks_run(tmp_path)
    train(load_config(path))
    train(load_config(path, {"methods": ["intra"], "evaluation.boundary_distance_px": 2}))
    with pytest.raises(ValueError, match=r"config\.yaml is of a run with another configuration"):
        train(load_config(path, {"seed": 1}))


def test_a_model_is_given_todays_windows_and_decoding(tmp_path):
    path = write_masks_run(tmp_path)
    train(load_config(path))
    folder = tmp_path / "run/intra+inter/model"
    before = load_model(folder)
    train(load_config(path, {"evaluation.window_px": 40, "evaluation.decoding": "expected_fraction"}))
    after = load_model(folder)
    assert (after.description.prediction.window_px, after.description.decoding.kind) == (40, "expected_fraction")
    assert after.description.decoding.shift == before.description.decoding.shift
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(after.network.state_dict()[name], tensor)


def test_a_run_is_the_same_from_another_folder(tmp_path, monkeypatch):
    path = write_masks_run(tmp_path)
    train(load_config(path))
    monkeypatch.chdir(tmp_path)
    train(load_config(path.name))
