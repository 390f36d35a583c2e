"""The averaged copy of the weights: target encoder and evaluated model in one."""

from numbers import Real

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..ema import move, pairs, warmed_decay
from ..errors import UserError
from ..registry import HOOKS
from ..trainable import unwrap
from .runner import log_interval


@HOOKS.register_module()
class EMAHook(Hook):
    """Keep ``model.ema`` up to date after each optimizer step.

    The number of updates follows from the step, so a resume needs no state of its own.

    Args:
        decay: The decay once warm.

    Raises:
        UserError: ``decay`` is outside [0, 1).
    """

    priority = "ABOVE_NORMAL"  # before anything that looks at the averaged weights

    def __init__(self, decay: float = 0.9999) -> None:
        if not isinstance(decay, Real) or not 0 <= decay < 1:
            raise UserError(f"EMAHook.decay is {decay!r}; give a number from 0 to below 1, at which nothing would move")
        self.decay = decay

    def before_train(self, runner: Runner) -> None:
        """Collect the tensors once; walking through the modules costs more than moving the values."""
        model = unwrap(runner.model)
        self._pairs = pairs(model.network, model.ema)

    def after_train_iter(self, runner: Runner, batch_idx: int, **_) -> None:
        """Move the average towards the network."""
        decay = warmed_decay(self.decay, batch_idx + 1)
        move(*self._pairs, decay)
        if (batch_idx + 1) % log_interval(runner) == 0:
            runner.message_hub.update_scalar("train/ema_decay", decay)
