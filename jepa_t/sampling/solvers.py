"""Solvers of ordinary differential equations: ``(velocity, x0, times) -> x1``, plain functions.

``velocity(x, t)`` is called at host numbers that depend on ``times`` alone, never on ``x``: :class:`Solver` learns them
beforehand on another ``x``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import UserError, check_integer
from ..registry import SOLVERS, function

State = TypeVar("State")
Velocity = Callable[[State, float], State]
MOST_STEPS = 10_000  # of a solver; more would be a slip of the pen


def annealed(name: str, value: int | Sequence[int], progress: float) -> int:
    """A number of steps after a share ``progress`` of the sampling steps: fixed, or on the way from a first to a last.

    Raises:
        UserError: ``value`` is neither a whole number from 1 to 10,000 nor a pair of such.
    """
    ends = value if isinstance(value, Sequence) else (value, value)
    if len(ends) != 2:
        raise UserError(f"sampler.draw.{name} is {value!r}; give a number, or a first and a last")
    first, last = (check_integer(f"sampler.draw.{name}", end) for end in ends)
    if max(first, last) > MOST_STEPS:
        raise UserError(f"sampler.draw.{name} is {value!r}; use at most {MOST_STEPS}")
    return round(first + (last - first) * progress)


@SOLVERS.register_module()
def euler(velocity: Velocity, x: State, times: Sequence[float]) -> State:
    """Euler's method: first order, one evaluation a step."""
    for t, following in pairwise(times):
        x = x + (following - t) * velocity(x, t)
    return x


@SOLVERS.register_module()
def midpoint(velocity: Velocity, x: State, times: Sequence[float]) -> State:
    """The midpoint method: second order, two evaluations a step."""
    for t, following in pairwise(times):
        h = following - t
        x = x + h * velocity(x + h / 2 * velocity(x, t), t + h / 2)
    return x


@SOLVERS.register_module()
def heun(velocity: Velocity, x: State, times: Sequence[float]) -> State:
    """Heun's method: second order, two evaluations a step."""
    for t, following in pairwise(times):
        h = following - t
        slope = velocity(x, t)
        x = x + h / 2 * (slope + velocity(x + h * slope, following))
    return x


@SOLVERS.register_module()
def ab2(velocity: Velocity, x: State, times: Sequence[float]) -> State:
    """Adams-Bashforth: second order with one evaluation a step; the first step is Euler's."""
    previous, previous_h = None, 0.0
    for t, following in pairwise(times):
        h, slope = following - t, velocity(x, t)
        if previous is None:
            x = x + h * slope
        else:
            ratio = h / (2 * previous_h)
            x = x + h * ((1 + ratio) * slope - ratio * previous)
        previous, previous_h = slope, h
    return x


@dataclass(frozen=True)
class Solver:
    """A solver with its steps, from t = 0 to t = 1.

    Args:
        name: One of the registry ``SOLVERS``.
        steps: Steps of equal length, at least 1.

    Raises:
        UserError: The name is unknown, or there is no step.

    Examples:
        >>> Solver("euler", 2)(lambda x, t: 2 * t, 0.0)
        0.5
        >>> Solver("heun", 2).times
        [0.0, 0.5, 0.5, 1.0]
    """

    name: str | dict | Callable
    steps: int

    def __post_init__(self) -> None:
        function(self.name, SOLVERS)
        if self.steps < 1:
            raise UserError(f"solver_steps is {self.steps}; use at least 1")

    def __call__(self, velocity: Velocity, x: State) -> State:
        """The state at t = 1 that starts as ``x`` at t = 0.

        Raises:
            UserError: The solver asks for the velocity at a time that isn't among its :attr:`times`.
        """
        foreseen = frozenset(self.times)

        def at_known_times(x: State, t: float) -> State:
            if t not in foreseen:
                name = getattr(self.name, "__name__", self.name)
                raise UserError(f"solver {name!r} asks at t = {t!r} for this x alone; let t depend on times, not on x")
            return velocity(x, t)

        return function(self.name, SOLVERS)(at_known_times, x, _steps(self.steps))

    @property
    def times(self) -> list[float]:
        """When the velocity will be evaluated, in order."""
        return list(_times(function(self.name, SOLVERS), self.steps))


def _steps(count: int) -> list[float]:
    return [step / count for step in range(count + 1)]


@lru_cache(maxsize=256)
def _times(solve: Callable, steps: int) -> tuple[float, ...]:
    """When a solver evaluates the velocity, learned on a small state of the real one's rank."""
    asked: list[float] = []

    def record(x: Tensor, t: float) -> Tensor:
        asked.append(t)
        return torch.zeros_like(x)

    solve(record, torch.zeros(1, 1, 1, device="cpu"), _steps(steps))
    return tuple(asked)
