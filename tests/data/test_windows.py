"""Windows and scales: every frame equally often, nothing unknown, the same batches for the same seed and epoch."""

import numpy as np
import pytest
import torch

from segcrf.data import RandomWindows, Recording, Window, Windows, collate, grid


def recording(length: int, known: slice = slice(None), targets: int = 0) -> Recording:
    labels = torch.full((length,), -100)
    labels[known] = torch.arange(length)[known]
    signal = torch.arange(length, dtype=torch.float32)[:, None]
    return Recording(signal, labels, torch.full((length, targets), torch.nan) if targets else None)


def test_grid_touches_and_covers() -> None:
    both = [recording(10), recording(3)]
    assert grid(both, 4) == [Window(0, 0, 4), Window(0, 4, 8), Window(0, 8, 10), Window(1, 0, 3)]
    shifted = [Window(0, 0, 1), Window(0, 1, 5), Window(0, 5, 9), Window(0, 9, 10), Window(1, 0, 3)]
    assert grid(both, 4, [3, 3]) == shifted


def test_grid_leaves_out_what_is_unknown() -> None:
    assert grid([recording(12, known=slice(7, 8))], 4) == [Window(0, 4, 8)]
    numbers = recording(12, known=slice(0, 0), targets=2)
    assert grid([numbers], 4) == []
    assert numbers.targets is not None
    numbers.targets[11, 1] = 0.0
    assert grid([numbers], 4) == [Window(0, 8, 12)]


def test_an_epoch_shows_every_frame_once_per_pass() -> None:
    lengths = [100, 7, 33]
    sampler = RandomWindows([recording(n) for n in lengths], 10, 4, min_batches=9)
    assert sampler.passes == 2
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        seen = [np.zeros(n, dtype=int) for n in lengths]
        for window in (window for batch in batches for window in batch):
            assert 0 <= window.start < window.stop <= lengths[window.recording] and window.stop - window.start <= 10
            seen[window.recording][window.start : window.stop] += 1
        assert all((counts == 2).all() for counts in seen)


def test_seed_and_epoch_decide_the_windows() -> None:
    def batches(seed: int, epoch: int) -> list[list[Window]]:
        sampler = RandomWindows([recording(100)], 10, 4, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert batches(0, 3) == batches(0, 3)
    assert batches(0, 3) != batches(0, 4) != batches(1, 4)


@pytest.mark.parametrize("size", [2, 5, 9])
def test_the_number_of_batches_never_changes(size: int) -> None:
    sampler = RandomWindows([recording(40, known=slice(11, 14)), recording(40, known=slice(39, 40))], size, 1)
    for epoch in range(30):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) and all(batches)


def test_collate_pads_with_what_means_nothing() -> None:
    known = recording(9, targets=1)
    assert known.targets is not None
    known.targets[:] = 1.0
    batch = collate(Windows([known])[[Window(0, 2, 5), Window(0, 8, 9)]])
    assert batch.signal[..., 0].tolist() == [[2.0, 3.0, 4.0], [8.0, 0.0, 0.0]]
    assert batch.labels.tolist() == [[2, 3, 4], [8, -100, -100]]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.targets is not None and batch.targets.isnan().sum() == 2
    assert collate([recording(3)]).targets is None


def test_balance_caps_windows_of_the_commonest_class_alone() -> None:
    labels = torch.zeros(400, dtype=torch.long)
    labels[100:105], labels[200:206], labels[300:340] = 1, 2, -100
    data = [Recording(torch.zeros(400, 1), labels, None)]
    for balance, alone in ((1.0, 3), (2.0, 6), (1000.0, 33)):
        sampler = RandomWindows(data, 10, 4, balance=balance, seed=1)
        seen = set()
        for epoch in range(3):
            sampler.set_epoch(epoch)
            windows = [window for part in sampler for window in part]
            rich = [w for w in windows if (labels[w.start : w.stop] > 0).any()]
            assert set(range(100, 105)) | set(range(200, 206)) <= {t for w in rich for t in range(w.start, w.stop)}
            distinct = {w for w in windows if w not in rich}
            assert abs(len(distinct) - alone) <= max(balance, 4)
            seen |= distinct
        assert len(list(sampler)) == len(sampler)
        assert len(seen) > alone  # others in other epochs
    everything = RandomWindows(data, 10, 4, seed=1)
    assert [list(b) for b in RandomWindows(data, 10, 4, balance=1e6, seed=1)] == [list(b) for b in everything]
