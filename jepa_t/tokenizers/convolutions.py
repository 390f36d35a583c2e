"""Convolutions at every resolution from pixels to latents, and back: what our own autoencoders are made of."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import UserError, check_integer


class ResidualConv(nn.Module):
    """``x + conv(conv(x))``, normalised before, on maps ``[B, W, h, w]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(1, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``x [B, W, h, w]``."""
        return x + self.layers(x)


def encoding(widths: Sequence[int], depth: int, stride: int, channels: int) -> nn.Sequential:
    """Convolutions from images ``[B, 3, H, W]`` to maps ``[B, channels, H / stride, W / stride]``.

    Args:
        widths: At each resolution, from the finest; each halves the one before, the last is that of the maps.
        depth: Residual blocks at the last; the others have one each.
        stride: Pixels that a place of the map covers, in height and in width.
        channels: Channels of the maps.

    Raises:
        UserError: ``stride`` can't be halved so often.
    """
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], **_stem(len(widths), stride)), *_blocks(widths, 0, depth)]
    for level in range(1, len(widths)):
        layers += [nn.Conv2d(widths[level - 1], widths[level], 2, 2), *_blocks(widths, level, depth)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 1))


def decoding(widths: Sequence[int], depth: int, stride: int, channels: int) -> nn.Sequential:
    """The way back from maps to images, as :func:`encoding` has it."""
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[-1], 1)]
    for level in range(len(widths) - 1, 0, -1):
        layers += [*_blocks(widths, level, depth), nn.ConvTranspose2d(widths[level], widths[level - 1], 2, 2)]
    layers += _blocks(widths, 0, depth)
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[0], 3, **_stem(len(widths), stride)))


def _blocks(widths: Sequence[int], level: int, depth: int) -> list[nn.Module]:
    return [ResidualConv(widths[level]) for _ in range(depth if level == len(widths) - 1 else 1)]


def _stem(levels: int, stride: int) -> dict[str, Any]:
    """What the convolution next to the pixels does: shrink by what the halvings leave of the stride."""
    side, rest = divmod(stride, 2 ** (levels - 1))
    if not side or rest:
        raise UserError(
            f"{levels} widths halve the resolution {levels - 1} times; a stride of {stride} doesn't allow it"
        )
    return {"kernel_size": side, "stride": side} if side > 1 else {"kernel_size": 3, "padding": 1}


def several(name: str, width: int | Sequence[int]) -> list[int]:
    """The widths that one number or several give.

    Raises:
        UserError: One is no whole number of at least 1, or there is none; the message calls it ``name``.
    """
    widths = list(width) if isinstance(width, Sequence) else [width]
    if not widths:
        raise UserError(f"{name} is {width!r}; give a number of channels, or one for each resolution")
    return [check_integer(name, one) for one in widths]
