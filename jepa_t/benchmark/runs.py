"""One run of a benchmark: a training and its evaluation, from a config to a record.

A run is a function of its config, whichever process makes it. Its folder bears the config's hash, so suites that
ask for the same run share it, and a killed run goes on from its last checkpoint.
"""

import copy
import dataclasses
import functools
import hashlib
import importlib.util
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from ..engine import JEPATRunner, compat, find_checkpoint, load_config, set_threads
from ..engine.compat import write_whole
from ..engine.hooks import SpeedHook
from ..engine.runner import installed, unwrap
from ..errors import UserError
from ..model import JEPAT
from ..registry import DATASETS, METRICS, MODELS, build, plugins, resolve
from ..tokenizers.quantized_autoencoder import trained_checkpoint

GUIDANCE = (1.0, 1.5, 2.0, 3.0)  # scales tried on the validation prompts
TUNED_ON = "seen"  # the split of the validation prompts that decides the guidance scale
TOLERATED = 0.02  # share of right pictures
VALIDATION_SEED = 2  # of the prompts; the test prompts have another
POINTS = 8  # of the learning curve
MASKS = 8  # over which operations are averaged
TOLERANCE = 0.02  # by which parameter counts may differ


def configure(
    path: str | Path,
    changes: dict | None = None,
    seed: int = 0,
    steps: int | None = None,
    prompts: int | None = None,
    validation: Sequence[str] | None = None,
) -> Config:
    """A config made ready for a benchmark: silent, one thread, with validation prompts of another seed.

    Args:
        path: A config file.
        changes: Merged into it.
        seed: Of weights, data, their order, masks and noise.
        steps: Of training; the learning rate's schedule is stretched along. None leaves the config's.
        prompts: Per split of the test, and half as many for validation; None leaves the config's.
        validation: Splits of the validation prompts, besides ``seen``; by default those of the test.

    Raises:
        UserError: The config is wrong, or has no test prompts to validate and test with.
    """
    cfg = load_config(str(path), changes=changes)
    for key in ("train_dataloader", "train_cfg", "test_dataloader", "test_evaluator"):
        if cfg.get(key) is None:
            raise UserError(f"{path} has no {key}; a benchmark needs one")
    if cfg.model.type not in ("JEPAT", JEPAT) or not isinstance(cfg.test_evaluator, dict):
        raise UserError(f"{path} is no benchmark's: it needs a model of type JEPAT and one test_evaluator")
    if not hasattr(resolve(cfg.test_evaluator.type, METRICS), "columns"):
        raise UserError(
            f"{path}: test_evaluator {cfg.test_evaluator.type!r} doesn't tell which prompts came out right, which a "
            "benchmark compares; use DigitsMetric, ShapesMetric or one with `columns` of your own"
        )
    for variable in [key for key in cfg if key.startswith("_")]:  # a config's own, of which nothing depends
        cfg.pop(variable)
    cfg.threads = 1  # more would wait for each other, and make the result depend on the machine
    per_split = prompts or cfg.test_dataloader.dataset.get("per_split", 200)
    cfg.test_dataloader.dataset.per_split = per_split
    cfg.val_dataloader = copy.deepcopy(cfg.test_dataloader)
    cfg.val_dataloader.dataset.update(seed=VALIDATION_SEED, per_split=max(per_split // 4 * 2, 2))
    splits = validation or cfg.test_dataloader.dataset.get("splits", ())
    if splits:
        cfg.val_dataloader.dataset.splits = tuple(dict.fromkeys((TUNED_ON, *splits)))
    cfg.val_evaluator, cfg.val_cfg = cfg.test_evaluator, {"type": "ValLoop"}
    cfg.default_hooks.checkpoint = {"type": "SafeCheckpointHook", "interval": 1, "max_keep_ckpts": 1}
    stretch(cfg, steps or cfg.train_cfg.max_iters)
    cfg.default_hooks.pop("progress", None)
    cfg.custom_hooks = [hook for hook in cfg.get("custom_hooks", []) if hook["type"] != "PreviewHook"]
    cfg.visualizer = {"type": "Visualizer", "vis_backends": []}
    cfg.log_level = "WARNING"
    cfg.work_dir = ""
    return with_seed(cfg, seed)


def with_seed(cfg: Config, seed: int) -> Config:
    """The same run with another seed of weights, data, their order, masks and noise."""
    cfg = copy.deepcopy(cfg)
    cfg.randomness = {"seed": seed}
    cfg.train_dataloader.dataset.seed = seed
    return cfg


def stretch(cfg: Config, steps: int) -> None:
    """Give a run other ``steps``, its learning rate's schedule, curve and checkpoints stretched along."""
    share = steps / cfg.train_cfg.max_iters
    cfg.train_cfg.max_iters = steps
    cfg.train_cfg.val_interval = cfg.default_hooks.checkpoint.interval = max(steps // POINTS, 1)
    for part in [part for part in cfg.get("param_scheduler", []) if "end" in part]:
        begin = round(part.get("begin", 0) * share)
        part.update(begin=begin, end=max(round(part["end"] * share), begin + 1))


def config_hash(cfg: Config) -> str:
    """What identifies a run: 16 hexadecimal digits of the SHA-256 of its config and of the files it names.

    These are the checkpoint of a tokenizer, and the modules of components of one's own, all plug-ins among them. The
    library itself is not; each record says which source made it.

    Raises:
        UserError: The tokenizer has no checkpoint yet.
    """
    digest = hashlib.sha256(json.dumps(cfg.to_dict(), sort_keys=True, default=repr).encode())
    tokenizer = cfg.model.image_tokenizer.get("checkpoint")
    files = [trained_checkpoint(tokenizer)] if tokenizer else []
    modules = {kind.rpartition(".")[0] for kind in _types(cfg.to_dict()) if "." in kind}
    modules |= {point.module for point in plugins()}
    for module in sorted(modules | set(cfg.get("custom_imports", {}).get("imports", []))):
        try:
            spec = importlib.util.find_spec(module)
        except ImportError:  # of a broken plug-in, which has been named and skipped
            continue
        files += [spec.origin] if spec and spec.origin else []
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16]


def _types(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "type" and isinstance(value, str))
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else []:
        yield from _types(child)


def trainable_parameters(cfg: Config) -> int:
    """How many weights a config trains."""
    model = build(cfg.model.to_dict(), MODELS)
    return sum(parameter.numel() for parameter in model.network.parameters() if parameter.requires_grad)


def match_parameters(cfg: Config, target: int) -> Config:
    """The config with a denoising head so wide that about ``target`` weights are trained.

    Raises:
        UserError: No width comes within 2 % of it.
    """
    cfg = copy.deepcopy(cfg)
    heads = [options for options in cfg.model.objectives.values() if "head_width" in options]

    def count(width: int) -> int:
        for options in heads:
            options.head_width = width
        return trainable_parameters(cfg)

    low, high = 1, 4 * max((options.head_width for options in heads), default=1)
    while high - low > 1 and heads:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= target else (low, middle)
    found = count(low)
    if abs(found / target - 1) > TOLERANCE:
        found = count(high)
    if abs(found / target - 1) > TOLERANCE:
        raise UserError(
            f"{cfg.filename} trains {found} weights at best, the reference {target}; they must agree within "
            f"{TOLERANCE:.0%}: change the config, or don't match (--no-match)"
        )
    return cfg


def step_flops(cfg: Config) -> int:
    """Floating-point operations of a training step, forward and backward: the mean over :data:`MASKS` masks.

    Counted on random pictures with attention as plain products, since fused kernels go uncounted on a CPU.
    """
    model = build(cfg.model.to_dict(), MODELS)
    tokenizer = model.image_tokenizer
    batch = cfg.train_dataloader.batch_size
    images = torch.rand(batch, 3, *(side * tokenizer.stride for side in tokenizer.grid))
    captions = ["a red circle left of a blue square"] * batch
    model.fit(images, captions)
    torch.manual_seed(0)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        for _ in range(MASKS):
            sum(model.loss(images, captions).values()).backward()
    return counter.get_total_flops() // MASKS


class _Recorder(Hook):
    """Keeps the learning curve on disk and says how far the training is."""

    priority = "VERY_LOW"

    def __init__(self, folder: Path, notify: Callable[[int], object]) -> None:
        self.file, self.notify = folder / "curve.json", notify
        self.curve: dict[str, dict] = json.loads(self.file.read_text()) if self.file.is_file() else {}

    def before_train(self, runner: Runner) -> None:
        """After a kill between checkpoint and validation, make up for the validation."""
        interval = runner.train_loop.val_interval
        if runner.iter and runner.iter % interval == 0 and str(runner.iter) not in self.curve:
            runner.val_loop.run()

    def after_train_iter(self, _runner: Runner, batch_idx: int, **_) -> None:
        if batch_idx % 20 == 0:
            self.notify(batch_idx + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        self.curve[str(runner.iter)] = {name: value for name, value in metrics.items() if _headline(name)}
        write_whole(self.file, lambda file: file.write(json.dumps(self.curve).encode()))


def _headline(name: str) -> bool:
    return not name.startswith("oracle") and name.endswith(("/all", "swap_group"))


def execute(cfg: Config, folder: Path, notify: Callable[[int], object] = lambda _step: None) -> dict[str, Any]:
    """Train, tune the guidance on the validation prompts, test; or give the record if that has been done.

    Args:
        cfg: From :func:`configure`.
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
    if (folder / "last_checkpoint").is_file():
        cfg.resume, cfg.load_from = True, find_checkpoint(str(folder))
    set_threads(cfg.threads)
    prompts, validation, chosen = prompt_sets(cfg)
    runner = JEPATRunner.from_cfg(cfg)
    recorder = _Recorder(folder, notify)
    runner.register_hook(recorder)
    runner.train()
    model, metric = unwrap(runner.model).eval(), METRICS.build(cfg.test_evaluator)
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
        "outcomes": outcomes_of(columns),
        "curve": recorder.curve,
        "versions": versions(),
        "machine": machine(),
    }
    write_whole(record, lambda file: file.write(json.dumps(found).encode()))
    return found


def outcomes_of(columns: Mapping[str, Sequence[bool]]) -> dict[str, str]:
    """For each figure that says all is right, a 1 or 0 per prompt."""
    return {name: "".join("01"[right] for right in c) for name, c in columns.items() if c and _headline(name)}


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
    model: JEPAT, prompts: Dataset, metric: BaseMetric, chosen: Sequence[int]
) -> tuple[float | None, dict[str, float]]:
    """Set the smallest guidance scale of :data:`GUIDANCE` that does as well as the best, but for :data:`TOLERATED`.

    So that noise doesn't choose a large one, which costs likeness and diversity.

    Args:
        model: Draws with its averaged weights and its sampler, whose scale is set.
        prompts: Of validation.
        metric: The metric that goes with them.
        chosen: Which of them decide.

    Returns:
        The scale, and the share of right pictures by scale; None where the sampler has no scale.
    """
    if not hasattr(model.sampler, "guidance_scale"):
        return None, {}
    hits = {}
    for scale in GUIDANCE:
        model.sampler = dataclasses.replace(model.sampler, guidance_scale=scale)
        _, columns = measure(model, prompts, metric, chosen)
        hits[scale] = sum(columns[f"{TUNED_ON}/all"])
    best = min(scale for scale in GUIDANCE if max(hits.values()) - hits[scale] <= TOLERATED * len(chosen))
    model.sampler = dataclasses.replace(model.sampler, guidance_scale=best)
    return best, {str(scale): found / len(chosen) for scale, found in hits.items()}


def measure(
    model: JEPAT, prompts: Dataset, metric: BaseMetric, indices: Sequence[int] | None = None, batch_size: int = 200
) -> tuple[dict[str, float], dict[str, list[bool]]]:
    """Draw for prompts and judge: the figures, and for each share the outcome of every prompt.

    Args:
        model: Draws with its averaged weights and its sampler.
        prompts: Such as :class:`~jepa_t.data.ShapePrompts`.
        metric: The metric that goes with them.
        indices: Which of them; by default all.
        batch_size: Pictures drawn at once.
    """
    metric.results.clear()
    indices = range(len(prompts)) if indices is None else indices
    for start in range(0, len(indices), batch_size):
        metric.process(None, model.test_step(prompts.__getitems__(list(indices[start : start + batch_size]))))
    figures = metric.compute_metrics(metric.results) if len(indices) == len(prompts) else {}
    return figures, metric.columns(metric.results)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a figure depends on; ``source`` is a hash of this library's files."""
    package = Path(__file__).parents[1]
    source = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(package.rglob("*.py")))).hexdigest()[:8]
    found = {"python": platform.python_version(), "source": source}
    return found | {name: installed(name) for name in ("jepa_t", "torch", "mmengine", "numpy")}


def machine() -> str:
    """The kind of machine, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} CPU ({capability}), one thread"
