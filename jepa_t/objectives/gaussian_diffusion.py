"""Gaussian diffusion: noise is added in 1,000 steps, and the head learns to tell it (MAR, section 3.2; iDDPM)."""

import math
from functools import partial

import torch
from torch import Tensor

from ..contracts import GenerativeObjective, RandomSource
from ..errors import UserError, check_integer, loss_weight
from ..randomness import own_rows
from ..registry import OBJECTIVES
from ..sampling.solvers import annealed
from ..structures import Drawn, Prediction, Target
from .denoising_head import DenoisingHead

STEPS = 1000


class NoiseSchedule:
    """The cosine schedule (iDDPM, equation 17), or some of its steps as a chain of their own.

    With ``alpha_bar`` the share of the signal's variance that is left after a step, a noisy token is
    ``sqrt(alpha_bar) x + sqrt(1 - alpha_bar) e``. Everything is ``[T]``, float64, on the CPU.

    Args:
        kept: T of the 1,000 steps, evenly spaced, each in the middle of what it stands for: the very last step
            leaves 2e-9 of the signal, and a short chain that began there would divide by its root.

    Attributes:
        steps: Which of the 1,000 they are.
        alpha_bar: After each step.
        before: ``alpha_bar`` after the step before.
        beta: Variance that a step adds.
        posterior: Variance of the token before a step, given the tokens after it and at the start.
    """

    def __init__(self, kept: int = STEPS) -> None:
        edges = torch.arange(STEPS + 1, dtype=torch.float64, device="cpu") / STEPS
        share = torch.cos((edges + 0.008) / 1.008 * math.pi / 2).square()
        whole = (share[1:] / share[:-1]).clamp(min=0.001).cumprod(0)
        self.steps = [(2 * index + 1) * STEPS // (2 * kept) for index in range(kept)]
        self.alpha_bar = whole[self.steps]
        self.before = torch.cat([whole.new_ones(1), self.alpha_bar[:-1]])
        self.beta = 1 - self.alpha_bar / self.before
        self.posterior = self.beta * (1 - self.before) / (1 - self.alpha_bar)

    def variances(self) -> tuple[Tensor, Tensor]:
        """Logarithms of the least and the greatest variance that a reverse step may have: posterior and beta.

        The first step's posterior is a point; the second's stands in for it.
        """
        posterior = torch.cat([self.posterior[1:2], self.posterior[1:]]) if len(self.steps) > 1 else self.beta
        return posterior.log(), self.beta.log()

    def mean(self, eta: float = 1.0) -> tuple[Tensor, Tensor]:
        """``(a, b)`` of the reverse step ``a x_t + b e``, to which noise of ``eta^2 posterior`` is added (DDIM,
        equation 12); 1 is the ancestral step."""
        a = (self.before / self.alpha_bar).sqrt()
        return a, (1 - self.before - eta**2 * self.posterior).clamp(min=0).sqrt() - a * (1 - self.alpha_bar).sqrt()


def gaussian_kl(distance: Tensor, log_variance: Tensor, other: Tensor) -> Tensor:
    """``KL(N(m, exp(log_variance)) || N(m + distance, exp(other)))`` in nats, elementwise."""
    return 0.5 * (other - log_variance - 1 + (log_variance - other).exp() + distance.square() * (-other).exp())


@OBJECTIVES.register_module()
class GaussianDiffusion(GenerativeObjective):
    """Generative objective: ``mean |e(x_t, t, condition) - e|^2`` over masked tokens, and a learned variance.

    The head also says, per channel, where the variance of the reverse step lies between its bounds. That learns
    from the variational bound, whose gradient doesn't reach the mean (iDDPM, section 3.1). Departure: the bound's
    first step is a Gaussian like the others, not a likelihood of 8-bit pixels, which tokens are not.

    The tests compare with diffusers' schedulers. They aren't used here: they wait for the device at every step, draw
    noise from one generator, not one per image, and know neither a temperature nor the variational bound.

    Args:
        channels: C, of the image tokens.
        width: D, of the condition.
        head_width: W, of the denoising head.
        head_depth: Its residual blocks.
        draws: Draws of noise and time per token: more signal from one pass of the backbone.
        weight: Of this loss in the sum.

    Raises:
        UserError: A number is out of range.

    Examples:
        >>> objective, z = GaussianDiffusion(4, 16, head_width=8, head_depth=1), torch.randn(2, 3, 16)
        >>> list(objective(Prediction(z, z), Target(torch.zeros(2, 3, 4))))
        ['loss_diffusion', 'loss_variance']
    """

    fewest_evaluations = 8
    table: Tensor

    def __init__(
        self,
        channels: int,
        width: int,
        head_width: int = 1024,
        head_depth: int = 6,
        draws: int = 4,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.draws = channels, check_integer("GaussianDiffusion draws", draws)
        self.weight = loss_weight("GaussianDiffusion weight", weight)
        self.head = DenoisingHead(channels, 2 * channels, width, head_width, head_depth)
        schedule = NoiseSchedule()
        left, (_, pull) = schedule.alpha_bar, schedule.mean()
        table = torch.stack([left.sqrt(), (1 - left).sqrt(), pull, *schedule.variances()], 1)
        self.register_buffer("table", table.float(), persistent=False)  # [1000, 5]

    def forward(
        self, prediction: Prediction, target: Target, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The losses over the asked tokens: ``{"loss_diffusion": ..., "loss_variance": ...}``, the latter in bits.

        Args:
            prediction: Its ``condition [B, K, D]`` is read.
            target: Its ``tokens [B, K, C]``.
            generator: Source of noise and steps, on the tokens' device and equal on all processes; by default
                PyTorch's own.
        """
        tokens = target.tokens.float().expand(self.draws, *target.tokens.shape)
        options = {"device": tokens.device, "generator": generator}
        noise = own_rows(torch.randn, tokens.shape, dim=1, dtype=torch.float32, **options)
        each = *tokens.shape[:2], 1  # one step per image and draw, as in flow matching
        step = own_rows(partial(torch.randint, STEPS), each, dim=1, **options)
        signal, spread, pull, least, greatest = self.table[step][..., None, :].unbind(-1)
        noisy = signal * tokens + spread * noise
        predicted, place = self.head(noisy, step / STEPS, prediction.condition).float().chunk(2, -1)
        distance = pull * (predicted.detach() - noise)  # of the reverse step's mean from the true one
        bound = gaussian_kl(distance, least, torch.lerp(least, greatest, (place + 1) / 2)) / math.log(2)
        return {
            "loss_diffusion": self.weight * (predicted - noise).square().mean(),
            "loss_variance": self.weight * bound.mean(),
        }

    def draw(
        self,
        condition: Tensor,
        random: RandomSource,
        null: Tensor | None = None,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        progress: float = 0.0,
        *,
        solver_steps: int | tuple[int, int] = 100,
        eta: float | None = None,
    ) -> Drawn:
        """Draw tokens: from noise, step by step, by what the head says the noise is.

        Args:
            condition: ``[B, K, D]``.
            random: Source of the noise.
            null: The condition of the null text ``[B, K, D]``; None for no guidance.
            guidance_scale: w in ``e_null + w (e_text - e_null)``; the variance is the text's.
            temperature: Times the noise of the ancestral steps (MAR); under DDIM times all noise.
            progress: Share of the sampling steps that have been made, in [0, 1].
            solver_steps: How many of the 1,000 steps are taken; more are cut to that. A pair goes from the first to
                the last over the sampling steps.
            eta: None for ancestral steps with the learned variance; a number for DDIM, from 0 (no noise after
                the first) to 1.

        Raises:
            UserError: ``solver_steps`` or ``eta`` is out of range.
        """
        if eta is not None and not 0 <= eta <= 1:
            raise UserError(f"sampler.draw.eta is {eta}; use 0 (no noise) to 1, or None for ancestral steps")
        schedule = NoiseSchedule(min(annealed("solver_steps", solver_steps, progress), STEPS))
        times, shape = [step / STEPS for step in schedule.steps], (condition.shape[1], self.channels)
        head = self.head.guided(condition, times[::-1], null, guidance_scale)
        keep, pull = (part.tolist() for part in schedule.mean(1.0 if eta is None else eta))
        least, greatest = (part.tolist() for part in schedule.variances())
        posterior = schedule.posterior.sqrt().tolist()
        x = random.normal(*shape) * (1.0 if eta is None else temperature)
        noises = random.normal(len(times) - 1, *shape) if temperature and eta != 0 else None
        for index in reversed(range(len(times))):
            noise, place = head(x, times[index]).chunk(2, -1)
            x = keep[index] * x + pull[index] * noise
            if index and noises is not None:
                between = least[index] + (greatest[index] - least[index]) * (place + 1) / 2
                deviation = (between / 2).exp() if eta is None else eta * posterior[index]
                x = x + temperature * deviation * noises[:, index - 1]
        return Drawn(x)
