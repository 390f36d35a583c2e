"""From a suite's name to its records: train what isn't trained yet, measure, keep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..engine.config import find_checkpoint
from ..errors import unknown
from .pool import run_all
from .records import Record
from .report import RESULTS, load, save
from .runs import config_hash
from .samplers import SETTINGS, run_samplers
from .speed import run_speed
from .suites import CONFIGS, SUITES, TASKS, Arm, Preset, Row, rows

NAMES = (*SUITES, "sampler", "speed")
SAMPLED = ("digits", "shapes")  # tasks of the sampler suite


class Silent:
    """A progress display that shows nothing; also says what a display has to offer."""

    def begin(self, what: str, total: int) -> None:
        """A part of the work begins, of ``total`` steps."""

    def moved(self, done: int) -> None:
        """So many of its steps are done."""

    def said(self, line: str) -> None:
        """Something is worth a line."""


def run_suite(
    name: str,
    preset: Preset,
    folder: Path,
    *,
    tasks: list[str] | None = None,
    own: Mapping[str, Path] | None = None,
    fusions: Mapping[str, dict] | None = None,
    seeds: int | None = None,
    jobs: int | None = None,
    match: bool = True,
    display: Silent | None = None,
) -> list[Record]:
    """Run a suite, or what is missing of it.

    Args:
        name: One of :data:`NAMES`.
        preset: How much to spend.
        folder: Runs and results lie there; suites share the runs that they have in common.
        tasks: Which tasks; by default all of the suite.
        own: Config files by arm, instead of the suite's arms; the first is the reference.
        fusions: Further arms of every task, by name: the sites' components.
        seeds: How many; by default the preset's.
        jobs: Processes; by default one per GPU or CPU core.
        match: False leaves parameter counts unmatched.
        display: Told how far the work is.

    Raises:
        UserError: A name is unknown, or a config is wrong.
    """
    display = display or Silent()
    if name not in NAMES:
        raise unknown("suite", name, NAMES)
    if name == "speed":
        display.begin("speed", 6)
        return run_speed(moved=lambda task: display.said(f"timed: {task}"))
    planned = _plan(name, preset, tasks, own, fusions or {}, seeds, match)
    for row in planned:
        if checkpoint := row.config.model.image_tokenizer.get("checkpoint"):
            find_checkpoint(checkpoint)  # told now rather than when the run's turn comes
    finished = _train(planned, folder / "runs", jobs, display, name)
    if name != "sampler":
        return finished
    records = []
    display.begin("sampling", len(planned) * len(SETTINGS))
    for number, (row, record) in enumerate(zip(planned, finished, strict=True)):
        done = iter(range(number * len(SETTINGS) + 1, (number + 1) * len(SETTINGS) + 1))
        place = folder / "runs" / record["config_hash"]
        records += run_samplers(row, record, place, lambda _setting, done=done: display.moved(next(done)))
    return records


def _plan(
    name: str,
    preset: Preset,
    tasks: list[str] | None,
    own: Mapping[str, Path] | None,
    fusions: Mapping[str, dict],
    seeds: int | None,
    match: bool,
) -> list[Row]:
    extra = {arm: Arm({"model": {"fusion": sites}}) for arm, sites in fusions.items()}
    if own:
        arms = {arm: Arm(config=path) for arm, path in own.items()}
        return rows(arms | extra, "own", next(iter(own.values())), preset, seeds, match)
    arms_of = {key: {"jepa_t": Arm()} for key in SAMPLED} if name == "sampler" else SUITES[name]()
    for task in tasks or []:
        if task not in arms_of:
            raise unknown(f"task of the suite {name!r}", task, arms_of)
    return [
        row
        for task, arms in arms_of.items()
        if not tasks or task in tasks
        for row in rows(arms | extra, task, CONFIGS / TASKS[task].config, preset, seeds, match)
    ]


def _train(planned: list[Row], folder: Path, jobs: int | None, display: Silent, name: str) -> list[Record]:
    hashes = [config_hash(row.config) for row in planned]
    runs = {key: row.config for key, row in zip(hashes, planned, strict=True)}
    done = dict.fromkeys(runs, 0)
    display.begin(name, sum(cfg.train_cfg.max_iters for cfg in runs.values()))

    def moved(key: str, step: int) -> None:
        done[key] = step
        display.moved(sum(done.values()))
        if step == runs[key].train_cfg.max_iters:
            row = planned[hashes.index(key)]
            display.said(f"done: {row.task}, {row.arm}, seed {row.seed}")

    records = run_all(runs, folder, jobs, moved)
    return [_record(row, key, records[key]) for row, key in zip(planned, hashes, strict=True)]


def _record(row: Row, key: str, record: dict[str, Any]) -> Record:
    facts = {"task": row.task, "arm": row.arm, "seed": row.seed, "config_hash": key}
    facts |= {"config": Path(row.config.filename).name, "parameters": row.parameters, "unmatched": row.unmatched}
    return facts | record


def keep(folder: Path, suite: str, records: list[Record], command: str, date: str) -> None:
    """Put a suite's records into the folder's results, beside those of other suites."""
    results = load(folder) if (folder / RESULTS).is_file() else {"suites": {}}
    results |= {"command": command, "date": date}
    results["suites"][suite] = records
    save(folder, results)
