"""One run of a benchmark: a training and its evaluation, from a config to a record.

A run is a function of its config (made in :mod:`~jepa_t.benchmark.configs`), whichever process makes it. Its folder
bears the config's hash, so suites that ask for the same run share it, and a killed run goes on from its last
checkpoint.
"""

import copy
import dataclasses
import functools
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..engine import JEPATRunner, compat, set_threads
from ..engine.hooks import SpeedHook
from ..errors import UserError
from ..evaluation.verdicts import PromptMetric
from ..files import checkpoints, find_checkpoint, installed, write_atomically
from ..model import JEPAT
from ..registry import DATASETS, METRICS, build
from ..sampling import MaskedSampler
from ..trainable import unwrap
from .configs import TUNED_ON, source
from .reuse import take_backbone

GUIDANCE = (1.0, 1.5, 2.0, 3.0)  # scales tried on the validation prompts
TOLERATED = 0.02  # share of right images


class _Recorder(Hook):
    """Keeps the learning curve on disk and says how far the training is."""

    priority = "VERY_LOW"

    def __init__(self, folder: Path, notify: Callable[[int], object], metric: PromptMetric) -> None:
        self.file, self.notify, self.metric = folder / "curve.json", notify, metric
        self.curve: dict[str, dict] = json.loads(self.file.read_text()) if self.file.is_file() else {}

    def after_train_iter(self, _runner: Runner, batch_idx: int, **_) -> None:
        if batch_idx % 20 == 0:
            self.notify(batch_idx + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        self.curve[str(runner.iter)] = {n: value for n, value in metrics.items() if self.metric.is_headline(n)}
        write_atomically(self.file, lambda file: file.write(json.dumps(self.curve).encode()))


def execute(cfg: Config, folder: Path, notify: Callable[[int], object] = lambda _step: None) -> dict[str, Any]:
    """Train, tune the guidance on the validation prompts, test; or give the record if that has been done.

    Args:
        cfg: From :func:`configure`; a ``backbone`` in it is the hash of the run whose encoder and predictor it takes.
        folder: Where checkpoints, curve and record lie.
        notify: Called every 20 steps with the number of steps done.

    Returns:
        The record: steps, seconds, guidance scale, metrics, the outcome of each prompt, the learning curve.
    """
    record = folder / "record.json"
    if record.is_file():
        return json.loads(record.read_text())
    versions()  # of the source that runs, not of what may be edited meanwhile
    compat.apply()
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(folder)
    if "backbone" in cfg:
        take_backbone(cfg, folder)
    if checkpoints(folder):  # a kill may have come before last_checkpoint was written
        cfg.resume, cfg.load_from = True, find_checkpoint(str(folder))
    set_threads(cfg.threads)
    prompts, validation, chosen = prompt_sets(cfg)
    runner, metric = JEPATRunner.from_cfg(cfg), METRICS.build(cfg.test_evaluator)
    recorder = _Recorder(folder, notify, metric)
    runner.register_hook(recorder)
    runner.train()
    model = unwrap(runner.model).eval()
    scale, tried = tune(model, validation, metric, chosen)
    started = time.perf_counter()
    figures, columns = measure(model, prompts, metric)
    found = {
        "steps": cfg.train_cfg.max_iters,
        "train_seconds": next(hook.train_seconds for hook in runner.hooks if isinstance(hook, SpeedHook)),
        "test_seconds": time.perf_counter() - started,
        "guidance_scale": scale,
        "validation": tried,
        "metrics": figures,
        "outcomes": outcomes_of(columns, metric),
        "curve": recorder.curve,
        "versions": versions(),
        "machine": machine(),
    }
    write_atomically(record, lambda file: file.write(json.dumps(found).encode()))
    return found


def outcomes_of(columns: Mapping[str, Sequence[bool]], metric: PromptMetric) -> dict[str, str]:
    """For each figure that arms are compared by, a 1 or 0 per prompt."""
    return {name: "".join("01"[right] for right in c) for name, c in columns.items() if c and metric.is_headline(name)}


def prompt_sets(cfg: Config) -> tuple[Dataset, Dataset, list[int]]:
    """The prompts of the test and of validation, and which of the latter decide the guidance scale.

    Those of the split :data:`TUNED_ON` do whose caption the test doesn't ask.

    Raises:
        UserError: The test asks them all.
    """
    loaders = cfg.test_dataloader, cfg.val_dataloader
    prompts, validation = (build(loader.dataset.to_dict(), DATASETS) for loader in loaders)
    asked, rows = set(prompts.captions), zip(validation.splits, validation.captions, strict=True)
    chosen = [i for i, (split, caption) in enumerate(rows) if split == TUNED_ON and caption not in asked]
    if not chosen:
        raise UserError(f"the test asks every caption of the validation split {TUNED_ON!r}; ask fewer prompts")
    return prompts, validation, chosen


def tune(
    model: JEPAT, prompts: Dataset, metric: PromptMetric, chosen: Sequence[int]
) -> tuple[float | None, dict[str, float]]:
    """Set the smallest guidance scale of :data:`GUIDANCE` that does as well as the best, but for :data:`TOLERATED`.

    So that noise doesn't choose a large one, which costs likeness and diversity.

    Args:
        model: Draws with its averaged weights and its sampler, whose scale is set.
        prompts: Of validation.
        metric: The metric that goes with them.
        chosen: Which of them decide.

    Returns:
        The scale, and the share of right images by scale; None where the sampler is another than
        :class:`~jepa_t.sampling.MaskedSampler`.

    Raises:
        UserError: The metric has no such column.
    """
    if not isinstance(model.sampler, MaskedSampler):
        return None, {}
    hits, deciding = {}, f"{TUNED_ON}/{metric.headlines[0]}"
    for scale in GUIDANCE:
        model.sampler = dataclasses.replace(model.sampler, guidance_scale=scale)
        _, columns = measure(model, prompts, metric, chosen)
        if deciding not in columns:
            raise UserError(
                f"{type(metric).__name__}.columns has no {deciding!r}, by which the guidance scale is chosen; give "
                "it one (docs/benchmark.md)"
            )
        hits[scale] = sum(columns[deciding])
    best = min(scale for scale in GUIDANCE if max(hits.values()) - hits[scale] <= TOLERATED * len(chosen))
    model.sampler = dataclasses.replace(model.sampler, guidance_scale=best)
    return best, {str(scale): found / len(chosen) for scale, found in hits.items()}


def measure(
    model: JEPAT, prompts: Dataset, metric: PromptMetric, indices: Sequence[int] | None = None, batch_size: int = 200
) -> tuple[dict[str, float], dict[str, list[bool]]]:
    """Draw for prompts and judge: the figures, and for each share the outcome of every prompt.

    Args:
        model: Draws with its averaged weights and its sampler.
        prompts: Such as :class:`~jepa_t.worlds.shapes.ShapePrompts`.
        metric: The metric that goes with them.
        indices: Which of them; by default all.
        batch_size: Images drawn at once.
    """
    metric.results.clear()
    indices = range(len(prompts)) if indices is None else indices
    for start in range(0, len(indices), batch_size):
        metric.process(None, model.test_step(prompts.__getitems__(list(indices[start : start + batch_size]))))
    figures = metric.compute_metrics(metric.results) if len(indices) == len(prompts) else {}
    return figures, metric.columns(metric.results)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a figure depends on, the library's :func:`~jepa_t.benchmark.configs.source` among them."""
    found = {"python": platform.python_version(), "source": source()}
    return found | {name: installed(name) for name in ("jepa_t", "torch", "mmengine", "numpy")}


def machine() -> str:
    """The kind of machine, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} CPU ({capability}), one thread"
