"""The sampler: from captions to image tokens, a few masked tokens at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import UserError, unknown
from ..masking import scatter
from ..registry import SAMPLERS
from ..structures import Prediction, Split, Text
from .guidance import Guidance
from .reveal import reveal_counts, reveal_order
from .solvers import Solver

# By name, the trade between time and quality. `reference` is the paper's arithmetic; docs/sampling.md has figures.
PRESETS: dict[str, dict[str, Any]] = {
    "reference": {"steps": 64, "solver": "euler", "solver_steps": 99, "guidance_schedule": "linear"},
    "quality": {"steps": 64, "solver": "ab2", "solver_steps": (24, 16)},
    "balanced": {"steps": 32, "solver": "ab2", "solver_steps": (24, 16)},
    "fast": {"steps": 16, "solver": "euler", "solver_steps": (16, 8), "order": "halton"},
}


class Denoiser(Protocol):
    """What a sampler needs of a model."""

    grid: tuple[int, int]
    channels: int

    def null(self, batch: int) -> Text:
        """The unconditional caption."""

    def condition(self, tokens: Tensor, split: Split, text: Text) -> Prediction:
        """What the network says about the asked tokens."""

    def draw(self, condition: Tensor, noise: Tensor, solver: Solver, null: Tensor | None, scale: float) -> Tensor:
        """Tokens under the condition."""


class Generators:
    """A source of randomness for each image, on the CPU: a picture depends on its seed, not on its batch or device.

    Args:
        seeds: One per image.
        device: Where the numbers are wanted.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers ``[B, *shape]``."""
        return self._draw(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) ``[B, *shape]``."""
        return self._draw(torch.rand, shape)

    def _draw(self, function: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([function(shape, generator=g) for g in self.generators]).to(self.device)


@SAMPLERS.register_module()
@dataclass(frozen=True)
class MaskedSampler:
    """Iterative denoising of masked tokens: reveal some, predict them, draw them, until none is left.

    Args:
        steps: S, sampling steps; more than there are tokens are cut to that.
        schedule: How many tokens a step draws: ``cosine``, ``arccos`` or ``linear``.
        order: Which: ``random``, ``halton`` or ``checkerboard``.
        solver: ``euler``, ``ab2``, ``heun`` or ``midpoint``.
        solver_steps: T, of each sampling step; a pair (first, last) goes from one to the other over the steps,
            since late tokens are almost determined.
        guidance_scale: w; 1 is no guidance.
        guidance_schedule: ``constant`` or ``linear``.
        guidance_interval: Shares of drawn tokens between which the guidance acts.

    Raises:
        UserError: An option is unknown or out of range.
    """

    steps: int = 64
    schedule: str = "cosine"
    order: str = "random"
    solver: str = "euler"
    solver_steps: int | tuple[int, int] = 99
    guidance_scale: float = 3.0
    guidance_schedule: str = "constant"
    guidance_interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        self._plan(2)
        reveal_order(self.order, torch.zeros(1, 1), (1, 1))

    def __call__(self, model: Denoiser, text: Text, seeds: Sequence[int]) -> Tensor:
        """Draw the tokens of one image per caption.

        Args:
            model: Gives conditions and draws.
            text: B captions.
            seeds: B, one per image.

        Returns:
            ``[B, N, C]``.
        """
        height, width = model.grid
        batch, count = len(seeds), height * width
        random = Generators(seeds, text.pooled.device)
        order = reveal_order(self.order, random.uniform(count), model.grid)
        tokens = torch.zeros(batch, count, model.channels, device=text.pooled.device)
        both = text + model.null(batch)
        drawn = 0
        for asked, solver, scale in self._plan(count):
            split = Split(order, drawn, asked)
            noise = random.normal(asked, model.channels)
            if scale == 1.0:
                condition, null = model.condition(tokens, split, text).condition, None
            else:
                doubled = model.condition(tokens.repeat(2, 1, 1), split.repeat(2), both).condition
                condition, null = doubled.chunk(2)
            values = model.draw(condition, noise, solver, null, scale)
            tokens = scatter(tokens, split.asked, values)
            drawn += asked
        return tokens

    def _plan(self, count: int) -> list[tuple[int, Solver, float]]:
        """For each step: how many tokens, the solver, the guidance scale."""
        guidance = Guidance(self.guidance_scale, self.guidance_schedule, self.guidance_interval)
        counts = reveal_counts(count, self.steps, self.schedule)
        first, last = self.solver_steps if isinstance(self.solver_steps, Sequence) else (self.solver_steps,) * 2
        plan, drawn = [], 0
        for step, asked in enumerate(counts):
            share = step / max(len(counts) - 1, 1)
            solver = Solver(self.solver, round(first + (last - first) * share))
            plan.append((asked, solver, guidance.at(drawn / count, (drawn + asked) / count)))
            drawn += asked
        return plan


def sampler_config(sampler: str | Mapping[str, Any], preset: str | None = None, **changes: Any) -> dict[str, Any]:
    """The config of a sampler from a preset's name, or from options, of which ``preset`` may be one.

    Args:
        sampler: Such as ``"fast"`` or ``dict(preset="fast", guidance_scale=2.0)``.
        preset: A preset that replaces what it sets.
        **changes: Options to change further; None changes nothing.

    Raises:
        UserError: A preset is unknown, or stands beside another type of sampler.
    """
    options = {"preset": sampler} if isinstance(sampler, str) else dict(sampler)
    first = options.pop("preset", None)
    if (first or preset) and options.get("type", "MaskedSampler") != "MaskedSampler":
        raise UserError(f"sampler presets belong to MaskedSampler, not to {options['type']!r}")
    for name in (first, preset):
        if name is not None and name not in PRESETS:
            raise unknown("sampler preset", name, PRESETS)
    changes = {name: value for name, value in changes.items() if value is not None}
    return {"type": "MaskedSampler"} | PRESETS.get(first, {}) | options | PRESETS.get(preset, {}) | changes
