"""What a finished run's frozen encoders know, and what it draws without a caption."""

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from threadpoolctl import threadpool_limits

from ..engine import set_threads
from ..evaluation.probes import ENCODERS, Outcomes, probe_model, probe_pixels
from ..evaluation.verdicts import shares
from ..files import find_checkpoint, write_atomically
from ..model import JEPAT
from ..pipeline import Pipeline
from ..registry import DATASETS, METRICS, MODELS, build
from ..sampling import MaskedSampler
from .records import Record
from .runs import measure, prompt_sets, versions

LIKENESS = "frechet", "residual", "diversity"  # figures of the drawn images as a whole
BASELINES = "untrained", "pixels"  # arms that a task with labels has besides its own
Found = dict[str, dict[str, Any]]  # by arm: metrics and outcomes


def probe_run(cfg: Config, folder: Path, notify: Callable[[int], object], labels: Mapping[str, Any]) -> Found:
    """Probe a finished run's encoders, its encoder as it began, and raw pixels; and draw without captions.

    Args:
        cfg: Of the run.
        folder: Its folder; what was found is kept there, so a killed suite goes on.
        notify: Called at the start.
        labels: Config of a :class:`~jepa_t.data.sets.LabelledSet`, but its part.

    Returns:
        Metrics and outcomes of ``trained``, ``untrained`` and ``pixels``. Figures are called ``<probe>/<label>``, of
        the trained weights, which aren't averaged, ``context/<probe>/<label>``; without captions ``null/<figure>``.
    """
    kept = folder / f"probes_{labels['type']}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    versions()  # of the source that runs, not of what may be edited meanwhile
    notify(0)
    set_threads(cfg.threads)
    model = Pipeline.from_pretrained(find_checkpoint(str(folder)), cfg.model.to_dict()).model
    train, test = (build({**labels, "part": part}, DATASETS) for part in ("train", "test"))
    with threadpool_limits(1):
        context, target = (probe_model(model, train, test, encoder) for encoder in ENCODERS)
        trained = _told(target | {f"context/{name}": right for name, right in context.items()})
        found = {"trained": trained, "untrained": _told(probe_model(_untrained(cfg, model), train, test))}
        found["pixels"] = _told(probe_pixels(train, test))
    trained["metrics"] |= draw_without_captions(cfg, model)
    write_atomically(kept, lambda file: file.write(json.dumps(found).encode()))
    return found


def draw_without_captions(cfg: Config, model: JEPAT) -> dict[str, float]:
    """How like real images are those of the null caption; nothing of another sampler than the masked one."""
    if not isinstance(model.sampler, MaskedSampler):
        return {}
    model.sampler = dataclasses.replace(
        model.sampler, guidance_scale=0.0, guidance_schedule="constant", guidance_interval=(0.0, 1.0)
    )
    figures, _ = measure(model, prompt_sets(cfg)[0], METRICS.build(cfg.test_evaluator))
    return {f"null/{name}": value for name, value in figures.items() if name.rpartition("/")[2] in LIKENESS}


def probed(record: Record, found: Found, places: int) -> list[Record]:
    """A record with what its probes found; after the reference's come those of the baselines.

    Args:
        record: Of the run.
        found: From :func:`probe_run`.
        places: How many arms the task has.
    """
    one = dataclasses.replace(
        record,
        metrics=record.metrics | found["trained"]["metrics"],
        outcomes=record.outcomes | found["trained"]["outcomes"],
    )
    bare = dataclasses.replace(
        record, steps=0, parameters=0, unmatched=0, guidance_scale=None, validation={}, curve={}, train_seconds=None
    )
    others = [
        dataclasses.replace(bare, arm=name, place=places + number, **found[name])
        for number, name in enumerate(BASELINES)
    ]
    return [one] if record.place else [one, *others]


def _untrained(cfg: Config, model: JEPAT) -> JEPAT:
    """The same network as it began, with the tokenizer that has been fitted since."""
    with torch.random.fork_rng():
        torch.manual_seed(cfg.randomness.seed)
        began = build(copy.deepcopy(cfg.model.to_dict()), MODELS)
    began.image_tokenizer = model.image_tokenizer
    return began.to(next(model.parameters()).device).eval()


def _told(outcomes: Outcomes) -> dict[str, Any]:
    columns = {name: right.tolist() for name, right in outcomes.items()}
    bits = {name: "".join("01"[right] for right in column) for name, column in columns.items()}
    return {"metrics": shares(columns), "outcomes": bits}
