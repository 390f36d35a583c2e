"""Hooks that prepare and measure a training."""

import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook, IterTimerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..contracts import Fitted
from ..data.sets import HoldsTokens, PromptSet, TrainingSet, check_inputs
from ..errors import UserError, check_integer, first_line
from ..evaluation.verdicts import PromptMetric
from ..model import JEPAT
from ..registry import HOOKS
from ..rehearsal import doubts, rehearse
from ..tokenizers.encoding import encode
from ..tokenizers.kl import KLTokenizer
from ..trainable import unwrap
from .display import PreviewHook
from .runner import log_interval

LINES = 21  # of the log, whose speed counts for the time left


@HOOKS.register_module()
class FitTokenizersHook(Hook):
    """Fit the tokenizers that learn from data, unless a checkpoint brought fitted ones.

    Fitting is deterministic, so each process fits for itself.
    """

    def before_train(self, runner: Runner) -> None:
        """Let the model fit on the training images ``[N, 3, H, W]`` in [-1, 1], if it must, and their captions.

        Raises:
            UserError: The data set is no `TrainingSet`, refuses a tokenizer, or its images are none in [-1, 1].
        """
        dataset, model = runner.train_dataloader.dataset, unwrap(runner.model)
        if not isinstance(dataset, TrainingSet):
            name = type(dataset).__name__
            raise UserError(f"train_dataloader.dataset is a {name}; derive it from jepa_t.data.TrainingSet")
        dataset.check(model.image_tokenizer, model.network.text_tokenizer)
        unfitted = isinstance(model.image_tokenizer, Fitted) and not model.image_tokenizer.fitted
        images = dataset.images if unfitted else None  # those on a disk aren't read for nothing
        if images is not None:
            check_inputs(f"train_dataloader.dataset, {type(dataset).__name__},", images)
        model.fit(images, dataset.captions)


@HOOKS.register_module()
class RehearsalHook(Hook):
    """Before step 1, go once through all that the training will do (:mod:`jepa_t.rehearsal`)."""

    def before_train(self, runner: Runner) -> None:
        """Rehearse with two samples of the training data, and read the captions of the previews and of the test.

        Raises:
            UserError: A component breaks its contract, a loader gives other batches, or a caption can't be read.
        """
        model = unwrap(runner.model)
        batch = first_batch("train_dataloader", runner.train_dataloader)
        if runner.test_loop:
            first_batch("test_dataloader", runner.test_loop.dataloader)
        if not isinstance(model, JEPAT):
            return
        for line in doubts(model):
            runner.logger.warning(line)
        previews = [hook for hook in runner.hooks if isinstance(hook, PreviewHook)]
        later = {"PreviewHook captions": [caption for hook in previews for caption in hook.captions]}
        prompts = runner.test_loop.dataloader.dataset if runner.test_loop else None
        if isinstance(prompts, PromptSet):
            later["test_dataloader"] = list(dict.fromkeys(prompts.captions))
        data = model.data_preprocessor(batch, training=True)
        drawn = rehearse(model, data["inputs"], data["data_samples"]["caption"], later)
        if isinstance(prompts, PromptSet) and prompts.images is None:
            judge(runner.test_loop.evaluator.metrics, prompts, drawn)


def first_batch(name: str, loader: DataLoader) -> dict:
    """A batch of a loader's first two samples, which must be ``inputs`` and ``data_samples``.

    Raises:
        UserError: It is another, which the loader called ``name`` gives where its ``collate_fn`` is wrong; or the
            inputs are no images in [-1, 1].
    """
    samples = loader.dataset.__getitems__(list(range(min(2, len(loader.dataset)))))
    try:
        batch = loader.collate_fn(samples)
        given = sorted(batch) if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        batch, given = {}, f"{type(error).__name__}: {first_line(error)}"
    if not batch or not {"inputs", "data_samples"} <= batch.keys():
        raise UserError(
            f"{name}.collate_fn gives {given} in the place of a batch with 'inputs' and 'data_samples'; the data set's "
            "batches are whole already: use dict(type='keep_batch')"
        )
    if batch["inputs"] is not None:  # as of prompts
        check_inputs(f"{name}.dataset, {type(loader.dataset).__name__},", batch["inputs"])
    return batch


def judge(metrics: Sequence[BaseMetric], prompts: PromptSet, images: torch.Tensor) -> None:
    """Let the metrics that judge by prompts look at two images ``[2, 3, H, W]``, and forget them.

    Raises:
        UserError: Prompts, images and a metric don't go together.
    """
    samples = prompts.__getitems__([0, len(prompts) - 1])["data_samples"]
    rows = [dict(zip(samples, row, strict=True)) for row in zip(*samples.values(), strict=True)]
    rows = [row | {"image": image} for row, image in zip(rows, images, strict=True)]
    for metric in metrics:
        if isinstance(metric, PromptMetric):
            try:
                metric.process(None, rows)
            except (KeyError, IndexError, TypeError) as error:
                raise UserError(
                    f"{type(metric).__name__} can't judge the prompts of test_dataloader: {type(error).__name__}: "
                    f"{first_line(error)}"
                ) from error
            metric.results.clear()


@HOOKS.register_module()
class HoldTokensHook(Hook):
    """Encode the training images once, and let the data set hold their tokens, for tokenizers that cost time.

    Args:
        at_once: Images that are encoded at once.
    """

    priority = "BELOW_NORMAL"  # once the tokenizer has been fitted

    def __init__(self, at_once: int = 64) -> None:
        self.at_once = check_integer("HoldTokensHook at_once", at_once)

    @torch.no_grad()
    def before_train(self, runner: Runner) -> None:
        """Encode the images, and let the data set hold their tokens.

        Raises:
            UserError: The data set can't hold tokens, or the tokenizer draws them.
        """
        self.hold(runner.train_dataloader.dataset, unwrap(runner.model))

    def hold(self, dataset: Any, model: JEPAT) -> None:
        """Encode the images of a data set with a model's tokenizer, and let it hold their tokens.

        Raises:
            UserError: As :meth:`before_train`.
        """
        if not isinstance(dataset, HoldsTokens):
            raise UserError(f"{type(dataset).__name__} can't hold tokens; leave out the HoldTokensHook")
        if isinstance(model.image_tokenizer, KLTokenizer) and model.image_tokenizer.posterior == "sample":
            raise UserError("HoldTokensHook holds one draw of each image; set image_tokenizer.posterior='mode'")
        device = next(model.parameters()).device
        parts = [encode(model.image_tokenizer, part.to(device)) for part in dataset.images.split(self.at_once)]
        dataset.hold(torch.cat(parts).cpu())


@HOOKS.register_module()
class MeanLossHook(RuntimeInfoHook):
    """Log each loss as its mean since the last log line.

    MMEngine reads every loss from the device at every step, and copies its whole log history each time. Here
    the sums stay on the device and are read once per log line.
    """

    def before_train(self, runner: Runner) -> None:
        """Start with empty sums."""
        super().before_train(runner)
        self._sums: dict[str, torch.Tensor] = {}
        self._steps = 0

    def before_train_iter(self, runner: Runner, **_) -> None:
        """Publish the step's number."""
        runner.message_hub.update_info("iter", runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, outputs: dict, **_) -> None:
        """Add the losses up; at a log line, publish their means, the learning rate and the gradient norm."""
        for name, value in outputs.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        if (batch_idx + 1) % log_interval(runner):
            return
        hub, wrapper = runner.message_hub, runner.optim_wrapper
        means = (torch.stack([total.float() for total in self._sums.values()]) / self._steps).tolist()
        for name, mean in zip(self._sums, means, strict=True):
            hub.update_scalar(f"train/{name}", mean)
        for name, rates in wrapper.get_lr().items():
            hub.update_scalar(f"train/{name}", rates[0])
        hub.update_scalar("train/grad_norm", wrapper.grad_norm)
        self._sums, self._steps = {}, 0


@HOOKS.register_module()
class SpeedHook(IterTimerHook):
    """Log the speed, and keep the seconds of pure training in the checkpoint.

    Pure training is fetching, the step and the averaging, without checkpoints, previews and validation.
    """

    def before_train(self, runner: Runner) -> None:
        """Go on counting where a resumed checkpoint stopped."""
        super().before_train(runner)
        self.train_seconds = runner.checkpoint_meta.get("train_seconds", 0.0) if runner.iter else 0.0
        self._paces: deque[float] = deque(maxlen=LINES)
        self._clear()

    def before_train_iter(self, runner: Runner, **_) -> None:
        """Note how long the batch took to come."""
        self._waiting += time.perf_counter() - runner.train_loop.step_started

    def after_train_iter(self, runner: Runner, batch_idx: int, **_) -> None:
        """Count the step; at a log line, publish seconds per step, images per second and the time left.

        The time left follows from the median of the last lines, so that no pause makes it jump.
        """
        elapsed = time.perf_counter() - runner.train_loop.step_started
        self.train_seconds += elapsed
        self._seconds += elapsed
        self._steps += 1
        if (batch_idx + 1) % log_interval(runner):
            return
        hub, step = runner.message_hub, self._seconds / self._steps
        hub.update_scalar("train/time", step)
        hub.update_scalar("train/data_time", self._waiting / self._steps)
        hub.update_scalar("train/images_per_second", runner.train_loop.total_batch / step)
        self._paces.append((time.perf_counter() - self._began) / self._steps)
        hub.update_info("eta", statistics.median(self._paces) * (runner.max_iters - batch_idx - 1))
        self._clear()

    def before_save_checkpoint(self, _runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Write ``train_seconds`` and ``train_steps`` into the checkpoint's meta."""
        checkpoint["meta"].update(train_seconds=self.train_seconds, train_steps=checkpoint["meta"]["iter"])

    def _clear(self) -> None:
        self._began, self._seconds, self._waiting, self._steps = time.perf_counter(), 0.0, 0.0, 0
