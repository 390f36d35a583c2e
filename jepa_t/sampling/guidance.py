"""Guidance schedules: how strongly each sampling step follows the text."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UserError, check_number
from ..registry import GUIDANCE_SCHEDULES, function


@GUIDANCE_SCHEDULES.register_module()
def constant(drawn: float) -> float:  # noqa: ARG001 - of the contract: a share of tokens to a share of the strength
    """Guide at full strength all the time."""
    return 1.0


@GUIDANCE_SCHEDULES.register_module()
def linear(drawn: float, most: float = 1.0) -> float:
    """The share of the full strength once a share ``drawn`` of the tokens is drawn: weak while the composition forms
    (MAR).

    The public codes count a token as masked even after the last step, where their strength so is
    ``most = (N - 1) / N``.
    """
    return min(drawn, most)


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: ``null + w (text - null)``, of velocity, noise or logits as the objective predicts.

    Args:
        scale: w at full strength; 1 is no guidance.
        schedule: ``constant``, ``linear`` (rising from 1 with the share of tokens drawn), or one of your own.
        interval: Guide only while the share of tokens drawn before the step is in [low, high]. Outside, w is 1.

    Raises:
        UserError: An option is unknown or out of range.

    Examples:
        >>> Guidance(scale=3.0).at(before=0.0, after=0.1)
        3.0
        >>> Guidance(scale=3.0, schedule="linear").at(before=0.4, after=0.5)
        2.0
    """

    scale: float = 1.0
    schedule: str | dict | Callable = "constant"
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        function(self.schedule, GUIDANCE_SCHEDULES)
        check_number("sampler.guidance_scale", self.scale, "use 0 (ignore the text), 1 (none) or more")
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise UserError(f"guidance interval is {self.interval}; use (low, high) with 0 <= low <= high <= 1")

    def at(self, before: float, after: float) -> float:
        """The strength w of a step, before and after which these shares of the tokens are drawn."""
        low, high = self.interval
        if not low <= before <= high:
            return 1.0
        strength = function(self.schedule, GUIDANCE_SCHEDULES)(after)
        if not math.isfinite(strength):
            raise UserError(
                f"sampler.guidance_schedule={self.schedule!r} gives {strength} at {after:.3g}; give a number"
            )
        return 1.0 + (self.scale - 1.0) * strength
