"""The training loop: by steps of the optimizer, each a pure function of (weights, seed, step)."""

import random
import time
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader

from ..contracts import ImageTokenizer
from ..data.sets import PromptSet, TrainingSet
from ..errors import UserError, check_integer
from ..registry import LOOPS
from ..tokenizers.maps import check_images
from ..tokenizers.training import TokenizerTraining
from ..trainable import unwrap
from .checkpoint import last_checkpoint
from .compat import end_workers
from .sampler import SeededSampler, mix

MOST_STEPS = 10**9  # years of training


def seed_batch(seed: int, number: int, rank: int) -> int:
    """Give one batch of one process its own randomness, whatever happened before it.

    Returns:
        A seed that is the same on all processes, for what must not depend on how many they are.
    """
    mixed = mix(seed, number, rank + 1)
    torch.default_generator.manual_seed(mixed)
    if torch.cuda.is_initialized():  # torch.manual_seed would record a stack trace per step where it isn't
        torch.cuda.manual_seed_all(mixed)
    random.seed(mixed)
    np.random.seed(mixed)
    return mix(seed, number, 0)


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Train for ``max_iters`` steps of the optimizer.

    A step is a whole accumulation: one batch from each process, ``optim_wrapper.accumulative_counts`` times over.
    Schedules, the average, log lines, checkpoints and ``max_iters`` all count such steps.

    Every batch is reseeded and the sampler can go to any place, so N + M steps equal N steps, a stop, and M
    more, bit for bit.

    Args:
        runner: The runner.
        dataloader: A loader, or its config, with a :class:`~jepa_t.engine.SeededSampler`.
        max_iters: Steps in all, those before a resume included.
        total_batch: Samples of a step, of all processes together, in the place of the loader's ``batch_size``,
            which follows from it.
        val_interval: Steps between two validations; 0 for none.

    Raises:
        UserError: A number is out of range, the total can't be shared equally, or the sampler is another.

    Attributes:
        accumulated: Batches of a process in one step.
        total_batch: Samples of a step.
        samples: Samples seen since the start of the training.
    """

    max_epochs = 1  # MMEngine's name for "the whole training is one pass"

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        total_batch: int | None = None,
        val_interval: int = 0,
    ) -> None:
        if check_integer("train_cfg.max_iters", max_iters) > MOST_STEPS:
            raise UserError(f"train_cfg.max_iters is {max_iters}; it is at most {MOST_STEPS}")
        self.max_iters = max_iters
        self.accumulated = _accumulated(runner.optim_wrapper)
        if total_batch is not None:
            dataloader = dict(dataloader, batch_size=self._share(total_batch, dataloader, runner.world_size))
        super().__init__(runner, dataloader)
        self.total_batch = self.dataloader.batch_size * self.accumulated * runner.world_size
        self.samples = 0
        if not isinstance(self.dataloader.sampler, SeededSampler):
            name = type(self.dataloader.sampler).__name__
            raise UserError(f"train_dataloader.sampler is a {name}; use a SeededSampler, or a class derived from it")
        self.val_interval = check_integer("train_cfg.val_interval", val_interval, 0)
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
        """Train to the end, or until ``stop_training`` is set.

        Raises:
            UserError: As hooks and steps do; or a tokenizer that is trained alone reads images of another size.
        """
        runner = self.runner
        if isinstance(model := unwrap(runner.model), TokenizerTraining):
            self._check_sizes(model.tokenizer)
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        if self._iter:  # of a resume; older checkpoints don't say how many
            self.samples = runner.checkpoint_meta.get("train_samples", self._iter * self.total_batch)
        self.dataloader.sampler.skip(self.samples)
        runner.optim_wrapper.initialize_count_status(runner.model, 0, -1)  # it counts batches, and without an end
        batches = iter(self.dataloader)
        runner.model.train()
        try:
            if self._iter:  # of a resume: the checkpoint of a step is written before its validation
                self._validate()
            while self._iter < self.max_iters and not self.stop_training:
                self.step_started = time.perf_counter()
                self._step(batches)
                self._validate()
        finally:
            end_workers(batches)
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        return runner.model

    def _validate(self) -> None:
        if self.val_interval and self._iter % self.val_interval == 0:
            self.runner.val_loop.run()
            self.runner.model.train()

    def _check_sizes(self, tokenizer: ImageTokenizer) -> None:
        prompts = self.runner.test_loop.dataloader.dataset if self.runner.test_loop else None
        if isinstance(self.dataloader.dataset, TrainingSet):
            self.dataloader.dataset.check_size(tokenizer, "model.tokenizer")
        if isinstance(prompts, PromptSet) and prompts.images is not None:
            check_images(prompts.images, tokenizer.grid, tokenizer.stride, "test_dataloader.dataset")

    def _step(self, batches: Iterator[dict]) -> None:
        runner, step = self.runner, [next(batches) for _ in range(self.accumulated)]
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=step[-1])
        sums: dict[str, Tensor] = defaultdict(float)
        try:
            for place, batch in enumerate(step):
                seed = seed_batch(runner.seed, self._iter * self.accumulated + place, runner.rank)
                batch["data_samples"]["seed"] = seed
                for name, value in runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper).items():
                    sums[name] += value.detach()
            self.samples += self.total_batch
            outputs = {name: value / self.accumulated for name, value in sums.items()}
            # Of a GPU, log lines and checkpoints are where a bad number is noticed.
            runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=step[-1], outputs=outputs)
        except FloatingPointError as error:
            raise UserError(self._diagnosis(error, step)) from error
        self._iter += 1

    def _share(self, total: int, dataloader: DataLoader | dict, processes: int) -> int:
        parts = processes * self.accumulated
        if not isinstance(dataloader, dict) or "batch_size" in dataloader:
            raise UserError("train_cfg.total_batch and train_dataloader.batch_size say the same; give one of them")
        if check_integer("train_cfg.total_batch", total) % parts:
            near = max(round(total / parts), 1) * parts
            raise UserError(
                f"train_cfg.total_batch is {total}, which {processes} processes times {self.accumulated} accumulated "
                f"batches can't share equally; use {near}, or another number of either"
            )
        return total // parts

    def _diagnosis(self, error: FloatingPointError, step: list[dict]) -> str:
        captions = ""
        if not self.runner.optim_wrapper.deferred:  # told later, it may have been another batch
            first = [caption for batch in step for caption in batch["data_samples"]["caption"]][:3]
            captions = f"Captions of the batch: {'; '.join(first)} ... "
        return (
            f"step {self._iter + 1}: {error}, so the weights were left as they were. "
            f"{captions}Last checkpoint: {last_checkpoint(self.runner)}. "
            "Lower optim_wrapper.optimizer.lr, or set optim_wrapper.precision=fp32"
        )


def _accumulated(optim_wrapper: OptimWrapper | dict) -> int:
    """Batches of an accumulation, of a wrapper or of the config from which it will be built."""
    if isinstance(optim_wrapper, OptimWrapper):
        return optim_wrapper._accumulative_counts
    return check_integer("optim_wrapper.accumulative_counts", optim_wrapper.get("accumulative_counts", 1))
