"""From ``results.json`` to tables and plots, and nothing else: made again, they are the same."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..files import write_atomically
from .findings import Finding, compared, fastest, overview, times
from .plots import PLOTS
from .records import Record, Timing, arms_of, curve, curved, load, outcomes, read
from .samplers import SETTINGS
from .statistics import interval, paired, steps_to
from .suites import SUITES
from .tasks import TASKS

REPORT = "report.md"
COSTS = ("ms per picture", "network evaluations", "head evaluations per token")  # of the sampler suite
DISTANCES = ("frechet", "residual", "diversity")  # figures that aren't shares
THRESHOLDS = (0.5, 0.9)
PUBLISHED = "reference, guidance 2"  # the published procedure's arithmetic; at 3 it is unlike the data
REAL = {  # figures of real images, which stand below the table
    "real/all": "The judge's share right for real images of these prompts",
    "real/r1": "The judge's share right (`r1`) for real images of these prompts, moved by a pixel and noised",
    "real/frechet": "The Fréchet distance of real images of these prompts",
    "real/diversity": "The diversity of real images",
}
SPEED = {  # columns of the speed suite, as far as timings have them
    "ms": ("milliseconds", "{:.2f}"),
    "ms, first calls": ("first", "{:.0f}"),
    "images": ("images", "{}"),
    "network evaluations": ("network", "{:.0f}"),
    "head evaluations per token": ("head", "{:.0f}"),
    "GFLOP": ("gigaflops", "{:.2f}"),
    "of the peak": ("share_of_peak", "{:.0%}"),
}
ABOUT = (
    "An arm is a variant, trained once for each seed. Tables give means over seeds, with 95 % intervals in brackets. "
    "The intervals come from a bootstrap over seeds and prompts, whose part of the seeds is as wide as Student's t.",
    "Seeds are paired: seed k has the same images in the same order. Where arms share a part, it has the same initial "
    "weights, masks and noise too. With 3 seeds a sign-flip test can't go below p = 0.25, with 5 not below 0.0625, so "
    "no difference is called significant.",
    "A figure is named by the split of the captions, their kind where there are several, and what is right. So "
    "`unseen/located/all` is of captions that name a place, in compositions that training doesn't show. It is the "
    "share of images that show all that such a caption says. `swap_group` is of pairs of captions that differ only in "
    "their two objects swapped: the share of which both are drawn right. `frechet`, `residual` and `diversity` are "
    "distances from real images, and less is better.",
    "The guidance scale of each run is chosen of 1, 1.5, 2 and 3 by seen captions that the test doesn't ask. Above "
    "each table stands what made it; only records of one `source` were made by the same code.",
)


def write_report(folder: str | Path) -> Path:
    """Write ``report.md`` and its plots into a folder with results; gives the report's path.

    Raises:
        UserError: The results are missing or damaged; or matplotlib is missing.
    """
    folder, results = Path(folder), load(folder)
    body, findings = [], []
    for suite, kept in results["suites"].items():
        body += [f"## {suite}", *([asked] if (asked := _asked(suite)) else [])]
        for task, made in kept["made"].items():
            records = read(kept["records"], task)
            body += [f"### {suite}: {task}", _made(made, records), *_section(folder, suite, task, records)]
            if task in TASKS and (plain := TASKS[task].published):
                body += _published_table(plain, _figures(task, records), records, read(kept["records"], plain))
            findings.append(_finding(f"{suite}: {task}", task, records))
    parts = ["# Benchmark", overview(findings), "## How to read the tables", *ABOUT, *body]
    target = folder / REPORT
    write_atomically(target, lambda file: file.write(("\n\n".join(parts) + "\n").encode()))
    return target


def _asked(suite: str) -> str:
    """What a suite compares, in a sentence; nothing where it isn't one of `SUITES`."""
    return (inspect.getdoc(SUITES[suite]) or "").partition("\n\n")[0].replace("\n", " ") if suite in SUITES else ""


def _finding(title: str, task: str, records: list[Record] | list[Timing]) -> Finding:
    if isinstance(records[0], Timing):
        return fastest(title, records)
    return compared(title, _figures(task, records), records)


def _made(made: dict[str, str], records: Sequence[Record | Timing]) -> str:
    machines = "; ".join(sorted({record.machine for record in records}))
    names = dict.fromkeys(name for record in records for name in record.versions)
    used = {name: sorted({record.versions.get(name, "unknown") for record in records}) for name in names}
    versions = ", ".join(f"{name} {' or '.join(found)}" for name, found in used.items())
    return f"- By `{made['command']}`, {made['date']}.\n- On {machines}.\n- With {versions}."


def _section(folder: Path, suite: str, task: str, records: list[Record] | list[Timing]) -> list[str]:
    if isinstance(records[0], Timing):
        return [_speed_table(records)]
    arms, figures = arms_of(records), _figures(task, records)
    parts = [_main_table(arms, figures, records), _difference_table(arms, figures, records)]
    if any(record.curve for record in records):
        parts.append(_learning_table(arms, figures, records))
    for plot in PLOTS:
        if name := plot(folder, f"{suite}_{task}", arms, figures, records):
            parts.append(f"![{suite}: {task}]({name})")
    return parts


def _figures(task: str, records: Sequence[Record]) -> list[str]:
    """The figures of a task that its records have; for a task of one's own, all shares, unseen ones first."""
    found = {name for record in records for name in record.metrics}
    shares = sorted(records[0].outcomes, key=lambda name: (not name.startswith("unseen"), name))
    named = TASKS[task].figures if task in TASKS else (*shares, *DISTANCES)
    return [name for name in named if name in found]


def _cell(seeds: Sequence[np.ndarray], sign: str = "") -> str:
    if not seeds:
        return ""
    value = interval(seeds, signed=bool(sign))
    edges = f" [{value.low:{sign}.3f}, {value.high:{sign}.3f}]" if len(seeds) > 1 or seeds[0].size > 1 else ""
    return f"{value.mean:{sign}.3f}{edges}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _main_table(arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    timed = records[0].times is not None
    costs = [name for name in COSTS if name in records[0].metrics]

    def line(arm: str) -> list[str]:
        mine = [record for record in records if record.arm == arm]
        scales = ", ".join(f"{record.guidance_scale:g}" for record in mine if record.guidance_scale is not None)
        cells = [_cell(list(outcomes(records, arm, figure).values())) for figure in figures]
        cells += [_by_seed([record.metrics[name] for record in mine]) for name in costs]
        cells += [times([ratio for record in mine for ratio in record.times or ()])] if timed else []
        return [arm, _parameters(mine[0]), str(len(mine)), scales, *cells]

    speed = [f"times as fast as {next(iter(SETTINGS))}, of the same config"] if timed else []
    head = ["arm", "parameters", "seeds", "guidance", *figures, *costs, *speed]
    return _table(head, map(line, arms)) + "\n\n" + _notes(records)


def _notes(records: Sequence[Record]) -> str:
    """What stands below the table of a task."""
    notes = []
    for name, says in REAL.items():
        if found := [record.metrics[name] for record in records if name in record.metrics]:
            notes.append(f"{says}: {np.mean(found):.3f}.")
    notes.append(f"Steps of training: {', '.join(map(str, sorted({record.steps for record in records})))}.")
    if len({record.seed for record in records}) == 1:
        notes.append("One seed: these intervals tell of its prompts alone, not of what another training would give.")
    return " ".join(notes)


def _by_seed(values: Sequence[float]) -> str:
    """What follows from a run's guidance scale, such as evaluations, has no interval."""
    texts = [f"{value:.3g}" for value in values]
    return ", ".join(texts if len(set(texts)) > 1 else texts[:1])


def _parameters(record: Record) -> str:
    count, unmatched = record.parameters, record.unmatched
    return f"{count:,}" if count == unmatched else f"{count:,} ({unmatched:,} unmatched)"


def _difference_table(arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    series = {record.arm: record.series for record in records if record.series}
    if not series and all(record.place for record in records):
        return "No run of the reference was finished, so there is nothing to compare with."
    at = {tuple(point): arm for arm, point in series.items()}
    lines: list[list[str]] = []
    if not series and len(arms) > 1:  # what the differences are to
        own = [list(outcomes(records, arms[0], figure).values()) for figure in figures]
        lines.append([f"{arms[0]}, itself", *(f"{interval(seeds).mean:.3f}" if seeds else "" for seeds in own)])
    for arm in arms:  # of a line, the first line's point for as many scans, if there is one
        reference = at.get((series[arms[0]][0], series[arm][1]), arm) if series else arms[0]
        if reference != arm:
            pairs = [paired(outcomes(records, arm, f), outcomes(records, reference, f)) for f in figures]
            lines.append([arm, *(_cell(pair, "+") for pair in pairs)])
    names = f"`{series[arms[0]][0]}` with as many scans" if series else f"`{arms[0]}`"
    return f"Paired differences to {names}:\n\n" + _table(["arm", *figures], lines) if lines else ""


def _published_table(
    task: str, figures: Sequence[str], records: Sequence[Record], plain: Sequence[Record]
) -> list[str]:
    """How what is drawn in few evaluations differs from what is drawn as published by a plain training's weights."""
    if not any(record.arm == PUBLISHED for record in plain):
        return []
    against = {figure: outcomes(plain, PUBLISHED, figure) for figure in figures}
    lines = [
        [arm, *(_cell(paired(outcomes(records, arm, figure), against[figure]), "+") for figure in figures)]
        for arm in arms_of(records)
    ]
    note = f"Paired differences to `{PUBLISHED}` of `{task}`, a plain training, drawn from as published"
    made = [{record.versions.get("source", "unknown") for record in these} for these in (plain, records)]
    if other := sorted(made[0] - made[1]):
        note += f" (source {' or '.join(other)})"
    return [f"{note}:\n\n{_table(['arm', *figures], lines)}"]


def _learning_table(arms: Sequence[str], figures: Sequence[str], records: Sequence[Record]) -> str:
    """Composition appears suddenly, so a mean at the end says little about when."""
    columns = [(figure, threshold) for figure in curved(figures, records) for threshold in THRESHOLDS]

    def cell(arm: str, figure: str, threshold: float) -> str:
        points = [curve(record, figure) for record in records if record.arm == arm]
        found = [(steps_to(line, threshold), max(line, default=0)) for line in points]
        return ", ".join(f"> {end}" if step is None else str(step) for step, end in found)

    learned = {record.arm for record in records if record.curve}
    lines = [[arm, *(cell(arm, *column) for column in columns)] for arm in arms if arm in learned]
    head = ["arm", *(f"{figure} at {threshold}" for figure, threshold in columns)]
    note = "Steps until a figure was reached, by seed (on validation prompts, untuned guidance)"
    if any(record.budget not in (None, record.steps) for record in records if record.curve):
        note += f"; those of equal compute are counted as steps of `{arms[0]}`, by operations"
    return f"{note}:\n\n{_table(head, lines)}"


def _speed_table(timings: Sequence[Timing]) -> str:
    cells: dict[str, list[str]] = {}
    for name, (field, form) in SPEED.items():
        values = [vars(timing)[field] for timing in timings]
        if any(value is not None for value in values):
            cells[name] = ["" if value is None else form.format(value) for value in values]
    cells[f"times as fast as {timings[0].arm}"] = [times(timing.ratios) for timing in timings]
    rows = zip((timing.arm for timing in timings), *cells.values(), strict=True)
    note = "Medians and ranges of paired ratios, taken in turn in one process after the first calls of each."
    return f"{_table(['what', *cells], rows)}\n\n{note}"
