"""The speed suite: ratios of times taken in turn in one process, never seconds against seconds of another run."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ..attention import attention
from ..registry import DATASETS, MODELS, build
from ..sampling import PRESETS
from .records import Record
from .runs import configure, machine, versions
from .suites import CONFIGS, FUSIONS, TASKS

ROUNDS, WARM_UP, PICTURES = 7, 2, 16
# Batch, heads, tokens, channels per head: the digits' predictor, scenes, and an image of 256 tokens or more.
TIMED_TASKS = 6  # training step, sampling, and a shape of attention each
ATTENTION = [(128, 4, 20, 24), (64, 4, 68, 48), (16, 8, 256, 32), (4, 8, 512, 64)]


def run_speed(rounds: int = ROUNDS, moved: Callable[[int], object] = lambda _done: None) -> list[Record]:
    """Time the training step of every fusion, the sampler's presets, and the attention back ends.

    Args:
        rounds: Counted rounds, after two to warm up.
        moved: Called after each task with how many are done.
    """
    torch.set_num_threads(1)
    config = CONFIGS / TASKS["digits"].config
    steps = {name: _step(configure(config, arm.changes)) for name, arm in FUSIONS.items()}
    plain = {"model": {"objectives": {"feature": {"weight": 0.0}}}}
    steps["jepa_t, no JEPA loss"] = _step(configure(config, plain))
    tasks = {"training step": steps, f"sampling, {PICTURES} pictures": _samplings(configure(config))}
    for shape in ATTENTION:
        tasks["attention, " + " x ".join(map(str, shape))] = _attentions(*shape)
    records = []
    for done, (task, functions) in enumerate(tasks.items(), 1):
        times = interleave(functions, rounds)
        first = next(iter(times.values()))
        for arm, taken in times.items():
            ratios = [one / other for one, other in zip(taken, first, strict=True)]
            row = {"task": task, "arm": arm, "seed": 0, "ratios": ratios, "metrics": {}}
            records.append(row | {"milliseconds": 1000 * statistics.median(taken)})
        moved(done)
    return [record | {"versions": versions(), "machine": machine()} for record in records]


def interleave(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each function in each round: A B C, A B C, so that a busy neighbour slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + WARM_UP):
        for name, function in functions.items():
            _wait()
            started = time.perf_counter()
            function()
            _wait()
            times[name].append(time.perf_counter() - started)
    return {name: taken[WARM_UP:] for name, taken in times.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _step(cfg: Config) -> Callable[[], None]:
    """A training step without its data: losses, gradients, optimizer."""
    model, images, captions = _model(cfg)
    learned = [parameter for parameter in model.network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=True)

    def step() -> None:
        sum(model.loss(images, captions).values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _samplings(cfg: Config) -> dict[str, Callable[[], Tensor]]:
    model, _, captions = _model(cfg)
    model.eval()

    def sample(preset: str) -> Tensor:
        model.sample_with(preset)
        return model.generate(captions[:PICTURES], range(PICTURES))

    return {preset: partial(sample, preset) for preset in PRESETS}


def _model(cfg: Config) -> tuple[Any, Tensor, list[str]]:
    batch = cfg.train_dataloader.batch_size
    dataset = build(cfg.train_dataloader.dataset.to_dict() | {"size": 4 * batch}, DATASETS)
    torch.manual_seed(0)
    model = build(cfg.model.to_dict(), MODELS).to(_device())
    model.fit(dataset.images, dataset.captions)
    return model, dataset.images[:batch].to(_device()), dataset.captions[:batch]


def _attentions(batch: int, heads: int, tokens: int, channels: int) -> dict[str, Callable[[], None]]:
    """Forward and backward passes of the back ends that run here."""
    inputs = [torch.randn(batch, heads, tokens, channels, device=_device(), requires_grad=True) for _ in range(3)]
    valid = torch.ones(batch, tokens, dtype=torch.bool, device=_device())

    def run(backend: str) -> None:
        attention(*inputs, valid, backend).sum().backward()

    there = ["sdpa", "math"] + ["xformers"] * (_device() == "cuda" and find_spec("xformers") is not None)
    return {backend: partial(run, backend) for backend in there}
