"""The operators as the dispatcher, the compiler and function transforms see them."""

import copy
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from builds import BUILDS, run_in_build
from hypothesis import assume, given, settings
from samples import LAYOUTS, lay_out, samples, split_options
from torch import library

import lsr_ext
from lsr_ext import ops  # registers torch.ops.lsr
from lsr_ext.checks import BlockTensors

CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


def loss_arguments(logits, labels, mean, std, options):
    tensors, chosen = split_options(options)
    return ops.loss_inputs(logits, labels, mean, std, chosen, BlockTensors(**tensors))


def batch(layout="contiguous", dtype=torch.float32):
    torch.manual_seed(0)
    logits = lay_out(torch.randn(6, 3, 5, 7).to(dtype), layout).requires_grad_()
    return logits, torch.tensor([0, 0, 1, 1, 2, -1]), torch.rand(3, 3), torch.rand(3, 3) * 0.2 + 0.05


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(layout, dtype):
    logits, labels, mean, std = batch(layout, dtype)
    mask = torch.rand(6, 5, 7) > 0.2
    a, b = torch.rand(2, 6, 3, dtype=torch.float64)
    loss_inputs = loss_arguments(logits, labels, mean, std, {"mask": mask})
    calls = [
        (torch.ops.lsr.label_super_resolution, loss_inputs),
        (torch.ops.lsr.loss_and_coefficients, loss_inputs._replace(logits=logits.detach())),
        (torch.ops.lsr.block_moments, (logits, mask, None, 6, "softmax")),
        (torch.ops.lsr.pixel_gradient, (logits.detach(), mask, None, a, b, torch.tensor(2.0), "softmax")),
        (torch.ops.lsr.pixel_gradient_, (logits.detach().clone(), mask, None, a, b, None, "softmax")),
    ]
    for op, arguments in calls:
        library.opcheck(op, arguments, test_utils=CHECKS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 3, 4, 5), (2, 3, 1, 5), (2, 3, 4, 1), (2, 3, 1, 1)])
def test_a_gradient_lies_in_memory_as_empty_like_would_lie(layout, size):
    logits = lay_out(torch.randn(size), layout)
    a, b = torch.rand(2, len(logits), 3, dtype=torch.float64)
    gradient = torch.ops.lsr.pixel_gradient(logits, None, None, a, b, None, "softmax")
    assert gradient.stride() == torch.empty_like(logits).stride()


@settings(max_examples=10 + settings().max_examples // 50)  # each traces the operator
@given(samples(dtypes=(torch.float32,)))
def test_opcheck_over_random_samples(sample):
    assume(len(sample.logits))  # opcheck itself cannot clone an empty tensor
    arguments = loss_arguments(
        sample.logits.detach().requires_grad_(), sample.labels, sample.mean, sample.std, sample.options
    )
    library.opcheck(torch.ops.lsr.label_super_resolution, arguments, test_utils=CHECKS[:3])


class Step(torch.nn.Module):
    """A network and its loss: what is compiled, exported and wrapped."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.network = torch.nn.Conv2d(3, 2, 3, padding=1)
        self.loss = lsr_ext.LabelSuperResolutionLoss(lsr_ext.CountDistribution.paper("table1"), **options)

    def forward(self, images, labels):
        return self.loss(self.network(images), labels)


def test_inplace_backward_gives_the_same_gradient():
    module, thrifty = Step(), Step(inplace_backward=True)
    batch = images_and_labels(4)
    for expected, actual in zip(
        gradients(module, module, *batch), gradients(thrifty, thrifty, *batch), strict=True
    ):
        assert torch.equal(actual, expected)


def test_inplace_backward_overwrites_the_logits():
    logits, labels, mean, std = batch()
    computed = logits * 1
    loss = lsr_ext.functional.label_super_resolution_loss(computed, labels, mean, std, inplace_backward=True)
    (gradient,) = torch.autograd.grad(loss, computed)
    assert gradient.data_ptr() == computed.data_ptr()


def test_inplace_backward_guards_against_misuse():
    def loss(x, labels, mean, std):
        return lsr_ext.functional.label_super_resolution_loss(x, labels, mean, std, inplace_backward=True)

    logits, *rest = batch()
    with pytest.raises(ValueError, match="needs logits that a network computed, got a leaf"):
        loss(logits, *rest)
    with pytest.raises(ValueError, match="needs logits that a network computed, got a view of a leaf"):
        loss(logits[:, :3], *rest)
    computed = logits * 1
    for overlapping in (computed[:1].expand(6, 3, 5, 7), computed.as_strided((6, 3, 5, 7), (105, 35, 4, 1))):
        with pytest.raises(ValueError, match="needs logits without overlap, got strides"):
            loss(overlapping, *rest)
    # A second backward pass, and another operation that needs the logits it saved, are told.
    twice = loss(logits * 1, *rest)
    twice.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        twice.backward()
    for needs_its_output in (torch.relu, torch.exp):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss(needs_its_output(logits), *rest).backward()


def images_and_labels(count, size=16):
    generator = torch.Generator().manual_seed(count)
    images = torch.randn(count, 3, size, size, generator=generator)
    return images, torch.randint(0, 10, (count,), generator=generator)


def gradients(step, module, *batch):
    module.zero_grad()
    step(*batch).backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def test_compile_gives_the_eager_gradients_without_recompiling():
    """fullgraph: no graph break. A second and a third batch size: no recompilation."""
    torch._dynamo.reset()
    module = Step(sharpness=0.1)
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for count in (6, 4, 9):
            batch = images_and_labels(count)
            for actual, expected in zip(
                gradients(compiled, module, *batch), gradients(module, module, *batch), strict=True
            ):
                torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_func_grad_equals_backward():
    logits, labels, mean, std = batch()
    value = lsr_ext.functional.label_super_resolution_loss(logits, labels, mean, std)
    value.backward()
    transformed = torch.func.grad(lsr_ext.functional.label_super_resolution_loss)(
        logits.detach(), labels, mean, std
    )
    torch.testing.assert_close(transformed, logits.grad, rtol=0, atol=0)
    n_s_q = torch.func.grad(lambda x: lsr_ext.functional.block_moments(x)[1].square().sum())(logits.detach())
    assert n_s_q.any()


def test_export():
    module = Step()
    batch = images_and_labels(4)
    exported = torch.export.export(module, batch)
    torch.testing.assert_close(exported.module()(*batch), module(*batch))


def test_inference_mode():
    module = Step()
    batch = images_and_labels(4)
    with torch.inference_mode():
        inferred = module(*batch)
    torch.testing.assert_close(inferred, module(*batch))


def test_autocast_keeps_statistics_in_float32():
    module = Step()
    images, labels = images_and_labels(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = module.network(images)
        loss = module.loss(logits, labels)
        reference = copy.copy(module.loss)
        reference.backend = "reference"
        expected = reference(logits, labels)
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(module.network.weight.grad).all()


def test_deterministic_algorithms():
    module = Step()
    batch = images_and_labels(4)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (gradients(module, module, *batch) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, first, second))


def large_batch():
    torch.manual_seed(3)
    logits = torch.randn(3, 5, 300, 311)
    labels = torch.tensor([0, 0, 1])
    return logits, labels, torch.rand(2, 5), torch.rand(2, 5) * 0.2 + 0.05


def loss_and_gradient(logits, labels, mean, std, **options):
    logits = logits.clone().requires_grad_()
    loss = lsr_ext.functional.label_super_resolution_loss(logits, labels, mean, std, **options)
    loss.backward()
    return loss.detach(), logits.grad


@pytest.fixture
def restored_threads():
    """Gives torch its number of threads back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("by_id", [False, True])
def test_bitwise_equal_for_any_number_of_threads(by_id, restored_threads):
    logits, labels, mean, std = large_batch()
    options = {}
    if by_id:
        ids = torch.arange(30, dtype=torch.int32).reshape(3, 10).repeat_interleave(30, 1)
        options["block_ids"] = ids[:, :, None].expand(3, 300, 311)
        labels = torch.arange(30) % 2
    results = []
    for count in (1, 2, 2, 5):
        torch.set_num_threads(count)
        results.append(loss_and_gradient(logits, labels, mean, std, **options))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_callers_on_many_threads(restored_threads):
    torch.set_num_threads(2)  # of the kernels of each caller
    batch = large_batch()
    expected = loss_and_gradient(*batch)
    results = [None] * 4

    def work(i):
        results[i] = loss_and_gradient(*batch)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for loss, gradient in results:
        assert torch.equal(loss, expected[0])
        assert torch.equal(gradient, expected[1])


DDP = """
import os, sys, torch, torch.distributed as dist
from test_ops import Step, images_and_labels, gradients
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
module = Step(mode="intra")
wrapped = torch.nn.parallel.DistributedDataParallel(module)
images, labels = images_and_labels(4)
actual = gradients(wrapped, module, images[2 * rank : 2 * rank + 2], labels[2 * rank : 2 * rank + 2])
expected = gradients(module, module, images, labels)
for a, b in zip(actual, expected):
    torch.testing.assert_close(a, b)
print("same")
"""


def test_distributed_data_parallel(tmp_path):
    """Two ranks with half a batch each give the gradients of the whole, for a loss that is a mean of blocks."""
    command = [sys.executable, "-c", DDP]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True, cwd="tests"
        )
        for rank in range(2)
    ]
    for process in ranks:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert "same" in output


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_pixels_that_count_of_blocks_of_many_lengths(share):
    """Runs of ids and of a mask are looked at many pixels at a time."""
    torch.manual_seed(0)
    lengths = torch.cat([torch.arange(1, 70), torch.tensor([127, 128, 129, 255, 256, 257, 511, 1024])])
    ids = torch.repeat_interleave(torch.arange(len(lengths), dtype=torch.int32) % 40 - 1, lengths)[None, None]
    mask = torch.rand(ids.shape) < share
    for counted in (mask, None):
        n, S, _ = torch.ops.lsr.block_moments(torch.zeros(1, 2, *ids.shape[1:]), counted, ids, 40, "softmax")
        kept = ids[ids >= 0 if counted is None else counted & (ids >= 0)]
        expected = torch.bincount(kept, minlength=40).double()
        assert torch.equal(n, expected)
        torch.testing.assert_close(S, expected[:, None].expand(-1, 2) / 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("build", BUILDS)
def test_every_build_of_the_kernels(build):
    """Each build gives the reference's result; one that this processor lacks falls back to another."""
    script = (
        "import torch, lsr_ext, test_ops as t; print(lsr_ext.build_info()['cpu']);"
        "loss, gradient = t.loss_and_gradient(*t.large_batch());"
        "x = t.large_batch()[0].double().requires_grad_();"
        "r = lsr_ext.reference.label_super_resolution_loss(x, *t.large_batch()[1:]); r.backward();"
        "torch.testing.assert_close(loss.double(), r.detach(), rtol=1e-6, atol=0);"
        "assert (gradient - x.grad).abs().max() < 1e-5 * x.grad.abs().max()"
    )
    done = run_in_build(build, script)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    needs = {"portable": [], "avx2": ["avx2", "fma"], "avx512": ["avx512f", "avx512bw", "avx512dq", "avx512vl"]}
    supported = all(f" {flag} " in flags for flag in needs[build])
    assert done.stdout.strip() == (build if supported else "portable")
    assert ("LSR_CPU: expected" in done.stderr) != supported


def test_an_unknown_build_is_told():
    command = [sys.executable, "-c", "import lsr_ext; print(lsr_ext.build_info()['cpu'])"]
    environment = {name: value for name, value in os.environ.items() if name != "LSR_CPU"}
    unknown, empty, unset = (
        subprocess.run(command, env=environment | wish, capture_output=True, text=True, check=True)
        for wish in ({"LSR_CPU": "avx-512"}, {"LSR_CPU": ""}, {})
    )
    assert unknown.stdout.strip() == "portable"
    assert "got 'avx-512': the portable kernels are used" in unknown.stderr
    assert empty.stdout == unset.stdout and "LSR_CPU" not in empty.stderr + unset.stderr


def test_a_small_stack_is_enough():
    """A thread's stack may be far smaller than the main one's; what overflows it ends the process."""
    script = (
        "import threading, torch, lsr_ext, test_ops as t; threading.stack_size(64 * 1024);"
        "tables = t.large_batch(); results = [];"
        "thread = threading.Thread(target=lambda: results.append(t.loss_and_gradient(*tables)));"
        "thread.start(); thread.join(); assert results"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd="tests", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_operators_refuse_tables_of_the_wrong_shape():
    """The operators are reachable without the Python checks, and must be safe by themselves."""
    logits, labels, mean, std = (x.detach() for x in batch())
    a = torch.rand(6, 3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"a must be a contiguous float64 \(6, 3\) table"):
        torch.ops.lsr.pixel_gradient(logits, None, None, a.float(), a, None, "softmax")
    with pytest.raises(RuntimeError, match="expected 6 blocks, got 5"):
        torch.ops.lsr.pixel_gradient(logits, None, None, a[:5], a[:5], None, "softmax")
    with pytest.raises(RuntimeError, match="grad must be a scalar"):
        torch.ops.lsr.pixel_gradient(logits, None, None, a, a, torch.ones(2), "softmax")
    with pytest.raises(RuntimeError, match=r"logits must have shape \(N, L, H, W\), got 3 dimensions"):
        torch.ops.lsr.block_moments(logits[0], None, None, 3, "softmax")
    with pytest.raises(RuntimeError, match="softmax needs at least 2 classes, got 1"):
        torch.ops.lsr.block_moments(logits[:, :1], None, None, 6, "softmax")
    with pytest.raises(RuntimeError, match="activation must be softmax or sigmoid, got tanh"):
        torch.ops.lsr.block_moments(logits, None, None, 6, "tanh")
    arguments = loss_arguments(logits, labels[:4], mean, std, {})
    with pytest.raises(RuntimeError, match="expected 6 blocks, got 4"):
        torch.ops.lsr.label_super_resolution(*arguments)
    arguments = loss_arguments(logits, labels, mean[:, :2], std, {})
    with pytest.raises(RuntimeError, match=r"mean and std must have shape \(Z, 3\)"):
        torch.ops.lsr.label_super_resolution(*arguments)


def test_build_info():
    info = lsr_ext.build_info()
    assert info["torch"] == torch.__version__
    assert info["cpu"] in ("portable", "avx2", "avx512")


def test_gradient_of_zero_upstream_is_zero():
    logits, labels, mean, std = batch()
    (0 * lsr_ext.functional.label_super_resolution_loss(logits, labels, mean, std)).backward()
    assert not logits.grad.any()
    assert math.isfinite(logits.grad.sum())
