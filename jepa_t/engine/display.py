"""What a person watches: a progress bar, and images of fixed captions as they get better."""

import atexit
import logging
import sys
import traceback
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from ..errors import UserError, check_integer, first_line
from ..registry import HOOKS
from ..trainable import unwrap


def image_grid(images: list[Tensor]) -> np.ndarray:
    """Lay images side by side, about as many rows as columns.

    Args:
        images: Tensors ``[3, H, W]`` in [-1, 1], all of one size.

    Returns:
        One image ``[rows * H, columns * W, 3]``, uint8; empty places are white.
    """
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    blank = torch.ones_like(images[0])
    tiles = torch.stack([*images, *[blank] * (rows * columns - len(images))])
    tiles = tiles.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return tiles.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


@HOOKS.register_module()
class PreviewHook(Hook):
    """Every ``interval`` steps draw fixed captions with the averaged weights and log the grid.

    The training's randomness is untouched, since each of its steps is reseeded; nor does an image that can't be drawn
    or written end it.

    Args:
        captions: What to draw; each always from the same noise.
        interval: Steps between two images.

    Raises:
        UserError: There is no caption, one is no text, or the interval is below 1.
    """

    priority = 95  # after the checkpoint of the same step

    def __init__(self, captions: Sequence[str], interval: int) -> None:
        self.interval = check_integer("PreviewHook.interval", interval)
        if not isinstance(captions, (list, tuple)) or not captions or not all(isinstance(c, str) for c in captions):
            raise UserError(f"PreviewHook.captions is {captions!r}; give a list of texts")
        self.captions = list(captions)

    @master_only
    def after_train_iter(self, runner: Runner, batch_idx: int, **_) -> None:
        """Draw if it is time to."""
        if (batch_idx + 1) % self.interval:
            return
        try:
            self._draw(runner, batch_idx + 1)
        except Exception as error:  # whatever it is, the training is worth more
            runner.logger.warning(f"the preview after step {batch_idx + 1} is left out: {first_line(error)}")
            runner.logger.info("what went wrong with it:\n%s", "".join(traceback.format_exception(error)))
        finally:
            unwrap(runner.model).train()

    def _draw(self, runner: Runner, step: int) -> None:
        count = len(self.captions)
        samples = {
            "caption": self.captions,
            "index": list(range(count)),
            "split": [""] * count,
            "facts": [{}] * count,
        }
        model = unwrap(runner.model)
        model.eval()
        drawn = model.test_step({"inputs": None, "data_samples": samples})
        runner.visualizer.add_image("preview", image_grid([sample["image"] for sample in drawn]), step=step)


@HOOKS.register_module()
class ProgressHook(Hook):
    """A progress bar for training and evaluation; nothing where stderr is no terminal."""

    priority = "LOWEST"

    def before_train(self, runner: Runner) -> None:
        """Show the bar."""
        self._start(runner, "training", runner.max_iters, runner.iter)

    def after_train_iter(self, _runner: Runner, batch_idx: int, **_) -> None:
        """Move the bar."""
        self._move(batch_idx)

    def before_test(self, runner: Runner) -> None:
        """Show the bar."""
        self._start(runner, "generating", len(runner.test_dataloader), 0)

    def after_test_iter(self, _runner: Runner, batch_idx: int, **_) -> None:
        """Move the bar."""
        self._move(batch_idx)

    def after_train(self, runner: Runner) -> None:
        """Take the bar away."""
        self._end(runner)

    def after_test(self, runner: Runner) -> None:
        """Take the bar away."""
        self._end(runner)

    def _start(self, runner: Runner, what: str, total: int, done: int) -> None:
        self._bar = None
        if not (is_main_process() and sys.stderr.isatty()):
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(what, total=total, completed=done)
        self._bar.start()
        atexit.register(self._bar.stop)  # an error must not leave the terminal without a cursor
        _log_to(runner, sys.stdout)  # rich has put its own stream there, which writes above the bar

    def _move(self, batch_idx: int) -> None:
        if self._bar:
            self._bar.update(self._task, completed=batch_idx + 1)

    def _end(self, runner: Runner) -> None:
        if self._bar:
            self._bar.stop()
            _log_to(runner, sys.stdout)


def _log_to(runner: Runner, stream) -> None:
    for handler in runner.logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setStream(stream)
