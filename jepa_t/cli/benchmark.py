"""Run the suites of the ablation, or make their report again."""

import datetime
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..benchmark import NAMES, PRESETS, Request, plan, write_report
from ..benchmark import run as run_suite
from ..benchmark.plots import pyplot
from ..benchmark.records import RESULTS, Record, Timing, keep, load
from ..errors import UserError, unknown
from ..fusion import SITES
from ..registry import load_plugins
from .shared import command, path


class Display:
    """A bar for each part of the work, with the time left; finished runs in a line each."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
        console = Console(stderr=True)
        self.bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int, line: str) -> None:
        """Move the bar of a part, and put a line above it."""
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(what, total=total)
        self.bar.update(self.tasks[what], completed=done)
        if line:
            self.bar.console.log(line, highlight=False)


def add_arguments(parser: ArgumentParser) -> None:
    """Add what ``benchmark`` takes."""
    parser.add_argument("suite", choices=[*NAMES, "all", "report"])
    parser.add_argument("folder", type=path, nargs="?", help="for report: a folder with results.json")
    parser.add_argument("--preset", default="quick", help="quick (fusion: about 40 minutes on 2 cores), full, or smoke")
    parser.add_argument(
        "--tasks", nargs="+", help="of the suite, such as shapes pairs digits, or for speed base; default all"
    )
    parser.add_argument("--arms", nargs="+", help="of the suite, such as jepa_t late; default all")
    parser.add_argument(
        "--configs", nargs="+", default=[], metavar="CONFIG", help="compare these; the first is the reference"
    )
    parser.add_argument(
        "--fusion", nargs="+", default=[], metavar="[SITE=]TYPE", help="further arms: fusions of your own, at features"
    )
    parser.add_argument("--seeds", type=int, help="runs per arm; default the preset's")
    parser.add_argument("--jobs", type=int, help="processes; default one per GPU or CPU core")
    parser.add_argument("--no-match", action="store_true", help="don't bring parameter counts within 2 %%")
    parser.add_argument("--minutes", type=float, help="of speed: about what a task may take; default 15")
    parser.add_argument("--out", type=path, help="default work_dirs/benchmark_<preset>")


def run(args: Namespace) -> None:
    """Run the suite and write its report."""
    if args.suite == "report":
        if not args.folder:
            raise UserError("report needs a folder with results.json, such as work_dirs/benchmark_quick")
        if given := [word for word in args.words[1:] if word.startswith("--")]:
            raise UserError(f"report makes the tables again of what is there, and takes no {given[0]}")
        print(f"written: {write_report(args.folder)}")
        return
    _check(args)
    load_plugins()
    preset = PRESETS[args.preset]
    folder = Path(args.out or f"work_dirs/benchmark_{args.preset}")
    fusions, configs = _named(map(_arm, args.fusion)), _named(map(_config, args.configs))
    request = Request(args.tasks, args.arms, configs, fusions, args.seeds, not args.no_match, args.minutes)
    wanted = {args.suite: request}
    if args.suite == "all":
        asked = dict.fromkeys(NAMES, replace(request, minutes=None)) | {"speed": Request(minutes=args.minutes)}
        wanted = {suite: of for suite, of in asked.items() if suite not in preset.left_out}
    planned = {suite: plan(suite, preset, of) for suite, of in wanted.items()}
    pyplot()  # with all that can be wrong, told before hours of work
    if (folder / RESULTS).is_file():
        load(folder)
    display = Display()
    failed, report = [], None

    def keep_and_report(suite: str, records: list[Record] | list[Timing]) -> None:
        nonlocal report
        if records:
            keep(folder, suite, records, command(args.words), datetime.date.today().isoformat())
            report = write_report(folder)

    try:
        with display.bar:
            for suite, runs in planned.items():
                kept = partial(keep_and_report, suite)
                failed += run_suite(suite, runs, folder, args.jobs, display, kept, wanted[suite])[1]
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; all that was done is kept. Go on with: {command(args.words)}") from None
    if report:
        print(f"written: {report}")
    if failed:
        sys.stderr.writelines(f"failed: {line}\n" for line in failed)
        raise UserError(f"{len(failed)} of the runs failed, and the report leaves them out")


def _check(args: Namespace) -> None:
    """See that the arguments of a suite go together.

    Raises:
        UserError: They don't.
    """
    if args.folder:
        raise UserError(f"unexpected {args.folder!r}; only report takes a folder, suites write to --out")
    if args.preset not in PRESETS:
        raise unknown("preset", args.preset, PRESETS)
    if args.jobs is not None and args.suite == "speed":
        raise UserError("--jobs has no meaning for 'speed', which times one after the other; leave it out")
    if args.jobs is not None and args.jobs < 1:
        raise UserError(f"--jobs is {args.jobs}; use at least 1")
    if args.suite == "all" and (args.tasks or args.arms or args.configs or args.fusion):
        raise UserError("'all' takes no --tasks, --arms, --configs or --fusion; name a suite, such as fusion")


def _named(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise UserError(f"two arms are called {name!r}; rename a file, or give a fusion once")
        found[name] = value
    return found


def _config(file: str) -> tuple[str, Path]:
    return Path(file).stem, Path(file)


def _arm(text: str) -> tuple[str, dict]:
    site, equals, kind = text.rpartition("=")
    site = site if equals else "features"
    if site not in SITES:
        raise unknown("fusion site", site, SITES)
    return f"{kind} at {site}" if equals else kind, {site: {"type": kind}}
