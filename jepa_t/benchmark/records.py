"""What is kept of a suite, and the file that holds it: records of runs, and timings."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import read_json, write_atomically

RESULTS = "results.json"
AGAIN = "delete it and run the suite again, finished runs are kept"
Results = dict[str, Any]  # {"suites": {suite: {"made": {task: {command, date}}, "records": [...]}}}


@dataclass(frozen=True)
class Record:
    """A run of an arm, trained and tested.

    Attributes:
        task, arm, seed: Which.
        place: Of the arm among those of the task; 0 is the reference.
        steps: How many steps of training it had.
        parameters: How many weights were trained.
        unmatched: How many would have been, had the denoising head been left as it was.
        guidance_scale: Chosen on validation prompts; None where the sampler has none.
        metrics: The test's figures.
        outcomes: Of each figure that says all is right, a 1 or 0 per prompt.
        versions, machine: What made it.
        validation: The share of right images by guidance scale tried.
        curve: Figures on validation prompts by steps of training.
        budget: Steps of the reference for as many operations; None where nothing was trained for the record alone.
        series: Of an arm that is one point of a line: the line's name, and its number of training scans.
        line: Of a setting that is a preset at a guidance scale: which, and at which.
        options: Options of the sampler.
        times: Of a setting, as shares of the first setting's.
        config, config_hash: The config's name, and what identifies the run.
        train_seconds, test_seconds: What it took.
    """

    task: str
    arm: str
    seed: int
    place: int
    steps: int
    parameters: int
    unmatched: int
    guidance_scale: float | None
    metrics: dict[str, float]
    outcomes: dict[str, str]
    versions: dict[str, str]
    machine: str
    validation: dict[str, float] = field(default_factory=dict)
    curve: dict[str, dict[str, float]] = field(default_factory=dict)
    budget: int | None = None
    series: Sequence | None = None
    line: Sequence | None = None
    options: dict[str, Any] | None = None
    times: list[float] | None = None
    config: str | None = None
    config_hash: str | None = None
    train_seconds: float | None = None
    test_seconds: float | None = None


@dataclass(frozen=True)
class Timing:
    """An arm of the speed suite.

    Attributes:
        task, arm: Which.
        ratios: Its times as shares of the first arm's, taken in turn.
        milliseconds: The median.
        first: Milliseconds of the first calls.
        versions, machine: What was timed, on what.
        images: How many a call makes or learns from.
        network, head, flops: As in :class:`~jepa_t.benchmark.cost.Cost`, of one image.
        gigaflops: Billions of operations of a call.
        share_of_peak: Operations per second, of those that a large matrix product reaches.
    """

    task: str
    arm: str
    ratios: list[float]
    milliseconds: float
    first: float
    versions: dict[str, str]
    machine: str
    images: int | None = None
    network: float | None = None
    head: float | None = None
    gigaflops: float | None = None
    share_of_peak: float | None = None
    flops: dict[str, float] | None = None


def load(folder: str | Path) -> Results:
    """The results in a folder.

    Raises:
        UserError: There are none, or they can't be read.
    """
    path = Path(folder) / RESULTS
    if not path.is_file():
        raise UserError(f"no {RESULTS} in '{folder}'; run a suite with --out {folder} first")
    results = read_json(path, AGAIN)
    suites = results.get("suites")
    kept = suites.values() if isinstance(suites, dict) else [None]
    if not all(isinstance(one, dict) and {"records", "made"} <= one.keys() for one in kept):
        raise UserError(f"'{path}' holds no suites of this benchmark; {AGAIN}")
    return results


def keep(folder: Path, suite: str, records: Sequence[Record | Timing], command: str, date: str) -> None:
    """Put a suite's records into the folder's results, in the place of those of the same tasks."""
    results = load(folder) if (folder / RESULTS).is_file() else {"suites": {}}
    new = {record.task for record in records}
    made = {task: {"command": command, "date": date} for task in sorted(new)}
    before = results["suites"].get(suite, {"records": [], "made": {}})
    others = [record for record in before["records"] if record["task"] not in new]
    results["suites"][suite] = {"made": before["made"] | made, "records": others + [asdict(r) for r in records]}
    write_atomically(folder / RESULTS, lambda file: file.write(json.dumps(results, indent=1).encode()))


def read(kept: Iterable[dict[str, Any]], task: str) -> list[Any]:
    """The records, or the timings, of one task among those that are kept."""
    found = []
    for record in kept:
        if record["task"] == task:
            kind = Timing if "ratios" in record else Record
            named = {name.replace(" ", "_"): value for name, value in record.items()}  # the first files' share of peak
            try:
                found.append(kind(**{one.name: named[one.name] for one in fields(kind) if one.name in named}))
            except TypeError as error:
                raise UserError(f"a record of {task!r} in {RESULTS} is damaged: {error}; {AGAIN}") from error
    return found


def outcomes(records: Iterable[Record], arm: str, figure: str) -> dict[int, np.ndarray]:
    """By seed the outcome of each prompt of a figure; for one that is no share, its value alone."""
    found = {}
    for record in records:
        if record.arm == arm and figure in record.metrics:
            kept = record.outcomes.get(figure)
            found[record.seed] = np.array([*map(int, kept)] if kept else [record.metrics[figure]], float)
    return found


def arms_of(records: Iterable[Record]) -> list[str]:
    """The arms as they were planned, whichever run failed."""
    places = {record.arm: record.place for record in records}
    return sorted(places, key=places.__getitem__)


def curve(record: Record, figure: str) -> dict[int, float]:
    """A figure over the steps of training, on validation prompts; steps of the reference, where compute is equal."""
    each = (record.budget or record.steps) / max(record.steps, 1)
    return {round(int(step) * each): point[figure] for step, point in record.curve.items() if figure in point}


def curved(figures: Sequence[str], records: Iterable[Record]) -> list[str]:
    """The first two figures that have a curve."""
    return [figure for figure in figures if any(curve(record, figure) for record in records)][:2]
