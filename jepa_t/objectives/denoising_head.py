"""The denoising head: a residual MLP per token, conditioned by AdaLN (MAR, section 3.2)."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError, check_depth, check_integer
from ..layers import EPS, linear

MODULATIONS = 2**26  # numbers that a solver keeps, 256 MB: of all times, of some, or, where one's are more, of none
TIME_SCALE = 1000.0  # the sinusoids resolve times in [0, 1000]; flow time runs over [0, 1]
NUMBER_SCALE = 10.0  # of further numbers, on which the output depends smoothly


class ResidualBlock(nn.Module):
    """One block: normalise, shift and scale, two layers, gate, add. Starts as the identity.

    Args:
        width: W, channels inside.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.mlp = nn.Sequential(linear(width, width), nn.SiLU(), linear(width, width))
        self.modulation = linear(width, 3 * width, zero=True)

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        """Transform ``x [..., W]`` by three modulations that broadcast with it."""
        return torch.addcmul(x, gate, self.mlp(torch.addcmul(shift, self.norm(x), scale)))


def modulations(layer: nn.Linear, c: Tensor, parts: int) -> list[Tensor]:
    """Shift, scale, and with three parts gate, of ``c [..., W]``: ``[..., W]`` each.

    A product for each: to cut one product up leaves strided pieces, whose gradients must be put together again. The
    scale is 1 more than the layer says.
    """
    found = [F.linear(c, *rows) for rows in zip(layer.weight.chunk(parts), layer.bias.chunk(parts), strict=True)]
    found[1] = 1 + found[1]
    return found


class DenoisingHead(nn.Module):
    """Predicts an output per token from its noisy value, a time and a condition.

    Args:
        channels: C, of the noisy tokens.
        outputs: Channels of the output.
        condition_width: D, channels of the condition.
        width: W, of the MLP.
        depth: Residual blocks; may be 0.
        time_scale: Times, in [0, 1], times this are what the sinusoids see.
        numbers: How many further numbers in [0, 1] it is told besides the time, such as a guidance scale.

    Raises:
        UserError: ``width``, ``depth`` or ``time_scale`` is out of range.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        condition_width: int,
        width: int,
        depth: int,
        time_scale: float = TIME_SCALE,
        numbers: int = 0,
    ) -> None:
        super().__init__()
        check_integer("head_width", width)
        check_depth("head_depth", depth, 0)
        if not 0 < time_scale < math.inf:
            raise UserError(f"time_scale is {time_scale!r}; it must be a number above 0")
        self.time_scale = time_scale
        self.embed = linear(channels, width)
        self.embed_condition = linear(condition_width, width)
        self.embed_time = embedding(width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS, elementwise_affine=False)
        self.modulation = linear(width, 2 * width, zero=True)
        self.out = linear(width, outputs, zero=True)
        self.embed_numbers = nn.ModuleList(embedding(width) for _ in range(numbers))

    def forward(self, x: Tensor, time: Tensor, condition: Tensor, *numbers: Tensor) -> Tensor:
        """The output for noisy tokens ``x [..., C]`` at ``time [...]`` in [0, 1] under ``condition [..., D]``.

        The leading dimensions need only be broadcastable; each further number is ``[...]`` too.
        """
        return self._denoise(x, self._modulations(self._embed(self.embed_condition(condition), time, *numbers)))

    def at_times(
        self, condition: Tensor, times: Sequence[float], *numbers: Sequence[float]
    ) -> Callable[[Tensor, float], Tensor]:
        """The head under one condition at times known beforehand, for the solvers.

        The modulations depend on time and condition but not on ``x``: those of many times are computed at once, in
        one product each, and a call costs the MLP alone. So many that they fit :data:`MODULATIONS`.

        Args:
            condition: ``[..., D]``.
            times: All times that will be asked for, in [0, 1], in that order.
            *numbers: Of each further number its value at each time.

        Returns:
            A function ``(x [..., C], time) -> [..., outputs]``, never in less than float32.
        """
        points = dict(zip(times, zip(times, *numbers, strict=True), strict=True))
        distinct = list(points)
        stacked = torch.tensor(list(points.values())).to(condition.device, non_blocking=True)
        stacked = stacked.view(len(distinct), -1, *[1] * (condition.dim() - 1))
        condition = self.embed_condition(condition)
        widths = sum(block.modulation.out_features for block in self._blocks) + self.modulation.out_features
        at_once = MODULATIONS // (widths * condition[..., 0].numel())
        made: dict[float, Sequence[Sequence[Tensor]]] = {}

        def make(first: int, count: int) -> Iterator[list[Tensor]]:
            return self._modulations(self._embed(condition, *stacked[first : first + count].unbind(1)))

        def at(x: Tensor, time: float) -> Tensor:
            first = distinct.index(time)
            if not at_once:
                own = ([part[0] for part in block] for block in make(first, 1))
                return self._denoise(x, own).to(stacked.dtype)
            if time not in made:
                made.clear()
                by_block = (zip(*map(torch.unbind, block), strict=True) for block in make(first, at_once))
                made.update(zip(distinct[first : first + at_once], zip(*by_block, strict=True), strict=True))
            return self._denoise(x, made[time]).to(stacked.dtype)

        return at

    def guided(
        self,
        condition: Tensor,
        times: Sequence[float],
        null: Tensor | None,
        scale: float,
        *numbers: Sequence[float],
    ) -> Callable[[Tensor, float], Tensor]:
        """The head at known times (:meth:`at_times`) under classifier-free guidance: ``null + scale (text - null)``.

        It acts on the first C outputs; those beyond, such as a learned variance, are the text's (MAR).

        Args:
            condition: ``[..., D]``.
            times: All times that will be asked for, in [0, 1].
            null: The condition of the null text ``[..., D]``; None for no guidance.
            scale: 1 is no guidance.
            *numbers: As in :meth:`at_times`.
        """
        if null is None:
            return self.at_times(condition, times, *numbers)
        head, channels = self.at_times(torch.stack([condition, null]), times, *numbers), self.embed.in_features

        def both(x: Tensor, time: float) -> Tensor:
            with_text, without = head(x, time).unbind()
            if self.out.out_features == channels:
                return torch.lerp(without, with_text, scale)
            guided = torch.lerp(without[..., :channels], with_text[..., :channels], scale)
            return torch.cat([guided, with_text[..., channels:]], -1)

        return both

    @property
    def _blocks(self) -> list[ResidualBlock]:
        return cast(list[ResidualBlock], list(self.blocks))

    def _embed(self, condition: Tensor, time: Tensor, *numbers: Tensor) -> Tensor:
        embedded = self.embed_time(sinusoids(time, self.time_scale))
        for embed, number in zip(self.embed_numbers, numbers, strict=True):
            embedded = embedded + embed(sinusoids(number, NUMBER_SCALE))
        return F.silu(condition + embedded)

    def _modulations(self, c: Tensor) -> Iterator[list[Tensor]]:
        """Those of each block and of the output, one after the other."""
        yield from (modulations(block.modulation, c, 3) for block in self._blocks)
        yield modulations(self.modulation, c, 2)

    def _denoise(self, x: Tensor, found: Iterable[Sequence[Tensor]]) -> Tensor:
        x, found = self.embed(x), iter(found)
        for block in self.blocks:
            x = block(x, *next(found))
        shift, scale = next(found)
        return self.out(torch.addcmul(shift, self.norm(x), scale))


def embedding(width: int) -> nn.Sequential:
    """What turns the :func:`sinusoids` of a number into ``[..., width]``."""
    return nn.Sequential(linear(256, width), nn.SiLU(), linear(width, width))


def sinusoids(time: Tensor, scale: float = TIME_SCALE) -> Tensor:
    """Cosines, then sines of ``time [...]`` in [0, 1], times ``scale``, at 128 frequencies: ``[..., 256]``."""
    frequencies = torch.exp(torch.arange(128, device=time.device) * (-math.log(10000.0) / 128))
    angles = time[..., None].float() * scale * frequencies  # bf16 would round the times away
    return torch.cat([angles.cos(), angles.sin()], -1)
