"""The training loop: by steps, each a pure function of (weights, seed, step, process)."""

import random
import time
from typing import Any

import numpy as np
import torch
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from ..errors import UserError
from ..registry import LOOPS
from .sampler import mix


def seed_step(seed: int, step: int, rank: int) -> None:
    """Give one step of one process its own randomness, whatever happened before it."""
    mixed = mix(seed, step, rank)
    torch.default_generator.manual_seed(mixed)
    if torch.cuda.is_initialized():  # torch.manual_seed would record a stack trace per step where it isn't
        torch.cuda.manual_seed_all(mixed)
    random.seed(mixed)
    np.random.seed(mixed)


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Train for ``max_iters`` steps.

    Every step is reseeded and the sampler can go to any place, so N + M steps equal N steps, a stop, and M
    more, bit for bit.

    Args:
        runner: The runner.
        dataloader: A loader, or its config, whose sampler can ``skip``.
        max_iters: Steps in all, those before a resume included.
        val_interval: Steps between two validations; 0 for none.

    Raises:
        UserError: A number is out of range, or the sampler can't skip.
    """

    max_epochs = 1  # MMEngine's name for "the whole training is one pass"

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, max_iters: int, val_interval: int = 0) -> None:
        if not isinstance(max_iters, int) or max_iters < 1:
            raise UserError(f"train_cfg.max_iters is {max_iters!r}; it must be a whole number of at least 1")
        super().__init__(runner, dataloader)
        if not hasattr(self.dataloader.sampler, "skip"):
            name = type(self.dataloader.sampler).__name__
            raise UserError(f"train_dataloader.sampler is a {name}, which can't skip; use type='SeededSampler'")
        self.max_iters = max_iters
        self.val_interval = val_interval
        self.stop_training = False  # hooks set it to end the training after the current step
        self.step_started = 0.0  # when the current step began to fetch its batch, by time.perf_counter
        self._epoch = self._iter = 0  # MMEngine's resume writes these two

    @property
    def epoch(self) -> int:
        """Always 0: the whole training is one pass."""
        return self._epoch

    @property
    def iter(self) -> int:
        """Steps done."""
        return self._iter

    def run(self) -> torch.nn.Module:
        """Train to the end, or until ``stop_training`` is set."""
        runner = self.runner
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        self.dataloader.sampler.skip(self._iter * self.dataloader.batch_size)
        batches = iter(self.dataloader)
        runner.model.train()
        while self._iter < self.max_iters and not self.stop_training:
            self.step_started = time.perf_counter()
            self._step(next(batches))
            if self.val_interval and self._iter % self.val_interval == 0:
                runner.val_loop.run()
                runner.model.train()
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        return runner.model

    def _step(self, batch: dict) -> None:
        runner = self.runner
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batch)
        seed_step(runner.seed, self._iter, runner.rank)
        try:
            outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        except FloatingPointError as error:
            raise UserError(self._diagnosis(error, batch)) from error
        runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batch, outputs=outputs)
        self._iter += 1

    def _diagnosis(self, error: FloatingPointError, batch: dict[str, Any]) -> str:
        captions = "; ".join(batch["data_samples"]["caption"][:3])
        saved = self.runner.message_hub.runtime_info.get("last_ckpt", "none yet")
        return (
            f"step {self._iter + 1}: {error}, so the weights were left as they were. "
            f"Captions of the batch: {captions} ... Last checkpoint: {saved}. "
            "Lower optim_wrapper.optimizer.lr, or set optim_wrapper.precision=fp32"
        )
