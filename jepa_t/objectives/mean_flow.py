"""Mean flow: the average velocity over a stretch of the way, so that few evaluations draw a token."""

import warnings

import torch
from torch import Tensor

from ..contracts import RandomSource
from ..errors import UserError, check_integer, check_share
from ..registry import OBJECTIVES
from ..sampling.solvers import Solver, annealed
from ..structures import Drawn, Prediction, Target
from .flow_matching import FlowMatching, interpolate


@OBJECTIVES.register_module()
class MeanFlow(FlowMatching):
    """Generative objective: ``u(x_t, t, s)``, the mean of the velocity from t to s (MeanFlow, arXiv 2505.13447).

    From the definition ``(s - t) u = integral of v from t to s`` follows, by its derivative in t along the path,

        u = v + (s - t) du/dt,   du/dt = (du/dx) v + partial du/dt   (equation 6; there noise lies at t = 1)

    and the loss is ``|u - stopgrad(right side)|^2``. With s = t that is flow matching. The derivative is one
    forward-mode pass through the head alone, for the draws that learn stretches.

    Args:
        channels: C, of the image tokens.
        width: D, of the condition.
        head_width: W, of the denoising head.
        head_depth: Its residual blocks.
        draws: Draws of noise and time per token.
        weight: Of this loss in the sum.
        time_scale: As of :class:`FlowMatching`, but lower: the derivative in t would multiply fast sinusoids.
        predicts: As of :class:`FlowMatching`. Take ``clean``: slow sinusoids tell the end of the way too
            coarsely for a velocity, which a clean token doesn't need.
        logit_normal: As of :class:`FlowMatching`. Take (-0.8, 0.8).
        learns_guidance: As of :class:`FlowMatching`.
        stretches: How many of the draws learn s > t, 0 for none; the others learn s = t.
        adaptive: p of a loss that is divided by ``(|error|^2 + 0.001)^p``, from 0 (not at all) to 1.

    Raises:
        UserError: A number is out of range.

    Examples:
        >>> objective, z = MeanFlow(4, 16, head_width=8, head_depth=1, predicts="clean"), torch.randn(2, 3, 16)
        >>> list(objective(Prediction(z, z), Target(torch.zeros(2, 3, 4))))
        ['loss_flow']
    """

    fewest_evaluations = 1
    numbers = 1  # s - t

    def __init__(
        self,
        channels: int,
        width: int,
        head_width: int = 1024,
        head_depth: int = 6,
        draws: int = 4,
        weight: float = 1.0,
        time_scale: float = 10.0,
        predicts: str = "velocity",
        logit_normal: tuple[float, float] | None = None,
        learns_guidance: bool = False,
        stretches: int = 1,
        adaptive: float = 0.0,
    ) -> None:
        super().__init__(
            channels, width, head_width, head_depth, draws, weight, time_scale, predicts, logit_normal, learns_guidance
        )
        self.stretches = check_integer("MeanFlow stretches", stretches, 0)
        if stretches > draws:
            raise UserError(f"MeanFlow stretches is {stretches}; there are only {draws} draws")
        self.adaptive = check_share("MeanFlow adaptive", adaptive)

    def forward(
        self, prediction: Prediction, target: Target, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The loss over the asked tokens, ``{"loss_flow": ...}``; arguments as of :meth:`FlowMatching.forward`."""
        tokens, noise, options = self._noise(target, generator)
        end = self._times(tokens, options)
        other = self._times(tokens[: self.stretches], options)
        time = torch.cat([torch.minimum(end[: self.stretches], other), end[self.stretches :]])
        end = torch.cat([torch.maximum(end[: self.stretches], other), end[self.stretches :]])
        noisy, velocity = interpolate(tokens, noise, time[..., None])
        mean = velocity
        if self.stretches:
            some = slice(self.stretches)
            change = self._change(noisy[some], time[some], end[some], prediction.condition, velocity[some])
            mean = torch.cat([velocity[some] + (end - time)[some][..., None] * change, velocity[self.stretches :]])
        output = self.head(noisy, time, prediction.condition, end - time).float()
        error = self._velocity(output, noisy, time) - mean
        square = error.square()
        if self.adaptive:
            square = square / (square.detach().mean(-1, keepdim=True) + 1e-3) ** self.adaptive
        loss = {"loss_flow": self.weight * square.mean()}
        return loss | self._guidance_loss(output, target, noisy, time, end - time)

    def _change(self, noisy: Tensor, time: Tensor, end: Tensor, condition: Tensor, velocity: Tensor) -> Tensor:
        """du/dt along the path, s standing still: the derivative of the head in the direction ``(v, 1)`` of (x, t)."""

        def mean(x: Tensor, t: Tensor) -> Tensor:
            return self._velocity(self.head(x, t, condition, end - t).float(), x, t)

        # Compiled blocks run plainly within: they would be compiled anew for each number of tokens.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", r"`torch.jit.script`", FutureWarning
            )  # of PyTorch's own, at its first use
            return torch.func.jvp(mean, (noisy, time), (velocity, torch.ones_like(time)))[1]

    def draw(  # type: ignore[override]  # stretches are Euler's steps, so no solver is chosen
        self,
        condition: Tensor,
        random: RandomSource,
        null: Tensor | None = None,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        progress: float = 0.0,
        *,
        solver_steps: int | tuple[int, int] = 1,
    ) -> Drawn:
        """Draw tokens: from noise at t = 0 to data at t = 1 in a few stretches.

        Args:
            condition: ``[B, K, D]``.
            random: Source of the noise.
            null: The condition of the null text ``[B, K, D]``; None for no guidance, or where it is learned in.
            guidance_scale: w in ``u_null + w (u_text - u_null)``.
            temperature: Times the noise at t = 0.
            progress: Share of the sampling steps that have been made, in [0, 1].
            solver_steps: Stretches, each one evaluation of the head; a pair goes from the first to the last over the
                sampling steps.

        Raises:
            UserError: ``solver_steps`` is out of range.
        """
        solve = Solver("euler", annealed("solver_steps", solver_steps, progress))
        noise = random.normal(condition.shape[1], self.channels) * temperature
        stretches = [1 / solve.steps] * solve.steps
        return Drawn(solve(self._field(condition, solve.times, null, guidance_scale, stretches), noise))
