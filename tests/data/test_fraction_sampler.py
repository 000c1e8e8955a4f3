"""Groups by fractions: what they hold, coverage, ranks, repeatability and resuming."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from lsr_ext import FractionLoss
from lsr_ext.data import FractionBatchSampler, GroupedBatchSampler, GroupNumbers

GROUPINGS = ["nearest", "bins", "random"]
RNG = np.random.default_rng(0)
TWO = (lambda first: np.stack([first, 1 - first], 1))(RNG.random(120))
FOUR = RNG.dirichlet([4, 2, 1, 1], 120)


def groups_of(sampler):
    size = sampler.group_size
    return [batch[i : i + size] for batch in sampler for i in range(0, len(batch), size)]


def mean_spread(groups, fractions):
    return np.mean([fractions[group].std(0).mean() for group in groups])


@pytest.mark.parametrize("grouping", GROUPINGS)
@given(
    count=st.integers(1, 40),
    group_size=st.integers(1, 6),
    groups_per_batch=st.integers(1, 3),
    world_size=st.integers(1, 3),
    equal=st.booleans(),
    bins=st.integers(2, 12),
)
def test_a_pass_draws_every_known_block(grouping, count, group_size, groups_per_batch, world_size, equal, bins):
    fractions = np.random.default_rng(count).dirichlet([3, 1, 1], count)
    fractions[::4] = [1, 0, 0] if equal else fractions[::4]
    fractions[3::5] = np.nan
    known = np.flatnonzero(~np.isnan(fractions[:, 0]))
    ranks = [
        FractionBatchSampler(
            fractions, group_size, groups_per_batch, grouping, bins=bins, rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    batches = [list(sampler) for sampler in ranks]
    assert len({len(found) for found in batches}) == 1 and len(batches[0]) == len(ranks[0])
    drawn = list(itertools.chain(*itertools.chain(*batches)))
    assert set(drawn) == set(known)
    assert {len(batch) for found in batches for batch in found} == {group_size * groups_per_batch}
    if len(known) >= group_size:
        for batch in itertools.chain(*batches):
            for group in np.reshape(batch, (-1, group_size)):
                assert grouping == "bins" or len(set(group)) == group_size


def test_of_two_classes_that_sum_to_one_bins_are_made_of_one_whatever_is_unknown():
    share = np.linspace(0, 1, 12)
    fractions = np.stack([1 - share, share], 1)
    fractions[5] = np.nan
    sampler = FractionBatchSampler(fractions, 2, 2, "bins", bins=3)
    assert len(sampler) == 3


@pytest.mark.parametrize("fractions", [TWO, FOUR], ids=["two classes", "four classes"])
def test_near_blocks_are_nearer_than_those_of_bins_and_random_ones_are_as_wide_as_all(fractions):
    found = {
        grouping: groups_of(FractionBatchSampler(fractions, 6, 2, grouping, bins=5, batches=40))
        for grouping in GROUPINGS
    }
    near, bins, random = (mean_spread(found[grouping], fractions) for grouping in GROUPINGS)
    assert near < 0.75 * bins < 0.75 * random
    whole = np.mean([fractions[np.random.default_rng(k).permutation(120)[:6]].std(0).mean() for k in range(500)])
    assert random == pytest.approx(whole, rel=0.05)


def test_near_groups_of_one_number_are_neighbours_in_its_order():
    ranks = TWO[:, 0].argsort().argsort()
    for group in groups_of(FractionBatchSampler(TWO, 4, 3)):
        assert np.ptp(ranks[group]) == 3


def test_bins_hold_a_range_of_one_class_and_their_limits_move():
    sampler = FractionBatchSampler(TWO, 4, 5, "bins", bins=3)
    passes = [groups_of(sampler) for _ in range(4)]
    widths = [max(np.ptp(TWO[group, 1]) for group in groups) for groups in passes]
    assert all(0.1 < width < 0.6 for width in widths) and len(set(widths)) > 1


def test_groups_of_a_batch_differ():
    batches = list(FractionBatchSampler(TWO, 4, 3))
    means = np.array([TWO[np.reshape(batch, (3, 4)), 0].mean(1) for batch in batches])
    assert (np.ptp(means, axis=1) > 0.1).mean() > 0.8


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_resumed_epoch_goes_on_and_epochs_differ(grouping):
    make = lambda **options: FractionBatchSampler(FOUR, 4, 2, grouping, **options)  # noqa: E731
    whole = list(make())
    first = make()
    iterator = iter(first)
    begun = [next(iterator) for _ in range(3)]
    second = make()
    second.load_state_dict(first.state_dict())
    assert begun + list(second) == whole
    assert list(second) != whole and list(make(seed=1)) != whole
    again = make()
    again.set_epoch(1)
    epochs = make()
    list(epochs)
    assert list(epochs) == list(again)


def test_a_state_of_another_grouping_is_refused():
    sampler = FractionBatchSampler(FOUR, 4, 2)
    next(iter(sampler))
    with pytest.raises(ValueError, match="grouping was nearest, now it is random"):
        FractionBatchSampler(FOUR, 4, 2, "random").load_state_dict(sampler.state_dict())


def test_a_block_with_some_unknown_fractions_is_drawn_by_those_that_are_known():
    fractions = FOUR.copy()
    fractions[:60, 2:] = np.nan
    for grouping in GROUPINGS:
        drawn = set(itertools.chain(*FractionBatchSampler(fractions, 4, 2, grouping)))
        assert drawn == set(range(120))


def test_batches_of_a_loader_train_by_numbers():
    sampler = FractionBatchSampler(TWO, 4, 2)
    numbered = [(index, group) for batch in GroupNumbers(sampler) for index, group in batch]
    assert [group for _, group in numbered[:8]] == [0] * 4 + [1] * 4
    loader = DataLoader(TensorDataset(torch.from_numpy(TWO)), batch_sampler=sampler)
    [fractions] = next(iter(loader))
    logits = torch.zeros(8, 2, 4, 4, requires_grad=True)
    FractionLoss(mode="intra+inter", std=0.05)(logits, fractions, group=torch.arange(8) // 4).backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("fractions", "options", "message"),
    [
        (np.full((3, 2), 1.5), {}, r"fractions must lie in \[0, 1\] or be NaN, got 1.5 for block 0, class 0"),
        (np.full(3, 0.5), {}, r"expected fractions \(N, L\), got shape \(3,\)"),
        (np.full((3, 2), np.nan), {}, "expected at least one known fraction, got none among 6"),
        (TWO, {"grouping": "near"}, "grouping must be one of"),
        (TWO, {"bins": 1}, "expected at least 2 bins, got 1"),
        (TWO, {"group_size": 0}, "expected group_size of at least 1, got 0"),
        (TWO, {"grouping": "bins", "groups_per_batch": 0}, "expected groups_per_batch of at least 1, got 0"),
    ],
)
def test_faulty_arguments(fractions, options, message):
    with pytest.raises(ValueError, match=message):
        FractionBatchSampler(fractions, **({"group_size": 2, "groups_per_batch": 2} | options))


def test_too_few_blocks_are_repeated_with_a_warning():
    with pytest.warns(UserWarning, match="fewer blocks than group_size=5"):
        sampler = FractionBatchSampler(TWO[:3], 5, 1)
    assert set(next(iter(sampler))) == {0, 1, 2}


def test_a_state_of_another_sampler_is_refused():
    state = GroupedBatchSampler(np.arange(120) % 3, 4, 2).state_dict(batches_done=1)
    with pytest.raises(ValueError, match="cannot continue within an epoch: .* was None"):
        FractionBatchSampler(TWO, 4, 2).load_state_dict(state)
