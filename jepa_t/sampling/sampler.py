"""The sampler: from captions to image tokens, a few masked tokens at a time."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import UserError, unknown, whole
from ..masking import scatter
from ..registry import SAMPLERS
from ..structures import Drawn, Prediction, Split, Text
from .guidance import Guidance
from .reveal import most_confident_first, reveal_counts, reveal_order
from .solvers import Solver

# By name, the trade between time and quality; each sets the same options, so one replaces another wholly.
# `reference` is the paper's arithmetic; docs/sampling.md has figures.
PRESETS: dict[str, dict[str, Any]] = {
    "reference": {
        "steps": 64, "solver": "euler", "solver_steps": 99, "order": "random", "guidance_schedule": "linear"
    },
    "quality": {
        "steps": 64, "solver": "ab2", "solver_steps": (24, 16), "order": "random", "guidance_schedule": "constant"
    },
    "balanced": {
        "steps": 32, "solver": "ab2", "solver_steps": (24, 16), "order": "random", "guidance_schedule": "constant"
    },
    "fast": {
        "steps": 16, "solver": "euler", "solver_steps": (16, 8), "order": "halton", "guidance_schedule": "constant"
    },
}  # fmt: skip


# What a sampler sets only where it is asked to, and an objective reads where its `draw` names it.
OWN_OPTIONS = ("solver", "solver_steps", "eta", "top_k")
CHOICE_TEMPERATURE = 4.5  # MaskGIT's


class Denoiser(Protocol):
    """What a sampler needs of a model."""

    grid: tuple[int, int]
    channels: int
    gives_confidence: bool  # whether what it draws says how sure it is

    def null(self, batch: int) -> Text:
        """The unconditional caption."""

    def condition(self, tokens: Tensor, split: Split, text: Text) -> Prediction:
        """What the network says about the asked tokens; with twice as many captions, twice as much."""

    draw: Callable[..., Drawn]
    """``(condition, random, null, guidance_scale, temperature, ...)``, the rest some of :data:`OWN_OPTIONS`."""


def options_read(draw: Callable[..., Drawn]) -> list[str]:
    """Which of :data:`OWN_OPTIONS` an objective's ``draw`` reads."""
    parameters = inspect.signature(draw).parameters
    return [name for name in OWN_OPTIONS if name in parameters]


class Generators:
    """A source of randomness for each image, on the CPU: an image depends on its seed, not on its batch or device.

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

    def gumbel(self, *shape: int) -> Tensor:
        """Standard Gumbel numbers ``[B, *shape]``."""
        return -(-self.uniform(*shape).clamp(min=torch.finfo(torch.float32).tiny).log()).log()  # 0 would be infinite

    def _draw(self, function: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        drawn = torch.stack([function(shape, generator=g) for g in self.generators])
        return drawn.to(self.device, non_blocking=True)


class Step(NamedTuple):
    """One sampling step: how many tokens it draws, w, the temperature of the choice, and options of ``draw``."""

    asked: int
    guidance: float
    choice_temperature: float
    options: dict[str, Any]


@SAMPLERS.register_module()
@dataclass(frozen=True)
class MaskedSampler:
    """Iterative denoising of masked tokens: reveal some, predict them, draw them, until none is left.

    Args:
        steps: S, sampling steps; more than there are tokens are cut to that.
        schedule: How many tokens a step draws: ``cosine``, ``arccos`` or ``linear``.
        order: Which: ``random``, ``halton``, ``checkerboard``, or ``confidence``: all masked ones are drawn and the
            surest are kept (MaskGIT), for objectives that say how sure they are.
        solver: Of flow matching: ``euler``, ``ab2``, ``heun`` or ``midpoint``.
        solver_steps: T, denoising steps of flow matching and Gaussian diffusion in each sampling step; a pair
            (first, last) goes from one to the other over the steps, since late tokens are almost determined.
        guidance_scale: w; 1 is no guidance.
        guidance_schedule: ``constant`` or ``linear``.
        guidance_interval: Shares of drawn tokens between which the guidance acts.
        temperature: How freely tokens are drawn; 1 as learned, 0 the likeliest. Each objective says what it scales.
        choice_temperature: Of the order ``confidence``: times the Gumbel noise on the confidences, falling to 0 at
            the last step; None for 4.5.
        eta: Of Gaussian diffusion: None for ancestral steps, a number in [0, 1] for DDIM.
        top_k: Of cross-entropy: how many of the likeliest codes may be drawn; nothing to temperature 0.

    Options of one kind of objective are None for that objective's own default.

    Raises:
        UserError: An option is unknown or out of range.
    """

    steps: int = 64
    schedule: str = "cosine"
    order: str = "random"
    solver: str | None = None
    solver_steps: int | tuple[int, int] | None = None
    guidance_scale: float = 3.0
    guidance_schedule: str = "constant"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    temperature: float = 1.0
    choice_temperature: float | None = None
    eta: float | None = None
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.solver_steps is not None:
            ends = self.solver_steps if isinstance(self.solver_steps, Sequence) else (self.solver_steps,) * 2
            if len(ends) != 2:
                raise UserError(f"sampler.solver_steps is {self.solver_steps!r}; give a number, or a first and a last")
            for end in ends:
                whole("sampler.solver_steps", end)
        for step in self._plan(2):
            Solver(self.solver or "euler", step.options.get("solver_steps", 1))
        reveal_order(self.order, torch.zeros(1, 1), (1, 1))
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"sampler.temperature is {self.temperature}; use 0 (the likeliest), 1 (as learned) or more")
        if self.choice_temperature is not None and self.order != "confidence":
            raise UserError(f"sampler.choice_temperature belongs to order='confidence', not to {self.order!r}")
        if self.choice_temperature is not None and not 0 <= self.choice_temperature < math.inf:
            raise UserError(f"sampler.choice_temperature is {self.choice_temperature}; use 0 (no noise) or more")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise UserError(f"sampler.eta is {self.eta}; use 0 (no noise) to 1, or None for ancestral steps")
        if self.top_k is not None:
            whole("sampler.top_k", self.top_k)

    def check(self, model: Denoiser) -> None:
        """See that the model's objective reads what is set.

        Raises:
            UserError: It doesn't.
        """
        read = options_read(model.draw)
        for name in OWN_OPTIONS:
            if getattr(self, name) is not None and name not in read:
                said = f"it reads {', '.join(read)}" if read else "it reads none of its kind"
                raise UserError(
                    f"sampler.{name}={getattr(self, name)!r} would do nothing: the model's generative objective "
                    f"doesn't read it; {said}"
                )
        if self.order == "confidence" and not model.gives_confidence:
            raise UserError(
                "sampler.order='confidence' needs an objective that says how sure it is, such as TokenCrossEntropy; "
                "for this model use random, halton or checkerboard"
            )

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
        batch, count, by_confidence = len(seeds), height * width, self.order == "confidence"
        random = Generators(seeds, text.pooled.device)
        order = reveal_order(self.order, random.uniform(count), model.grid)
        tokens = torch.zeros(batch, count, model.channels, device=text.pooled.device)
        both = text + model.null(batch)
        done = 0
        for step in self._plan(count):
            split = Split(order, done, count - done if by_confidence else step.asked)
            if step.guidance == 1.0:
                condition, null = model.condition(tokens, split, text).condition, None
            else:
                condition, null = model.condition(tokens, split, both).condition.chunk(2)
            drawn = model.draw(condition, random, null, step.guidance, **step.options)
            tokens = scatter(tokens, split.asked, drawn.tokens)
            if by_confidence:  # what isn't kept is masked, so never read, and drawn again
                noise = random.gumbel(count - done) * step.choice_temperature
                order = most_confident_first(order, done, drawn.confidence + noise)
            done += step.asked
        return tokens

    def _plan(self, count: int) -> list[Step]:
        guidance = Guidance(self.guidance_scale, self.guidance_schedule, self.guidance_interval)
        counts = reveal_counts(count, self.steps, self.schedule)
        own = {name: getattr(self, name) for name in OWN_OPTIONS if getattr(self, name) is not None}
        choice = CHOICE_TEMPERATURE if self.choice_temperature is None else self.choice_temperature
        plan, done = [], 0
        for number, asked in enumerate(counts):
            share = number / max(len(counts) - 1, 1)
            options = own | {"temperature": self.temperature}
            if self.solver_steps is not None:
                ends = self.solver_steps
                first, last = ends if isinstance(ends, Sequence) else (ends, ends)
                options["solver_steps"] = round(first + (last - first) * share)
            scale = guidance.at(done / count, (done + asked) / count)
            plan.append(Step(asked, scale, choice * (1 - (number + 1) / len(counts)), options))
            done += asked
        return plan


def sampler_config(
    sampler: str | Mapping[str, Any],
    preset: str | None = None,
    draw: Callable[..., Drawn] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The config of a sampler from a preset's name, or from options, of which ``preset`` may be one.

    Args:
        sampler: Such as ``"fast"`` or ``dict(preset="fast", guidance_scale=2.0)``.
        preset: A preset that replaces what it sets.
        draw: Of the model's objective; presets then leave out what it doesn't read.
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
    skipped = set(OWN_OPTIONS) - set(OWN_OPTIONS if draw is None else options_read(draw))
    first, second = (
        {key: value for key, value in PRESETS.get(name, {}).items() if key not in skipped} for name in (first, preset)
    )
    return {"type": "MaskedSampler"} | first | options | second | changes
