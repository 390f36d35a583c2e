from types import SimpleNamespace

import pytest

from jepa_t.benchmark import configs
from jepa_t.benchmark.configs import config_hash, configure, match_parameters, step_flops, trainable_parameters
from jepa_t.benchmark.suites import FUSIONS
from jepa_t.engine import load_config
from jepa_t.errors import UserError

LATE = {"model": {"fusion": "late"}}


@pytest.mark.parametrize("share", [0.25, 10, 150])
def test_the_schedule_is_stretched_with_the_steps(small, share):
    cfg = load_config(str(small))
    before = [(round(part.get("begin", 0) * share), round(part["end"] * share)) for part in cfg.param_scheduler]
    after = configure(small, steps=round(cfg.train_cfg.max_iters * share)).param_scheduler
    assert [(part.get("begin", 0), part["end"]) for part in after] == before


def test_validation_prompts_are_not_the_tests(small):
    cfg = configure(small, prompts=40, validation=["seen"])
    test, validation = cfg.test_dataloader.dataset, cfg.val_dataloader.dataset
    assert (test.per_split, validation.per_split) == (40, 20)
    assert validation.splits == ("seen",)
    assert validation.seed != test.get("seed", 1)
    assert configure(small, validation=["unseen_place"]).val_dataloader.dataset.splits == ("seen", "unseen_place")


def test_a_metric_that_does_not_tell_prompts_apart_is_refused(small, tmp_path):
    path = tmp_path / "other.py"
    path.write_text(small.read_text() + 'test_evaluator = dict(_delete_=True, type="DistributionMetric")\n')
    with pytest.raises(UserError, match="'DistributionMetric' doesn't tell which prompts came out right"):
        configure(path)


def test_the_hash_tells_runs_apart(small):
    one = configure(small)
    assert config_hash(one) == config_hash(configure(small))
    others = [configure(small, LATE), configure(small, seed=1), configure(small, steps=17), configure(small, prompts=2)]
    assert len({config_hash(cfg) for cfg in (one, *others)}) == 5


def test_an_edited_plugin_makes_other_runs(small, tmp_path, monkeypatch):
    module = tmp_path / "plugged.py"
    module.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(configs, "plugins", lambda: [SimpleNamespace(module="plugged")])
    before = config_hash(configure(small))
    module.write_text("# changed")
    assert config_hash(configure(small)) != before


@pytest.mark.parametrize("arm", FUSIONS)
def test_parameters_are_matched_within_two_per_cent(small, arm):
    target = trainable_parameters(configure(small))
    found = match_parameters(configure(small, FUSIONS[arm].changes), target)
    assert trainable_parameters(found) == pytest.approx(target, rel=0.02)


def test_what_can_not_be_matched_is_told(small):
    with pytest.raises(UserError, match=r"trains \d+ weights at best.*within 2%.*--no-match"):
        match_parameters(configure(small), 1000)


def test_the_jepa_loss_costs_operations(small):
    without = configure(small, {"model": {"objectives": {"feature": {"weight": 0.0}}}})
    assert 0.5 * step_flops(configure(small)) < step_flops(without) < 0.98 * step_flops(configure(small))


def test_a_config_without_prompts_is_told(tmp_path, small):
    path = tmp_path / "bare.py"
    path.write_text(small.read_text() + "test_evaluator = None\n")
    with pytest.raises(UserError, match="has no test_evaluator"):
        configure(path)
