"""The kernels on a GPU: against the reference in float64 over the CPU's cases, and as CUDA sees them."""

import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from samples import LAYOUTS, lay_out, samples
from test_functional import assert_loss_equals_reference, assert_sums_equal_reference, moment_arguments
from test_infinite import VALUES, check
from test_ops import CHECKS, loss_arguments
from torch import library

from lsr_ext import CountDistribution, LabelSuperResolutionLoss, functional, ops, reference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_the_library_is_loaded():
    assert ops.has_kernel("cuda"), f"{ops.CUDA_LIBRARY} is missing: build with LSR_CUDA=1"


def to_cuda(x):
    """The same strides on the device."""
    if x is None or not x.numel():
        return None if x is None else x.cuda()
    storage = x.as_strided((x.untyped_storage().nbytes() // x.element_size(),), (1,), 0)
    return storage.cuda().as_strided(x.shape, x.stride(), x.storage_offset())


def device_sums(sample):
    """Block sums by the device, on the host."""
    arguments = {
        name: to_cuda(x) if isinstance(x, torch.Tensor) else x for name, x in moment_arguments(sample).items()
    }
    sums = functional.block_moments(to_cuda(sample.logits), **arguments, backend="fused")
    return [table.cpu() for table in sums]


@given(samples())
def test_fused_equals_reference(sample):
    logits = to_cuda(sample.logits).detach().requires_grad_()
    tables = [x.cuda() for x in (sample.labels, sample.mean, sample.std) if x is not None]
    options = {name: x.cuda() if isinstance(x, torch.Tensor) else x for name, x in sample.options.items()}
    value = sample.loss(logits, *tables, **options, backend="fused")
    (gradient,) = torch.autograd.grad(value, logits)
    sums = device_sums(sample)
    assert_loss_equals_reference(sample, value.detach().cpu(), gradient.cpu(), sums)


@given(samples())
def test_block_moments_equal_reference(sample):
    assert_sums_equal_reference(sample, device_sums(sample))


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("classes", [2, 3, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_infinite_logits(value, classes, dtype):
    with torch.device("cuda"):
        check(torch.ops.lsr, value, classes, dtype, on_device=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_sums_of_a_large_block_keep_their_digits(layout, dtype):
    logits = torch.full((1, 3, 4096, 4096), 0.7, device="cuda", dtype=dtype)
    logits[:, 1] = -1.0
    logits = lay_out(logits, layout)
    pixel = logits[:, :, :1, :1].double().cpu()
    n, S, Q = functional.block_moments(logits)
    _, expected_S, expected_Q = reference.block_moments(pixel)
    assert n.item() == 4096**2
    torch.testing.assert_close(S.cpu(), 4096**2 * expected_S, rtol=1e-6, atol=0)
    torch.testing.assert_close(Q.cpu(), 4096**2 * expected_Q, rtol=1e-6, atol=0)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
def test_gradcheck(layout, activation):
    torch.manual_seed(0)
    logits = lay_out(torch.randn(4, 3, 3, 6, dtype=torch.float64), layout).cuda().requires_grad_()
    mean, std = torch.rand(2, 3).double().cuda(), (torch.rand(2, 3).double() * 0.2 + 0.1).cuda()
    labels, mask = torch.tensor([0, 0, 1, -1]).cuda(), (torch.rand(4, 3, 6) > 0.3).cuda()

    def loss(x):
        return functional.label_super_resolution_loss(
            x, labels, mean, std, mask=mask, activation=activation, sharpness=0.2, backend="fused"
        )

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradcheck(lambda x: functional.block_moments(x, mask, activation)[1:], logits)


def batch(layout="contiguous", dtype=torch.float32, size=(6, 3, 40, 56)):
    torch.manual_seed(0)
    logits = lay_out(torch.randn(size).to(dtype), layout)
    labels = torch.arange(size[0]) % 3
    mean, std = torch.rand(3, size[1]), torch.rand(3, size[1]) * 0.2 + 0.05
    return to_cuda(logits).requires_grad_(), labels.cuda(), mean.cuda(), std.cuda()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(layout, dtype):
    logits, labels, mean, std = batch(layout, dtype, (6, 3, 5, 7))
    mask = (torch.rand(6, 5, 7) > 0.2).cuda()
    a, b = torch.rand(2, 6, 3, dtype=torch.float64).cuda()
    loss_inputs = loss_arguments(logits, labels, mean, std, {"mask": mask})
    calls = [
        (torch.ops.lsr.label_super_resolution, loss_inputs),
        (torch.ops.lsr.loss_and_coefficients, loss_inputs._replace(logits=logits.detach())),
        (torch.ops.lsr.block_moments, (logits, mask, None, 6, "softmax")),
        (torch.ops.lsr.pixel_gradient, (logits.detach(), mask, None, a, b, torch.tensor(2.0).cuda(), "softmax")),
        (torch.ops.lsr.pixel_gradient_, (logits.detach().clone(), mask, None, a, b, None, "softmax")),
    ]
    for op, arguments in calls:
        library.opcheck(op, arguments, test_utils=CHECKS)


def step(logits, *tables, **options):
    loss = functional.label_super_resolution_loss(logits, *tables, backend="fused", **options)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def ids_of(logits):
    n, _, height, width = logits.shape
    rows = torch.arange(height, device="cuda", dtype=torch.int32)[:, None] // 16
    columns = torch.arange(width, device="cuda", dtype=torch.int32) // 16
    return ((rows + columns) % n).expand(n, -1, -1).contiguous()


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_bitwise_repeat(layout, by_id):
    arguments = batch(layout, size=(6, 3, 400, 400))
    options = {"block_ids": ids_of(arguments[0])} if by_id else {}
    first = step(*arguments, **options)
    for _ in range(20):
        assert all(map(torch.equal, step(*arguments, **options), first))


@pytest.mark.parametrize("by_id", [False, True])
def test_graph_capture_and_replay(by_id):
    """Nothing in a step waits for the device or asks the host: it can be captured, and replayed on new logits."""
    arguments = batch()
    options = {"block_ids": ids_of(arguments[0])} if by_id else {}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(*arguments, **options)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(*arguments, **options)
    for seed in range(3):
        with torch.no_grad():
            arguments[0].copy_(torch.randn(arguments[0].shape, generator=torch.Generator().manual_seed(seed)))
        graph.replay()
        assert all(map(torch.equal, captured, step(*arguments, **options)))


def test_the_recipe_for_a_graph():
    """As docs/performance.md has it."""
    page = (Path(__file__).parents[1] / "docs" / "performance.md").read_text()
    recipe = next(block for block in page.split("```python\n")[1:] if "CUDAGraph" in block).split("```")[0]
    loss = LabelSuperResolutionLoss(CountDistribution(torch.rand(2, 6), torch.rand(2, 6) * 0.2 + 0.05)).cuda()
    labels, logits = (torch.arange(20) // 10).cuda(), torch.randn(20, 6, 400, 400, device="cuda")
    found = {"torch": torch, "loss": loss, "labels": labels, "logits": logits}
    exec(recipe, found)
    expected = loss(logits.requires_grad_(), labels)
    assert torch.equal(found["value"], expected)
    assert torch.equal(found["static_logits"].grad, torch.autograd.grad(expected, logits)[0])


def test_a_step_does_not_synchronise():
    arguments = batch()
    step(*arguments)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(*arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def kernels_of(run):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    return [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]


def test_two_launches_forward_and_one_backward():
    logits, *tables = batch()
    step(logits, *tables)
    losses = []
    forward = kernels_of(
        lambda: losses.append(functional.label_super_resolution_loss(logits, *tables, backend="fused"))
    )
    assert len(forward) <= 2, forward
    seed = torch.ones((), device="cuda")
    backward = kernels_of(lambda: torch.autograd.grad(losses[0], logits, seed))
    assert len(backward) == 1, backward


def test_no_memory_beyond_the_gradient():
    logits, *tables = batch(size=(4, 6, 512, 512))
    step(logits, *tables)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(logits, *tables)
    extra = torch.cuda.max_memory_allocated() - before - logits.numel() * logits.element_size()
    assert extra < 2**20


def test_two_streams():
    """Steps on two streams of their own, beside each other, each as by itself."""
    arguments = [batch(size=(6, 3, 200, 200)), batch("channels_last", size=(5, 3, 160, 160))]
    expected = [step(*each) for each in arguments]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in arguments]
    results = [[], []]

    def work(i):
        with torch.cuda.stream(streams[i]):
            results[i] = [step(*arguments[i]) for _ in range(50)]
        streams[i].synchronize()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(2):
        for result in results[i]:
            assert all(map(torch.equal, result, expected[i]))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_the_logits_device_is_used_whatever_is_current():
    arguments = batch()
    expected = step(*arguments)
    with torch.cuda.device(0):
        moved = [x.detach().to("cuda:1") for x in arguments]
        moved[0].requires_grad_()
        actual = step(*moved)
    assert actual[1].device.index == 1
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b.cpu(), rtol=1e-6, atol=1e-9)


def test_values_out_of_range_give_nan():
    """The host cannot look at them without waiting: the result says it instead."""
    logits, labels, mean, std = batch()
    loss, gradient = step(logits, labels + 3, mean, std)
    assert loss.isnan() and gradient.isnan().all()
    ids = torch.full((6, 40, 56), 6, dtype=torch.int32, device="cuda")
    assert step(logits, labels, mean, std, block_ids=ids)[0].isnan()


def test_tensors_on_another_device_are_refused():
    logits, labels, mean, std = batch()
    with pytest.raises(ValueError, match="labels must be on the logits' device, cuda:0, got cpu"):
        step(logits, labels.cpu(), mean, std)


def test_compile():
    logits, *tables = batch()
    torch._dynamo.reset()
    compiled = torch.compile(functional.label_super_resolution_loss, fullgraph=True)
    value = compiled(logits, *tables)
    expected = step(logits, *tables)
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(torch.autograd.grad(value, logits)[0], expected[1])


def test_inplace_backward():
    logits, *tables = batch("channels_last")
    expected = step(logits, *tables)[1]
    copy = (logits * 1).contiguous(memory_format=torch.channels_last)
    loss = functional.label_super_resolution_loss(copy, *tables, inplace_backward=True)
    (gradient,) = torch.autograd.grad(loss, copy)
    assert gradient.data_ptr() == copy.data_ptr()
    assert torch.equal(gradient, expected)
