"""The schedule that follows the training's length, and what is said of those that don't."""

from pathlib import Path

import numpy as np
import pytest
import torch
from engine_fakes import train
from hypothesis import given
from hypothesis import strategies as st
from mmengine.optim import LinearLR

from jepa_t.engine import WarmupStableDecayLR, load_config
from jepa_t.errors import UserError
from jepa_t.registry import PARAM_SCHEDULERS

CONFIGS = Path(__file__).parents[2] / "configs"
# The figures of the docs were measured with these pairs of MMEngine's: ends of the warm-up, and begin of the decay.
PAIRS = {
    "jepat_digits.py": (100, 800),
    "jepat_digits_pairs.py": (100, 900),
    "jepat_digits_diffusion.py": (100, 1600),
    "jepat_shapes.py": (240, 240),
    "tokenizers/fsq_digits.py": (50, 50),
}


def optimizer(lr=1.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(optimizer, schedulers, steps):
    """The learning rate of each step."""
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return np.array(found)


def schedule(steps, **options):
    return WarmupStableDecayLR(optimizer(), steps, **options)


@pytest.mark.parametrize("path", PAIRS)
def test_the_configs_keep_the_rates_that_the_published_figures_were_trained_with(path):
    cfg = load_config(str(CONFIGS / path))
    warm, begin = PAIRS[path]
    steps, lr = cfg.train_cfg.max_iters, cfg.optim_wrapper.optimizer.lr
    pair = optimizer(lr)
    schedulers = [
        LinearLR(pair, start_factor=0.01, by_epoch=False, end=warm),
        LinearLR(pair, start_factor=1.0, end_factor=0.0, by_epoch=False, begin=begin, end=steps),
    ]
    ours = optimizer(lr)
    scheduler = PARAM_SCHEDULERS.build(cfg.param_scheduler | {"optimizer": ours, "end": steps, "epoch_length": 1})
    old, new = rates(pair, schedulers, steps), rates(ours, [scheduler], steps)
    np.testing.assert_allclose(new, old, rtol=1e-12)
    corrected = 1 - 0.9 ** np.arange(1, steps + 1)  # by Adam, which then computes in float32
    assert ((old / corrected).astype("f4") == (new / corrected).astype("f4")).all()


@pytest.mark.parametrize(("path", "epochs"), [("jepat_imagenet.py", 100), ("jepat_imagenet_from_djepa.py", 5)])
def test_the_papers_warm_up_is_in_epochs(path, epochs):
    cfg = load_config(str(CONFIGS / path))
    options = dict(cfg.param_scheduler, end=cfg.train_cfg.max_iters)
    options.pop("type")
    scheduler = WarmupStableDecayLR(optimizer(), **options)
    assert (scheduler.warmup, scheduler.decay) == (round(epochs * 1281167 / 2048), 0)
    assert scheduler.factor(0) == 1e-6


@given(
    steps=st.integers(4, 500),
    warmup=st.floats(0, 0.5),
    decay=st.floats(0, 0.5),
    kind=st.sampled_from(["linear", "cosine"]),
    end_factor=st.floats(0, 1),
)
def test_the_rate_rises_stays_and_falls_within_any_length(steps, warmup, decay, kind, end_factor):
    options = {"warmup": warmup, "decay": decay, "decay_type": kind, "end_factor": end_factor}
    scheduler = schedule(steps, **options)
    factors = [scheduler.factor(step) for step in range(steps)]
    rises, falls = factors[: scheduler.warmup], factors[steps - scheduler.decay :]
    assert rises == sorted(rises)
    assert falls == sorted(falls, reverse=True)
    assert all(factor == 1 for factor in factors[scheduler.warmup : steps - scheduler.decay])
    assert factors[0] == (0.01 if scheduler.warmup else 1)
    assert factors[-1] == pytest.approx(end_factor if scheduler.decay else 1, abs=1e-12)
    longer = schedule(10 * steps, **options)
    assert longer.decay == pytest.approx(10 * scheduler.decay, abs=5)
    in_steps = schedule(steps, **options | {"warmup": 2, "decay": 3})
    assert (in_steps.warmup, in_steps.decay) == (2, 3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warmup": 1}, "warmup is 1; give a share of the training, such as 0.05 or 1.0"),
        ({"warmup": 1.5}, "warmup is 1.5"),
        ({"warmup": -2}, "warmup is -2"),
        ({"decay": float("nan")}, "decay is nan"),
        ({"decay": "x"}, "decay is 'x'"),
        ({"decay_type": "cosin"}, "did you mean 'cosine'"),
        ({"start_factor": "x"}, "start_factor is 'x'"),
        ({"end_factor": 1.5}, "end_factor is 1.5"),
        ({"by_epoch": True}, r"param_scheduler\[0\] counts epochs"),
        ({"type": "LinearLR", "by_epoch": True}, r"param_scheduler\[0\] counts epochs"),
        ({"type": "LinearLR", "start_factor": "x"}, "param_scheduler: TypeError"),
        ({"type": "LinearLR", "start_factor": 0.0}, "param_scheduler: ZeroDivisionError"),
        ({"type": "LinearLR", "end": 0}, "end should be larger than begin"),
        ({"type": "LinearRL"}, "unknown"),
        ({"type": "MultiStepLR", "milestones": 3}, "param_scheduler: TypeError"),
    ],
)
def test_a_wrong_schedule_is_told_before_the_first_step(tmp_path, options, says):
    with pytest.raises(UserError, match=says):
        train(tmp_path, param_scheduler={"type": "WarmupStableDecayLR"} | options)


def linear(**options):
    return {"type": "LinearLR", "by_epoch": False} | options


@pytest.mark.parametrize(
    ("schedulers", "says"),
    [
        ([linear(start_factor=1.0, end_factor=0.0, end=4)], "rate is 0 from step 4 to the last, 6"),
        ([linear(end=30)], r"param_scheduler[0].end is 30, and the training ends after 6"),
        ({"type": "CosineAnnealingLR", "T_max": 9}, "T_max is 9, and the training ends after 6"),
        ({"type": "MultiStepLR", "milestones": [2, 50]}, "milestones is 50, and"),
        ({"type": "WarmupStableDecayLR", "warmup": 100}, "a warm-up of 100 and a decay of 0 steps don't fit"),
        ({"type": "WarmupStableDecayLR", "decay": 2, "end": 4}, "rate is 0 from step 4 to the last, 6"),
        ({"type": "WarmupStableDecayLR", "warmup": 0.5, "decay": 0.5}, None),
        ([linear(end=4), linear(start_factor=1.0, end_factor=0.0, begin=4)], None),
        ({"type": "CosineAnnealingLR", "T_max": 5}, None),
    ],
)
def test_a_schedule_of_another_length_is_told(tmp_path, said, schedulers, says):
    train(tmp_path, param_scheduler=schedulers)
    lines = [line for line in said if "the training" in line or "rate is 0" in line]
    assert len(lines) == (says is not None)
    assert all(says in line for line in lines)


def test_mmengines_schedulers_count_steps_here(tmp_path):
    runner = train(tmp_path, param_scheduler={"type": "CosineAnnealingLR", "T_max": 5})
    assert runner.optim_wrapper.get_lr()["lr"][0] == pytest.approx(0, abs=1e-12)
