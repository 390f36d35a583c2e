"""Flow matching: the velocity that carries noise to image tokens along straight lines."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..contracts import GenerativeObjective, RandomSource
from ..errors import UserError, check_integer, loss_weight, unknown
from ..randomness import own_rows
from ..registry import OBJECTIVES
from ..sampling.solvers import Solver, annealed
from ..structures import Drawn, Prediction, Target
from .denoising_head import TIME_SCALE, DenoisingHead

GUIDANCE_WEIGHT = 0.1  # of the loss of learned guidance; at 1 it slows what the velocity learns
NEAREST = 0.05  # a clean prediction is divided by 1 - t, but never by less (JiT)


def interpolate(tokens: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """The point ``x_t = t x + (1 - t) e`` on the line from noise to data, and its velocity ``x - e``.

    Args:
        tokens: x ``[..., C]``.
        noise: e ``[..., C]``.
        time: t in [0, 1] ``[..., 1]``.
    """
    return torch.lerp(noise, tokens, time), tokens - noise


@OBJECTIVES.register_module()
class FlowMatching(GenerativeObjective):
    """Generative objective: ``mean |v(x_t, t, condition) - (x - e)|^2`` over masked tokens (JEPA-T's flow loss).

    Args:
        channels: C, of the image tokens.
        width: D, of the condition.
        head_width: W, of the denoising head.
        head_depth: Its residual blocks; may be 0.
        draws: Draws of noise and time per token: more signal from one pass of the backbone.
        weight: Of this loss in the sum.
        time_scale: As in :class:`~jepa_t.objectives.denoising_head.DenoisingHead`; 1 for heads of the public code,
            whose sinusoids saw times in [0, 1].
        predicts: What the head gives: the ``velocity``, or the ``clean`` token x, whose velocity
            ``(x - x_t) / (1 - t)`` the loss compares (JiT, arXiv 2511.13720), 1 - t not below 0.05.
        logit_normal: Mean and deviation of ``log(t / (1 - t))``, such as (-0.8, 0.8); None for uniform times.
        learns_guidance: The head also learns the difference of its own ``v_text - v_null``, so that drawing computes no
            null branch: ``v_text + (w - 1) difference``, at any scale w. See :meth:`_guidance_loss`.

    Raises:
        UserError: A number is out of range.

    Examples:
        >>> objective, z = FlowMatching(4, 16, head_width=8, head_depth=1), torch.randn(2, 3, 16)
        >>> list(objective(Prediction(z, z), Target(torch.zeros(2, 3, 4))))
        ['loss_flow']
    """

    fewest_evaluations = 4
    numbers = 0  # that the head is told besides the time

    def __init__(
        self,
        channels: int,
        width: int,
        head_width: int = 1024,
        head_depth: int = 6,
        draws: int = 4,
        weight: float = 1.0,
        time_scale: float = TIME_SCALE,
        predicts: str = "velocity",
        logit_normal: Sequence[float] | None = None,
        learns_guidance: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if predicts not in ("velocity", "clean"):
            raise unknown(f"{name} predicts", predicts, ["velocity", "clean"])
        if logit_normal is not None and not (len(logit_normal) == 2 and logit_normal[1] > 0):
            raise UserError(f"{name} logit_normal is {logit_normal!r}; give a mean and a deviation above 0")
        if learns_guidance:
            self.guides_itself, self.reads = True, frozenset({"null"})
        self.channels, self.draws = channels, check_integer(f"{name} draws", draws)
        self.weight = loss_weight(f"{name} weight", weight)
        self.predicts, self.logit_normal = predicts, logit_normal
        outputs = channels * (2 if learns_guidance else 1)
        self.head = DenoisingHead(channels, outputs, width, head_width, head_depth, time_scale, self.numbers)

    def forward(
        self, prediction: Prediction, target: Target, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The losses over the asked tokens: ``loss_flow``, and with ``learns_guidance`` also ``loss_guidance``.

        Args:
            prediction: Its ``condition [B, K, D]`` is read.
            target: Its ``tokens [B, K, C]``, and with ``learns_guidance`` its ``null``.
            generator: Source of noise and times, on the tokens' device and equal on all processes; by default
                PyTorch's own.
        """
        tokens, noise, options = self._noise(target, generator)
        time = self._times(tokens, options)
        noisy, velocity = interpolate(tokens, noise, time[..., None])
        output = self.head(noisy, time, prediction.condition).float()
        predicted = self._velocity(output, noisy, time)
        loss = {"loss_flow": self.weight * (predicted - velocity).square().mean()}
        return loss | self._guidance_loss(output, target, noisy, time)

    def draw(
        self,
        condition: Tensor,
        random: RandomSource,
        null: Tensor | None = None,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        progress: float = 0.0,
        *,
        solver: str | dict | Callable = "euler",
        solver_steps: int | tuple[int, int] = 99,
    ) -> Drawn:
        """Draw tokens: solve the flow from noise at t = 0 to data at t = 1.

        Args:
            condition: ``[B, K, D]``.
            random: Source of the noise.
            null: The condition of the null text ``[B, K, D]``; None for no guidance, or where it is learned in.
            guidance_scale: w in ``v_null + w (v_text - v_null)``.
            temperature: Times the noise at t = 0.
            progress: Share of the sampling steps that have been made, in [0, 1].
            solver: ``euler``, ``ab2``, ``heun``, ``midpoint``, or one of your own.
            solver_steps: Its steps; a pair goes from the first to the last over the sampling steps, since late tokens
                are almost determined (DiSA).

        Raises:
            UserError: The solver is unknown, or ``solver_steps`` out of range.
        """
        solve = Solver(solver, annealed("solver_steps", solver_steps, progress))
        noise = random.normal(condition.shape[1], self.channels) * temperature
        return Drawn(solve(self._field(condition, solve.times, null, guidance_scale), noise))

    def _noise(self, target: Target, generator: torch.Generator | None) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Tokens and noise ``[draws, B, K, C]``, and how further random numbers are drawn."""
        tokens = target.tokens.float().expand(self.draws, *target.tokens.shape)
        options = {"device": tokens.device, "dtype": torch.float32, "generator": generator}
        return tokens, own_rows(torch.randn, tokens.shape, dim=1, **options), options

    def _times(self, tokens: Tensor, options: dict[str, Any]) -> Tensor:
        """One time per image and draw ``[draws, B, 1]``: the head embeds few times."""
        each = *tokens.shape[:2], 1
        if self.logit_normal is None:
            return own_rows(torch.rand, each, dim=1, **options)
        mean, deviation = self.logit_normal
        return torch.sigmoid(mean + deviation * own_rows(torch.randn, each, dim=1, **options))

    def _guidance_loss(
        self, output: Tensor, target: Target, noisy: Tensor, time: Tensor, *numbers: Tensor
    ) -> dict[str, Tensor]:
        """``0.1 mean |difference - (text - null)|^2``, both the head's own without gradient, where null is known.

        Guidance as the public works learn it (model guidance, arXiv 2502.12154; MeanFlow) has one output at a scale w,
        whose target ``v + (w - 1) (v_text - v_null)`` bears the noise of v. But it is linear in w, so here the slope
        alone is learned: its target has no noise, every scale has it, and ``loss_flow`` stays what it was.
        """
        if not self.guides_itself:
            return {}
        assert target.null is not None, "the model gives what an objective reads"
        some = slice(len(target.null))  # the first images
        text, difference = output[:, some].chunk(2, -1)
        with torch.no_grad():
            numbers = tuple(number[:, some] for number in numbers)
            null = self.head(noisy[:, some], time[:, some], target.null, *numbers).float()[..., : self.channels]
        weight = GUIDANCE_WEIGHT * self.weight
        return {"loss_guidance": weight * (difference - (text.detach() - null)).square().mean()}

    def _field(
        self,
        condition: Tensor,
        times: Sequence[float],
        null: Tensor | None,
        scale: float,
        *numbers: Sequence[float],
    ) -> Callable[[Tensor, float], Tensor]:
        """The velocity ``(x, t) -> [B, K, C]`` under guidance, for the solvers."""
        head = self.head.guided(condition, times, null, scale, *numbers)

        def velocity(x: Tensor, time: float) -> Tensor:
            output = head(x, time)
            if self.guides_itself:
                text, difference = output.chunk(2, -1)
                output = text + (scale - 1) * difference
            return self._as_velocity(output, x, max(1 - time, NEAREST))

        return velocity

    def _velocity(self, output: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """The velocity ``[..., C]`` that the head's output says, without guidance."""
        return self._as_velocity(output[..., : self.channels], noisy, (1 - time).clamp(min=NEAREST)[..., None])

    def _as_velocity(self, output: Tensor, noisy: Tensor, left: Tensor | float) -> Tensor:
        return output if self.predicts == "velocity" else (output - noisy) / left
