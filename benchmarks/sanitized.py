"""Run every kernel at small sizes, for compute-sanitizer: dtypes, layouts, numbers of classes, masks and ids."""

from __future__ import annotations

import itertools

import torch

from lsr_ext import functional


def lay_out(logits: torch.Tensor, layout: str) -> torch.Tensor:
    """Lay the values out in planes, interleaved, or at every second place of wider rows."""
    if layout == "channels_last":
        return logits.to(memory_format=torch.channels_last)
    if layout == "scattered":
        return logits.repeat_interleave(2, 3)[..., ::2]
    return logits


def main() -> None:
    torch.manual_seed(0)
    dtypes = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    layouts = ("planar", "channels_last", "scattered")
    steps = 0
    for dtype, layout, classes in itertools.product(dtypes, layouts, (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 40)):
        for height, width in ((24, 40), (7, 13)):
            x = lay_out(torch.randn(2, classes, height, width, device="cuda").to(dtype), layout).requires_grad_()
            maps = {"mask": torch.rand(2, height, width, device="cuda") > 0.2} if steps % 2 else {}
            if steps % 3 == 0:
                maps["block_ids"] = torch.randint(-1, 2, (2, height, width), device="cuda", dtype=torch.int32)
            loss = functional.label_super_resolution_loss(
                x,
                torch.tensor([0, 1], device="cuda"),
                torch.full((2, classes), 0.4, device="cuda"),
                torch.full((2, classes), 0.2, device="cuda"),
                activation="sigmoid" if classes == 1 or steps % 5 == 0 else "softmax",
                backend="fused",
                **maps,
            )
            loss.backward()
            steps += 1
    torch.cuda.synchronize()
    print(f"{steps} steps")


if __name__ == "__main__":
    main()
