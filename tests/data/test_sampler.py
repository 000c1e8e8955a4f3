"""The grouped sampler: groups, coverage, ranks, repeatability and resuming."""

import itertools
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lsr_ext.data import GroupedBatchSampler

LABELS = np.repeat([0, 1, 2, 3], [40, 20, 20, 20])


def groups_of(sampler, group_size):
    return [batch[i : i + group_size] for batch in sampler for i in range(0, len(batch), group_size)]


@pytest.mark.parametrize("group_size", [10, 15])
def test_batches_as_in_the_paper(group_size):
    labels = np.arange(300) % 10
    sampler = GroupedBatchSampler(labels, group_size, 2)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 10 * (30 // group_size) // 2
    for batch in batches:
        assert len(batch) == 2 * group_size
        group = torch.arange(len(batch)) // group_size
        first, second = (set(labels[np.array(batch)[group == g]]) for g in (0, 1))
        assert len(first) == len(second) == 1
        assert first != second
    assert sorted(itertools.chain(*batches)) == list(range(300))


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    group_size=st.integers(1, 5),
    groups_per_batch=st.integers(1, 3),
    world_size=st.integers(1, 3),
)
def test_a_pass_draws_every_block_in_groups_of_one_label(counts, group_size, groups_per_batch, world_size):
    labels = np.repeat(np.arange(len(counts)), counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranks = [
            GroupedBatchSampler(labels, group_size, groups_per_batch, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
    num_groups = sum(-(-count // group_size) for count in counts)
    assert all(len(sampler) == -(-num_groups // (groups_per_batch * world_size)) for sampler in ranks)
    drawn = Counter()
    for sampler in ranks:
        groups = groups_of(sampler, group_size)
        assert len(groups) == len(sampler) * groups_per_batch
        for group in groups:
            label = labels[group[0]]
            assert (labels[group] == label).all()
            # No block occurs twice in a group if its label has enough of them.
            assert len(set(group)) == min(group_size, counts[label])
            drawn.update(group)
    assert set(drawn) == set(range(len(labels)))


def test_blocks_come_once_where_the_numbers_fit():
    drawn = Counter(itertools.chain(*GroupedBatchSampler(LABELS, 10, 2)))
    assert drawn == Counter(range(100))


def test_last_group_of_a_label_is_filled_up():
    drawn = Counter(itertools.chain(*GroupedBatchSampler(np.zeros(7, int), 5, 1)))
    assert sorted(drawn.values()) == [1, 1, 1, 1, 2, 2, 2]


def test_different_labels_in_a_batch_wherever_possible():
    # 4 of 10 groups have label 0, so every one of 5 batches can have two labels.
    for epoch in range(20):
        sampler = GroupedBatchSampler(LABELS, 10, 2)
        sampler.set_epoch(epoch)
        for batch in sampler:
            assert len({LABELS[i] for i in batch}) == 2


def test_different_labels_on_each_rank():
    labels = np.repeat(np.arange(3), 16)
    for rank in range(4):
        for batch in GroupedBatchSampler(labels, 4, 3, rank=rank, world_size=4):
            assert {labels[i] for i in batch} == {0, 1, 2}


def test_labels_per_class():
    labels = np.array([[0, 1], [1, -1], [0, 0], [1, 0], [-1, 1], [0, 0]])
    with pytest.warns(UserWarning, match="class 0 label 1: 2; class 1 label 1: 2"):
        sampler = GroupedBatchSampler(labels, 3, 2)
    drawn = Counter()
    for group in groups_of(sampler, 3):
        shared = [(c, z) for c in (0, 1) for z in (0, 1) if (labels[group, c] == z).all()]
        assert shared
        drawn.update(group)
    assert set(drawn) == set(range(6))
    # Four (class, label) pairs, one group each.
    assert sum(drawn.values()) == 12


def test_unknown_blocks_are_never_drawn():
    labels = LABELS.copy()
    labels[::3] = -1
    drawn = set(itertools.chain(*GroupedBatchSampler(labels, 5, 2)))
    assert drawn == set(np.flatnonzero(labels >= 0))


def test_small_label_warns_with_its_count_and_repeats_blocks():
    labels = np.array([0] * 10 + [7] * 3)
    with pytest.warns(UserWarning, match="fewer blocks than group_size=5, so groups repeat them: label 7: 3$"):
        sampler = GroupedBatchSampler(labels, 5, 1)
    small = [group for group in groups_of(sampler, 5) if labels[group[0]] == 7]
    assert [set(group) for group in small] == [{10, 11, 12}]


def test_no_warning_where_labels_suffice_or_on_other_ranks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GroupedBatchSampler(LABELS, 20, 2)
        GroupedBatchSampler(np.array([0]), 5, 1, rank=1, world_size=2)


def test_number_of_batches_can_be_fixed():
    sampler = GroupedBatchSampler(LABELS, 10, 2, batches=12)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 12
    drawn = Counter(itertools.chain(*batches))
    # Two passes of five batches and part of a third.
    assert set(drawn.values()) == {2, 3}
    assert list(GroupedBatchSampler(LABELS, 10, 2, batches=3)) == batches[:3]


def test_passes_of_an_epoch_differ():
    batches = list(GroupedBatchSampler(LABELS, 10, 2, batches=10))
    assert batches[:5] != batches[5:]


def test_ranks_share_a_step_without_overlap():
    ranks = [GroupedBatchSampler(LABELS, 5, 2, rank=rank, world_size=2) for rank in (0, 1)]
    first, second = (list(sampler) for sampler in ranks)
    assert len(first) == len(second) == 5
    assert Counter(itertools.chain(*first, *second)) == Counter(range(100))


def epochs(sampler, numbers):
    result = []
    for number in numbers:
        sampler.set_epoch(number)
        result.append(list(sampler))
    return result


def test_order_depends_on_seed_and_epoch_alone():
    zero, one, again = epochs(GroupedBatchSampler(LABELS, 5, 2), [0, 1, 0])
    assert zero == again != one
    assert epochs(GroupedBatchSampler(LABELS, 5, 2), [1]) == [one]
    assert epochs(GroupedBatchSampler(LABELS, 5, 2, seed=1), [0]) != [zero]
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert epochs(GroupedBatchSampler(torch.from_numpy(LABELS), 5, 2), [0]) == [zero]


def test_iterating_again_goes_on_to_the_next_epoch():
    expected = epochs(GroupedBatchSampler(LABELS, 5, 2), range(3))
    sampler = GroupedBatchSampler(LABELS, 5, 2)
    assert [list(sampler) for _ in range(3)] == expected


def test_set_epoch_after_a_whole_epoch_repeats_it():
    sampler = GroupedBatchSampler(LABELS, 5, 2)
    first = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_an_epoch_that_is_broken_off_is_followed_by_the_next():
    expected = epochs(GroupedBatchSampler(LABELS, 5, 2), range(3))
    sampler = GroupedBatchSampler(LABELS, 5, 2)
    assert [list(itertools.islice(sampler, 3)) for _ in range(3)] == [batches[:3] for batches in expected]


def test_set_epoch_after_an_epoch_that_was_broken_off_repeats_it():
    sampler = GroupedBatchSampler(LABELS, 5, 2)
    first = list(itertools.islice(sampler, 3))
    sampler.set_epoch(0)
    assert list(sampler)[:3] == first


@pytest.mark.parametrize("done", [0, 1, 4, 10, 23])
@pytest.mark.parametrize("batches", [None, 23])
@pytest.mark.parametrize("calls_set_epoch", [False, True])
def test_resume_in_the_middle(done, batches, calls_set_epoch):
    def make():
        return GroupedBatchSampler(LABELS, 5, 2, batches=batches)

    whole = make()
    whole.set_epoch(3)
    expected = list(whole)
    stopped = make()
    done = min(done, len(stopped))
    stopped.set_epoch(3)
    seen = list(itertools.islice(stopped, done))
    state = stopped.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    if calls_set_epoch and done < len(resumed):
        resumed.set_epoch(3)
    if done == len(resumed):
        assert list(resumed) == list(whole)  # the epoch was over: the next one comes
    else:
        assert seen + list(resumed) == expected
        assert list(resumed) == list(whole)


def test_a_loaded_position_is_used_once():
    sampler = GroupedBatchSampler(LABELS, 5, 2)
    expected = list(sampler)
    sampler.load_state_dict(sampler.state_dict(batches_done=4))
    assert next(iter(sampler)) == expected[4]
    sampler.set_epoch(0)
    assert next(iter(sampler)) == expected[0]


def test_resume_on_every_rank():
    for rank in (0, 1):
        sampler = GroupedBatchSampler(LABELS, 5, 2, rank=rank, world_size=2)
        expected = list(sampler)
        resumed = GroupedBatchSampler(LABELS, 5, 2, rank=rank, world_size=2)
        resumed.load_state_dict(sampler.state_dict(batches_done=2))
        assert list(resumed) == expected[2:]


def test_state_counts_used_batches_when_workers_read_ahead():
    sampler = GroupedBatchSampler(LABELS, 5, 2)
    loader = DataLoader(range(100), batch_sampler=sampler, num_workers=1, prefetch_factor=4)
    iterator = iter(loader)
    seen = [next(iterator).tolist() for _ in range(2)]
    assert sampler.state_dict()["batch"] > 2
    resumed = GroupedBatchSampler(LABELS, 5, 2)
    resumed.load_state_dict(sampler.state_dict(batches_done=2))
    assert seen + list(resumed) == list(GroupedBatchSampler(LABELS, 5, 2))


def test_loading_before_iterating_keeps_the_state():
    sampler = GroupedBatchSampler(LABELS, 5, 2)
    state = sampler.state_dict(batches_done=4)
    sampler.load_state_dict(state)
    assert sampler.state_dict() == state


def test_state_of_other_settings_is_refused_within_an_epoch_only():
    state = GroupedBatchSampler(LABELS, 5, 2).state_dict(batches_done=1)
    with pytest.raises(ValueError, match="cannot continue within an epoch: group_size was 5, now it is 4"):
        GroupedBatchSampler(LABELS, 4, 2).load_state_dict(state)
    with pytest.raises(ValueError, match="cannot continue within an epoch: seed was 0, now it is 1"):
        GroupedBatchSampler(LABELS, 5, 2, seed=1).load_state_dict(state)
    GroupedBatchSampler(LABELS, 4, 2).load_state_dict(state | {"batch": 0})


@pytest.mark.parametrize("name", ["group_size", "groups_per_batch", "world_size", "batches"])
def test_sizes_below_one(name):
    with pytest.raises(ValueError, match=f"expected {name} of at least 1, got 0"):
        GroupedBatchSampler(LABELS, **{"group_size": 2, "groups_per_batch": 1} | {name: 0})


@pytest.mark.parametrize("rank", [-1, 2])
def test_rank_out_of_range(rank):
    with pytest.raises(ValueError, match=rf"expected a rank in \[0, 2\), got {rank}"):
        GroupedBatchSampler(LABELS, 2, 1, rank=rank, world_size=2)


def test_labels_of_the_wrong_kind():
    with pytest.raises(TypeError, match="expected integer labels, got float64"):
        GroupedBatchSampler(LABELS.astype(float), 2, 1)
    with pytest.raises(ValueError, match=r"expected labels \(N,\) or \(N, L\), got shape \(1, 1, 1\)"):
        GroupedBatchSampler(np.zeros((1, 1, 1), int), 2, 1)
    with pytest.raises(ValueError, match=r"expected at least one known label .* got none among 3"):
        GroupedBatchSampler(np.array([-1, -1, -1]), 2, 1)
