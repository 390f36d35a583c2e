"""The exponential moving average (EMA) of the weights: target encoder and drawing network in one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .errors import UserError, unknown

Pairs = list[tuple[Tensor, Tensor]]  # averaged, trained
FREEZABLE = ("encoder", "predictor")


def warmed_decay(decay: float, updates: int) -> float:
    """The decay after ``updates`` optimizer steps: small at first, so that the start is soon forgotten.

    Examples:
        >>> warmed_decay(0.999, updates=0), warmed_decay(0.999, updates=100_000)
        (0.1, 0.999)
    """
    return min(decay, (1 + updates) / (10 + updates))


def update_ema(network: nn.Module, ema: nn.Module, decay: float) -> None:
    """Move every averaged parameter towards the network's: ``ema * decay + network * (1 - decay)``.

    Args:
        network: The trained weights.
        ema: Their average, changed in place; buffers are copied.
        decay: From 0, copy, to 1, freeze.
    """
    move(*pairs(network, ema), decay)


def pairs(network: nn.Module, ema: nn.Module) -> tuple[Pairs, Pairs]:
    """Parameters with their averages, and buffers with their copies; what both share is left out."""
    kept = (ema.parameters(), network.parameters()), (ema.buffers(), network.buffers())
    parameters, buffers = ([(old, new) for old, new in zip(*both, strict=True) if old is not new] for both in kept)
    return parameters, buffers


@torch.no_grad()
def move(parameters: Pairs, buffers: Pairs, decay: float) -> None:
    """Average the pairs that :func:`pairs` has found."""
    if parameters:
        averaged, trained = (list(tensors) for tensors in zip(*parameters, strict=True))
        torch._foreach_lerp_(averaged, trained, 1.0 - decay)
    for old, new in buffers:
        old.copy_(new)


def share(network: nn.Module, ema: nn.Module, names: str | Sequence[str]) -> None:
    """Freeze parts of a network: from now on they are the average's, which nothing trains.

    Raises:
        UserError: A name is none of :data:`FREEZABLE`.
    """
    for name in [names] if isinstance(names, str) else names:
        if name not in FREEZABLE:
            raise unknown("part in model.frozen", name, FREEZABLE)
        setattr(network, name, ema.get_submodule(name))


def check_moved(network: nn.Module, ema: nn.Module, began: tuple[int, int]) -> None:
    """See that the average has moved if the network has, since both had ``began`` many :func:`changes`.

    Raises:
        UserError: It hasn't, which a training loop of one's own may forget.
    """
    if changes(network) > began[0] and changes(ema) == began[1]:
        raise UserError("model.ema, which draws, is as it began; call model.update_ema() after each optimizer step")


def changes(module: nn.Module) -> int:
    """How often parameters have been changed in place, all together; it only says whether they have since."""
    return sum(parameter._version for parameter in module.parameters())
