from jepa_t.benchmark import timing
from jepa_t.benchmark.cost import Cost
from jepa_t.benchmark.timing import LEAST, Timed, interleave, time_arms, warm_up


def test_what_is_compiled_is_called_until_it_has_been():
    called = []
    arms = {"a": Timed(lambda: called.append("a")), "b": Timed(lambda: called.append("b"), calls=3)}
    assert warm_up(arms).keys() == {"a", "b"}
    assert called == ["a", "b", "b", "b"]


def test_functions_are_timed_in_turn():
    called = []
    times = interleave({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3)
    assert called == ["a", "b"] * 3
    assert {name: len(taken) for name, taken in times.items()} == {"a": 3, "b": 3}


def test_short_of_time_there_are_five_rounds():
    assert [len(times) for times in interleave({"a": int, "b": int}, 9, seconds=0).values()] == [LEAST] * 2 == [5, 5]


def test_short_of_time_optional_arms_are_left_out():
    assert time_arms("task", {}, 1) == []
    cost = Cost(1, 1, {"head": 1.0})
    arms = {"a": Timed(int, cost), "b": Timed(int, cost, optional=True), "c": Timed(int, cost)}
    about = {"versions": {}, "machine": "a CPU"}
    assert [found.arm for found in time_arms("task", arms, 0, **about)] == ["a", "c"]
    assert [found.arm for found in time_arms("task", arms, 1, **about)] == ["a", "b", "c"]


def test_a_part_is_counted_as_often_as_it_makes_up_the_whole(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(timing, "peak", lambda *_: 1.0)
    part, whole = time_arms("task", {"a": Timed(int, times=4.0), "b": Timed(int)}, 1, versions={}, machine="a CPU")
    assert (part.milliseconds, part.ratios[0]) == (4000, 1)
    assert (whole.milliseconds, whole.ratios[0]) == (1000, 0.25)


def test_the_peak_is_that_of_the_fastest_of_several_products(monkeypatch):
    ticks = iter([0, 4, 10, 12, 20, 28, 30, 33, 40, 43])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    assert timing.peak("cpu") == 2 * 1536**3 / 2
