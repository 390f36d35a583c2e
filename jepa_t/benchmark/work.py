"""From a plan to records: train what isn't trained yet, measure, draw, time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from . import probing, samplers
from .findings import times
from .plan import PLAIN, Plan, Request
from .pool import run_all
from .records import Record, Timing
from .runs import execute
from .speed import MINUTES, speed_tasks, time_task
from .speed import NAMES as TIMED
from .tasks import TASKS

Progress = Callable[[str, int, int, str], object]


def run(
    suite: str,
    planned: Plan,
    folder: Path,
    jobs: int | None = None,
    progress: Progress = lambda _suite, _done, _total, _line: None,
    finished: Callable[[list[Any]], object] = lambda _records: None,
    request: Request = PLAIN,
) -> tuple[list[Record] | list[Timing], list[str]]:
    """Run a planned suite, or what is missing of it.

    Args:
        suite: Its name.
        planned: From :func:`~jepa_t.benchmark.plan.plan`.
        folder: Runs and results lie there; suites share the runs that they have in common.
        jobs: Processes; by default one per GPU or CPU core.
        progress: Called with what is being done, how much of it is, of how much, and a line worth reading or "".
        finished: Called with the records of each task of ``speed`` as soon as it is done, of other suites with all.
        request: What the plan was made for.

    Returns:
        The records, and a line for each run that failed, such as one whose losses weren't finite.
    """
    if suite == "speed":
        return _timed(request, partial(progress, suite), finished), []
    spread = partial(_spread, planned=planned, folder=folder / "runs", jobs=jobs)
    sizes = {key: of_run[0].config.train_cfg.max_iters for key, of_run in planned.items()}
    trained, failed = {}, {}
    for name, second in (("training" if suite == "sampler" else suite, False), (f"{suite}, reused", True)):
        stage = {key: size for key, size in sizes.items() if ("backbone" in planned[key][0].config) == second}
        found = spread(execute, stage, partial(progress, name)) if stage else ({}, {})
        trained, failed = trained | found[0], failed | found[1]
    rows = [(row, key) for key, of_run in planned.items() for row in of_run if row.place is not None]
    records = [Record(config_hash=key, **row.facts(), **trained[key]) for row, key in rows if key in trained]
    if suite == "backbone":
        records, unprobed = _probed(records, spread, partial(progress, "probes"))
        failed |= unprobed
    if suite == "sampler":
        settings = samplers.chosen(request.arms)
        draw = partial(samplers.draw_settings, settings=settings)
        drawn, undrawn = spread(draw, dict.fromkeys(trained, len(settings)), partial(progress, suite))
        failed |= undrawn
        _time_drawn(drawn, planned, folder / "runs", partial(progress, "timing"))
        several = any(row.place for row, _ in rows)
        records = [
            _sampled(record, setting, len(settings), several)
            for record in records
            for setting in drawn.get(record.config_hash, [])
        ]
    finished(records)
    return records, [f"{row}: {failed[key]}" for key, of_run in planned.items() for row in of_run if key in failed]


def _probed(
    records: Sequence[Record], spread: Callable[..., tuple[dict, dict]], moved: Callable[[int, int, str], object]
) -> tuple[list[Record], dict[str, str]]:
    """The records, those of tasks with labels with what the probes found, and what was wrong."""
    probed, failed = [], {}
    for task in dict.fromkeys(record.task for record in records):
        mine, labels = [record for record in records if record.task == task], TASKS[task].labels
        if labels:
            work, sizes = partial(probing.probe_run, labels=labels), dict.fromkeys((r.config_hash for r in mine), 1)
            found, wrong = spread(work, sizes, moved)
            failed |= wrong
            places = 1 + max(record.place for record in mine)
            mine = [
                one
                for record in mine
                if record.config_hash in found
                for one in probing.probed(record, found[record.config_hash], places)
            ]
        probed += mine
    return probed, failed


def _time_drawn(
    drawn: Mapping[str, list[dict[str, Any]]], planned: Plan, folder: Path, moved: Callable[[int, int, str], object]
) -> None:
    for done, (key, found) in enumerate(drawn.items()):
        moved(done, len(drawn), "")
        samplers.time_settings(planned[key][0].config, folder / key, found)
    if drawn:
        moved(len(drawn), len(drawn), "")


def _timed(
    request: Request, moved: Callable[[int, int, str], object], finished: Callable[[list[Timing]], object]
) -> list[Timing]:
    seconds, timings = 60 * (request.minutes or MINUTES), []
    tasks = speed_tasks(request.tasks or TIMED, seconds, request.arms)
    for done, (task, make) in enumerate(tasks.items()):
        moved(done, len(tasks), "")
        timings += (found := time_task(task, make, seconds))
        for timing in found[1:]:
            moved(done, len(tasks), f"{task}: {timing.arm} {times(timing.ratios)} times as fast as {found[0].arm}")
        finished(found)
    moved(len(tasks), len(tasks), "")
    return timings


def _spread(
    work: Callable[..., Any],
    sizes: Mapping[str, int],
    moved: Callable[[int, int, str], object],
    planned: Plan,
    folder: Path,
    jobs: int | None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Do the work of the runs that have a size, and tell how much of all their sizes is done."""
    done = dict.fromkeys(sizes, 0)

    def tell(key: str, steps: int, line: str = "") -> None:
        done[key] = steps
        moved(sum(done.values()), sum(sizes.values()), line)

    def finished(key: str) -> None:
        tell(key, sizes[key], f"done: {planned[key][0]}")

    return run_all(work, {key: planned[key][0].config for key in sizes}, folder, jobs, tell, finished)


def _sampled(record: Record, setting: dict[str, Any], settings: int, several: bool) -> Record:
    """The record of a setting of a run; of several configs, arms bear the config's name too.

    The training's learning curve stays with the first setting alone.
    """
    arm = f"{record.arm}, {setting['arm']}" if several else setting["arm"]
    own = setting | {"arm": arm, "place": setting["place"] + record.place * settings}
    curve = {} if setting["place"] else record.curve
    return replace(record, **own, curve=curve, budget=None, train_seconds=None, test_seconds=None)
