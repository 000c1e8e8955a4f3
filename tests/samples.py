"""Random inputs of the loss, of every kind a user may have."""

from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st

from lsr_ext import functional
from lsr_ext.options import ACTIVATIONS, FORMS, MODES, LossOptions

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LAYOUTS = ("contiguous", "channels_last", "sliced", "expanded", "transposed")


def lay_out(x, layout):
    """The same values in another place: (N, L, H, W) with other strides."""
    if layout == "channels_last":
        return x.to(memory_format=torch.channels_last)
    if layout == "sliced":
        n, classes, height, width = x.shape
        big = torch.full((n, classes + 1, height + 3, 2 * width), torch.nan, dtype=x.dtype)
        view = big[:, 1:, 2 : 2 + height, ::2]
        return view.copy_(x)
    if layout == "expanded":
        return x[:1].expand_as(x)
    if layout == "transposed":
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    return x.contiguous()


@dataclass
class Sample:
    """Arguments of the loss; without labels mean and std are the blocks' own."""

    logits: torch.Tensor
    labels: torch.Tensor | None
    mean: torch.Tensor
    std: torch.Tensor
    options: dict = field(default_factory=dict)

    @property
    def blocks(self):
        return len(self.mean if self.labels is None else self.labels)

    def loss(self, logits, *tables, **options):
        """Of this sample's kind, by the functional interface; tables: labels if there are any, mean, std."""
        given = tables or [x for x in (self.labels, self.mean, self.std) if x is not None]
        call = functional.fraction_loss if self.labels is None else functional.label_super_resolution_loss
        return call(logits, *given, **{**self.options, **options})


def split_options(options):
    """Keyword arguments of the loss as its optional tensors by name, None where not given, and its choices."""
    names = ("group", "mask", "block_ids", "class_weights", "block_weights")
    tensors = {name: options.get(name) for name in names}
    return tensors, LossOptions(**{name: value for name, value in options.items() if name not in tensors})


@st.composite
def samples(draw, dtypes=DTYPES):
    """Shapes, dtypes, layouts, masks, labels, groups, block ids, forms and modes, logits up to +-1e4."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def rand(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    activation = draw(st.sampled_from(ACTIVATIONS))
    n = draw(st.integers(0, 6))
    classes = draw(st.one_of(st.integers(2, 10), st.sampled_from([1, 64, 70])))
    classes = max(classes, 2) if activation == "softmax" else classes
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    scale = draw(st.sampled_from([0.1, 1.0, 5.0, 30.0, 1e4]))
    logits = (2 * rand(n, classes, height, width) - 1) * scale
    logits = lay_out(logits.to(draw(st.sampled_from(dtypes))), draw(st.sampled_from(LAYOUTS)))

    ids, blocks = None, n
    if draw(st.integers(0, 3)) == 0:
        blocks = draw(st.integers(1, 7))
        cell = draw(st.integers(1, 9))
        ids = torch.randint(-1, blocks, (n, height, width), generator=generator, dtype=torch.int32)
        ids = ids[:, ::cell, ::cell].repeat_interleave(cell, 1).repeat_interleave(cell, 2)
        ids = ids[:, :height, :width]
    targets = draw(st.integers(1, 4))
    shape = (blocks,) if draw(st.booleans()) else (blocks, classes)
    group_shape = (blocks,) if draw(st.booleans()) else (blocks, classes)
    options = {
        "mode": draw(st.sampled_from(MODES)),
        "form": draw(st.sampled_from(FORMS)),
        "variance": draw(st.sampled_from(["independent", "printed", 7.5])),
        "alpha": draw(st.sampled_from([1.0, 0.8])),
        "floor": draw(st.sampled_from([None, None, 1e-3])),
        "sharpness": draw(st.sampled_from([0.0, 0.5])),
        "activation": activation,
        "block_ids": ids,
        "mask": rand(n, height, width) > 0.3 if draw(st.booleans()) else None,
        "group": torch.randint(-2, 3, group_shape, generator=generator) if draw(st.booleans()) else None,
        "class_weights": rand(classes) if draw(st.booleans()) else None,
        "block_weights": None,
    }
    if draw(st.booleans()):  # one in four takes no part
        options["block_weights"] = torch.where(rand(blocks) < 0.25, 0.0, 2 * rand(blocks))
    if draw(st.integers(0, 2)) == 0:
        mean, std = rand(blocks, classes), 0.02 + 0.3 * rand(blocks, classes)
        return Sample(logits, None, torch.where(rand(blocks, classes) < 0.2, torch.nan, mean), std, options)
    labels = torch.randint(-1, targets, shape, generator=generator)
    return Sample(logits, labels, rand(targets, classes), 0.02 + 0.3 * rand(targets, classes), options)
