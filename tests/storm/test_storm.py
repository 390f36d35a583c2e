"""A little of each storm; ``make storm`` has it all."""

from random import Random

import children
import hostile
import kills
import load
import pytest
import storms
import tiny_run
import values

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _prepared():
    with pytest.MonkeyPatch.context() as patch:
        storms.prepare(patch.setattr)
        yield


@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=pytest.mark.slow)])
def test_hostile_files_do_no_harm(count):
    row = hostile.storm(count, Random(0))
    assert row.tried == count or row.tried >= 60
    assert row.faults == []


@pytest.mark.slow
def test_wrong_values_are_told_or_have_a_meaning():
    row = values.storm(60, Random(1))
    assert row.tried == 60
    assert row.faults == []


def test_a_value_is_tried_whatever_came_before():
    """Two trainings that are accepted, and one that must not be refused for what they left."""
    with children.scratch() as folder:
        (folder / "small.py").write_text(tiny_run.CONFIG)
        known = {(case.where, repr(case.value)): case for case in values.config_cases(folder, ["small.py"])}
        cases = [known["train_dataloader.batch_size", "2"]] * 2 + [known["train_cfg.max_iters", "-1"]]
        found = [(outcome, said) for _, outcome, said in values.outcomes(cases, folder)]
    assert [outcome for outcome, _ in found] == ["accepted", "accepted", "refused"], found
    assert "max_iters" in found[2][1]


@pytest.mark.parametrize(
    ("where", "value", "default", "meant"),
    [
        ("model.encoder.depth", None, 4, False),
        ("model.encoder.ratio", None, None, True),
        ("train_cfg.val_steps", 10**20, None, False),
        ("model.sampler.steps", 10**20, 16, False),
        ("model.text_drop", 0, 0.1, True),
        ("model.text_drop", 1.5, 0.1, False),
        ("sample --guidance", "0", None, True),
        ("sample --guidance", "-1", None, False),
        ("model.width", 2, None, True),
        ("model.width", True, None, False),
    ],
)
def test_a_meaning_is_no_excuse_for_others(where, value, default, meant):
    assert bool(values.meaning(where, value, default)) == meant


@pytest.mark.parametrize(
    ("code", "number", "wrong"),
    [(0, 15, 0), (-15, 15, 0), (143, 15, 0), (130, 15, 0), (2, 15, 1), (1, 2, 1), (-11, 2, 1), (-9, 2, 1), (-9, 9, 0)],
)
def test_the_code_of_a_killed_command_is_judged(code, number, wrong):
    ended = children.Ended(code, "", struck=True, hung=False, seconds=1.0, grown=0)
    assert len(kills._faults(ended, children.Blow(number, 0.1))) == wrong


def test_a_killed_training_loses_nothing():
    row = kills.storm(kills.trainings()[0], 6, Random(0))
    assert row.tried == 6
    assert row.faults == []


def test_a_damaged_checkpoint_is_passed_over():
    assert kills.damaged(5, Random(0)).faults == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "job",
    [kills.caching, kills.drawing, kills.benchmarking, lambda: kills.trainings()[1]],
    ids=["cache", "test", "benchmark", "training"],
)
def test_a_killed_command_loses_nothing(job):
    row = kills.storm(job(), 4, Random(0))
    assert row.tried == 4
    assert row.faults == []


@pytest.mark.slow
@pytest.mark.parametrize("storm", [kills.together, load.threads, load.loop, load.captions])
def test_load_changes_nothing(storm):
    assert storm(2 if storm is kills.together else 240, Random(0)).faults == []
