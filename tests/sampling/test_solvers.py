"""Laws of the solvers: exact where they must be, of the order they claim, and predictable in what they ask."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import float64, generator, registered

from jepa_t.errors import UserError
from jepa_t.registry import SOLVERS
from jepa_t.sampling import Solver
from jepa_t.sampling.solvers import ab2

ORDERS = {"euler": 1, "ab2": 2, "heun": 2, "midpoint": 2}
EVALUATIONS = {"euler": 1, "ab2": 1, "heun": 2, "midpoint": 2}  # a step
every = pytest.mark.parametrize("name", registered(SOLVERS))

# Velocities whose solution at t = 1 is known, for a start of x.
FIELDS = {
    "decay": (lambda x, t: -2.0 * x, lambda x: x * math.exp(-2.0)),
    "in time": (lambda x, t: x * math.exp(t), lambda x: x * math.exp(math.e - 1)),
    "nonlinear": (lambda x, t: x * x * (1 - t), lambda x: 1 / (1 / x - 0.5)),
}


def test_every_solver_is_tested_here():
    assert set(registered(SOLVERS)) == set(ORDERS) == set(EVALUATIONS)


@every
@given(steps=st.integers(1, 20), seed=st.integers(0, 1000))
@float64()
def test_a_constant_field_is_solved_exactly(name, steps, seed):
    x, velocity = torch.randn(2, 4, generator=generator(seed))
    torch.testing.assert_close(Solver(name, steps)(lambda *_: velocity, x), x + velocity)


@every
@pytest.mark.parametrize("field", FIELDS)
def test_the_error_falls_with_the_order_of_the_solver(name, field):
    velocity, solution = FIELDS[field]
    errors = [abs(Solver(name, steps)(velocity, 0.7) - solution(0.7)) for steps in (64, 128, 256, 512)]
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([ORDERS[name]] * 3, abs=0.1)


def test_adams_bashforth_keeps_its_order_on_steps_of_unequal_length():
    velocity, solution = FIELDS["in time"]
    errors = []
    for steps in (48, 96, 192, 384):
        times = [(i + i // 2) / (1.5 * steps) for i in range(steps + 1)]  # short and long in turn
        errors.append(abs(ab2(velocity, 0.7, times) - solution(0.7)))
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([2.0] * 3, abs=0.1)


@every
@given(steps=st.integers(1, 100))
def test_times_are_known_beforehand_and_t_steps_are_t_steps(name, steps):
    """In the public code "100 steps" were 99."""
    solver, asked = Solver(name, steps), []

    def velocity(x, t):
        asked.append(t)
        return 0.5 * x

    solver(velocity, 1.0)
    assert solver.times == asked  # bit by bit: they are looked up by value
    assert len(asked) == EVALUATIONS[name] * steps
    assert asked[0] == 0.0
    assert all(0 <= t <= 1 for t in asked)
    assert len(set(asked)) >= steps


@every
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (2.0, 0.3), (-1.0, 2.0)])
@float64()
def test_the_ideal_velocity_of_a_gaussian_gives_its_mean_and_spread(name, mean, std):
    def velocity(x, t):  # E[data - noise | x_t] for data ~ N(mean, std^2)
        variance = (t * std) ** 2 + (1 - t) ** 2
        return mean + (t * std**2 - (1 - t)) / variance * (x - t * mean)

    noise = torch.linspace(-3, 3, 61)
    errors = [(Solver(name, steps)(velocity, noise) - (mean + std * noise)).abs().max().item() for steps in (100, 200)]
    assert errors[1] < 0.1 if ORDERS[name] == 1 else errors[1] < 2e-3
    assert errors[1] < 0.6 * errors[0] + 1e-12


def momentum(velocity, x, times):
    """Reads the kind, the rank and the device of x, as a solver of one's own may."""
    carried = torch.zeros_like(x)
    for t, following in itertools.pairwise(times):
        carried = 0.5 * carried + velocity(x, t)
        x = x + (following - t) * carried.flatten(1).view(x.shape)
    return x


def adaptive(velocity, x, times):
    for t, following in itertools.pairwise(times):
        middle = t + (following - t) * (0.25 if x.abs().max() > 1 else 0.5)
        x = x + (following - t) * velocity(x, middle)
    return x


def test_a_solver_of_one_s_own_sees_a_tensor_beforehand():
    x = torch.randn(2, 3, 4, generator=generator(0))
    assert Solver(momentum, 4).times == [0.0, 0.25, 0.5, 0.75]
    torch.testing.assert_close(Solver(momentum, 1)(lambda x, t: -x, x), torch.zeros_like(x))


def test_times_that_depend_on_the_state_are_told():
    assert Solver(adaptive, 2)(lambda x, t: 0 * x, torch.ones(1, 1, 1)) == 1
    with pytest.raises(UserError, match=r"^solver 'adaptive' asks at t = 0.125 for this x alone; let t depend"):
        Solver(adaptive, 2)(lambda x, t: x, torch.full((1, 1, 1), 2.0))


def test_a_wrong_solver_is_told():
    with pytest.raises(UserError, match=r"unknown solver 'huen': did you mean 'heun'\?"):
        Solver("huen", 3)
    with pytest.raises(UserError, match="solver_steps is 0"):
        Solver("euler", 0)
