"""Guidance schedules: how strongly each sampling step follows the text."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UserError, unknown

# The share of the full strength after a share of the tokens has been drawn.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _drawn: 1.0,
    "linear": lambda drawn: drawn,  # MAR: weak while the composition forms
}


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: ``null + w (text - null)``, of velocity, noise or logits as the objective predicts.

    Args:
        scale: w at full strength; 1 is no guidance.
        schedule: ``constant``, or ``linear``: rising from 1 with the share of tokens drawn.
        interval: Guide only while the share of tokens drawn before the step is in [low, high]. Outside, w is 1.

    Raises:
        UserError: An option is unknown or out of range.
    """

    scale: float = 1.0
    schedule: str = "constant"
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown("guidance schedule", self.schedule, SCHEDULES)
        if not 0 <= self.scale < math.inf:
            raise UserError(f"guidance scale is {self.scale}; use 0 (ignore the text), 1 (none) or more")
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise UserError(f"guidance interval is {self.interval}; use (low, high) with 0 <= low <= high <= 1")

    def at(self, before: float, after: float) -> float:
        """w of a step; ``before`` and ``after`` it these shares of the tokens are drawn."""
        low, high = self.interval
        if not low <= before <= high:
            return 1.0
        return 1.0 + (self.scale - 1.0) * SCHEDULES[self.schedule](after)
