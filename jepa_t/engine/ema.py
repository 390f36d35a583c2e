"""The averaged copy of the weights: target encoder and evaluated model in one."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..errors import UserError
from ..registry import HOOKS
from .runner import log_interval, unwrap

Pairs = list[tuple[Tensor, Tensor]]  # averaged, trained


def update_ema(network: nn.Module, ema: nn.Module, decay: float) -> None:
    """Move every averaged parameter towards the network's: ``ema * decay + network * (1 - decay)``.

    Args:
        network: The trained weights.
        ema: Its averaged copy, changed in place; buffers are copied.
        decay: From 0, copy, to 1, freeze.
    """
    _move(*_pairs(network, ema), decay)


def _pairs(network: nn.Module, ema: nn.Module) -> tuple[Pairs, Pairs]:
    """Parameters with their averages, and buffers with their copies; what both share is left out."""
    kept = (ema.parameters(), network.parameters()), (ema.buffers(), network.buffers())
    return tuple([(old, new) for old, new in zip(*both, strict=True) if old is not new] for both in kept)


@torch.no_grad()
def _move(parameters: Pairs, buffers: Pairs, decay: float) -> None:
    if parameters:
        torch._foreach_lerp_(*map(list, zip(*parameters, strict=True)), 1.0 - decay)
    for old, new in buffers:
        old.copy_(new)


def warmed_decay(decay: float, updates: int) -> float:
    """The decay after ``updates`` optimizer steps: small at first, so that the start is soon forgotten."""
    return min(decay, (1 + updates) / (10 + updates))


@HOOKS.register_module()
class EMAHook(Hook):
    """Keep ``model.ema`` up to date after each optimizer step.

    The number of updates follows from the step, so a resume needs no state of its own.

    Args:
        decay: The decay once warm.

    Raises:
        UserError: ``decay`` is outside [0, 1].
    """

    priority = "ABOVE_NORMAL"  # before anything that looks at the averaged weights

    def __init__(self, decay: float = 0.9999) -> None:
        if not 0 <= decay <= 1:
            raise UserError(f"EMAHook.decay is {decay}; it must lie between 0 and 1")
        self.decay = decay

    def before_train(self, runner: Runner) -> None:
        """Collect the tensors once; walking through the modules costs more than moving the values."""
        model = unwrap(runner.model)
        self._pairs = _pairs(model.network, model.ema)

    def after_train_iter(self, runner: Runner, batch_idx: int, **_) -> None:
        """Average."""
        decay = warmed_decay(self.decay, batch_idx + 1)
        _move(*self._pairs, decay)
        if (batch_idx + 1) % log_interval(runner) == 0:
            runner.message_hub.update_scalar("train/ema_decay", decay)
