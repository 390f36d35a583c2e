"""Flow matching: the velocity that carries noise to image tokens along straight lines."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..contracts import GenerativeObjective, RandomSource
from ..errors import check_integer, loss_weight
from ..randomness import own_rows
from ..registry import OBJECTIVES
from ..sampling.solvers import Solver, annealed
from ..structures import Drawn, Prediction, Target
from .denoising_head import TIME_SCALE, DenoisingHead


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
        head_depth: Its residual blocks.
        draws: Draws of noise and time per token: more signal from one pass of the backbone.
        weight: Of this loss in the sum.
        time_scale: As in :class:`~jepa_t.objectives.denoising_head.DenoisingHead`; 1 for heads of the public code,
            whose sinusoids saw times in [0, 1].

    Raises:
        UserError: A number is out of range.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        head_width: int = 1024,
        head_depth: int = 6,
        draws: int = 4,
        weight: float = 1.0,
        time_scale: float = TIME_SCALE,
    ) -> None:
        super().__init__()
        self.channels, self.draws = channels, check_integer("FlowMatching draws", draws)
        self.weight = loss_weight("FlowMatching weight", weight)
        self.head = DenoisingHead(channels, channels, width, head_width, head_depth, time_scale)

    def forward(
        self, prediction: Prediction, target: Target, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The loss over the asked tokens: ``{"loss_flow": ...}``.

        Args:
            prediction: Its ``condition [B, K, D]`` is read.
            target: Its ``tokens [B, K, C]``.
            generator: Source of noise and times, on the tokens' device and equal on all processes; by default
                PyTorch's own.
        """
        tokens = target.tokens.float().expand(self.draws, *target.tokens.shape)
        options = {"device": tokens.device, "dtype": torch.float32, "generator": generator}
        noise = own_rows(torch.randn, tokens.shape, dim=1, **options)
        each = *tokens.shape[:2], 1  # one time per image and draw: the head embeds few times
        time = own_rows(torch.rand, each, dim=1, **options)
        noisy, velocity = interpolate(tokens, noise, time[..., None])
        predicted = self.head(noisy, time, prediction.condition)
        return {"loss_flow": self.weight * (predicted.float() - velocity).square().mean()}

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
            null: The condition of the null text ``[B, K, D]``; None for no guidance.
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
        return Drawn(solve(self.head.guided(condition, solve.times, null, guidance_scale), noise))
