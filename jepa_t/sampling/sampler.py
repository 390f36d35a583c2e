"""The sampler: from captions to image tokens, a few masked tokens at a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..contracts import GenerativeObjective, Sampler, StepwiseSampler
from ..errors import UserError, check_number, unknown
from ..masking import scatter
from ..registry import SAMPLERS, build
from ..structures import Given, Revealed, Seed, Split, Text
from .guidance import Guidance
from .noise import Generators
from .reveal import most_confident_first, reveal_counts, reveal_order
from .solvers import MOST_STEPS, annealed

if TYPE_CHECKING:
    from ..denoiser import Denoiser

# By name, the trade between time and quality; each sets the same options, so one replaces another wholly.
# `reference` is the paper's arithmetic; docs/sampling.md has figures.
PRESETS: dict[str, dict[str, Any]] = {
    "reference": {
        "steps": 64, "order": "random", "guidance_schedule": "linear", "draw": {"solver": "euler", "solver_steps": 99}
    },
    "quality": {
        "steps": 64, "order": "random", "guidance_schedule": "constant",
        "draw": {"solver": "ab2", "solver_steps": (24, 16)},
    },
    "balanced": {
        "steps": 32, "order": "random", "guidance_schedule": "constant",
        "draw": {"solver": "ab2", "solver_steps": (24, 16)},
    },
    "fast": {
        "steps": 16, "order": "halton", "guidance_schedule": "constant",
        "draw": {"solver": "euler", "solver_steps": (16, 8)},
    },
    "few": {
        "steps": 8, "order": "checkerboard", "guidance_schedule": "constant",
        "draw": {"solver": "euler", "solver_steps": 4},
    },
    "one": {
        "steps": 8, "order": "checkerboard", "guidance_schedule": "constant",
        "draw": {"solver": "euler", "solver_steps": 1},
    },
}  # fmt: skip
CHOICE_TEMPERATURE = 4.5  # MaskGIT's
SamplerLike = str | Mapping[str, Any] | Sampler  # a preset's name, options (`preset` among them), or the sampler itself


def own_options(objective: GenerativeObjective) -> list[str]:
    """The options that an objective's ``draw`` has of its own: its keyword-only parameters.

    Of one that passes on ``**options``, also those of the class it is derived from.
    """
    names: list[str] = []
    for kind in [kind for kind in type(objective).__mro__ if "draw" in vars(kind)]:
        parameters = inspect.signature(vars(kind)["draw"]).parameters.values()
        names += [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names


class Step(NamedTuple):
    """One sampling step: how many tokens it draws, w, the temperature of the choice, and the share made before it."""

    asked: int
    guidance: float
    choice_temperature: float
    progress: float


@SAMPLERS.register_module()
@dataclass(frozen=True)
class MaskedSampler(StepwiseSampler):
    """Iterative denoising of masked tokens: reveal some, predict them, draw them, until none is left.

    Args:
        steps: S, sampling steps; more than there are tokens are cut to that.
        schedule: How many tokens a step draws: ``cosine``, ``arccos``, ``linear``, ``paced``, or one of your own.
        order: Which: ``random``, ``halton``, ``checkerboard``, one of your own, or ``confidence``: all masked ones are
            drawn and the surest are kept (MaskGIT), for objectives that say how sure they are.
        guidance_scale: w; 1 is no guidance.
        guidance_schedule: ``constant``, ``linear``, or one of your own.
        guidance_interval: Shares of drawn tokens between which the guidance acts.
        temperature: How freely tokens are drawn; 1 as learned, 0 the likeliest. Each objective says what it scales.
        choice_temperature: Of the order ``confidence``: times the Gumbel noise on the confidences, falling to 0 at
            the last step; None for 4.5.
        draw: Options of the generative objective's own, such as ``dict(solver="ab2", solver_steps=(24, 16))`` of flow
            matching, ``dict(eta=0.0)`` of Gaussian diffusion, ``dict(top_k=10)`` of cross-entropy.

    Raises:
        UserError: An option is unknown or out of range.

    Examples:
        >>> from jepa_t import Pipeline
        >>> sampler = MaskedSampler(steps=4, order="halton", guidance_scale=2.0, draw={"solver_steps": 4})
        >>> Pipeline.from_pretrained("emoji").model.generate(["a fox"], seeds=[0], sampler=sampler).shape
        torch.Size([1, 3, 64, 64])
    """

    steps: int = 64
    schedule: str | dict | Callable = "cosine"
    order: str | dict | Callable = "random"
    guidance_scale: float = 3.0
    guidance_schedule: str | dict | Callable = "constant"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    temperature: float = 1.0
    choice_temperature: float | None = None
    draw: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _merged({"draw": self.draw})
        check_number("sampler.temperature", self.temperature, "use 0 (the likeliest), 1 (as learned) or more")
        if self.choice_temperature is not None and not self._by_confidence:
            raise UserError(f"sampler.choice_temperature belongs to order='confidence', not to {self.order!r}")
        if self.choice_temperature is not None:
            check_number("sampler.choice_temperature", self.choice_temperature, "use 0 (no noise) or more")
        self._plan(2)
        reveal_order(self.order, torch.zeros(1, 1), (1, 1))

    def check(self, objective: GenerativeObjective) -> None:
        """See that the model's generative objective has the options in ``draw``, and says how sure it is if it must.

        Raises:
            UserError: It doesn't.
        """
        own = own_options(objective)
        for name in self.draw:
            if name not in own:
                raise unknown(f"option in sampler.draw of {type(objective).__name__}", name, own)
        if self._by_confidence and not objective.gives_confidence:
            raise UserError(
                "sampler.order='confidence' needs an objective that says how sure it is, such as TokenCrossEntropy; "
                "for this model use random, halton or checkerboard"
            )

    @property
    def guided(self) -> bool:
        """Whether the null text is read: a guidance scale of 1 leaves it out."""
        return self.guidance_scale != 1.0

    def trajectory(
        self, denoiser: Denoiser, text: Text, seeds: Sequence[Seed], given: Given | None = None
    ) -> Iterator[Revealed]:
        """Draw the tokens of one image per caption, step by step.

        Args:
            denoiser: Gives conditions and draws.
            text: B captions.
            seeds: B, one per image.
            given: Tokens that stay; the steps are then planned over those that are masked alone.

        Yields:
            What there is after each step.
        """
        height, width = denoiser.grid
        batch, count, by_confidence = len(seeds), height * width, self._by_confidence
        random = Generators(seeds, text.pooled.device)
        order, done = reveal_order(self.order, random.uniform(count), denoiser.grid), 0
        tokens = torch.zeros(batch, count, denoiser.channels, device=text.pooled.device)
        if given is not None:
            order, done, tokens = given.first(order), count - given.masked_count, given.tokens
        one_branch = denoiser.network.generative.guides_itself or not self.guided
        both = text if one_branch else text + denoiser.null(batch)
        plan = self._plan(count - done)
        for number, step in enumerate(plan, 1):
            split = Split(order, done, count - done if by_confidence else step.asked)
            if one_branch or step.guidance == 1.0:
                condition, null = denoiser.condition(tokens, split, text).condition, None
            else:
                condition, null = denoiser.condition(tokens, split, both, branches=2).condition.chunk(2)
            options = {"temperature": self.temperature, "progress": step.progress, **self.draw}
            drawn = denoiser.draw(condition, random, null, step.guidance, **options)
            assert drawn.tokens is not None, "a denoiser draws tokens"
            tokens = scatter(tokens, split.asked, drawn.tokens)
            if by_confidence:  # what isn't kept is masked, so never read, and drawn again
                assert drawn.confidence is not None, "a denoiser gives what its objective promises"
                noise = random.gumbel(count - done) * step.choice_temperature
                order = most_confident_first(order, done, drawn.confidence + noise)
            done += step.asked
            yield Revealed(tokens, order, done - step.asked, done, number, len(plan))

    @property
    def _by_confidence(self) -> bool:
        return self.order in ("confidence", {"type": "confidence"})

    def _plan(self, count: int) -> list[Step]:
        guidance = Guidance(self.guidance_scale, self.guidance_schedule, self.guidance_interval)
        counts = reveal_counts(count, self.steps, self.schedule)
        choice = CHOICE_TEMPERATURE if self.choice_temperature is None else self.choice_temperature
        plan, done = [], 0
        for number, asked in enumerate(counts):
            scale = guidance.at(done / count, (done + asked) / count)
            progress = number / max(len(counts) - 1, 1)
            plan.append(Step(asked, scale, choice * (1 - (number + 1) / len(counts)), progress))
            done += asked
        return plan


def sampler_for(objective: GenerativeObjective, sampler: SamplerLike) -> Sampler:
    """A sampler that fits a model's generative objective.

    Args:
        objective: The model's generative objective.
        sampler: A preset's name, options (``preset`` among them), or the sampler itself.

    Raises:
        UserError: An option is wrong, or the objective doesn't read it.
    """
    config = sampler_config(sampler, objective=objective) if isinstance(sampler, (str, Mapping)) else sampler
    chosen: Sampler = build(config, SAMPLERS, Sampler)
    chosen.check(objective)
    return chosen


def sampler_config(
    sampler: str | Mapping[str, Any],
    preset: str | None = None,
    objective: GenerativeObjective | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The config of a sampler from a preset's name, or from options, of which ``preset`` may be one.

    Args:
        sampler: Such as ``"fast"`` or ``dict(preset="fast", guidance_scale=2.0)``.
        preset: A preset that replaces what it sets.
        objective: The model's; presets then leave out options that its ``draw`` doesn't have, and those are refused
            that make fewer evaluations of the head than it needs.
        **changes: Options to change further; None changes nothing. Those in ``draw`` change one by one.

    Raises:
        UserError: A preset is unknown, asks for too few evaluations, or stands beside another type of sampler.
    """
    options = {"preset": sampler} if isinstance(sampler, str) else dict(sampler)
    first = options.pop("preset", None)
    if (first or preset) and options.get("type", MaskedSampler) not in ("MaskedSampler", MaskedSampler):
        raise UserError(f"sampler presets belong to MaskedSampler, not to {options['type']!r}")
    given = {name: value for name, value in changes.items() if value is not None}
    return _merged({"type": "MaskedSampler"}, _preset(first, objective), options, _preset(preset, objective), given)


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One config of several, later ones first; options in ``draw`` one by one."""
    merged: dict[str, Any] = {}
    for layer in layers:
        draw = {} if layer.get("draw") is None else layer["draw"]
        if not isinstance(draw, Mapping):
            raise UserError(f"sampler.draw is {draw!r}; give the objective's options, such as dict(solver_steps=8)")
        draw = merged.get("draw", {}) | {name: value for name, value in draw.items() if value is not None}
        if "order" in layer and layer["order"] != merged.get("order"):
            merged.pop("choice_temperature", None)  # which belongs to the other order alone
        merged |= {**layer, "draw": draw}
    return merged if merged["draw"] else {name: value for name, value in merged.items() if name != "draw"}


def presets_for(objective: GenerativeObjective) -> list[str]:
    """Names of the presets that make as many evaluations of the head as an objective needs."""
    return [name for name in PRESETS if _evaluations(name, objective) >= objective.fewest_evaluations]


def _evaluations(preset: str, objective: GenerativeObjective) -> int:
    """Fewest of a token by a preset; of an objective that counts none as many as it needs."""
    steps = PRESETS[preset]["draw"]["solver_steps"] if "solver_steps" in own_options(objective) else MOST_STEPS
    return annealed("solver_steps", steps, 1.0)


def _preset(name: str | None, objective: GenerativeObjective | None) -> dict[str, Any]:
    if name is None:
        return {}
    if not isinstance(name, str) or name not in PRESETS:
        raise unknown("sampler preset", name, PRESETS)
    if objective is None:
        return PRESETS[name]
    if name not in presets_for(objective):
        raise UserError(
            f"sampler preset {name!r} makes too few evaluations of the head ({_evaluations(name, objective)}); "
            f"{type(objective).__name__} needs {objective.fewest_evaluations}: take another preset, or train MeanFlow"
        )
    known = own_options(objective)
    return PRESETS[name] | {"draw": {key: value for key, value in PRESETS[name]["draw"].items() if key in known}}
