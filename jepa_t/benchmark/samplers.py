"""The sampler suite: one training, drawn from in many ways."""

import hashlib
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.compat import write_whole
from ..engine.config import find_checkpoint
from ..model import JEPAT
from ..pipeline import Pipeline
from ..registry import DATASETS, METRICS, build
from ..sampling import sampler_config
from .records import Record
from .runs import machine, measure, outcomes_of, versions
from .suites import Row

# What is drawn with, and what is changed in it. The first is what the others are compared with.
SETTINGS: dict[str, dict[str, Any]] = {
    "balanced": {"preset": "balanced"},
    "reference": {"preset": "reference"},
    "quality": {"preset": "quality"},
    "fast": {"preset": "fast"},
    "balanced, 8 steps": {"preset": "balanced", "steps": 8},
    "balanced, 4 steps": {"preset": "balanced", "steps": 4},
    "balanced, 8 solver steps": {"preset": "balanced", "solver_steps": 8},
    "balanced, 4 solver steps": {"preset": "balanced", "solver_steps": 4},
    "balanced, halton": {"preset": "balanced", "order": "halton"},
    "balanced, checkerboard": {"preset": "balanced", "order": "checkerboard"},
    "balanced, heun at 8": {"preset": "balanced", "solver": "heun", "solver_steps": 8},
    "balanced, linear guidance": {"preset": "balanced", "guidance_schedule": "linear"},
}
ROUNDS, PICTURES = 5, 16  # of the timing


def run_samplers(row: Row, record: Record, folder: Path) -> list[Record]:
    """Draw the test prompts of a finished run with every setting, at the guidance scale that the run was tuned to.

    Args:
        row: The run.
        record: Its record.
        folder: Its folder; each setting's record is kept there, so a killed suite goes on.
    """
    torch.set_num_threads(1)
    model = Pipeline.load(find_checkpoint(str(folder)), row.config.model.to_dict()).model
    prompts = build(row.config.test_dataloader.dataset.to_dict(), DATASETS)
    metric = METRICS.build(row.config.test_evaluator)
    found = []
    for name, setting in SETTINGS.items():
        options = sampler_config(setting, draw=model.network.draw, guidance_scale=record["guidance_scale"])
        model.sample_with(options)
        kept = folder / f"sampler_{hashlib.sha256(json.dumps(options).encode()).hexdigest()[:12]}.json"
        if not kept.is_file():
            figures, columns = measure(model, prompts, metric)
            figures |= evaluations(model, prompts.captions[0])
            result = {"metrics": figures, "outcomes": outcomes_of(columns)}
            write_whole(kept, lambda file, result=result: file.write(json.dumps(result).encode()))
        found.append(json.loads(kept.read_text()) | {"arm": name, "options": options})
    shared = {"task": row.task, "seed": row.seed, "versions": versions(), "machine": machine()}
    shared |= {name: record[name] for name in ("steps", "guidance_scale", "config_hash", "parameters", "unmatched")}
    times = _milliseconds(model, [result["options"] for result in found], prompts.captions[:PICTURES])
    for result, cost in zip(found, times, strict=True):
        result["metrics"]["ms per picture"] = cost
    return [result | shared for result in found]


def _milliseconds(model: JEPAT, settings: list[dict], captions: list[str]) -> list[float]:
    """Per picture, in turn, so that a busy neighbour slows all settings alike: medians of :data:`ROUNDS`."""
    seeds = list(range(len(captions)))
    rounds = []
    for _ in range(ROUNDS + 1):
        times = []
        for options in settings:
            model.sample_with(options)
            started = time.perf_counter()
            model.generate(captions, seeds).cpu()
            times.append(1000 * (time.perf_counter() - started) / len(captions))
        rounds.append(times)
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


def evaluations(model: JEPAT, caption: str) -> dict[str, float]:
    """How often one picture runs the network, and the denoising head per token; both branches of guidance count."""
    counts = dict.fromkeys(("network evaluations", "head evaluations per token"), 0.0)
    network = model.average
    head = next(o.head for o in network.objectives.values() if hasattr(o, "draw"))
    tokens = network.grid[0] * network.grid[1]
    last = head.out if hasattr(head, "out") else head  # of a denoising head, whose pieces the solvers call

    def passed(_module: nn.Module, _inputs: tuple, features: Tensor) -> None:
        counts["network evaluations"] += len(features)

    def drawn(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        counts["head evaluations per token"] += output[..., 0].numel() / tokens

    handles = [network.predictor.register_forward_hook(passed), last.register_forward_hook(drawn)]
    try:
        model.generate([caption], [0])
    finally:
        for handle in handles:
            handle.remove()
    return counts
