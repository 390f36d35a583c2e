"""The averaged weights against their closed forms."""

import copy

import pytest
import torch
from engine_fakes import train
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jepa_t.ema import update_ema, warmed_decay
from jepa_t.errors import UserError


def pair():
    return nn.Linear(3, 2), nn.Linear(3, 2).requires_grad_(False)


@given(decay=st.floats(0, 1))
def test_after_n_updates_the_error_is_decay_to_the_n(decay):
    network, ema = pair()
    error = ema.weight - network.weight
    for _ in range(3):
        update_ema(network, ema, decay)
    torch.testing.assert_close(ema.weight - network.weight, error * decay**3)


def test_buffers_are_copied():
    network, ema = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    network(torch.randn(8, 2))
    update_ema(network, ema, 0.9)
    assert torch.equal(ema.running_mean, network.running_mean)
    assert ema.num_batches_tracked == 1


def test_what_is_shared_is_left_alone():
    network = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(2)))
    ema = copy.deepcopy(network)
    network[0] = ema[0]
    before = [value.clone() for value in ema.parameters()]
    with torch.no_grad():
        for parameter in network[1:].parameters():
            parameter += 1
    update_ema(network, ema, 0.75)
    moved = [(new - old).item() for new, old in zip(ema.parameters(), before, strict=True)]
    assert moved == pytest.approx([0, 0, 0.25, 0.25])


def test_the_warm_up_rises_to_the_decay():
    values = [warmed_decay(0.99, n) for n in range(1, 2000)]
    assert values == sorted(values)
    assert values[0] == 2 / 11
    assert values[-1] == 0.99


def test_the_hook_follows_each_step_of_the_optimizer(tmp_path, monkeypatch):
    decays = []
    monkeypatch.setattr("jepa_t.engine.ema.move", lambda kept, new, decay: decays.append(decay))
    wrapper = {
        "type": "GuardedOptimWrapper",
        "constructor": "TaggedGroups",
        "optimizer": {"type": "AdamW"},
        "accumulative_counts": 3,
    }
    runner = train(tmp_path, 4, optim_wrapper=wrapper)
    assert decays == [warmed_decay(0.9999, n) for n in (1, 2, 3, 4)]
    assert len(runner.train_dataloader.dataset.read) == 4 * 3 * 3


def test_a_decay_out_of_range_is_refused():
    from jepa_t.engine import EMAHook

    with pytest.raises(UserError, match=r"1\.5"):
        EMAHook(1.5)
