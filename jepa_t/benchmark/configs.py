"""A config made ready for a benchmark: with validation prompts, another seed or length, matched parameters, a hash."""

import copy
import functools
import glob
import hashlib
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ..data.captioned_files import MANIFESTS, Manifest
from ..engine import load_config
from ..errors import UserError
from ..evaluation.verdicts import PromptMetric
from ..files import find_checkpoint
from ..model import JEPAT
from ..registry import DATASETS, METRICS, MODELS, build, plugins, resolve
from ..tokenizers.training import trained_checkpoint
from .cost import training

TUNED_ON = "seen"  # the split of the validation prompts that decides the guidance scale
VALIDATION_SEED = 2  # of the prompts; the test prompts have another
POINTS = 8  # of the learning curve
# Of a schedule, in steps; "warmup" and "decay" where they are whole numbers.
TIMES = {"begin", "end", "milestones", "T_max", "step_size", "total_steps", "periods", "warmup", "decay"}
# Options that may name a file.
SOURCES = ("source", "root", "folder", "names", "templates", "model", "weights", "pretrained")
READ = 2**14  # bytes of a data set's file; of a larger one the time of change tells
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
        changes: Merged into it; a fusion takes the place of its own.
        seed: Of weights, data, their order, masks and noise.
        steps: Of training; the learning rate's schedule is stretched along. None leaves the config's.
        prompts: Per split of the test, and half as many for validation; None leaves the config's.
        validation: Splits of the validation prompts, besides ``seen``; by default those of the test.

    Raises:
        UserError: The config is wrong, or has no test prompts to validate and test with.
    """
    cfg = _load(path, copy.deepcopy(changes or {}))
    for variable in [key for key in cfg if key.startswith("_")]:  # a config's own, of which nothing depends
        cfg.pop(variable)
    per_split = prompts or cfg.test_dataloader.dataset.get("per_split", 200)
    cfg.test_dataloader.dataset.per_split = per_split
    cfg.val_dataloader = copy.deepcopy(cfg.test_dataloader)
    cfg.val_dataloader.dataset.update(seed=VALIDATION_SEED, per_split=max(per_split // 4 * 2, 2))
    if splits := validation or cfg.test_dataloader.dataset.get("splits", ()):
        cfg.val_dataloader.dataset.splits = tuple(dict.fromkeys((TUNED_ON, *splits)))
    cfg.val_evaluator, cfg.val_cfg = cfg.test_evaluator, {"type": "ValLoop"}
    cfg.default_hooks.checkpoint = {"type": "SafeCheckpointHook", "interval": 1, "max_keep_ckpts": 1}
    stretch(cfg, steps or cfg.train_cfg.max_iters)
    _silence(cfg)
    return with_seed(cfg, seed)


def _load(path: str | Path, changes: dict) -> Config:
    """A config that a benchmark can run."""
    fusion = changes.get("model", {}).pop("fusion", None)
    cfg = load_config(str(path), changes=changes)
    if fusion is not None:  # in the place of the config's own: merged they would be a third
        cfg.model.fusion = fusion
    for key in ("train_dataloader", "train_cfg", "test_dataloader", "test_evaluator"):
        if cfg.get(key) is None:
            raise UserError(f"{path} has no {key}; a benchmark needs one")
    model = resolve(cfg.model.type, MODELS)
    if not (isinstance(model, type) and issubclass(model, JEPAT)) or not isinstance(cfg.test_evaluator, dict):
        raise UserError(f"{path} is no benchmark's: it needs a model of type JEPAT and one test_evaluator")
    if not issubclass(resolve(cfg.test_evaluator.type, METRICS), PromptMetric):
        raise UserError(
            f"{path}: test_evaluator {cfg.test_evaluator.type!r} doesn't tell which prompts came out right, which a "
            "benchmark compares; use DigitsMetric, ShapesMetric, EmojiMetric, RetrievalMetric or a "
            "PromptMetric of your own"
        )
    return cfg


def _silence(cfg: Config) -> None:
    cfg.threads = 1  # more would wait for each other, and make the result depend on the machine
    cfg.default_hooks.pop("progress", None)
    cfg.custom_hooks = [hook for hook in cfg.get("custom_hooks", []) if hook["type"] != "PreviewHook"]
    cfg.visualizer = {"type": "Visualizer", "vis_backends": []}
    cfg.log_level, cfg.work_dir = "WARNING", ""


def with_seed(cfg: Config, seed: int) -> Config:
    """The same run with another seed of weights, data (where they have one), their order, masks and noise."""
    cfg = copy.deepcopy(cfg)
    cfg.randomness = {"seed": seed}
    if "seed" in inspect.signature(resolve(cfg.train_dataloader.dataset.type, DATASETS)).parameters:
        cfg.train_dataloader.dataset.seed = seed
    return cfg


def stretch(cfg: Config, steps: int) -> None:
    """Give a run other ``steps``, its learning rate's schedule, curve and checkpoints stretched along."""
    share = steps / cfg.train_cfg.max_iters
    cfg.train_cfg.max_iters = steps
    cfg.train_cfg.val_interval = cfg.default_hooks.checkpoint.interval = max(steps // POINTS, 1)
    schedule = cfg.get("param_scheduler") or []
    for part in [schedule] if isinstance(schedule, dict) else schedule:
        part.update({name: _scaled(part[name], share) for name in TIMES & part.keys()})
        if "end" in part:
            part.end = max(part.end, part.get("begin", 0) + 1)


def _scaled(steps: Any, share: float) -> Any:
    """Other steps, at least 2; 0 and shares of the training stay."""
    if isinstance(steps, (list, tuple)):
        return [_scaled(step, share) for step in steps]
    return max(round(steps * share), 2) if isinstance(steps, int) and steps else steps


def config_hash(cfg: Config) -> str:
    """What identifies a run: 16 hexadecimal digits of the SHA-256 of its config, its :func:`source` and its files.

    These are the checkpoints of a tokenizer and of ``load_from``, the modules of components of one's own, all plug-ins
    among them, and what data sets read. So runs of other code or data are never taken for each other.

    Raises:
        UserError: The tokenizer has no checkpoint yet, or ``load_from`` isn't there.
    """
    digest = hashlib.sha256(json.dumps(cfg.to_dict(), sort_keys=True, default=repr).encode() + source().encode())
    tokenizer = cfg.model.image_tokenizer.get("checkpoint")
    files = [trained_checkpoint(cfg.model.image_tokenizer.type, tokenizer)] if tokenizer else []
    files += [find_checkpoint(cfg.load_from)] if cfg.get("load_from") else []
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
    for path in sorted(set(_sources(cfg.to_dict()))):
        digest.update(_contents(path))
    return digest.hexdigest()[:16]


def _sources(node: Any) -> Iterator[Path]:
    """What of one's own the components of a config read: folders, files, and the images that a manifest names."""
    if isinstance(node, dict):
        given = (node[name] for name in SOURCES if isinstance(node.get(name), str))
        for path in (Path(one).expanduser() for one in given):  # a pattern, or what is there
            yield from [path] if path.exists() else map(Path, glob.glob(str(path)))
            if path.suffix in MANIFESTS and path.is_file():
                manifest = Manifest(path)
                yield from map(manifest.image, range(len(manifest.names)))
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else []:
        yield from _sources(child)


def _contents(path: Path) -> bytes:
    """Of the files in a folder, or of the one: names, sizes, and bytes where they are few, else times of change."""
    digest = hashlib.sha256()
    for file in sorted(file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()):
        facts = file.stat()
        small = facts.st_size <= READ
        digest.update(f"{file.relative_to(path)}\0{facts.st_size}\0{'' if small else facts.st_mtime_ns}\0".encode())
        if small:
            digest.update(file.read_bytes())
    return digest.digest()


@functools.cache
def source() -> str:
    """What of the library makes a run: 8 hexadecimal digits of the SHA-256 of its code; commands, tables, plots aside.

    Of the code that runs, not of what may be edited meanwhile: ask for it before the first run.
    """
    package = Path(__file__).parents[1]
    files = [path for path in sorted(package.rglob("*.py")) if path.parent.name not in ("benchmark", "cli")]
    files += [package / "benchmark" / f"{name}.py" for name in ("configs", "probing", "reuse", "runs", "samplers")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def _types(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "type" and isinstance(value, str))
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else []:
        yield from _types(child)


def _remembered(function: Callable[[Config], Any]) -> Callable[[Config], Any]:
    """The same function, which builds a model that several arms have once."""
    known: dict[str, Any] = {}

    @functools.wraps(function)
    def ask(cfg: Config) -> Any:
        read = cfg.model.to_dict(), cfg.train_dataloader.batch_size, cfg.test_dataloader.dataset.to_dict()
        key = json.dumps(read, sort_keys=True, default=repr)
        if key not in known:
            known[key] = function(cfg)
        return known[key]

    return ask


@_remembered
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


@_remembered
def step_flops(cfg: Config) -> float:
    """Floating-point operations of a training step, forward and backward."""
    model = build(cfg.model.to_dict(), MODELS)
    tokenizer, batch = model.image_tokenizer, cfg.train_dataloader.batch_size
    images = torch.rand(batch, 3, *(side * tokenizer.stride for side in tokenizer.grid))
    captions = [build(cfg.test_dataloader.dataset.to_dict(), DATASETS).captions[0]] * batch
    model.fit(images, captions)
    return training(model, images, captions).total * batch
