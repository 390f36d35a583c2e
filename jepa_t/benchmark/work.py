"""From a suite's name to its records: plan, train what isn't trained yet, measure, keep."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown
from . import samplers
from .configs import config_hash
from .pool import run_all
from .records import Record
from .report import RESULTS, load, save
from .runs import execute
from .speed import MINUTES, speed_tasks, time_task
from .speed import NAMES as TIMED
from .suites import SUITES, Arm, Row, rows
from .tasks import CONFIGS, OWN, TASKS, Preset

NAMES = (*SUITES, "sampler", "speed")
SAMPLED = ("digits", "pixels", "shapes")  # tasks of the sampler suite


Progress = Callable[[str, int, int, str], object]


@dataclass(frozen=True)
class Request:
    """What is asked of a suite beyond its preset.

    Attributes:
        tasks: Which tasks; None for all of the suite that the preset doesn't leave out.
        configs: Config files by arm, instead of the suite's arms; the first is the reference. Of ``fusion`` and
            ``sampler`` alone.
        fusions: Further arms by name: a component's config for each site. Of ``fusion`` and ``data`` alone.
        seeds: How many; None for the preset's.
        match: False leaves parameter counts unmatched.
        minutes: About what a task of ``speed`` may take; None for its default.
    """

    tasks: Sequence[str] | None = None
    configs: Mapping[str, Path] = field(default_factory=dict)
    fusions: Mapping[str, dict] = field(default_factory=dict)
    seeds: int | None = None
    match: bool = True
    minutes: float | None = None


PLAIN = Request()


def plan(suite: str, preset: Preset, request: Request = PLAIN) -> dict[str, list[Row]]:
    """The runs of a suite by their hashes, each with the rows of the table that it fills; nothing is run yet.

    Raises:
        UserError: A name is unknown, a config is wrong, or an option doesn't belong to the suite.
    """
    if suite not in NAMES:
        raise unknown("suite", suite, NAMES)
    for option, given, suites in (
        ("--configs", request.configs, ("fusion", "sampler")),
        ("--fusion", request.fusions, ("fusion", "data")),
    ):
        if given and suite not in suites:
            raise UserError(f"{option} has no meaning for {suite!r}; use {' or '.join(suites)}")
    if suite == "speed":
        if request != Request(request.tasks, minutes=request.minutes):
            raise UserError("the suite 'speed' takes no seeds and matches nothing; give --tasks, --minutes and --out")
        for task in request.tasks or []:
            if task not in TIMED:
                raise unknown("task of the suite 'speed'", task, TIMED)
        if request.minutes is not None and not request.minutes > 0:
            raise UserError(f"--minutes is {request.minutes}; use more than 0")
        return {}
    if request.minutes is not None:
        raise UserError(f"--minutes has no meaning for {suite!r}; use speed")
    own = {name: Arm({"model": {"fusion": sites}}) for name, sites in request.fusions.items()}
    if request.configs:
        arms = {name: Arm(config=path) for name, path in request.configs.items()}
        for name in own.keys() & arms.keys():
            raise UserError(f"two arms are called {name!r}; rename the config's file")
        arms_of = {OWN: arms | own}
    else:
        arms_of = SUITES[suite](own) if suite in SUITES else {task: {"jepa_t": Arm()} for task in SAMPLED}
    for task in request.tasks or []:
        if task not in arms_of:
            raise unknown(f"task of the suite {suite!r}", task, arms_of)
    default = [task for task in arms_of if task not in preset.left_out] or [*arms_of]
    planned: dict[str, list[Row]] = {}
    for task, arms in arms_of.items():
        if task not in (request.tasks or default):
            continue
        config = CONFIGS / TASKS[task].config if task in TASKS else next(iter(request.configs.values()))
        for row in rows(arms, task, config, preset, request.seeds, request.match):
            planned.setdefault(config_hash(row.config), []).append(row)
    return planned


def run(
    suite: str,
    planned: Mapping[str, list[Row]],
    folder: Path,
    jobs: int | None = None,
    progress: Progress = lambda _suite, _done, _total, _line: None,
    whole: Callable[[list[Record]], object] = lambda _records: None,
    request: Request = PLAIN,
    published: Any = None,
) -> tuple[list[Record], list[str]]:
    """Run a planned suite, or what is missing of it.

    Args:
        suite: Its name.
        planned: From :func:`plan`.
        folder: Runs and results lie there; suites share the runs that they have in common.
        jobs: Processes; by default one per GPU or CPU core.
        progress: Called with what is being done, how much of it is, of how much, and a line worth reading or "".
        whole: Called with the records of each task of ``speed`` as soon as it is done, of other suites with all.
        request: Its tasks and minutes, for ``speed``.
        published: What ``speed`` compares with (:class:`~jepa_t.benchmark.speed.Published`).

    Returns:
        The records, and a line for each run that failed, such as one whose losses weren't finite.
    """
    if suite == "speed":
        seconds = 60 * (request.minutes or MINUTES)
        records, tasks = [], speed_tasks(request.tasks or TIMED, published, seconds)
        for done, (task, make) in enumerate(tasks.items()):
            progress(suite, done, len(tasks), "")
            records += (found := time_task(task, make, seconds))
            whole(found)
        progress(suite, len(tasks), len(tasks), "")
        return records, []
    sizes = {key: of_run[0].config.train_cfg.max_iters for key, of_run in planned.items()}
    spread = partial(_spread, planned=planned, folder=folder / "runs", jobs=jobs)
    trained, failed = spread(execute, sizes=sizes, moved=partial(progress, "training" if suite == "sampler" else suite))
    records = [_record(row, key, trained[key]) for row, key in _each(planned, trained)]
    if suite == "sampler":
        sizes = dict.fromkeys(trained, len(samplers.SETTINGS))
        draw = partial(samplers.draw_settings, settings=samplers.SETTINGS)
        drawn, undrawn = spread(draw, sizes=sizes, moved=partial(progress, "sampler"))
        failed |= undrawn
        for done, (key, settings) in enumerate(drawn.items()):
            progress("timing", done, len(drawn), "")
            samplers.time_settings(planned[key][0].config, folder / "runs" / key, settings)
        if drawn:
            progress("timing", len(drawn), len(drawn), "")
        records = _sampled(planned, records, drawn)
    whole(records)
    return records, [f"{_name(row)}: {failed[key]}" for row, key in _each(planned, failed)]


def _each(planned: Mapping[str, list[Row]], among: Iterable[str]) -> list[tuple[Row, str]]:
    return [(row, key) for key, of_run in planned.items() for row in of_run if key in among]


def _name(row: Row) -> str:
    return f"{row.task}, {row.arm}, seed {row.seed}"


def _spread(
    work: Callable[..., Any],
    planned: Mapping[str, list[Row]],
    sizes: Mapping[str, int],
    folder: Path,
    jobs: int | None,
    moved: Callable[[int, int, str], object],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Do the work of the runs that have a size, and tell how much of all their sizes is done."""
    done = dict.fromkeys(sizes, 0)

    def tell(key: str, steps: int, line: str = "") -> None:
        done[key] = steps
        moved(sum(done.values()), sum(sizes.values()), line)

    def whole(key: str) -> None:
        tell(key, sizes[key], f"done: {_name(planned[key][0])}")

    return run_all(work, {key: planned[key][0].config for key in sizes}, folder, jobs, tell, whole)


def _sampled(
    planned: Mapping[str, list[Row]], records: Sequence[Record], drawn: Mapping[str, list[dict[str, Any]]]
) -> list[Record]:
    """A record for each setting of each run; of several configs, arms bear the config's name too."""
    several = any(row.place for rows_of_run in planned.values() for row in rows_of_run)
    kept = ("task", "seed", "steps", "config_hash", "parameters", "unmatched")
    found = []
    for record in records:
        for setting in drawn.get(record["config_hash"], []):
            arm = f"{record['arm']}, {setting['arm']}" if several else setting["arm"]
            place = setting["place"] + record["place"] * len(samplers.SETTINGS)
            found.append(setting | {name: record[name] for name in kept} | {"arm": arm, "place": place})
    return found


def _record(row: Row, key: str, record: dict[str, Any]) -> Record:
    facts = {"task": row.task, "arm": row.arm, "seed": row.seed, "config_hash": key}
    facts |= {"config": Path(row.config.filename).name, "parameters": row.parameters, "unmatched": row.unmatched}
    facts |= {"budget": row.budget, "place": row.place}
    if row.series:
        facts["series"] = list(row.series)
    return facts | record


def keep(folder: Path, suite: str, records: list[Record], command: str, date: str) -> None:
    """Put a suite's records into the folder's results, in the place of those of the same tasks."""
    results = load(folder) if (folder / RESULTS).is_file() else {"suites": {}}
    new = {record["task"] for record in records}
    made = {task: {"command": command, "date": date} for task in sorted(new)}
    before = results["suites"].get(suite, {"records": [], "made": {}})
    others = [record for record in before["records"] if record["task"] not in new]
    results["suites"][suite] = {"made": before["made"] | made, "records": others + records}
    save(folder, results)
