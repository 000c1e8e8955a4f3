"""Random losses: the kernels against the reference in float64, by value and gradient."""

from __future__ import annotations

from hypothesis import given, settings
from samples import samples
from test_functional import test_fused_equals_reference


def try_losses(count: int) -> int:
    """So many random cases; how many were tried. Raises on the first that is wrong."""
    tried = 0

    @settings(max_examples=count, deadline=None, database=None)
    @given(samples())
    def case(sample: object) -> None:
        nonlocal tried
        tried += 1
        test_fused_equals_reference.hypothesis.inner_test(sample)

    case()
    return tried
