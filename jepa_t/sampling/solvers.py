"""Solvers of ordinary differential equations: ``(velocity, x0, times) -> x1``, plain functions.

``velocity(x, t)`` is called with host numbers only, so that a solver can also run on plain numbers; that is how
:class:`Solver` learns beforehand at which times it evaluates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

from ..errors import UserError, unknown

State = TypeVar("State")
Velocity = Callable[[State, float], State]


def euler(velocity: Velocity, x: State, times: Sequence[float]) -> State:
    """First order; one evaluation a step."""
    for t, following in pairwise(times):
        x = x + (following - t) * velocity(x, t)
    return x


def midpoint(velocity: Velocity, x: State, times: Sequence[float]) -> State:
    """Second order; two evaluations a step."""
    for t, following in pairwise(times):
        h = following - t
        x = x + h * velocity(x + h / 2 * velocity(x, t), t + h / 2)
    return x


def heun(velocity: Velocity, x: State, times: Sequence[float]) -> State:
    """Second order; two evaluations a step."""
    for t, following in pairwise(times):
        h = following - t
        slope = velocity(x, t)
        x = x + h / 2 * (slope + velocity(x + h * slope, following))
    return x


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


SOLVERS: dict[str, Callable] = {"euler": euler, "midpoint": midpoint, "heun": heun, "ab2": ab2}


@dataclass(frozen=True)
class Solver:
    """A solver with its steps, from t = 0 to t = 1.

    Args:
        name: One of :data:`SOLVERS`.
        steps: Steps of equal length, at least 1.

    Raises:
        UserError: The name is unknown, or there is no step.
    """

    name: str
    steps: int

    def __post_init__(self) -> None:
        if self.name not in SOLVERS:
            raise unknown("solver", self.name, SOLVERS)
        if self.steps < 1:
            raise UserError(f"solver_steps is {self.steps}; use at least 1")

    def __call__(self, velocity: Velocity, x: State) -> State:
        """The state at t = 1 that starts as ``x`` at t = 0."""
        return SOLVERS[self.name](velocity, x, [step / self.steps for step in range(self.steps + 1)])

    @cached_property
    def times(self) -> list[float]:
        """When the velocity will be evaluated, in order."""
        asked: list[float] = []

        def record(x: float, t: float) -> float:
            asked.append(t)
            return x

        self(record, 0.0)
        return asked
