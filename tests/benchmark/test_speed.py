import pytest
from tiny import TOKENS, copy_of, shared_model

from jepa_t.benchmark.samplers import evaluations
from jepa_t.benchmark.speed import LEAST, interleave
from jepa_t.registry import SAMPLERS, build
from jepa_t.sampling import sampler_config


def test_functions_are_timed_in_turn():
    called = []
    times = interleave({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3)
    assert called == ["a", "b"] * 3
    assert {name: len(taken) for name, taken in times.items()} == {"a": 3, "b": 3}


def test_short_of_time_there_are_five_rounds():
    assert [len(times) for times in interleave({"a": int, "b": int}, 9, seconds=0).values()] == [LEAST] * 2 == [5, 5]


@pytest.mark.parametrize(
    ("options", "network", "head"),
    [
        ({"steps": 3, "solver_steps": 4, "guidance_scale": 1.0}, 3, 4),
        ({"steps": 3, "solver_steps": 4, "guidance_scale": 2.0}, 6, 8),
        ({"steps": TOKENS, "solver": "heun", "solver_steps": 4, "guidance_scale": 1.0}, TOKENS, 8),
    ],
)
def test_evaluations_are_counted(options, network, head):
    model = copy_of(shared_model())
    model.sampler = build(sampler_config(options), SAMPLERS)
    found = evaluations(model, "seven")
    assert found["network evaluations"] == network
    assert found["head evaluations per token"] == pytest.approx(head)
