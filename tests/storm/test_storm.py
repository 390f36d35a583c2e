"""A little of each storm; ``make storm`` has it all."""

from random import Random

import hostile
import kills
import load
import pytest
import storms
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
