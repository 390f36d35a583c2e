"""The sampler suite: one training, drawn from in many ways."""

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine import set_threads
from ..files import find_checkpoint, write_atomically
from ..model import JEPAT
from ..pipeline import Pipeline
from ..registry import METRICS
from ..sampling import PRESETS, own_options, presets_for, sampler_config, sampler_for
from .cost import sampling
from .runs import GUIDANCE, machine, measure, outcomes_of, prompt_sets, tune, versions
from .timing import Timed, interleave, warm_up

# What is drawn with, and what is changed in it. The first is what the others are compared with.
SETTINGS: dict[str, dict[str, Any]] = {
    "balanced": {},
    **{name: {"preset": name} for name in ("reference", "quality", "fast", "few", "one")},
    "8 steps": {"steps": 8},
    "4 steps": {"steps": 4},
    "8 solver steps": {"draw": {"solver_steps": 8}},
    "4 solver steps": {"draw": {"solver_steps": 4}},
    "not annealed": {"draw": {"solver_steps": 24}},
    "Euler": {"draw": {"solver": "euler"}},
    "Euler, 8 solver steps": {"draw": {"solver": "euler", "solver_steps": 8}},
    "Heun, 8 solver steps": {"draw": {"solver": "heun", "solver_steps": 8}},
    "Halton": {"order": "halton"},
    "checkerboard": {"order": "checkerboard"},
    "few, 2 solver steps": {"preset": "few", "draw": {"solver_steps": 2}},
    "few, 2 to 1 solver steps": {"preset": "few", "draw": {"solver_steps": (2, 1)}},
    "few, two paces, 6 steps": {"preset": "few", "steps": 6, "schedule": "paced"},
    "arccos": {"schedule": "arccos"},
    "linear guidance": {"guidance_schedule": "linear"},
    "guidance in the first half": {"guidance_interval": (0.0, 0.5)},
    # Guidance trades likeness for accuracy, so what a preset costs is told at each scale.
    **{f"{p}, guidance {w:g}": {"preset": p, "guidance_scale": w} for p in PRESETS for w in GUIDANCE},
}
ROUNDS, IMAGES = 5, 16  # of the timing


def chosen(names: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Some of :data:`SETTINGS`, the first among them always; by default all."""
    return {name: of for name, of in SETTINGS.items() if names is None or name in names or name == next(iter(SETTINGS))}


def draw_settings(
    cfg: Config, folder: Path, notify: Callable[[int], object], settings: Mapping[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Draw the test prompts of a finished run with every setting, at its guidance scale or the one that suits it.

    Settings of options that the run's objective doesn't read are left out, and presets too short for it.

    Args:
        cfg: The run's config.
        folder: Its folder; what each setting gave is kept there, so a killed suite goes on.
        notify: Called with how many settings are done.
        settings: By name, such as :data:`SETTINGS`.

    Returns:
        Of each setting: its figures, the outcome of each prompt, its options and place.
    """
    versions()  # of the source that runs, not of what may be edited meanwhile
    set_threads(cfg.threads)
    model = _load(cfg, folder)
    prompts, validation, chosen = prompt_sets(cfg)
    metric = METRICS.build(cfg.test_evaluator)
    known, presets, found = set(own_options(model.network.generative)), presets_for(model.network.generative), []
    for place, (name, setting) in enumerate(settings.items()):
        notify(place)
        if setting.get("draw", {}).keys() - known or setting.get("preset", "balanced") not in presets:
            continue
        options = sampler_config({"preset": "balanced"} | setting, objective=model.network.generative)
        kept = folder / f"sampler_{hashlib.sha256(json.dumps(options).encode()).hexdigest()[:12]}.json"
        if not kept.is_file():
            model.sampler = sampler_for(model.network.generative, options)
            scale, tried = options.get("guidance_scale"), {}
            if scale is None:
                scale, tried = tune(model, validation, metric, chosen)
            figures, columns = measure(model, prompts, metric)
            spent = sampling(model, prompts.captions[0])
            figures |= {"network evaluations": spent.network, "head evaluations per token": spent.head}
            result = {"metrics": figures, "outcomes": outcomes_of(columns, metric), "versions": versions()}
            result |= {"guidance_scale": scale, "validation": tried, "machine": machine()}
            write_atomically(kept, lambda file, result=result: file.write(json.dumps(result).encode()))
        result = json.loads(kept.read_text())
        options["guidance_scale"] = result["guidance_scale"]
        line = [setting["preset"], setting["guidance_scale"]] if "guidance_scale" in setting else None
        found.append(result | {"arm": name, "place": place, "options": options, "line": line})
    return found


def time_settings(cfg: Config, folder: Path, drawn: Sequence[dict[str, Any]]) -> None:
    """Add the time of an image to each setting of :func:`draw_settings`, and its shares of the first setting's.

    They are drawn with in turn in one process, with nothing beside it, so that a busy neighbour slows all alike.
    """
    set_threads(cfg.threads)
    model = _load(cfg, folder)
    captions = prompt_sets(cfg)[0].captions[:IMAGES]
    seeds = list(range(len(captions)))

    def draw(options: dict) -> None:
        model.generate(captions, seeds, options).cpu()

    arms = {str(place): Timed(partial(draw, result["options"])) for place, result in enumerate(drawn)}
    warm_up(arms)
    times = interleave({name: arm.run for name, arm in arms.items()}, ROUNDS)
    for result, taken in zip(drawn, times.values(), strict=True):
        result["metrics"]["ms per picture"] = 1000 * statistics.median(taken) / len(captions)
        result["times"] = [one / first for one, first in zip(taken, times["0"], strict=True)]


def _load(cfg: Config, folder: Path) -> JEPAT:
    return Pipeline.from_pretrained(find_checkpoint(str(folder)), cfg.model.to_dict()).model
