"""A resume goes on with the training's state and the config's settings, and says what changed."""

import pytest
import torch
from engine_fakes import assert_same, tiny_config, train

from jepa_t.errors import UserError
from jepa_t.files import load_checkpoint

HALF = {"type": "WarmupStableDecayLR", "decay": 0.5, "end_factor": 0.5}
PLATEAU = {"type": "ReduceOnPlateauLR", "monitor": "count", "patience": 0}
VALIDATION = {
    "val_dataloader": {
        "batch_size": 5,
        "num_workers": 0,
        "dataset": {"type": "TinyPrompts"},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": {"type": "keep_tiny"},
    },
    "val_cfg": {"type": "ValLoop"},
    "val_evaluator": {"type": "TinyMetric"},
    "train_cfg": {"type": "TrainLoop", "max_iters": 8, "val_interval": 4},
}


def wrapper(constructor="TaggedGroups", **optimizer):
    options = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1} | optimizer
    return {"type": "GuardedOptimWrapper", "constructor": constructor, "optimizer": options}


def settings(**changes):
    return {"param_scheduler": HALF, "optim_wrapper": wrapper(), "log_level": "INFO"} | changes


def resumed(folder, steps=8, before=None, **changes):
    """The last two of eight steps again, with other settings; returns the runner."""
    if not (folder / "whole").exists():
        train(folder / "whole", 8, **settings(**(before or {})))
    return train(folder / "parts", steps, resume=True, load_from=str(folder / "whole" / "iter_6.pth"), **changes)


def assert_changed(folder):
    with pytest.raises(AssertionError, match="state_dict"):
        assert_same(folder / "whole" / "iter_8.pth", folder / "parts" / "iter_8.pth")


@pytest.mark.parametrize(
    "before",
    [
        {},
        {"param_scheduler": None},
        {"param_scheduler": {"type": "CosineAnnealingLR", "T_max": 8}},
        {"param_scheduler": [{"type": "LinearLR", "end": 4}, {"type": "MultiStepLR", "milestones": [5, 7]}]},
        {"param_scheduler": {"type": "CosineAnnealingMomentum", "T_max": 8, "eta_min": 0.5}}
        | {"optim_wrapper": wrapper(type="SGD", momentum=0.9)},
        {"param_scheduler": PLATEAU} | VALIDATION,
        {"randomness": {"seed": None}},
    ],
)
def test_with_the_same_settings_a_resume_equals_an_unbroken_training(tmp_path, said, before):
    resumed(tmp_path, before=before, **settings(**before))
    assert_same(tmp_path / "whole" / "iter_8.pth", tmp_path / "parts" / "iter_8.pth")
    assert not [line for line in said if " and was " in line]


@pytest.mark.parametrize(
    ("changes", "now"),
    [
        ({"lr": 4e-5}, {"lr": 4e-5 * 0.5, "initial_lr": 4e-5}),
        ({"weight_decay": 0.3}, {"weight_decay": 0.3, "lr": 0.005}),
        ({"betas": (0.5, 0.6)}, {"betas": (0.5, 0.6)}),
        ({"type": "SGD"}, {"lr": 0.005}),
        ({"amsgrad": True}, {"amsgrad": True}),
    ],
)
def test_the_optimizers_options_are_the_configs(tmp_path, said, changes, now):
    runner = resumed(tmp_path, **settings(optim_wrapper=wrapper(**changes)))
    group = runner.optim_wrapper.param_groups[0]
    assert {name: group[name] for name in now} == now
    assert_changed(tmp_path)
    (name,) = changes
    assert any(f"since iter_6.pth, optim_wrapper.optimizer.{name} is " in line for line in said)


def test_a_longer_training_stretches_its_schedule(tmp_path, said):
    runner = resumed(tmp_path, 12, **settings())
    (scheduler,) = runner.param_schedulers
    assert runner.train_loop.iter == scheduler.last_step + 1 == 12
    assert runner.optim_wrapper.param_groups[0]["lr"] == 0.01 * scheduler.factor(11) == 0.005
    assert "since iter_6.pth, train_cfg.max_iters is 12 and was 8" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"randomness": {"seed": 3}}, "randomness.seed is 3 and was 0"),
        ({"model": {"type": "TinyModel", "noise": 0.5}}, "model.noise is 0.5 and was not set"),
        ({"param_scheduler": HALF | {"decay": 0.25}}, "param_scheduler.decay is 0.25 and was 0.5"),
        ({"param_scheduler": PLATEAU} | VALIDATION, "param_scheduler.type is 'ReduceOnPlateauLR'"),
    ],
)
def test_every_changed_setting_acts_and_is_said(tmp_path, said, changes, says):
    resumed(tmp_path, **settings(**changes))
    assert any(says in line for line in said)
    assert_changed(tmp_path)


def test_the_image_tokenizer_is_said_to_be_the_one_in_the_checkpoint(tmp_path, said):
    before, now = ({"type": "TinyModel", "image_tokenizer": {"checkpoint": name}} for name in ("a", "b"))
    resumed(tmp_path, before={"model": before}, **settings(model=now))
    assert not [line for line in said if " and was " in line]
    assert any("the image tokenizer is the one in the checkpoint" in line for line in said)


def test_the_rate_on_a_plateau_is_a_share_of_the_configs(tmp_path):
    before = {"param_scheduler": PLATEAU} | VALIDATION
    unbroken = train(tmp_path / "whole", 8, **settings(**before)).optim_wrapper.param_groups[0]["lr"]
    runner = resumed(tmp_path, **settings(**before, optim_wrapper=wrapper(lr=0.02)))
    assert runner.optim_wrapper.param_groups[0]["lr"] == pytest.approx(2 * unbroken)
    assert unbroken < 0.01


def test_a_resume_at_a_validation_makes_up_for_it(tmp_path):
    checkpoints = {"checkpoint": {"type": "SafeCheckpointHook", "interval": 4}}
    options = settings(param_scheduler=PLATEAU, **VALIDATION) | {"log_level": "WARNING"}
    options["default_hooks"] = tiny_config(tmp_path).default_hooks.to_dict() | checkpoints
    train(tmp_path / "whole", 8, **options)
    train(tmp_path / "parts", 8, resume=True, load_from=str(tmp_path / "whole" / "iter_4.pth"), **options)
    assert_same(tmp_path / "whole" / "iter_8.pth", tmp_path / "parts" / "iter_8.pth")


def test_other_parameters_are_refused(tmp_path):
    other = wrapper() | {"paramwise_cfg": {"no_decay": ["network"]}}
    with pytest.raises(UserError, match=r"groups of \[2, 4\] parameters, this config's of \[0, 6\]"):
        resumed(tmp_path, **settings(optim_wrapper=other))


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    """MMEngine runs the text of ``meta["config"]``."""
    train(tmp_path / "whole", 8, **settings())
    checkpoint = load_checkpoint(str(tmp_path / "whole" / "iter_6.pth"))
    checkpoint["meta"]["config"] = f"open({str(tmp_path / 'owned')!r}, 'w')"
    torch.save(checkpoint, tmp_path / "whole" / "iter_6.pth")
    resumed(tmp_path, **settings())
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("lacks", ["optimizer", "message_hub", "iter"])
def test_weights_alone_are_no_training(tmp_path, lacks):
    train(tmp_path, 3)
    checkpoint = load_checkpoint(str(tmp_path / "iter_3.pth"))
    (checkpoint["meta"] if lacks == "iter" else checkpoint).pop(lacks)
    torch.save(checkpoint, tmp_path / "iter_3.pth")
    with pytest.raises(UserError, match="holds weights alone; start from them with load_from"):
        train(tmp_path, 6, resume=True, load_from=str(tmp_path / "iter_3.pth"))
