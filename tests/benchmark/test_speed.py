from functools import partial

import pytest

from jepa_t.benchmark import PRESETS, Request, plan, run, speed, timing
from jepa_t.benchmark.configs import configure
from jepa_t.benchmark.records import keep
from jepa_t.benchmark.report import write_report
from jepa_t.errors import UserError

FEW = ["few, guidance learned in", "one, mean flow, guidance learned in"]


@pytest.fixture
def tiny_base(small, monkeypatch):
    """One round of a tiny model, in the place of the base size."""
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(timing, "LEAST", 1)
    monkeypatch.setattr(speed, "LEAST", 1)
    monkeypatch.setattr(speed, "SOLVER_STEPS", 2)
    monkeypatch.setattr(speed, "FUSIONS", {"jepa_t": speed.FUSIONS["jepa_t"]})
    monkeypatch.setattr(speed, "ATTENTION", [(2, 2, 3, 4)])
    monkeypatch.setattr(speed, "DRAWN", ("reference", "few"))
    monkeypatch.setattr(speed, "FEW", {name: speed.FEW[name] for name in FEW})
    monkeypatch.setattr(speed, "TRAINED", {"guidance learned in": speed.LEARNED})
    monkeypatch.setitem(speed.SIZES, "base", partial(configure, small))


def test_the_speed_suite_times_what_it_names(tiny_base, tmp_path):
    request, moved = Request(["base", "fusions", "attention"], minutes=1), []
    planned = plan("speed", PRESETS["smoke"], request)
    tasks = []

    def finished(found):  # as soon as it is measured
        assert [done for _, done, _, line in moved if not line] == list(range(len(tasks) + 1))
        tasks.append({timing.task for timing in found})

    records, failed = run("speed", planned, tmp_path, None, lambda *seen: moved.append(seen), finished, request)
    assert not failed
    assert [seen for seen in moved if not seen[3]] == [("speed", done, 5, "") for done in range(6)]
    lines = [line for *_, line in moved if line.startswith("base, sampling, batch 1: few, guidance learned in")]
    assert len(lines) == 1
    assert lines[0].endswith("times as fast as published")
    assert [len(names) for names in tasks] == [1] * 5
    arms = {task: [r.arm for r in records if r.task == task] for task in dict.fromkeys(r.task for r in records)}
    assert arms["attention, 2 x 2 x 3 x 4, 10 passes"] == ["sdpa", "math"]
    for batch in ("batch 1", "large batch"):
        drawn = arms[f"base, sampling, {batch}"]
        own = ["as configured", "as configured, guidance learned in"]
        assert (drawn[0], drawn[-6:]) == ("published", [*speed.DRAWN, *own, *speed.FEW])
    assert arms["base, training step"][0] == "published"
    assert arms["base, training step"][-1] == "guidance learned in"
    for record in records:
        assert record.milliseconds > 0
        assert record.first > 0
        assert len(record.ratios) == 1
    keep(tmp_path, "speed", records, "command", "2026-01-02")
    text = write_report(tmp_path).read_text()
    assert "| times as fast as published |" in text
    assert "| GFLOP |" in text


def test_the_exact_items_save_operations_one_after_the_other(tiny_base, monkeypatch):
    monkeypatch.setattr(speed, "SOLVER_STEPS", 99)
    tasks = speed.speed_tasks(["base"], 60, [*speed.PLAIN, *speed.DRAWN])
    arms = tasks["base, sampling, batch 1, some arms"]()
    operations = [arm.cost.total for arm in arms.values()]
    assert [*arms][:6] == ["published", "+ text once", "+ asked only", "+ shared", "+ hoisted", "reference"]
    assert operations[:5] == sorted(operations[:5], reverse=True)
    assert operations[5] == pytest.approx(operations[4], rel=0.05)  # the reference is all of them
    assert [arm.images for arm in arms.values()] == [1] * 7


def test_few_evaluations_are_counted_and_some_arms_are_what_they_are_among_all(tiny_base):
    tasks = speed.speed_tasks(["base", "fusions"], 60, FEW)
    assert list(tasks) == ["base, sampling, batch 1, some arms", "base, sampling, large batch, some arms"]
    arms = tasks["base, sampling, batch 1, some arms"]()
    assert list(arms) == ["published", *FEW]
    assert [arm.cost.head for arm in list(arms.values())[1:]] == [4, 1]
    assert [arm.cost.network for arm in arms.values()] == [18, 8, 8]  # nine tokens, two branches


def test_where_it_would_take_too_long_one_of_several_steps_is_timed(tiny_base):
    (name, arm), *_ = speed.speed_tasks(["base"], 1e-6, [])["base, sampling, batch 1, some arms"]().items()
    assert (name, arm.times) == ("published, by one in 9 of its steps", 9)


def test_short_of_time_batches_that_take_longer_are_left_out(tiny_base):
    tasks = speed.speed_tasks(["base"], 1e-6, [])
    assert tasks["base, sampling, large batch, some arms"]() == {}


def test_an_arm_that_a_task_has_not_is_told(tiny_base, small, monkeypatch):
    few = {"model": {"sampler": {"_delete_": True, "preset": "few"}}}
    monkeypatch.setitem(speed.SIZES, "base", partial(configure, small, few))
    with pytest.raises(UserError, match="the task 'base' of the suite 'speed' has no arm 'as configured'"):
        speed.speed_tasks(["base"], 60, ["as configured"])["base, sampling, batch 1, some arms"]()
