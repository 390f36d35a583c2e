"""The averaged copy of the weights: target encoder and evaluated model in one."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..errors import UserError
from ..registry import HOOKS
from .runner import log_interval, unwrap

Tensors = tuple[list[Tensor], list[Tensor]]


def update_average(network: nn.Module, average: nn.Module, decay: float) -> None:
    """Move every averaged parameter towards the network's: ``average * decay + network * (1 - decay)``.

    Args:
        network: The trained weights.
        average: Its averaged copy, changed in place; buffers are copied.
        decay: From 0, copy, to 1, freeze.
    """
    _move(_tensors(average), _tensors(network), decay)


def _tensors(module: nn.Module) -> Tensors:
    return list(module.parameters()), list(module.buffers())


@torch.no_grad()
def _move(kept: Tensors, new: Tensors, decay: float) -> None:
    torch._foreach_lerp_(kept[0], new[0], 1.0 - decay)
    for old, buffer in zip(kept[1], new[1], strict=True):
        old.copy_(buffer)


def warmed_decay(decay: float, updates: int) -> float:
    """The decay after ``updates`` optimizer steps: small at first, so that the start is soon forgotten."""
    return min(decay, (1 + updates) / (10 + updates))


@HOOKS.register_module()
class WeightAverageHook(Hook):
    """Keep ``model.average`` up to date after each optimizer step.

    The number of updates follows from the step, so a resume needs no state of its own.

    Args:
        decay: The decay once warm.

    Raises:
        UserError: ``decay`` is outside [0, 1].
    """

    priority = "ABOVE_NORMAL"  # before anything that looks at the averaged weights

    def __init__(self, decay: float = 0.9999) -> None:
        if not 0 <= decay <= 1:
            raise UserError(f"WeightAverageHook.decay is {decay}; it must lie between 0 and 1")
        self.decay = decay

    def before_train(self, runner: Runner) -> None:
        """Collect the tensors once; walking through the modules costs more than moving the values."""
        model = unwrap(runner.model)
        self._kept, self._new = _tensors(model.average), _tensors(model.network)

    def after_train_iter(self, runner: Runner, batch_idx: int, **_) -> None:
        """Average."""
        decay = warmed_decay(self.decay, batch_idx + 1)
        _move(self._kept, self._new, decay)
        if (batch_idx + 1) % log_interval(runner) == 0:
            runner.message_hub.update_scalar("train/ema_decay", decay)
