import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lsr_ext.data import GroupedBatchSampler, GroupedItems, GroupNumbers

LABELS = np.arange(24) % 3


class Items(Dataset):
    """Items of a label and an index."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return {"label": int(LABELS[index]), "index": index}


class UnreadableItems(Items):
    """As `Items`, but for those that cannot be read: they are left out of a batch."""

    unreadable = (0, 7)

    def __getitems__(self, indices):
        return [self[index] for index in indices if index not in self.unreadable]


def load(items):
    sampler = GroupedBatchSampler(LABELS, group_size=4, groups_per_batch=2, seed=3)
    return sampler, DataLoader(GroupedItems(items), batch_sampler=GroupNumbers(sampler))


def test_a_group_has_one_label_and_its_own_number():
    sampler, loader = load(Items())
    expected = list(GroupedBatchSampler(LABELS, group_size=4, groups_per_batch=2, seed=3))
    assert len(loader) == len(sampler) == len(expected)
    for batch, indices in zip(loader, expected, strict=True):
        assert batch["index"].tolist() == indices
        assert batch["group"].tolist() == [0] * 4 + [1] * 4


def test_groups_stay_whole_where_items_are_left_out():
    _, loader = load(UnreadableItems())
    lost = 0
    for batch in loader:
        lost += 8 - len(batch["index"])
        for group in batch["group"].unique():
            assert len(torch.unique(batch["label"][batch["group"] == group])) == 1
    assert lost >= len(UnreadableItems.unreadable)
