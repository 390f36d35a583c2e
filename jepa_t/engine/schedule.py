"""The learning rate over a training: a schedule that follows its length, and a look at those that don't."""

import inspect
import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from mmengine.optim import OptimWrapper, ReduceOnPlateauParamScheduler, _ParamScheduler
from torch import nn
from torch.optim import Optimizer

from ..errors import UserError, unknown
from ..registry import PARAM_SCHEDULERS, resolve

DECAYS = {"linear": lambda done: 1 - done, "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2}
WALKED = 10**7  # steps of the longest training whose schedule is gone through beforehand
LENGTHS = {"end", "T_max", "total_steps", "milestones"}  # of MMEngine's schedulers: steps that a training must reach


@PARAM_SCHEDULERS.register_module()
class WarmupStableDecayLR(_ParamScheduler):
    """Linear warm-up, constant rate, decay to the last step (warmup-stable-decay; Hu et al., arXiv 2404.06395).

    A length is a share of the training, such as 0.05, and so follows ``train_cfg.max_iters``; or it is a whole number
    of steps.

    Args:
        optimizer: Its ``lr`` is the base rate.
        end: Steps of the training; the runner gives ``train_cfg.max_iters``.
        warmup: Length of the warm-up; 0 for none.
        decay: Length of the decay; 0 for none.
        decay_type: ``"linear"`` or ``"cosine"``.
        start_factor: Share of the base rate in the first step of the warm-up.
        end_factor: Share of the base rate in the last step of the decay.
        by_epoch: As MMEngine's schedulers have it; steps count here.

    Raises:
        UserError: A value is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimWrapper,
        end: int,
        warmup: float = 0.0,
        decay: float = 0.0,
        decay_type: str = "linear",
        start_factor: float = 0.01,
        end_factor: float = 0.0,
        by_epoch: bool = False,
    ) -> None:
        if decay_type not in DECAYS:
            raise unknown("param_scheduler.decay_type", decay_type, DECAYS)
        self.warmup, self.decay = _steps("warmup", warmup, end), _steps("decay", decay, end)
        self.decay_type = decay_type
        self.start_factor, self.end_factor = _share("start_factor", start_factor), _share("end_factor", end_factor)
        super().__init__(optimizer, "lr", end=end, by_epoch=by_epoch)

    def factor(self, step: int) -> float:
        """Share of the base rate in a step, counted from 0."""
        factor = 1.0
        if step < self.warmup:
            factor = self.start_factor + (1 - self.start_factor) * step / max(self.warmup - 1, 1)
        if step >= self.end - self.decay:
            done = (step - self.end + self.decay) / (self.decay - 1) if self.decay > 1 else 1.0
            factor *= self.end_factor + (1 - self.end_factor) * DECAYS[self.decay_type](done)
        return factor

    def _get_value(self) -> list[float]:
        return [base * self.factor(self.last_step) for base in self.base_values]


def _share(name: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value <= 1:
        raise UserError(f"param_scheduler.{name} is {value!r}; give a number from 0 to 1")
    return float(value)


def _steps(name: str, length: object, end: int) -> int:
    """A length in steps. A whole 1 is refused, since 1.0 is all of the training."""
    if isinstance(length, Integral) and not isinstance(length, bool) and (length == 0 or length > 1):
        return int(length)
    if isinstance(length, Real) and not isinstance(length, Integral) and 0 <= length <= 1:
        return round(length * end)
    raise UserError(
        f"param_scheduler.{name} is {length!r}; give a share of the training, such as 0.05 or 1.0, or a whole number "
        "of steps above 1"
    )


def count_steps(place: str, part: dict) -> dict:
    """A scheduler's config that counts steps unless it says otherwise; MMEngine's default is epochs, of which none end.

    Raises:
        UserError: It counts epochs, without asking a validation.
    """
    if "type" not in part:
        raise UserError(f"{place} is {part!r}; a schedule is a dict with a 'type'")
    if follows_validation(part):
        return part
    if part.get("by_epoch", False) or part.get("convert_to_iter_based", False):
        raise UserError(f"{place} counts epochs, and this training counts steps; set by_epoch=False")
    return {"by_epoch": False} | part


def follows_validation(part: dict | _ParamScheduler) -> bool:
    """Whether a scheduler, or its config, waits for figures of validations, which nobody knows before."""
    kind = resolve(part["type"], PARAM_SCHEDULERS) if isinstance(part, dict) else type(part)
    return inspect.isclass(kind) and issubclass(kind, ReduceOnPlateauParamScheduler)


def replay(schedulers: Sequence[_ParamScheduler], steps: int) -> None:
    """Bring new schedulers to where an unbroken training has them after ``steps``, whatever the base rate is."""
    for scheduler in schedulers:
        scheduler.optimizer._global_step = 0  # else MMEngine warns of a schedule that runs before the optimizer
    for _ in range(steps):
        for scheduler in schedulers:
            scheduler.step()


def stand_in(optimizer: OptimWrapper) -> Optimizer:
    """An optimizer that trains nothing, with the options that another one began with."""
    group = optimizer.param_groups[0]
    options = {name: group.get(f"initial_{name}", value) for name, value in group.items() if name != "params"}
    return Optimizer([nn.Parameter(torch.zeros(1))], {k: v for k, v in options.items() if not k.startswith("initial_")})


def disagreements(
    parts: Sequence[dict], schedulers: Sequence[_ParamScheduler], optimizer: Optimizer, steps: int
) -> list[str]:
    """What of a schedule and the length of its training doesn't agree, each in a line.

    Args:
        parts: The configs of the schedulers.
        schedulers: New ones of a :func:`stand_in`; they are run to the end.
        optimizer: The stand-in.
        steps: How many steps the training has.
    """
    lines, follow = [], True
    for index, (part, scheduler) in enumerate(zip(parts, schedulers, strict=True)):
        for name in LENGTHS & part.keys():
            last = max(part[name], default=0) if isinstance(part[name], (list, tuple)) else part[name]
            if last > steps:
                lines.append(f"param_scheduler[{index}].{name} is {last}, and the training ends after {steps} steps")
        if not isinstance(scheduler, WarmupStableDecayLR) or "end" in part:
            follow = False
        elif scheduler.warmup + scheduler.decay > steps:
            lines.append(
                f"param_scheduler: a warm-up of {scheduler.warmup} and a decay of {scheduler.decay} steps don't fit in "
                f"the training's {steps}"
            )
    if not follow and steps <= WALKED and not any(map(follows_validation, schedulers)):
        moving = _last_moving(schedulers, optimizer, steps)
        if moving < steps - 1:  # a decay may well end at 0
            lines.append(
                f"the learning rate is 0 from step {moving + 1} to the last, {steps}; type='WarmupStableDecayLR' "
                "follows train_cfg.max_iters"
            )
    return lines


def _last_moving(schedulers: Sequence[_ParamScheduler], optimizer: Optimizer, steps: int) -> int:
    """The last step, from 1, whose learning rate isn't 0."""
    moving = 0
    for step in range(1, steps + 1):
        if optimizer.param_groups[0]["lr"] > 0:
            moving = step
        replay(schedulers, 1)
    return moving
