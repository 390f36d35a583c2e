from pathlib import Path

import pytest

from jepa_t.benchmark import PRESETS, SUITES, TASKS, Arm, Preset
from jepa_t.benchmark.suites import CONFIGS, FUSIONS, rows
from jepa_t.benchmark.work import run_suite
from jepa_t.errors import UserError

TWO = Preset(seeds=2, steps={}, prompts=8)


@pytest.mark.parametrize("suite", SUITES)
def test_every_arm_of_a_suite_is_a_valid_config(suite):
    one = Preset(seeds=1, steps={}, prompts=8)
    for task, arms in SUITES[suite]().items():
        planned = rows(arms, task, CONFIGS / TASKS[task].config, one, match=False)
        assert [row.arm for row in planned] == list(arms)


def test_arms_differ_in_their_changes_alone(small):
    arms = {"jepa_t": Arm(), "late": FUSIONS["late"]}
    planned = rows(arms, "own", small, TWO)
    assert [(row.arm, row.seed) for row in planned] == [("jepa_t", 0), ("late", 0), ("jepa_t", 1), ("late", 1)]
    first, second = (row.config.to_dict() for row in planned[:2])
    assert second["model"].pop("fusion") == "late"
    assert first["model"].pop("objectives")["feature"] == second["model"].pop("objectives")["feature"]
    assert first == second
    assert planned[0].parameters == pytest.approx(planned[1].parameters, rel=0.02)
    assert planned[1].parameters != planned[1].unmatched


def test_parameters_are_left_alone_when_asked(small):
    planned = rows({"jepa_t": Arm(), "none": FUSIONS["none"]}, "own", small, TWO, match=False)
    assert planned[1].parameters == planned[1].unmatched < 0.9 * planned[0].parameters


def test_equal_compute_buys_more_steps(small):
    without = {"model": {"objectives": {"feature": {"weight": 0.0}}}}
    planned = rows({"with": Arm(), "without": Arm(without, equal_compute=True)}, "own", small, TWO)
    assert planned[0].config.train_cfg.max_iters == 16
    assert planned[1].config.train_cfg.max_iters > 16


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "fussion"}, "unknown suite 'fussion': did you mean 'fusion'?"),
        ({"tasks": ["shape"]}, "unknown task of the suite 'fusion' 'shape': did you mean 'shapes'?"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"fusions": {"x": {"features": {"type": "Gatte"}}}}, "Gatte"),
        ({"own": {"a": Path("missing.py")}}, "missing.py"),
    ],
)
def test_wrong_requests_are_told_before_anything_runs(options, says, tmp_path):
    arguments = {"name": "fusion", "preset": PRESETS["smoke"], "folder": tmp_path} | options
    with pytest.raises(UserError) as caught:
        run_suite(**arguments)
    assert says in str(caught.value)
    assert not list(tmp_path.iterdir())
